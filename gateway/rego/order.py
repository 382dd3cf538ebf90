"""The order of the expressions of a body.

The compiler puts what no loop changes before the loop, wherever it is written. That shows where
it can fail: `some x in xs; x == "a"; to_number(input.n) > 1` fails then though no `x` is `"a"`.
Bodies in which something that can fail moved before what it was written behind are put back into
the order of their text; what needs a value still follows what gives it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cached_property
from operator import is_
from typing import TYPE_CHECKING, Final

from gateway.rego.plan import (
    Add,
    Append,
    AssignOnce,
    Blocks,
    Call,
    Const,
    Function,
    Insert,
    Mock,
    Not,
    Plan,
    Reset,
    Scan,
    With,
    inner_blocks,
    operands,
    steps,
    targets,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.rego.plan import Block, Statement

_NEVER_FAIL: Final = frozenset(
    ("eq", "equal", "neq", "lt", "lte", "gt", "gte", "internal.member_2", "internal.member_3")
)

_Place = tuple[int, int]
_FIRST: Final = (0, 0)
_LAST: Final = (1 << 40, 0)


def in_order(plan: Plan) -> Plan:
    """Return a plan whose bodies fail where their text does."""
    return replace(plan, functions=tuple(_Order(item).function() for item in plan.functions))


class _Order:
    """Puts the bodies of one function in order."""

    def __init__(self, function: Function) -> None:
        self._function = function

    @cached_property
    def _uses(self) -> Mapping[int, int]:
        """How many steps read or write each local."""
        return _uses(steps(self._function.blocks))

    def function(self) -> Function:
        made = tuple(map(self._block, self._function.blocks))
        return replace(self._function, blocks=made)

    def _block(self, block: Block) -> Block:
        inner = tuple(map(self._statement, block))
        if all(map(is_, inner, block)):
            inner = block
        if not inner or not isinstance(inner[-1], Scan) or not _may_be_wrong(inner):
            return inner
        ops = _flat(inner)
        tail = self._tail(ops)
        keys = _keys(ops[:tail])
        if not _wrong(ops, keys):
            return inner
        order = sorted(range(tail), key=lambda index: (keys[index], index))
        return _nested([*(ops[index] for index in order), *ops[tail:]])

    def _statement(self, step: Statement) -> Statement:
        match step:
            case Blocks(blocks=blocks):
                made = tuple(map(self._block, blocks))
                return step if all(map(is_, made, blocks)) else replace(step, blocks=made)
            case Scan(block=block) | Not(block=block) | With(block=block) | Mock(block=block):
                inner = self._block(block)
                return step if inner is block else replace(step, block=inner)
            case _:
                return step

    def _tail(self, ops: Sequence[Statement]) -> int:
        """Return where the steps start that give the body's result to what is around it."""
        whole = [step for op in ops for step in _whole(op)]
        uses = _uses(whole)
        written = {local for step in whole for local in _writes(step)}
        given = {local for local in written if uses[local] < self._uses[local]}
        return next(
            (
                index
                for index, op in enumerate(ops)
                if any(not given.isdisjoint((*_reads(s), *_writes(s))) for s in _whole(op))
            ),
            len(ops) - 1,
        )


def _flat(block: Block) -> list[Statement]:
    """Return the steps of a body in a row: a scan at the end goes on with the steps in it."""
    made: list[Statement] = []
    while block and isinstance(block[-1], Scan):
        *before, scan = block
        made += before
        assert isinstance(scan, Scan)
        made.append(replace(scan, block=()))
        block = scan.block
    return [*made, *block]


def _nested(ops: Sequence[Statement]) -> Block:
    """Put the steps behind a scan into it."""
    made: list[Statement] = []
    for op in reversed(ops):
        if isinstance(op, Scan) and not op.block:
            made = [replace(op, block=tuple(reversed(made)))]
        else:
            made.append(op)
    return tuple(reversed(made))


def _uses(found: Iterable[Statement]) -> Mapping[int, int]:
    return Counter(local for step in found for local in {*_reads(step), *_writes(step)})


def _whole(op: Statement) -> list[Statement]:
    return [op, *steps(inner_blocks(op))]


def _reads(step: Statement) -> list[int]:
    return [operand for operand in operands(step) if not isinstance(operand, Const)]


def _writes(step: Statement) -> tuple[int, ...]:
    match step:
        case Append(array=local) | Add(set=local) | Insert(object=local):
            return (local,)
        case With():
            return ()
        case _:
            return targets(step)


def _keys(ops: Sequence[Statement]) -> list[_Place]:
    """Return the place of each step, or that of what it needs if that stands behind it.

    Steps that write one local belong together: a collection is made anew each time around a loop.
    """
    reads = [{local for step in _whole(op) for local in _reads(step)} for op in ops]
    writes = [{local for step in _whole(op) for local in _writes(step)} for op in ops]
    writers: dict[int, list[int]] = {}
    for index, locals_ in enumerate(writes):
        for local in locals_:
            writers.setdefault(local, []).append(index)
    together = [found for found in writers.values() if len(found) > 1]
    keys = [_FIRST] * len(ops)
    changed = True
    while changed:
        keys = _forward(ops, reads, writes, keys)
        changed = False
        for found in together:
            last = max(keys[index] for index in found)
            for index in found:
                changed = changed or keys[index] != last
                keys[index] = last
    return keys


def _forward(
    ops: Sequence[Statement],
    reads: Sequence[set[int]],
    writes: Sequence[set[int]],
    least: Sequence[_Place],
) -> list[_Place]:
    """Return keys that are no smaller than those of what comes before by need."""
    keys: list[_Place] = []
    read: dict[int, _Place] = {}
    written: dict[int, _Place] = {}
    near = _FIRST
    for index, op in enumerate(ops):
        before = (
            *(written.get(local, _FIRST) for local in (*reads[index], *writes[index])),
            *(read.get(local, _FIRST) for local in writes[index]),
        )
        needed = max(least[index], *before) if before else least[index]
        if op.at or needed > _FIRST:
            near = max(needed, (op.at.row, op.at.col) if op.at else _FIRST)
        keys.append(near)
        for local in reads[index]:
            read[local] = max(near, read.get(local, _FIRST))
        for local in writes[index]:
            written[local] = near
    return keys


def _may_be_wrong(block: Block) -> bool:
    """Whether a step of a body comes before one that it was written behind, and can fail."""
    lowest = _LAST
    for op, whole in reversed(_row(block)[:-1]):
        place = (op.at.row, op.at.col) if op.at else _LAST
        if lowest < place and any(map(_can_fail, whole)):
            return True
        if not isinstance(op, AssignOnce):  # it has the place of the rule
            lowest = min(lowest, place)
    return False


def _row(block: Block) -> list[tuple[Statement, list[Statement]]]:
    """Return the steps of a body in a row, each with those in it."""
    row: list[tuple[Statement, list[Statement]]] = []
    while block and isinstance(block[-1], Scan):
        row += ((op, _whole(op)) for op in block[:-1])
        row.append((block[-1], [block[-1]]))
        block = block[-1].block
    return row + [(op, _whole(op)) for op in block]


def _wrong(ops: Sequence[Statement], keys: Sequence[_Place]) -> bool:
    """Whether a step that can fail comes before one that it was written behind."""
    lowest = _LAST
    for op, key in zip(reversed(ops[: len(keys)]), reversed(keys), strict=True):
        if lowest < key and any(map(_can_fail, _whole(op))):
            return True
        if not isinstance(op, Reset):
            lowest = min(lowest, key)
    return False


def _can_fail(step: Statement) -> bool:
    return isinstance(step, Call) and step.function not in _NEVER_FAIL
