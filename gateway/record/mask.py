"""What never reaches the log: credentials by default, and the pointers that operators name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from gateway import wire
from gateway.config.forms import KEPT
from gateway.errors import ConfigError, Problem
from gateway.record.encode import MAX_DEPTH, TOO_DEEP, encode
from gateway.record.secrets import (
    has_token,
    is_secret,
    is_secret_parameter,
    normal,
    scrub,
    without_tokens,
)

if TYPE_CHECKING:
    from gateway.config.model import Config
    from gateway.record.event import Event

Path = tuple[str, ...]
Change = tuple[Path, Callable[[Any], Any], tuple[str, ...]]
"""Where, what becomes of the value there, and which of its members that erases."""

MAX_LINE = 512 * 1024
"""Longest line in bytes: what a request and its policy may make large is erased beyond it."""

MAX_ERASED = 100
"""Most members that are erased one by one from a query or body; beyond, all of it is erased."""

MAX_LISTED = 16 * 1024
"""Most text of the list of what was erased."""

OBJECT = (dict, Mapping)  # a dict is told at once, any other Mapping slowly
COMPOSITE = (dict, list, tuple, Mapping)

_LARGE = ("input", "result", "reasons", "masked", "error", "target", "method")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a dialect's events can hold secrets.

    `headers`: objects, or arrays of objects, by header name. `query`: the query by parameter
    name; `targets`: the texts that hold it. `bodies`: searched for secret members. `whole`:
    erased as they are.
    """

    headers: tuple[Path, ...]
    query: Path
    targets: tuple[Path, ...]
    bodies: tuple[Path, ...] = ()
    whole: tuple[Path, ...] = ()


_ENVOY = ("input", "attributes", "request", "http")
_KONG = ("input", "request", "http")

PLACES: Mapping[str, Places] = {
    "native": Places(
        headers=(
            ("input", "request", "headers"),
            ("result", "headers"),
            ("result", "response_headers"),
        ),
        query=("input", "request", "query"),
        targets=(("input", "request", "query_string"),),
        bodies=(("input", "request", "body"),),
        whole=(("input", "request", "cookies"),),
    ),
    "envoy": Places(
        headers=(
            (*_ENVOY, "headers"),
            ("result", "headers"),
            ("result", "response_headers_to_add"),
        ),
        query=("input", "parsed_query"),
        targets=((*_ENVOY, "path"), (*_ENVOY, "query"), (*_ENVOY, "headers", ":path")),
        bodies=(("input", "parsed_body"), ("result", "query_parameters_to_set")),
        whole=((*_ENVOY, "body"), (*_ENVOY, "raw_body")),
    ),
    "kong": Places(
        headers=((*_KONG, "headers"), ("result", "headers")),
        query=(*_KONG, "querystring"),
        targets=((*_KONG, "path"),),
        bodies=((*_KONG, "parsed_body"),),
        whole=((*_KONG, "body"),),
    ),
    "apisix": Places(
        headers=(("input", "request", "headers"), ("result", "headers")),
        query=("input", "request", "query"),
        targets=(("input", "request", "path"),),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """What is erased from events; the values that an event shares are never changed.

    `names` are further header names in their normal spelling, `parameters` further query
    parameters. Events list, as JSON pointers, what was removed (`erased`) and what was replaced
    in a text (`masked`).
    """

    pointers: tuple[Path, ...] = ()
    names: frozenset[str] = frozenset()
    parameters: frozenset[str] = frozenset()

    @classmethod
    def build(cls, config: Config) -> Mask:
        """The mask of a configuration; ConfigError for a pointer that cannot be used.

        A pointer to a query parameter erases it from the query string too.
        """
        pointers = []
        problems = []
        for index, text in enumerate(config.log.decisions.mask):
            try:
                pointers.append(pointer(text))
            except ValueError as error:
                problems.append(Problem(str(error), key=f"log.decisions.mask.{index}"))
        if problems:
            raise ConfigError(tuple(problems))
        return cls(
            pointers=tuple(pointers),
            names=frozenset({normal(config.credentials.header)}),
            parameters=frozenset(
                path[len(query)]
                for path in pointers
                for query in {places.query for places in PLACES.values()}
                if len(path) > len(query) and path[: len(query)] == query
            ),
        )

    def is_secret_header(self, name: str) -> bool:
        """Whether a header's value is erased."""
        return is_secret(name) or normal(name) in self.names

    def is_secret_parameter(self, name: str) -> bool:
        """Whether a query parameter's value is erased."""
        return is_secret_parameter(name) or name in self.parameters

    def apply(self, event: Event, dialect: str = "native") -> Event:
        """The event without what stands in secret places or at a pointer; a copy where need be."""
        changes = self._changes(event, PLACES["native" if event.get("partial") else dialect])
        erased: list[Path] = []
        masked: list[Path] = []
        made = event
        for path, change, members in changes:
            before, made = made, edited(made, path, change)
            if made is not before:
                erased += [(*path, member) for member in members]
                masked += () if members else (path,)
        if made is event:
            return event
        if erased:
            made["erased"] = listed(erased)
        if masked:
            made["masked"] = listed(masked)
        return made

    def _changes(self, event: Event, places: Places) -> list[Change]:
        changes = self._query(event, places)
        for path in places.headers:
            headers = find(event, path)
            if headers:
                changes += self._headers(path, headers)
        for path in places.bodies:
            body = find(event, path)
            if body and isinstance(body, COMPOSITE):
                changes += _body(path, body)
        changes += [_erasure(path) for path in places.whole if find(event, path)]
        return changes + [_erasure(path) for path in self.pointers]

    def _query(self, event: Event, places: Places) -> list[Change]:
        query = find(event, places.query)
        changes: list[Change] = []
        if isinstance(query, OBJECT):
            names = parameter_names(tuple(query), self.parameters)
            if not names:  # then the texts that it was parsed from hold no secret either
                return []
            changes = _erasures(places.query, names)
        return changes + [(path, self._scrub, ()) for path in places.targets]

    def _headers(self, path: Path, headers: Any) -> list[Change]:
        if isinstance(headers, OBJECT):
            secret, urls = header_names(tuple(headers), self.names)
            changes = _erasures(path, secret)
            return changes + [((*path, name), self._scrub, ()) for name in urls]
        if isinstance(headers, (list, tuple)):
            parts = [self._headers((*path, str(i)), item) for i, item in enumerate(headers)]
            return [change for part in parts for change in part]
        return []

    def _scrub(self, value: Any) -> Any:
        return scrub(value, self.is_secret_parameter) if isinstance(value, str) else value


@lru_cache(maxsize=256)
def header_names(
    names: tuple[str, ...], more: frozenset[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of the header names whose values are erased, and those that hold URLs.

    Cached, as clients repeat themselves.
    """
    secret = tuple(name for name in names if is_secret(name) or normal(name) in more)
    return secret, tuple(name for name in names if name not in secret and _holds_url(name))


def _holds_url(name: str) -> bool:
    return wire.holds_url(name.encode(errors="replace"))


@lru_cache(maxsize=256)
def parameter_names(names: tuple[str, ...], more: frozenset[str]) -> tuple[str, ...]:
    """Those of the query parameters' names whose values are erased."""
    return tuple(name for name in names if is_secret_parameter(name) or name in more)


def sealed(event: Event) -> bytes:
    """A masked event as one line of JSON of bounded length, with no whole token anywhere."""
    line = encode(event)
    if has_token(line):
        event = _without_tokens(event)
        line = encode(event)
    for name in _LARGE:
        if len(line) <= MAX_LINE:
            break
        if name in event:
            event = {key: value for key, value in event.items() if key != name}
            event["erased"] = [*event.get("erased", ()), f"/{name}"]
            line = encode(event)
    return line


def pointer(text: str) -> Path:
    """A JSON pointer's parts (RFC 6901 §3); ValueError where it names nothing that may go."""
    if not _POINTER.fullmatch(text):
        raise ValueError("expected a JSON pointer such as /input/claims/email")
    path = tuple(part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/"))
    if path[0] in KEPT:
        raise ValueError(f"/{path[0]} is in every event and cannot be erased")
    return path


@lru_cache(maxsize=256)
def text_of(path: Path) -> str:
    """A path as a JSON pointer."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)


def find(node: Any, path: Path) -> Any:
    """The value that a path of object members leads to, else None."""
    for part in path:
        if not isinstance(node, OBJECT):
            return None
        node = node.get(part)
    return node


def edited(node: Any, path: Path, change: Callable[[Any], Any], at: int = 0) -> Any:
    """`node` with the value at `path` changed, copied along the path; itself if nothing changes.

    `at` is how much of the path leads to the node.
    """
    if at == len(path):
        return change(node)
    part = path[at]
    if isinstance(node, OBJECT):
        if part not in node:
            return node
        before = node[part]
        made = edited(before, path, change, at + 1)
        return node if made is before else {**node, part: made}
    if isinstance(node, (list, tuple)) and is_index(part, node):
        index = int(part)
        made = edited(node[index], path, change, at + 1)
        return node if made is node[index] else [*node[:index], made, *node[index + 1 :]]
    return node


def without(members: tuple[str, ...]) -> Callable[[Any], Any]:
    """The change that takes members from an object.

    An array's element becomes null instead, so that the other indices stay true.
    """

    def change(node: Any) -> Any:
        if isinstance(node, OBJECT):
            gone = [member for member in members if member in node]
            if not gone:
                return node
            rest = dict(node)
            for member in gone:
                rest.pop(member, None)  # a member may be named twice
            return rest
        if isinstance(node, (list, tuple)):
            indices = {int(member) for member in members if is_index(member, node)}
            kept = [None if index in indices else item for index, item in enumerate(node)]
            return kept if indices else node
        return node

    return change


def is_index(part: str, array: Sequence[Any]) -> bool:
    """Whether a pointer's part is the index of one of the array's elements (RFC 6901 §4)."""
    return _INDEX.fullmatch(part) is not None and int(part) < len(array)


def listed(paths: list[Path]) -> list[str]:
    """Paths as JSON pointers; of many or long ones, only the event's members that they are in."""
    if len(paths) <= MAX_ERASED:
        texts = [text_of(path) for path in paths]
        if sum(map(len, texts)) <= MAX_LISTED:
            return texts
    return sorted({text_of(path[:1]) for path in paths})


def _erasure(path: Path) -> Change:
    return path[:-1], without(path[-1:]), path[-1:]


def _erasures(path: Path, members: tuple[str, ...]) -> list[Change]:
    """The erasure of members, of the whole where they are too many to list."""
    if len(members) > MAX_ERASED:
        return [_erasure(path)]
    return [(path, without(members), members)] if members else []


def _body(path: Path, body: Any) -> list[Change]:
    found = list(islice(_members(path, body), MAX_ERASED + 1))
    return found if len(found) <= MAX_ERASED else [_erasure(path)]


def _members(path: Path, node: Any) -> Iterator[Change]:
    """The erasures in a body, an object's at once."""
    if isinstance(node, OBJECT):
        secret = dict.fromkeys(name for name in node if is_secret(name))
        yield from _erasures(path, tuple(secret))
        inner: Iterable[tuple[str, Any]] = ((n, node[n]) for n in node if n not in secret)
    else:
        inner = ((str(index), item) for index, item in enumerate(node))
    for part, item in inner:
        if isinstance(item, COMPOSITE):
            yield from _members((*path, part), item)


def _without_tokens(event: Event) -> Event:
    masked: list[Path] = []

    def walked(node: Any, path: Path) -> Any:
        if isinstance(node, str):
            text = without_tokens(node)
            if text != node:
                masked.append(path)
            return text
        if len(path) > MAX_DEPTH:
            return TOO_DEEP
        if isinstance(node, OBJECT):
            members = {}
            for key, value in node.items():
                name = walked(key, path)
                members[name] = walked(value, (*path, name))
            return members
        if isinstance(node, (list, tuple)):
            return [walked(value, (*path, str(index))) for index, value in enumerate(node)]
        return node

    made: Event = walked(event, ())
    made["masked"] = [*made.get("masked", ()), *listed(masked)]
    return made
