"""Which route takes a request: a tree of path segments for each host."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.errors import Code, ConfigError, Problem, RouteError
from gateway.model import Match
from gateway.route.host import canonical_host, read_host
from gateway.route.path import ENCODED_SLASH, canonical_path
from gateway.route.query import parse_query
from gateway.route.template import PARAM, Template, literal_segments, parse_template

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.config.model import Route
    from gateway.model import Head

ANY_HOST: Final = ""
USUAL_METHODS: Final = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_METHOD: Final = re.compile(r"(?!(?:CONNECT|TRACE)\Z)[A-Z][A-Z0-9_-]{0,31}")
_ROOT: Final = ("",)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A route at the end of one of its templates."""

    route: Route
    template: Template
    key: str

    def params(self, segments: tuple[str, ...]) -> dict[str, str]:
        found = {name: segments[index] for name, index in self.template.names}
        if self.template.rest:
            name, start = self.template.rest
            found[name] = "/".join(segments[start:])
        return found


@dataclass(slots=True)
class _Leaf:
    """The routes of one template shape, by method; `every` takes all that are not named."""

    by_method: dict[str, _Entry] = field(default_factory=dict)
    every: _Entry | None = None

    def entry(self, method: str) -> _Entry | None:
        # RFC 9110 §9.3.2: HEAD is GET without the content.
        return (
            self.by_method.get(method)
            or (self.by_method.get("GET") if method == "HEAD" else None)
            or (self.every if self.every and _METHOD.fullmatch(method) else None)
        )

    def methods(self) -> set[str]:
        named = set(USUAL_METHODS) if self.every else set(self.by_method)
        return named | {"HEAD"} if "GET" in named else named

    def add(self, entry: _Entry) -> _Entry | None:
        """Add a route; the one that takes the same method already comes back instead."""
        methods = entry.route.methods
        if not methods:
            taken = self.every or next(iter(self.by_method.values()), None)
            self.every = self.every or entry
            return taken
        taken = self.every or next(filter(None, map(self.by_method.get, methods)), None)
        self.by_method.update({method: entry for method in methods if not taken})
        return taken


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    param: _Node | None = None
    leaf: _Leaf = field(default_factory=_Leaf)
    rest: _Leaf | None = None

    def at(self, template: Template) -> _Leaf:
        """The leaf for a template, made where there is none yet."""
        node = self
        for segment in template.shape:
            if segment is PARAM:
                node.param = node.param or _Node()
                node = node.param
            else:
                node = node.literals.setdefault(segment, _Node())
        if template.rest:
            node.rest = node.rest or _Leaf()
            return node.rest
        return node.leaf

    def find(self, segments: tuple[str, ...], index: int, method: str) -> _Entry | None:
        """The most specific entry: a literal before {name} before {name:path}.

        A branch is as deep as a template, so no request makes the recursion deep; and each node
        is visited at most once, since only one way leads to it.
        """
        if index == len(segments):
            return self.leaf.entry(method)
        segment = segments[index]
        found = None
        if segment in self.literals:
            found = self.literals[segment].find(segments, index + 1, method)
        if found is None and self.param is not None and segment:
            found = self.param.find(segments, index + 1, method)
        if found is None and self.rest is not None:
            return self.rest.entry(method)
        return found

    def leaves(self, segments: tuple[str, ...], index: int = 0) -> Iterator[_Leaf]:
        """All leaves that fit."""
        if index == len(segments):
            yield self.leaf
            return
        segment = segments[index]
        if segment in self.literals:
            yield from self.literals[segment].leaves(segments, index + 1)
        if self.param is not None and segment:
            yield from self.param.leaves(segments, index + 1)
        if self.rest is not None:
            yield self.rest


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTable:
    """All routes; the time to find one grows with the path's length, not with their number.

    The most specific route that fits host, path and method takes a request: an exact host before
    the longest `*.suffix` before any host; then, segment by segment from the left, a literal
    before `{name}` before `{name:path}`. GET includes HEAD; a route without methods takes every
    method but CONNECT and TRACE.
    """

    exact: Mapping[str, _Node]
    suffixes: Mapping[str, _Node]
    default: _Node
    encoded_slashes: bool

    @classmethod
    def build(cls, routes: Sequence[Route]) -> RouteTable:
        """Build the table; ConfigError with every malformed or ambiguous host, path or method."""
        trees: defaultdict[str, _Node] = defaultdict(_Node)
        problems: list[Problem] = []
        for index, route in enumerate(routes):
            hosts = _hosts(route, f"routes.{index}", problems)
            problems.extend(_check_methods(route, f"routes.{index}"))
            for entry in _entries(route, f"routes.{index}", problems):
                taken = [trees[host].at(entry.template).add(entry) for host in hosts]
                problems.extend(_tie(entry, other) for other in list(filter(None, taken))[:1])
        if problems:
            raise ConfigError(tuple(problems))
        return cls(
            exact={host: tree for host, tree in trees.items() if host and host[0] != "*"},
            suffixes={host[1:]: tree for host, tree in trees.items() if host.startswith("*")},
            default=trees[ANY_HOST],
            encoded_slashes=any(route.encoded_slashes == "pass" for route in routes),
        )

    def match(self, head: Head, *, method: str | None = None) -> Match:
        """The route for a request, or for the `method` that its preflight asks about.

        RouteError: 400 for a host, path or query that is not canonical, 404, 405 with Allow. An
        encoded slash is 400 unless the route that matches says `encoded_slashes: pass`.
        """
        host = read_host(head)
        path = canonical_path(head.raw_path, encoded_slashes=self.encoded_slashes)
        segments = path.segments or _ROOT
        entry = self._find(host, segments, method or head.method)
        if ENCODED_SLASH in path.text and (not entry or entry.route.encoded_slashes != "pass"):
            raise RouteError(Code.BAD_PATH, "an encoded slash")
        if entry is None:
            raise self._unmatched(host, segments)
        return Match(
            route=entry.route,
            path=path.text,
            segments=path.segments,
            params=entry.params(segments),
            host=host,
            query=parse_query(head.query_string) if head.query_string else {},
        )

    def methods(self, match: Match) -> tuple[str, ...]:
        """All methods that the routes for a matched host and path take, sorted."""
        return self._methods(match.host, match.segments or _ROOT)

    def _find(self, host: str, segments: tuple[str, ...], method: str) -> _Entry | None:
        for tree in self._trees(host):
            entry = tree.find(segments, 0, method)
            if entry is not None:
                return entry
        return None

    def _trees(self, host: str) -> Iterator[_Node]:
        if host in self.exact:
            yield self.exact[host]
        if self.suffixes:
            dot = host.find(".")
            while dot >= 0:
                if host[dot:] in self.suffixes:
                    yield self.suffixes[host[dot:]]
                dot = host.find(".", dot + 1)
        yield self.default

    def _methods(self, host: str, segments: tuple[str, ...]) -> tuple[str, ...]:
        leaves = (leaf for tree in self._trees(host) for leaf in tree.leaves(segments))
        return tuple(sorted(set[str]().union(*(leaf.methods() for leaf in leaves))))

    def _unmatched(self, host: str, segments: tuple[str, ...]) -> RouteError:
        allowed = self._methods(host, segments)
        if not allowed:
            return RouteError(Code.ROUTE_UNKNOWN)
        return RouteError(Code.METHOD_NOT_ALLOWED, headers=(("allow", ", ".join(allowed)),))


def _hosts(route: Route, key: str, problems: list[Problem]) -> tuple[str, ...]:
    hosts = []
    for index, text in enumerate(route.hosts):
        name = text.lower()
        try:
            canonical = canonical_host(name.removeprefix("*.").encode())
        except RouteError as error:
            canonical = error.detail
        if canonical != name.removeprefix("*."):
            problems.append(
                Problem(
                    f"{text!r} is not a host",
                    key=f"{key}.hosts.{index}",
                    remedy="write a name or address without port, or *.example.com",
                )
            )
        hosts.append(name)
    return tuple(dict.fromkeys(hosts)) or (ANY_HOST,)


def _check_methods(route: Route, key: str) -> Iterator[Problem]:
    if "CONNECT" in route.methods:
        yield Problem(
            "CONNECT asks for a tunnel, which the gateway does not make",
            key=f"{key}.methods.{route.methods.index('CONNECT')}",
        )


def _entries(route: Route, key: str, problems: list[Problem]) -> Iterator[_Entry]:
    passes = route.encoded_slashes == "pass"
    prefix: tuple[str, ...] = ()
    try:
        if route.strip_prefix:
            prefix = literal_segments(route.strip_prefix, encoded_slashes=passes)
    except ValueError as error:
        problems.append(Problem(str(error), key=f"{key}.strip_prefix"))
    for index, text in enumerate(route.paths):
        try:
            template = parse_template(text, encoded_slashes=passes)
        except ValueError as error:
            problems.append(Problem(str(error), key=f"{key}.paths.{index}"))
            continue
        if template.shape[: len(prefix)] != prefix:
            problems.append(
                Problem(
                    f"{text} does not start with the literal prefix {route.strip_prefix}",
                    key=f"{key}.strip_prefix",
                )
            )
        yield _Entry(route=route, template=template, key=f"{key}.paths.{index}")


def _tie(entry: _Entry, other: _Entry) -> Problem:
    return Problem(
        f"takes the same requests as route {other.route.id!r} ({other.key})",
        key=entry.key,
        remedy="make host, path or methods differ",
    )
