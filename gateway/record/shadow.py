"""What becomes of the decisions of a shadow: events of the differences, and a report of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import Code
from gateway.record.event import error_of, reasons_of, rfc3339
from gateway.record.mask import sealed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.decide.compare import Difference, Verdict
    from gateway.model import Trail
    from gateway.record.event import Event
    from gateway.record.mask import Mask

TYPE: Final = "gateway/shadow_decisions"
"""What marks the lines of differences in the decision log."""

MAX_KINDS: Final = 500
"""So many kinds of differences are told apart; further ones count together."""
MAX_TOLD: Final = 256
"""Most text of a verdict in a report."""
EXAMPLES: Final = 5

Outcome = str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A request that a shadow decided, too: both verdicts, and how they differ.

    `told` are the two in a few words, for the report.
    """

    trail: Trail
    enforced: Verdict
    shadow: Verdict
    difference: Difference
    revision: str
    told: tuple[str, str]


def line_of(
    judged: Judged,
    *,
    labels: Mapping[str, str],
    entrypoint: str,
    shadow_entrypoint: str,
    mask: Mask,
) -> bytes:
    """The event of a difference, masked, as one line; the request's own event has its input."""
    trail = judged.trail
    assert trail.match is not None
    dialect = trail.match.route.dialect

    def part(verdict: Verdict, path: str) -> Event:
        return mask.apply(_verdict(verdict, path, trail, mask), dialect)

    event: Event = {
        "type": TYPE,
        "decision_id": trail.head.id,
        "timestamp": rfc3339(trail.now),
        "labels": labels,
        "bundles": {
            "policy": {"revision": trail.revision},
            "shadow": {"revision": judged.revision},
        },
        "requested_by": trail.source.address if trail.source else trail.head.peer,
        "method": trail.head.method,
        "target": trail.match.path,
        "route": trail.match.route.id,
        "difference": judged.difference,
        **_verdict(judged.enforced, entrypoint, trail, mask),
        "shadow": part(judged.shadow, shadow_entrypoint),
    }
    if trail.principal and trail.principal.authenticated:
        event |= {"subject": trail.principal.subject, "issuer": trail.principal.issuer}
    return sealed(mask.apply(event, dialect))


def _verdict(verdict: Verdict, path: str, trail: Trail, mask: Mask) -> Event:
    found: Event = {"path": path}
    if verdict.code is not None:
        found["code"] = verdict.code.text
    if verdict.decision is not None:
        found["result"] = verdict.decision.result
        if verdict.decision.reasons:
            found["reasons"] = reasons_of(verdict.decision)
    if verdict.code not in (None, Code.POLICY_DENIED):
        is_secret = mask.is_secret_header
        found["error"] = error_of(verdict.code, verdict.detail, trail.head, is_secret)
    return found


@dataclass(slots=True)
class Kind:
    """How often requests of a route differed in one way, and the newest decision ids."""

    count: int = 0
    examples: deque[str] = field(default_factory=lambda: deque(maxlen=EXAMPLES))


class Report:
    """What became of one shadow beside one enforced revision, since a time (Unix seconds)."""

    def __init__(self, revision: str, shadow: str, since: float) -> None:
        self.revision = revision
        self.shadow = shadow
        self.since = since
        self.counts: dict[tuple[str, Outcome], int] = {}
        self.kinds: dict[tuple[str, Outcome, str, str], Kind] = {}

    def add(self, judged: Judged) -> None:
        """Take a request in."""
        assert judged.trail.match is not None
        route = judged.trail.match.route.id
        self.count(route, judged.difference)
        if judged.difference == "same":
            return
        before, after = (text[:MAX_TOLD] for text in judged.told)
        key = (route, judged.difference, before, after)
        if key not in self.kinds and len(self.kinds) >= MAX_KINDS:
            key = (route, judged.difference, "", "")
        kind = self.kinds.setdefault(key, Kind())
        kind.count += 1
        kind.examples.append(judged.trail.head.id)

    def count(self, route: str, outcome: Outcome) -> None:
        """Count a request of a route."""
        self.counts[route, outcome] = self.counts.get((route, outcome), 0) + 1

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON: counts, and the differences, the most frequent first."""
        ordered = sorted(self.kinds.items(), key=lambda pair: (-pair[1].count, pair[0]))
        return {
            "revision": self.revision,
            "shadow": self.shadow,
            "since": rfc3339(self.since),
            "counts": [
                {"route": route, "outcome": outcome, "count": count}
                for (route, outcome), count in sorted(self.counts.items())
            ],
            "differences": [
                {
                    "route": route,
                    "outcome": outcome,
                    "enforced": before or None,
                    "shadow": after or None,
                    "count": kind.count,
                    "examples": list(kind.examples),
                }
                for (route, outcome, before, after), kind in ordered
            ],
        }


def merged(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """The reports of several workers about one shadow, as one; those about another are left out."""
    first = max(reports, key=lambda report: str(report["since"]))
    about = [
        report
        for report in reports
        if (report["revision"], report["shadow"]) == (first["revision"], first["shadow"])
    ]
    counts: dict[tuple[str, str], int] = {}
    kinds: dict[tuple[Any, ...], dict[str, Any]] = {}
    for report in about:
        for row in report["counts"]:
            key = row["route"], row["outcome"]
            counts[key] = counts.get(key, 0) + row["count"]
        for row in report["differences"]:
            kind = row["route"], row["outcome"], row["enforced"], row["shadow"]
            known = kinds.setdefault(kind, {**row, "count": 0, "examples": []})
            known["count"] += row["count"]
            known["examples"] = sorted([*known["examples"], *row["examples"]])[-EXAMPLES:]
    return {
        **first,
        "since": min(str(report["since"]) for report in about),
        "counts": [
            {"route": route, "outcome": outcome, "count": count}
            for (route, outcome), count in sorted(counts.items())
        ],
        "differences": sorted(kinds.values(), key=lambda kind: -kind["count"]),
    }
