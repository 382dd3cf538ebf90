"""What a replay found, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.record.text import readable
from gateway.workbench.replay import PLACES, SKIPPED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.workbench.candidate import Rule
    from gateway.workbench.replay import Group, Replay
    from gateway.workbench.tally import Tally

MOST_ROUTES: Final = 5
MOST_NAMED: Final = 10
TITLES: Final = {
    "deny-to-allow": "deny → allow",
    "allow-to-deny": "allow → deny",
    "result": "another result, same outcome",
}


def as_dict(replay: Replay) -> dict[str, Any]:
    """All of it, as JSON."""
    outcomes = ("deny-to-allow", "allow-to-deny")
    return {
        "revision": replay.candidate.sources.revision,
        "events": replay.events,
        "replayed": replay.replayed,
        "unchanged": replay.unchanged,
        "changes": list(map(_group, replay.found(*outcomes))),
        "results": list(map(_group, replay.found("result"))),
        "approved": list(map(_group, replay.found(*outcomes, "result", approved=True))),
        "not_replayed": {
            reason: {"events": count, "named": _tally(replay.named[reason])}
            for reason, count in _ordered(replay)
        },
        "by_chance": {name: list(builtins) for name, builtins in replay.chance.items()},
        "unused": [
            {"file": each.file, "line": each.line, "because": each.approval.because}
            for each in replay.unused
        ],
    }


def _ordered(replay: Replay) -> list[tuple[str, int]]:
    return [(reason, replay.skips[reason]) for reason in SKIPPED if replay.skips[reason]]


def _tally(tally: Tally) -> dict[str, int]:
    return dict(tally.most()) | ({"others": tally.others} if tally.others else {})


def _group(group: Group) -> dict[str, Any]:
    rule, approved = group.rule, group.approved
    made: dict[str, Any] = {
        "change": group.kind,
        "count": group.count,
        "entrypoint": group.entrypoint,
        "before": list(group.before),
        "after": list(group.after),
        "routes": _tally(group.routes),
        "examples": [{"decision_id": name, "place": place} for name, place in group.examples],
    }
    if rule is not None:
        made["rule"] = {
            "name": rule.name,
            "file": rule.file,
            "line": rule.line,
            "default": rule.default,
        }
    if approved is not None:
        made["approved"] = {
            "file": approved.file,
            "line": approved.line,
            "because": approved.approval.because,
        }
    return made


def as_lines(replay: Replay) -> Iterator[str]:
    """All of it, line by line; what logs hold cannot move the cursor or colour a terminal."""
    yield from map(readable, _lines(replay))


def _lines(replay: Replay) -> Iterator[str]:
    yield (
        f"{replay.events:,} events, {replay.replayed:,} replayed, {replay.unchanged:,} unchanged; "
        f"policy revision {replay.candidate.sources.revision}"
    )
    for kind, title in TITLES.items():
        yield from _section(title, replay.found(kind))
    yield from _section("approved", replay.found(*TITLES, approved=True))
    if replay.skips:
        yield ""
        yield f"not replayed: {replay.skips.total():,}"
    for reason, count in _ordered(replay):
        yield f"  {SKIPPED[reason]}: {count:,}"
        tally = replay.named[reason]
        for name, times in tally.most(MOST_NAMED):
            yield f"    {name}" if reason in PLACES else f"    {name}: {times:,}"
        left = len(tally.counts) - MOST_NAMED
        if tally.others or left > 0:
            yield "    and more"
    for name, builtins in replay.chance.items():
        yield ""
        yield f"{name} calls {', '.join(builtins)}: what it changed may be chance"


def _section(title: str, groups: list[Group]) -> Iterator[str]:
    if not groups:
        return
    yield ""
    yield f"{title}: {sum(group.count for group in groups):,}"
    for group in groups:
        yield from _told(group)


def _told(group: Group) -> Iterator[str]:
    yield f"  {group.count:,} of {group.entrypoint}: {_codes(group.before)} → {_codes(group.after)}"
    if group.approved is not None:
        approved = group.approved
        told = f"{TITLES[group.kind]}; {approved.approval.because}"
        yield f"    {told}  [{approved.file}:{approved.line}]"
    if group.rule is not None:
        yield f"    decided by {_rule(group.rule)}"
    routes = group.routes.most(MOST_ROUTES)
    named = ", ".join(f"{name} ({count:,})" for name, count in routes if name)
    if named:
        more = ", …" if len(group.routes.counts) > MOST_ROUTES or group.routes.others else ""
        yield f"    routes: {named}{more}"
    for name, place in group.examples:
        yield f"    {name or 'an event'}  {place}"


def _codes(codes: tuple[str, ...]) -> str:
    return ", ".join(codes) or "no reason"


def _rule(rule: Rule) -> str:
    place = f"  [{rule.file}:{rule.line}]" if rule.line else ""
    return f"{rule.name}{', its default' if rule.default else ''}{place}"
