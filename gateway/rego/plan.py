"""The compiled form of Rego that the engine runs: typed, decoded and checked.

OPA calls it the intermediate representation: entries (named queries) and functions over
numbered locals, in blocks of statements. A statement that comes out undefined leaves its block.
What is read here was written by the compiler's child process out of untrusted text, so nothing
is taken on trust: every local is an int in range, every index points into its table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from gateway.rego.replacements import BUILTINS_
from gateway.rego.values import Value, number_from_text

INPUT: Final = 0
"""The local that holds the input document in every function."""

DATA: Final = 1
"""The local that holds the data document in every function."""

MAX_LOCAL: Final = 1 << 31
MAX_NESTING: Final = 80
"""Deepest nesting of blocks: the generated source must stay below Python's own 100."""


class PlanError(ValueError):
    """The text is not a plan as the compiler writes it."""


class At(NamedTuple):
    """A place in a policy source: index of the file, row and column from 1."""

    file: int
    row: int
    col: int


@dataclass(frozen=True, slots=True)
class Const:
    """An operand that the source spells out: null, a boolean, a number or a string."""

    value: Value


Operand = int | Const
"""A local (its number) or a constant."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What every statement has: its place in the source, where the compiler knows it."""

    at: At | None


Block = tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Reset(Statement):
    """The local becomes undefined."""

    target: int


@dataclass(frozen=True, slots=True)
class Make(Statement):
    """The local becomes a fresh, empty collection: `array`, `object` or `set`."""

    target: int
    kind: str


@dataclass(frozen=True, slots=True)
class Assign(Statement):
    """The local becomes the source, undefined included."""

    target: int
    source: Operand


@dataclass(frozen=True, slots=True)
class AssignOnce(Statement):
    """The local becomes the source; a different value there already is a conflict."""

    target: int
    source: Operand


@dataclass(frozen=True, slots=True)
class Dot(Statement):
    """Look `key` up in `source`; undefined where it is not there."""

    target: int
    source: Operand
    key: Operand


@dataclass(frozen=True, slots=True)
class Compare(Statement):
    """Undefined unless the operands are equal (or, with `negate`, are not)."""

    left: Operand
    right: Operand
    negate: bool


@dataclass(frozen=True, slots=True)
class IsDefined(Statement):
    """Undefined unless the local has a value."""

    source: Operand


@dataclass(frozen=True, slots=True)
class IsUndefined(Statement):
    """Undefined if the local has a value."""

    source: Operand


@dataclass(frozen=True, slots=True)
class IsKind(Statement):
    """Undefined unless the source is an `array`, `object` or `set`."""

    source: Operand
    kind: str


@dataclass(frozen=True, slots=True)
class Length(Statement):
    """The local becomes the number of members of the source."""

    target: int
    source: Operand


@dataclass(frozen=True, slots=True)
class Append(Statement):
    """Append to an array."""

    array: int
    value: Operand


@dataclass(frozen=True, slots=True)
class Add(Statement):
    """Add to a set."""

    set: int
    value: Operand


@dataclass(frozen=True, slots=True)
class Insert(Statement):
    """Put into an object; with `once`, another value for the key is a conflict."""

    object: int
    key: Operand
    value: Operand
    once: bool


@dataclass(frozen=True, slots=True)
class Merge(Statement):
    """The local becomes the deep union of two objects; `left` wins."""

    target: int
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class Call(Statement):
    """Call a function of the plan or a builtin."""

    target: int
    function: str
    arguments: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class CallDynamic(Statement):
    """Call the function that a path of values names, and look the rest of the path up in it."""

    target: int
    path: tuple[Operand, ...]
    arguments: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Blocks(Statement):
    """Run blocks in order, each undefined or not."""

    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Scan(Statement):
    """Run a block for each member; undefined for a scalar."""

    source: Operand
    key: int
    value: int
    block: Block


@dataclass(frozen=True, slots=True)
class Not(Statement):
    """Undefined if the block completes."""

    block: Block


@dataclass(frozen=True, slots=True)
class With(Statement):
    """Run a block with part of a local replaced; undefined if the block is."""

    local: int
    path: tuple[str, ...]
    value: Operand
    block: Block


@dataclass(frozen=True, slots=True)
class Mock(Statement):
    """Run a block with a function replaced; undefined if the block is.

    `name` is that of a builtin, or starts with `data.`. With `called` the value is the name of
    the function that is called instead, else what each call gives.
    """

    name: str
    value: Operand
    called: bool
    block: Block


@dataclass(frozen=True, slots=True)
class Return(Statement):
    """Leave the function with the local's value."""

    source: int


@dataclass(frozen=True, slots=True)
class Result(Statement):
    """Add a row to the results of an entry."""

    value: int


@dataclass(frozen=True, slots=True)
class Function:
    """A rule (no parameters beyond input and data) or a function.

    `path` is its place below `data`. The compiler makes copies of what is read inside of `with`,
    in generations of their own; the plain rule or function is `g0`.
    """

    name: str
    generation: str
    path: tuple[str, ...]
    parameters: tuple[int, ...]
    result: int
    blocks: tuple[Block, ...]

    @property
    def at(self) -> At | None:
        """The place of the first statement that knows its own."""
        return next((step.at for step in steps(self.blocks) if step.at), None)


@dataclass(frozen=True, slots=True)
class Entry:
    """A named query: its blocks add rows to a result."""

    name: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that one compilation produced. `files` holds the names the compiler was given."""

    files: tuple[str, ...]
    functions: tuple[Function, ...]
    entries: tuple[Entry, ...]
    query: str | None

    @property
    def query_rule(self) -> tuple[str, ...]:
        """The path of the rule that the compiler makes of the query."""
        return () if self.query is None else (self.query.rpartition("/")[2],)


def inner_blocks(statement: Statement) -> tuple[Block, ...]:
    """Return the blocks directly inside a statement."""
    read = _INNER_BLOCKS.get(statement.__class__)
    return () if read is None else read(statement)


def steps(blocks: tuple[Block, ...]) -> list[Statement]:
    """Return every statement in `blocks`, outer before inner, in program order."""
    found: list[Statement] = []
    _collect(blocks, found)
    return found


def _collect(blocks: tuple[Block, ...], found: list[Statement]) -> None:
    for block in blocks:
        for statement in block:
            found.append(statement)
            read = _INNER_BLOCKS.get(statement.__class__)
            if read is not None:
                _collect(read(statement), found)


def targets(statement: Statement) -> tuple[int, ...]:
    """Return the locals that the statement itself sets."""
    read = _TARGETS.get(statement.__class__)
    return () if read is None else read(statement)


def operands(statement: Statement) -> tuple[Operand, ...]:
    """Return what the statement itself reads."""
    read = _OPERANDS.get(statement.__class__)
    return () if read is None else read(statement)


_Blocks = Callable[[Any], tuple[Block, ...]]
_Locals = Callable[[Any], tuple[int, ...]]
_Operands = Callable[[Any], tuple[Operand, ...]]

_INNER_BLOCKS: Final[Mapping[type, _Blocks]] = {
    Blocks: lambda s: s.blocks,
    Scan: lambda s: (s.block,),
    Not: lambda s: (s.block,),
    With: lambda s: (s.block,),
    Mock: lambda s: (s.block,),
}

_TARGETS: Final[Mapping[type, _Locals]] = {
    Scan: lambda s: (s.key, s.value),
    With: lambda s: (s.local,),
    **dict.fromkeys(
        (Reset, Make, Assign, AssignOnce, Dot, Length, Merge, Call, CallDynamic),
        lambda s: (s.target,),
    ),
}

_OPERANDS: Final[Mapping[type, _Operands]] = {
    Dot: lambda s: (s.source, s.key),
    Compare: lambda s: (s.left, s.right),
    Merge: lambda s: (s.left, s.right),
    Append: lambda s: (s.array, s.value),
    Add: lambda s: (s.set, s.value),
    Insert: lambda s: (s.object, s.key, s.value),
    Call: lambda s: s.arguments,
    CallDynamic: lambda s: (*s.path, *s.arguments),
    With: lambda s: (s.value,),
    Mock: lambda s: (s.value,),
    Result: lambda s: (s.value,),
    **dict.fromkeys(
        (Assign, AssignOnce, IsDefined, IsUndefined, IsKind, Length, Scan, Return),
        lambda s: (s.source,),
    ),
}


# --- reading


def read_plan(text: str | bytes) -> Plan:
    """Read plan JSON; PlanError if anything in it is not as the compiler writes it."""
    try:
        return _read_document(json.loads(text))
    except RecursionError:
        raise PlanError("a body loops inside of loops too deeply; divide it") from None
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise PlanError(f"not a plan: {type(error).__name__}: {error}"[:300]) from error


def _read_document(document: Mapping[str, Any]) -> Plan:
    static = document["static"]
    reader = _Reader(tuple(_text(item["value"]) for item in static.get("strings") or ()))
    plan = Plan(
        files=tuple(_text(item["value"]) for item in static.get("files") or ()),
        functions=tuple(
            item
            for item in map(reader.function, _items(document, "funcs"))
            if item.path[:1] != (BUILTINS_,)
        ),
        entries=tuple(reader.entry(item) for item in _items(document, "plans")),
        query=None if document.get("query") is None else _text(document["query"]),
    )
    for named in (plan.functions, plan.entries):
        if len({item.name for item in named}) != len(named):
            raise PlanError("two definitions of one name")
    return plan


def _items(document: Mapping[str, Any], key: str) -> list[Any]:
    return (document.get(key) or {}).get(key) or []


def _text(value: Any) -> str:
    if type(value) is not str:
        raise PlanError("not a string")
    return value


def _count(value: Any, limit: int = MAX_LOCAL) -> int:
    if type(value) is not int or not 0 <= value < limit:
        raise PlanError("not an index")
    return value


def decode_string(text: str) -> str:
    """Decode an entry of the string table: JSON-escaped, with or without its quotes."""
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if "\\" not in text:
        return text
    decoded = _text(json.loads(f'"{text}"', strict=False))
    return _LONE_SURROGATE.sub("\ufffd", decoded)


_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class _Reader:
    """Turns the statements of one document into typed ones."""

    def __init__(self, strings: tuple[str, ...]) -> None:
        self.raw = strings
        self.strings = tuple(map(decode_string, strings))
        self.depth = 0

    def function(self, item: Mapping[str, Any]) -> Function:
        generation, *path = map(decode_string, map(_text, item["path"]))
        if not re.fullmatch(r"g[0-9]{1,9}", generation):
            raise PlanError("not a generation")
        parameters = tuple(map(_count, item["params"]))
        if parameters[:2] != (INPUT, DATA) or len(set(parameters)) != len(parameters):
            raise PlanError("not a parameter list")
        return Function(
            name=_text(item["name"]),
            generation=generation,
            path=tuple(path),
            parameters=parameters,
            result=_count(item["return"]),
            blocks=self.blocks(item["blocks"]),
        )

    def entry(self, item: Mapping[str, Any]) -> Entry:
        return Entry(_text(item["name"]), self.blocks(item["blocks"]))

    def blocks(self, items: list[Any] | None) -> tuple[Block, ...]:
        return tuple(self.block(item) for item in items or ())

    def block(self, item: Mapping[str, Any]) -> Block:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise PlanError("expressions are nested too deeply")
        made = tuple(self.statement(entry) for entry in item["stmts"] or ())
        self.depth -= 1
        return made

    def statement(self, item: Mapping[str, Any]) -> Statement:
        fields = item["stmt"]
        read = _STATEMENTS.get(item["type"])
        if read is None:
            raise PlanError(f"unknown statement {item['type']!a}")
        return read(self, _place(fields), fields)

    def operand(self, item: Any) -> Operand:
        if type(item) is int:
            return _count(item)
        kind, value = item["type"], item["value"]
        if kind == "local":
            return _count(value)
        if kind == "bool" and type(value) is bool:
            return Const(value)
        if kind == "string_index":
            return Const(self.string(value))
        raise PlanError("not an operand")

    def operands(self, items: list[Any] | None) -> tuple[Operand, ...]:
        return tuple(map(self.operand, items or ()))

    def string(self, index: Any) -> str:
        return self.strings[_count(index)]

    def number(self, index: Any) -> Const:
        return Const(number_from_text(self.raw[_count(index)]))

    def names(self, items: list[Any] | None) -> tuple[str, ...]:
        return tuple(map(self.string, items or ()))


def _place(fields: Mapping[str, Any]) -> At | None:
    if "row" not in fields or "file" not in fields:
        return None
    return At(_count(fields["file"]), _count(fields["row"]) + 1, _count(fields["col"]) + 1)


def _integer(value: Any) -> Const:
    if type(value) is not int:
        raise PlanError("not an integer")
    return Const(value)


_STANDS_FOR: Final = re.compile(rf"g[0-9]+\.data\.{BUILTINS_}\.f([0-9a-f]+)")


def _call(at: At | None, result: int, name: str, arguments: tuple[Operand, ...]) -> Call:
    builtin = _STANDS_FOR.fullmatch(name)
    if builtin is not None:
        return Call(at, result, bytes.fromhex(builtin[1]).decode(), arguments[2:])
    return Call(at, result, name, arguments)


_Read = Callable[[_Reader, "At | None", Mapping[str, Any]], Statement]

_STATEMENTS: Final[Mapping[str, _Read]] = {
    "ResetLocalStmt": lambda _, at, s: Reset(at, _count(s["target"])),
    "MakeNullStmt": lambda _, at, s: Assign(at, _count(s["target"]), Const(None)),
    "MakeNumberIntStmt": lambda _, at, s: Assign(at, _count(s["target"]), _integer(s["value"])),
    "MakeNumberRefStmt": lambda r, at, s: Assign(at, _count(s["target"]), r.number(s["index"])),
    "MakeArrayStmt": lambda _, at, s: Make(at, _count(s["target"]), "array"),
    "MakeObjectStmt": lambda _, at, s: Make(at, _count(s["target"]), "object"),
    "MakeSetStmt": lambda _, at, s: Make(at, _count(s["target"]), "set"),
    "AssignVarStmt": lambda r, at, s: Assign(at, _count(s["target"]), r.operand(s["source"])),
    "AssignVarOnceStmt": lambda r, at, s: AssignOnce(
        at, _count(s["target"]), r.operand(s["source"])
    ),
    "DotStmt": lambda r, at, s: Dot(
        at, _count(s["target"]), r.operand(s["source"]), r.operand(s["key"])
    ),
    "EqualStmt": lambda r, at, s: Compare(at, r.operand(s["a"]), r.operand(s["b"]), negate=False),
    "NotEqualStmt": lambda r, at, s: Compare(at, r.operand(s["a"]), r.operand(s["b"]), negate=True),
    "IsDefinedStmt": lambda r, at, s: IsDefined(at, r.operand(s["source"])),
    "IsUndefinedStmt": lambda r, at, s: IsUndefined(at, r.operand(s["source"])),
    "IsArrayStmt": lambda r, at, s: IsKind(at, r.operand(s["source"]), "array"),
    "IsObjectStmt": lambda r, at, s: IsKind(at, r.operand(s["source"]), "object"),
    "IsSetStmt": lambda r, at, s: IsKind(at, r.operand(s["source"]), "set"),
    "LenStmt": lambda r, at, s: Length(at, _count(s["target"]), r.operand(s["source"])),
    "ArrayAppendStmt": lambda r, at, s: Append(at, _count(s["array"]), r.operand(s["value"])),
    "SetAddStmt": lambda r, at, s: Add(at, _count(s["set"]), r.operand(s["value"])),
    "ObjectInsertStmt": lambda r, at, s: Insert(
        at, _count(s["object"]), r.operand(s["key"]), r.operand(s["value"]), once=False
    ),
    "ObjectInsertOnceStmt": lambda r, at, s: Insert(
        at, _count(s["object"]), r.operand(s["key"]), r.operand(s["value"]), once=True
    ),
    "ObjectMergeStmt": lambda r, at, s: Merge(
        at, _count(s["target"]), r.operand(s["a"]), r.operand(s["b"])
    ),
    "CallStmt": lambda r, at, s: _call(
        at, _count(s["result"]), _text(s["func"]), r.operands(s["args"])
    ),
    "CallDynamicStmt": lambda r, at, s: CallDynamic(
        at, _count(s["result"]), r.operands(s["path"]), r.operands(s["args"])
    ),
    "BlockStmt": lambda r, at, s: Blocks(at, r.blocks(s["blocks"])),
    "ScanStmt": lambda r, at, s: Scan(
        at, r.operand(s["source"]), _count(s["key"]), _count(s["value"]), r.block(s["block"])
    ),
    "NotStmt": lambda r, at, s: Not(at, r.block(s["block"])),
    "WithStmt": lambda r, at, s: With(
        at, _count(s["local"]), r.names(s["path"]), r.operand(s["value"]), r.block(s["block"])
    ),
    "ReturnLocalStmt": lambda _, at, s: Return(at, _count(s["source"])),
    "ResultSetAddStmt": lambda _, at, s: Result(at, _count(s["value"])),
}
