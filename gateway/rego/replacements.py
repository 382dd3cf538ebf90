"""What each `with` of a module replaces, and how the compiler is told.

The compiler makes copies of the rules that a `with` reaches, in which it reads the replacement,
and it misses some: what is reached through another `with`, or by a name that is computed. So it
gets every `with` as one on a part of the documents that no rule reads; stand_ins.py reads in the
plan what is meant, and rules and functions ask at run time whether they are replaced.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from gateway.rego.edits import Edit
from gateway.rego.tokens import KEYWORDS
from gateway.rego.tree import Literal as Statement, Node, parts_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from gateway.rego.source import Names
    from gateway.rego.tree import Module, Rule

WHOLE_INPUT: Final = "whole_input__"
"""Below `input`, stands for all of it in what the compiler gets."""

DOCUMENT: Final = "replaced__"
"""Below `data`, what comes before the path of a replaced part of it."""

BY_VALUE: Final = "mocked__"
BY_FUNCTION: Final = "called__"
"""Below `data`, what comes before the name of a replaced function."""

KEY: Final = "key__"
"""What comes before a key that is no plain name: its text, in hexadecimal digits."""

BUILTINS_: Final = "builtins__"
"""The package of functions that stand for builtins that rules would hide, for the compiler.

Their names are an `f` and those of the builtins in hexadecimal digits.
"""

_UNKNOWN: Final = frozenset(
    ("crypto.x509.parse_and_verify_certificates_with_options", "strings.split_n")
)
"""Builtins that the compiler does not know, or does not survive."""

MARKS: Final = (WHOLE_INPUT, DOCUMENT, BY_VALUE, BY_FUNCTION, KEY)

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Target(NamedTuple):
    """What a `with` replaces: a path below input or data, or the function of a name."""

    kind: Literal["input", "data", "function"]
    path: tuple[str, ...]

    @property
    def shown(self) -> str:
        """What it is called."""
        return ".".join(self.path if self.kind == "function" else (self.kind, *self.path))


class Scope:
    """What names mean in one module."""

    def __init__(self, module: Module, known: Names) -> None:
        self._known = known
        package = tuple(map(_text, module.package.parts))
        self._bases: dict[str, tuple[str, tuple[str, ...]]] = {
            name: ("data", (*package, name)) for name in known.globals_of(package)
        }
        for each in module.imports:
            root, *parts = each.path.parts
            if root.text in ("input", "data"):
                self._bases[each.name] = root.text, tuple(map(_text, parts))
        self._bases["data"], self._bases["input"] = ("data", ()), ("input", ())

    def full(self, node: Node) -> str:
        """Return the whole name of a rule of the package, or of an import; empty for others."""
        root, path = self._bases.get(node.text, ("", ()))
        return root + "".join(map(_step, path)) if root != node.text else ""

    def called(self, operator: Node) -> str:
        """Return what the compiler gets for the name of a function; empty for the same.

        It takes a builtin for a rule below a package, or a rule's name, around the call.
        """
        first, *keys = operator.parts if operator.kind == "ref" else [operator]
        full = self.full(first)
        if full or not all(map(_is_named, keys)):
            return full + "".join(map(_step, map(_text, keys))) if full else ""
        name = ".".join((first.text, *map(_text, keys)))
        hidden = first.text in self._known.inner or name in _UNKNOWN
        if not hidden or name not in self._known.functions:
            return ""
        return f"data.{BUILTINS_}.f{name.encode().hex()}"

    def target(self, node: Node) -> Target | None:
        """Return what a reference names that `with` can replace, if it does."""
        first, *parts = node.parts if node.kind == "ref" else [node]
        if first.kind != "var" or not all(map(_is_named, parts)):
            return None
        path = tuple(map(_text, parts))
        root, base = self._bases.get(first.text, ("", ()))
        if root == "input":
            return Target("input", (*base, *path))
        if root == "data":
            path = (*base, *path)
            name = ".".join(("data", *path))
            return Target("function", (name,)) if name in self._known.functions else _data(path)
        name = ".".join((first.text, *path))
        return Target("function", (name,)) if name in self._known.functions else None

    def function(self, node: Node) -> str:
        """Return the name of the function that a term is; empty if it is another one."""
        found = self.target(node) if node.kind in ("var", "ref") else None
        return found.path[0] if found is not None and found.kind == "function" else ""

    def edits(self, target: Node, value: Node, functions: Collection[int]) -> Iterator[Edit]:
        """Yield what the compiler gets for `target as value`; `functions` start at those places."""
        found = self.target(target)
        if found is None:
            return
        called = found.kind == "function" and value.start in functions
        function = self.function(value) if called else ""
        yield Edit(target.start, target.end, _written(found, by_function=bool(function)))
        if function:
            yield Edit(value.start, value.end, f'"{function}"')
        elif value.kind in ("var", "ref"):
            # The compiler takes a reference for the name of a function, and a `with` that names
            # none it leaves out. The brackets stay where the reference moves.
            around = target.end, value.end
            yield Edit(value.start, value.start, "[", 0, around)
            yield Edit(value.end, value.end, "][0]", -1 - value.start, around)


def _data(path: tuple[str, ...]) -> Target:
    return Target("data", path)


def _is_named(part: Node) -> bool:
    return part.kind == "name" or (part.kind == "scalar" and part.text[0] in '"`')


def _text(part: Node) -> str:
    """Return the key that a part of a constant reference is."""
    if part.kind == "scalar":
        return str(json.loads(part.text, strict=False)) if part.text[0] == '"' else part.text[1:-1]
    return part.text


def _written(target: Target, *, by_function: bool) -> str:
    keys = map(_encoded, target.path)
    match target.kind:
        case "input":
            return ".".join(("input", *keys) if target.path else ("input", WHOLE_INPUT))
        case "data":
            return ".".join(("data", DOCUMENT, *keys))
        case "function":
            return ".".join(("data", BY_FUNCTION if by_function else BY_VALUE, *keys))


def _is_plain(key: str) -> bool:
    return _PLAIN.fullmatch(key) is not None and key not in KEYWORDS


def _step(key: str) -> str:
    """Return a key of a reference as source."""
    return f".{key}" if _is_plain(key) else f"[{json.dumps(key, ensure_ascii=False)}]"


def _encoded(key: str) -> str:
    plain = _is_plain(key) and key not in MARKS
    return key if plain and not key.startswith(KEY) else KEY + key.encode(errors="replace").hex()


def decoded(key: str) -> str:
    """Return the key that was written as `key`; ValueError if none was."""
    return bytes.fromhex(key.removeprefix(KEY)).decode() if key.startswith(KEY) else key


def replacements(module: Module) -> Iterator[tuple[Node, Node]]:
    """Yield the target and the value of each `with`."""
    for rule in module.rules:
        yield from replacements_in(rule)


def replacements_in(rule: Rule) -> Iterator[tuple[Node, Node]]:
    """Yield the target and the value of each `with` in a rule."""
    for part in parts_of(rule):
        if isinstance(part, Statement):
            yield from part.replaced
