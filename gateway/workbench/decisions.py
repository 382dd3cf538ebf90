"""Decision events for people who look for some: filters, one line each, one in full, counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, exp, log
from typing import TYPE_CHECKING, Any, Final

from gateway.record.text import readable
from gateway.workbench.events import allows, codes_of, failure_of, text_at, time_of
from gateway.workbench.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHORT: Final = 8
"""So many characters at the end of a decision id are shown; `show` takes them."""
MAX_NAMES: Final = 10_000
"""So many routes, subjects … are counted apart."""
FINE: Final = log(1.01)
"""Latencies are counted in steps of 1 %."""
QUANTILES: Final = (0.5, 0.95, 0.99)
KINDS: Final = ("outcome", "route", "code", "reason", "subject")
MAX_TIME: Final = 2**63
"""Nanoseconds that a timer of OPA's cannot have."""
NOBODY: Final = "-"

_HEAD: Final = (
    "decision_id", "timestamp", "method", "target", "status", "outcome", "code", "route",
    "subject", "issuer", "requested_by", "req_id", "path",
)  # fmt: skip
_WHOLE: Final = ("error", "reasons", "result", "input", "erased", "masked", "bundles", "labels")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which events are meant: those that fit all that is given; times are Unix seconds."""

    route: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    outcome: tuple[str, ...] = ()
    subject: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    path: str = ""
    since: float | None = None
    until: float | None = None

    def fits(self, event: dict[str, Any]) -> bool:
        """Whether an event is meant."""
        for name in ("route", "subject", "method"):
            wanted = getattr(self, name)
            if wanted and event.get(name) not in wanted:
                return False
        if self.code and not set(self.code) & {failure_of(event), *reasons_of(event)}:
            return False
        if self.outcome and outcome_of(event) not in self.outcome:
            return False
        if not text_at(event, "target").startswith(self.path):
            return False
        if self.since is None and self.until is None:
            return True
        at = time_of(event)
        return at is not None and (
            (self.since is None or at >= self.since) and (self.until is None or at < self.until)
        )


def outcome_of(event: dict[str, Any]) -> str:
    """What became of the request; of OPA's events, `allowed` or `denied`."""
    own = text_at(event, "outcome")
    return own or ("allowed" if allows(event.get("result")) else "denied")


def reasons_of(event: dict[str, Any]) -> tuple[str, ...]:
    """The codes of the policy's reasons."""
    return codes_of(event) or codes_of(event.get("result"))


def short_id(event: dict[str, Any]) -> str:
    """The end of the decision id, which tells events of one time apart."""
    return text_at(event, "decision_id")[-SHORT:]


def is_named(event: dict[str, Any], word: str) -> bool:
    """Whether a word is the event's decision id, or an end of it that is long enough."""
    found = text_at(event, "decision_id")
    return found == word or (len(word) >= SHORT and found.endswith(word))


def as_line(event: dict[str, Any], width: int | None = None) -> str:
    """An event as one line of at most `width` characters, safe to show.

    Time, end of the decision id, status, method, path, why it was refused, who asked.
    """
    time = text_at(event, "timestamp")[11:19]
    status = event.get("status")
    told = str(status) if isinstance(status, int) and status else "-"
    target = text_at(event, "target") or text_at(event, "path")
    why = ", ".join(filter(None, (failure_of(event), *reasons_of(event)))) or outcome_of(event)
    parts = (target, why, text_at(event, "subject"))
    fixed = f"{time:8} {short_id(event):8} {told:>3} {text_at(event, 'method'):6} "
    rest = "  ".join(part for part in parts if part)
    if width is not None and len(fixed) + len(readable(rest)) > width:
        # The path gives way first, for it is what a client may make long.
        others = "".join(f"  {part}" for part in map(readable, parts[1:]) if part)
        room = max(SHORT, width - len(fixed) - len(others))
        rest = cut(readable(target), room) + others
    line = readable(fixed + rest)
    return line if width is None else cut(line, width)


def cut(text: str, width: int) -> str:
    """A text of at most `width` characters."""
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def as_text(event: dict[str, Any], write: Callable[[Any], str]) -> Iterator[str]:
    """An event in full, line by line, safe to show; `write` gives a value as indented JSON."""
    for name in _HEAD:
        if name in event:
            yield readable(f"{name:16}{event[name]}")
    for name, nanoseconds in _timers(event):
        yield readable(f"{name:16}{nanoseconds / 1e6:.3f} ms")
    for name in ("partial", "incomplete"):
        if event.get(name) is True:
            yield f"{name:16}yes"
    for name in _WHOLE:
        if event.get(name):
            yield ""
            yield f"{name}:"
            yield from (readable(f"  {line}") for line in write(event[name]).split("\n"))


def _timers(event: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """The names of the timers of an event, and their nanoseconds."""
    metrics = event.get("metrics")
    for name, value in metrics.items() if isinstance(metrics, dict) else ():
        is_time = value.__class__ is int and 0 <= value < MAX_TIME
        if is_time and name.startswith("timer_") and name.endswith("_ns"):
            yield name[6:-3], value


@dataclass(slots=True)
class Latency:
    """Durations in steps of 1 %, in constant memory."""

    count: int = 0
    steps: dict[int, int] = field(default_factory=dict)

    def add(self, seconds: float) -> None:
        """Count one; what takes no time at all counts as a nanosecond."""
        step = ceil(log(max(seconds, 1e-9)) / FINE)
        self.steps[step] = self.steps.get(step, 0) + 1
        self.count += 1

    def quantile(self, part: float) -> float:
        """The duration that this part of them does not exceed, to 0.5 %; 0 without any."""
        left = ceil(part * self.count)
        for step in sorted(self.steps):
            left -= self.steps[step]
            if left <= 0:
                return exp((step - 0.5) * FINE)
        return 0.0


class Stats:
    """Counts of events."""

    def __init__(self) -> None:
        self.events = 0
        self.first = self.last = ""
        self.latency = Latency()
        self.tallies = {kind: Tally(MAX_NAMES) for kind in KINDS}

    def add(self, event: dict[str, Any]) -> None:
        """Count an event."""
        self.events += 1
        time = text_at(event, "timestamp")
        self.first = min(self.first or time, time)
        self.last = max(self.last, time)
        self.tallies["outcome"].add(outcome_of(event))
        self.tallies["route"].add(text_at(event, "route") or NOBODY)
        self.tallies["subject"].add(text_at(event, "subject") or NOBODY)
        if code := failure_of(event):
            self.tallies["code"].add(code)
        for reason in reasons_of(event):
            self.tallies["reason"].add(reason)
        for name, nanoseconds in _timers(event):
            if name == "server_handler":
                self.latency.add(nanoseconds / 1e9)

    def quantiles(self) -> dict[str, float]:
        """The latencies in milliseconds."""
        return {
            f"p{part * 100:.0f}": round(self.latency.quantile(part) * 1e3, 3) for part in QUANTILES
        }

    def as_dict(self, top: int) -> dict[str, Any]:
        """All of it as JSON, with the `top` largest counts of each kind."""
        return {
            "events": self.events,
            "first": self.first,
            "last": self.last,
            "latency_ms": self.quantiles() if self.latency.count else {},
            **{kind: dict(tally.most(top)) for kind, tally in self.tallies.items()},
        }

    def rows(self, top: int) -> Iterator[tuple[str, str, int]]:
        """Kind, name and count, safe to show; what is left out is one row, `others`."""
        for kind, tally in self.tallies.items():
            most = tally.most(top)
            yield from ((kind, readable(name), count) for name, count in most)
            left = tally.total - sum(count for _, count in most)
            if left:
                yield kind, "(others)", left

    def summary(self) -> str:
        """Number of events, their time, and latencies, on one line."""
        told = [f"{self.events:,} events"]
        if self.first:
            told.append(readable(f"{self.first[:19]} to {self.last[:19]}"))
        if self.latency.count:
            told += [f"{name} {value:.3g} ms" for name, value in self.quantiles().items()]
        return ", ".join(told)
