"""Strings, counted in code points."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gateway.rego.builtins import binary_float
from gateway.rego.builtins.operands import (
    CHARACTERS_A_STEP,
    COMPARED_A_STEP,
    OperandError,
    charge_number,
    charge_sort,
    charge_text,
    mapping,
    number,
    small_integer,
    string,
    strings,
    wrong_type,
)
from gateway.rego.builtins.registry import Builtin, State, charged
from gateway.rego.builtins.remembered import remembered
from gateway.rego.errors import BuiltinError
from gateway.rego.values import RegoSet, Value, format_number

if TYPE_CHECKING:
    from collections.abc import Callable


def concat(state: State, separator: Value, parts: Value) -> str:
    """Join the strings of an array or set."""
    if parts.__class__ is RegoSet:
        charge_sort(state, parts.values())
    glue, texts = string(separator), strings(parts, 2)
    length = sum(map(len, texts)) + len(glue) * len(texts)
    state.charge(len(texts) + length // CHARACTERS_A_STEP)
    return glue.join(texts)


def contains(state: State, text: Value, part: Value) -> bool:
    """Tell whether a string holds another."""
    charge_text(state, string(text), string(part, 2))
    return part in text


def startswith(state: State, text: Value, prefix: Value) -> bool:
    """Tell whether a string begins with another."""
    state.charge(3 + len(string(prefix, 2)) // COMPARED_A_STEP)
    return string(text).startswith(prefix)


def endswith(state: State, text: Value, suffix: Value) -> bool:
    """Tell whether a string ends with another."""
    state.charge(3 + len(string(suffix, 2)) // COMPARED_A_STEP)
    return string(text).endswith(suffix)


def _any_match(test: Callable[[str, tuple[str, ...]], bool]) -> Callable[..., bool]:
    def any_match(state: State, texts: Value, parts: Value) -> bool:
        for value in (texts, parts):
            if value.__class__ is RegoSet:
                charge_sort(state, value.values())
        whole, wanted = _string_or_strings(texts, 1), tuple(_string_or_strings(parts, 2))
        length = sum(map(len, wanted))
        state.charge(12 + len(wanted) + len(whole) * (1 + len(wanted)))
        state.charge(len(whole) * length // COMPARED_A_STEP)
        return any(test(text, wanted) for text in whole)

    return any_match


def _string_or_strings(value: Value, position: int) -> list[str]:
    if value.__class__ is str:
        return [value]
    if value.__class__ is not list and value.__class__ is not RegoSet:
        raise wrong_type(value, position, "string", "set", "array")
    return strings(value, position)


def _one_to_one(text: str, change: Callable[[str], str]) -> str:
    """Change case one character at a time: `ß` stays, and `Σ` does not look at its place."""
    return "".join(
        changed if len(changed := change(char)) == 1 else _SINGLE.get(char, char) for char in text
    )


# Characters whose full mapping is longer but which have a simple one (Unicode UnicodeData.txt):
# those whose title case is a single character, and the dotted capital I.
_SINGLE: Final = {
    **{
        char: char.title()
        for char in map(chr, range(0x1F80, 0x1FFD))
        if len(char.upper()) > 1 and len(char.title()) == 1
    },
    "\u0130": "i",
}


def lower(state: State, value: Value) -> str:
    """Turn into lower case."""
    charge_text(state, text := string(value))
    if text.isascii():
        return text.lower()
    state.charge(len(text))
    return _one_to_one(text, str.lower)


def upper(state: State, value: Value) -> str:
    """Turn into upper case."""
    charge_text(state, text := string(value))
    if text.isascii():
        return text.upper()
    state.charge(len(text))
    return _one_to_one(text, str.upper)


def indexof(state: State, text: Value, part: Value) -> int:
    """Return where a string first occurs in another, -1 if nowhere."""
    charge_text(state, string(text), string(part, 2))
    if not part:
        raise BuiltinError("empty search character")
    return text.find(part)  # type: ignore[no-any-return]


def indexof_n(state: State, text: Value, part: Value) -> list[int]:
    """List everywhere that a string occurs in another, overlaps included."""
    charge_text(state, string(text), string(part, 2))
    if not part:
        raise BuiltinError("empty search character")
    found = []
    at = text.find(part)
    while at >= 0:
        found.append(at)
        state.charge(2 + len(part) // CHARACTERS_A_STEP)
        at = text.find(part, at + 1)
    return found


def substring(state: State, value: Value, start: Value, length: Value) -> str:
    """Return `length` characters from `start` on; all that follow if it is negative."""
    text, offset, size = string(value), small_integer(start, 2), small_integer(length, 3)
    if offset < 0:
        raise BuiltinError("negative offset")
    charge_text(state, text)
    return text[offset:] if size < 0 else text[offset : offset + size]


def split(state: State, value: Value, separator: Value) -> list[str]:
    """Cut a string at each separator; into characters if that is empty."""
    text, mark = string(value), string(separator, 2)
    charge_text(state, text)
    state.charge(text.count(mark))
    return text.split(mark) if mark else list(text)


def split_n(state: State, value: Value, separator: Value, limit: Value) -> list[str]:
    """Cut a string as `split` does; return the first `limit` parts, or the last if negative."""
    wanted = small_integer(limit, 3)
    parts = split(state, value, separator)
    return parts[:wanted] if wanted >= 0 else parts[wanted:]


def replace(state: State, value: Value, old: Value, new: Value) -> str:
    """Replace each occurrence; an empty one is before each character and at the end."""
    text, wanted, other = string(value), string(old, 2), string(new, 3)
    charge_text(state, text)
    state.charge(text.count(wanted) * (1 + len(other) // CHARACTERS_A_STEP))
    return text.replace(wanted, other)


def replace_n(state: State, patterns: Value, value: Value) -> str:
    """Replace the keys of an object by its values, at each place the first key in order."""
    pairs = mapping(patterns)
    text = string(value, 2)
    for key, item in pairs.items():
        if key.__class__ is not str:
            raise OperandError("operand 1 non-string key found in pattern object")
        if item.__class__ is not str:
            raise OperandError("operand 1 non-string value found in pattern object")
    keys = tuple(sorted(key for key in pairs if key))
    length = sum(map(len, keys))
    state.charge(len(keys) + length * (1 + len(text)) // CHARACTERS_A_STEP)
    between: str = pairs.get("", "")
    pieces: list[str] = []
    end = 0
    for match in _any_of(state, keys, length).finditer(text) if keys else ():
        _keep(state, pieces, text[end : match.start()], between)
        pieces.append(between + pairs[match.group()])
        state.charge(5 + len(pieces[-1]) // CHARACTERS_A_STEP)
        end = match.end()
    _keep(state, pieces, text[end:], between)
    return "".join(pieces) + between


def _keep(state: State, pieces: list[str], text: str, between: str) -> None:
    if between:
        state.charge(len(text) * (3 + len(between) // CHARACTERS_A_STEP))
        pieces.extend(between + char for char in text)
    else:
        pieces.append(text)


def _any_of(state: State, keys: tuple[str, ...], length: int) -> re.Pattern[str]:
    """Return a pattern of all keys; its first use in a decision is charged, cached or not."""
    at = ("alternatives", keys)
    known: re.Pattern[str] | None = state.memo.get(at)
    if known is None:
        state.charge(COMPILE_STEPS * (len(keys) + length))
        known = state.memo[at] = _alternatives(keys)
    return known


COMPILE_STEPS: Final = 14
"""What compiling one character of a literal costs."""


def _weight(_: re.Pattern[str], keys: tuple[str, ...]) -> int:
    return 1_000 + sum(100 + 40 * len(key) for key in keys)


@remembered(4 << 20, _weight)
def _alternatives(keys: tuple[str, ...]) -> re.Pattern[str]:
    # Literals only: work at each place is bounded by their total length, which is charged.
    return re.compile("|".join(map(re.escape, keys)))


def reverse(state: State, value: Value) -> str:
    """Turn a string round."""
    charge_text(state, text := string(value))
    return text[::-1]


def occurrences(state: State, text: Value, part: Value) -> int:
    """Count how often a string occurs in another without overlaps."""
    charge_text(state, string(text), string(part, 2))
    return text.count(part)  # type: ignore[no-any-return]


def _trimming(trim: Callable[[str, str], str]) -> Callable[..., str]:
    def trimmed(state: State, value: Value, characters: Value) -> str:
        text, cut = string(value), string(characters, 2)
        charge_text(state, text, cut)
        return trim(text, cut)

    return trimmed


def _trimming_any(trim: Callable[[str, str], str]) -> Callable[..., str]:
    def trimmed(state: State, value: Value, characters: Value) -> str:
        text, cut = string(value), string(characters, 2)
        # Each character is looked for among those to cut.
        state.charge((8 + len(text)) * (1 + len(cut)) // CHARACTERS_A_STEP)
        return trim(text, cut)

    return trimmed


# Unicode White_Space; Python's own notion also has the separators U+001C to U+001F.
_SPACES: Final = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)


def trim_space(state: State, value: Value) -> str:
    """Remove white space at both ends."""
    text = string(value)
    state.charge(len(text) // 4)  # a space is looked for among all of them
    return text.strip(_SPACES)


_BASES: Final[dict[Any, str]] = {2: "b", 8: "o", 16: "x"}


def format_int(state: State, value: Value, base: Value) -> str:
    """Write a number, less its fraction, to base 2, 8, 10 or 16."""
    charge_number(state, number(value))
    whole = value if value.__class__ is int else int(binary_float.binary(value))
    if number(base, 2) == 10:
        return format_number(whole)
    style = _BASES.get(base)
    if style is None:
        raise OperandError("operand 2 must be one of {2, 8, 10, 16}")
    return format(whole, style)


BUILTINS: Final[tuple[Builtin, ...]] = (
    charged("concat", concat, 2, steps=5),
    charged("contains", contains, 2),
    charged("startswith", startswith, 2),
    charged("endswith", endswith, 2),
    charged("strings.any_prefix_match", _any_match(str.startswith), 2),
    charged("strings.any_suffix_match", _any_match(str.endswith), 2),
    charged("lower", lower, 1, steps=5),
    charged("upper", upper, 1, steps=5),
    charged("indexof", indexof, 2),
    charged("indexof_n", indexof_n, 2),
    charged("substring", substring, 3),
    charged("split", split, 2),
    charged("strings.split_n", split_n, 3),
    charged("replace", replace, 3),
    charged("strings.replace_n", replace_n, 2, steps=40),
    charged("strings.reverse", reverse, 1),
    charged("strings.count", occurrences, 2),
    charged("trim", _trimming_any(str.strip), 2, steps=6),
    charged("trim_left", _trimming_any(str.lstrip), 2, steps=6),
    charged("trim_right", _trimming_any(str.rstrip), 2, steps=6),
    charged("trim_prefix", _trimming(str.removeprefix), 2, steps=5),
    charged("trim_suffix", _trimming(str.removesuffix), 2, steps=5),
    charged("trim_space", trim_space, 1, steps=5),
    charged("format_int", format_int, 2, steps=5),
)
