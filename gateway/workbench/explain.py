"""How a policy came to its decision: the rules and bodies it tried, and what failed in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.rego.trace import Failure
from gateway.rego.values import UNDEFINED, dumps, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.rego.trace import Body, Evaluation, Site, Trace
    from gateway.rego.values import Value

MOST_TEXT = 120
"""Longest value that is shown whole."""


def as_lines(trace: Trace, modules: Mapping[str, str]) -> Iterator[str]:
    """Tell a trace as a tree; `modules` are the sources, by name."""
    sources = {name: text.split("\n") for name, text in modules.items()}
    for root in trace.roots:
        yield from _evaluation(root, sources, "")
    if trace.dropped:
        yield f"and {trace.dropped} steps more"


def _evaluation(found: Evaluation, sources: Mapping[str, list[str]], indent: str) -> Iterator[str]:
    arguments = f"({', '.join(map(shown, found.arguments))})" if found.arguments else ""
    again = " (as before)" if found.again else ""
    yield f"{indent}{found.name}{arguments} is {shown(found.value)}{again}{_at(found.site)}"
    for body in found.bodies:
        yield from _body(body, sources, indent + "  ")


def _body(body: Body, sources: Mapping[str, list[str]], indent: str) -> Iterator[str]:
    if not body.steps:
        return
    yield f"{indent}body{_at(body.site)}"
    for step in body.steps:
        if isinstance(step, Failure):
            yield from _failure(step, sources, indent + "  ")
        else:
            yield from _evaluation(step, sources, indent + "  ")


def _failure(step: Failure, sources: Mapping[str, list[str]], indent: str) -> Iterator[str]:
    said = "holds, so its `not` does not" if step.negated else "does not hold"
    yield f"{indent}{excerpt(step.site, sources)} {said}{_at(step.site)}"
    for name, value in sorted(step.seen, key=lambda pair: not pair[0]):
        # What a longer name goes through would be shown twice.
        if not any(other.startswith((f"{name}.", f"{name}[")) for other, _ in step.seen if name):
            yield f"{indent}  {name or 'a value'} is {shown(value)}"


def excerpt(site: Site, sources: Mapping[str, list[str]]) -> str:
    """The source line of a site, without blanks around it."""
    lines = sources.get(site.file, [])
    text = lines[site.row - 1].strip() if 0 < site.row <= len(lines) else ""
    return f"`{text}`" if text else "an expression"


def _at(site: Site) -> str:
    return f"  [{site.file}:{site.row}]" if site.row else ""


def shown(value: Value) -> str:
    """A value for people: long ones are cut."""
    if value is UNDEFINED:
        return "undefined"
    text = dumps(to_json(value))
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…"


def as_json(trace: Trace) -> dict[str, Any]:
    """The same as JSON; a value that is undefined is left out."""
    return {"evaluations": [_as_json(root) for root in trace.roots], "dropped": trace.dropped}


def _as_json(found: Evaluation) -> dict[str, Any]:
    return {
        "rule": found.name,
        "arguments": [to_json(argument) for argument in found.arguments],
        "again": found.again,
        **_value(found.value),
        **_place(found.site),
        "bodies": [
            {**_place(body.site), "steps": [_step(step) for step in body.steps]}
            for body in found.bodies
        ],
    }


def _step(step: Failure | Evaluation) -> dict[str, Any]:
    if not isinstance(step, Failure):
        return {"evaluation": _as_json(step)}
    return {
        "failed": {
            **_place(step.site),
            "negated": step.negated,
            "seen": [{"name": name, **_value(value)} for name, value in step.seen],
        }
    }


def _value(value: Value) -> dict[str, Any]:
    return {} if value is UNDEFINED else {"value": to_json(value)}


def _place(site: Site) -> dict[str, Any]:
    return {"file": site.file, "row": site.row, "col": site.col}
