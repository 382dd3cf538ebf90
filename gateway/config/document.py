"""YAML text → plain values, with the place of each in the file; for configuration and data.

The values follow YAML 1.2's core schema (§10.3): `on`, `off`, `yes`, `no` are strings, `0o17` is
octal and `017` is 17, `1:30` and dates are strings. Refused are duplicate keys, keys that are
not strings, aliases, tags, and nesting deeper than `MAX_DEPTH`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

import yaml

from gateway.config.environment import EnvironmentFault, substitute
from gateway.config.yaml_words import explain
from gateway.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_BYTES = 1024**2
MAX_DEPTH = 32

Key = tuple[str | int, ...]
"""The way to a value from the root: names and list positions."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the file; line and column count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a file holds, as far as it could be read, and all that is wrong with its form.

    `values` has the place of each value (of its key, where the value is a mapping or a list),
    `names` that of each key, both by `dotted` key. `unreadable` are the values that could not be
    read; without `readable` there are no values at all.
    """

    tree: Any = field(repr=False)  # with its secrets in the clear
    values: Mapping[str, Mark]
    names: Mapping[str, Mark]
    problems: tuple[Problem, ...]
    unreadable: frozenset[Key] = frozenset()
    readable: bool = True

    def locate(self, key: str) -> Mark:
        """The place of the value at `key`, or of the nearest thing around it."""
        while key and key not in self.values:
            key = key.rpartition(".")[0]
        return self.values.get(key, Mark(0, 0))

    def problem(self, fault: Fault) -> Problem:
        """The fault with its place."""
        key = dotted(fault.key)
        mark = (self.names.get(key) if fault.at_name else None) or self.locate(key)
        return Problem(
            fault.message, line=mark.line, column=mark.column, key=key, remedy=fault.remedy
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something wrong with the value at `key`, or with its name where `at_name` is set."""

    key: Key
    message: str
    remedy: str = ""
    at_name: bool = False


def dotted(key: Key) -> str:
    """A key as people write it: `routes.3.paths`."""
    return ".".join(str(part) for part in key)


def read_document(
    data: bytes, environ: Mapping[str, str] | None, *, max_bytes: int = MAX_BYTES
) -> Document:
    """Parse `data`; what cannot be read at all has an empty tree and one problem.

    Without `environ` no variable is put in: `${NAME}` is text.
    """
    try:
        root = _compose(data, max_bytes)
    except _FormError as error:
        problem = Problem(
            str(error), line=error.mark.line, column=error.mark.column, remedy=error.remedy
        )
        return Document(tree={}, values={}, names={}, problems=(problem,), readable=False)
    reader = _Reader(environ)
    reader.values[""] = Mark(1, 1)
    tree = reader.read(root, (), Mark(1, 1)) if root is not None else {}
    return Document(
        tree=tree,
        values=reader.values,
        names=reader.names,
        problems=tuple(reader.problems),
        unreadable=frozenset(reader.unreadable),
    )


class _FormError(Exception):
    def __init__(self, message: str, mark: Mark, remedy: str = "") -> None:
        super().__init__(message)
        self.mark = mark
        self.remedy = remedy


def _compose(data: bytes, max_bytes: int) -> yaml.Node | None:
    if len(data) > max_bytes:
        raise _FormError(f"the file is larger than {max_bytes} bytes", Mark(0, 0))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _FormError("not UTF-8", Mark(line, 0), "save the file as UTF-8") from None
    try:
        return _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        message, remedy, at_start = explain(error)
        ends = (error.problem_mark, error.context_mark)
        place = next(filter(None, reversed(ends) if at_start else ends), None)
        if place and text[place.index - 1 : place.index + 1] == "${":
            remedy = "inside { } and [ ], put a value with ${NAME} in quotes"
        raise _FormError(message, _mark(place), remedy) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position] if isinstance(error.position, int) else ""
        mark = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise _FormError("a control character that YAML does not take", mark) from None


def _mark(mark: yaml.Mark | None) -> Mark:
    return Mark(mark.line + 1, mark.column + 1) if mark else Mark(0, 0)


class _Loader(yaml.SafeLoader):
    """Composes nodes only; aliases and deep nesting are refused before they are followed."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        mark = _mark(self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise _FormError("aliases (*name) are not taken", mark, "write the value out")
        if self._depth >= MAX_DEPTH:
            raise _FormError(f"nested deeper than {MAX_DEPTH} levels", mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


_Loader.yaml_implicit_resolvers = {}  # YAML 1.1's, of which 1.2 keeps few
for _tag, _form, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
    ("null", r"~|null|Null|NULL|", "~nN"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}",
        re.compile(rf"(?:{_form})\Z"),
        [*_first] + [""] * (_tag == "null"),
    )


def _integer(text: str) -> int:
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _decimal(text: str) -> float | Decimal:
    """A float where that is exact as written; ValueError for infinities and NaN."""
    number, exact = float(text), Decimal(text)
    if not isfinite(number):
        raise ValueError
    return number if Decimal(repr(number)) == exact else exact


SCALARS: Final[Mapping[str, Callable[[str], Any]]] = {
    "tag:yaml.org,2002:str": str,
    "tag:yaml.org,2002:int": _integer,
    "tag:yaml.org,2002:float": _decimal,
    "tag:yaml.org,2002:bool": lambda text: text.lower() == "true",
    "tag:yaml.org,2002:null": lambda _: None,
}
STRING = "tag:yaml.org,2002:str"


class _Reader:
    """Turns nodes into values, noting places and problems on the way."""

    def __init__(self, environ: Mapping[str, str] | None) -> None:
        self.environ = environ
        self.values: dict[str, Mark] = {}
        self.names: dict[str, Mark] = {}
        self.problems: list[Problem] = []
        self.unreadable: set[Key] = set()

    def read(self, node: yaml.Node, key: Key, start: Mark) -> Any:
        """The value of `node`; a mapping or list is found at `start`, where its name stands."""
        scalar = isinstance(node, yaml.ScalarNode)
        self.values[dotted(key)] = mark = _mark(node.start_mark) if scalar else start
        match node:
            case yaml.MappingNode(tag="tag:yaml.org,2002:map"):
                return self._mapping(node, key)
            case yaml.SequenceNode(tag="tag:yaml.org,2002:seq"):
                return [
                    self.read(item, (*key, number), _mark(item.start_mark))
                    for number, item in enumerate(node.value)
                ]
            case yaml.ScalarNode() if node.tag in SCALARS:
                return self._scalar(node, key, mark)
            case _:
                self.unreadable.add(key)
                self._problem(f"the tag {node.tag} is not taken", key, mark, "leave it out")
                return None

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name_node, value_node in node.value:
            mark = _mark(name_node.start_mark)
            if not isinstance(name_node, yaml.ScalarNode) or name_node.tag != STRING:
                self._problem("a key must be text", key, mark, "put it in quotes")
                continue
            name = name_node.value
            if name in found:
                first = self.names[dotted((*key, name))].line
                self._problem(f"given twice, first in line {first}", (*key, name), mark)
                continue
            self.names[dotted((*key, name))] = mark
            found[name] = self.read(value_node, (*key, name), mark)
        return found

    def _scalar(self, node: yaml.ScalarNode, key: Key, mark: Mark) -> Any:
        try:
            value = SCALARS[node.tag](node.value)
            text = isinstance(value, str) and self.environ is not None
            return substitute(value, self.environ or {}) if text else value
        except EnvironmentFault as fault:
            self._problem(str(fault), key, mark, fault.remedy)
        except ValueError:
            self._problem("not a number that can be read", key, mark)
        self.unreadable.add(key)
        return None

    def _problem(self, message: str, key: Key, mark: Mark, remedy: str = "") -> None:
        self.problems.append(
            Problem(message, line=mark.line, column=mark.column, key=dotted(key), remedy=remedy)
        )
