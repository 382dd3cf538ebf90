"""What `with` replaces, read in the plan from what the compiler got for it: see replacements.py."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.rego.plan import (
    DATA,
    INPUT,
    Blocks,
    Call,
    Mock,
    Not,
    PlanError,
    Scan,
    With,
    steps,
)
from gateway.rego.replacements import BY_FUNCTION, BY_VALUE, DOCUMENT, WHOLE_INPUT, decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.rego.plan import Block, Plan, Statement

MOCKABLE: Final = "mockable "
"""What comes before the name of a builtin in calls of one that some `with` replaces."""


def with_stand_ins(plan: Plan) -> Plan:
    """Return a plan that says what each `with` replaces; PlanError for one that nobody wrote."""
    read = _each(plan, _read)
    mocked = {step.name for step in _all(read) if isinstance(step, Mock)}
    if not mocked:
        return read

    def renamed(step: Statement) -> Statement:
        if isinstance(step, Call) and step.function in mocked:
            return replace(step, function=MOCKABLE + step.function)
        return step

    return _each(read, renamed)


def _all(plan: Plan) -> list[Statement]:
    blocks = [item.blocks for item in plan.functions] + [item.blocks for item in plan.entries]
    return [step for each in blocks for step in steps(each)]


def _each(plan: Plan, change: Callable[[Statement], Statement]) -> Plan:
    """Return a plan with each statement changed, outer before inner."""

    def block(found: Block) -> Block:
        return tuple(map(statement, found))

    def blocks(found: Iterable[Block]) -> tuple[Block, ...]:
        return tuple(map(block, found))

    def statement(step: Statement) -> Statement:
        step = change(step)
        match step:
            case Blocks(blocks=inner):
                return replace(step, blocks=blocks(inner))
            case Scan(block=inner) | Not(block=inner) | With(block=inner) | Mock(block=inner):
                return replace(step, block=block(inner))
            case _:
                return step

    return replace(
        plan,
        functions=tuple(replace(item, blocks=blocks(item.blocks)) for item in plan.functions),
        entries=tuple(replace(item, blocks=blocks(item.blocks)) for item in plan.entries),
    )


def _read(step: Statement) -> Statement:
    if not isinstance(step, With):
        return step
    try:
        path = tuple(map(decoded, step.path))
    except ValueError:
        raise PlanError("not a path that `with` replaces") from None
    root = step.path[0] if step.path else ""
    if step.local == INPUT:
        return replace(step, path=() if root == WHOLE_INPUT else path)
    if step.local == DATA and root == DOCUMENT:
        return replace(step, path=path[1:])
    if step.local == DATA and root in (BY_VALUE, BY_FUNCTION) and len(path) == 2:
        return Mock(step.at, path[1], step.value, root == BY_FUNCTION, step.block)
    return step
