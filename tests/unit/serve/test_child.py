"""The keys of remote issuers in a worker."""

import asyncio
import json

import pytest

from gateway.config.model import Issuer
from gateway.identify import Keyring
from gateway.jose.sign import generate, public_jwks
from gateway.serve import child
from gateway.serve.child import Keys

OLD, NEW = (json.dumps(public_jwks([generate("ES256")])).encode() for _ in range(2))


def issuer(**changes):
    given = {"issuer": "https://idp.example", "audience": "api", "algorithms": ["ES256"]}
    keys = {"jwks_url": "https://idp.example/jwks"}
    return Issuer(**{**given, "keys": keys, **changes})


ISSUERS = {"corp": issuer()}


def started(keys, *names):
    """Requests that wait for keys."""
    return [asyncio.ensure_future(keys.newest(name)) for name in names]


def scenario(test):
    """Run with keys of corp; `wanted` is what the supervisor was asked for."""

    async def run():
        wanted = []
        keys = Keys(wanted.append)
        keys.configure(ISSUERS, {"corp": OLD})
        async with asyncio.timeout(10):
            await test(keys, wanted)

    asyncio.run(run())


def test_all_who_wait_share_one_question():
    async def test(keys, wanted):
        tasks = started(keys, "corp", "corp", "corp")
        await asyncio.sleep(0)
        assert wanted == ["corp"]
        keys.renew("corp", NEW)
        keys.fetched("corp")
        for task in tasks:
            assert (await task).revision == Keyring.from_jwks(NEW).revision
        (again,) = started(keys, "corp")
        await asyncio.sleep(0)
        assert wanted == ["corp", "corp"]
        keys.close()
        assert (await again).revision == Keyring.from_jwks(NEW).revision

    scenario(test)


@pytest.mark.parametrize(
    "issuers",
    [
        {},
        {"corp": issuer(issuer="https://other.example")},
        {"corp": issuer(keys={"jwks_url": "https://other.example/jwks"})},
    ],
)
def test_keys_of_a_new_source_are_not_for_requests_of_the_old_one(issuers):
    async def test(keys, wanted):
        (task,) = started(keys, "corp")
        await asyncio.sleep(0)
        keys.configure(issuers, dict.fromkeys(issuers, NEW))
        assert not (await task).loaded

    scenario(test)


def test_who_waits_goes_on_waiting_where_the_source_stays():
    async def test(keys, wanted):
        (task,) = started(keys, "corp")
        await asyncio.sleep(0)
        keys.configure({"corp": issuer(leeway=5)}, {"corp": OLD})
        await asyncio.sleep(0)
        assert not task.done()
        keys.fetched("corp")
        assert (await task).revision == Keyring.from_jwks(OLD).revision

    scenario(test)


def test_nobody_waits_for_ever(monkeypatch):
    monkeypatch.setattr(child, "PATIENCE", 0.01)

    async def test(keys, wanted):
        keys.configure(
            {"corp": issuer(keys={**ISSUERS["corp"].keys.model_dump(), "timeout": 0.01})}, {}
        )
        assert not (await keys.newest("corp")).loaded
        assert not (await keys.newest("unknown")).loaded
        assert not (await keys.newest("corp")).loaded
        assert wanted == ["corp", "unknown", "corp"]

    scenario(test)


def test_a_key_set_that_stays_is_read_once(monkeypatch):
    async def test(keys, wanted):
        before = keys.keyrings["corp"]
        keys.configure(ISSUERS, {"corp": OLD, "late": b""})
        assert keys.keyrings["corp"] is before
        assert not keys.keyrings["late"].loaded

    scenario(test)
