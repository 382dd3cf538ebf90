"""What a step takes: the time of rules and of every builtin, divided by the steps they charge.

The step limit bounds a decision's time only as well as work is charged for: what stands at the
top lets a decision run longer than the others do.

Run: python -m bench.steps
"""

from __future__ import annotations

import time
import timeit
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.rego import Policy, compile as compile_rego
from gateway.rego.builtins import BUILTINS
from gateway.rego.errors import BuiltinError
from gateway.rego.runtime import State
from gateway.rego.values import make_set

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.rego.builtins.registry import Builtin

ZONED = [10**18, "America/New_York"]
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln"
ROUNDS = 9
WIDE = {"a": [1, 1.5, "x", None], "b": {"c": [True, [0.25]], "d": make_set([1, 2.5])}}
CALLS: list[tuple[Any, ...]] = [
    ("plus", 1, 2),
    ("plus", 10**3800, 1),
    ("plus", 1.5, 1),
    ("mul", 3, 4),
    ("mul", 10**1900, 10**1900),
    ("mul", 1.5, 1.1),
    ("div", 6, 3),
    ("div", 1, 7),
    ("div", 10**3800, 7**1900),
    ("rem", 7, 3),
    ("rem", 10**3800, 7**2000),
    ("round", 1.5),
    ("abs", -1.5),
    ("lt", 1, 1.5),
    ("lt", 1, 2),
    ("format_int", 123, 10),
    ("format_int", 10**3800, 10),
    ("format_int", 1.5, 16),
    ("sum", [1, 2, 3]),
    ("bits.and", 10**3000, 10**2000),
    ("bits.lsh", 1, 10_000),
    ("numbers.range", 1, 10),
    ("rand.intn", "a", 9),
    ("count", [1, 2]),
    ("type_name", []),
    ("is_set", []),
    ("to_number", "12345678901234567890.5"),
    ("to_number", "0." + "9" * 3900),
    ("is_number", 1.5),
    ("equal", WIDE, WIDE),
    ("equal", 0.1, Decimal("0.1")),
    ("neq", [1.5] * 30, [1.5] * 30),
    ("lt", WIDE, WIDE),
    ("lt", Decimal("1e-300"), 0.1),
    ("internal.member_2", [1, 1.5], [[1, n] for n in range(100)]),
    ("internal.member_2", 0.1, [Decimal("0.10000000000000000001")] * 100),
    ("internal.member_3", "k", WIDE, {"k": WIDE}),
    ("minus", make_set(range(100)), make_set(range(100))),
    ("sum", [0.1] * 100),
    ("sum", list(range(100))),
    ("product", [1.1] * 100),
    ("product", [1e30] * 10 + [0.5]),
    ("min", [WIDE] * 10),
    ("sort", [0.1, Decimal("0.10000000000000000001"), 1.5] * 30),
    ("sort", make_set("abc")),
    ("sort", [WIDE] * 10),
    ("array.concat", [1] * 100, [2] * 100),
    ("array.reverse", [1] * 100),
    ("array.flatten", [[1], [2], 3] * 30),
    ("array.slice", [1] * 100, 0, 50),
    ("and", make_set(range(100)), make_set(range(100))),
    ("or", make_set(range(100)), make_set(range(100))),
    ("union", make_set([make_set([n]) for n in range(50)])),
    ("intersection", make_set([make_set([n, 1]) for n in range(50)])),
    ("object.keys", {str(n): n for n in range(100)}),
    ("object.remove", {str(n): n for n in range(100)}, ["1", ["2"]]),
    ("object.filter", {str(n): n for n in range(100)}, ["1", [2.5]]),
    ("object.union_n", [{"a": {str(n): n}} for n in range(50)]),
    ("object.subset", WIDE, WIDE),
    ("object.subset", [1.5] * 50, [1.5] * 10 + [1]),
    ("bits.negate", 10**3000),
    ("bits.rsh", 10**3000, 100),
    ("numbers.range_step", 1, 1000, 3),
    ("round", 10**3800),
    ("ceil", 1e-300),
    ("contains", "a" * 300, "b"),
    ("strings.any_prefix_match", ["ab"] * 30, ["b"] * 30),
    ("strings.any_suffix_match", "ab", make_set("xyz")),
    ("lower", "AÉ" * 150),
    ("upper", "aß" * 150),
    ("upper", "abc"),
    ("indexof", "é" * 300, "b"),
    ("substring", "é" * 300, 1, 100),
    ("split", "é" * 300, ""),
    ("replace", "é" * 300, "é", "ab"),
    ("replace", "é" * 300, "", "ab"),
    ("strings.replace_n", {"": "-", "b": "c"}, "ab" * 100),
    ("strings.count", "é" * 300, "é"),
    ("trim", "éa" * 100 + "b", "aé"),
    ("trim_space", "  a  "),
    ("trim_prefix", "ab", "a"),
    ("glob.quote_meta", "*a" * 100),
    ("regex.is_valid", "(a|b)*"),
    ("regex.find_n", "a", "a" * 300, -1),
    ("regex.find_all_string_submatch_n", "(a)(b)?(c)?(d)?", "a" * 300, -1),
    ("regex.split", "", "é" * 300),
    ("regex.template_match", "a{b+}c" * 10, "abc" * 10, "{", "}"),
    ("regex.globs_match", "[a-z]+x" * 10, ".*" * 10),
    ("glob.match", "{a,b,[c-f]}*{x,y}", ["."], "abcx"),
    ("internal.template_string", ["a", make_set([WIDE]), "é\u200b" * 30]),
    ("internal.print", [make_set([1, 2]), make_set("ab")]),
    ("sprintf", "%v %v", [WIDE, "é\u200b"]),
    ("sprintf", "%q", ["\u200b" * 300]),
    ("sprintf", "%x", ["é" * 300]),
    ("sprintf", "%v" * 30, [0.1] * 30),
    ("sprintf", "%z" * 300, []),
    ("startswith", "a" * 300, "b"),
    ("concat", ",", ["a", "b"]),
    ("trim", " a ", " "),
    ("indexof_n", "a" * 3000, "a"),
    ("split", "a," * 1500, ","),
    ("replace", "a" * 3000, "a", "bb"),
    ("strings.replace_n", {"a": "b", "b": "c"}, "abab"),
    ("sprintf", "%d %s %v", [1, "a", {"a": 1}]),
    ("sprintf", "%d", [10**3800]),
    ("sprintf", "%.3000f", [0.1]),
    ("strings.reverse", "a" * 3000),
    ("regex.match", "^a+$", "aaa"),
    ("regex.match", "(a*)*b", "a" * 3000),
    ("regex.replace", "a" * 1500, "a", "b$0"),
    ("glob.match", "*a*", [], "aaaaaaa"),
    ("glob.match", "**a**a**b", ["."], "a" * 3000),
    ("uuid.parse", "00000000-0000-1000-8000-000000000000"),
    ("uuid.rfc4122", "a"),
    ("units.parse", "1.5Gi"),
    ("units.parse_bytes", "10.5kib"),
    ("semver.compare", "1.2.3-" + "a.1." * 60 + "x", "1.2.3"),
    ("semver.is_valid", "1.2.3-" + "a.1." * 60 + "x"),
    ("time.date", ZONED),
    ("time.clock", ZONED),
    ("time.weekday", ZONED),
    ("time.add_date", ZONED, 1, 1, 1),
    ("time.diff", 10**18, ZONED),
    ("time.parse_duration_ns", "1h2m3.5s" * 5),
    ("time.parse_rfc3339_ns", "2020-01-01T00:00:00Z"),
    ("time.parse_ns", "Mon Jan _2 15:04:05 2006", "Mon Jan 02 15:04:05 2006"),
    ("time.format", [*ZONED, "Mon Jan _2 15:04:05 2006"]),
    ("net.cidr_contains", "10.0.0.0/8", "10.1.2.3/32"),
    ("net.cidr_contains", "2001:db8::/32", "2001:db8::1:2/120"),
    ("net.cidr_is_valid", "2001:db8::/32"),
    ("net.cidr_merge", ["10.0.0.0/24", "10.0.1.0/24"]),
    ("net.cidr_expand", "10.0.0.0/24"),
    ("urlquery.decode_object", "a=b&" * 700),
    ("urlquery.decode", "%61" * 300),
    ("urlquery.encode", "a b"),
    ("urlquery.encode_object", {"a": "b c", "c": ["d", "e"]}),
    ("base64.decode", "aGVs"),
    ("hex.decode", "61" * 1500),
    ("json.unmarshal", "[1,2,3,[],{},[]]"),
    ("json.unmarshal", "[" + "[]," * 700 + "1]"),
    ("json.unmarshal", "9" * 4000),
    ("json.unmarshal", '{"a":1.5e300}'),
    ("json.marshal", {"a": [1, {"b": 2}]}),
    ("json.marshal", 10**3800),
    ("yaml.unmarshal", "a: [1,2,3]"),
    ("yaml.marshal", {"a": [1, 2]}),
    ("json.filter", {"a": {"b": 1}}, ["a/b"]),
    ("json.patch", {"a": [1, 2]}, [{"op": "add", "path": "/a/1", "value": 1}]),
    ("json.match_schema", {"a": 1}, {"properties": {"a": {"type": "string"}}}),
    ("strings.render_template", "{{.a}} {{range .b}}{{.}}{{end}}", {"a": 1, "b": [1, 2, 3]}),
    ("graph.reachable", {"a": ["b"], "b": ["c"], "c": ["a"]}, ["a"]),
    ("object.union", {"a": {"b": 1}}, {"a": {"c": 2}}),
    ("sort", [{"a": [3]}, {"a": [2]}, 1, "x", [1]]),
    ("max", [1, 2, 3]),
    ("object.get", {"a": {"b": 1}}, ["a", "b"], 0),
    ("crypto.md5", "a"),
    ("crypto.sha256", "a" * 3000),
    ("crypto.hmac.sha512", "a" * 3000, "k"),
    ("io.jwt.decode", TOKEN),
    ("io.jwt.verify_hs256", TOKEN, "k"),
    ("uri.parse", "https://a:b@h:80/p?q=1#f"),
]

CALLS += [
    ("json.unmarshal", "[" + "0.1234567890123456789012345," * 200 + "1]"),
    ("json.unmarshal", "[" + '{"a":1},' * 500 + "1]"),
    ("json.unmarshal", '["é",' + "[]," * 700 + "1]"),
    ("json.marshal", [0.1] * 500),
    ("json.marshal", [1.5e300] * 300),
    ("json.marshal", ["<>&"] * 500),
    ("json.marshal_with_options", [{"a": []}] * 300, {"pretty": True}),
    ("yaml.unmarshal", "- !!timestamp 2001-01-01 1:1:1\n" * 30),
    ("yaml.marshal", ["2001-01-01 1:1:1.1"] * 100),
    ("yaml.marshal", ["1" * 3000] * 20),
    ("json.patch", {"a": 1}, [{"op": "replace", "path": "/a", "value": 1}] * 100),
    ("json.filter", {"a": list(range(100))}, [["a", str(n)] for n in range(100)]),
    ("json.match_schema", ["x"] * 50, {"items": {"format": "date-time"}}),
    ("json.match_schema", [1] * 100, {"items": {"anyOf": [{"type": "string"}] * 5}}),
    ("json.match_schema", [1.5] * 100, {"items": {"maximum": 1}}),
    ("json.verify_schema", {"definitions": {"a": {}}, "allOf": [{"$ref": "#/definitions/a"}] * 99}),
    ("base64.decode", "/" * 4000),
    ("hex.decode", "ff" * 1500),
    ("urlquery.decode", "%ff" * 1000),
    ("uri.parse", "http://h/" + "%41" * 1000),
    ("time.format", [*ZONED, "-07" * 300]),
    ("time.parse_ns", "1" * 1000, "1" * 1000),
    ("net.cidr_merge", [f"2001:db8::{n:x}/128" for n in range(500)]),
    ("net.cidr_expand", "2001:db8::/120"),
    ("net.cidr_contains_matches", ["::/0"] * 50, ["::2/127"] * 50),
    ("graph.reachable", {str(n): [str(n + 1)] for n in range(500)}, ["0"]),
    ("graph.reachable_paths", {str(n): [str(m) for m in range(20)] for n in range(20)}, ["0"]),
    ("walk", {str(n): {"a": 1} for n in range(300)}),
    ("strings.render_template", "{{range .l}}{{print . .}}{{end}}", {"l": [1] * 100}),
    ("startswith", "a" * 100_000, "a" * 99_999 + "b"),
    ("strings.any_prefix_match", ["a" * 9_999 + "c"] * 99, ["a" * 9_999 + "b"] * 9),
    ("trim", "é" * 3000, "".join(map(chr, range(0x100, 0x200))) + "é"),
    ("trim", "a" * 3000, "bcdefghia"),
    ("hex.encode", "\ud800"),
    ("sprintf", "%#x", ["\u00e9" * 3000]),
    ("minus", make_set(range(1000)), make_set([1])),
    ("or", make_set(range(1000)), make_set(range(999, 1999))),
    ("object.keys", {(n,): n for n in range(0)}),
    (
        "object.union",
        {str(n): {"a": n} for n in range(100)},
        {str(n): {"b": n} for n in range(100)},
    ),
    ("object.remove", {str(n): n for n in range(1000)}, [str(n) for n in range(1000)]),
    ("sort", ["a" * 300 + str(n) for n in range(300)]),
    ("json.marshal", {str(n): [] for n in range(300)}),
]


class Work:
    """A decision's state that counts what is charged."""

    def __init__(self) -> None:
        self.used = 0
        self.now_ns = 10**18
        self.memo: dict[Any, Any] = {}
        self.strict = True

    def charge(self, steps: int) -> None:
        """Count."""
        self.used += steps

    def print(self, text: str) -> None:
        """Drop."""


CALL: Final = """
clear()
try:
    function(*arguments)
except BuiltinError:
    pass
"""


def measure(builtin: Builtin, arguments: tuple[Any, ...]) -> tuple[float, int]:
    """Return the seconds that a call takes at best, and the steps that it costs."""
    state = Work()
    names = {
        "clear": state.memo.clear,
        "function": builtin.function,
        "arguments": (state, *arguments) if builtin.needs_state else arguments,
        "BuiltinError": BuiltinError,
    }
    timer = timeit.Timer(CALL, timer=time.process_time, globals=names)
    timer.timeit(1)
    used = state.used + 1  # the expression's own
    times = max(1, int(0.004 / max(timer.timeit(1), 1e-6)))
    return min(timer.repeat(ROUNDS, times)) / times, used


RULES: dict[str, str] = {
    "scan": "p if { some x in input.xs; x < 0 }",
    "scan with a key": "p if { some k, x in input.xs; x < k }",
    "scan of members": "p if { some x in input.rows; x.a == -1 }",
    "empty loop": "p := count([1 | input.xs[_]])",
    "nested scans": "p if { some x in input.xs; some y in input.xs; x < y - 10000 }",
    "nested scans of little": "p if { some r in input.lists; some x in r; x < 0 }",
    "scans of nothing": "p if { some r in input.empty; some x in r; x < 0 }",
    "object scan": "p if { some k, x in input.object; x == k }",
    "object in order": "p := [x | some x in input.object]",
    "object in order with keys": "p := [[k, x] | some k, x in input.object]",
    "set in order": "p := [x | some x in data.t.numbers]",
    "set of fractions in order": "p := [x | some x in data.t.fractions]",
    "set of arrays in order": "p := [x | some x in data.t.pairs]",
    "keys of arrays in order": "p := [x | some k, x in data.t.keyed]",
    "little objects in order": "p := [x | some r in input.rows; some x in r]",
    "little objects with keys": "p if { some r in input.rows; some k, x in r; k == x }",
    "array comprehension": "p := [x | some x in input.xs]",
    "array of objects": 'p := [{"a": x, "b": [x, {"c": x}]} | some x in input.xs]',
    "array of sets": "p := [{x, y} | some x in input.xs; y := x + 1]",
    "set comprehension": "p := {x | some x in input.xs}",
    "set of texts": "p := {x | some x in input.words}",
    "set of arrays": "p := {[x, [x]] | some x in input.xs}",
    "set of objects": 'p := {{"a": x, "b": {"c": x}} | some x in input.xs}',
    "object comprehension": "p := {x: x | some x in input.xs}",
    "object with composite keys": 'p := {[x, {"a": x}]: x | some x in input.xs}',
    "partial set": "p contains x if some x in input.xs",
    "partial object": "p[x] := x if some x in input.xs",
    "partial object of texts": "p[x] := x if some x in input.words",
    "references": "p if { some x in input.xs; input.rows[x].a == -1 }",
    "references by value": "p if { some x in input.xs; input.object[x] == -1 }",
    "references by arrays": "p if { some x in input.xs; data.t.pairs[[x, x]] == -1 }",
    "comparing objects": "p if { some x in input.rows; x == input.rows[99] }",
    "comparing fractions": "p if { some x, y in input.fractions; y < y - x }",
    "membership": "p if { some x in input.xs; not x in input.xs }",
    "every": "p if every x in input.xs { x >= 0 }",
    "negation": "p if { some x in input.xs; not x >= 0 }",
    "function": "p if { some x in input.xs; f(x) }\nf(x) if x < 0",
    "function with several bodies": "p if { some x in input.xs; f(x) == -1 }\n"
    + "\n".join(f"f(x) := {n} if x == -{n}" for n in range(1, 6)),
    "function with an index": "p if { some x in input.xs; f(x) == -1 }\n"
    + "\n".join(f"f(x) := {n} if x == -{n}" for n in range(1, 12)),
    "function of patterns": "p if { some x in input.xs; f([x, {1: x}]) }\nf([x, {1: y}]) if x != y",
    "recursion of calls": "p if { some x in input.xs; f3(x) }\nf3(x) if f2(x)\n"
    "f2(x) if f1(x)\nf1(x) if x < 0",
    "rule again": "p if { some x in input.xs; q < x - 10000 }\nq := count(input.xs)",
    "with": "p if { some x in input.xs; q with input.n as x }\nq if input.n < 0",
    "with a deep path": "p if { some x in input.xs; q with input.object.a.b.c as x }\n"
    "q if input.n < 0",
    "with data": "p if { some x in input.xs; q with data.n.m as x }\nq if data.n.m < 0",
    "package": "p := count([x | some x in input.xs; y := data.u with input.n as x; x == y])",
    "dynamic rule": "p if { some x in input.words; data.u[x] }",
    "merge": "p := count([x | some x in input.xs; y := data.v with input.n as x])",
    "walk": "p if { walk(input.rows, [k, x]); x == -1 }",
    "walk of little": "p if { some r in input.rows; walk(r, [k, x]); x == -1 }",
    "counting": "p if { some x in input.rows; count(x) > 9 }",
    "types": "p if { some x in input.rows; is_set(x) }",
    "names of types": 'p if { some x in input.rows; type_name(x) == "set" }',
    "adding": "p if { some x in input.xs; x + 1 < 0 }",
    "adding fractions": "p if { some x in input.fractions; x + 1 < 0 }",
    "joining texts": 'p if { some x in input.words; sprintf("%s!", [x]) == "" }',
    "starts": 'p if { some x in input.words; startswith(x, "b") }',
    "template strings": 'p := [$"{x}!" | some x in input.words]',
    "conflict": "p := x if some x in input.same",
    "else": "p if { some x in input.xs; f(x) == 9 }\n"
    "f(x) := 1 if x < 0 else := 2 if x < -1 else := 3",
    "print": 'p if { some x in input.xs; print("seen", x); x < 0 }',
}
"""What policies are made of; each goes over a thousand members."""

MORE = """
numbers := {x | some x in input.xs}
fractions := {(x + 0.5) | some x in input.xs}
pairs := {[x, x] | some x in input.xs}
keyed := {[x]: x | some x in input.xs}
"""
OTHERS = {
    "u": "package u\n\na := input.n\nb := 2\nc contains 1 if input.n > 0\n",
    "v": "package v\n\na := input.n\n",
    "w": "package v.w\n\nb := 1\nc := 2\n",
}
SIZE = 1000
DOCUMENT = {
    "xs": list(range(SIZE)),
    "fractions": [n + 0.25 for n in range(SIZE // 20)],
    "words": [f"word{n}" for n in range(SIZE)],
    "rows": [{"a": n, "b": [n]} for n in range(SIZE)],
    "lists": [[n] for n in range(SIZE)],
    "empty": [[]] * SIZE,
    "object": {f"k{n}": n for n in range(SIZE)},
    "same": [[1, 2]] * SIZE,
}
LIMIT = 1 << 40


def measure_rules() -> Iterator[tuple[str, float, int]]:
    """Yield each rule with the seconds that it takes at best, and the steps that it costs."""
    for name, text in RULES.items():
        modules = OTHERS | {"t": f"package t\n\n{text}\n{MORE}"}
        policy = Policy(compile_rego({f"{key}.rego": each for key, each in modules.items()}))
        rules = policy._rules  # noqa: SLF001  called with a state that tells the steps
        best, used = float("inf"), 1
        for _ in range(ROUNDS):
            state = State(0.0, LIMIT, strict=True)
            for prepared in ("numbers", "fractions", "pairs", "keyed"):
                rules[f"t/{prepared}"](state, DOCUMENT, policy.data)
            before = state.steps
            start = time.process_time()
            rules["t/p"](state, DOCUMENT, policy.data)
            best = min(best, time.process_time() - start)
            used = before - state.steps
        yield name, best, used


@click.command()
@click.option("--rules/--builtins", "only", default=None, help="Measure only these.")
def main(only: bool | None) -> None:
    """Print the time a step of rules and of each builtin, the dearest first."""
    rows = []
    for name, *arguments in CALLS if only is not True else ():
        seconds, steps = measure(BUILTINS[name], tuple(arguments))
        rows.append((seconds / steps * 1e9, name, seconds * 1e6, steps, repr(arguments)[:30]))
    for name, seconds, steps in measure_rules() if only is not False else ():
        rows.append((seconds / steps * 1e9, name, seconds * 1e6, steps, RULES[name][:30]))
    for nanoseconds, name, microseconds, steps, shown in sorted(rows, reverse=True):
        click.echo(
            f"{nanoseconds:6.0f} ns a step  {name:32} {microseconds:8.1f} µs {steps:7,}  {shown}"
        )


if __name__ == "__main__":
    main()
