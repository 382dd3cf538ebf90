"""The gateway's own decision log: replayed against a changed policy, and read while it grows."""

import json

from tests.support.gateway import POLICY, live, running, until
from tests.support.process import started

CHANGED = POLICY.replace('"reader" in input.identity.roles', '"writer" in input.identity.roles')


@live
async def test_a_log_is_replayed_and_tailed(tmp_path):
    log = tmp_path / "decisions.jsonl"
    config = {"log": {"decisions": {"sink": "file", "path": str(log)}}}
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "authz.rego").write_text(CHANGED)

    def replay(against):
        arguments = ("policy", "replay", str(log), "--against", against, "--format", "json")
        return started(*arguments, folder=tmp_path)

    async with running(tmp_path, config=config) as gateway:
        await gateway.ask("/items/1", gateway.token())
        await gateway.ask("/items/2", gateway.token(roles=["writer"]))
        await gateway.ask("/items/3", gateway.token(roles=["nobody"]))
        await gateway.ask("/open/4")
        await gateway.ask("/items/5")  # no token: the policy is not asked
        await until(lambda: log.exists() and log.read_bytes().count(b"\n") == 5)

        async with replay("policies") as same, replay("new") as other:
            assert await same.ended() == 0, same.errors
            assert await other.ended() == 2, other.errors
        assert json.loads(same.output)["unchanged"] == 4
        found = json.loads(other.output)
        assert (found["events"], found["replayed"], found["unchanged"]) == (5, 4, 2)
        assert found["not_replayed"] == {"partial": {"events": 1, "named": {}}}
        ids = {event["target"]: event["decision_id"] for event in await gateway.events(5)}
        assert {
            (each["change"], *each["before"], *each["after"], each["rule"]["line"]):
            each["examples"][0]["decision_id"]
            for each in found["changes"]
        } == {
            ("allow-to-deny", "not-granted", 3): ids["/items/1"],
            ("deny-to-allow", "not-granted", 5): ids["/items/2"],
        }  # fmt: skip

        admin = f"http://127.0.0.1:{gateway.admin_port}"
        shown = ("decisions", "show", ids["/items/3"], "--admin", admin, "--format", "json")
        tail = ("decisions", "tail", "-f", "--format", "json")
        async with (
            started(*shown, folder=tmp_path) as show,
            started(*tail, str(log), folder=tmp_path) as file,
            started(*tail, "--admin", admin, folder=tmp_path) as api,
        ):
            assert await show.ended() == 0, show.errors
            assert json.loads(show.output)["reasons"] == [{"code": "not-granted", "message": ""}]
            tails = (file, api)
            await until(lambda: all(each.output.count(b"\n") == 5 for each in tails))
            log.rename(log.with_suffix(".1"))
            await gateway.ask("/open/6")
            await until(lambda: all(each.output.count(b"\n") == 6 for each in tails))
            asked = ["/items/1", "/items/2", "/items/3", "/open/4", "/items/5", "/open/6"]
            for process in tails:
                process.child.terminate()
                await process.ended()
                lines = process.output.splitlines()
                assert [json.loads(line)["target"] for line in lines] == asked
