"""strings.render_template: the part of Go's text/template that policies need.

Text with actions in `{{ }}`: values (`.`, `.a.b`, `$x`, literals, functions, pipes), `$x :=`,
`$x =`, `if`, `with`, `range`, `break`, `continue`, `define`, `template` and `block`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.rego.builtins.charges import dear
from gateway.rego.builtins.operands import charge_sort, charge_text, charge_value, mapping, string
from gateway.rego.builtins.registry import Builtin, State, charged
from gateway.rego.builtins.template_functions import FUNCTIONS, apply, converted, shown, truth
from gateway.rego.builtins.template_text import Node, Parser, text_of, unquoted
from gateway.rego.errors import BuiltinError
from gateway.rego.values import MAX_DEPTH, UNDEFINED, Value, sorted_items, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable


class _Break(Exception):  # noqa: N818  not errors
    pass


class _Continue(Exception):  # noqa: N818  same
    pass


_JUMPS: Final = {"break": _Break, "continue": _Continue}


class _Run:
    """One rendering: the variables, innermost last, and the text so far."""

    def __init__(self, state: State, root: Value, defined: dict[str, tuple[Node, ...]]) -> None:
        self.state = state
        self.defined = defined
        self.depth = 0
        self.variables: list[tuple[str, Value]] = [("$", root)]
        self.output: list[str] = []

    def render(self, nodes: tuple[Node, ...], dot: Value) -> None:
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

    def _node(self, node: Node, dot: Value) -> None:
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

    def _branch(self, node: Node, dot: Value) -> None:
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

    def _range(self, node: Node, dot: Value) -> None:
        value = self.pipe(node.pipe, dot)
        pairs: Iterable[tuple[Value, Value]] = ()
        if value.__class__ is list:
            pairs = enumerate(value)
        elif value.__class__ is int and len(node.names) < 2:
            pairs = zip(range(value), range(value), strict=True)
        elif value.__class__ is dict:
            charge_sort(self.state, value)
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
            return text_of(word)
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


def _unquoted_character(word: str) -> str:
    inner = word[1:-1].replace("\\'", "'").replace('"', '\\"')
    char = unquoted(f'"{inner}"')
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
    parser = Parser(state, text)
    nodes, stop = parser.parse()
    if stop:
        raise BuiltinError(f"template: unexpected {{{{{stop[:20]}}}}}")
    root = converted(to_json(variables))
    run = _Run(state, root, parser.defined)
    run.render(nodes, root)
    return "".join(run.output)


BUILTINS: Final[tuple[Builtin, ...]] = (charged("strings.render_template", render, 2, steps=60),)
