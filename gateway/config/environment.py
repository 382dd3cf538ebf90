"""Environment variables in values: `${NAME}`, `${NAME:-default}`, and `$${` for a literal `${`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

REFERENCE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(:-[^}]*)?\})?")


class EnvironmentFault(ValueError):  # noqa: N818  a fault of the file, not of the program
    """A reference that cannot be replaced, and what to do about it."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def substitute(text: str, environ: Mapping[str, str]) -> str:
    """Replace the references in one value; as in a shell, a default stands in for empty too."""

    def replacement(found: re.Match[str]) -> str:
        name, default = found[1], found[2]
        if found[0] == "$${":
            return "${"
        if name is None:
            raise EnvironmentFault("'${' begins no variable", "write ${NAME}, or $${ for the text")
        value = environ.get(name)
        if default is not None:
            return value or default[2:]
        if value is None:
            raise EnvironmentFault(
                f"the environment variable {name} is not set",
                f"set it, or give a default: ${{{name}:-value}}",
            )
        return value

    return REFERENCE.sub(replacement, text)


def escape(text: str) -> str:
    """The text that `substitute` turns back into `text`."""
    return text.replace("${", "$${")
