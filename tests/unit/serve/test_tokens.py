"""Tokens that are kept, renewed and refused, with a clock and an endpoint of the test's own."""

import asyncio

import pytest

from gateway.config.model import TokenEndpoint
from gateway.errors import Code, ForwardError
from gateway.model import TokenRequest
from gateway.record.metrics import Metrics
from gateway.serve import tokens
from gateway.serve.oauth_client import Credentials, EndpointError
from gateway.serve.tokens import TokenService, TokenSource

SECTION = TokenEndpoint(
    url="https://as.example/token", client={"id": "a", "secret": "b"}, keep=1000.0
)
START = 1_790_000_000.0


class Endpoint:
    """Stands for the calls; `answer` is a mapping or an error, `gate` holds them back."""

    def __init__(self, monkeypatch):
        self.now = START
        self.forms = []
        self.answer = {"expires_in": 100}
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_once = self.most = 0
        monkeypatch.setattr(tokens, "call", self.call)
        self.metrics = Metrics()
        self.source = TokenSource(
            "corp", SECTION, Credentials.read(SECTION.client), self.metrics, set(),
            clock=lambda: self.now,
        )  # fmt: skip

    async def call(self, section, credentials, form, now):
        assert section is SECTION
        self.forms.append(dict(form))
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await self.gate.wait()
        self.at_once -= 1
        if isinstance(self.answer, Exception):
            raise self.answer
        number = len(self.forms)
        return {"access_token": f"t{number}", "token_type": "Bearer", **self.answer}

    async def ask(self, name="alice", expires_at=None):
        """The token, or the code of the refusal."""
        request = TokenRequest(
            endpoint="corp",
            fields=(("grant_type", "x"),),
            subject_token=name.encode(),
            expires_at=expires_at,
            key=name.encode(),
        )
        try:
            return (await self.source.header(request)).decode().removeprefix("Bearer ")
        except ForwardError as error:
            return error.code

    async def idle(self):
        """Wait until no call is under way."""
        while self.source._calls:
            await asyncio.sleep(0)


def scenario(test):
    def run(monkeypatch):
        async def main():
            async with asyncio.timeout(30):
                endpoint = Endpoint(monkeypatch)
                await test(endpoint)
                await endpoint.idle()

        asyncio.run(main())

    return run


@scenario
async def test_a_token_is_used_until_shortly_before_its_end(endpoint):
    assert await endpoint.ask() == "t1"
    endpoint.now = START + 67
    assert await endpoint.ask() == "t1"
    assert len(endpoint.forms) == 1
    endpoint.now = START + 90
    assert await endpoint.ask() == "t2"


@scenario
async def test_it_is_renewed_before_while_requests_go_on(endpoint):
    assert await endpoint.ask() == "t1"
    endpoint.now = START + 70
    endpoint.gate.clear()
    assert [await endpoint.ask() for _ in range(3)] == ["t1"] * 3
    while not endpoint.at_once:
        await asyncio.sleep(0)
    assert len(endpoint.forms) == 2
    endpoint.gate.set()
    await endpoint.idle()
    assert await endpoint.ask() == "t2"
    assert len(endpoint.forms) == 2


@scenario
async def test_a_renewal_that_fails_leaves_the_token_until_its_end(endpoint):
    assert await endpoint.ask() == "t1"
    endpoint.now = START + 70
    endpoint.answer = EndpointError("away", "no answer")
    for _ in range(5):
        assert await endpoint.ask() == "t1"
        await endpoint.idle()
    assert len(endpoint.forms) == 2  # not again at once
    assert endpoint.source.gauges().error == "no answer"
    endpoint.now = START + 72
    assert await endpoint.ask() == "t1"
    await endpoint.idle()
    assert len(endpoint.forms) == 3
    endpoint.now = START + 90
    assert await endpoint.ask() is Code.TOKEN_ENDPOINT_AWAY


@scenario
async def test_a_renewal_that_is_refused_ends_the_token(endpoint):
    assert await endpoint.ask() == "t1"
    endpoint.now = START + 70
    endpoint.answer = EndpointError("refused", "no", error="invalid_grant")
    assert await endpoint.ask() == "t1"
    await endpoint.idle()
    assert await endpoint.ask() is Code.EXCHANGE_REFUSED
    assert endpoint.source.gauges().tokens == 0


@scenario
async def test_it_is_never_used_beyond_the_subject_token(endpoint):
    assert await endpoint.ask(expires_at=START + 30) == "t1"
    endpoint.now = START + 29
    assert await endpoint.ask(expires_at=START + 30) == "t1"
    await endpoint.idle()
    assert len(endpoint.forms) == 1
    endpoint.now = START + 30  # within the leeway it passes still
    assert await endpoint.ask(expires_at=START + 30) == "t2"
    assert await endpoint.ask(expires_at=START + 30) == "t3"


@scenario
async def test_the_time_that_the_call_took_is_no_time_of_the_token(endpoint):
    endpoint.gate.clear()
    waiting = asyncio.create_task(endpoint.ask())
    while not endpoint.forms:
        await asyncio.sleep(0)
    endpoint.now = START + 60
    endpoint.gate.set()
    assert await waiting == "t1"
    endpoint.now = START + 90
    assert await endpoint.ask() == "t2"


@scenario
async def test_a_refusal_stands_for_a_short_time_and_for_its_token_alone(endpoint):
    endpoint.answer = EndpointError("refused", "no", error="access_denied")
    assert [await endpoint.ask() for _ in range(3)] == [Code.EXCHANGE_DENIED] * 3
    assert len(endpoint.forms) == 1
    endpoint.answer = {}
    assert await endpoint.ask("bob") == "t2"
    endpoint.now = START + 5
    assert await endpoint.ask() == "t3"


@scenario
async def test_one_token_cannot_have_the_endpoint_left_alone(endpoint):
    endpoint.answer = EndpointError("away", "answered 500")
    for second in range(20):
        endpoint.now = START + 2 * second
        assert await endpoint.ask("mallory") is Code.TOKEN_ENDPOINT_AWAY
        assert await endpoint.ask("mallory") is Code.TOKEN_ENDPOINT_AWAY
    assert len(endpoint.forms) == 20
    endpoint.answer = {}
    assert await endpoint.ask("alice") == "t21"
    assert endpoint.source.gauges().error == ""


@scenario
async def test_an_endpoint_that_fails_the_gateway_itself_is_left_alone(endpoint):
    endpoint.answer = EndpointError("away", "answered 500")
    for second in range(20):
        endpoint.now = START + second
        assert await endpoint.ask("") is Code.TOKEN_ENDPOINT_AWAY
    assert len(endpoint.forms) < 10


@scenario
async def test_one_request_finds_out_whether_the_endpoint_is_back(endpoint):
    endpoint.answer = EndpointError("away", "no answer")
    for number in range(3):
        assert await endpoint.ask(f"s{number}") is Code.TOKEN_ENDPOINT_AWAY
    assert await endpoint.ask("alice") is Code.TOKEN_ENDPOINT_AWAY
    assert len(endpoint.forms) == 3
    endpoint.now = START + 0.5
    endpoint.gate.clear()
    first = asyncio.create_task(endpoint.ask("bob"))
    while len(endpoint.forms) < 4:
        await asyncio.sleep(0)
    assert await endpoint.ask("alice") is Code.TOKEN_ENDPOINT_AWAY  # at once
    assert len(endpoint.forms) == 4
    endpoint.gate.set()
    assert await first is Code.TOKEN_ENDPOINT_AWAY
    endpoint.now = START + 1.4  # the pause has doubled
    assert await endpoint.ask("alice") is Code.TOKEN_ENDPOINT_AWAY
    assert len(endpoint.forms) == 4
    endpoint.now = START + 1.5
    endpoint.answer = {}
    assert await endpoint.ask("bob") == "t5"
    assert await endpoint.ask("alice") == "t6"


@scenario
async def test_pauses_have_an_end(endpoint):
    endpoint.answer = EndpointError("away", "busy", retry_after=86_400.0)
    assert await endpoint.ask() is Code.TOKEN_ENDPOINT_AWAY
    endpoint.answer = {}
    endpoint.now = START + 29
    assert await endpoint.ask("bob") is Code.TOKEN_ENDPOINT_AWAY
    endpoint.now = START + 30
    assert await endpoint.ask("bob") == "t2"


@scenario
async def test_calls_at_once_are_few_and_those_that_wait_are_counted(endpoint):
    endpoint.gate.clear()
    most = tokens.MAX_CALLS + tokens.MAX_WAITING
    waiting = [asyncio.create_task(endpoint.ask(f"s{number}")) for number in range(most)]
    while len(endpoint.source._calls) < most or endpoint.at_once < tokens.MAX_CALLS:
        await asyncio.sleep(0)
    assert await endpoint.ask("one more") is Code.TOKEN_ENDPOINT_AWAY
    endpoint.gate.set()
    await asyncio.gather(*waiting)
    assert endpoint.most == tokens.MAX_CALLS
    assert await endpoint.ask("one more") == f"t{most + 1}"


@pytest.mark.parametrize("limit", ["MAX_TOKENS", "MAX_BYTES"])
def test_what_is_kept_is_bounded_and_the_least_used_leaves(monkeypatch, limit):
    monkeypatch.setattr(tokens, limit, 3 if limit == "MAX_TOKENS" else 3 * 530)

    @scenario
    async def test(endpoint):
        for name in "abc":
            await endpoint.ask(name)
        assert await endpoint.ask("a") == "t1"
        await endpoint.ask("d")
        assert endpoint.source.gauges().tokens == 3
        assert await endpoint.ask("a") == "t1"
        assert await endpoint.ask("b") == "t5"

    test(monkeypatch)


@scenario
async def test_what_has_ended_leaves(endpoint):
    for name in "abc":
        await endpoint.ask(name)
    endpoint.now = START + 200
    await endpoint.ask("d")
    assert endpoint.source.gauges().tokens == 1
    assert endpoint.source._size == len("Bearer t4") + tokens.OVERHEAD


@scenario
async def test_failures_that_are_remembered_are_bounded(endpoint):
    endpoint.answer = EndpointError("refused", "no", error="access_denied")
    for number in range(tokens.MAX_FAILURES + 5):
        await endpoint.ask(f"s{number}")
    assert len(endpoint.source._failed) == tokens.MAX_FAILURES


@scenario
async def test_a_fault_of_ours_is_a_refusal(endpoint):
    endpoint.answer = RuntimeError("on purpose")
    assert await endpoint.ask() is Code.TOKEN_ENDPOINT_FAULT
    assert not endpoint.source._calls


@scenario
async def test_whoever_waits_at_the_end_is_refused(endpoint):
    endpoint.gate.clear()
    waiting = asyncio.create_task(endpoint.ask())
    while not endpoint.forms:
        await asyncio.sleep(0)
    service = TokenService(endpoint.metrics)
    service._tasks = endpoint.source._tasks
    service.close()
    assert await waiting is Code.TOKEN_ENDPOINT_AWAY


@scenario
async def test_all_is_counted(endpoint):
    await endpoint.ask()
    await endpoint.ask()
    endpoint.answer = EndpointError("refused", "no", error="invalid_grant")
    await endpoint.ask("bob")
    await endpoint.ask("bob")
    assert endpoint.metrics.tokens == {
        ("corp", "issued"): 1, ("corp", "cached"): 1, ("corp", "refused"): 2,
    }  # fmt: skip
    assert endpoint.metrics.token_calls == {("corp", "issued"): 1, ("corp", "refused"): 1}


def test_a_configuration_keeps_what_it_does_not_change(tmp_path):
    service = TokenService(Metrics())
    (tmp_path / "s").write_text("one")
    other = SECTION.model_copy(
        update={"client": SECTION.client.model_copy(
            update={"secret": None, "secret_file": tmp_path / "s"}
        )}
    )  # fmt: skip
    service.activate(service.prepare({"a": SECTION, "b": other}))
    before = dict(service.sources)
    (tmp_path / "s").write_text("two")
    changed = SECTION.model_copy(update={"keep": 1.0})
    after = service.prepare({"a": SECTION, "b": other, "c": changed})
    assert after["a"] is before["a"]
    assert after["b"] is not before["b"]
    assert service.prepare({"a": changed})["a"] is not before["a"]
