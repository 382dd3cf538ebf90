"""Values that a constant of a policy suggests: what fits a pattern, and what nearly does."""

from __future__ import annotations

import ipaddress
import re
from re import _constants as kinds, _parser as parser  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

LONGEST: Final = 200
"""Longer patterns have no samples."""

MOST_FITTING: Final = 2000
"""So many characters a sample of a pattern has; repetitions within others would fill the memory."""

MOST_CHANGED: Final = 10_000
"""Longer texts are left as they are."""

FILLER: Final = "x"


def of_call(function: str, text: str) -> Iterator[str]:
    """Yield strings that an argument of a builtin may be, given another argument of it."""
    made = _SAMPLES.get(function)
    if made is not None and len(text) <= LONGEST:
        yield from made(text)


def _startswith(text: str) -> Iterator[str]:
    yield text + FILLER
    yield text


def _endswith(text: str) -> Iterator[str]:
    yield FILLER + text
    yield text


def _contains(text: str) -> Iterator[str]:
    yield FILLER + text + FILLER
    yield text


def _glob(text: str) -> Iterator[str]:
    """Yield a string that fits, one with more in each star, and one with more at the end."""
    plain = re.sub(r"\{([^,{}]*)[^{}]*\}", r"\1", text)
    plain = re.sub(r"\[(!?)([^\]])[^\]]*\]", lambda m: FILLER if m[1] else m[2], plain)
    plain = plain.replace("?", FILLER)
    short = plain.replace("**", "*").replace("*", FILLER)
    yield short
    yield re.sub(r"\*\*?", "x/y", plain)
    yield re.sub(r"\*\*?", "x.y", plain)
    yield f"{short}/{FILLER}"


def _regex(text: str) -> Iterator[str]:
    """Yield strings that fit: with the fewest and with one more repetition."""
    try:
        tree = parser.parse(text)
    except (re.error, RecursionError, OverflowError):
        return
    for more in (0, 1):
        found = _joined(_fits(tree, more))
        yield found
        yield found + FILLER
        yield FILLER + found


def _fits(tree: Any, more: int) -> Iterator[str]:
    for kind, value in tree:
        if kind is kinds.LITERAL:
            yield chr(value)
        elif kind in (kinds.NOT_LITERAL, kinds.ANY):
            yield FILLER
        elif kind is kinds.IN:
            yield _member(value)
        elif kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT):
            least, most, inner = value
            made = _joined(_fits(inner, more))
            yield (made * min(least + more, int(most), 20))[:MOST_FITTING]
        elif kind is kinds.SUBPATTERN:
            yield from _fits(value[-1], more)
        elif kind is kinds.BRANCH:
            choices = value[1]
            yield from _fits(choices[more % len(choices)], more)


def _joined(parts: Iterator[str]) -> str:
    """Return a text of parts, as long as it may be: then no more of them are made."""
    made = ""
    for part in parts:
        made += part
        if len(made) >= MOST_FITTING:
            break
    return made[:MOST_FITTING]


def _member(members: Any) -> str:
    """A character of a class; a usual one where the class says what it is not."""
    kind, value = members[0]
    if kind is kinds.LITERAL:
        return chr(value)
    if kind is kinds.RANGE:
        return chr(value[0])
    if kind is kinds.CATEGORY:
        return {kinds.CATEGORY_DIGIT: "1", kinds.CATEGORY_SPACE: " "}.get(value, FILLER)
    return FILLER


def _network(text: str) -> Iterator[str]:
    """Yield the first and the last address of a network, and the one after it."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return
    yield str(network.network_address)
    yield str(network.broadcast_address)
    try:
        yield str(network.broadcast_address + 1)
    except ValueError:
        yield str(network.network_address - 1)


_SAMPLES: Final[Mapping[str, Callable[[str], Iterator[str]]]] = {
    "startswith": _startswith,
    "endswith": _endswith,
    "contains": _contains,
    "strings.any_prefix_match": _startswith,
    "strings.any_suffix_match": _endswith,
    "trim_prefix": _startswith,
    "trim_suffix": _endswith,
    "indexof": _contains,
    "glob.match": _glob,
    "regex.match": _regex,
    "net.cidr_contains": _network,
    "net.cidr_contains_matches": _network,
}


def near(value: Any) -> Iterator[Any]:
    """Yield values that differ from one by little, where policies often draw their lines."""
    match value:
        case bool():
            yield not value
        case None:
            yield False
        case str() if len(value) > MOST_CHANGED:
            yield ""
        case str():
            yield from (value + FILLER, FILLER + value, f"{value}/{FILLER}", value[:-1])
            yield from (value.upper(), value.lower(), value.capitalize(), "")
            yield from _parts(value)
        case list():
            yield from ([*value[:at], *value[at + 1 :]] for at in range(min(len(value), 8)))
            yield []
        case dict():
            yield {}
        case _:
            yield from (value + 1, value - 1, 0, -value)


def _parts(text: str) -> Iterator[str]:
    """Yield a path-like text with one of its parts left out or replaced."""
    for delimiter in "/.:-@":
        parts = text.split(delimiter)
        if 1 < len(parts) <= 12:
            for at in range(len(parts)):
                yield delimiter.join((*parts[:at], *parts[at + 1 :]))
                yield delimiter.join((*parts[:at], FILLER, *parts[at + 1 :]))
