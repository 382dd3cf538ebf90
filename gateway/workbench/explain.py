"""How a policy came to its decision: the rules and bodies it tried, and what failed in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.rego.trace import Failure
from gateway.rego.values import UNDEFINED, dumps, to_json
from gateway.workbench.excerpts import Excerpts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.rego.trace import Body, Evaluation, Site, Trace
    from gateway.rego.values import Value

MAX_TEXT = 120
"""Longest value that is shown whole."""


def as_lines(trace: Trace, modules: Mapping[str, str]) -> Iterator[str]:
    """Tell a trace as a tree; `modules` are the sources, by name."""
    told = _Told(Excerpts(modules))
    for root in trace.roots:
        yield from told.evaluation(root, "")
    if trace.dropped:
        yield f"and {trace.dropped} steps more"


class _Told:
    """Tells the parts of a trace, line by line, with what stands in the sources."""

    def __init__(self, excerpts: Excerpts) -> None:
        self._excerpts = excerpts

    def evaluation(self, found: Evaluation, indent: str) -> Iterator[str]:
        again = " (as before)" if found.again else ""
        yield (
            f"{indent}{found.name}{self._arguments(found)} is {shown(found.value)}{again}"
            f"{_at(found.site)}"
        )
        for body in found.bodies:
            yield from self._body(body, indent + "  ")

    def _arguments(self, found: Evaluation) -> str:
        if not found.arguments:
            return ""
        names = self._excerpts.parameters(found.site)
        values = [shown(value) for value in found.arguments]
        if len(names) == len(values):
            # A parameter that is a constant or a pattern says itself what it is.
            values = [
                f"{name}: {value}" if name.isidentifier() and name != "_" else value
                for name, value in zip(names, values, strict=True)
            ]
        return f"({', '.join(values)})"

    def _body(self, body: Body, indent: str) -> Iterator[str]:
        if body.steps or body.held:
            yield f"{indent}body{' holds' if body.held else ''}{_at(body.site)}"
        for step in _telling(body, self._excerpts):
            if isinstance(step, Failure):
                yield from self._failure(step, indent + "  ")
            else:
                yield from self.evaluation(step, indent + "  ")

    def _failure(self, step: Failure, indent: str) -> Iterator[str]:
        said = "holds" if step.negated else "does not hold"
        text = self._excerpts.expression(step.site)
        yield f"{indent}{f'`{text}`' if text else 'an expression'} {said}{_at(step.site)}"
        for name, value in _seen(step, self._excerpts):
            yield f"{indent}  {name or 'a value'} is {shown(value)}"


def _telling(body: Body, excerpts: Excerpts) -> Iterator[Failure | Evaluation]:
    """Yield the steps of a body, but for what the compiler made of one expression besides.

    A `print` fails for what is undefined in it, and holds nevertheless; an expression with a `with`
    fails a second time, around the first.
    """
    last: Failure | Evaluation | None = None
    for step in body.steps:
        if isinstance(step, Failure):
            outer = isinstance(last, Failure) and last.site == step.site and not step.seen
            if outer or excerpts.expression(step.site).startswith("print("):
                continue
        yield step
        last = step


def _seen(step: Failure, excerpts: Excerpts) -> list[tuple[str, Value]]:
    """Return what a failed expression read, by names; those without one are last.

    A plan has no names of variables. Where one value lacks a name and the expression has one
    variable, that is its name.
    """
    names = [name for name, _ in step.seen if name]
    told: list[tuple[str, Value]] = []
    for name, value in step.seen:
        # What a longer name goes through would be shown twice.
        passed = name and any(each.startswith((f"{name}.", f"{name}[")) for each in names)
        # That a builtin's answer is false is what does not hold.
        said = value is False and name and not name.startswith(("data.", "input"))
        if not passed and not said and (name, value) not in told:
            told.append((name, value))
    variables = excerpts.variables(step.site)
    nameless = sum(not name for name, _ in told)
    if nameless == 1 == len(variables):
        told = [(name or variables[0], value) for name, value in told]
    return sorted(told, key=lambda pair: not pair[0])


def _at(site: Site) -> str:
    return f"  [{site.file}:{site.row}]" if site.row else ""


def shown(value: Value) -> str:
    """A value for people: long ones are cut."""
    if value is UNDEFINED:
        return "undefined"
    text = dumps(to_json(value))
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def as_json(trace: Trace, modules: Mapping[str, str]) -> dict[str, Any]:
    """The same as JSON; a value that is undefined is left out."""
    made = _Json(Excerpts(modules))
    return {
        "evaluations": [made.evaluation(root) for root in trace.roots],
        "dropped": trace.dropped,
    }


class _Json:
    """The parts of a trace as JSON."""

    def __init__(self, excerpts: Excerpts) -> None:
        self._excerpts = excerpts

    def evaluation(self, found: Evaluation) -> dict[str, Any]:
        return {
            "rule": found.name,
            "arguments": [to_json(argument) for argument in found.arguments],
            "again": found.again,
            **_value(found.value),
            **_place(found.site),
            "bodies": [
                {
                    **_place(body.site),
                    "holds": body.held,
                    "steps": [self._step(step) for step in _telling(body, self._excerpts)],
                }
                for body in found.bodies
            ],
        }

    def _step(self, step: Failure | Evaluation) -> dict[str, Any]:
        if not isinstance(step, Failure):
            return {"evaluation": self.evaluation(step)}
        return {
            "failed": {
                **_place(step.site),
                "text": self._excerpts.expression(step.site),
                "negated": step.negated,
                "seen": [
                    {"name": name, **_value(value)} for name, value in _seen(step, self._excerpts)
                ],
            }
        }


def _value(value: Value) -> dict[str, Any]:
    return {} if value is UNDEFINED else {"value": to_json(value)}


def _place(site: Site) -> dict[str, Any]:
    return {"file": site.file, "row": site.row, "col": site.col}
