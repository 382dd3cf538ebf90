"""What several workers count, as one."""

from types import SimpleNamespace

from gateway.record.metrics import (
    AddressGauges,
    RateLimitGauges,
    SessionGauges,
    TargetGauges,
    TargetGauges,
    TokenGauges,
    UpstreamGauges,
)
from gateway.serve.link import Report
from gateway.serve.tally import Tally


def upstream(in_use, *, state="healthy", ejections=0, retries=0, over_budget=0):
    address = AddressGauges(in_use=in_use, idle=1, waiting=2, state=state)
    target = TargetGauges(addresses={"192.0.2.1:80": address}, ejections=ejections)
    return UpstreamGauges(
        targets={"http://a": target},
        retries={"connect": retries} if retries else {},
        over_budget=over_budget,
    )


def member(**report):
    return SimpleNamespace(report=Report(**report), requests=0)


def test_connections_add_up_and_the_worst_state_counts():
    tally = Tally([
        member(upstreams={"a": upstream(1), "b": upstream(5)}),
        member(upstreams={"a": upstream(2, state="ejected", ejections=1, retries=3)}),
    ])  # fmt: skip
    found = tally.upstreams()
    (address,) = found["a"].targets["http://a"].addresses.values()
    assert address == AddressGauges(in_use=3, idle=2, waiting=4, state="ejected")
    assert found["a"].targets["http://a"].ejections == 1
    assert found["a"].retries == {"connect": 3}
    assert found["b"] == upstream(5)


def test_what_a_worker_counted_outlives_it():
    first = member(upstreams={"a": upstream(1, ejections=2, retries=3, over_budget=4)})
    second = member(upstreams={"a": upstream(1, ejections=1, retries=1, over_budget=1)})
    members = [first, second]
    tally = Tally(members)
    before = tally.upstreams()
    members.remove(first)
    tally.ended(first)
    after = tally.upstreams()
    assert after["a"].targets["http://a"].ejections == 3
    assert (after["a"].retries, after["a"].over_budget) == ({"connect": 4}, 5)
    assert after["a"].targets["http://a"].addresses != before["a"].targets["http://a"].addresses


def test_an_upstream_that_nobody_has_any_more_is_not_shown():
    gone = member(upstreams={"a": upstream(1, retries=3)})
    tally = Tally([member()])
    tally.ended(gone)
    assert tally.upstreams() == {}


def test_sessions_have_the_faults_of_all():
    tally = Tally([
        member(sessions=SessionGauges(storage="redis", providers={"web": ""})),
        member(sessions=SessionGauges(storage="redis", error="away", providers={"web": "500"})),
    ])  # fmt: skip
    assert tally.sessions() == SessionGauges(
        storage="redis", error="away", providers={"web": "500"}
    )
    assert Tally([]).sessions() == SessionGauges(storage="memory")


def test_rate_limits_add_up():
    tally = Tally([
        member(rate_limits=RateLimitGauges(storage="memory", evicted=1)),
        member(rate_limits=RateLimitGauges(storage="memory", error="held", evicted=2)),
    ])  # fmt: skip
    assert tally.rate_limits() == RateLimitGauges(storage="memory", error="held", evicted=3)


def test_kept_tokens_add_up():
    corp, own = TokenGauges(error="away", tokens=2), TokenGauges(tokens=1)
    tally = Tally([
        member(tokens={"corp": corp, "own": own}),
        member(tokens={"corp": TokenGauges(tokens=3)}),
    ])  # fmt: skip
    assert tally.tokens() == {"corp": TokenGauges(error="away", tokens=5), "own": own}
