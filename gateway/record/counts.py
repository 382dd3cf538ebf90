"""What Metrics count, as plain pairs of a name and a number that another process can add up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.record.metrics import Metrics, Timings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Key = tuple[str | int, ...]
"""A counter and its labels: `("requests", "orders", "GET", "ok", 2)`."""

SUM: Final = "sum"
"""Instead of the number of a histogram's bucket: the sum of what was observed."""

LABELS: Final[Mapping[str, tuple[type, ...]]] = {
    "requests": (str, str, str, int),
    "principals": (str,),
    "reasons": (str,),
    "unenforced": (str, str),
    "canary": (str, str),
    "shadow": (str, str),
    "timings": (str, str),
    "below": (str,),
    "charges": (str, str),
    "logins": (str, str),
    "renewals": (str, str),
    "tokens": (str, str),
    "token_calls": (str, str),
    "introspections": (str, str),
    "reloads": (str,),
}
"""The labels of each counter; those of a histogram are followed by a bucket, or SUM."""

MAX_KEYS: Final = 2**15
"""So many labels of one counter are told apart, whatever another process says; what has further
ones is not counted."""
MAX_LABEL: Final = 4096


def counts(metrics: Metrics) -> dict[Key, float]:
    """Every number that only grows; what is zero may be missing."""
    return {key: number for key, number in _counts(metrics) if number}


def _counts(metrics: Metrics) -> Iterator[tuple[Key, float]]:
    for name, counted in vars(metrics).items():
        if isinstance(counted, float):
            yield (name,), counted
        if not isinstance(counted, dict):
            continue
        for labels, number in counted.items():
            key: Key = (name, *(labels if isinstance(labels, tuple) else (labels,)))
            if isinstance(number, Timings):
                yield from _timings(key, number)
            else:
                yield key, number


def _timings(key: Key, timings: Timings) -> Iterator[tuple[Key, float]]:
    for part in Timings.__slots__:
        histogram = getattr(timings, part)
        yield (*key, part, SUM), histogram.total
        yield from (((*key, part, place), count) for place, count in enumerate(histogram.counts))


def changes(before: dict[Key, float], after: dict[Key, float]) -> list[tuple[Key, float]]:
    """What has to be added to `before` for `after`."""
    return [
        (key, number - before.get(key, 0))
        for key, number in after.items()
        if number != before.get(key, 0)
    ]


def add(metrics: Metrics, key: Key, number: float) -> None:
    """Count what another process has counted; ValueError for what it cannot have."""
    name, *labels = key
    held: Any = vars(metrics).get(str(name))
    if isinstance(held, float) and not labels and number >= 0:
        setattr(metrics, str(name), held + number)
        return
    if not isinstance(held, dict) or number < 0 or not _fits(str(name), labels):
        raise ValueError(f"no counter: {str(key)[:200]}")
    label = labels[0] if len(labels) == 1 else tuple(labels)
    if held is metrics.timings:
        if labels[0] in held or len(held) < MAX_KEYS:
            _observe(metrics.timings, labels, number)
    elif held is metrics.reasons:
        metrics.reason(str(label), int(number))
    elif label in held or len(held) < MAX_KEYS:
        held[label] = held.get(label, 0) + int(number)


def _fits(name: str, labels: list[str | int]) -> bool:
    wanted = LABELS.get(name, ())
    found = labels[: len(wanted)]
    return (
        [type(label) for label in found] == [*wanted]
        and len(labels) - len(wanted) == (name == "timings")
        and all(len(label) <= MAX_LABEL for label in labels if isinstance(label, str))
    )


def _observe(timings: dict[str, Timings], labels: list[str | int], number: float) -> None:
    route, part, place = labels
    if part not in Timings.__slots__:
        raise ValueError(f"no histogram: {part}")
    histogram = getattr(timings.setdefault(str(route), Timings()), str(part))
    if place == SUM:
        histogram.total += number
    elif isinstance(place, int) and 0 <= place < len(histogram.counts):
        histogram.counts[place] += int(number)
    else:
        raise ValueError(f"no bucket: {place}")
