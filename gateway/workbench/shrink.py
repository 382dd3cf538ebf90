"""Make a document as small as it gets while what it shows stays."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gateway.rego.values import dumps
from gateway.workbench.generate import MISSING, places, put_at, value_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.workbench.generate import Place

MOST_TRIES: Final = 600
ODD: Final = 10
"""How many characters a value that requests seldom have counts for."""
SHORT: Final = "a"


def size(document: Any) -> tuple[int, str]:
    """Order documents: smaller first, and first those without values that requests seldom have."""
    text = dumps(document)
    return len(text) + ODD * sum(map(text.count, ("null", "{}", "[]"))), text


def shrink(document: Any, still: Callable[[Any], bool], tries: int = MOST_TRIES) -> Any:
    """Return a smaller document for which `still` is true, as it is for `document`."""
    smallest = False
    while not smallest:
        smallest = True
        for candidates in _rounds(document):
            for candidate in candidates(document):
                if tries <= 0:
                    return document
                tries -= 1
                if still(candidate):
                    document, smallest = candidate, False
                    break
    return document


def _rounds(document: Any) -> Iterator[Callable[[Any], Iterator[Any]]]:
    """Yield what could be made simpler, outer before inner; each says how, for a document."""
    for place in ((), *places(document)):
        yield partial(_smaller, place)
    for value in dict.fromkeys(value for value in _texts(document) if len(value) > 1):
        yield partial(_renamed, value)


def _smaller(place: Place, document: Any) -> Iterator[Any]:
    held = value_at(document, place)
    if held is not MISSING:  # it may have gone with what it stood in
        yield from (put_at(document, place, value) for value in _simpler(held, place))


def _renamed(text: str, document: Any) -> Iterator[Any]:
    """Yield the document with a short text wherever a long one stands: equal ones stay equal."""
    made = document
    for place in places(document):
        if value_at(document, place) == text:
            made = put_at(made, place, SHORT)
    if made is not document:
        yield made


def _texts(document: Any) -> Iterator[str]:
    for place in places(document):
        value = value_at(document, place)
        if isinstance(value, str):
            yield value


def _simpler(value: Any, place: Place) -> Iterator[Any]:
    """Yield what could stand in the place of a value, the simplest first; each is smaller."""
    if place:
        yield MISSING
    match value:
        case bool() | None:
            return
        case str():
            yield from (each for each in _shorter(value) if len(each) < len(value))
        case list():
            if len(value) > 3:
                yield from (value[: len(value) // 2], value[len(value) // 2 :])
        case dict():
            if value:
                yield {}
        case _:
            yield from (each for each in (0, 1) if abs(each) < abs(value))


def _shorter(text: str) -> Iterator[str]:
    yield ""
    yield text[: len(text) // 2]
    parts = text.split("/")
    if len(parts) > 2:
        yield from ("/".join((*parts[:at], *parts[at + 1 :])) for at in range(1, len(parts)))
    yield from (text[:-1], text[1:])
