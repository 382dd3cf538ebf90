"""What a step takes: every builtin's time, divided by the steps that it charges.

The step limit bounds a decision's time only as well as the builtins charge for their work:
what stands at the top lets a decision run longer than the others do.

Run: python -m bench.steps
"""

from __future__ import annotations

import timeit
from typing import TYPE_CHECKING, Any

import click

from gateway.rego.builtins import BUILTINS

if TYPE_CHECKING:
    from gateway.rego.builtins.registry import Builtin

ZONED = [10**18, "America/New_York"]
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln"
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
    ("to_number", "9" * 4000),
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


def measure(builtin: Builtin, arguments: tuple[Any, ...]) -> tuple[float, int]:
    """Return the seconds that a call takes at best, and the steps that it costs."""
    state = Work()

    def call() -> None:
        state.memo.clear()
        if builtin.needs_state:
            builtin.function(state, *arguments)
        else:
            builtin.function(*arguments)

    call()
    used = state.used + 1  # the expression's own
    timer = timeit.Timer(call)
    times, _ = timer.autorange()
    return min(timer.repeat(3, times)) / times, used


@click.command()
def main() -> None:
    """Print each builtin's time a step, the dearest first."""
    rows = []
    for name, *arguments in CALLS:
        seconds, steps = measure(BUILTINS[name], tuple(arguments))
        rows.append((seconds / steps * 1e9, name, seconds * 1e6, steps, repr(arguments)[:30]))
    for nanoseconds, name, microseconds, steps, shown in sorted(rows, reverse=True):
        click.echo(
            f"{nanoseconds:6.0f} ns a step  {name:24} {microseconds:8.1f} µs {steps:7,}  {shown}"
        )


if __name__ == "__main__":
    main()
