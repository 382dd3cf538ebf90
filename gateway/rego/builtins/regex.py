"""Regular expressions, in linear time (RE2)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import re2  # type: ignore[import-untyped]

from gateway.rego.builtins.operands import (
    CHARACTERS_A_STEP,
    charge_text,
    small_integer,
    string,
    utf8,
)
from gateway.rego.builtins.registry import Builtin, State, charged
from gateway.rego.builtins.remembered import remembered
from gateway.rego.errors import BuiltinError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.rego.values import Value

MAX_PATTERN: Final = 16_384
MAX_MEMORY: Final = 1 << 20
"""Bytes that one compiled pattern may use; compiling the worst that fits takes 25 ms."""

INSTRUCTION_BYTES: Final = 40

MAX_COMPILE_STEPS: Final = 250_000

_ANY_BYTE: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\C")
_REPEAT: Final = re.compile(r"\{(?:\d*,)?(\d{1,4})")
_UNICODE_CLASS_STEPS: Final = 1_000


class Pattern:
    """A compiled pattern, what compiling it costs, and what it costs a character."""

    __slots__ = ("compile_steps", "error", "program", "regex")

    def __init__(self, source: bytes) -> None:
        self.compile_steps = _compile_steps(source)
        self.regex: Any = None
        self.error = ""
        self.program = 0
        if _ANY_BYTE.search(source):
            self.error = "invalid escape sequence: \\C"  # Go's syntax has none
            return
        try:
            self.regex = re2.compile(source, _options())
            self.program = self.regex.programsize
        except re2.error as error:
            said = error.args[0] if error.args else ""
            self.error = said.decode(errors="replace") if isinstance(said, bytes) else str(said)

    def search(self, state: State, text: bytes, start: int = 0) -> Any:
        """Find the leftmost match from `start` on."""
        # Measured: up to 8 ns a character and instruction where RE2 has to simulate an NFA.
        state.charge((len(text) - start) * (10 + self.program) // 64)
        return self.regex.search(text, start)


def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_MEMORY
    return options


def _compile_steps(source: bytes) -> int:
    text = source.decode()
    weight = len(text) + _UNICODE_CLASS_STEPS * (text.count("\\p") + text.count("\\P"))
    for repeat in _REPEAT.findall(text):
        weight *= max(1, int(repeat))
        if weight > MAX_COMPILE_STEPS:
            return MAX_COMPILE_STEPS
    return 500 + weight


def _weight(compiled: Pattern, source: str) -> int:
    """About the bytes of a compiled pattern: its program, forward and back, and its text."""
    return 2_000 + 4 * len(source) + INSTRUCTION_BYTES * compiled.program


@remembered(16 << 20, _weight)
def _compiled(source: str) -> Pattern:
    return Pattern(utf8(source))


def pattern(state: State, source: str) -> Pattern:
    """Return a compiled pattern; its first use in a decision is charged, cached or not."""
    key = ("regex", source)
    known = state.memo.get(key)
    if known is None:
        if len(source) > MAX_PATTERN:
            raise BuiltinError("regular expression too long")
        known = _compiled(source)
        state.charge(known.compile_steps)
        state.memo[key] = known
    if known.error:
        raise BuiltinError(f"error parsing regexp: {known.error}")
    return known


def escape(text: str) -> str:
    """Make a pattern that matches `text` literally."""
    escaped: str = re2.escape(text)
    return escaped


def match(state: State, source: Value, value: Value) -> bool:
    """Tell whether a pattern matches somewhere in a string."""
    regex = pattern(state, string(source))
    return regex.search(state, utf8(string(value, 2))) is not None


def is_valid(state: State, source: Value) -> bool:
    """Tell whether a string is a pattern."""
    if source.__class__ is not str:
        return False
    try:
        pattern(state, source)
    except BuiltinError:
        return False
    return True


def _matches(state: State, regex: Pattern, text: bytes, limit: int) -> Iterator[Any]:
    """Find matches from left to right; an empty one directly after another does not count."""
    start, previous = 0, -1
    while limit and start <= len(text):
        found = regex.search(state, text, start)
        if found is None:
            return
        state.charge(1)
        first, end = found.span()
        if end > start or first != previous:
            limit -= 1
            yield found
        start = end if end > start else _next_character(text, start)
        previous = end


def _next_character(text: bytes, at: int) -> int:
    at += 1
    while at < len(text) and text[at] & 0xC0 == 0x80:
        at += 1
    return at


def _text(piece: bytes | None) -> str:
    return piece.decode("utf-8", "replace") if piece else ""


def find_n(state: State, source: Value, value: Value, limit: Value) -> list[str]:
    """List the first `limit` matches; all if it is negative."""
    regex, text = pattern(state, string(source)), utf8(string(value, 2))
    return [_text(found.group()) for found in _matches(state, regex, text, small_integer(limit, 3))]


def find_all_submatches(state: State, source: Value, value: Value, limit: Value) -> list[list[str]]:
    """List the first `limit` matches, each followed by what its groups matched."""
    regex, text = pattern(state, string(source)), utf8(string(value, 2))
    rows = []
    for found in _matches(state, regex, text, small_integer(limit, 3)):
        groups = (found.group(), *found.groups())
        state.charge(len(groups) + sum(len(group or b"") for group in groups) // CHARACTERS_A_STEP)
        rows.append(list(map(_text, groups)))
    return rows


def split(state: State, source: Value, value: Value) -> list[str]:
    """Cut a string at each match."""
    regex, text = pattern(state, string(source)), utf8(string(value, 2))
    if source and not text:
        return [""]
    pieces = []
    begin = end = 0
    for found in _matches(state, regex, text, -1):
        end, after = found.span()
        if after:
            pieces.append(text[begin:end])
        begin = after
    if end != len(text):
        pieces.append(text[begin:])
    return list(map(_text, pieces))


_REFERENCE: Final = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")


def replace(state: State, value: Value, source: Value, template: Value) -> str:
    """Replace each match; `$1`, `${1}` and `${name}` in the template stand for groups."""
    text = utf8(string(value))
    regex = pattern(state, string(source, 2))
    replacement = string(template, 3)
    utf8(replacement)
    parts: list[bytes | int] | None = None
    pieces = []
    end = 0
    for found in _matches(state, regex, text, -1):
        if parts is None:
            parts = _parts(state, regex, replacement)
        pieces += [text[end : found.start()], _expanded(state, found, parts)]
        end = found.end()
    return _text(b"".join(pieces) + text[end:])


_REFERENCE_STEPS: Final = 12
"""What reading one `$` of a replacement costs."""

_PART_STEPS: Final = 4
"""What a part of a replacement costs for each match."""


def _parts(state: State, regex: Pattern, replacement: str) -> list[bytes | int]:
    """Read a replacement: literal text, and the numbers of the groups that stand between."""
    charge_text(state, replacement)
    state.charge(_REFERENCE_STEPS * replacement.count("$"))
    parts: list[bytes | int] = []
    literal: list[str] = []
    end = 0
    for found in _REFERENCE.finditer(replacement):
        literal.append(replacement[end : found.start()])
        end = found.end()
        name = found[1] or found[2]
        if name is None:
            literal.append("$")
            continue
        group = _group(regex, name)
        if group is not None:
            parts += ["".join(literal).encode(), group]
            literal = []
    parts.append("".join((*literal, replacement[end:])).encode())
    return parts


def _group(regex: Pattern, name: str) -> int | None:
    """Return the number of a group; None where the pattern has none of that name."""
    if name.isascii() and name.isdigit():
        number = int(name[:6])
        return number if number <= regex.regex.groups else None
    found: int | None = regex.regex.groupindex.get(name.encode())
    return found


def _expanded(state: State, found: Any, parts: list[bytes | int]) -> bytes:
    state.charge(_PART_STEPS * len(parts))
    made = [part if part.__class__ is bytes else found.group(part) or b"" for part in parts]
    state.charge(sum(map(len, made)) // CHARACTERS_A_STEP)
    return b"".join(made)


def template_match(state: State, template: Value, value: Value, start: Value, end: Value) -> bool:
    """Tell whether a string matches a template with patterns between delimiters."""
    opening, closing = string(start, 3), string(end, 4)
    for name, delimiter in (("start", opening), ("end", closing)):
        if len(delimiter) != 1 or not delimiter.isascii():
            raise BuiltinError(f"{name} delimiter has to be exactly one character long")
    charge_text(state, text := string(template))
    state.charge(len(text))
    source = _template_pattern(text, opening, closing)
    return pattern(state, source).search(state, utf8(string(value, 2))) is not None


def _template_pattern(template: str, opening: str, closing: str) -> str:
    if not template:
        return ""  # OPA lets an empty template match everything
    pieces = ["^"]
    level = begin = 0
    for at, char in enumerate(template):
        if char == opening:
            level += 1
            if level == 1:
                pieces.append(escape(template[begin:at]))
                begin = at + 1
        elif char == closing:
            level -= 1
            if level == 0:
                pieces.append(f"({template[begin:at]})")
                begin = at + 1
        if level < 0:
            break
    if level:
        raise BuiltinError("unbalanced braces in the template")
    return "".join(pieces) + escape(template[begin:]) + "$"


# --- globs that are regular expressions of characters, sets, `*` and `+`


_Span = tuple[int, int]
_Piece = tuple[tuple[_Span, ...], bool, bool]
_GLOB_PIECE: Final = re.compile(r"(\[(?:[^\]\\]|\\.)*\]|\\.|[^\[\]\\*+])([*+]?)", re.DOTALL)
_GLOB_SET: Final = re.compile(r"(?:(?:\\.|[^-\\])(?:-(?:\\.|[^-\\]))?)*+", re.DOTALL)
"""A hyphen in a set stands between two characters."""
_ANYTHING: Final[_Span] = (0, 0x10FFFF)


def globs_match(state: State, left: Value, right: Value) -> bool:
    """Tell whether some string matches both of two patterns."""
    first, second = string(left), string(right, 2)
    state.charge((1 + len(first)) * (1 + len(second)))
    rows, columns = _glob_pieces(first), _glob_pieces(second)
    if not first or not second:
        return first == second  # OPA lets no other pattern match the empty one
    seen = {(0, 0)}
    pending = [(0, 0)]
    while pending:
        row, column = pending.pop()
        if row == len(rows) and column == len(columns):
            return True
        for step in _glob_steps(rows, columns, row, column):
            if step not in seen:
                seen.add(step)
                pending.append(step)
    return False


def _glob_pieces(text: str) -> list[_Piece]:
    """Read (characters, may be absent, may repeat) for each piece; `x+` is `x` and `x*`."""
    pieces: list[_Piece] = []
    at = 0
    while at < len(text):
        found = _GLOB_PIECE.match(text, at)
        if found is None:
            raise BuiltinError("the input provided is invalid")
        spans = _glob_spans(found[1])
        if found[2] != "*":
            pieces.append((spans, False, False))
        if found[2]:
            pieces.append((spans, True, True))
        at = found.end()
    return pieces


def _glob_spans(text: str) -> tuple[_Span, ...]:
    if text == ".":
        return (_ANYTHING,)
    if text[0] != "[":
        return ((ord(text[-1]), ord(text[-1])),)
    if not _GLOB_SET.fullmatch(text[1:-1]):
        raise BuiltinError("the input provided is invalid")
    spans = []
    for low, high in re.findall(r"(\\.|.)(?:-(\\.|.))?", text[1:-1], re.DOTALL):
        span = (ord(low[-1]), ord((high or low)[-1]))
        if span[0] > span[1]:
            raise BuiltinError("the input provided is invalid")
        spans.append(span)
    if not spans:
        raise BuiltinError("the input provided is invalid")
    return tuple(spans)


def _glob_steps(
    rows: list[_Piece], columns: list[_Piece], row: int, column: int
) -> Iterator[tuple[int, int]]:
    if row < len(rows) and rows[row][1]:
        yield row + 1, column
    if column < len(columns) and columns[column][1]:
        yield row, column + 1
    if row < len(rows) and column < len(columns) and _overlap(rows[row][0], columns[column][0]):
        yield row + (not rows[row][2]), column + (not columns[column][2])


def _overlap(left: tuple[_Span, ...], right: tuple[_Span, ...]) -> bool:
    return any(low <= top and bottom <= high for low, high in left for bottom, top in right)


BUILTINS: Final[tuple[Builtin, ...]] = (
    charged("regex.match", match, 2),
    charged("regex.is_valid", is_valid, 1),
    charged("regex.find_n", find_n, 3),
    charged("regex.find_all_string_submatch_n", find_all_submatches, 3),
    charged("regex.split", split, 2),
    charged("regex.replace", replace, 3),
    charged("regex.template_match", template_match, 4),
    charged("regex.globs_match", globs_match, 2),
)
