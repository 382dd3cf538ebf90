"""The assertion that upstreams get, and how they verify it."""

import asyncio
import json
import re
import time
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from gateway.errors import ConfigError
from tests.support.gateway import live, running, until

PAGE = Path(__file__).parents[2] / "docs" / "assertion.md"
CONFIG = {"assertion": {"issuer": "https://gateway.example", "claims": ["email", "tenant.id"]}}


def example():
    """The function that the page shows to upstreams."""
    (code,) = re.findall(r"```python\n(.+?)```", PAGE.read_text(), re.DOTALL)
    names = {}
    exec(code, names)  # noqa: S102  our own page
    return names["verified"]


async def published(gateway):
    answer = await gateway.ask("/.well-known/gateway/jwks.json")
    assert (answer.status, answer.header("content-type")) == (200, "application/jwk-set+json")
    return answer.json()


def seen(answer):
    return answer.json()["headers"]


@live
async def test_the_upstream_verifies_who_asks(tmp_path):
    async with running(tmp_path, config=CONFIG) as gateway:
        token = gateway.token(roles=["reader"], email="a@b.example", tenant={"id": 7})
        answer = await gateway.ask(token=token)
        keys = await published(gateway)
        assert all(key.keys().isdisjoint({"d", "k", "p"}) for key in keys["keys"])
        claims = example()(seen(answer)["x-gateway-assertion"], keys)
        assert claims["sub"] == "alice"
        assert (claims["email"], claims["tenant.id"]) == ("a@b.example", 7)
        assert claims["jti"] == seen(answer)["x-decision-id"]
        assert claims["policy_revision"] == gateway.revision
        assert claims["client_issuer"] == "corp"
        assert claims["exp"] - claims["iat"] == 60


@live
async def test_nobody_else_can_say_it(tmp_path):
    async with running(tmp_path, config=CONFIG) as gateway:
        keys = await published(gateway)
        for name in ("X-Gateway-Assertion", "x_gateway_assertion", "X.Gateway.Assertion"):
            answer = await gateway.ask("/open/x", headers=((name, "forged"),))
            got = {key: value for key, value in seen(answer).items() if "assertion" in key.lower()}
            assert list(got) == ["x-gateway-assertion"]
            assert "sub" not in example()(got["x-gateway-assertion"], keys)
        with pytest.raises(Exception, match="No key"):
            example()(gateway.token(), keys)


@live
async def test_routes_without_one(tmp_path):
    route = {"id": "open", "paths": ["/open/x"], "upstream": "service", "assertion": False}
    config = {**CONFIG, "routes": [{**route, "authentication": "anonymous"}]}
    async with running(tmp_path, config=config) as gateway:
        assert "x-gateway-assertion" not in seen(await gateway.ask("/open/x"))
    (tmp_path / "without").mkdir()
    async with running(tmp_path / "without") as gateway:
        assert (await gateway.ask("/.well-known/gateway/jwks.json")).status == 404


@live
async def test_keys_rotate_with_overlap_and_two_gateways_share_them(tmp_path):
    config = {"assertion": {"rotate": "40s", "overlap": "20s"}}
    async with running(tmp_path, config=config) as gateway:
        file = tmp_path / ".gateway" / "assertion-keys.json"
        await published(gateway)
        assert file.stat().st_mode & 0o077 == 0
        document = json.loads(file.read_text())
        document["keys"][0]["signs_from"] -= 30  # so much later
        file.write_text(json.dumps(document))
        before = await published(gateway)
        await until(lambda: len(json.loads(file.read_text())["keys"]) == 2)
        deadline = time.monotonic() + 30
        while len((await published(gateway))["keys"]) == 1:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        after = await published(gateway)
        assert after["keys"][0] == before["keys"][0]
        answer = await gateway.ask("/open/x")
        found = jwt.decode(seen(answer)["x-gateway-assertion"], KeySet.import_key_set(before))
        assert found.claims["aud"] == "service"


@live
async def test_a_reload_does_not_part_the_keys_of_workers(tmp_path):
    async with running(tmp_path, config=CONFIG, workers=2) as gateway:
        before = await published(gateway)
        await gateway.edit({"policy": {"state": str(tmp_path / "elsewhere")}})
        members = gateway.gateway.workers.members
        for member in tuple(members):
            await member.kill()
        await until(lambda: sum(member.active for member in members) == 3)
        assert await published(gateway) == before
        assert not (tmp_path / "elsewhere" / "assertion-keys.json").exists()


@live
async def test_a_broken_file_of_keys_is_named(tmp_path):
    (tmp_path / ".gateway").mkdir(mode=0o700)
    (tmp_path / ".gateway" / "assertion-keys.json").write_text("{}")
    (tmp_path / ".gateway" / "assertion-keys.json").chmod(0o600)
    with pytest.raises(ConfigError, match=r"assertion-keys\.json.*remove it"):
        async with running(tmp_path, config=CONFIG):
            pass
