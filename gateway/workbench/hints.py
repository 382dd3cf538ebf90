"""What a policy compares its input with, read from its plan.

Values are followed through the plan roughly: from where in the input or in data they come, and
which constants they may be. Where both meet, in a comparison, a call or a look-up, the constants
are hints for that place of the input. A wrong hint costs a try, a missing one is found by chance
or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.rego.plan import (
    DATA,
    INPUT,
    Add,
    Append,
    Assign,
    AssignOnce,
    Call,
    Compare,
    Const,
    Dot,
    Insert,
    Merge,
    Return,
    Scan,
    operands,
    steps,
)
from gateway.workbench.samples import of_call

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.rego.plan import Function, Operand, Plan, Statement

EACH: Final = None
"""Stands in a path for any member of an array or object."""

Path = tuple[str | int | None, ...]

MOST_SOURCES: Final = 300
"""A value with more possible sources is not followed further."""
MOST_VALUES: Final = 64
MOST_ROUNDS: Final = 12
DEEPEST: Final = 8


class FromInput(NamedTuple):
    """A part of the input; `computed` if something was made of it by a builtin."""

    path: Path
    computed: bool = False


class FromData(NamedTuple):
    """A part of the data document."""

    path: Path


class Known(NamedTuple):
    """A constant; the kind keeps true and 1 apart."""

    kind: str
    value: Any


Origin = FromInput | FromData | Known


@dataclass(slots=True)
class Hints:
    """Values by path of the input, paths that are compared with each other, and all constants."""

    values: dict[Path, dict[Known, None]] = field(default_factory=dict)
    equals: dict[Path, dict[Path, None]] = field(default_factory=dict)
    constants: dict[Known, None] = field(default_factory=dict)

    def add(self, path: Path, values: Iterable[Any]) -> None:
        """Note values for a path."""
        known = self.values.setdefault(path, {})
        for value in values:
            if len(known) < MOST_VALUES:
                known[_known(value)] = None

    def join(self, other: Hints) -> None:
        """Take up another policy's hints."""
        for path, values in other.values.items():
            self.add(path, (each.value for each in values))
        for path, others in other.equals.items():
            self.equals.setdefault(path, {}).update(others)
        self.constants.update(other.constants)


def hints(plan: Plan, data: Any) -> Hints:
    """Return the hints that a plan with its data gives."""
    return _Reading(plan, data).read()


def _known(value: Any) -> Known:
    return Known(type(value).__name__, value)


class _Reading:
    """Follows values through all functions of a plan until nothing new comes."""

    def __init__(self, plan: Plan, data: Any) -> None:
        self.functions = {item.name: item for item in plan.functions}
        self.data = data
        self.found = Hints()
        self.origins: dict[tuple[str, int], dict[Origin, None]] = {}
        self.statements = {item.name: steps(item.blocks) for item in plan.functions}
        self.grown = False

    def read(self) -> Hints:
        for _ in range(MOST_ROUNDS):
            self.grown = False
            for item in self.functions.values():
                self.flow(item)
            if not self.grown:
                break
        for item in self.functions.values():
            for step in self.statements[item.name]:
                self.notice(item.name, step)
        return self.found

    # How values move.

    def of(self, function: str, operand: Operand) -> dict[Origin, None]:
        if isinstance(operand, Const):
            return {_known(operand.value): None}
        if operand == INPUT:
            return {FromInput(()): None}
        if operand == DATA:
            return {FromData(()): None}
        return self.origins.get((function, operand), {})

    def put(self, function: str, local: int, origins: Iterable[Origin]) -> None:
        held = self.origins.setdefault((function, local), {})
        before = len(held)
        for origin in origins:
            if len(held) < MOST_SOURCES:
                held[origin] = None
        self.grown |= len(held) > before

    def flow(self, item: Function) -> None:
        name = item.name
        for step in self.statements[name]:
            match step:
                case Call():
                    self.call(name, step)
                case Return() if step.source != item.result:
                    self.put(name, item.result, self.of(name, step.source))
                case Dot():
                    self.put(name, step.target, self.below(name, step.source, step.key))
                case Scan():
                    self.put(name, step.value, self.below(name, step.source, None))
                    keys = (o for o in self.of(name, step.source) if isinstance(o, Known))
                    self.put(name, step.key, keys)
                case _:
                    for target, source in _moves(step):
                        self.put(name, target, self.of(name, source))

    def below(self, function: str, source: Operand, key: Operand | None) -> Iterator[Origin]:
        """Yield where a member of a value comes from."""
        part: str | int | None = EACH
        if isinstance(key, Const) and type(key.value) in (str, int):
            part = key.value
        for origin in self.of(function, source):
            match origin:
                case FromInput(computed=True) | Known():
                    yield origin
                case FromInput() if len(origin.path) < DEEPEST:
                    yield FromInput((*origin.path, part))
                case FromData() if len(origin.path) < DEEPEST:
                    yield FromData((*origin.path, part))
                case _:
                    pass

    def call(self, function: str, step: Call) -> None:
        item = self.functions.get(step.function)
        if item is not None:
            for local, argument in list(zip(item.parameters, step.arguments, strict=False))[2:]:
                self.put(item.name, local, self.of(function, argument))
            self.put(function, step.target, self.of(item.name, item.result))
            return
        for argument in step.arguments:
            for origin in list(self.of(function, argument)):
                if isinstance(origin, FromInput):
                    self.put(function, step.target, (FromInput(origin.path, computed=True),))
                elif isinstance(origin, Known):
                    self.put(function, step.target, (origin,))

    # What they meet.

    def notice(self, function: str, step: Statement) -> None:
        for operand in operands(step):
            if isinstance(operand, Const) and type(operand.value) is not bool:
                self.found.constants[_known(operand.value)] = None
        match step:
            case Compare(right=Const(value=False), negate=True):
                pass  # the compiler's own: an expression that is false does not hold
            case Compare():
                self.meet(function, (step.left, step.right), "")
            case Call() if step.function not in self.functions:
                self.meet(function, step.arguments, step.function)
            case Dot() if not isinstance(step.key, Const):
                self.meet(function, (step.source, step.key), "")
            case Scan():
                self.scanned(function, step.source)
            case _:
                pass

    def scanned(self, function: str, source: Operand) -> None:
        for origin in self.of(function, source):
            if isinstance(origin, FromInput) and not origin.computed:
                self.found.add((*origin.path, EACH), ())

    def meet(self, function: str, values: tuple[Operand, ...], builtin: str) -> None:
        for one in values:
            inputs = [o for o in self.of(function, one) if isinstance(o, FromInput)]
            if not inputs:
                continue
            for other in values:
                if other is one:
                    continue
                constants, paths = self.told(function, other)
                samples = [
                    text
                    for value in constants
                    if type(value) is str
                    for text in of_call(builtin, value)
                ]
                for origin in inputs:
                    self.hint(origin.path, [*samples, *constants], paths, builtin)

    def told(self, function: str, operand: Operand) -> tuple[list[Any], list[Path]]:
        """Return the constants that a value may be, and the places of the input it may be from."""
        constants: list[Any] = []
        paths: list[Path] = []
        for origin in self.of(function, operand):
            match origin:
                case Known():
                    constants.append(origin.value)
                case FromData():
                    constants += _scalars(_members(self.data, origin.path))
                case FromInput():
                    paths.append(origin.path)
        return constants, paths

    def hint(self, path: Path, constants: list[Any], paths: list[Path], builtin: str) -> None:
        self.found.add(path, constants)
        if builtin == "internal.member_2":  # `x in input.y` hints at the members of y
            self.found.add((*path, EACH), constants)
        for other in paths:
            if other != path:
                self.found.equals.setdefault(path, {})[other] = None
                if builtin == "internal.member_2":
                    self.found.equals.setdefault((*path, EACH), {})[other] = None


def _moves(step: Statement) -> tuple[tuple[int, Operand], ...]:
    """Return the locals that take up what others hold; collections are as their members."""
    match step:
        case Assign() | AssignOnce():
            return ((step.target, step.source),)
        case Append():
            return ((step.array, step.value),)
        case Add():
            return ((step.set, step.value),)
        case Insert():
            return (step.object, step.key), (step.object, step.value)
        case Merge():
            return (step.target, step.left), (step.target, step.right)
        case _:
            return ()


def _members(value: Any, path: Path) -> Iterator[Any]:
    """Yield what stands at a path of data, for each member where the path says so."""
    if not path:
        yield value
        return
    first, *rest = path
    below: Iterable[Any] = ()
    if first is EACH and isinstance(value, (dict, list)):
        below = value.values() if isinstance(value, dict) else value
    elif isinstance(value, list):
        below = value[first : first + 1] if type(first) is int else ()
    elif isinstance(value, dict) and first in value:
        below = (value[first],)
    for each in below:
        yield from _members(each, tuple(rest))


def _scalars(values: Iterable[Any]) -> list[Any]:
    """Return scalars, and those directly within arrays and objects, keys included."""
    found: list[Any] = []
    for value in values:
        if len(found) > MOST_VALUES:
            break
        if isinstance(value, dict):
            found += islice(value, MOST_VALUES)
        if isinstance(value, (dict, list)):
            below = value.values() if isinstance(value, dict) else value
            held = islice(below, MOST_VALUES)
            found += [each for each in held if not isinstance(each, (dict, list))]
        else:
            found.append(value)
    return found
