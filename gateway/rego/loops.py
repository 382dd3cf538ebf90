"""Loops of `every` that the compiler cannot express, read back from what it gets for them.

Inside of `every` it lets no comprehension, `not` or `every` see the variables, so that it gets
`loop(xs, [holds | each = xs[key]; holds := [true | x := each; body]])`: of each
element, whether the body holds for it. As written that would run the body for all elements, and
fail where OPA has stopped at the first one that does not hold.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.rego.plan import (
    Append,
    Assign,
    Blocks,
    Call,
    Const,
    IsUndefined,
    Make,
    Mock,
    Not,
    Plan,
    Reset,
    Scan,
    With,
)
from gateway.rego.replacements import BUILTINS_

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.rego.plan import Block, Statement

EVERY: Final = f"data.{BUILTINS_}.loop"
"""The function that stands for `every`: it is none, and only its calls in that form are read."""

_CALLED: Final = re.compile(rf"g[0-9]+\.{re.escape(EVERY)}")


def with_loops(plan: Plan) -> Plan:
    """Return a plan with a scan for each call of EVERY."""
    return replace(
        plan,
        functions=tuple(replace(item, blocks=_blocks(item.blocks)) for item in plan.functions),
        entries=tuple(replace(item, blocks=_blocks(item.blocks)) for item in plan.entries),
    )


def _blocks(blocks: Iterable[Block]) -> tuple[Block, ...]:
    return tuple(_block(block) for block in blocks)


def _block(block: Block) -> Block:
    made: list[Statement] = []
    for step in block:
        loop = _loop(tuple(made[-2:]), step) if isinstance(step, Call) else ()
        if loop:
            made[-2:] = loop
        else:
            made.append(_statement(step))
    return tuple(made)


def _statement(step: Statement) -> Statement:
    match step:
        case Blocks(blocks=blocks):
            return replace(step, blocks=_blocks(blocks))
        case Scan(block=block) | Not(block=block) | With(block=block) | Mock(block=block):
            return replace(step, block=_block(block))
        case _:
            return step


def _loop(before: Block, call: Call) -> Block:
    """Return the steps in place of two steps and a call; none where they have another form."""
    if not _CALLED.fullmatch(call.function):
        return ()
    match before, call.arguments:
        case (
            (Make(target=found), Blocks(blocks=((Scan() as scan,),))),
            (_, _, _, int(given)),
        ) if found == given:
            pass
        case _:
            return ()
    match scan.block:
        case (
            *bound,
            Make(target=held),
            Blocks(blocks=(body,)),
            Assign(target=holds, source=source),
            Assign(source=Const(value=True)),  # the outcome of `:=`
            Append(array=array, value=value),
        ) if source == held and value == holds and array == found:
            pass
        case _:
            return ()
    tried = (
        *bound,
        Reset(scan.at, held),
        Blocks(scan.at, (tuple(_marked(body, held)),)),
        IsUndefined(scan.at, held),
        Assign(scan.at, found, Const(True)),
    )
    return (
        Reset(call.at, found),
        replace(scan, block=tried),
        IsUndefined(call.at, found),
        Assign(call.at, call.target, Const(True)),
    )


def _marked(body: Block, held: int) -> Iterator[Statement]:
    """Yield a body that sets a local where it appended to it."""
    for step in body:
        match step:
            case Append(array=array) if array == held:
                yield Assign(step.at, held, Const(True))
            case Scan(block=block) | With(block=block) | Mock(block=block):
                yield replace(step, block=tuple(_marked(block, held)))
            case Blocks(blocks=blocks):
                yield replace(step, blocks=tuple(tuple(_marked(each, held)) for each in blocks))
            case _:
                yield step
