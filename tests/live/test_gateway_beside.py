"""The whole gateway with policy sets beside the enforced one: a shadow, a canary."""

import asyncio
import json
import logging
import sys

import pytest

from tests.support.gateway import POLICY, live, policy_for, running, until
from tests.support.process import ROOT

SHADOW = {"policy": {"shadow": {"paths": ["next"], "cpu": "100%"}}}
SPLIT = "1 | some a in numbers.range(1, 1000); some b in numbers.range(1, 1000)"

BAD_SHADOWS = {
    "denies all": ("package gateway.authz\n\ndecision := false\n", "allow_to_deny"),
    "is undefined": ("package gateway.authz\n\ndecision if input.nothing\n", "allow_to_deny"),
    "fails": (
        'package gateway.authz\n\ndecision if to_number(concat("", ["x", input.request.method])) > 0\n',
        "error",
    ),
    "makes no decision": ('package gateway.authz\n\ndecision := "yes"\n', "error"),
    "loops": (f"package gateway.authz\n\ndecision if count([{SPLIT}; a * b == -1]) > 0\n", "error"),
    "takes memory": (f"package gateway.authz\n\ndecision if count([[a, b] | {SPLIT[4:]}]) > 0\n", "error"),
    "sets what it may not": (
        'package gateway.authz\n\ndecision := {"allow": true, "headers": {"x-auth-subject": "root"}}\n',
        "error",
    ),
    "allows all": ("package gateway.authz\n\ndecision := true\n", "deny_to_allow"),
}  # fmt: skip


def beside(folder, text, name="next"):
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "authz.rego").write_text(text)


def answered(answer):
    """What a client sees, but for what differs each time."""
    kept = [(name, value) for name, value in answer.headers
            if name.lower() not in {"date", "x-decision-id"}]  # fmt: skip
    body = answer.json()
    for holder in (body, body.get("headers", {})):
        for name in (
            "decision_id",
            "x-request-id",
            "x-decision-id",
            "x-forwarded-for",
            "authorization",
        ):
            holder.pop(name, None)
    return answer.status, kept, {**body, "headers": {
        name: value for name, value in body.get("headers", {}).items() if name != "host"
    }}  # fmt: skip


async def conversation(gateway):
    asked = [
        ("/items", gateway.token(), "GET"),
        ("/items", gateway.token(roles=[]), "GET"),
        ("/items", None, "GET"),
        ("/items", gateway.token(exp=1), "POST"),
        ("/open/x", None, "GET"),
        ("/nowhere", None, "GET"),
    ]
    return [answered(await gateway.ask(path, token, method)) for path, token, method in asked]


async def cli(gateway, *words):
    """Exit code, standard output and error of `gateway policy shadow report`."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "cli.py"), "policy", "shadow", "report",
        "--admin", f"http://127.0.0.1:{gateway.admin_port}", *words,
        cwd=gateway.folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await child.communicate()
    return child.returncode, output.decode(), errors.decode()


def outcomes(gateway):
    counts = {}
    for (_, outcome), count in gateway.gateway.workers.metrics.shadow.items():
        counts[outcome] = counts.get(outcome, 0) + count
    return counts


@pytest.mark.parametrize("bad", BAD_SHADOWS)
@live
async def test_a_shadow_changes_no_answer(tmp_path, bad):
    (tmp_path / "without").mkdir()
    async with running(tmp_path / "without") as gateway:
        expected = await conversation(gateway)
    policy, outcome = BAD_SHADOWS[bad]
    beside(tmp_path, policy)
    config = {"policy": {"shadow": {**SHADOW["policy"]["shadow"], "steps": 100_000}}}
    async with running(tmp_path, config=config) as gateway:
        assert await conversation(gateway) == expected
        await until(lambda: sum(outcomes(gateway).values()) == 3)  # the policy was asked thrice
        assert outcomes(gateway)[outcome] >= 1
        assert "dropped" not in outcomes(gateway)
        assert await conversation(gateway) == expected


@live
async def test_differences_are_events_metrics_and_a_report(tmp_path):
    beside(tmp_path, policy_for("writer"))
    log = tmp_path / "decisions.jsonl"
    config = SHADOW | {"log": {"decisions": {"sink": "file", "path": str(log)}}}
    async with running(tmp_path, config=config) as gateway:
        assert (await cli(gateway))[0] == 0
        assert (await gateway.ask(token=gateway.token())).status == 200
        assert (await gateway.ask(token=gateway.token(roles=["writer"]))).status == 403
        assert (await gateway.ask(token=gateway.token(roles=[]))).status == 403
        await until(lambda: sum(outcomes(gateway).values()) == 3)
        assert outcomes(gateway) == {"allow_to_deny": 1, "deny_to_allow": 1, "same": 1}
        metrics = await gateway.metrics()
        labels = '{outcome="deny_to_allow",route="items"}'
        assert f"gateway_shadow_decisions_total{labels} 1.0" in metrics
        status = (await gateway.ask_admin("/status")).json()["shadow"]
        assert (
            f'gateway_policy_beside{{revision="{status["revision"]}",set="shadow"}} 1.0' in metrics
        )
        assert (status["share"], status["problems"]) == ("100%", [])
        code, output, _ = await cli(gateway)
        assert code == 2
        assert "enforced  policy-denied: not-granted" in output
        assert "shadow    allow" in output
        code, output, _ = await cli(gateway, "--format", "json")
        report = json.loads(output)["report"]
        assert (report["revision"], report["shadow"]) == (gateway.revision, status["revision"])
        kinds = {each["outcome"]: each for each in report["differences"]}
        written = [json.loads(line) for line in await lines(log, 5)]
        own = {each["decision_id"]: each for each in written if "difference" not in each}
        told = [each for each in written if "difference" in each]
        assert {each["type"] for each in told} == {"gateway/shadow_decisions"}
        assert len(own) == 3
        for each in told:
            assert kinds[each["difference"]]["examples"] == [each["decision_id"]]
            event = own[each["decision_id"]]
            assert (each["result"], each["path"]) == (event["result"], event["path"])
            assert "input" not in each
        # What reads decision logs is not misled.
        assert "3 events" in await stats(tmp_path, log)
        assert (await gateway.ask_admin("/decisions")).json()["decisions"][0]["route"] == "items"


async def lines(log, count):
    await until(lambda: log.exists() and log.read_bytes().count(b"\n") >= count)
    return log.read_text().splitlines()


async def stats(folder, log):
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "cli.py"), "decisions", "stats", str(log),
        cwd=folder, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    return (await child.communicate())[0].decode()


@live
async def test_a_broken_shadow_hinders_nobody_and_is_loud(tmp_path, caplog):
    caplog.set_level(logging.INFO, "gateway.reload")
    async with running(tmp_path, config=SHADOW) as gateway:  # there is no folder
        await gateway.settled()
        assert (await gateway.ask(token=gateway.token())).status == 200
        status = (await gateway.ask_admin("/status")).json()
        assert status["last_error"] is None
        assert status["shadow"]["revision"] is None
        assert "next" in str(status["shadow"]["problems"])
        assert "the shadow is broken" in caplog.text
        assert 'gateway_policy_beside{revision="",set="shadow"} 0.0' in await gateway.metrics()
        code, _, errors = await cli(gateway)
        assert (code, "shadow: cannot be read" in errors) == (1, True)
        # The enforced policies go on to be edited, and the shadow is taken up once it is there.
        (tmp_path / "policies" / "authz.rego").write_text(policy_for("writer"))
        await gateway.admits("writer")
        caplog.clear()
        beside(tmp_path, POLICY + "\nbroken := \n")
        await until(lambda: "authz.rego:9" in caplog.text)
        beside(tmp_path, policy_for("reader"))
        await until(lambda: gateway.runtime.snapshot.shadow)
        await until(lambda: "(shadow)" in caplog.text)
        await gateway.admits_still("writer")
        await until(lambda: outcomes(gateway) == {"allow_to_deny": 1})
        # Without it there is no report.
        gateway.configure({"policy": {"shadow": None}})
        await gateway.loaded()
        assert (await gateway.ask_admin("/policy/shadow")).json() == {
            "report": None,
            "status": None,
        }
        assert (await cli(gateway))[0] == 1


@live
async def test_config_check_tells_of_a_broken_set(tmp_path):
    async with running(tmp_path, config=SHADOW) as gateway:
        child = await asyncio.create_subprocess_exec(
            sys.executable, str(ROOT / "cli.py"), "config", "check",
            cwd=gateway.folder, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, errors = await child.communicate()
        assert child.returncode == 1
        assert b"error: " in errors
        assert b"shadow: cannot be read" in errors


@live
async def test_a_body_is_seen_by_the_shadow_too(tmp_path):
    beside(tmp_path, POLICY + '\ndecision := {"allow": false} if input.request.body.n > 1\n')
    route = {"id": "open", "paths": ["/open/{rest:path}"], "upstream": "service",
             "authentication": "anonymous", "body": {}}  # fmt: skip
    async with running(tmp_path, config=SHADOW | {"routes": [route]}) as gateway:
        json_ = (("Content-Type", "application/json"),)
        for body, outcome in ((b'{"n": 1}', "same"), (b'{"n": 2}', "error")):
            answer = await gateway.ask("/open/x", method="POST", headers=json_, body=body)
            assert answer.status == 200
            await until(lambda outcome=outcome: outcomes(gateway).get(outcome))  # a conflict


@live
async def test_a_canary_decides_for_its_share(tmp_path):
    beside(tmp_path, policy_for("writer"))
    canary = {"policy": {"canary": {"paths": ["next"], "share": "30%"}}}
    async with running(tmp_path, config=canary) as gateway:
        await gateway.settled()
        subjects = [f"user-{number}" for number in range(40)]

        async def taken():
            found = set()
            for subject in subjects:
                # A reader passes the enforced policies, a writer the canary: never both.
                statuses = [
                    (await gateway.ask(token=gateway.token(sub=subject, roles=[role]))).status
                    for role in ("reader", "writer")
                ]
                assert sorted(statuses) == [200, 403]
                if statuses == [403, 200]:
                    found.add(subject)
            return found

        some = await taken()
        assert 0 < len(some) < 40
        assert await taken() == some  # the same ones
        event = next(each for each in await gateway.events(160) if each.get("canary"))
        assert event["subject"] in some
        snapshot = gateway.runtime.snapshot
        assert (
            event["bundles"]["policy"]["revision"] == snapshot.canary.revision != gateway.revision
        )
        # A client does not choose its side: neither by headers nor by what it claims unsigned.
        other = next(subject for subject in subjects if subject not in some)
        chosen = (
            ("X-Canary", "true"),
            ("X-Auth-Subject", next(iter(some))),
            ("Sub", next(iter(some))),
        )
        token = gateway.token(sub=other, roles=["writer"])
        assert (await gateway.ask(token=token, headers=chosen)).status == 403
        assert (await gateway.ask("/open/x")).status == 200  # nobody: the enforced policies
        metrics = await gateway.metrics()
        assert 'gateway_canary_requests_total{code="ok",route="items"}' in metrics
        assert (await gateway.ask_admin("/status")).json()["canary"]["share"] == "30%"
        for share, size in (("60%", None), ("100%", 40), ("0%", 0)):
            await gateway.edit({"policy": {"canary": {"share": share}}})
            now = await taken()
            if size is None:
                assert some < now
            else:
                assert len(now) == size


@live
async def test_a_broken_canary_decides_for_nobody(tmp_path, caplog):
    beside(tmp_path, policy_for("writer"))
    canary = {"policy": {"canary": {"paths": ["next"], "share": "100%"}}}
    async with running(tmp_path, config=canary) as gateway:
        await gateway.settled()
        await gateway.admits("writer")
        beside(tmp_path, POLICY + "\nbroken := \n")
        await gateway.admits("reader")
        assert "the canary is broken" in caplog.text
        assert (await gateway.ask_admin("/status")).json()["canary"]["problems"][0]["line"] == 9
        assert "canary" not in (await gateway.events(1))[-1]
        beside(tmp_path, policy_for("auditor"))
        await gateway.admits("auditor")


@live
async def test_a_shadow_beside_a_canary_and_a_pin(tmp_path):
    """All at once: the canary's requests are not the shadow's, and a pin is about neither."""
    beside(tmp_path, policy_for("writer"), "canary")
    beside(tmp_path, policy_for("auditor"), "next")
    token = "a-token-for-the-admin-listener-0123456789"
    config = {
        "admin": {"token": token, "actions": True},
        "policy": {
            "shadow": {"paths": ["next"], "cpu": "100%"},
            "canary": {"paths": ["canary"], "share": "100%", "claim": "tenant.id"},
        },
    }
    async with running(tmp_path, config=config) as gateway:
        await gateway.settled()
        tried = gateway.token(tenant={"id": 7}, roles=["writer"])
        assert (await gateway.ask(token=tried)).status == 200
        assert (await gateway.ask(token=gateway.token())).status == 200  # without the claim
        await until(lambda: outcomes(gateway) == {"allow_to_deny": 1})
        assert (await gateway.ask_admin("/policy/pin", token, method="POST")).status == 200
        beside(tmp_path, policy_for("auditor"), "canary")
        tried = gateway.token(tenant={"id": 7}, roles=["auditor"])
        await until(lambda: "auditor" in str(gateway.runtime.snapshot.canary.policies.modules))
        assert (await gateway.ask(token=tried)).status == 200
