"""Renewals where gateways and their store fail at the worst moments."""

import asyncio
import os
import time
from types import SimpleNamespace

import pytest

from gateway.errors import Code, GatewayError, IdentityError
from gateway.record.metrics import Metrics
from gateway.serve.oauth_client import EndpointError
from gateway.serve.session import MemoryStore, StoreError, renewal
from gateway.serve.session.renewal import Renewals
from gateway.serve.session.stores import Stores
from gateway.session.provider import ProviderError, Tokens
from gateway.session.record import Record, Ticket

SNAPSHOT = SimpleNamespace(config=SimpleNamespace(sessions=SimpleNamespace(renew_before=60.0)))


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(renewal, "LEASE", 0.3)
    monkeypatch.setattr(renewal, "EXTEND", 0.05)
    monkeypatch.setattr(renewal, "POLL", 0.01)


class Gateway:
    """One of several gateways on one store; `answer` is what the provider gives it."""

    def __init__(self, store, answer):
        self.store = store
        self.answer = answer
        self.metrics = Metrics()
        self.renewals = Renewals(Stores(store), self.received, self.metrics)
        self.provider = SimpleNamespace(
            name="web",
            issuer=SimpleNamespace(issuer="i"),
            login=SimpleNamespace(timeout=5.0),
            tokens=self.tokens,
        )
        self.asked = []
        self.unfit = None

    async def tokens(self, form):
        self.asked.append(form["refresh_token"])
        answer = self.answer(form) if callable(self.answer) else self.answer
        if asyncio.iscoroutine(answer):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        return Tokens(access_token="new", id_token="", refresh_token=answer, expires_in=600)

    async def received(self, tokens, provider, snapshot, *, before):
        if self.unfit:
            raise self.unfit
        return made(access_token=tokens.access_token, refresh_token=tokens.refresh_token)

    def renew(self, ticket):
        return self.renewals.begin(ticket, self.provider, SNAPSHOT)

    @property
    def outcomes(self):
        return {outcome: count for (_, outcome), count in self.metrics.renewals.items()}


def made(**changes):
    now = time.time()
    given = {
        "login": "web", "issuer": "i", "subject": "s", "sid": "", "access_token": "a", "id_token": "",
        "refresh_token": "r1", "received_at": now, "expires_at": now + 600,
    }  # fmt: skip
    return Record(**{**given, **changes})


async def kept(store, **changes):
    """A session that is due."""
    ticket = Ticket(os.urandom(32))
    record = made(**{"received_at": 0.0, "expires_at": time.time() + 30, **changes})
    value = ticket.seal(record, os.urandom(12))
    await store.create(ticket.key, value, tags=(), idle=1000, lifetime=1000)
    return ticket


def run(scenario):
    asyncio.run(scenario())


def test_a_store_that_is_away_when_the_answer_comes_is_waited_for():
    async def scenario():
        store = MemoryStore(10**6)
        gateway = Gateway(store, "r2")
        ticket = await kept(store)
        save, failures = store.save, [1, 2, 3]

        async def flaky(key, value, *, version):
            if gateway.asked and failures:
                failures.pop()
                raise StoreError("away")
            return await save(key, value, version=version)

        store.save = flaky
        assert (await gateway.renew(ticket)).record.refresh_token == "r2"
        assert not failures
        assert gateway.asked == ["r1"]

    run(scenario)


async def once(gate, answer):
    """An answer that comes once the gate is open."""
    await gate.wait()
    return answer


def test_a_gateway_that_lost_its_lease_keeps_what_the_provider_gave():
    """It stood still, another asked with the same token and was refused: the session goes on."""

    async def scenario():
        store = MemoryStore(10**6)
        gate = asyncio.Event()

        refused = EndpointError("refused", "x", error="invalid_grant")
        first = Gateway(store, lambda _: once(gate, "r2"))
        second = Gateway(store, lambda _: late())

        async def late():
            gate.set()
            await one
            return refused

        async def no_longer(*_):
            return False

        store.extend = no_longer
        ticket = await kept(store)
        one = first.renew(ticket)
        two = second.renew(ticket)
        assert (await one).record.refresh_token == "r2"
        assert (await two).record.refresh_token == "r2"
        assert (first.asked, second.asked) == (["r1"], ["r1"])
        assert (await first.renewals.read(ticket, first.provider)).record.refresh_token == "r2"

    run(scenario)


def test_a_gateway_that_dies_while_it_asks_is_followed_by_another():
    async def scenario():
        store = MemoryStore(10**6)
        first = Gateway(store, lambda _: asyncio.Event().wait())
        second = Gateway(store, "r2")
        ticket = await kept(store)
        task = first.renew(ticket)
        while not first.asked:
            await asyncio.sleep(0)

        async def dead(*_):
            raise StoreError("this process is gone")

        first.store = SimpleNamespace(release=dead)
        task.cancel()
        await asyncio.wait((task,))
        opened = await second.renew(ticket)
        assert (opened.record.refresh_token, second.asked) == ("r2", ["r1"])

    run(scenario)


def test_who_waits_for_another_gateway_gets_what_it_made():
    async def scenario():
        store = MemoryStore(10**6)
        gate = asyncio.Event()

        first, second = Gateway(store, lambda _: once(gate, "r2")), Gateway(store, "r3")
        ticket = await kept(store)
        tasks = first.renew(ticket), second.renew(ticket)
        while not first.asked:
            await asyncio.sleep(0)
        await asyncio.sleep(3 * renewal.LEASE)  # longer than a lease that is not renewed
        gate.set()
        assert [(await task).record.refresh_token for task in tasks] == ["r2", "r2"]
        assert second.asked == []

    run(scenario)


def test_tokens_that_cannot_be_verified_yet_are_kept():
    async def scenario():
        store = MemoryStore(10**6)
        gateway = Gateway(store, "r2")
        gateway.unfit = IdentityError(Code.KEYS_UNAVAILABLE, "x")
        ticket = await kept(store)
        record = (await gateway.renew(ticket)).record
        assert (record.refresh_token, record.access_token) == ("r2", "new")
        assert record.retry_at > time.time()

    run(scenario)


@pytest.mark.parametrize(
    ("answer", "outcome", "stays"),
    [
        (EndpointError("away", "x"), "failed", True),
        (EndpointError("fault", "x"), "failed", True),
        (EndpointError("refused", "x", error="invalid_client"), "failed", True),
        (EndpointError("refused", "x", error="invalid_grant"), "refused", False),
        (ProviderError("x"), "failed", True),
        (GatewayError(Code.LOGIN_UNAVAILABLE, "x"), "failed", True),
    ],
    ids=lambda value: str(value),
)
def test_what_becomes_of_a_session_that_is_not_renewed(answer, outcome, stays):
    async def scenario():
        store = MemoryStore(10**6)
        gateway = Gateway(store, answer)
        ticket = await kept(store)
        opened = await gateway.renew(ticket)
        assert gateway.outcomes == {outcome: 1}
        assert (await gateway.renewals.read(ticket, gateway.provider)) == opened
        assert (opened is not None) is stays
        if stays:
            assert opened.record.failures == 1
            assert opened.record.retry_at > time.time()
            assert opened.record.refresh_token == "r1"
            await gateway.renew(ticket)  # not before its time
            assert len(gateway.asked) == 1

    run(scenario)


def test_pauses_grow():
    async def scenario():
        store = MemoryStore(10**6)
        gateway = Gateway(store, EndpointError("away", "x", retry_after=30.0))
        pauses = []
        for failures in (0, 3, 20):
            ticket = await kept(store, failures=failures)
            record = (await gateway.renew(ticket)).record
            pauses.append(round(record.retry_at - time.time()))
        assert pauses == [30, 30, 60]
        gateway.answer = EndpointError("away", "x", retry_after=1e9)
        record = (await gateway.renew(await kept(store))).record
        assert record.retry_at - time.time() < 61

    run(scenario)


def test_a_value_that_another_has_sealed_is_no_session():
    async def scenario():
        store = MemoryStore(10**6)
        gateway = Gateway(store, "r2")
        ticket = await kept(store)
        for name, issuer in (("other", "i"), ("web", "j")):  # a reload has made it another's
            stranger = SimpleNamespace(name=name, issuer=SimpleNamespace(issuer=issuer))
            assert await gateway.renewals.read(ticket, stranger) is None
        assert await gateway.renewals.read(ticket, gateway.provider) is not None
        stored = await store.get(ticket.key)
        await store.save(ticket.key, stored.value[:-1] + b"\0", version=1)
        assert await gateway.renewals.read(ticket, gateway.provider) is None

    run(scenario)
