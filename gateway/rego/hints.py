"""What was probably meant by a name that nothing defines."""

from __future__ import annotations

import bisect
import difflib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.rego.source import Source
    from gateway.rego.tokens import Token

CONSTANTS: Final[Mapping[str, str]] = {
    "True": "true",
    "TRUE": "true",
    "False": "false",
    "FALSE": "false",
    "None": "null",
    "nil": "null",
    "Null": "null",
    "NULL": "null",
    "undefined": "null",
}
"""How other languages write the constants of Rego."""

OTHER_NAMES: Final[Mapping[str, str]] = {
    "len": "count",
    "length": "count",
    "size": "count",
    "has_prefix": "startswith",
    "has_suffix": "endswith",
    "to_lower": "lower",
    "to_upper": "upper",
    "to_string": "sprintf",
    "str": "sprintf",
    "int": "to_number",
    "match": "regex.match",
    "join": "concat",
    "keys": "object.keys",
    "merge": "object.union",
    "now": "time.now_ns",
}
"""How other languages name builtins."""


MOST_GUESSES: Final = 20
"""For how many names of a policy it is guessed what was meant: each is compared with all others."""


def hint(source: Source, token: Token, number: int = 0) -> str:
    """Return a remedy for a name that nothing defines; empty if there is none to guess.

    `number` is that of the fault.
    """
    if token.text in CONSTANTS:
        return f"write `{CONSTANTS[token.text]}`"
    found = source.tokens
    index = bisect.bisect_left(found, token.start, key=lambda each: each.start)
    following = found[index + 1].text if index + 1 < len(found) else ""
    if following == "in":
        return f"write `some {token.text} in …`"
    if following == ":":
        return f'a key that is a text has quotes: write `"{token.text}":`'
    key = _hyphenated(found, index)
    if key:
        return f'write `["{key}"]` for a key with a hyphen'
    if number >= MOST_GUESSES:
        return ""
    close = difflib.get_close_matches(token.text, source.defined, n=1, cutoff=0.75)
    return f"did you mean `{close[0]}`?" if close else ""


def _hyphenated(found: Sequence[Token], index: int) -> str:
    """Return the key of `headers.x-api-key`, whose parts are taken for variables."""
    start, end = index, index + 1
    while start >= 2 and _joins(found, start - 1):
        start -= 2
    while end < len(found) and _joins(found, end):
        end += 2
    before = found[start - 1].text if start else ""
    return "".join(part.text for part in found[start:end]) if before == "." else ""


def _joins(found: Sequence[Token], index: int) -> bool:
    """Whether the token at `index` is a hyphen between two names, without blanks."""
    if found[index].text != "-" or index + 1 >= len(found):
        return False
    left, hyphen, right = found[index - 1 : index + 2]
    return (
        left.kind == "name"
        and left.end == hyphen.start
        and hyphen.end == right.start
        and right.kind in ("name", "number")
    )
