"""What would hang a worker or fill its memory ends at the step limit, or is refused."""

import time
import tracemalloc
from decimal import Decimal

import pytest

from gateway.rego.builtins import BUILTINS
from gateway.rego.builtins.remembered import remembered
from gateway.rego.errors import BuiltinError, StepLimitExceeded
from gateway.rego.values import key_form
from tests.support.rego_values import Work, call, rego_set

SECONDS = 1.0
"""Far more than any refusal takes."""

HUGE = Decimal("1E+999999")
LONG = "a" * 1_000_000
CJK = "".join(map(chr, range(0x4E00, 0x4E00 + 10_000)))
KEYS = {"a" * size: "b" for size in range(1, 300)}


def shared(levels):
    """Nest a value in itself: small in memory, 2**levels when walked."""
    value = ["x"]
    for _ in range(levels):
        value = [value, value]
    return value


OVER_BUDGET = [
    ("numbers.range", 0, 10**12),
    ("numbers.range", 0, -(10**300)),
    ("numbers.range_step", 0, 10**12, 2),
    ("net.cidr_expand", "0.0.0.0/0"),
    ("net.cidr_expand", "::/0"),
    ("net.cidr_contains_matches", ["10.0.0.0/8"] * 2_000, ["10.0.0.1"] * 2_000),
    ("net.cidr_merge", [f"10.{i % 256}.{i // 256}.0/24" for i in range(20_000)]),
    ("replace", LONG, "", "x" * 1_000),
    ("replace", LONG, "a", "x" * 1_000),
    ("strings.replace_n", {"a": "x" * 1_000}, LONG),
    ("strings.replace_n", {"": "x" * 1_000}, LONG),
    ("strings.replace_n", KEYS, LONG),
    ("concat", LONG, [""] * 1_000),
    ("indexof_n", LONG, "a" * 1_000),
    ("split", LONG * 2, ""),
    ("strings.any_prefix_match", ["a"] * 2_000, ["b"] * 2_000),
    ("sprintf", "%1000000d" * 100, [1] * 100),
    ("sprintf", "%.1000000f" * 100, [1.5] * 100),
    ("sprintf", "%*d" * 100, [1_000_000, 1] * 100),
    ("regex.split", "", LONG * 2),
    ("regex.find_n", "", LONG * 2, -1),
    ("regex.replace", LONG, "", "x" * 1_000),
    ("regex.replace", "a" * 10_000, "(a+)", "$1" * 5_000),
    ("regex.match", "(?:(x?){800}x{800})(y)", "x" * 100_000),
    ("regex.find_all_string_submatch_n", "(a+)" + "()" * 200, LONG, -1),
    ("regex.globs_match", "a*" * 2_000, "a*" * 2_000),
    ("glob.match", "*a*b*c*d*e*f*g*h*" * 100, ["."], LONG),
    ("graph.reachable_paths", {str(i): [str(i + 1)] for i in range(5_000)}, ["0"]),
    ("walk", shared(40)),
    ("json.marshal", shared(40)),
    ("json.marshal_with_options", [[[[]] * 100] * 100] * 10, {"indent": "x" * 10_000}),
    ("json.marshal_with_options", ["x"] * 50_000, {"prefix": "x" * 10_000}),
    ("yaml.marshal", list(range(50_000))),
    ("yaml.unmarshal", "\n".join(["a: &a [x, x]"] + [f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]" for i in range(20)])),
    ("yaml.unmarshal", "[x, " * 10 + "x" * 200_000),
    ("json.unmarshal", "[" + "1," * 5_000_000 + "1]"),
    ("sort", shared(40)),
    ("max", [shared(40), shared(40)]),
    ("equal", shared(40), shared(40)),
    ("internal.member_2", shared(40), [shared(40)]),
    ("object.get", {}, [shared(40)], 0),
    ("object.subset", [shared(40)], [shared(40)]),
    ("internal.print", [rego_set(*range(100))] * 10),
    ("internal.template_string", [shared(40)]),
    ("strings.render_template", "{{range .l}}{{range $.l}}{{range $.l}}x{{end}}{{end}}{{end}}",
     {"l": list(range(200))}),
    ("sum", [0.1] * 100_000),
    ("sum", [10**1_900] * 1_000),
    ("json.marshal", [10**4_000] * 1_000),
    ("sprintf", "%d" * 1_000, [10**4_000] * 1_000),
    ("array.concat", [1] * 600_000, [1] * 600_000),
    ("object.union_n", [{str(i): 1 for i in range(i, i + 1_000)} for i in range(0, 100_000, 1_000)]),
    ("crypto.sha256", LONG * 50),
    ("io.jwt.decode", "x" * 50_000_000),
    ("json.unmarshal", "[" + "0.1234567890123456789," * 60_000 + "1]"),
    ("json.unmarshal", "[" + '{"a":1},' * 80_000 + "1]"),
    ("json.marshal", [0.1] * 60_000),
    ("json.marshal", [1.5e300] * 20_000),
    ("yaml.unmarshal", "- !!timestamp 2001-01-01 1:1:1\n" * 3_000),
    ("yaml.marshal", {"0" * 800 + str(i): 1 for i in range(3_500)}),
    ("json.patch", {"a": 1}, [{"op": "test", "path": "/a", "value": 1}] * 25_000),
    ("json.filter", {"a": list(range(100))}, [["a", str(i)] for i in range(60_000)]),
    ("json.match_schema", ["x"] * 5_000, {"items": {"format": "date-time"}}),
    ("json.match_schema", [1] * 5_000, {"items": {"anyOf": [{"type": "string"}] * 5}}),
    ("json.match_schema", [1] * 50_000, {"contains": {"type": "string"}}),
    ("json.match_schema", [1.5] * 20_000, {"items": {"maximum": 1}}),
    ("base64.decode", "/" * 4_000_000),
    ("hex.decode", "ff" * 2_000_000),
    ("urlquery.decode", "%ff" * 400_000),
    ("uri.parse", "http://h/" + "%41" * 400_000),
    ("net.cidr_contains_matches", "::/0", [f"2001:{i:x}::/48" for i in range(10_000)]),
    ("graph.reachable", {str(i): [str(i + 1)] for i in range(120_000)}, ["0"]),
    ("strings.render_template", "{{range .l}}{{print . .}}{{end}}", {"l": [1] * 40_000}),
    ("json.marshal", [{"k" * 60_000: 1}] * 100),
    ("json.marshal_with_options", [{"k" * 60_000: 1}] * 100, {"indent": " "}),
    ("yaml.marshal", [{"k" * 60_000: 1}] * 100),
    ("strings.render_template", "{{.}}", {"l": [{"k" * 60_000: 1}] * 200}),
    ("equal", [{"k" * 60_000: 1}] * 1_000, [{"k" * 60_000: 1}] * 1_000),
    ("object.get", {}, [{"k" * 60_000: 1}] * 1_000, 0),
    ("equal", [{key_form(["k" * 60_000]): 1}] * 1_000, [{key_form(["k" * 60_000]): 1}] * 1_000),
    ("sprintf", "%v", [[{"k" * 60_000: 1}] * 1_000]),
    ("regex.replace", "x" * 100, "x", "$0" * 8_000),
    ("regex.replace", "x" * 30, "x", "$$" * 100_000),
    ("strings.replace_n", {"a" * 1_000_000: ""}, ""),
    ("strings.replace_n", {f"{i}" + "a" * 100: "" for i in range(1_000)}, ""),
    ("trim", CJK, CJK),
    ("trim_left", CJK, CJK),
    ("trim_right", CJK, CJK),
    ("trim_space", "\u3000" * 5_000_000),
    ("sort", [i + 0.5 for i in range(100_000)]),
    ("sort", [*range(50_000), *map(str, range(50_000))]),
    ("walk", {str(i): 1 for i in range(100_000)}),
    ("concat", "", rego_set(*map(str, range(200_000)))),
    ("yaml.unmarshal", f"a: &a {{{', '.join(f'k{i}: 1' for i in range(3_000))}}}\nb:\n" + "  <<: *a\n" * 6_000),
]  # fmt: skip


@pytest.mark.parametrize("case", OVER_BUDGET, ids=lambda case: case[0])
def test_over_budget(case):
    name, *arguments = case
    with pytest.raises(StepLimitExceeded):
        call(name, *arguments)


REFUSED = [
    ("plus", HUGE, 1),
    ("plus", Decimal("0." + "1" * 401), 1),
    ("plus", Decimal("1e-3999"), 1),
    ("round", Decimal("1e-3999")),
    ("mul", HUGE, HUGE),
    ("mul", 10**2_000, 10**2_000),
    ("div", 1, HUGE),
    ("round", HUGE),
    ("product", [10**100] * 100),
    ("bits.lsh", 1, 10**9),
    ("bits.and", HUGE, 1),
    ("numbers.range", HUGE, 1),
    ("format_int", HUGE, 16),
    ("array.slice", [], HUGE, 1),
    ("regex.match", "(((\\pL{1,100}){3}){3}){3}", "a"),
    ("regex.match", "(" * 10_000 + ")" * 10_000, "a"),
    ("time.date", HUGE),
    ("time.parse_ns", "2006" * 1_000, "x"),
    ("time.parse_duration_ns", "1" * 500 + "h"),
    ("json.unmarshal", '{"a":' * 101 + "1" + "}" * 101),
    ("json.unmarshal", "9" * 100_000),
    ("json.unmarshal", "1e" + "9" * 50),
    ("to_number", "9" * 100_000),
    ("semver.compare", "9" * 5_000 + ".0.0", "1.0.0"),
    ("units.parse", "9" * 5_000),
    ("yaml.unmarshal", "0x" + "f" * 5_000),
    ("json.match_schema", {"a": {}}, {"$ref": "#"}),
    ("json.match_schema", {}, {"$ref": "http://127.0.0.1/schema"}),
    ("json.match_schema", {}, {"$ref": "file:///etc/passwd"}),
    ("strings.render_template", "{{if 1}}" * 100 + "{{end}}" * 100, {}),
    ("strings.render_template", "{{" + "(" * 500 + "1" + ")" * 500 + "}}", {}),
    ("strings.render_template", "{{" * 50_000, {}),
    ("strings.render_template", '{{"' + '\\"' * 30_000 + "\n}}", {}),
    ("strings.render_template", "{{'" + "\\'" * 30_000 + "\n}}", {}),
    ("strings.render_template", "{{/*}}" * 20_000, {}),
    ("strings.render_template", "{{" + "`a" * 30_001 + "}}", {}),
    ("glob.match", "?" * 16_000, [chr(300 + i) for i in range(380)], "a"),
    ("glob.match", "?", [chr(300 + i % 60_000) for i in range(100_000)], "a"),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[0])
def test_refused(case):
    name, *arguments = case
    start = time.process_time()
    with pytest.raises(BuiltinError):
        call(name, *arguments)
    assert time.process_time() - start < SECONDS


def test_a_reference_to_no_group_costs_each_match_nothing():
    start = time.process_time()
    assert call("regex.replace", "x" * 400, "x", "${q}$9" * 4_000) == ""
    assert time.process_time() - start < SECONDS


def test_what_requests_ask_for_is_remembered_up_to_a_size():
    tracemalloc.start()
    try:
        for number in range(2_000):
            keys = {f"{number}-{at}-{'k' * 40}": "" for at in range(20)}
            call("strings.replace_n", keys, "")
            call("glob.match", f"{number}*{'?' * 1_500}", [], "")
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 16 << 20


def test_remembered_answers_are_the_same_ones_until_there_is_no_room():
    made = []

    @remembered(100, lambda answer, key: len(key))
    def known(key):
        made.append(key)
        return key.upper()

    for key in ("a" * 10, "a" * 10, "b" * 26, "b" * 26):
        assert known(key) == key.upper()
    assert [len(key) for key in made] == [10, 26, 26], "what fills a quarter is not kept"
    for letter in "cdefgh":
        known(letter * 20)
    known("a" * 10)
    assert made.count("a" * 10) == 2


@pytest.mark.parametrize(
    "case",
    [("rem", 10**4_000, 7), ("format_int", 10**4_000, 10), ("mul", 10**1_900, 10**1_900),
     ("div", 10**3_800, 3**200), ("to_number", "0." + "9" * 3_900), ("round", 1.5), ("time.diff", 0, 1),
     ("net.cidr_contains", "10.0.0.0/8", "10.0.0.1"), ("yaml.unmarshal", "a"), ("yaml.marshal", "a"),
     ("time.parse_duration_ns", "1h" * 20), ("time.parse_rfc3339_ns", "2020-01-01T00:00:00Z")],
    ids=lambda case: case[0],
)  # fmt: skip
def test_what_takes_long_costs_more_than_its_step(case):
    name, *arguments = case
    state = Work()
    call(name, *arguments, state=state)
    assert state.used >= 80


def test_a_set_of_rules_about_a_huge_number_still_compares():
    assert call("lt", 1, HUGE)
    assert call("equal", HUGE, Decimal("1E+999999"))
    assert call("internal.member_3", HUGE, 1, [1]) is False
    assert call("object.get", {"a": [1]}, ["a", HUGE], 0) == 0
    with pytest.raises(BuiltinError):
        call("json.patch", [1], [{"op": "remove", "path": [HUGE]}])
    assert call("sprintf", "%v", [HUGE]) == "1e999999"


def test_the_first_use_of_a_pattern_in_a_decision_is_charged_cached_or_not():
    used = []
    for _ in range(2):
        state = Work()
        call("regex.match", "^charged[0-9]{3}$", "x", state=state)
        first = state.used
        call("regex.match", "^charged[0-9]{3}$", "x", state=state)
        used.append((first, state.used - first))
    assert used[0] == used[1]
    assert used[0][0] > 500 > used[0][1]


def test_random_answers_are_constant_within_a_decision():
    state = Work()
    for name, arguments in (("uuid.rfc4122", ([1, True],)), ("rand.intn", ("dice", 10**9))):
        first = call(name, *arguments, state=state)
        assert call(name, *arguments, state=state) == first
        assert {call(name, *arguments) for _ in range(5)} != {first}
    assert call("uuid.rfc4122", 1, state=state) == call("uuid.rfc4122", 1.0, state=state)
    assert call("uuid.rfc4122", [1, 1], state=state) != call("uuid.rfc4122", [1, True], state=state)


def test_the_clock_is_the_decisions_own():
    assert call("time.now_ns", state=Work(now_ns=5)) == 5


def test_printing_shows_undefined_parts_and_every_combination():
    state = Work()
    call("internal.print", [rego_set("a"), rego_set(), rego_set(1, 2)], state=state)
    assert sorted(state.lines) == ["a <undefined> 1", "a <undefined> 2"]


def test_arguments_and_data_are_not_shared_with_results_that_change():
    data = {"a": {"b": 1}}
    joined = call("object.union", data, {"a": {"c": 2}})
    joined["a"]["d"] = 3
    assert data == {"a": {"b": 1}}


def test_impure_builtins_are_marked():
    assert {name for name, builtin in BUILTINS.items() if builtin.impure} == {
        "time.now_ns", "rand.intn", "uuid.rfc4122", "internal.print",
        "io.jwt.decode_verify", "io.jwt.encode_sign", "io.jwt.encode_sign_raw",
        "crypto.x509.parse_and_verify_certificates",
        "crypto.x509.parse_and_verify_certificates_with_options",
    }  # fmt: skip


def test_keys_that_are_no_strings():
    mapping = {key_form(1): "a", key_form(True): "b"}
    assert call("object.get", mapping, True, None) == "b"
    assert call("object.get", mapping, 1.0, None) == "a"
