"""The query string, read in one way."""

from __future__ import annotations

from gateway import wire
from gateway.errors import Code, RouteError


def parse_query(raw: bytes) -> dict[str, list[str]]:
    """The names and values of a query, in order; `&` separates, `+` is a space.

    RouteError BAD_QUERY for `#`, blanks, control and non-ASCII bytes, a broken escape and
    invalid UTF-8.
    """
    try:
        if b"#" in raw:
            raise ValueError("a fragment")
        return wire.form(raw)
    except ValueError as error:
        raise RouteError(Code.BAD_QUERY, str(error)) from None
