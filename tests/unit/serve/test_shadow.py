"""The shadow's thread: what it is given, what it gives back, and what it may cost."""

import asyncio
import string
import threading
import time
import tracemalloc
from dataclasses import dataclass, field, replace
from fractions import Fraction
from types import SimpleNamespace

import pytest

from gateway import wire
from gateway.decide.document import native
from gateway.decide.variants import REQUESTS, Shadow, first
from gateway.errors import Code, DecisionError
from gateway.model import Decision
from gateway.record.mask import Mask
from gateway.record.metrics import Metrics
from gateway.record.recorder import Recorder
from gateway.record.ring import Ring
from gateway.route.query import parse_query
from gateway.serve import shadow as module
from gateway.serve.shadow import Shadowing, enforced
from tests.support.gateway import live, until
from tests.support.recording import forward, head, refuse

DENIED = Decision(allow=False, code=Code.POLICY_DENIED, result=False)


@dataclass
class Scripted:
    """A decider that does what the test says."""

    act: object = lambda: DENIED
    asked: list = field(default_factory=list)
    entrypoints: dict = field(default_factory=lambda: {"native": "a/allow"})

    def decide(self, document, match, now):
        self.asked.append((document, now, threading.current_thread().name))
        return self.act()


def shadow(decider, *, share="1", queue=1000, cpu=1.0, revision="s1"):
    return Shadow(
        policies=SimpleNamespace(revision=revision),
        decider=decider,
        tested={},
        sampled=first(Fraction(share), REQUESTS),
        queue=queue,
        cpu=cpu,
    )


class Shadowed:
    """A Shadowing with one shadow; `lines` are what it wrote."""

    def __init__(self, decider, **options):
        self.lines = []
        self.metrics = Metrics()
        self.shadow = shadow(decider, **options)
        self.recorder = Recorder(
            metrics=self.metrics, ring=Ring(0), decisions=self.lines.append,
            entrypoints={"native": "a/allow"},
        )  # fmt: skip
        self.made = Shadowing(self.metrics)
        self.made.activate(self.shadow, "r1")

    def offer(self, outcome=None, body=0):
        self.made.offer(self.shadow, outcome or forward(now=7.0), self.recorder, body)

    def counts(self):
        return {outcome: count for (_, outcome), count in self.metrics.shadow.items()}

    async def counted(self, **expected):
        await until(lambda: self.counts() == expected)


@live
async def test_a_difference_is_counted_written_and_reported():
    decider = Scripted()
    given = Shadowed(decider)
    given.offer()
    await given.counted(allow_to_deny=1)
    ((document, now, thread),) = decider.asked
    assert document["request"]["path"] == "/orders/42"
    assert (now, thread) == (7.0, "shadow")
    assert len(given.lines) == 1
    assert given.made.report.as_dict()["differences"][0]["examples"] == ["d-1"]
    assert given.metrics.shadow_cpu > 0
    assert given.made.weight == 0
    await given.made.close()


@pytest.mark.parametrize(
    ("pointer", "told"),
    [
        (("reasons",), "allow"),
        (("reasons", "0", "code"), "allow"),
        (("result",), "allow"),
        (("result", "reasons"), "allow"),
        (("subject",), "allow: reader"),
    ],
)
@live
async def test_reasons_that_are_masked_are_not_in_the_report(pointer, told):
    given = Shadowed(Scripted())
    given.recorder = replace(given.recorder, mask=Mask(pointers=(pointer,)))
    given.offer()
    await given.counted(allow_to_deny=1)
    (kind,) = given.made.report.as_dict()["differences"]
    assert kind["enforced"] == told
    await given.made.close()


def raising(error):
    def act():
        raise error

    return act


@pytest.mark.parametrize(
    "act",
    [
        raising(RuntimeError("broken")),
        raising(MemoryError()),
        raising(RecursionError()),
        raising(DecisionError(Code.WORK_LIMIT, "more than 1000 steps")),
        lambda: "no decision at all",
    ],
    ids=str,
)
@live
async def test_a_shadow_that_fails_goes_on(act, caplog):
    given = Shadowed(Scripted(act))
    for _ in range(3):
        given.offer()
    await given.counted(error=3)
    assert given.made.weight == 0
    await given.made.close()


@live
async def test_what_is_not_offered():
    decider = Scripted()
    given = Shadowed(decider)
    given.offer(refuse(Code.TOKEN_EXPIRED, document=None, decision=None))
    given.offer(forward(canary=True))
    given.offer()
    await given.counted(allow_to_deny=1)
    assert len(decider.asked) == 1
    await given.made.close()


@live
async def test_a_share_is_sampled():
    decider = Scripted(lambda: Decision(allow=True, result=True))
    for share, fewest, most in (("0", 0, 0), ("1/4", 150, 350)):
        given = Shadowed(decider, share=share)
        decider.asked.clear()
        for number in range(1000):
            given.offer(forward(head=head(id=f"d-{number}")))
        await until(lambda: not given.made.queued())
        assert fewest <= len(decider.asked) <= most
        await given.made.close()


@live
async def test_a_full_queue_drops():
    gate = threading.Event()
    decider = Scripted(lambda: DENIED if gate.wait(10) else None)
    given = Shadowed(decider, queue=3)
    given.offer()
    await until(lambda: decider.asked)  # the thread has taken it, and waits
    for _ in range(5):
        given.offer()
    assert given.counts() == {"dropped": 2}
    gate.set()
    await given.counted(dropped=2, allow_to_deny=4)
    assert given.made.report.as_dict()["counts"][1] == {
        "route": "native", "outcome": "dropped", "count": 2,
    }  # fmt: skip
    await given.made.close()


@live
async def test_large_bodies_fill_the_queue_too():
    gate = threading.Event()
    decider = Scripted(lambda: DENIED if gate.wait(10) else None)
    given = Shadowed(decider)
    given.offer(body=module.MAX_WEIGHT // module.PARSED * 9 // 10)
    given.offer(body=module.MAX_WEIGHT // module.PARSED)
    assert given.counts() == {"dropped": 1}
    gate.set()
    await given.counted(dropped=1, allow_to_deny=1)
    await given.made.close()


LETTERS = string.ascii_letters + string.digits
SHORT = [one + two for one in LETTERS for two in LETTERS]


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"query_string": "&".join(SHORT[:2751]).encode()},
        {"query_string": "&".join(LETTERS).encode()},
        {"query_string": b"&".join([b"a"] * 4000)},
        {"query_string": b"a=%C4%80&" * 600 + b"a=a"},
        {"headers": ((b"cookie", ";".join(a + b for a in SHORT for b in "xyz").encode()),)},
        {"headers": tuple((b"a%d" % number, b"b") for number in range(100))},
        {"headers": ((b"cookie", ";".join(SHORT).encode()),) * 3},
    ],
    ids=["nothing", "names", "letters", "one name", "escapes", "cookies", "lines", "three cookies"],
)
def test_no_request_takes_more_memory_than_it_is_weighed(sent):
    made = head(**sent)
    match = SimpleNamespace(
        host="api.example", path="/", segments=(), params={},
        route=SimpleNamespace(id="native", labels={}), query={},
    )  # fmt: skip
    principal = SimpleNamespace(authenticated=False, claims={}, token_header={}, expires_at=None)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        match.query = parse_query(made.query_string)
        document = native(
            SimpleNamespace(
                head=made, match=match, principal=principal, fields=made.fields, now=0.0,
                rules=SimpleNamespace(hidden=frozenset(), cookie=b""),
                source=SimpleNamespace(scheme="http", address="", networks=()),
                body=SimpleNamespace(value=None, size=0),
            )
        )  # fmt: skip
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert document["request"]["id"] == "d-1"
    assert taken <= module.weight_of(made, 0)


@pytest.mark.parametrize(
    "content",
    [b"&".join([b"a"] * 4000), "&".join(SHORT[:2751]).encode()],
    ids=["one name", "names"],
)
def test_no_form_takes_more_memory_than_it_is_weighed(content):
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        form = wire.form(content)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert form
    assert taken <= module.weight_of(head(), len(content))


@live
async def test_heads_of_many_pieces_fill_the_queue_too():
    gate = threading.Event()
    decider = Scripted(lambda: DENIED if gate.wait(10) else None)
    given = Shadowed(decider)
    heavy = forward(head=head(query_string=b"&".join([b"a"] * 4000)))
    fits = module.MAX_WEIGHT // module.weight_of(heavy.trail.head, 0)
    for _ in range(fits + 3):
        given.offer(heavy)
    assert given.counts() == {"dropped": 3}
    gate.set()
    await given.counted(dropped=3, allow_to_deny=fits)
    await given.made.close()


@live
async def test_its_share_of_the_processor_is_bounded():
    def busy():
        until_ = time.thread_time() + 0.002
        while time.thread_time() < until_:
            pass
        return DENIED

    given = Shadowed(Scripted(busy), cpu=0.2, queue=50)
    began = time.monotonic()
    for _ in range(200):
        given.offer()
        await asyncio.sleep(0)
    await until(lambda: not given.made.queued() and sum(given.counts().values()) == 200)
    passed = time.monotonic() - began
    await given.made.close()
    assert given.counts()["dropped"] >= 100
    assert given.metrics.shadow_cpu <= 0.2 * passed + 0.01  # no more than its part, and one burst


@live
async def test_closing_drops_what_waits():
    gate = threading.Event()
    decider = Scripted(lambda: DENIED if gate.wait(10) else None)
    given = Shadowed(decider)
    for _ in range(3):
        given.offer()
    await until(lambda: decider.asked)
    closing = asyncio.create_task(given.made.close())
    await until(given.made._closing.is_set)
    given.offer()
    gate.set()
    await closing
    await given.counted(allow_to_deny=1, dropped=3)


@live
async def test_a_new_revision_begins_a_new_report():
    given = Shadowed(Scripted())
    given.offer()
    await given.counted(allow_to_deny=1)
    report = given.made.report
    given.made.activate(given.shadow, "r1")  # a reload that changed something else
    assert given.made.report is report
    given.made.activate(given.shadow, "r2")
    assert given.made.report.counts == {}
    given.offer()  # of a request that began before
    await given.counted(allow_to_deny=2)
    assert given.made.report.counts == {}
    given.made.activate(None, "r2")
    assert given.made.report is None
    await given.made.close()


def test_the_verdict_that_counts():
    assert enforced(forward()).allow
    denied = enforced(refuse(Code.POLICY_DENIED, decision=DENIED))
    assert (denied.allow, denied.code) == (False, Code.POLICY_DENIED)
    failed = enforced(refuse(Code.WORK_LIMIT, decision=None, detail="too much"))
    assert (failed.decision, failed.code, failed.detail) == (None, Code.WORK_LIMIT, "too much")
    reported = enforced(forward(decision=DENIED, unenforced=Code.POLICY_DENIED))
    assert not reported.allow  # what passes on a route that only reports is no allow
    assert enforced(forward(decision=None, unenforced=Code.EVAL_ERROR)).code is Code.EVAL_ERROR
    later = enforced(refuse(Code.BODY_TOO_LARGE))
    assert later.allow  # the policy allowed it
