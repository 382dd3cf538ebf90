"""strings.render_template: the part of Go's text/template that policies need.

Text with actions in `{{ }}`: values (`.`, `.a.b`, `$x`, literals, functions, pipes), `$x :=`,
`if`, `with`, `range`, `else` and `end`. Templates that define or call others are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.rego.builtins.charges import dear
from gateway.rego.builtins.formatting import sprintf
from gateway.rego.builtins.internal import UNDEFINED_TEXT
from gateway.rego.builtins.operands import charge_text, charge_value, mapping, string
from gateway.rego.builtins.registry import Builtin, State, charged
from gateway.rego.errors import BuiltinError
from gateway.rego.values import (
    MAX_DEPTH,
    NUMBERS,
    UNDEFINED,
    Value,
    equal,
    format_number,
    less,
    loads,
    number_from_text,
    sorted_items,
    to_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# --- reading a template

_ACTION: Final = re.compile(
    r"\{\{(-\s)?\s*((?:\"(?:[^\"\\\n]|\\.)*+\"|`[^`]*+`|(?!-?\}\}).)*+)(-)?\}\}", re.DOTALL
)
_WORD: Final = re.compile(
    r"\s*(?:(?P<text>\"(?:[^\"\\\n]|\\.)*+\"|`[^`]*+`)|(?P<number>-?[0-9][0-9.eE+-]*)"
    r"|(?P<value>\$?\w*(?:\.\w+)+|\$\w*|\.)|(?P<name>\w+)|(?P<mark>:=|[|(),=]))"
)


@dataclass(frozen=True, slots=True)
class _Node:
    """Literal text, a value, or a block with its branches."""

    kind: str
    text: str = ""
    pipe: tuple[Any, ...] = ()
    names: tuple[str, ...] = ()
    body: tuple[_Node, ...] = ()
    otherwise: tuple[_Node, ...] = ()


class _Parser:
    def __init__(self, state: State, text: str) -> None:
        self.pieces = list(_pieces(state, text))
        self.at = 0

    def parse(self, depth: int = 0) -> tuple[tuple[_Node, ...], str]:
        """Read up to the `else` or `end` of this block; returns its nodes and that action."""
        if depth > MAX_DEPTH // 2:
            raise BuiltinError("template: nested too deeply")
        nodes: list[_Node] = []
        while self.at < len(self.pieces):
            is_action, text = self.pieces[self.at]
            self.at += 1
            if not is_action:
                nodes.append(_Node("text", text))
                continue
            keyword, _, rest = text.partition(" ")
            if keyword in ("end", "else"):
                return tuple(nodes), text
            if keyword in _BLOCKS:
                nodes.append(self._block(keyword, rest, depth))
            elif keyword in ("define", "template", "block", "break", "continue"):
                raise BuiltinError(f"template: {keyword} is not supported")
            elif text:
                names, pipe = _pipeline(text)
                nodes.append(_Node("value", pipe=pipe, names=names))
        return tuple(nodes), ""

    def _block(self, kind: str, text: str, depth: int) -> _Node:
        names, pipe = _pipeline(text)
        body, stop = self.parse(depth + 1)
        otherwise: tuple[_Node, ...] = ()
        if stop.startswith("else "):
            keyword, _, rest = stop.removeprefix("else").strip().partition(" ")
            if keyword != "if":
                raise BuiltinError("template: unexpected text after else")
            otherwise = (self._block("if", rest, depth + 1),)
        elif stop == "else":
            otherwise, stop = self.parse(depth + 1)
            if stop != "end":
                raise BuiltinError("template: unexpected end of block")
        elif stop != "end":
            raise BuiltinError("template: unexpected EOF")
        return _Node(kind, pipe=pipe, names=names, body=body, otherwise=otherwise)


_BLOCKS: Final = frozenset(("if", "with", "range"))


def _pieces(state: State, text: str) -> Iterator[tuple[bool, str]]:
    """Cut a template into (is an action, text); `{{-` and `-}}` trim the text beside them."""
    end = 0
    trim = False
    while (start := text.find("{{", end)) >= 0:
        state.charge(60)
        action = _ACTION.match(text, start)
        if action is None:
            raise BuiltinError("template: unclosed action")
        literal = text[end:start].lstrip() if trim else text[end:start]
        yield False, literal.rstrip() if action[1] else literal
        body = action[2].strip()
        yield True, "" if body.startswith("/*") else " ".join(body.split(None, 1))
        end, trim = action.end(), bool(action[3])
    yield False, text[end:].lstrip() if trim else text[end:]


def _pipeline(text: str) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Read `$x, $y := a | b c`: the names that are set, and the commands."""
    words = _words(text)
    names: list[str] = []
    marks = [number for number, (kind, word) in enumerate(words) if (kind, word) == ("mark", ":=")]
    if marks:
        names = [word for kind, word in words[: marks[0]] if kind == "value"]
        words = words[marks[0] + 1 :]
    commands, rest = _commands(words, 0)
    if rest != len(words) or not commands[0] or len(names) > 2:
        raise BuiltinError("template: malformed action")
    return tuple(names), commands


def _words(text: str) -> list[tuple[str, str]]:
    words = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        word = _WORD.match(text, at)
        if word is None:
            raise BuiltinError("template: unexpected character in an action")
        words.append((str(word.lastgroup), word[str(word.lastgroup)]))
        at = word.end()
    return words


def _commands(words: list[tuple[str, str]], at: int, depth: int = 0) -> tuple[tuple[Any, ...], int]:
    if depth > MAX_DEPTH // 2:
        raise BuiltinError("template: nested too deeply")
    commands: list[list[Any]] = [[]]
    while at < len(words):
        kind, word = words[at]
        at += 1
        if (kind, word) == ("mark", "("):
            inner, at = _commands(words, at, depth + 1)
            if at >= len(words) or words[at] != ("mark", ")"):
                raise BuiltinError("template: unclosed parenthesis")
            at += 1
            commands[-1].append(("pipe", inner))
        elif (kind, word) == ("mark", "|"):
            commands.append([])
        elif kind == "mark":
            return tuple(map(tuple, commands)), at - 1
        else:
            commands[-1].append((kind, word))
    return tuple(map(tuple, commands)), at


# --- running a template


class _Run:
    """One rendering: the variables, innermost last, and the text so far."""

    def __init__(self, state: State, root: Value) -> None:
        self.state = state
        self.variables: list[tuple[str, Value]] = [("$", root)]
        self.output: list[str] = []

    def render(self, nodes: tuple[_Node, ...], dot: Value) -> None:
        scope = len(self.variables)
        for node in nodes:
            self.state.charge(6)
            if node.kind == "text":
                self._write(node.text)
            elif node.kind == "value":
                value = self.pipe(node.pipe, dot)
                if node.names:
                    self.variables.append((node.names[0], value))
                else:
                    self._write(_shown(self.state, value))
            elif node.kind == "range":
                self._range(node, dot)
            else:
                self._branch(node, dot)
        del self.variables[scope:]

    def _write(self, text: str) -> None:
        charge_text(self.state, text)
        self.output.append(text)

    def _branch(self, node: _Node, dot: Value) -> None:
        value = self.pipe(node.pipe, dot)
        scope = len(self.variables)
        if node.names:
            self.variables.append((node.names[0], value))
        inner = value if node.kind == "with" else dot
        if _truth(value):
            self.render(node.body, inner)
        else:
            self.render(node.otherwise, dot)
        del self.variables[scope:]

    def _range(self, node: _Node, dot: Value) -> None:
        value = self.pipe(node.pipe, dot)
        pairs: list[tuple[Value, Value]] = []
        if value.__class__ is list:
            pairs = list(enumerate(value))
        elif value.__class__ is dict:
            pairs = sorted_items(value)
        elif value is not None and value is not UNDEFINED:
            raise BuiltinError("template: range can't iterate over the value")
        scope = len(self.variables)
        for key, item in pairs:
            self.state.charge(6)
            if node.names:
                named = (item,) if len(node.names) == 1 else (key, item)
                self.variables += zip(node.names, named, strict=True)
            self.render(node.body, item)
            del self.variables[scope:]
        if not pairs:
            self.render(node.otherwise, dot)

    def pipe(self, commands: tuple[Any, ...], dot: Value) -> Value:
        value: Value = UNDEFINED
        for number, command in enumerate(commands):
            extra = [value] if number else []
            value = self._command(command, extra, dot)
        return value

    def _command(self, command: tuple[Any, ...], extra: list[Value], dot: Value) -> Value:
        self.state.charge(11)
        if not command:
            raise BuiltinError("template: missing value for command")
        kind, word = command[0]
        if kind == "name" and word in _FUNCTIONS:
            arguments = [self._operand(part, dot) for part in command[1:]]
            return _FUNCTIONS[word](self.state, *_checked(word, arguments + extra))
        if len(command) > 1 or extra:
            raise BuiltinError("template: can't give argument to non-function")
        return self._operand(command[0], dot)

    def _operand(self, part: tuple[str, Any], dot: Value) -> Value:
        self.state.charge(6)
        kind, word = part
        if kind == "pipe":
            return self.pipe(word, dot)
        if kind == "text":
            return word[1:-1] if word[0] == "`" else _unquoted(word)
        if kind == "number":
            return _number(word)
        if kind == "name":
            return self._name(word)
        start, *fields = word.split(".")
        self.state.charge(2 * len(fields))
        value = dot if not start else self._variable(start)
        for name in fields:
            value = _field(value, name) if name else value
        return value

    def _name(self, word: str) -> Value:
        if word in _CONSTANTS:
            return _CONSTANTS[word]
        if word in _FUNCTIONS:
            return _FUNCTIONS[word](self.state, *_checked(word, []))
        raise BuiltinError(f'template: function "{word[:40]}" not defined')

    def _variable(self, name: str) -> Value:
        self.state.charge(len(self.variables))
        for known, value in reversed(self.variables):
            if known == name:
                return value
        raise BuiltinError(f'template: undefined variable "{name[:40]}"')


_CONSTANTS: Final[dict[str, Value]] = {"true": True, "false": False, "nil": None}


def _unquoted(word: str) -> str:
    try:
        return str(loads(word))
    except ValueError:
        raise BuiltinError("template: bad string") from None


def _number(word: str) -> Value:
    try:
        return number_from_text(word)
    except ValueError:
        raise BuiltinError("template: bad number") from None


def _field(value: Value, name: str) -> Value:
    if value.__class__ is dict:
        return value.get(name, UNDEFINED)
    raise BuiltinError(f"template: can't evaluate field {name[:40]}")


def _truth(value: Value) -> bool:
    return value is not UNDEFINED and bool(value)


def _shown(state: State, value: Value) -> str:
    if value is UNDEFINED:
        return UNDEFINED_TEXT
    state.charge(3)
    charge_value(dear(state, 5), value)
    return _go_text(value)


def _go_text(value: Value) -> str:
    kind = value.__class__
    if kind is str:
        return str(value)
    if kind is list:
        return "[" + " ".join(map(_go_text, value)) + "]"
    if kind is dict:
        return "map[" + " ".join(f"{key}:{_go_text(value[key])}" for key in sorted(value)) + "]"
    if kind in NUMBERS:
        return format_number(value)
    return "<no value>" if value is None else str(value).lower()


# --- functions


def _checked(name: str, arguments: list[Value]) -> list[Value]:
    low, high = _ARITIES[name]
    if not low <= len(arguments) <= high:
        raise BuiltinError(f"template: wrong number of args for {name}")
    return [None if argument is UNDEFINED else argument for argument in arguments]


def _and(_: State, *values: Value) -> Value:
    return next((value for value in values if not _truth(value)), values[-1])


def _or(_: State, *values: Value) -> Value:
    return next((value for value in values if _truth(value)), values[-1])


def _equals(state: State, first: Value, *others: Value) -> bool:
    charge_value(state, first)
    return any(equal(first, other) for other in others)


def _ordered(test: Callable[[Value, Value], bool]) -> Callable[[State, Value, Value], bool]:
    def compare(_: State, left: Value, right: Value) -> bool:
        comparable = left.__class__ is right.__class__ is str or (
            left.__class__ in NUMBERS and right.__class__ in NUMBERS
        )
        if not comparable:
            raise BuiltinError("template: incompatible types for comparison")
        return test(left, right)

    return compare


def _length(_: State, value: Value) -> int:
    if value.__class__ not in (str, list, dict):
        raise BuiltinError("template: len of the value")
    return len(value)


def _index(_: State, value: Value, *keys: Value) -> Value:
    for key in keys:
        if value.__class__ is dict and key.__class__ is str:
            value = value.get(key)
        elif value.__class__ is list and key.__class__ is int and 0 <= key < len(value):
            value = value[key]
        else:
            raise BuiltinError("template: error calling index")
    return value


def _print(state: State, *values: Value) -> str:
    return " ".join(_shown(state, value) for value in values)


def _printf(state: State, template: Value, *values: Value) -> str:
    state.charge(25)
    return sprintf(state, template, list(values))


_FUNCTIONS: Final[dict[str, Callable[..., Value]]] = {
    "and": _and,
    "or": _or,
    "not": lambda _, value: not _truth(value),
    "eq": _equals,
    "ne": lambda state, left, right: not _equals(state, left, right),
    "lt": _ordered(less),
    "le": _ordered(lambda left, right: not less(right, left)),
    "gt": _ordered(lambda left, right: less(right, left)),
    "ge": _ordered(lambda left, right: not less(left, right)),
    "len": _length,
    "index": _index,
    "print": _print,
    "printf": _printf,
}
_MANY: Final = 100
_ARITIES: Final = {
    **dict.fromkeys(("and", "or", "index", "printf"), (1, _MANY)),
    **dict.fromkeys(("not", "len"), (1, 1)),
    **dict.fromkeys(("ne", "lt", "le", "gt", "ge"), (2, 2)),
    "eq": (2, _MANY),
    "print": (0, _MANY),
}


def render(state: State, template: Value, variables: Value) -> str:
    """Fill a template with the members of an object; a missing one shows as `<undefined>`."""
    text = string(template)
    charge_value(dear(state, 3), mapping(variables, 2))
    state.charge(5 * len(text))
    nodes, stop = _Parser(state, text).parse()
    if stop:
        raise BuiltinError(f"template: unexpected {{{{{stop[:20]}}}}}")
    root = to_json(variables)
    run = _Run(state, root)
    run.render(nodes, root)
    return "".join(run.output)


BUILTINS: Final[tuple[Builtin, ...]] = (charged("strings.render_template", render, 2, steps=60),)
