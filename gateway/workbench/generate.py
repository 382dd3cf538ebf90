"""Inputs that may show how policies decide: changed step by step towards what was not reached.

Documents are never changed in place, and share what they have in common.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from gateway.workbench.hints import EACH, Hints, Path
from gateway.workbench.samples import near

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from random import Random

Place = tuple[str | int, ...]
"""A path of keys and indexes, without EACH."""

MISSING: Final = object()
"""Stands for a value that is left out."""

OTHER_TYPES: Final[tuple[Any, ...]] = (None, True, 0, "", "x", [], {})
MOST_MEMBERS: Final = 20
MOST_KEPT: Final = 400
MOST_PATHS: Final = 500
MOST_IN_BLANKS: Final = 60
MOST_HINTED: Final = 4
MOST_EQUAL: Final = 12
MOST_EDITS: Final = 2000
MOST_PLACES: Final = 2000
MOST_COPIED: Final = 100
MOST_TEXT: Final = 20_000
DEEPEST: Final = 40
"""Documents that are larger or deeper are not changed on, and larger parts are not copied: where a
part must be equal to the whole, each change would double it."""
BLANKS: Final = 40
WALKS: Final = 0.6
"""The part of the tries that change one thing of a document."""


def value_at(document: Any, place: Place) -> Any:
    """Return what stands at a place, or MISSING."""
    for key in place:
        is_index = isinstance(document, list) and type(key) is int and key < len(document)
        if not is_index and not (isinstance(document, dict) and key in document):
            return MISSING
        document = document[key]
    return document


def put_at(document: Any, place: Place, value: Any) -> Any:
    """Return the document with a value at a place, what leads there included, or without it."""
    if not place:
        return {} if value is MISSING else value
    key, *rest = place
    if type(key) is int and not isinstance(document, dict):
        items = list(document) if isinstance(document, list) else []
        if value is MISSING and not rest:
            return items[:key] + items[key + 1 :]
        if key >= len(items):
            if value is MISSING:
                return items
            items += [""] * (min(key, MOST_MEMBERS) - len(items)) + [None]
            key = len(items) - 1
        return [*items[:key], put_at(items[key], tuple(rest), value), *items[key + 1 :]]
    made = dict(document) if isinstance(document, dict) else {}
    if value is MISSING and (not rest or key not in made):
        made.pop(key, None)
    else:
        made[key] = put_at(made.get(key), tuple(rest), value)
    return made


def _part(document: Any, place: Place) -> Any:
    """Return what stands at a place to be copied; MISSING where it is too large for that."""
    found = value_at(document, place)
    return found if found is MISSING or is_small(found, MOST_COPIED) else MISSING


def places(document: Any, below: Place = ()) -> Iterator[Place]:
    """Yield every place in a document, outer before inner."""
    members: Iterable[tuple[str | int, Any]] = ()
    if isinstance(document, dict):
        members = document.items()
    elif isinstance(document, list):
        members = enumerate(document)
    for key, value in members:
        yield (*below, key)
        yield from places(value, (*below, key))


def is_small(document: Any, most: int = MOST_PLACES, deepest: int = DEEPEST) -> bool:
    """Whether a document has few places, none of them deep, and little text."""
    found = list(islice(places(document), most + 1))
    if len(found) > most or max(map(len, found), default=0) > deepest:
        return False
    return sum(map(_length, (value_at(document, place) for place in ((), *found)))) <= MOST_TEXT


def _length(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(len, value))
    return len(value) if isinstance(value, str) else 0


def meant(document: Any, path: Path, *, new: bool) -> list[Place]:
    """Return the places that a path means in a document, as `concrete`, the first of many."""
    return list(islice(concrete(document, path, new=new), MOST_MEMBERS))


def concrete(document: Any, path: Path, *, new: bool) -> Iterator[Place]:
    """Yield the places that a path means in a document; with `new`, those for more members too."""
    at = path.index(EACH) if EACH in path else len(path)
    before: Place = tuple(key for key in path[:at] if key is not None)
    if at == len(path):
        yield before
        return
    held = value_at(document, before)
    keys: list[str | int] = []
    if isinstance(held, dict):
        keys += list(held)[:MOST_MEMBERS]
    else:
        count = len(held) if isinstance(held, list) else 0
        keys += range(min(count + new, MOST_MEMBERS))
    for key in keys:
        for rest in concrete(value_at(held, (key,)), path[at + 1 :], new=new):
            yield (*before, key, *rest)


@dataclass(frozen=True, slots=True)
class Kept:
    """A document that reached something new, and the time at which it is decided."""

    document: Any
    now: float


class Generator:
    """Makes documents out of hints and of documents that turned out to be interesting."""

    def __init__(self, hints: Hints, paths: Iterable[Path], random: Random) -> None:
        found = dict.fromkeys((*hints.values, *hints.equals))
        read = sorted(set(paths) - found.keys(), key=str)
        self._paths = [path for path in (*found, *read) if path][:MOST_PATHS]
        self._values = {
            path: [each.value for each in hints.values.get(path, {})] for path in self._paths
        }
        self._equals = {path: list(hints.equals.get(path, {}))[:MOST_EQUAL] for path in self._paths}
        self._constants = [each.value for each in hints.constants]
        self._random = random
        self._kept: list[Kept] = []
        self._walks: list[tuple[Kept, list[tuple[Place, Any]]]] = []
        self._blanks = BLANKS

    def keep(self, document: Any, now: float) -> None:
        """Note a document to start from."""
        if len(self._kept) < MOST_KEPT and is_small(document):
            kept = Kept(document, now)
            self._kept.append(kept)
            edits = list(islice(self.edits(document), MOST_EDITS))
            self._random.shuffle(edits)
            self._walks.append((kept, edits))

    def next(self) -> Kept:
        """Make the next document."""
        random = self._random
        if not self._kept or self._blanks:
            self._blanks = max(self._blanks - 1, 0)
            now = self._kept[0].now if self._kept else 0.0
            return Kept(self.blank(), now)
        if self._walks and random.random() < WALKS:
            # Late ones came further: they get half of the turns.
            last = max(len(self._walks) - 8, 0) if random.random() < 0.5 else 0
            number = random.randrange(last, len(self._walks))
            start, edits = self._walks[number]
            place, value = edits.pop()
            if not edits:
                del self._walks[number]
            return Kept(put_at(start.document, place, value), start.now)
        start = random.choice(self._kept)
        document = start.document
        for _ in range(random.choice((1, 2, 2, 3, 4, 6))):
            document = self.changed(document)
        return Kept(document, start.now)

    def blank(self) -> Any:
        """Make a document of hints alone."""
        document: Any = {}
        chosen = self._random.sample(self._paths, min(len(self._paths), MOST_IN_BLANKS))
        for path in chosen:
            if self._random.random() < 0.8:
                for place in meant(document, path, new=True)[:MOST_HINTED]:
                    document = put_at(document, place, self.value(document, path, MISSING))
        return document

    def changed(self, document: Any) -> Any:
        """Change one place of a document at random."""
        random = self._random
        if not self._paths:
            return document
        path = random.choice(self._paths)
        found = meant(document, path, new=True)
        if not found:
            return document
        place = random.choice(found)
        chance = random.random()
        if chance < 0.1:
            cut = random.randint(1, len(place))
            return put_at(document, place[:cut], MISSING)
        if chance < 0.25:
            other = random.choice(self._kept).document
            cut = random.randint(1, len(place))
            return put_at(document, place[:cut], _part(other, place[:cut]))
        held = value_at(document, place)
        return put_at(document, place, self.value(document, path, held))

    def value(self, document: Any, path: Path, held: Any) -> Any:
        """Choose a value for a path."""
        random = self._random
        chance = random.random()
        hinted, equal = self._values[path], self._equals[path]
        if equal and chance < 0.3:
            other = meant(document, random.choice(equal), new=False)
            found = _part(document, random.choice(other)) if other else MISSING
            if found is not MISSING:
                return random.choice((found, found, *self._by(found)))
        if hinted and chance < 0.75:
            return random.choice(hinted)
        if held is not MISSING and chance < 0.85:
            return random.choice(list(near(held)) or [held])
        if hinted and chance < 0.9:
            return random.choice(list(near(random.choice(hinted))) or hinted)
        if self._constants and chance < 0.96:
            found = random.choice(self._constants)
            return self.woven(held, found) if type(held) is str else found
        return random.choice(OTHER_TYPES)

    def woven(self, held: str, part: Any) -> Any:
        """Put a constant in the place of a part of a path-like text."""
        parts = held.split("/")
        if type(part) is not str or len(parts) == 1:
            return part
        parts[self._random.randrange(len(parts))] = part
        return "/".join(parts)

    def _by(self, value: Any) -> Iterator[Any]:
        """Yield numbers that are as far from another as a constant of the policies."""
        if type(value) is bool or isinstance(value, (str, list, dict)) or value is None:
            return
        yield from (value + 1, value - 1)
        for constant in self._constants:
            if type(constant) is int:
                for sign in (1, -1):
                    yield from (value + sign * constant + step for step in (-1, 0, 1))

    def edits(self, document: Any) -> Iterator[tuple[Place, Any]]:
        """Yield values to put into single places of a document, one at a time."""
        yield (), {}
        seen: dict[Place, None] = {}
        for path in self._random.sample(self._paths, len(self._paths)):
            for place in meant(document, path, new=True):
                if place not in seen:
                    seen[place] = None
                    yield from ((place, value) for value in self._instead(document, path, place))
                for cut in range(1, len(place)):
                    if place[:cut] not in seen:
                        seen[place[:cut]] = None
                        yield place[:cut], MISSING

    def _instead(self, document: Any, path: Path, place: Place) -> Iterator[Any]:
        held = value_at(document, place)
        if held is not MISSING:
            yield MISSING
            yield from near(held)
        for value in self._values[path]:
            yield value
            yield from list(near(value))[:4]
        for other in self._equals[path]:
            for each in meant(document, other, new=False):
                found = _part(document, each)
                if found is not MISSING:
                    yield found
                    yield from self._by(found)
        yield from OTHER_TYPES
        if type(held) is str and "/" in held:
            parts = held.split("/")
            for constant in self._constants[:40]:
                if type(constant) is str and "/" not in constant:
                    for at in range(1, min(len(parts), 6)):
                        yield "/".join((*parts[:at], constant, *parts[at + 1 :]))
