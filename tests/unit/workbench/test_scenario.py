"""Scenario files: what they mean, and what is said of faults in them."""

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.workbench import scenario
from gateway.workbench.scenario import MOST_ALIKE, Expectation, find_scenarios, read_scenarios

FILE = Path("a.scenario.yaml")


def read(text):
    return read_scenarios(FILE, text.encode())


def problems(text):
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [(p.line, p.key, p.message, p.remedy) for p in caught.value.problems]


def one(fields):
    (scenario,) = read(f"scenarios:\n  - {{name: x, request: GET /, {fields}}}\n")
    return scenario


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("forwarded", {"outcome": "forwarded"}),
        ("403", {"status": 403}),
        ("token-expired", {"code": "token-expired"}),
        ("403 policy-denied", {"status": 403, "code": "policy-denied"}),
        ("refused 401", {"outcome": "refused", "status": 401}),
        ("{route: orders, decision: null}", {"route": "orders", "decision": None}),
    ],
)
def test_expectations(written, meant):
    assert one(f"expect: {written}").expect == Expectation(**meant)


def test_a_file_in_full():
    text = """
now: 2026-09-21T14:13:20Z
tokens:
  alice: {claims: {roles: [reader]}, age: 1m}
scenarios:
  - name: one
    token: alice
    request: {method: PUT, path: /a, headers: {x: y}, body: {b: 1}}
    expect: forwarded
  - name: two
    request: GET /
    now: 5
    expect: 401
"""
    first, second = read(text)
    assert (first.row, first.name, first.now) == (6, "one", 1_790_000_000)
    name, token = first.token
    assert (name, token.claims, token.age) == ("alice", {"roles": ["reader"]}, 60)
    assert (first.request.method, first.request.body) == ("PUT", {"b": 1})
    assert (second.token, second.now, second.full_name) == (None, 5, "a.scenario.yaml: two")


MATRIX = """
tokens:
  bob: {claims: {roles: ["${role}"]}}
scenarios:
  - name: who
    matrix: {who: [bob, none], role: [reader, admin], methods: [[GET]], n: [1]}
    token: ${who}
    request: {path: "/${role}/${n}", headers: {x: "${methods}"}}
"""


def test_a_matrix_is_all_combinations():
    found = read(MATRIX + "    allow: [{who: bob, role: [admin]}]\n")
    assert [
        (s.name, s.token and s.token[1].claims["roles"], s.request.path, s.expect.outcome)
        for s in found
    ] == [
        ("who (who=bob, role=reader, methods=['GET'], n=1)", ["reader"], "/reader/1", "refused"),
        ("who (who=bob, role=admin, methods=['GET'], n=1)", ["admin"], "/admin/1", "forwarded"),
        ("who (who=none, role=reader, methods=['GET'], n=1)", None, "/reader/1", "refused"),
        ("who (who=none, role=admin, methods=['GET'], n=1)", None, "/admin/1", "refused"),
    ]
    assert found[0].request.headers == {"x": ["GET"]}
    assert (found[0].expect.status, found[0].expect.code) == (403, "policy-denied")


def test_a_token_can_be_like_another():
    text = """
tokens:
  alice: {claims: {a: 1, b: 2}, lifetime: 1m}
  late: {like: alice, age: 1h, claims: {b: 3}}
scenarios:
  - {name: x, request: GET /, expect: 401, token: {like: late, signed_by: stranger}}
"""
    name, token = read(text)[0].token
    assert (name, token.claims, token.age, token.lifetime, token.signed_by) == (
        "late", {"a": 1, "b": 3}, 3600, 60, "stranger",
    )  # fmt: skip


def test_no_token_is_like_itself():
    text = "tokens: {a: {like: b}, b: {like: a}}\n"
    text += "scenarios: [{name: x, request: GET /, expect: 401, token: a}]"
    assert problems(text)[0][2] == "the token 'a' is like itself"


@pytest.mark.parametrize(
    ("request_", "values", "said"),
    [
        ('{headers: {"${k}": "1"}}', "[[1]]", "a name must be a text"),
        ('{body: {"${k}": "1"}}', "[{a: 1}]", "a name must be a text"),
        ('{method: "${k}"}', "[[GET]]", "request.method must be a text"),
        ('{path: "${k}"}', "[null]", "request.path must be a text"),
    ],
)
def test_what_must_be_a_text_is_none(request_, values, said):
    text = f"scenarios:\n- name: x\n  matrix: {{k: {values}}}\n  request: {request_}\n  expect: 401"
    line, _, message = problems(text)[0][:3]
    assert line == 4
    assert message.startswith(said)


def test_numbers_are_written_where_a_text_is_wanted():
    text = (
        'scenarios: [{name: x, matrix: {k: [7]}, request: {headers: {"${k}": "1"}}, expect: 401}]'
    )
    assert read(text)[0].request.headers == {"7": "1"}


def _chain(length):
    tokens = "".join(f"  t{at}: {{like: t{at + 1}}}\n" for at in range(length))
    return f"tokens:\n{tokens}  t{length}: {{claims: {{a: 1}}}}\n"


def test_a_long_chain_of_tokens_is_refused():
    text = _chain(3_000) + "scenarios: [{name: x, request: GET /, expect: 401, token: t0}]"
    assert problems(text)[0][2] == f"more than {MOST_ALIKE} tokens, each like the next"


def test_a_chain_is_followed_once_for_a_matrix(monkeypatch):
    followed = []
    base = scenario._base
    monkeypatch.setattr(scenario, "_base", lambda *given: followed.append(1) or base(*given))
    text = _chain(MOST_ALIKE - 1) + (
        f"scenarios: [{{name: x, matrix: {{a: {list(range(30))}}}, token: t0, "
        "request: GET /, expect: 401}]"
    )
    assert {made.token[1].claims["a"] for made in read(text)} == {1}
    assert followed == [1]


def test_paths_start_at_the_file():
    text = "tokens: {t: {file: t.jwt, jwks: keys.json}}\n"
    text += "scenarios: [{name: x, token: t, request: GET /, expect: 401}]\n"
    (found,) = read_scenarios(Path("below/a.scenario.yaml"), text.encode())
    assert (found.token[1].file, found.token[1].jwks) == (
        Path("below/t.jwt"),
        Path("below/keys.json"),
    )


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ("expect: forwrded", "'forwrded' is no outcome, status or code; did you mean 'forwarded'?"),
        ("expect: {code: expired}", "'expired' is no code"),
        ("expect: {stats: 1}", "unknown key; did you mean 'status'?"),
        ("expct: 401", "unknown key; did you mean 'expect'?"),
        ("token: x", "expected either expect or allow"),
        ("expect: 401, allow: []", "expected either expect or allow"),
        ("allow: [{role: x}]", "the matrix has no role"),
        ("token: bob, expect: 401", "no token 'bob'"),
        ("token: {claims: {a: '${x}'}}, expect: 401", "the matrix has no x"),
        ("token: {jwks: k}, expect: 401", "jwks verifies the token in a file; give file, too"),
        ("token: {file: f, age: 1s}, expect: 401", "file is the whole token; leave out age"),
        ("now: yesterday, expect: 401", "expected a time such as 2026-09-21T14:13:20Z, or seconds"),
        ("now: true, expect: 401", "expected a time such as 2026-09-21T14:13:20Z, or seconds"),
        ("matrix: {a: []}, expect: 401, name: ''", "given twice"),
    ],
)
def test_faults_are_told_with_their_place(fields, problem):
    found = problems(f"scenarios:\n  - {{name: x, request: GET /, {fields}}}\n")
    assert any("; ".join(filter(None, p[2:])).startswith(problem) for p in found), found
    assert all(line == 2 for line, *_ in found)


def test_a_request_needs_two_words():
    assert problems("scenarios: [{name: x, request: GET, expect: 401}]") == [
        (1, "scenarios.0.request", "expected METHOD PATH, such as GET /orders, got 'GET'", "")
    ]


@pytest.mark.parametrize(
    ("fields", "key", "said"),
    [
        ("expect: {}", "expect", "expects nothing, so that it would always pass"),
        ("expect: {outcome: null, status: null}", "expect", "expects nothing"),
        ("expect: {headers: {}, response_headers: {}}", "expect", "expects nothing"),
        ("allow: [], otherwise: {}", "otherwise", "expects nothing"),
        ("matrix: {a: []}, expect: 403", "matrix.a", "expected at least one entry"),
        ("matrix: {a: [1]}, allow: [{a: '1'}]", "allow.0.a", "no a of the matrix is '1'"),
        ("matrix: {a: [true]}, allow: [{a: [true, 1]}]", "allow.0.a", "no a of the matrix is 1"),
    ],
)  # fmt: skip
def test_what_would_be_tested_by_mistake_only(fields, key, said):
    (found,) = problems(f"scenarios:\n  - {{name: x, request: GET /, {fields}}}\n")
    assert found[1] == f"scenarios.0.{key}"
    assert found[2].startswith(said)


def test_true_is_not_1_in_a_matrix():
    made = read(
        "scenarios:\n  - {name: x, matrix: {a: [true, 1]}, request: GET /, allow: [{a: true}]}\n"
    )
    assert [each.expect.outcome for each in made] == ["forwarded", "refused"]


def test_values_that_would_fill_the_memory():
    many = "${v}" * 20_000
    text = (
        f'scenarios:\n  - {{name: x, matrix: {{v: ["{"x" * 9000}"]}}, request: "GET /{many}", '
        "expect: 403}\n"
    )
    assert problems(text)[0][1:3] == (
        "scenarios.0.matrix", "the values are too long for so many places",
    )  # fmt: skip


def test_the_combinations_of_all_scenarios_count():
    values = ", ".join(map(str, range(100)))
    one_of = f"{{name: x, matrix: {{a: [{values}], b: [{values}]}}, request: GET /, expect: 403}}"
    found = problems(f"scenarios:\n  - {one_of}\n  - {one_of}\n")
    assert found == [
        (3, "scenarios.1.matrix", "20000 combinations, more than 10000", ""),
    ]


@pytest.mark.parametrize("name", ["a.scenario.yml", "a.scenarios.yaml", "a-scenario.yaml"])
def test_files_that_are_nearly_named_as_scenarios_are_missed(tmp_path, name):
    (tmp_path / name).write_text("")
    with pytest.raises(ConfigError, match="is no scenario file by its name"):
        find_scenarios([tmp_path])


def test_too_many_combinations():
    numbers = list(range(101))
    text = f"scenarios: [{{name: x, request: GET /, expect: 401, matrix: {{a: {numbers}, b: {numbers}}}}}]"
    assert problems(text)[0][2] == "10201 combinations, more than 10000"


def test_scenario_files_are_found(tmp_path):
    for name in ("b.scenario.yaml", "below/a.scenario.yaml", ".hidden/c.scenario.yaml", "d.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    found = find_scenarios([tmp_path, tmp_path / "b.scenario.yaml"])
    assert found == [tmp_path / "b.scenario.yaml", tmp_path / "below" / "a.scenario.yaml"]
