"""How a rule is divided into its bodies, and whether each can return its value at once."""

from __future__ import annotations

from dataclasses import replace

from gateway.rego.index import SMALLEST
from gateway.rego.plan import (
    AssignOnce,
    Block,
    Blocks,
    Const,
    Function,
    Insert,
    IsDefined,
    IsUndefined,
    Mock,
    Operand,
    Reset,
    Scan,
    With,
    inner_blocks,
    operands,
    steps,
    targets,
)
from gateway.rego.values import equal

Parts = tuple[tuple[Block, ...], tuple[Block, ...], tuple[Block, ...]]


def bodies(item: Function) -> Parts | None:
    """Divide a rule into what comes before its bodies, the bodies, and what comes after.

    None if there are few, or if they use each other's locals.
    """
    blocks = _without_slots(item.blocks)
    found = [number for number, block in enumerate(blocks) if is_body(block)]
    if len(found) < SMALLEST or found[-1] - found[0] + 1 != len(found):
        return None
    before, after = blocks[: found[0]], blocks[found[-1] + 1 :]
    within = tuple(_inner(block) for block in blocks[found[0] : found[-1] + 1])
    outside: set[int] = {local for block in (*before, *after) for local in _locals(block)}
    shared = {*item.parameters, item.result}
    seen = outside - shared
    for block in within:
        own = _locals(block) - shared
        if own & seen and not _sets_first(block, own & seen - outside):
            return None
        if own & outside:
            return None
        seen |= own
    return before, within, after


def _without_slots(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    """Return the blocks of a partial object without the local that holds each one's value.

    The compiler resets it, lets the body assign it last, and inserts it where it is defined.
    """
    made: list[Block] = []
    for block in blocks:
        match block:
            case (
                Blocks(
                    at=at,
                    blocks=(
                        (),
                        (*body, AssignOnce(target=set_, source=source)),
                        (IsDefined(source=tested), Insert(value=value) as insert),
                    ),
                ),
            ) if (
                set_ == tested == value
                and _resets(made, set_)
                and not any(set_ in targets(step) for step in steps((tuple(body),)))
            ):
                made[-1] = (Blocks(at, ((*body, replace(insert, value=source)),)),)
            case _:
                made.append(block)
    return tuple(made)


def _resets(made: list[Block], local: int) -> bool:
    match made:
        case [*_, (Reset(target=target),)]:
            return target == local
        case _:
            return False


def _sets_first(block: Block, locals_: set[int]) -> bool:
    """Whether a body sets each of these locals, on its own level, before anything reads it."""
    left = set(locals_)
    for step in block:
        read = {used for inner in steps(((step,),)) for used in operands(inner)}
        nested = {
            target
            for below in inner_blocks(step)
            for inner in steps((below,))
            for target in targets(inner)
        }
        if left & (read | nested):
            return False
        left -= set(targets(step))
        if not left:
            return True
    return False


def is_body(block: Block) -> bool:
    """Whether a block of a function is one of its bodies."""
    return len(block) == 1 and isinstance(block[0], Blocks)


def _inner(block: Block) -> Block:
    """Return a body without the statement that only wraps it."""
    match block:
        case (Blocks(blocks=(inner,)),):
            return inner
        case _:
            return block


def _locals(block: Block) -> set[int]:
    used = {target for step in steps((block,)) for target in targets(step)}
    for step in steps((block,)):
        used.update(operand for operand in operands(step) if isinstance(operand, int))
    return used


def direct_returns(blocks: tuple[Block, ...], result: int | None) -> bool:
    """Whether each assignment of the result can be a `return` at once.

    So it is where all bodies give the same constant, or only one assignment, outside of scans,
    exists beside the default; and never inside `with`, which has something to put back.
    """
    if result is None:
        return False
    found: list[tuple[Operand, bool]] = []
    for block in blocks:
        is_default = bool(block) and block[0] == IsUndefined(block[0].at, result)
        if not is_default and not _results(block, result, found, scanned=False):
            return False
    if not found:
        return False
    first, scanned = found[0]
    if isinstance(first, Const):
        return all(isinstance(s, Const) and equal(s.value, first.value) for s, _ in found)
    return len(found) == 1 and not scanned


def _results(
    block: Block, result: int, found: list[tuple[Operand, bool]], *, scanned: bool
) -> bool:
    """Collect what is assigned to the result, and whether in a scan; False if not only so."""
    for step in block:
        if isinstance(step, AssignOnce) and step.target == result:
            found.append((step.source, scanned))
        elif result in targets(step) and not isinstance(step, Reset):
            return False
        if isinstance(step, (With, Mock)) and any(
            result in targets(s) for s in steps((step.block,))
        ):
            return False
        within = scanned or isinstance(step, Scan)
        if not all(_results(b, result, found, scanned=within) for b in inner_blocks(step)):
            return False
    return True
