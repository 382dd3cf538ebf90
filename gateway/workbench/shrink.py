"""Make a document as small as it gets while what it shows stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.rego.values import dumps
from gateway.workbench.generate import MISSING, places, put_at, value_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.workbench.generate import Place

MOST_TRIES: Final = 600
ODD: Final = 10


def size(document: Any) -> tuple[int, str]:
    """Order documents: smaller first, and first those without values that requests seldom have."""
    text = dumps(document)
    return len(text) + ODD * sum(map(text.count, ("null", "{}", "[]"))), text


def shrink(document: Any, still: Callable[[Any], bool], tries: int = MOST_TRIES) -> Any:
    """Return a smaller document for which `still` is true, as it is for `document`."""
    smallest = False
    while not smallest:
        smallest = True
        for place in ((), *places(document)):
            held = value_at(document, place)
            if held is MISSING:  # went with what it stood in
                continue
            for value in _simpler(held, place):
                if tries <= 0:
                    return document
                tries -= 1
                candidate = put_at(document, place, value)
                if still(candidate):
                    document, smallest = candidate, False
                    break
    return document


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
