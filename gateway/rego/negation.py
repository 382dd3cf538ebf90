"""What a negation covers: only its own test, not how the operands of that are found.

OPA evaluates the operands of a negated call before the negation, so that `not startswith(x, "a")`
is undefined where `x` is. The compiler puts all of it inside. A negated reference or equality
(`not input.x.y`, `not input.x == 1`) does cover the reference.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.rego.plan import (
    Assign,
    Block,
    Blocks,
    Call,
    CallDynamic,
    Compare,
    Const,
    Dot,
    IsDefined,
    Not,
    Operand,
    Reset,
    Scan,
    Statement,
    With,
    operands,
    steps,
    targets,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.rego.plan import Plan

PARAMETERS_OF_RULE = 2


def narrowed(plan: Plan) -> Plan:
    """Return the plan with the operands of each negated test before the negation."""
    return replace(
        plan,
        functions=tuple(
            replace(item, blocks=tuple(map(_block, item.blocks))) for item in plan.functions
        ),
        entries=tuple(
            replace(item, blocks=tuple(map(_block, item.blocks))) for item in plan.entries
        ),
    )


def _block(block: Block) -> Block:
    return tuple(made for step in block for made in _step(step))


def _step(step: Statement) -> Iterator[Statement]:
    match step:
        case Not(block=block):
            yield from _negation(replace(step, block=_block(block)))
        case Scan(block=block) | With(block=block):
            yield replace(step, block=_block(block))
        case Blocks(blocks=blocks):
            yield replace(step, blocks=tuple(map(_block, blocks)))
        case _:
            yield step


def _negation(step: Not) -> Iterator[Statement]:
    match step.block:
        case (
            Reset() as reset,
            *body,
            Compare(left=int() as tested, right=Const(value=False), negate=True) as test,
            Assign() as found,
            IsDefined() as end,
        ):
            kept = _covered(body, tested)
            yield from (each for each in body if id(each) not in kept)
            rest = tuple(each for each in body if id(each) in kept)
            yield replace(step, block=(reset, *rest, test, found, end))
        case _:
            yield step


def _covered(body: list[Statement], tested: int) -> set[int]:
    """Return the identities of the statements that the negation of a test covers."""
    makers = {target: each for each in body for target in targets(each)}
    last = makers.get(tested)
    kept = {id(last)}
    match body:
        case [*_, Compare(left=left, right=right, negate=False) as equality, each] if each is last:
            kept.add(id(equality))
            call = makers.get(right) if isinstance(right, int) else None
            if isinstance(call, Call) and call.at == equality.at:
                kept.add(id(call))  # `f(x, 1)`: not an equality, but a call with its result
            else:
                kept.update(_reference(left, makers), _reference(right, makers))
        case _ if not isinstance(last, Call):
            kept.update(_reference(tested, makers))
    known: set[int] = set()
    for each in body:  # what is made of something covered is covered, too
        if id(each) in kept or known.intersection(_reads(each)):
            kept.add(id(each))
            known.update(target for inner in steps(((each,),)) for target in targets(inner))
    return kept


def _reads(step: Statement) -> set[Operand]:
    return {operand for inner in steps(((step,),)) for operand in operands(inner)}


def _reference(operand: Operand, makers: dict[int, Statement]) -> Iterator[int]:
    """Yield the statements that follow a reference up to an operand."""
    while isinstance(operand, int):
        match makers.get(operand):
            case Dot(source=source) | Assign(source=source) as step:
                yield id(step)
                operand = source
            case Call(arguments=arguments) as step if len(arguments) == PARAMETERS_OF_RULE:
                yield id(step)
                return
            case CallDynamic() as step:
                yield id(step)
                return
            case _:
                return
