"""Decisions of the past with the policies of tomorrow: what changes, by rule and reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gateway.decide import read_value, reserved_names
from gateway.errors import Code, DecisionError
from gateway.record.mask import edited, without
from gateway.rego import UNDEFINED, EvalError, StepLimitExceeded
from gateway.rego.values import equal, to_json
from gateway.workbench.events import (
    MAX_NAME,
    Outcome,
    allows,
    codes_of,
    entrypoint_of,
    hidden,
    parts,
    recorded,
    text_at,
    time_of,
)
from gateway.workbench.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from gateway.config.model import Config
    from gateway.model import Decision
    from gateway.rego import Undefined, Value
    from gateway.workbench.approved import Approved, Kind
    from gateway.workbench.candidate import Candidate, Entry, Rule
    from gateway.workbench.events import Read

    Reading = Callable[[Value], Decision]

MAX_GROUPS: Final = 1000
"""So many kinds of changes are told apart."""
MAX_PLACES: Final = 5
"""So many bad lines are named."""

SKIPPED: Final = {
    "cut": "a log was not read to its end",
    "malformed": "cannot be read",
    "other": "no decision event",
    "partial": "refused before the policy was asked",
    "query": "an ad-hoc query, which has no entrypoint",
    "unwanted": "another entrypoint than those that were named",
    "entrypoint": "the policies do not define the entrypoint",
    "erased": "the policy reads what is erased or masked",
    "time": "no timestamp that can be read",
    "outcome": "what was decided is erased",
}
"""Why events are not replayed."""

PLACES: Final = frozenset(("cut", "malformed"))
"""Of these, places in the logs are named."""


@dataclass(slots=True)
class Group:
    """Changes of one kind, for one reason, by one rule."""

    kind: Kind
    entrypoint: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    rule: Rule | None
    approved: Approved | None
    count: int = 0
    routes: Tally = field(default_factory=Tally)
    examples: list[tuple[str, str]] = field(default_factory=list)
    """Decision ids, and where in the logs their events stand."""


class Replay:
    """Decides events again, one by one, and keeps what is to be told of them."""

    def __init__(
        self,
        candidate: Candidate,
        approved: Sequence[Approved] = (),
        examples: int = 3,
        readings: Mapping[str, Reading] | None = None,
        entrypoints: Collection[str] = (),
    ) -> None:
        """Start with no event.

        `examples` are kept of each kind of change; `readings` are how the gateway takes a value,
        by route id; of `entrypoints`, where there are any, others are passed over.
        """
        self.candidate = candidate
        self.readings = readings or {}
        self.entrypoints = entrypoints
        self.approvals = approved
        self.most_examples = examples
        self.events = self.replayed = self.unchanged = 0
        self.skips: Counter[str] = Counter()
        self.groups: dict[Any, Group] = {}
        self.named = {reason: Tally(MAX_PLACES if reason in PLACES else 100) for reason in SKIPPED}
        self.asked: dict[str, bool] = {}
        """Entrypoints, and whether any decision of theirs could be replayed."""
        self.chance: dict[str, tuple[str, ...]] = {}
        self._used: set[int] = set()

    @property
    def unused(self) -> list[Approved]:
        """The approvals that approved nothing."""
        return [each for index, each in enumerate(self.approvals) if index not in self._used]

    @property
    def untried(self) -> list[str]:
        """The entrypoints of which no decision could be replayed."""
        return [name for name, replayed in self.asked.items() if not replayed]

    def found(self, *kinds: str, approved: bool = False) -> list[Group]:
        """The groups of some kinds, the largest first."""
        chosen = (
            group
            for group in self.groups.values()
            if group.kind in kinds and (group.approved is not None) is approved
        )
        return sorted(chosen, key=lambda group: -group.count)

    def add(self, read: Read) -> None:
        """Decide an event again."""
        self.events += 1
        event = read.event
        if read.fault:
            place = f"{read.name}:{read.line}" if read.line else read.name
            return self._skip("cut" if read.cut else "malformed", f"{place}: {read.fault}")
        if event.get("partial") is True:
            return self._skip("partial")
        name = entrypoint_of(event)
        if not name:
            return self._skip("query" if "query" in event else "other")
        if self.entrypoints and name not in self.entrypoints:
            return self._skip("unwanted", name)
        if len(self.asked) < MAX_GROUPS:
            self.asked.setdefault(name[:MAX_NAME], False)
        entry = self.candidate.entry(name)
        return self._skip("entrypoint", name) if entry is None else self._asked(read, entry)

    def _asked(self, read: Read, entry: Entry) -> None:
        event = read.event
        try:
            gone = hidden(event)
        except ValueError as error:
            return self._skip("malformed", f"{read.name}:{read.line}: {error}")
        if gone and (lost := entry.hidden(gone)):
            return self._skip("erased", *lost)
        now = time_of(event)
        if now is None:
            return self._skip("time")
        before = recorded(event, gone)
        if before is None:
            return self._skip("outcome")
        self.asked[entry.name] = True
        return self._decided(read, entry, before, now, gone)

    def _skip(self, reason: str, *names: str) -> None:
        self.skips[reason] += 1
        for name in names:
            self.named[reason].add(name)

    def _decided(
        self, read: Read, entry: Entry, before: Outcome, now: float, gone: tuple[str, ...]
    ) -> None:
        event = read.event
        document = event.get("input", UNDEFINED)  # of OPA there may have been none
        reading = self.readings.get(text_at(event, "route")) if self.readings else None
        value, after = decided(
            entry, document, now, self.candidate.steps, reading, bounded=read.small
        )
        self.replayed += 1
        if entry.chance:
            self.chance[entry.name] = entry.chance
        kind: Kind = "result"
        rule = None
        if before.allow is not after.allow:
            kind = "deny-to-allow" if after.allow else "allow-to-deny"
            rule = self.candidate.rule(entry.name, document, now, allow=after.allow)
        elif before.codes == after.codes and same(event, value, gone):
            self.unchanged += 1
            return
        self._count(read, kind, entry.name, before, after, rule)

    def _count(
        self,
        read: Read,
        kind: Kind,
        entrypoint: str,
        before: Outcome,
        after: Outcome,
        rule: Rule | None,
    ) -> None:
        event = read.event
        number = self._approval({
            "change": kind,
            "entrypoint": entrypoint,
            "before": before.codes,
            "after": after.codes,
            "rule": rule.names if rule else (),
            **{name: event.get(name) for name in ("route", "method", "subject", "decision_id")},
        })  # fmt: skip
        key: Any = (kind, entrypoint, before.codes, after.codes, rule, number)
        if key not in self.groups and len(self.groups) >= MAX_GROUPS:
            key, before, after, rule = (kind, entrypoint, number), MANY, MANY, None
        group = self.groups.get(key)
        if group is None:
            approved = None if number is None else self.approvals[number]
            group = Group(kind, entrypoint, before.codes, after.codes, rule, approved)
            self.groups[key] = group
        group.count += 1
        group.routes.add(text_at(event, "route"))
        if len(group.examples) < self.most_examples:
            place = f"{read.name}:{read.line}"
            group.examples.append((text_at(event, "decision_id")[:MAX_NAME], place))

    def _approval(self, change: dict[str, Any]) -> int | None:
        for number, each in enumerate(self.approvals):
            if each.approval.covers(change):
                self._used.add(number)
                return number
        return None


MANY: Final = Outcome(False, ("…",))
"""Stands for the codes of more kinds of changes than are told apart."""


def decided(
    entry: Entry,
    document: Value | Undefined,
    now: float,
    steps: int,
    reading: Reading | None = None,
    *,
    bounded: bool,
) -> tuple[Value | Undefined, Outcome]:
    """The candidate's value, and what it comes to; UNDEFINED where it could not decide."""
    try:
        value = entry.policy.decide(entry.name, document, now=now, steps=steps, bounded=bounded)
        if value is UNDEFINED:
            return value, Outcome(False, (Code.UNDEFINED.text,))
        allow = allows(value) if reading is None else reading(value).allow
        return value, Outcome(allow, codes_of(value))
    except StepLimitExceeded:
        code = Code.WORK_LIMIT
    except EvalError:
        code = Code.EVAL_ERROR
    except DecisionError as error:
        code = error.code
    return UNDEFINED, Outcome(False, (code.text,))


def readings(config: Config) -> dict[str, Reading]:
    """How the gateway takes a value, by route id: as the route's dialect has it."""
    return {
        route.id: partial(read_value, dialect=route.dialect, reserved=reserved_names(config, route))
        for route in config.routes
    }


def same(event: dict[str, Any], value: Value | Undefined, gone: tuple[str, ...]) -> bool:
    """Whether a value is the recorded result, as far as that was not erased or masked."""
    if "/result" in gone:
        return True
    if "result" not in event or value is UNDEFINED:
        return "result" not in event and value is UNDEFINED
    before, after = event["result"], to_json(value)
    for pointer in gone:
        if pointer.startswith("/result/"):
            *path, last = parts(pointer)[1:]
            change = without((last,))
            before, after = (edited(each, tuple(path), change) for each in (before, after))
    return equal(before, after)
