import asyncio
import base64
import json
import pickle
import socket
from contextlib import asynccontextmanager

import pytest

from gateway.errors import Problem
from gateway.identify.revoked import Change, Denial, Key
from gateway.record.metrics import (
    AddressGauges,
    RateLimitGauges,
    SessionGauges,
    TargetGauges,
    UpstreamGauges,
)
from gateway.serve import link
from gateway.serve.link import (
    Activated, Asked, Count, Deny, Drain, Link, Prepared, Recall, Recalled, Report, Told, Wanted,
    pickled,
)  # fmt: skip
from gateway.serve.session.store import MAX_VALUE, Stored


@asynccontextmanager
async def pair():
    ends = [await Link.over(sock) for sock in socket.socketpair()]
    try:
        yield ends
    finally:
        for end in ends:
            await end.finish()


def run(scenario):
    async def limited():
        async with asyncio.timeout(10):
            await scenario()

    asyncio.run(limited())


ANSWERS = [
    Prepared(edition=1),
    Prepared(edition=2, problems=(Problem("no", file="a", line=3, remedy="yes"), Problem("é"))),
    Activated(edition=3, revision="r", config_revision="c"),
    Wanted(issuer="corp"),
    Report(
        number=4,
        counts=[(["requests", "orders", "GET", "ok", 2], 3.0)],
        in_flight=1,
        connections=2,
        logs={"stdout": (1, 2, 3, 4)},
        upstreams={
            "a": UpstreamGauges(
                targets={
                    "http://a": TargetGauges(
                        addresses={"192.0.2.1:80": AddressGauges(in_use=1, state="ejected")},
                        ejections=2,
                    )
                },
                retries={"connect": 3},
            )
        },
        rate_limits=RateLimitGauges(storage="redis", error="away"),
        sessions=SessionGauges(storage="memory", sessions=3, providers={"web": "away"}),
        keyrings={"corp": "k"},
    ),
    Recalled(number=5, events=[("01J", '{"a":1}')]),
    Asked(
        number=6,
        operation="create",
        key=bytes(range(224, 256)),
        value=bytes(range(256)),
        tags=(bytes(range(32)), bytes(range(192, 224))),
        idle=1800.0,
        lifetime=43200.0,
    ),
    Asked(number=7, operation="save", key=bytes(32), value=b"v" * MAX_VALUE, version=2**53),
]


def test_both_hear_what_the_other_says():
    orders = [
        Count(number=1),
        Recall(number=2, limit=3),
        Told(number=3, answer=Stored(value=bytes(range(256)), version=1)),
        Told(number=4, failed="no"),
        Drain(),
    ]

    async def scenario():
        async with pair() as (supervisor, worker):
            for order in orders:
                supervisor.order(order)
            for answer in ANSWERS:
                worker.answer(answer)
            assert [await worker.ordered() for _ in orders] == orders
            assert [await supervisor.answered() for _ in ANSWERS] == ANSWERS

    run(scenario)


def test_the_end_is_no_message():
    async def scenario():
        async with pair() as (supervisor, worker):
            worker.answer(ANSWERS[0])
            await worker.finish()
            assert await supervisor.answered() == ANSWERS[0]
            assert await supervisor.answered() is None
            supervisor.order(Drain())  # to nobody

    run(scenario)


UPSTREAM = (
    b'{"kind":"report","upstreams":{"a":{"targets":{"b":{"addresses":'
    b'{"c":{"in_use":%s,"state":"%s"}}}}}}}'
)


def asked(**members):
    """A question that would make sense, with other members."""
    key, owner = "A" * 43 + "=", "A" * 22 + "=="
    return json.dumps(
        {"kind": "asked", "number": 1, "operation": "get", "key": key, "owner": owner} | members
    ).encode()


@pytest.mark.parametrize(
    "said",
    [
        pickle.dumps(Wanted(issuer="corp")),
        b"[]",
        b"{}",
        b'{"kind":"wanted"}',
        b'{"kind":"wanted","issuer":7}',
        b'{"kind":"wanted","issuer":"corp","more":1}',
        b'{"kind":"other"}',
        b'{"kind":"report","counts":[[["below","x"],-1]]}',
        b'{"kind":"report","counts":[[["below","x"],NaN]]}',
        b'{"kind":"report","counts":[[[["below"]],1]]}',
        b'{"kind":"report","connections":-1}',
        b'{"kind":"report","logs":{"stdout":[1,2,3]}}',
        b'{"kind":"report","counts":[[["below","x"],1.7e308]]}',
        b'{"kind":"report","in_flight":' + b"9" * 400 + b"}",
        b'{"kind":"report","logs":{"stdout":[' + b"9" * 400 + b",0,0,0]}}",
        b'{"kind":"report","logs":{' + b",".join(b'"%d":[1,0,0,0]' % n for n in range(17)) + b"}}",
        b'{"kind":"report","rate_limits":{"storage":"memory","evicted":-1}}',
        b'{"kind":"report","sessions":{"storage":"memory","evicted":-1}}',
        b'{"kind":"report","sessions":{"storage":"memory","sessions":-1}}',
        b'{"kind":"report","sessions":{"storage":"other"}}',
        b'{"kind":"report","sessions":{"storage":"redis","providers":{%s}}}'
        % b",".join(b'"%d":""' % number for number in range(10_001)),
        b'{"kind":"report","tokens":{"corp":{"error":"","tokens":-1}}}',
        b'{"kind":"report","upstreams":{"a":{"targets":{},"over_budget":-1}}}',
        b'{"kind":"report","upstreams":{"a":{"targets":{},"retries":{"x":-1}}}}',
        b'{"kind":"report","upstreams":{"a":{"targets":{"b":{"addresses":{},"ejections":-1}}}}}',
        UPSTREAM % (b"-1", b"healthy"),
        UPSTREAM % (b"9" * 400, b"healthy"),
        UPSTREAM % (b"1", b"worst"),
        b'{"kind":"recalled","number":1,"events":[["a"]]}',
        asked(operation="close"),
        asked(operation="status"),
        asked(operation="_entries"),
        asked(key="A" * 42 + "=="),
        asked(key="A" * 44),
        asked(key="*"),
        asked(owner="AAAA"),
        asked(value=base64.b64encode(bytes(MAX_VALUE + 1)).decode()),
        asked(tags=["A" * 43 + "="] * 5),
        asked(tags=["AAAA"]),
        asked(number=-1),
        asked(version=2**60),
        asked(seconds=0),
        asked(seconds=-1),
        asked(idle=1e300),
        asked(lifetime=float("nan")),
        asked(more=1),
    ],
)
def test_a_worker_is_believed_nothing_else(said):
    async def scenario():
        async with pair() as (supervisor, worker):
            worker.send(said)
            with pytest.raises(ValueError):
                await supervisor.answered()

    run(scenario)


def test_a_question_that_makes_sense_is_heard():
    async def scenario():
        async with pair() as (supervisor, worker):
            worker.send(asked())
            assert await supervisor.answered() == Asked(number=1, operation="get", key=bytes(32))

    run(scenario)


def test_a_workers_message_has_a_limit(monkeypatch):
    monkeypatch.setattr(link, "MAX_REPORT", 100)

    async def scenario():
        async with pair() as (supervisor, worker):
            worker.send(b"x" * 101)
            with pytest.raises(ValueError, match="101 bytes"):
                await supervisor.answered()

    run(scenario)


@pytest.mark.parametrize(
    "change",
    [
        Change(source="a"),
        Change(source="a", unsure="away"),
        Change(source="a", put={Key("corp", "jti", "1"): Denial(), Key("b", "sub", "x"): Denial(1.0, 2.0)}),
        Change(source="a", drop=(Key("corp", "jti", "1"), Key("b", "sub", "x")), unsure=""),
    ],
)  # fmt: skip
def test_a_change_of_the_deny_lists_arrives_as_it_was(change):
    order = pickle.loads(pickled(Deny.of(change)))
    assert order.change() == change
    assert all(
        type(key) is Key and type(each) is Denial for key, each in order.change().put.items()
    )
