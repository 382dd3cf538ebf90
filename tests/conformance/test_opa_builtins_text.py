"""Builtins of numbers, texts and collections, asked of OPA and of the engine with one voice."""

from __future__ import annotations

import json
import random
import re
from decimal import Decimal, InvalidOperation, Overflow
from typing import TYPE_CHECKING

import pytest

from gateway.rego import UNDEFINED, EvalError, Policy
from gateway.rego.compiler import Unit
from tests.support.opa import needs_opa, opa
from tests.support.rego import NOW, compile_all

if TYPE_CHECKING:
    from collections.abc import Callable

    Maker = Callable[[random.Random], str]

pytestmark = needs_opa

# Differences that stay, each with the calls that show it:
#
# - The spelling of a number is not kept: `1e3` is 1000, also where OPA takes it for no integer or
#   for a text. So numbers are compared by value, and none here are written in another way.
# - Bytes that are no text: `replace(s, "", x)` and a "" among the patterns of strings.replace_n
#   cut characters beyond ASCII apart. The engine has only whole characters.
# - sprintf's %x, %X and %b of a float, %#q, %+q, %p and %w are left out.
# - to_number refuses `1_000` and `0x1p-2`, which OPA turns into what is no JSON number.
# - A shift by 2**64 or more does not wrap around.
# - glob.match: unbalanced braces are an error, not a pattern that matches something else; a
#   negated class needs a character.
# - regex.globs_match: `-` at the end of a class stands for itself.


def _of(*choices: str) -> Maker:
    return lambda chance: chance.choice(choices)


def _some(maker: Maker, opening: str, closing: str, *, most: int = 4) -> Maker:
    def make(chance: random.Random) -> str:
        parts = [maker(chance) for _ in range(chance.randint(1, most))]
        return opening + ", ".join(parts) + closing

    return make


def _join(*pieces: str, most: int = 4) -> Maker:
    def make(chance: random.Random) -> str:
        return json.dumps("".join(chance.choice(pieces) for _ in range(chance.randint(0, most))))

    return make


def _either(*makers: Maker) -> Maker:
    return lambda chance: chance.choice(makers)(chance)


NUMBER = _of(
    "0", "1", "-1", "3", "-7", "10", "255", "0.5", "-0.5", "1.5", "-2.5", "0.1", "0.3", "-0.3",
    "9007199254740993", "9223372036854775807", "-9223372036854775808", "18446744073709551615",
    "18446744073709551617", "36893488147419103233", "100000000000000000000000000000001",
    "0.99999999999999999999", "1.0000000000000000000001", "12345678901234567890.5", "123456.789",
)  # fmt: skip
SMALL = _of("0", "1", "2", "3", "-1", "5", "70", "1.5", "9223372036854775808")
TEXT = _join(
    "a", "b", "A", "ab", " ", ".", "é", "ß", "\u0130", "ſ", "Σ", "ǅ", "ᾳ", "日本", "\U0001f600",
    "\U00010428", "\x00", "\x1c", "\u0085", "\u200b", "\ufeff", "\\", '"', "\n", "%d", "-", ",",
)  # fmt: skip
PLAIN = _join("a", "b", "ab", "A", " ", ".", ",", "-")
SCALAR = _either(NUMBER, TEXT, _of("true", "false", "null"))
KEY = _of('"a"', '"b"', '"c"', "1", "true", "null", '"0"')
ARRAY = _some(SCALAR, "[", "]")
SET = _some(SCALAR, "{", "}")
OBJECT = _of(
    "{}", '{"a": 1, "b": {"c": [1, {2}]}}', '{"a": {"b": 1, "c": 2}, 1: "x"}',
    '{"b": {"c": [1]}, true: 2}', '{"a": {"b": {"c": null}}, null: 3}', '{"0": 1, "c": [2, 3]}',
)  # fmt: skip
NUMBERS = _either(_some(NUMBER, "[", "]"), _some(NUMBER, "{", "}"))
TEXTS = _either(_some(TEXT, "[", "]"), _some(TEXT, "{", "}"), _of("[]"))
VALUE = _either(SCALAR, ARRAY, SET, OBJECT, _some(ARRAY, "[", "]"))
PATTERN = _join(
    "a", "b", ".", "^", "$", "[a-c]", "[^a]", "\\d", "\\w+", "\\b", "(a)", "(b)?", "(?P<x>a)", "|",
    "*", "+", "?", "*?", "{1,2}", "\\pL", "[[:alpha:]]", "é", "(?i)", "(?s)", "\\A", "\\z", "\\C",
    "\\Q.\\E", "\\x41", "\\1", "(?=a)", "[", "(", ")", "\\", "x*", "ſ", "K", "{2,1}", "**",
)  # fmt: skip
SUBJECT = _join("a", "b", "aab", "A", "é", "\n", "1", "_", "\U0001f600", "ſ", "k", "x", ",", most=6)
TEMPLATE = _join("$1", "${1}", "$x", "$0", "$$", "$", "${", "$1a", "-", "$é", "$-", "$01")
GLOB = _join(
    "a", "b", "*", "**", "?", "[a-c]", "[abc]", "{a,b}", "{a,b*}", ".", "/", "\\*", "!", "-", "é",
)  # fmt: skip
DELIMITERS = _of("null", "[]", '["."]', '["/"]', '[".", "/"]', '["é"]', '["ab"]', "[1]")
VERSION = _of(*map(json.dumps, (
    "1.2.3", "v1.2.3", "01.2.3", "1.2", "1.2.3-", "1.2.3+", "1.2.3-rc.1", "1.2.3-rc.11+b",
    "1.2.3-alpha", "1.2.3-1", "1.2.3-01", "1.2.3-a..b", "9223372036854775808.0.0", "", "1.2.3-é",
)))  # fmt: skip
AMOUNT = _join(
    "1", "10", ".5", "1.5", "e3", "-", "m", "K", "Ki", "MB", "gib", "E", " ", "x", most=2
)
UUID = _of(*map(json.dumps, (
    "237a8bf4-5f4b-1b78-afc7-fad671e0db39", "04EDD332-BC88-1EC5-e01f-31bcBF0758Db",
    "c60ee0a8-f7bf-2b29-c6d7-66bf16aae58d", "{d302aa96-cb31-4a49-0ffd-f3061fa3effe}",
    "(d302aa96-cb31-4a49-0ffd-f3061fa3effe]", "Urn:uuid:d302aa96-cb31-4a49-0ffd-f3061fa3effe",
    "d302aa96cb314a490ffdf3061fa3effe", "{d302aa96cb314a490ffdf3061fa3effe}", "d302aa96", "",
)))  # fmt: skip
DIRECTIVES = _join(
    "%d", "%v", "%s", "%q", "%5d|", "%-5v|", "%05d", "%+d", "% d", "%.2f", "%8.3f", "%e", "%g",
    "%t", "%T", "%U", "%c", "%o", "%O", "%#o", "%5s|", "%.1s", "%08s", "%*d", "%.*f", "%[1]d",
    "%[2]v", "%[9]d", "%[x]d", "%[1]3d", "%%", "%", "%!", "%z", "%9999999d", "%+v", "%.3d", "a",
)  # fmt: skip
NUMERAL = _join("1", "0", "-", "+", ".", "e5", "E-2", "inf", "nan", "٣", " ", "e400", most=3)

CALLS: dict[str, tuple[Maker, ...]] = {
    **dict.fromkeys(("plus", "minus", "mul", "div", "rem"), (NUMBER, NUMBER)),
    **dict.fromkeys(("bits.and", "bits.or", "bits.xor"), (NUMBER, NUMBER)),
    **dict.fromkeys(("equal", "neq", "lt", "lte", "gt", "gte"), (VALUE, VALUE)),
    **dict.fromkeys(("abs", "round", "ceil", "floor", "bits.negate"), (NUMBER,)),
    "bits.lsh": (NUMBER, _of("0", "1", "70", "-1", "1.5")),
    "bits.rsh": (NUMBER, _of("0", "1", "70", "-1", "1.5")),
    "numbers.range": (_of("0", "3", "-2", "1.5"), _of("0", "5", "-4")),
    "numbers.range_step": (_of("0", "3", "-2"), _of("0", "5", "-4"), _of("1", "3", "0", "-1")),
    **dict.fromkeys(("sum", "product"), (_either(NUMBERS, NUMBERS, ARRAY),)),
    **dict.fromkeys(("count", "max", "min", "sort"), (_either(VALUE, NUMBERS),)),
    "format_int": (NUMBER, _of("2", "8", "10", "16", "3", "1.5")),
    "to_number": (_either(NUMERAL, SCALAR),),
    **dict.fromkeys(("is_number", "is_set", "type_name"), (VALUE,)),
    "array.concat": (ARRAY, VALUE),
    "array.reverse": (VALUE,),
    "array.flatten": (_some(VALUE, "[", "]"),),
    "array.slice": (ARRAY, SMALL, SMALL),
    **dict.fromkeys(("and", "or"), (SET, _either(SET, VALUE))),
    **dict.fromkeys(("union", "intersection"), (_some(SET, "{", "}"),)),
    "object.get": (_either(OBJECT, VALUE), _either(KEY, _some(KEY, "[", "]")), SCALAR),
    **dict.fromkeys(
        ("object.remove", "object.filter"),
        (OBJECT, _either(_some(KEY, "[", "]"), _some(KEY, "{", "}"), OBJECT, SCALAR)),
    ),
    "object.keys": (OBJECT,),
    "object.union": (OBJECT, OBJECT),
    "object.union_n": (_some(OBJECT, "[", "]"),),
    "object.subset": (_either(OBJECT, ARRAY, SET), _either(OBJECT, ARRAY, SET)),
    "concat": (TEXT, _either(TEXTS, ARRAY)),
    **dict.fromkeys(
        ("contains", "startswith", "endswith", "indexof", "indexof_n", "split", "strings.count",
         "trim", "trim_left", "trim_right", "trim_prefix", "trim_suffix"),
        (TEXT, _either(TEXT, _join("a", "é", most=1))),
    ),
    **dict.fromkeys(
        ("strings.any_prefix_match", "strings.any_suffix_match"),
        (_either(TEXT, TEXTS), _either(TEXT, TEXTS, SET)),
    ),
    **dict.fromkeys(("lower", "upper", "trim_space", "strings.reverse"), (TEXT,)),
    "substring": (TEXT, SMALL, SMALL),
    "replace": (PLAIN, PLAIN, TEXT),
    "strings.replace_n": (_of('{"a": "b", "b": "a"}', '{"": "-", "a": "x"}', "{1: 2}"), PLAIN),
    "sprintf": (DIRECTIVES, _either(ARRAY, _some(NUMBER, "[", "]"), _of("[]"))),
    **dict.fromkeys(("regex.match", "regex.split"), (PATTERN, SUBJECT)),
    "regex.is_valid": (_either(PATTERN, SCALAR),),
    "regex.find_n": (PATTERN, SUBJECT, SMALL),
    "regex.find_all_string_submatch_n": (PATTERN, SUBJECT, SMALL),
    "regex.replace": (SUBJECT, PATTERN, TEMPLATE),
    "regex.template_match": (
        _join("a", "{", "}", "{a*}", "{[a-z]+}", "."), SUBJECT, _of('"{"', '""'), _of('"}"'),
    ),
    "glob.match": (GLOB, DELIMITERS, _join("a", "b", "c", ".", "/", "-", "é", "*")),
    "glob.quote_meta": (_join("*", "?", "[", "]", "{", "}", "!", ",", "\\", "é", "."),),
    "semver.compare": (VERSION, VERSION),
    "semver.is_valid": (VERSION,),
    "units.parse": (AMOUNT,),
    "units.parse_bytes": (AMOUNT,),
    "uuid.parse": (UUID,),
}  # fmt: skip

EACH = 12
"""Calls of each builtin."""


def _calls() -> list[str]:
    chance = random.Random(20_261_126)  # noqa: S311  the same calls in each run
    return [
        f"{name}({', '.join(f'hide({maker(chance)})' for maker in makers)})"
        for name, makers in CALLS.items()
        for _ in range(EACH)
    ]


def _module(calls: list[str]) -> str:
    """Ask for the Rego text of each result: it tells sets from arrays and numbers exactly."""
    rules = [f'r{n} := sprintf("%v", [[x]]) if x := {call}' for n, call in enumerate(calls)]
    # What a function returns has any type, so OPA's type checker lets wrong arguments pass.
    return "\n".join(["package t", "hide(x) := x", *rules, ""])


def _by_value(text: str) -> str:
    def value(number: re.Match[str]) -> str:
        try:
            return str(Decimal(number[0]).normalize() + 0)
        except (InvalidOperation, Overflow):
            return number[0]

    return re.sub(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", value, text)


def _decided(policy: Policy, rule: str) -> str:
    try:
        result = policy.decide(rule, {}, now=NOW)
    except EvalError:
        return "error"
    return "undefined" if result is UNDEFINED else _by_value(result)


def test_builtins_answer_as_opa_does() -> None:
    calls = _calls()
    batches = [calls[start : start + EACH] for start in range(0, len(calls), EACH)]
    modules = list(map(_module, batches))
    programs = compile_all([Unit(modules={"a.rego": text}, entrypoints=()) for text in modules])
    different = []
    with opa() as asked:
        for batch, text, program in zip(batches, modules, programs, strict=True):
            policy = Policy(program)
            said = asked.ask({"a.rego": text}, [(f"t.r{n}", {}) for n in range(len(batch))])
            for n, (call, answer) in enumerate(zip(batch, said, strict=True)):
                assert answer.kind != "refused", answer.text
                wanted = _by_value(answer.value) if answer.kind == "value" else answer.kind
                got = _decided(policy, f"t/r{n}")
                if got != wanted:
                    different.append((call, wanted, got))
    assert different == []
