r"""Globs: `*` and `?` do not cross a delimiter, `**` does; `[a-z]`, `[!abc]`, `{one,two}`, `\`.

Common shapes become string comparisons, the rest an RE2 pattern, so that no text makes a
match slow.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gateway.rego.builtins import regex
from gateway.rego.builtins.operands import (
    CHARACTERS_A_STEP,
    string,
    utf8,
    wrong_element,
    wrong_type,
)
from gateway.rego.builtins.registry import Builtin, State, charged
from gateway.rego.builtins.remembered import remembered
from gateway.rego.errors import BuiltinError

if TYPE_CHECKING:
    from gateway.rego.values import Value


def match(state: State, pattern: Value, delimiters: Value, value: Value) -> bool:
    """Tell whether a whole string matches; null: no delimiters, an empty array: the dot."""
    marks = "/" if delimiters == _SLASH else None
    if marks is None or pattern.__class__ is not str or value.__class__ is not str:
        pattern, marks, value = string(pattern), _delimiters(delimiters), string(value, 3)
    key = (match, pattern, marks)
    test = state.memo.get(key)
    if test is None:
        test, steps = _test(pattern, marks)
        state.charge(steps)
        state.memo[key] = test
    return test(state, value)


_SLASH: Final = ["/"]
"""The usual delimiters, told apart by one comparison."""


def _delimiters(value: Value) -> str:
    if value is None:
        return ""
    if value.__class__ is not list:
        raise wrong_type(value, 2, "array", "null")
    if len(value) == 1 and value[0].__class__ is str and len(value[0]) == 1:
        return str(value[0])
    for mark in value:
        if mark.__class__ is not str:
            raise wrong_element(value, mark, 2, "string")
        if len(mark) != 1:
            raise wrong_element(value, mark, 2, "rune")
    return "".join(value) or "."


_SIMPLE: Final = re.compile(r"([^*?\[{\\]*)(\*\*?)?([^*?\[{\\]*)", re.DOTALL)


WILD_STEPS: Final = 16
"""What translating and compiling a wildcard costs, beside its length."""


_Test = Callable[[State, str], bool]


def _weight(_: tuple[_Test, int], pattern: str, delimiters: str) -> int:
    """About the bytes of a test: its texts, and the pattern, which repeats the delimiters."""
    return (
        1_000
        + 4 * (len(pattern) + len(delimiters))
        + (regex.MAX_PATTERN if len(pattern) > 64 else 0)
    )


@remembered(4 << 20, _weight)
def _test(pattern: str, delimiters: str) -> tuple[_Test, int]:
    """Return the test of a glob, and the steps that it costs to make it."""
    length = len(pattern) + len(delimiters)
    if length > regex.MAX_PATTERN:
        raise BuiltinError("glob too long")
    steps = length + WILD_STEPS * (pattern.count("?") + pattern.count("*"))
    simple = _SIMPLE.fullmatch(pattern)
    if simple is None:
        return _by_regex(_translated(pattern, delimiters)), steps
    prefix, star, suffix = simple.groups()
    if not star:
        return (lambda _, text: text == pattern), steps
    return _by_ends(prefix, suffix, delimiters if star == "*" else ""), steps


def _by_ends(prefix: str, suffix: str, barred: str) -> _Test:
    start, tail = len(prefix), len(suffix)

    def test(state: State, text: str) -> bool:
        stop = len(text) - tail
        if stop < start or not text.startswith(prefix) or not text.endswith(suffix):
            return False
        if len(text) >= CHARACTERS_A_STEP:
            state.charge(len(text) // CHARACTERS_A_STEP)
        for mark in barred:  # noqa: SIM110  a generator costs more than the search
            if text.find(mark, start, stop) >= 0:
                return False
        return True

    return test


def _by_regex(source: str) -> _Test:
    return lambda state, text: regex.pattern(state, source).search(state, utf8(text)) is not None


def quote_meta(state: State, value: Value) -> str:
    """Escape what has a meaning in a glob."""
    state.charge(len(text := string(value)) // 2)
    return text.translate(_META)


_META: Final = str.maketrans({char: "\\" + char for char in "*?\\[]{}"})


# --- translation into a pattern of RE2


class _Reader:
    """A glob being read from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def take(self) -> str:
        """Return the next character, empty at the end."""
        char = self.text[self.at : self.at + 1]
        self.at += 1
        return char

    def literal(self, stops: str) -> str:
        """Read text up to one of `stops`; a backslash takes the next character as it is."""
        taken = []
        while self.at < len(self.text) and self.text[self.at] not in stops:
            char = self.take()
            taken.append(self.take() if char == "\\" else char)
        return "".join(taken)


def _translated(pattern: str, delimiters: str) -> str:
    one = f"[^{_in_class(''.join(dict.fromkeys(delimiters)))}]" if delimiters else "."
    reader = _Reader(pattern)
    pieces: list[str] = []
    depth = length = seen = 0
    while reader.at < len(pattern):
        length += sum(map(len, pieces[seen:]))
        seen = len(pieces)
        if length > regex.MAX_PATTERN:
            raise BuiltinError("glob too long")
        char = reader.take()
        if char == "*":
            deep = reader.text.startswith("*", reader.at)
            reader.at += deep
            pieces.append(".*" if deep else one + "*")
        elif char == "?":
            pieces.append(one)
        elif char == "[":
            pieces.append(_character_class(reader))
        elif char == "{":
            depth += 1
            pieces.append("(?:")
        elif char == "}" and depth:
            depth -= 1
            pieces.append(")")
        elif char == "," and depth:
            pieces.append("|")
        else:
            reader.at -= 1
            pieces.append(regex.escape(reader.literal("*?[{}," if depth else "*?[{")))
    pieces.append(")" * depth)  # braces that are not closed end with the glob
    nothing = "?" if _SINGLE.fullmatch(pattern) else ""
    return r"(?s)\A(?:" + "".join(pieces) + rf"){nothing}\z"


_SINGLE: Final = re.compile(r"\?|\[!(?:[^\]\\]|\\.)+\]", re.DOTALL)
"""Globs of one character that match the empty text, too, as OPA's do."""


def _character_class(reader: _Reader) -> str:
    """Read `[a-z]` or `[abc]`, negated by `!`; only one range, or a list without ranges."""
    negation = "^" if reader.text.startswith("!", reader.at) else ""
    reader.at += len(negation)
    low = reader.text[reader.at : reader.at + 1]
    if low and reader.text.startswith("-", reader.at + 1):
        reader.at += 2
        high = reader.take()
        if not high or low > high:
            raise BuiltinError("glob: a range must go from the lower to the higher character")
        members = f"{_in_class(low)}-{_in_class(high)}"
    else:
        text = reader.literal("]")
        if not text:
            raise BuiltinError("glob: empty character class")
        members = _in_class(text)
    if reader.take() != "]":
        raise BuiltinError("glob: expected close range character")
    return f"[{negation}{members}]"


def _in_class(characters: str) -> str:
    """Escape characters; those of Latin 1 without braces, which look like a repetition."""
    return "".join(
        f"\\x{ord(char):02x}" if char <= "\xff" else f"\\x{{{ord(char):x}}}" for char in characters
    )


BUILTINS: Final[tuple[Builtin, ...]] = (
    charged("glob.match", match, 3),
    charged("glob.quote_meta", quote_meta, 1),
)
