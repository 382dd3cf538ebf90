"""What PyYAML says of a malformed file, in the words of people who write one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import yaml

_QUOTES = "put the text in quotes"

# What PyYAML says (its context and its problem), what is said here, the remedy, and whether the
# place is where the thing began instead of where reading ended.
_WORDS: Iterable[tuple[str, str, str, bool]] = (
    (r"character '\\t'", "a tab, where only blanks may be", "indent with spaces", False),
    (
        r"mapping values are not allowed",
        "a ':' where no key can be",
        "check the indentation, or put the text in quotes",
        False,
    ),
    (r"character '(.+)' that cannot start", r"a value cannot begin with '\1'", _QUOTES, False),
    (
        r"scanning an (?:alias|anchor)",
        "a value cannot begin with '*' or '&'",
        _QUOTES,
        True,
    ),
    (
        r"scanning a quoted scalar.*(?:end of stream|document separator)",
        "the quote that begins here is never closed",
        "",
        True,
    ),
    (
        r"unknown escape character '(.+)'",
        r"'\\\1' is no escape in double quotes",
        "use single quotes",
        False,
    ),
    (
        r"parsing a flow (mapping|sequence).*expected (.+), but got '(.+)'",
        r"expected \2 here, but there is '\3'",
        "",
        False,
    ),
    (
        r"parsing a flow (?:mapping|sequence).*expected (.+), but got ",
        r"expected \1 before this",
        "",
        False,
    ),
    (r"expected the node content, but found '(.+)'", r"a value is missing before '\1'", "", False),
    (
        r"parsing a block (?:mapping|collection)",
        "does not fit the lines above",
        "entries that belong together begin in the same column",
        False,
    ),
    (
        r"could not find expected ':'",
        "a key without ':'",
        "write KEY: VALUE, with a blank after the ':'",
        True,
    ),
    (
        r"single document",
        "a second document begins here",
        "a file holds one: remove the line with ---",
        False,
    ),
    (r"(?:block scalar|directive|tag)", "cannot be read here", _QUOTES, False),
)


def explain(error: yaml.MarkedYAMLError) -> tuple[str, str, bool]:
    """A message, a remedy, and whether the place is the error's context instead of its problem."""
    said = ": ".join(filter(None, (error.context, error.problem)))
    for pattern, message, remedy, at_start in _WORDS:
        if found := re.search(pattern, said, re.DOTALL):
            return found.expand(message), remedy, at_start
    return f"cannot be read as YAML: {said}", "", False
