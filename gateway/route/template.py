"""Path templates: `/orders/{id}`, `/static/{rest:path}`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gateway.errors import RouteError
from gateway.route.path import canonical_path

PARAM: Final = None
"""Stands for any one segment in a template's shape."""

_PARAM: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_REST: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*):path\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A path template, taken apart.

    `shape` holds the decoded literal of each segment, or PARAM; `names` the parameters with the
    index of their segment; `rest` the one that takes the remainder, and where it starts.
    """

    shape: tuple[str | None, ...]
    names: tuple[tuple[str, int], ...]
    rest: tuple[str, int] | None = None


def parse_template(text: str, *, encoded_slashes: bool = False) -> Template:
    """Take a path template apart; ValueError says what is wrong with it.

    Literals must be in canonical form. `{name}` takes one segment that is not empty,
    `{name:path}` stands last and takes the remainder, which may be empty.
    """
    if not text.startswith("/"):
        raise ValueError("a path template starts with '/'")
    pieces = text[1:].split("/")
    params = [_PARAM.fullmatch(piece) for piece in pieces]
    rest = _REST.fullmatch(pieces[-1])
    names = [(found[1], index) for index, found in enumerate(params) if found]
    unique = [name for name, _ in names] + ([rest[1]] if rest else [])
    if len(set(unique)) < len(unique):
        raise ValueError("two parameters have the same name")
    plain = ["x" if found else piece for piece, found in zip(pieces, params, strict=True)]
    if rest:
        plain[-1] = "x"
    literals = literal_segments("/" + "/".join(plain), encoded_slashes=encoded_slashes)
    shape = [PARAM if param else item for item, param in zip(literals, params, strict=True)]
    return Template(
        shape=tuple(shape[:-1] if rest else shape),
        names=tuple(names),
        rest=(rest[1], len(pieces) - 1) if rest else None,
    )


def literal_segments(text: str, *, encoded_slashes: bool = False) -> tuple[str, ...]:
    """The decoded segments of a path that an operator wrote; ValueError if not canonical."""
    if "{" in text or "}" in text:
        raise ValueError("a parameter is a whole segment: {name}, or {name:path} at the end")
    try:
        path = canonical_path(text.encode(), encoded_slashes=encoded_slashes)
    except RouteError as error:
        raise ValueError(f"no request can have this path: {error.detail}") from None
    if path.text != text:
        raise ValueError(f"not in canonical form; write {path.text}")
    return path.segments or ("",)
