"""The whole gateway while a policy is brought out step by step."""

import asyncio
import json
import logging
import sys

from tests.support.gateway import POLICY, configured, live, policy_for, running, until
from tests.support.process import ROOT

TOKEN = "a-token-for-the-admin-listener-0123456789"
ACTING = {"admin": {"token": TOKEN, "actions": True}}

REPORTING = {"id": "items", "paths": ["/items"], "upstream": "service", "enforcement": "report"}


@live
async def test_a_route_that_only_reports(tmp_path, caplog):
    async with running(tmp_path, config={"routes": [REPORTING]}) as gateway:
        nobody = gateway.token(roles=[])
        answer = await gateway.ask(token=nobody)
        assert (answer.status, answer.json()["headers"]["x-auth-subject"]) == (200, "alice")
        assert (await gateway.ask()).code == "token-missing"
        assert (await gateway.ask(token=gateway.token(exp=1))).code == "token-expired"
        event = (await gateway.events(3))[0]
        assert (event["outcome"], event["enforced"]) == ("forwarded", False)
        assert event["would"] == {"code": "policy-denied", "status": 403}
        assert event["reasons"] == [{"code": "not-granted", "message": ""}]
        metrics = await gateway.metrics()
        labels = '{code="policy-denied",route="items"}'
        assert f"gateway_unenforced_refusals_total{labels} 1.0" in metrics
        assert 'gateway_route_enforced{route="items"} 0.0' in metrics
        assert (await gateway.ask_admin("/status")).json()["unenforced"] == ["items"]
        assert "not enforced on route items" in caplog.text
        await gateway.settled()
        caplog.clear()
        await gateway.edit({"log": {"labels": {"a": "b"}}})
        assert "not enforced on route items" in caplog.text  # at every reload
        await gateway.edit({"routes": [REPORTING | {"enforcement": "enforce"}]})
        assert (await gateway.ask(token=nobody)).status == 403
        assert (await gateway.ask_admin("/status")).json()["unenforced"] == []


async def act(gateway, action, token=TOKEN, **options):
    return await gateway.ask_admin(f"/policy/{action}", token, method="POST", **options)


async def status(gateway):
    return (await gateway.ask_admin("/status", TOKEN)).json()


async def edited(gateway, role):
    """Let another role in; its revision."""
    (gateway.folder / "policies" / "authz.rego").write_text(policy_for(role))
    await gateway.admits(role)
    return gateway.revision


async def cli(gateway, *words):
    """Exit code, standard output and error of `gateway policy` against the running gateway."""
    (gateway.folder / "admin.token").write_text(TOKEN)
    where = ("--admin", f"http://127.0.0.1:{gateway.admin_port}", "--token-file", "admin.token")
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "cli.py"), "policy", *words, *where,
        cwd=gateway.folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await child.communicate()
    return child.returncode, output.decode(), errors.decode()


@live
async def test_a_rollback_lasts_until_it_is_taken_back(tmp_path, caplog):
    caplog.set_level(logging.INFO, "gateway.audit")
    async with running(tmp_path, config=ACTING) as gateway:
        await gateway.settled()
        first = gateway.revision
        second = await edited(gateway, "writer")
        answer = await act(gateway, "rollback")
        assert (answer.status, answer.json()["revision"]) == (200, first)
        await gateway.admits_still("reader")
        assert (await gateway.ask(token=gateway.token(roles=["writer"]))).status == 403
        pinned = (await status(gateway))["pinned"]
        assert (pinned["revision"], pinned["by"]) == (first, "admin token from 127.0.0.1")
        # What is on disk waits, and is looked at.
        await until(lambda: gateway.gateway.reloader.status.pending)
        assert (await status(gateway))["pending"] == {"revision": second, "problems": []}
        (tmp_path / "policies" / "authz.rego").write_text(POLICY + "\nbroken := \n")
        await until(lambda: gateway.gateway.reloader.status.pending.problems)
        (problem,) = (await status(gateway))["pending"]["problems"]
        assert problem["line"] == 9
        assert not gateway.problems  # what serves is all right
        # Neither SIGHUP nor a change of the configuration takes the pin away.
        gateway.gateway.hangup()
        await gateway.edit({"log": {"labels": {"a": "b"}}})
        assert gateway.revision == first
        await gateway.admits_still("reader")
        assert (
            "gateway_policy_pinned 1.0"
            in (await gateway.ask_admin("/metrics", TOKEN)).body.decode()
        )
        # A broken set on disk does not come by unpin either.
        answer = (await act(gateway, "unpin")).json()
        assert (answer["revision"], answer["pinned"]) == (first, None)
        assert answer["last_error"]["problems"][0]["line"] == 9
        (tmp_path / "policies" / "authz.rego").write_text(policy_for("auditor"))
        await gateway.admits("auditor")
        acts = [(act["action"], act["before"], act["after"], act["code"])
                for act in (await status(gateway))["actions"]]  # fmt: skip
        assert acts == [("rollback", second, first, ""), ("unpin", first, first, "")]
        audit = [json.loads(record.message) for record in caplog.records
                 if record.name == "gateway.audit"]  # fmt: skip
        assert audit == (await status(gateway))["actions"]
        assert TOKEN not in caplog.text


@live
async def test_revisions_by_name(tmp_path):
    async with running(tmp_path, config=ACTING) as gateway:
        await gateway.settled()
        first = gateway.revision
        second = await edited(gateway, "writer")
        third = await edited(gateway, "auditor")
        kept = (await gateway.ask_admin("/policy/history", TOKEN)).json()
        assert [each["revision"] for each in kept["revisions"]] == [third, second, first]
        assert (await act(gateway, f"rollback/{first[:6]}")).json()["revision"] == first
        assert (await act(gateway, f"pin/{third}")).json()["revision"] == third
        await gateway.admits_still("auditor")
        assert (await act(gateway, "rollback")).json()["revision"] == second
        assert (await act(gateway, "rollback")).json()["revision"] == first
        assert (await act(gateway, "rollback")).code == "revision-unknown"  # there is none before
        for name in ("0" * 16, first[:3], "x%2F..%2F..%2Fetc", "%00"):
            assert (await act(gateway, f"rollback/{name}")).status == 404, name
        assert gateway.revision == first
        assert (await act(gateway, "pin")).json()["pinned"]["revision"] == first
        assert (await act(gateway, "unpin")).json()["revision"] == third


@live
async def test_a_revision_that_does_not_fit_is_refused(tmp_path):
    async with running(tmp_path, config=ACTING) as gateway:
        await gateway.settled()
        first = gateway.revision
        (tmp_path / "policies" / "authz.rego").write_text(
            policy_for("writer") + "\nother := decision\n"
        )
        await gateway.admits("writer")
        await gateway.edit({"policy": {"entrypoint": "gateway/authz/other"}})
        second = gateway.revision
        answer = await act(gateway, "rollback")
        assert (answer.status, answer.code) == (409, "revision-unfit")
        (problem,) = answer.json()["problems"]
        assert problem["message"] == "no policy defines gateway/authz/other"
        assert gateway.revision == second
        assert (await status(gateway))["pinned"] is None
        assert (await status(gateway))["actions"][0]["code"] == "revision-unfit"
        code, _, errors = await cli(gateway, "rollback", first)
        assert code == 1
        assert "no policy defines gateway/authz/other" in errors
        assert not gateway.gateway.reloader.store.pin_file.exists()


@live
async def test_who_may_act(tmp_path, caplog):
    off = {"admin": {"token": TOKEN}}
    async with running(tmp_path, config=off) as gateway:
        await gateway.settled()
        assert (await act(gateway, "unpin")).code == "actions-off"
        await gateway.edit(ACTING)
        for token in (None, TOKEN[:-1], gateway.token()):
            assert (await act(gateway, "pin", token)).code == "admin-token"  # on loopback, too
        for name, value in (
            ("Origin", "http://127.0.0.1:9090"),
            ("Origin", "null"),
            ("Referer", "http://evil.example/"),
            ("Sec-Fetch-Site", "same-origin"),
        ):
            answer = await act(gateway, "pin", headers=((name, value),))
            assert (answer.status, answer.code) == (403, "admin-origin"), name
        assert (await gateway.ask_admin("/policy/pin", TOKEN)).status == 405
        answer = await gateway.ask_admin("/policy/pin", TOKEN, method="OPTIONS")
        assert answer.status == 405
        assert answer.header("access-control-allow-origin") is None
        assert gateway.gateway.reloader.pin is None
        refused = [record for record in caplog.records if record.name == "gateway.audit"]
        assert len(refused) == 8
        assert (await act(gateway, "pin")).status == 200
        acts = (await status(gateway))["actions"]  # of those who had the token, whoever else asks
        assert [each["code"] for each in acts] == ["admin-origin"] * 4 + [""]


@live
async def test_actions_need_a_token(tmp_path):
    async with running(tmp_path) as gateway:
        await gateway.settled()
        assert (await act(gateway, "pin", None)).code == "actions-off"
        gateway.configure({"admin": {"actions": True}})
        await until(lambda: gateway.problems)
        assert "admin.actions: actions need a token" in gateway.problems[0]
        assert (await act(gateway, "pin", None)).code == "actions-off"


@live
async def test_the_commands(tmp_path):
    async with running(tmp_path, config=ACTING) as gateway:
        await gateway.settled()
        first = gateway.revision
        second = await edited(gateway, "writer")
        kept = tmp_path / ".gateway" / "gateway.yaml.revisions" / f"{first}.json"
        header, _, rest = kept.read_bytes().partition(b"\n")
        named = {**json.loads(header), "bundles": {"authz": "v7", "long": "x" * 99, "none": ""}}
        kept.write_bytes(json.dumps(named).encode() + b"\n" + rest)
        code, output, _ = await cli(gateway, "history")
        lines = output.splitlines()
        assert code == 0
        assert [line[:18] for line in lines[1:3]] == [f"* {second}", f"  {first}"]
        assert lines[3] == "    authz v7"
        assert lines[4].startswith("    long xxx")
        assert lines[5] == "    none"
        assert max(map(len, lines)) <= 80
        code, output, _ = await cli(gateway, "rollback")
        assert (code, output.splitlines()[0]) == (0, f"revision {first} serves")
        assert f"pinned at {first} since 20" in output
        code, output, _ = await cli(gateway, "pin", "--format", "json")
        assert (code, json.loads(output)["pinned"]["revision"]) == (0, first)
        code, output, _ = await cli(gateway, "unpin")
        assert (code, output) == (0, f"revision {second} serves\n")
        code, _, errors = await cli(gateway, "rollback", "0000")
        assert code == 1
        assert "404 revision-unknown; gateway policy history shows" in errors


@live
async def test_a_pin_lasts_over_a_restart(tmp_path):
    async with running(tmp_path, config=ACTING) as gateway:
        await gateway.settled()
        first = gateway.revision
        await edited(gateway, "writer")
        await act(gateway, "rollback")
    async with running(tmp_path, config=ACTING, policy=policy_for("writer")) as gateway:
        assert gateway.revision == first
        await gateway.admits_still("reader")
        await until(lambda: gateway.gateway.reloader.status.pending)
        await act(gateway, "unpin")
        await gateway.admits_still("writer")


@live
async def test_a_rollback_while_the_configuration_on_disk_is_broken(tmp_path):
    async with running(tmp_path, config=ACTING) as gateway:
        await gateway.settled()
        first = gateway.revision
        await edited(gateway, "writer")
        path = tmp_path / "gateway.yaml"
        good = path.read_text()
        path.write_text(good + "nonsense: 1\n")
        await until(lambda: gateway.problems)
        assert (await act(gateway, "rollback")).json()["revision"] == first
        await gateway.admits_still("reader")
        await until(lambda: gateway.problems)  # they are told again
        path.write_text(configured(good, {"log": {"labels": {"a": "b"}}}))
        await gateway.loaded()
        await gateway.admits("reader")


@live
async def test_a_pin_that_cannot_be_written_changes_nothing(tmp_path):
    async with running(tmp_path, config=ACTING) as gateway:
        await gateway.settled()
        await edited(gateway, "writer")
        second = gateway.revision
        gateway.gateway.reloader.store.pin_file.mkdir()
        assert (await act(gateway, "rollback")).code == "internal-error"
        assert gateway.revision == second
        assert (await status(gateway))["pinned"] is None
        await gateway.admits_still("writer")
