"""strings.render_template: the part of Go's text/template that policies need.

Text with actions in `{{ }}`: values (`.`, `.a.b`, `$x`, literals, functions, pipes), `$x :=`,
`$x =`, `if`, `with`, `range`, `break`, `continue`, `define`, `template` and `block`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.rego.builtins.charges import dear
from gateway.rego.builtins.operands import charge_text, charge_value, mapping, string
from gateway.rego.builtins.registry import Builtin, State, charged
from gateway.rego.builtins.template_functions import FUNCTIONS, apply, converted, shown, truth
from gateway.rego.errors import BuiltinError
from gateway.rego.values import MAX_DEPTH, UNDEFINED, Value, loads, sorted_items, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# --- reading a template

_ACTION: Final = re.compile(
    r"\{\{(-\s)?\s*((?:\"(?:[^\"\\\n]|\\.)*+\"|`[^`]*+`|'(?:[^'\\\n]|\\.)++'"
    r"|(?!-?\}\}).)*+)(-)?\}\}",
    re.DOTALL,
)
_WORD: Final = re.compile(
    r"\s*(?:(?P<text>\"(?:[^\"\\\n]|\\.)*+\"|`[^`]*+`)|(?P<character>'(?:[^'\\\n]|\\.)++')"
    r"|(?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+"
    r"|[0-9][0-9_]*(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?))(?![\w.])"
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
        self.loops = 0
        self.defined: dict[str, tuple[_Node, ...]] = {}

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
            if text:
                nodes += self._nodes(keyword, rest, text, depth)
        return tuple(nodes), ""

    def _nodes(self, keyword: str, rest: str, text: str, depth: int) -> list[_Node]:
        if keyword in _BLOCKS:
            return [self._block(keyword, rest, depth)]
        if keyword in _JUMPS:
            if rest or not self.loops:
                raise BuiltinError(f"template: {keyword} outside of a range")
            return [_Node(keyword)]
        if keyword == "define" and not depth:
            self._define(rest, depth)
            return []
        if keyword in ("define", "template", "block"):
            return [self._template(keyword, rest, depth)]
        return [_value(text)]

    def _define(self, text: str, depth: int, pipe: tuple[Any, ...] = ()) -> _Node:
        """Read a template with a name up to its end; returns a node that fills it in."""
        words = _words(text)
        if len(words) != 1 or words[0][0] != "text":
            raise BuiltinError("template: unexpected text in define")
        name = _text_of(words[0][1])
        loops, self.loops = self.loops, 0
        body, stop = self.parse(depth + 1)
        self.loops = loops
        if stop != "end":
            raise BuiltinError("template: unexpected end of define")
        if any(node.kind != "text" or node.text.strip() for node in body):
            if self.defined.get(name):
                raise BuiltinError("template: multiple definition of a template")
            self.defined[name] = body
        else:
            self.defined.setdefault(name, ())
        return _Node("template", text=name, pipe=pipe)

    def _template(self, keyword: str, text: str, depth: int) -> _Node:
        words = _words(text)
        if keyword == "define" or not words or words[0][0] != "text":
            raise BuiltinError(f"template: unexpected {keyword}")
        pipe: tuple[Any, ...] = ()
        if len(words) > 1 or keyword == "block":
            pipe, rest = _commands(words[1:], 0)
            if rest != len(words) - 1 or not pipe[0]:
                raise BuiltinError("template: malformed action")
        if keyword == "block":
            return self._define(words[0][1], depth, pipe)
        return _Node("template", text=_text_of(words[0][1]), pipe=pipe)

    def _block(self, kind: str, text: str, depth: int) -> _Node:
        names, pipe = _pipeline(text)
        self.loops += kind == "range"
        body, stop = self.parse(depth + 1)
        self.loops -= kind == "range"
        otherwise: tuple[_Node, ...] = ()
        if stop.startswith("else "):
            keyword, _, rest = stop.removeprefix("else").strip().partition(" ")
            if keyword not in ("if", "with") or keyword != kind:
                raise BuiltinError("template: unexpected text after else")
            otherwise = (self._block(keyword, rest, depth + 1),)
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


def _value(text: str) -> _Node:
    """Read an action that shows a value, or sets a variable."""
    words = _words(text)
    if len(words) > 2 and words[0][0] == "value" and words[1] == ("mark", "="):
        pipe, rest = _commands(words[2:], 0)
        if rest != len(words) - 2 or not pipe[0] or words[0][1][0] != "$" or "." in words[0][1]:
            raise BuiltinError("template: malformed action")
        return _Node("assign", text=words[0][1], pipe=pipe)
    names, pipe = _pipeline(text)
    return _Node("value", pipe=pipe, names=names)


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


class _Break(Exception):  # noqa: N818  not errors
    pass


class _Continue(Exception):  # noqa: N818
    pass


_JUMPS: Final = {"break": _Break, "continue": _Continue}


class _Run:
    """One rendering: the variables, innermost last, and the text so far."""

    def __init__(self, state: State, root: Value, defined: dict[str, tuple[_Node, ...]]) -> None:
        self.state = state
        self.defined = defined
        self.depth = 0
        self.variables: list[tuple[str, Value]] = [("$", root)]
        self.output: list[str] = []

    def render(self, nodes: tuple[_Node, ...], dot: Value) -> None:
        if self.depth >= MAX_DEPTH:
            raise BuiltinError("template: exceeded maximum template depth")
        scope = len(self.variables)
        self.depth += 1
        try:
            for node in nodes:
                self._node(node, dot)
        finally:
            self.depth -= 1
        del self.variables[scope:]

    def _node(self, node: _Node, dot: Value) -> None:
        self.state.charge(6)
        if node.kind == "text":
            self._write(node.text)
        elif node.kind == "value":
            value = self.pipe(node.pipe, dot)
            if node.names:
                self.variables.append((node.names[0], value))
            else:
                self._write(shown(self.state, value))
        elif node.kind == "range":
            self._range(node, dot)
        elif node.kind == "assign":
            self._assign(node.text, self.pipe(node.pipe, dot))
        elif node.kind == "template":
            self._fill(node.text, self.pipe(node.pipe, dot) if node.pipe else None)
        elif node.kind in _JUMPS:
            raise _JUMPS[node.kind]
        else:
            self._branch(node, dot)

    def _assign(self, name: str, value: Value) -> None:
        self._variable(name)  # it must be there
        at = max(n for n, (known, _) in enumerate(self.variables) if known == name)
        self.variables[at] = (name, value)

    def _fill(self, name: str, dot: Value) -> None:
        """Render a template that has a name, which sees no variables but `$`."""
        if name not in self.defined:
            raise BuiltinError(f'template: template "{name[:40]}" not defined')
        outer, self.variables = self.variables, [("$", dot)]
        self.render(self.defined[name], dot)
        self.variables = outer

    def _write(self, text: str) -> None:
        charge_text(self.state, text)
        self.output.append(text)

    def _branch(self, node: _Node, dot: Value) -> None:
        value = self.pipe(node.pipe, dot)
        scope = len(self.variables)
        if node.names:
            self.variables.append((node.names[0], value))
        inner = value if node.kind == "with" else dot
        if truth(value):
            self.render(node.body, inner)
        else:
            self.render(node.otherwise, dot)
        del self.variables[scope:]

    def _range(self, node: _Node, dot: Value) -> None:
        value = self.pipe(node.pipe, dot)
        pairs: Iterable[tuple[Value, Value]] = ()
        if value.__class__ is list:
            pairs = enumerate(value)
        elif value.__class__ is int and len(node.names) < 2:
            pairs = zip(range(value), range(value), strict=True)
        elif value.__class__ is dict:
            pairs = sorted_items(value)
        elif value is not None and value is not UNDEFINED:
            raise BuiltinError("template: range can't iterate over the value")
        scope = len(self.variables)
        empty = True
        for key, item in pairs:
            empty = False
            self.state.charge(6)
            if node.names:
                named = (item,) if len(node.names) == 1 else (key, item)
                self.variables += zip(node.names, named, strict=True)
            try:
                self.render(node.body, item)
            except _Continue:
                pass
            except _Break:
                break
            finally:
                del self.variables[scope:]
        if empty:
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
        if kind == "name" and word == "nil" and len(command) == 1:
            raise BuiltinError("template: nil is not a command")
        if kind == "name" and word in FUNCTIONS:
            arguments = [self._operand(part, dot) for part in command[1:]]
            return apply(self.state, word, arguments + extra)
        if len(command) > 1 or extra:
            raise BuiltinError("template: can't give argument to non-function")
        return self._operand(command[0], dot)

    def _operand(self, part: tuple[str, Any], dot: Value) -> Value:
        self.state.charge(6)
        kind, word = part
        if kind == "pipe":
            return self.pipe(word, dot)
        if kind == "text":
            return _text_of(word)
        if kind == "number":
            return _number(word)
        if kind == "character":
            return ord(_unquoted_character(word))
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
        if word in FUNCTIONS:
            return apply(self.state, word, [])
        raise BuiltinError(f'template: function "{word[:40]}" not defined')

    def _variable(self, name: str) -> Value:
        self.state.charge(len(self.variables))
        for known, value in reversed(self.variables):
            if known == name:
                return value
        raise BuiltinError(f'template: undefined variable "{name[:40]}"')


_CONSTANTS: Final[dict[str, Value]] = {"true": True, "false": False, "nil": None}


def _text_of(word: str) -> str:
    return word[1:-1] if word[0] == "`" else _unquoted(word)


def _unquoted(word: str) -> str:
    try:
        return str(loads(word))
    except ValueError:
        raise BuiltinError("template: bad string") from None


def _unquoted_character(word: str) -> str:
    inner = word[1:-1].replace("\\'", "'").replace('"', '\\"')
    char = _unquoted(f'"{inner}"')
    if len(char) != 1:
        raise BuiltinError("template: malformed character constant")
    return char


def _number(word: str) -> Value:
    try:
        if word.lstrip("+-")[:2].lower() in ("0x", "0b", "0o"):
            return _small(int(word, 0))
        if any(mark in word for mark in ".eE"):
            return float(word)
        octal = word.lstrip("+-").startswith("0")
        return _small(int(word, 8 if octal else 10))
    except ValueError:
        raise BuiltinError("template: bad number") from None


def _small(number: int) -> int:
    if not -(1 << 63) <= number < 1 << 63:
        raise BuiltinError("template: integer overflow")
    return number


def _field(value: Value, name: str) -> Value:
    if value.__class__ is dict:
        return value.get(name, UNDEFINED)
    if value is UNDEFINED:
        return UNDEFINED
    raise BuiltinError(f"template: can't evaluate field {name[:40]}")


def render(state: State, template: Value, variables: Value) -> str:
    """Fill a template with the members of an object; a missing one shows as `<undefined>`."""
    text = string(template)
    charge_value(dear(state, 3), mapping(variables, 2))
    state.charge(5 * len(text))
    parser = _Parser(state, text)
    nodes, stop = parser.parse()
    if stop:
        raise BuiltinError(f"template: unexpected {{{{{stop[:20]}}}}}")
    root = converted(to_json(variables))
    run = _Run(state, root, parser.defined)
    run.render(nodes, root)
    return "".join(run.output)


BUILTINS: Final[tuple[Builtin, ...]] = (charged("strings.render_template", render, 2, steps=60),)
