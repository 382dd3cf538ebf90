"""The text of a template: read into nodes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.rego.errors import BuiltinError
from gateway.rego.values import MAX_DEPTH, loads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.rego.builtins.registry import State

_ACTION: Final = re.compile(
    r"\{\{(-\s)?\s*(/\*(?:[^*]|\*(?!/))*+\*/\s*|(?!/\*)"
    r"(?:\"(?:[^\"\\\n]|\\.)*+\"|`[^`]*+`|'(?:[^'\\\n]|\\.)++'|(?!-?\}\})[^\"`'])*+)(-)?\}\}",
    re.DOTALL,
)
"""A comment, or an action whose quotes are all closed: none is tried twice."""

_WORD: Final = re.compile(
    r"\s*(?:(?P<text>\"(?:[^\"\\\n]|\\.)*+\"|`[^`]*+`)|(?P<character>'(?:[^'\\\n]|\\.)++')"
    r"|(?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+"
    r"|[0-9][0-9_]*(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?))(?![\w.])"
    r"|(?P<value>\$?\w*(?:\.\w+)+|\$\w*|\.)|(?P<name>\w+)|(?P<mark>:=|[|(),=]))"
)


ACTION_STEPS: Final = 12
"""What reading one character of an action into words costs."""


@dataclass(frozen=True, slots=True)
class Node:
    """Literal text, a value, or a block with its branches."""

    kind: str
    text: str = ""
    pipe: tuple[Any, ...] = ()
    names: tuple[str, ...] = ()
    body: tuple[Node, ...] = ()
    otherwise: tuple[Node, ...] = ()


class Parser:
    def __init__(self, state: State, text: str) -> None:
        self.pieces = list(_pieces(state, text))
        self.at = 0
        self.loops = 0
        self.defined: dict[str, tuple[Node, ...]] = {}

    def parse(self, depth: int = 0) -> tuple[tuple[Node, ...], str]:
        """Read up to the `else` or `end` of this block; returns its nodes and that action."""
        if depth > MAX_DEPTH // 2:
            raise BuiltinError("template: nested too deeply")
        nodes: list[Node] = []
        while self.at < len(self.pieces):
            is_action, text = self.pieces[self.at]
            self.at += 1
            if not is_action:
                nodes.append(Node("text", text))
                continue
            keyword, _, rest = text.partition(" ")
            if keyword in ("end", "else"):
                return tuple(nodes), text
            if text:
                nodes += self._nodes(keyword, rest, text, depth)
        return tuple(nodes), ""

    def _nodes(self, keyword: str, rest: str, text: str, depth: int) -> list[Node]:
        if keyword in _BLOCKS:
            return [self._block(keyword, rest, depth)]
        if keyword in ("break", "continue"):
            if rest or not self.loops:
                raise BuiltinError(f"template: {keyword} outside of a range")
            return [Node(keyword)]
        if keyword == "define" and not depth:
            self._define(rest, depth)
            return []
        if keyword in ("define", "template", "block"):
            return [self._template(keyword, rest, depth)]
        return [_value(text)]

    def _define(self, text: str, depth: int, pipe: tuple[Any, ...] = ()) -> Node:
        """Read a template with a name up to its end; returns a node that fills it in."""
        words = _words(text)
        if len(words) != 1 or words[0][0] != "text":
            raise BuiltinError("template: unexpected text in define")
        name = text_of(words[0][1])
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
        return Node("template", text=name, pipe=pipe)

    def _template(self, keyword: str, text: str, depth: int) -> Node:
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
        return Node("template", text=text_of(words[0][1]), pipe=pipe)

    def _block(self, kind: str, text: str, depth: int) -> Node:
        names, pipe = _pipeline(text)
        self.loops += kind == "range"
        body, stop = self.parse(depth + 1)
        self.loops -= kind == "range"
        otherwise: tuple[Node, ...] = ()
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
        return Node(kind, pipe=pipe, names=names, body=body, otherwise=otherwise)


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
        state.charge(ACTION_STEPS * (action.end() - start))
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


def _value(text: str) -> Node:
    """Read an action that shows a value, or sets a variable."""
    words = _words(text)
    if len(words) > 2 and words[0][0] == "value" and words[1] == ("mark", "="):
        pipe, rest = _commands(words[2:], 0)
        if rest != len(words) - 2 or not pipe[0] or words[0][1][0] != "$" or "." in words[0][1]:
            raise BuiltinError("template: malformed action")
        return Node("assign", text=words[0][1], pipe=pipe)
    names, pipe = _pipeline(text)
    return Node("value", pipe=pipe, names=names)


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


def text_of(word: str) -> str:
    return word[1:-1] if word[0] == "`" else unquoted(word)


def unquoted(word: str) -> str:
    try:
        return str(loads(word))
    except ValueError:
        raise BuiltinError("template: bad string") from None
