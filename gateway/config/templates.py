"""Path templates as other gateways write them, and what to write here instead."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator

PARAMETER: Final = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")
REMAINDER: Final = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*:path\}")

# `*`, `**`, `*rest`, `.*`, `(.*)`, `{*rest}`, `{rest*}`, `{rest...}`, `{rest:.*}`, `{rest=**}`,
# `<path:rest>`, `[...rest]`, `:rest*`
_MANY: Final = re.compile(
    r"\*{1,2}(\w*)|\(?\.[*+]\??\)?|\{\*{1,2}(\w+)\}|\{(\w+)(?:\*{1,2}|\.\.\.|[:=]\.?[*+]{1,2})\}"
    r"|<path:(\w+)>|\[\.\.\.(\w+)\]|:(\w+)[*+]",
    re.ASCII,
)
# `:id`, `:id?`, `:id(\d+)`, `<id>`, `<int:id>`, `{id?}`, `{id:int}`, `{id:[0-9]+}`, `[id]`
_ONE: Final = re.compile(
    r":(\w+)\??(?:\(.*\))?|<(?:\w+:)?(\w+)>|\{(\w+)(?:\?|[:=][^}]*)\}|\[(\w+)\]", re.ASCII
)
_GLOB: Final = re.compile(r"[^*{}<>\[\]()\\]+\*{1,2}")
_REGEX: Final = re.compile(r"[\\\[\]^|]|\$\Z|\.[*+]|\(\?")
_HOW: Final = "write {name} for one segment, or {rest:path} at the end for all that follow"


def fault(text: str) -> tuple[str, str] | None:
    """What is wrong with a route's path, and what to write; None where nothing is."""
    if not text.startswith("/"):
        if text[:1] in ("^", "~", "="):
            return "a path is a template, not a regular expression", _HOW
        remedy = f"write /{text}" if re.match(r"[\w{]", text) and "://" not in text else ""
        return "expected a path that begins with a slash, such as /orders/{id}", remedy
    if _REGEX.search(text) and not any(_MANY.fullmatch(each) for each in text.split("/")):
        return "a path is a template, not a regular expression", _HOW
    if re.search(r"[?#\s]", re.sub(r"\{\w+\?\}|:\w+\?", "", text)):
        return "expected a path without a query, a fragment or blanks", ""
    if not text.isascii():
        encoded = quote(text.encode("utf-8", "replace"), safe="/{}:%!$&'()+,=@~")
        return "expected ASCII; other characters are percent-encoded", f"write {encoded}"
    if "//" in text:
        return "expected a path without empty segments", f"write {re.sub('/{2,}', '/', text)}"
    if odd := re.search(r"[;\"`]", text):
        return f"no request can have a path with {odd[0]!r} in it", ""
    pieces = text[1:].split("/")
    written = [*_written(pieces)]
    if written != pieces:
        message = "'*' is no wildcard in a path" if "*" in text else "a parameter stands in braces"
        return message, f"write /{'/'.join(written)}"
    return next(filter(None, map(_refused, pieces, [False] * (len(pieces) - 1) + [True])), None)


def _written(pieces: list[str]) -> Iterator[str]:
    """The segments, those in another notation in ours."""
    numbers = count(2)
    taken: set[str] = set()
    for index, piece in enumerate(pieces):
        last = index == len(pieces) - 1
        if PARAMETER.fullmatch(piece) or REMAINDER.fullmatch(piece):
            yield piece
        elif many := _MANY.fullmatch(piece):
            name = next(filter(None, many.groups()), "rest" if last else "name")
            name = f"{name}{next(numbers)}" if name in taken else name
            taken.add(name)
            yield f"{{{name}:path}}" if last else f"{{{name}}}"
        elif one := _ONE.fullmatch(piece):
            yield f"{{{next(filter(None, one.groups()))}}}"
        elif last and _GLOB.fullmatch(piece):
            yield f"{piece.rstrip('*')}/{{rest:path}}"
        else:
            yield piece


def _refused(piece: str, last: bool) -> tuple[str, str] | None:
    if REMAINDER.fullmatch(piece) and not last:
        return f"{piece} takes the rest of the path and has to stand at its end", ""
    if "*" in piece:
        return "'*' is no wildcard in a path", _HOW
    if ("{" in piece or "}" in piece) and not (
        PARAMETER.fullmatch(piece) or REMAINDER.fullmatch(piece)
    ):
        name = re.fullmatch(r"\{([\w.-]+)\}", piece, re.ASCII)
        if name:
            better = re.sub(r"\W|\A(?=[0-9])", "_", name[1])
            return "a parameter's name has letters, digits and _ only", f"write {{{better}}}"
        return "a parameter is a whole segment: {name}, or {name:path} at the end", ""
    if re.search(r"[<>]", piece):
        return "expected a path template, such as /orders/{id}", _HOW
    return None
