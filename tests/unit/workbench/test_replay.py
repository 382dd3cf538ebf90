"""Past decisions with other policies: what changes, why, and what cannot be told."""

import io
import json
import tracemalloc
from itertools import islice

import pytest

from gateway.bundle.folder import PolicySources
from gateway.config.model import Config
from gateway.errors import ConfigError
from gateway.rego.program import DEFAULT_STEPS
from gateway.workbench import replay as module
from gateway.workbench.approved import read_approved
from gateway.workbench.candidate import Candidate, Rule
from gateway.workbench.events import Read, read_events
from gateway.workbench.replay import Replay, readings
from gateway.workbench.replay_report import as_dict, as_lines

POLICY = """package gateway.authz

default allow := false

allow if "reader" in input.roles

allow if input.path == "/public"

allow if time.now_ns() < 1000000000

reasons contains "no-role" if not allow

reasons contains {"code": "banned"} if input.user == "mallory"

default headers := {}

headers := {"x-user": input.user} if allow

decision := {"allow": allow, "reasons": reasons, "headers": headers}

split := {"allowed": true} if allow

lucky if rand.intn("a", 2) < 2

wide := count(input) > 1

broken := 1 / input.zero

heavy := {n | some n in numbers.range(1, 100000)}
"""
DECISION = "gateway/authz/decision"
ALLOW = "data.gateway.authz.allow"
FILE = "policies/authz.rego"


def sources(text=POLICY):
    return PolicySources(
        modules={FILE: text}, tests={}, data={}, modules_digest="", data_digest="", revision="r2"
    )


@pytest.fixture(scope="module")
def candidate():
    return Candidate(sources(), DEFAULT_STEPS)


def event(document=None, result=None, path=DECISION, **more):
    made = {
        "decision_id": "d",
        "timestamp": "2026-09-21T14:13:20Z",
        "path": path,
        "input": document,
    }
    return made | ({} if result is None else {"result": result}) | more


def replayed(candidate, *events, approved=(), **options):
    replay = Replay(candidate, approved, **options)
    for number, each in enumerate(events, 1):
        replay.add(each if isinstance(each, Read) else Read("log", number, each))
    return replay


def changes(replay):
    return [
        (group.kind, group.before, group.after, group.rule and group.rule[1:])
        for group in replay.groups.values()
    ]


READER = {"roles": ["reader"], "path": "/", "user": "alice"}
NOBODY = {"roles": [], "path": "/", "user": "alice"}
MALLORY = {"roles": [], "path": "/", "user": "mallory"}
PUBLIC = {"roles": [], "path": "/public", "user": "alice"}
YES = {"allow": True, "reasons": [], "headers": {"x-user": "alice"}}
NO = {"allow": False, "reasons": ["no-role"], "headers": {}}


@pytest.mark.parametrize(
    ("given", "change"),
    [
        (event(READER, YES), None),
        (event(NOBODY, NO), None),
        (event(NOBODY, YES), ("allow-to-deny", (), ("no-role",), (FILE, 3, True))),
        (event(READER, NO), ("deny-to-allow", ("no-role",), (), (FILE, 5, False))),
        (event(PUBLIC, NO), ("deny-to-allow", ("no-role",), (), (FILE, 7, False))),
        # at its own time
        (event(NOBODY, NO, timestamp="1970-01-01T00:00:00.5Z"),
         ("deny-to-allow", ("no-role",), (), (FILE, 9, False))),
        # the same outcome
        (event(READER, YES | {"headers": {"x-user": "bob"}}), ("result", (), (), None)),
        (event(MALLORY, NO), ("result", ("no-role",), ("banned", "no-role"), None)),
        # 1 is not true
        (event(READER, 1, "gateway/authz/allow"),
         ("deny-to-allow", (), (), (FILE, 5, False))),
        (event(NOBODY, True, "gateway.authz.allow"),
         ("allow-to-deny", (), (), (FILE, 3, True))),
        (event(NOBODY, False, "gateway/authz/allow"), None),
        # `allowed` of the Envoy plugin; undefined denies
        (event(READER, {"allowed": True}, "gateway/authz/split"), None),
        (event(READER, {"allowed": False}, "gateway/authz/split"),
         ("deny-to-allow", (), (), (FILE, 5, False))),
        (event(NOBODY, None, "gateway/authz/split"), None),
        (event(NOBODY, {"allowed": True}, "gateway/authz/split"),
         ("allow-to-deny", (), ("undefined",), (FILE, 21, True))),
        # errors deny
        (event({"zero": 0}, True, "gateway/authz/broken"),
         ("allow-to-deny", (), ("eval-error",), (FILE, 27, False))),
        (event({"zero": 0}, None, "gateway/authz/broken", error={"code": "eval_builtin_error"}),
         ("result", ("eval_builtin_error",), ("eval-error",), None)),
        (event({}, True, "gateway/authz/heavy"),
         ("allow-to-deny", (), ("work-limit",), (FILE, 29, False))),
        # what was erased from a result is not compared
        (event(READER, YES | {"headers": {}}, erased=["/result/headers/x-user"]), None),
        (event(READER, YES | {"headers": {"x-user": "[erased]"}},
               masked=["/result/headers/x-user"]), None),
        (event(READER, None, erased=["/result"], outcome="forwarded"), None),
        (event(NOBODY, None, erased=["/result"], outcome="forwarded"),
         ("allow-to-deny", (), ("no-role",), (FILE, 3, True))),
        # a whole package
        (event(NOBODY, {"allow": True}, "gateway/authz"), None),
    ],
)  # fmt: skip
def test_what_changes_and_the_body_that_decides(given, change):
    if given["path"] == "gateway/authz":
        simple = Candidate(sources("package gateway.authz\n\nallow := true"), DEFAULT_STEPS)
        replay = replayed(simple, given)
    else:
        steps = 10_000 if given["path"].endswith("heavy") else DEFAULT_STEPS
        replay = replayed(Candidate(sources(), steps), given)
    assert replay.replayed == 1, replay.skips
    assert changes(replay) == ([] if change is None else [change])
    assert replay.unchanged == (change is None)


@pytest.mark.parametrize(
    ("given", "reason", "names"),
    [
        (Read("log", 7, {}, "not JSON: bad"), "malformed", ["log:7: not JSON: bad"]),
        ({"msg": "Server started"}, "other", []),
        (event(NOBODY, partial=True), "partial", []),
        (event(NOBODY, path=None, query="data.x"), "query", []),
        (event(NOBODY, path="gateway/authz/nope"), "entrypoint", ["gateway/authz/nope"]),
        (event(NOBODY, path="gateway/auth"), "entrypoint", ["gateway/auth"]),
        (event(NOBODY, NO, timestamp="soon"), "time", []),
        (event(NOBODY, None, erased=["/result"]), "outcome", []),
        (event(None, NO, erased=["/input"]), "erased", ["/input"]),
        (event(NOBODY, NO, erased=["/input/user"]), "erased", ["/input/user"]),
        (event(NOBODY, NO, masked=["/input/roles/0", "/input/x"]), "erased", ["/input/roles/0"]),
        (event(NOBODY, NO, erased=["/input/a~1b"], path="gateway/authz/wide"), "erased",
         ["/input/a~1b"]),
        (event(NOBODY, {"allow": "***"}, masked=["/result/allow"]), "outcome", []),
        (event(NOBODY, True, erased="/input"), "malformed",
         ["log:1: erased is no array of JSON pointers"]),
        *[
            (event(NOBODY, True, masked=[no_pointer]), "malformed",
             ["log:1: what was erased or masked is told by no JSON pointer"])
            for no_pointer in ("", "input/user", 7, None, ["/input"])
        ],
        (Read("log", 7, {}, "the rest is not read", cut=True), "cut",
         ["log:7: the rest is not read"]),
        (event(NOBODY, NO, path="x" * 300), "entrypoint", ["x" * 256]),
    ],
)  # fmt: skip
def test_what_is_not_replayed_and_why(given, reason, names, candidate):
    replay = replayed(candidate, given)
    assert (replay.events, replay.replayed, dict(replay.skips)) == (1, 0, {reason: 1})
    assert [name for name, _ in replay.named[reason].most()] == names


def test_what_is_erased_and_not_read_does_not_matter(candidate):
    gone = {"erased": ["/input/cookies", "/subject", "/input/rolesx"], "masked": ["/input/p"]}
    replay = replayed(candidate, event(NOBODY, NO, **gone))
    assert (replay.replayed, replay.unchanged) == (1, 1)


def test_without_an_input_there_is_none():
    """OPA's log has no input where none was given, which is not null."""
    candidate = Candidate(sources("package p\n\nallow if not input\n"), DEFAULT_STEPS)
    given = event({}, True, "p/allow")
    del given["input"]
    replay = replayed(candidate, given, event(None, None, "p/allow"))
    assert (replay.replayed, replay.unchanged) == (2, 2)


def test_entrypoints_of_which_nothing_was_replayed(candidate):
    events = [
        event(NOBODY, NO),
        event(NOBODY, NO, path="gateway/authz/nope"),
        event(NOBODY, NO, path="gateway/authz/wide", erased=["/input"]),
        event(NOBODY, NO, erased=["/input"]),
        event(NOBODY, NO, partial=True, path="gateway/other"),
    ]
    assert replayed(candidate, *events).untried == ["gateway/authz/nope", "gateway/authz/wide"]
    replay = replayed(candidate, *events, entrypoints={DECISION})
    assert (replay.untried, dict(replay.skips)) == ([], {"unwanted": 2, "erased": 1, "partial": 1})


def test_what_logs_hold_is_kept_in_part_only(candidate):
    """Long texts of a log must not add up, whatever is remembered of each event."""
    long = "x" * 1_000_000

    def events():
        for number in range(60):
            text = f"{number}{long}"
            yield event(READER, None, code=text, decision_id=text, route=text)
            yield event(READER, YES, erased=[f"/{text}"])
            yield event(READER, YES, path=text)

    replay = Replay(candidate)
    tracemalloc.start()
    try:
        for number, each in enumerate(events()):
            replay.add(Read("log", number, each))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (replay.replayed, replay.skips["entrypoint"]) == (120, 60)
    assert peak < 10 * len(long)


def test_of_a_decision_too_long_to_trace_only_the_rule_is_named():
    policy = """package p

allow if {
	some n in numbers.range(1, 20000)
	n == input.n
}

allow if input.n == 0
"""
    candidate = Candidate(sources(policy), DEFAULT_STEPS)
    replay = replayed(candidate, *(event({"n": n}, False, "p/allow") for n in (7, 0)))
    assert [group.rule for group in replay.groups.values()] == [
        Rule("data.p.allow", FILE, 4), Rule("data.p.allow", FILE, 3),
    ]  # fmt: skip


def test_chance_is_noted(candidate):
    replay = replayed(candidate, event({}, True, "gateway/authz/lucky"), event(READER, YES))
    assert replay.chance == {"gateway/authz/lucky": ("rand.intn",)}


def test_an_input_that_is_too_large_is_measured_unless_the_reader_vouches(candidate):
    deep = []
    for _ in range(200):
        deep = [deep]
    line = json.dumps(event(READER | {"deep": deep}, YES)).encode()
    (read,) = read_events(io.BufferedReader(io.BytesIO(line)), "log")
    assert read.fault.startswith("not JSON: nested deeper")
    replay = replayed(candidate, Read("log", 1, event(READER | {"deep": deep}, YES)))
    assert changes(replay)[0][:3] == ("allow-to-deny", (), ("eval-error",))


APPROVED = b"""approved:
  - {change: allow-to-deny, route: [orders, items], after: no-role, because: JIRA-1}
  - {change: deny-to-allow, rule: "policies/authz.rego:7", because: it is public}
  - {change: deny-to-allow, rule: data.gateway.authz.nothing, because: never}
  - {change: deny-to-allow, decision_id: d9, because: one}
  - {change: result, before: [], after: [], because: headers}
"""


def test_approved_changes_are_told_apart(candidate):
    approved = read_approved("ok.yaml", APPROVED)
    events = [
        event(NOBODY, YES, route="orders"),
        event(NOBODY, YES, route="other"),
        event(NOBODY, YES, route="orders", result_note=1) | {"input": MALLORY},
        event(PUBLIC, NO),
        event(READER, NO),
        event(READER, NO, decision_id="d9"),
        event(READER, YES | {"headers": {}}),
    ]
    replay = replayed(candidate, *events, approved=approved)
    assert [(group.approved.line, group.count) for group in replay.groups.values() if group.approved] == [
        (2, 1), (3, 1), (5, 1), (6, 1),
    ]  # fmt: skip
    assert sum(group.count for group in replay.found("allow-to-deny", "deny-to-allow")) == 3
    assert [each.line for each in replay.unused] == [4]


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("approved: []", []),
        ("", []),
        ("approved:\n  - {route: x, because: x}", ["f:2:5: approved.0: change is missing "
         "(Refused requests that are allowed, the reverse, or another result with the same outcome)"]),
        ("approved:\n  - {change: result, rute: x, because: y}", ["f:2:22: approved.0.rute: unknown key (did you mean 'route'?)"]),
        ("approved:\n  - {change: result, route: x}", ["f:2:5: approved.0: because is missing (Why it is meant)"]),
        *[
            (f"approved:\n  - {{change: deny-to-allow, because: x{wide}}}",
             ["f:2:5: approved.0: approves every request that was refused "
              "(say which: rule, route, subject, before or decision_id)"])
            for wide in ("", ", method: GET", ", entrypoint: a/b", ", after: []")
        ],
        ("approved:\n  - {change: sideways, because: y}", ["f:2:14: approved.0.change: expected deny-to-allow, allow-to-deny or result"]),
        ("approved: [", ["f:1:12: a value is missing before '<stream end>'"]),
    ],
)  # fmt: skip
def test_faults_of_an_allow_list(text, faults):
    if not faults:
        assert read_approved("f", text.encode()) == []
        return
    with pytest.raises(ConfigError) as caught:
        read_approved("f", text.encode())
    told = list(map(str, caught.value.problems))
    assert told == faults


@pytest.mark.parametrize("change", ["deny-to-allow", "allow-to-deny"])
@pytest.mark.parametrize("nothing", ["null", ""])
def test_what_is_empty_fits_nothing(change, nothing):
    text = f"approved:\n  - {{change: {change}, because: x, route: {nothing}}}"
    with pytest.raises(
        ConfigError, match=r"approved\.0\.route: is empty, and would fit every change"
    ):
        read_approved("f", text.encode())


def test_groups_and_examples_are_bounded(candidate, monkeypatch):
    monkeypatch.setattr(module, "MAX_GROUPS", 2)
    events = [
        event(READER, {"allow": False, "reasons": [f"r{n}"]}, decision_id=f"d{n}") for n in range(9)
    ]
    replay = replayed(candidate, *events, examples=2)
    found = replay.found("deny-to-allow")
    assert [(group.count, group.before) for group in found] == [
        (7, ("…",)),
        (1, ("r0",)),
        (1, ("r1",)),
    ]
    assert [name for name, _ in found[0].examples] == ["d2", "d3"]


def test_the_report(candidate):
    events = [
        event(NOBODY, YES, route="orders", decision_id="d1"),
        event(NOBODY, YES, route="items", decision_id="d2\x1b[31m"),
        event(PUBLIC, NO),
        event(READER, YES | {"headers": {}}),
        event(NOBODY, NO),
        event({}, True, "gateway/authz/lucky"),
        Read("log", 9, {}, "not JSON: bad"),
        event(MALLORY, NO, erased=["/input/user"]),
        event(NOBODY, NO, partial=True),
        event(READER, NO, decision_id="d9"),
    ]
    approved = read_approved(
        "ok.yaml", b"approved: [{change: deny-to-allow, decision_id: d9, because: it is meant}]"
    )
    replay = replayed(candidate, *events, approved=approved)
    assert (
        "\n".join(as_lines(replay))
        == """\
10 events, 7 replayed, 2 unchanged; policy revision r2

deny → allow: 1
  1 of gateway/authz/decision: no-role → no reason
    decided by data.gateway.authz.allow  [policies/authz.rego:7]
    d  log:3

allow → deny: 2
  2 of gateway/authz/decision: no reason → no-role
    decided by data.gateway.authz.allow, its default  [policies/authz.rego:3]
    routes: items (1), orders (1)
    d1  log:1
    d2\\x1b[31m  log:2

another result, same outcome: 1
  1 of gateway/authz/decision: no reason → no reason
    d  log:4

approved: 1
  1 of gateway/authz/decision: no-role → no reason
    deny → allow; it is meant  [ok.yaml:1]
    decided by data.gateway.authz.allow  [policies/authz.rego:5]
    d9  log:10

not replayed: 3
  cannot be read: 1
    log:9: not JSON: bad
  refused before the policy was asked: 1
  the policy reads what is erased or masked: 1
    /input/user: 1

gateway/authz/lucky calls rand.intn: what it changed may be chance"""
    )
    found = as_dict(replay)
    assert found["events"] == found["replayed"] + sum(
        each["events"] for each in found["not_replayed"].values()
    )
    (first, second) = found["changes"]
    assert (first["change"], first["count"], first["routes"]) == (
        "allow-to-deny", 2, {"items": 1, "orders": 1}
    )  # fmt: skip
    assert second["rule"] == {"name": ALLOW, "file": FILE, "line": 7, "default": False}
    assert found["approved"][0]["approved"]["because"] == "it is meant"
    assert (len(found["results"]), found["unused"]) == (1, [])
    json.dumps(found)


def test_a_long_log_takes_no_more_memory_than_a_short_one(candidate):
    replay = Replay(candidate)
    template = json.dumps(
        event(NOBODY, NO | {"reasons": ["XX"]}, route="XX"), separators=(",", ":")
    )
    before, between, after = template.encode().split(b"XX")

    def lines():
        for number in range(200_000):
            own = b"%d" % number
            if number % 5 == 0:
                yield b"bad " + own + b"\n"
            else:  # some with a reason and a route that no other has
                reason, route = (own, own) if number % 7 == 0 else (b"no-role", b"orders")
                yield before + reason + between + route + after + b"\n"

    class Log(io.RawIOBase):
        """What is read is made then."""

        rest = lines()

        def readable(self):
            return True

        def readinto(self, into):
            line = next(self.rest, b"")
            into[: len(line)] = line
            return len(line)

    reads = read_events(io.BufferedReader(Log()), "log")
    for read in islice(reads, 150_000):
        replay.add(read)
    tracemalloc.start()
    try:
        for read in reads:
            replay.add(read)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (replay.events, replay.skips["malformed"]) == (200_000, 40_000)
    assert len(replay.groups) == module.MAX_GROUPS + 1
    assert peak < 256 * 1024


def test_the_names_of_a_rule():
    assert Rule("data.a", "a.rego", 3).names == ("data.a", "a.rego", "a.rego:3")


def test_results_are_read_as_the_routes_dialects_have_it():
    config = Config.model_validate({
        "routes": [
            {"id": dialect, "paths": [f"/{dialect}"], "upstream": "http://u", "dialect": dialect}
            for dialect in ("native", "envoy")
        ]
    })  # fmt: skip
    policy = (
        'package p\n\nok := {"allow": true}\n\nodd := {"allowed": true, "headers": {"host": "x"}}'
        '\n\nboth := {"allow": false, "allowed": true}'
    )
    candidate = Candidate(sources(policy), DEFAULT_STEPS)
    events = [
        event({}, {"allow": True}, "p/ok", route="native"),
        event({}, {"allow": True}, "p/ok", route="envoy"),
        event({}, {"allow": True}, "p/odd", route="envoy"),
        event({}, {"allow": True, "headers": {"host": "x"}}, "p/odd", route="elsewhere"),
        # Each dialect has one key that allows.
        event({}, {"allow": True}, "p/both", route="native"),
        event({}, {"allow": False, "allowed": True}, "p/both", route="envoy", outcome="forwarded"),
    ]
    replay = replayed(candidate, *events, readings=readings(config))
    assert [(each.routes.most(), each.after) for each in replay.found("allow-to-deny")] == [
        ([("envoy", 1)], ("decision-shape",)),
        ([("envoy", 1)], ("decision-shape",)),
        ([("native", 1)], ("decision-shape",)),
    ]
