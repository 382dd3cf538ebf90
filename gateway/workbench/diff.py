"""Look for inputs that two versions of a policy decide differently."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Any, Final, Literal

from gateway.rego.coverage import FileCoverage, coverage
from gateway.workbench.candidate import BY_CHANCE
from gateway.workbench.contrast import Place, contrast
from gateway.workbench.generate import Generator
from gateway.workbench.hints import Hints
from gateway.workbench.shrink import shrink, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.workbench.versions import Said, Version

Source = Literal["scenario", "recorded", "generated"]
SOURCES: Final[tuple[Source, ...]] = ("scenario", "recorded", "generated")

Change = Literal["deny → allow", "allow → deny", "error", "other result"]
CHANGES: Final[tuple[Change, ...]] = ("deny → allow", "allow → deny", "error", "other result")
"""By how much they deserve a look."""

MOST_SHRUNK: Final = 20
"""Of more differences the inputs stay as they were found."""

MOST_STARTS: Final = 100
"""Of more cases only those that reach something new are starts for others."""

MOST_NAMES: Final = 100
"""So many scenarios and recorded decisions are kept of each difference."""

MOST_FOUND: Final = 1000
MOST_WAYS: Final = 20_000
"""So many differences are told apart, and so many ways through the rules."""

Key = tuple[str, Change, tuple[Place, ...]]
"""What differences of one reason have in common: entrypoint, change and lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An input that both versions are asked with, at a time in Unix seconds.

    `name` is for people: of the scenario, or the line of the decision log.
    """

    source: Source
    entrypoint: str
    document: Any
    now: float
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Inputs that are decided differently for one reason, and the smallest of them.

    `places` are the lines that the reason is in, `names` the scenarios and recorded decisions
    among the inputs, `counts` how many inputs of each source there were.
    """

    change: Change
    places: tuple[Place, ...]
    entrypoint: str
    document: Any
    old: Said
    new: Said
    names: tuple[str, ...]
    counts: dict[Source, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of a comparison: the differences and how much was looked at."""

    differences: tuple[Difference, ...]
    tried: dict[Source, int]
    reached: tuple[FileCoverage, FileCoverage]
    """The lines of OLD and of NEW, all files as one."""
    chance: tuple[str, ...] = ()
    """Builtins whose values differ each time, and with them what both say."""
    stopped: bool = False
    """Whether the time was over before all was tried."""
    untried: tuple[str, ...] = ()
    """Entrypoints that were asked with no input."""


@dataclass(slots=True)
class _Found:
    """Differences of one reason as they come in."""

    case: Case
    names: dict[str, None] = field(default_factory=dict)
    counts: Counter[Source] = field(default_factory=Counter)


def changed(old: Said, new: Said) -> Change | None:
    """Return what changed in a decision, or None; what OLD could not decide it refused."""
    if old.same(new):
        return None
    match old.verdict, new.verdict:
        case "deny" | "error", "allow":
            return "deny → allow"
        case "allow", "deny":
            return "allow → deny"
        case ("error", _) | (_, "error"):
            return "error"
        case _:
            return "other result"


def diff(
    old: Version,
    new: Version,
    entrypoints: Sequence[str],
    cases: Iterable[Case] = (),
    *,
    tries: int,
    seed: int = 0,
    now: float = 0.0,
    progress: Callable[[int], None] = lambda _: None,
    over: Callable[[], bool] = lambda: False,
) -> Report:
    """Ask both versions with `cases` and with `tries` generated inputs.

    The same arguments give the same report. `now` is the time of inputs that are generated of
    nothing; `progress` gets the number of inputs now and then. When `over` says so no more are
    generated, nor are those that were found made smaller.
    """
    search = _Search(old, new, over)
    generators = {
        name: _generator(old, new, name, Random(f"{seed} {name}"))  # noqa: S311  no secrets
        for name in entrypoints
    }
    for number, case in enumerate(cases):
        if search.ask(case) or number < MOST_STARTS:
            generators[case.entrypoint].keep(case.document, case.now)
    for number in range(tries):
        if over():
            search.stopped = True
            break
        entrypoint = entrypoints[number % len(entrypoints)]
        generator = generators[entrypoint]
        made = generator.next()
        case = Case(
            source="generated",
            entrypoint=entrypoint,
            document=made.document,
            now=made.now or now,
        )
        if search.ask(case):
            generator.keep(case.document, case.now)
        if number % 500 == 0:
            progress(number)
    progress(tries)
    return search.report(entrypoints)


def _generator(old: Version, new: Version, entrypoint: str, random: Random) -> Generator:
    hints = Hints()
    paths: set[tuple[str, ...]] = set()
    for version in (old, new):
        hints.join(version.hints)
        footprint = version.footprint(entrypoint)
        if footprint is not None:
            paths |= footprint.paths
    return Generator(hints, paths, random)


class _Search:
    """Asks both versions, and keeps what differs by its reason."""

    def __init__(self, old: Version, new: Version, over: Callable[[], bool]) -> None:
        self.old, self.new, self.over = old, new, over
        self.stopped = False
        self.reached: tuple[set[int], set[int]] = set(), set()
        self.tried: Counter[Source] = Counter()
        self.asked: set[str] = set()
        self.found: dict[Key, _Found] = {}
        self.ways: dict[tuple[str, frozenset[int], frozenset[int]], Key | None] = {}

    def ask(self, case: Case) -> bool:
        """Ask both; whether they went through their rules in a way that is new."""
        self.tried[case.source] += 1
        self.asked.add(case.entrypoint)
        old, reached_old = self.old.decide(case.entrypoint, case.document, case.now)
        new, reached_new = self.new.decide(case.entrypoint, case.document, case.now)
        way = case.entrypoint, reached_old, reached_new
        is_new = way not in self.ways and len(self.ways) < MOST_WAYS
        if is_new:
            self.ways[way] = None
        self.reached[0].update(reached_old)
        self.reached[1].update(reached_new)
        key = self.ways.get(way)
        change = changed(old, new)
        if change is not None:
            # What went the same way differs for the same reason: to trace all takes too long.
            if key is None or key[1] != change or case.source != "generated":
                key = self.key(change, case)
                if way in self.ways:
                    self.ways[way] = key
            self.note(key, case)
        return is_new

    def note(self, key: Key, case: Case) -> None:
        """Keep a difference with those of the same reason."""
        if key not in self.found and len(self.found) >= MOST_FOUND:
            key = (*key[:2], ())
        found = self.found.setdefault(key, _Found(case))
        if size(case.document) < size(found.case.document) and self.key(key[1], case) == key:
            found.case = case
        found.counts[case.source] += 1
        if case.name and len(found.names) < MOST_NAMES:
            found.names[case.name] = None

    def key(self, change: Change, case: Case) -> Key:
        """Return the reason of a difference: bodies, else conditions, else rules."""
        places = self.places(case)
        for what in ("holds", "fails"):
            chosen = tuple(each for each in places if each.what == what)
            if chosen:
                return case.entrypoint, change, chosen
        return case.entrypoint, change, places

    def places(self, case: Case) -> tuple[Place, ...]:
        """Return the lines that make a difference."""
        asked = case.entrypoint, case.document, case.now
        return contrast(self.old.account(*asked), self.new.account(*asked))

    def report(self, entrypoints: Iterable[str]) -> Report:
        """Return what was found, each difference by its smallest input."""
        by_size = sorted(
            self.found.items(),
            key=lambda item: (CHANGES.index(item[0][1]), size(item[1].case.document)),
        )
        made = [
            self.difference(key, found, shrinking=number < MOST_SHRUNK)
            for number, (key, found) in enumerate(by_size)
        ]
        return Report(
            differences=tuple(
                sorted(made, key=lambda each: (CHANGES.index(each.change), size(each.document)))
            ),
            tried={source: self.tried[source] for source in SOURCES},
            reached=(_lines(self.old, self.reached[0]), _lines(self.new, self.reached[1])),
            chance=tuple(sorted(BY_CHANCE & self.impure(entrypoints))),
            stopped=self.stopped or self.over(),
            untried=tuple(name for name in entrypoints if name not in self.asked),
        )

    def impure(self, entrypoints: Iterable[str]) -> set[str]:
        """Return the impure builtins that the decisions call."""
        read = (each.footprint(name) for name in entrypoints for each in (self.old, self.new))
        return {name for footprint in read if footprint for name in footprint.impure}

    def difference(self, key: Key, found: _Found, *, shrinking: bool) -> Difference:
        """Make the input of a difference smaller, as long as its reason stays."""
        case = found.case

        def still(document: Any) -> bool:
            if self.over():
                return False
            asked = case.entrypoint, document, case.now
            change = changed(self.old.says(*asked), self.new.says(*asked))
            return change == key[1] and self.key(change, replace(case, document=document)) == key

        if shrinking:
            case = replace(case, document=shrink(case.document, still))
        asked = case.entrypoint, case.document, case.now
        return Difference(
            change=key[1],
            places=self.places(case),
            entrypoint=case.entrypoint,
            document=case.document,
            old=self.old.says(*asked),
            new=self.new.says(*asked),
            names=tuple(found.names),
            counts={source: found.counts[source] for source in SOURCES},
        )


def _lines(version: Version, reached: set[int]) -> FileCoverage:
    files = coverage(version.program, reached).values()
    return FileCoverage(
        covered=tuple(row for each in files for row in each.covered),
        not_covered=tuple(row for each in files for row in each.not_covered),
    )
