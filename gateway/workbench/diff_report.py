"""A comparison of two policies for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.rego import UNDEFINED
from gateway.rego.values import dumps, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.rego.coverage import FileCoverage
    from gateway.workbench.contrast import Place
    from gateway.workbench.diff import Difference, Report
    from gateway.workbench.versions import Said

MOST_NAMES = 3
"""How many scenarios and recorded decisions are named for each difference."""

NOUNS = {"scenario": "scenario", "recorded": "recorded decision", "generated": "generated input"}


def as_lines(report: Report) -> Iterator[str]:
    """Tell a comparison: the differences, what was tried, and what it is worth."""
    for number, each in enumerate(report.differences, 1):
        yield from _difference(number, each)
        yield ""
    yield f"tried {', '.join(_counted(count, name) for name, count in report.tried.items())}"
    old, new = report.reached
    yield f"lines reached: {_reached(old)} of OLD, {_reached(new)} of NEW"
    if report.stopped:
        yield "the time was over before all was tried"
    if report.chance:
        yield f"the policies call {', '.join(report.chance)}: what differs may be chance"
    if not report.differences:
        yield "no difference found, which is no proof that there is none"


def _difference(number: int, found: Difference) -> Iterator[str]:
    yield f"{number}. {found.change}: {found.entrypoint}"
    for place in found.places:
        yield f"   {_SAID[place.what]} {place.side.upper()}  {place.file}:{place.row}  {place.text}"
    yield f"   input  {dumps(found.document)}"
    yield f"   OLD    {_said(found.old)}"
    yield f"   NEW    {_said(found.new)}"
    for name in found.names[:MOST_NAMES]:
        yield f"   as in  {name}"
    counts = [_counted(count, name) for name, count in found.counts.items() if count]
    yield f"   of     {', '.join(counts)}"


_SAID = {"holds": "holds in", "fails": "fails in", "rule": "rule of "}


def _counted(count: int, source: str) -> str:
    return f"{count} {NOUNS[source]}{'' if count == 1 else 's'}"


def _reached(found: FileCoverage) -> str:
    return f"{len(found.covered)}/{len(found.covered) + len(found.not_covered)}"


def _said(said: Said) -> str:
    if said.error:
        return f"error: {said.error}"
    return "undefined" if said.value is UNDEFINED else dumps(to_json(said.value))


def as_json(report: Report) -> dict[str, Any]:
    """The same for programs; a value that is undefined is left out."""
    old, new = report.reached
    return {
        "differences": [
            {
                "change": each.change.replace(" → ", "-to-").replace(" ", "-"),
                "entrypoint": each.entrypoint,
                "places": list(map(_place, each.places)),
                "input": to_json(each.document),
                "old": _said_json(each.old),
                "new": _said_json(each.new),
                "names": list(each.names),
                "counts": each.counts,
            }
            for each in report.differences
        ],
        "tried": report.tried,
        "stopped": report.stopped,
        "by_chance": list(report.chance),
        "lines": {
            side: {"covered": len(found.covered), "not_covered": len(found.not_covered)}
            for side, found in (("old", old), ("new", new))
        },
    }


def _place(place: Place) -> dict[str, Any]:
    return {
        "side": place.side,
        "what": place.what,
        "rule": place.rule,
        "file": place.file,
        "row": place.row,
        "text": place.text,
    }


def _said_json(said: Said) -> dict[str, Any]:
    if said.error:
        return {"error": said.error}
    return {} if said.value is UNDEFINED else {"value": to_json(said.value)}
