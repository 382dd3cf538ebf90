"""How a function of a plan uses its locals: what can be followed instead of stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.rego.plan import (
    Add,
    Append,
    Assign,
    Block,
    Const,
    Insert,
    Make,
    Mock,
    Operand,
    Reset,
    Statement,
    With,
    inner_blocks,
    operands,
    steps,
    targets,
)
from gateway.rego.values import UNDEFINED, RegoSet, Value, key_form

if TYPE_CHECKING:
    from collections.abc import Iterable


class Usage:
    """Counts of one function. `changes` lists the additions to each collection, in order."""

    def __init__(self, blocks: Iterable[Block], parameters: Iterable[int]) -> None:
        self.writes: dict[int, int] = {}
        self.reads: dict[int, int] = {}
        self.changes: dict[int, list[Statement]] = {}
        self._definition: dict[int, Statement] = {}
        self._made: dict[int, int] = {}
        self._resets: dict[int, int] = {}
        self._block: dict[int, int] = {}
        self._changed_in: dict[int, set[int]] = {}
        self._first_read: dict[int, int] = {}
        self._last_change: dict[int, int] = {}
        self._loose: set[int] = set()
        self._visible = set(parameters)
        self._parameters = frozenset(self._visible)
        self._clock = 0
        self._assigned: dict[int, frozenset[int]] = {}
        self._constants: dict[int, Value] = {}
        for block in blocks:
            self._visit(block)

    def _visit(self, block: Block) -> None:
        added = self._enter(block)
        self._visible.difference_update(added)

    def _enter(self, block: Block) -> list[int]:
        added: list[int] = []
        for step in block:
            self._clock += 1
            self._read(step, block)
            if isinstance(step, (With, Mock)):
                # The block completes or what follows is not reached: its locals stay visible.
                self._write(step, block, added)
                added += self._enter(step.block)
                continue
            own: list[int] = []
            self._write(step, block, own)
            for inner in inner_blocks(step):
                self._visit(inner)
            added += own
        return added

    def _read(self, step: Statement, block: Block) -> None:
        changed = _changed(step)
        for operand in operands(step):
            if isinstance(operand, Const):
                continue
            if operand not in self._visible:
                self._loose.add(operand)
            if operand == changed:
                changed = None
                self.changes.setdefault(operand, []).append(step)
                self._changed_in.setdefault(operand, set()).add(id(block))
                self._last_change[operand] = self._clock
                continue
            self.reads[operand] = self.reads.get(operand, 0) + 1
            self._first_read.setdefault(operand, self._clock)

    def _write(self, step: Statement, block: Block, added: list[int]) -> None:
        for target in targets(step):
            self.writes[target] = self.writes.get(target, 0) + 1
            self._definition[target] = step
            self._block[target] = id(block)
            if isinstance(step, Make):
                self._made[target] = self._made.get(target, 0) + 1
            elif isinstance(step, Reset):
                self._resets[target] = self._resets.get(target, 0) + 1
            if target not in self._visible:
                self._visible.add(target)
                added.append(target)

    def assigned(self, block: Block) -> frozenset[int]:
        """Return all locals that are set somewhere inside a block."""
        found = self._assigned.get(id(block))
        if found is None:
            found = frozenset(target for step in steps((block,)) for target in targets(step))
            self._assigned[id(block)] = found
        return found

    def stable(self, local: Operand) -> bool:
        """Whether a local has one definition, which comes before each of its reads."""
        if isinstance(local, Const):
            return True
        if local in self._parameters:
            return local not in self.writes
        return (
            self.writes.get(local) == 1
            and local not in self._loose
            and not isinstance(self._definition[local], (Reset, With))
        )

    def shared(self, local: int) -> bool:
        """Whether a changed local may hold a collection that was not made for it."""
        return self._made.get(local, 0) != self.writes.get(local, 0) - self._resets.get(local, 0)

    def _whole(self, local: int) -> bool:
        """Whether a collection is made and filled in one block before anything reads it."""
        return (
            self.stable(local)
            and isinstance(self._definition.get(local), Make)
            and self._changed_in.get(local) == {self._block[local]}
            and self._last_change[local] < self._first_read.get(local, self._clock + 1)
        )

    def empty(self, operand: Operand) -> bool:
        """Whether an operand is always a collection without members."""
        return (
            isinstance(operand, int)
            and self.stable(operand)
            and isinstance(self._definition.get(operand), Make)
            and operand not in self.changes
        )

    def displays(self, local: int) -> bool:
        """Whether a collection's changes amount to one array or object display."""
        if not self._whole(local) or self.constant(local) is not UNDEFINED:
            return False
        keys: list[str] = []
        for part in self.changes[local]:
            match part:
                case Append(value=value) if self.stable(value):
                    pass
                case Insert(key=Const(value=str() as key), value=value) if self.stable(value):
                    keys.append(key)
                case _:
                    return False
        return len(set(keys)) == len(keys)

    def constant(self, operand: Operand) -> Value:
        """Return the constant that an operand always is, else UNDEFINED."""
        if isinstance(operand, Const):
            return operand.value
        if operand not in self._constants:
            self._constants[operand] = UNDEFINED
            self._constants[operand] = self._constant(operand)
        return self._constants[operand]

    def _constant(self, local: int) -> Value:
        if local in self._parameters or not self.stable(local):
            return UNDEFINED
        definition = self._definition[local]
        if isinstance(definition, Assign):
            return self.constant(definition.source)
        if not isinstance(definition, Make) or not self._whole(local):
            return UNDEFINED
        return self._collected(definition.kind, self.changes[local])

    def _collected(self, kind: str, changes: list[Statement]) -> Value:
        array: list[Value] = []
        mapping: dict[Value, Value] = RegoSet() if kind == "set" else {}
        for part in changes:
            match part:
                case Append(value=value) if kind == "array":
                    array.append(self.constant(value))
                    last = array[-1]
                case Add(value=value) if kind == "set":
                    last = self.constant(value)
                    mapping[key_form(last)] = last
                case Insert(key=key, value=value, once=False) if kind == "object":
                    name, last = self.constant(key), self.constant(value)
                    if name is UNDEFINED:
                        return UNDEFINED
                    mapping[key_form(name)] = last
                case _:
                    return UNDEFINED
            if last is UNDEFINED:
                return UNDEFINED
        return array if kind == "array" else mapping


def _changed(step: Statement) -> int | None:
    """Return the collection that the statement adds to."""
    match step:
        case Append(array=local) | Add(set=local) | Insert(object=local):
            return local
        case _:
            return None
