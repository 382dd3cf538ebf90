"""Headers out: what the client may not say is removed, what the gateway says is set."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from gateway import wire
from gateway.errors import Code, ForwardError
from gateway.forward.identity import identity_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.config.model import Config, Route, Upstream
    from gateway.forward.identity import IdentityLines
    from gateway.model import Decision, Forward, Head, Headers, Match, Principal, Source

OVERRIDES: Final = frozenset((
    b"x-original-url", b"x-original-uri", b"x-original-path", b"x-original-method",
    b"x-rewrite-url", b"x-rewrite-uri", b"x-override-url", b"x-http-path-override",
    b"x-envoy-original-path", b"x-envoy-original-method", b"x-http-method",
    b"x-http-method-override", b"x-method-override", b"x-method", b"proxy",
))  # fmt: skip
"""Fields that never pass: they would replace the path or method that the policy saw.

`Proxy` reaches CGI programs as HTTP_PROXY, where their own requests then go (httpoxy).
"""

CLAIMS_OF_PROXIES: Final = frozenset((
    b"via", b"x-real-ip", b"x-original-host", b"x-original-forwarded-for", b"x-host",
    b"x-client-ip", b"client-ip", b"true-client-ip", b"cf-connecting-ip", b"fastly-client-ip",
    b"x-cluster-client-ip", b"x-envoy-external-address", b"x-azure-clientip", b"x-azure-socketip",
    b"x-proxyuser-ip", b"wl-proxy-client-ip", b"proxy-client-ip", b"x-appengine-user-ip",
    b"x-appengine-remote-addr", b"x-remote-ip", b"x-remote-addr", b"x-originating-ip",
))  # fmt: skip
"""Fields that upstreams believe of a proxy; they pass only where a trusted proxy sent them."""

FORWARDING: Final = (b"x-forwarded", b"forwarded")
"""How the fields begin that say where a request comes from; the gateway sets its own."""

NOT_PASSED_BACK: Final = wire.HOP_BY_HOP | {b"alt-svc"}
"""`Alt-Svc` would lead the client past the gateway."""

ACCUMULATED: Final = frozenset((b"vary", b"set-cookie"))
"""Response fields whose lines add up; what the gateway sets replaces any other of the name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteHeaders:
    """What one route does to request headers.

    `passes` and `passes_trusted` tell whether a name may pass at all, of whichever client or of
    a trusted proxy, and whether it is in the one spelling (wire.SPELLING). `cookie` is the
    credential cookie to take away, or empty; `host` is None where the client's passes;
    `identity` gives the identity headers of a principal.
    """

    passes: Callable[[bytes], Passage]
    passes_trusted: Callable[[bytes], Passage]
    cookie: bytes
    host: bytes | None
    identity: IdentityLines

    @classmethod
    def build(
        cls, config: Config, route: Route, upstream: Upstream, general: IdentityLines
    ) -> Self:
        """Prepare a route of a configuration that `check_identity` found nothing wrong with.

        `general` gives the identity headers of routes without their own.
        """
        own = route.identity_headers
        credentials = config.credentials
        removed = wire.RESERVED | OVERRIDES | wire.spelled(config.identity_names)
        if not route.forward_token:
            removed |= wire.spelled({credentials.header, "authorization"})
        hosts = {
            "pass": None,
            "upstream": urlsplit(upstream.urls[0]).netloc.encode() or b"localhost",
        }
        return cls(
            passes=_passages(removed | CLAIMS_OF_PROXIES),
            passes_trusted=_passages(removed),
            cookie=b"" if route.forward_token else (credentials.cookie or "").encode(),
            host=hosts[route.host] if route.host in hosts else route.host.encode(),
            identity=general if own is None else identity_lines(own),
        )

    def outbound(
        self, head: Head, match: Match, principal: Principal, decision: Decision, source: Source
    ) -> Headers:
        """The complete request headers, but for framing.

        Everything of the client's is removed first, then the gateway's is set, so that nothing
        which the client sends, `Connection` included, can take away what the gateway says.
        """
        authority = _authority(head, match)
        peer = head.peer or "unknown"
        chain = f"{source.forwarded_for}, {peer}" if source.forwarded_for else peer
        decision_id = head.id.encode()
        return (
            (b"host", self.host or authority),
            *self._passed(head, decision, source),
            (b"x-forwarded-for", chain.encode()),
            (b"x-forwarded-proto", source.scheme.encode()),
            (b"x-forwarded-host", source.forwarded_host.encode() or authority),
            (b"x-request-id", source.request_id.encode() or decision_id),
            (b"x-decision-id", decision_id),
            *(self.identity(principal) if principal.authenticated else ()),
            *[(name.encode(), value.encode()) for name, value in decision.headers],
        )

    def _passed(self, head: Head, decision: Decision, source: Source) -> list[tuple[bytes, bytes]]:
        """The client's own headers, as far as they pass.

        ForwardError BAD_HEADER where one name comes in two spellings: the policy saw two headers,
        and the upstream may see one.
        """
        passes = self.passes_trusted if source.trusted else self.passes
        fields = head.fields
        dropped = wire.connection_options(fields.get(b"connection", ()))
        if decision.headers or decision.remove_headers:
            names = {name for name, _ in decision.headers}.union(decision.remove_headers)
            dropped |= wire.spelled(names)
        verdicts = {name: passes(name) for name in fields}
        odd = Passage.ODD in verdicts.values()
        for name in fields if odd else dropped:
            if name in verdicts and name.translate(wire.SPELLING) in dropped:
                verdicts[name] = Passage.NO
        kept = [line for line in head.headers if verdicts[line[0]] is not Passage.NO]
        if odd:
            _refuse_two_spellings(kept)
        cookies = fields.get(b"cookie")
        if cookies is None or (len(cookies) == 1 and not self.cookie):
            return kept
        # RFC 9113 §8.2.3: HTTP/2 may split the cookies over lines, HTTP/1.1 may not.
        kept = [line for line in kept if line[0] != b"cookie"]
        cookie = b"; ".join(cookies)
        if self.cookie:
            cookie = without_cookie(cookie, self.cookie)
        if cookie and verdicts[b"cookie"] is not Passage.NO:
            kept.append((b"cookie", cookie))
        return kept


class Passage(Enum):
    """Whether a client's header passes: not, as it is, or in an odd spelling."""

    NO = 0
    YES = 1
    ODD = 2


@lru_cache(maxsize=16)
def _passages(removed: frozenset[bytes]) -> Callable[[bytes], Passage]:
    # Shared by routes: what clients make it remember must not grow with their number.
    @lru_cache(maxsize=wire.NAMES_REMEMBERED)
    def passage(name: bytes) -> Passage:
        spelling = name.translate(wire.SPELLING)
        if spelling in removed or spelling.startswith(FORWARDING):
            return Passage.NO
        return Passage.YES if spelling == name else Passage.ODD

    return passage


def _refuse_two_spellings(lines: Iterable[tuple[bytes, bytes]]) -> None:
    names = {name for name, _ in lines}
    if len({name.translate(wire.SPELLING) for name in names}) < len(names):
        raise ForwardError(Code.BAD_HEADER, "one name in two spellings")


def _authority(head: Head, match: Match) -> bytes:
    """The validated host, with the port that the client wrote."""
    host = match.host.encode()
    if host == head.authority:
        return host
    _, colon, port = head.authority.rpartition(b":")
    return host + b":" + port if colon and port.isdigit() else host


def without_cookie(line: bytes, cookie: bytes) -> bytes:
    """A Cookie field value without one cookie."""
    parts = (part.strip(b" \t") for part in line.split(b";"))
    return b"; ".join(
        part for part in parts if part and part.partition(b"=")[0].rstrip(b" \t") != cookie
    )


def _sets_own_cookie(line: tuple[bytes, bytes], own: tuple[bytes, ...]) -> bool:
    """Whether an upstream would give a browser a session of the gateway, as it may not."""
    return line[0] == b"set-cookie" and line[1].lstrip(b" \t").lower().startswith(own)


def response_headers(headers: Headers, forward: Forward) -> Headers:
    """The upstream's response headers as the client gets them, with the gateway's added.

    Fields of the connection are dropped. What the gateway sets replaces the upstream's, but for
    `Vary` and `Set-Cookie`, which add up.
    """
    dropped = NOT_PASSED_BACK
    if forward.response_headers:
        dropped |= {name for name, _ in forward.response_headers} - ACCUMULATED
    kept = [line for line in headers if line[0] not in dropped]
    if forward.own_cookies:
        kept = [line for line in kept if not _sets_own_cookie(line, forward.own_cookies)]
    options = wire.connection_options([value for name, value in headers if name == b"connection"])
    if options:
        kept = [line for line in kept if line[0].translate(wire.SPELLING) not in options]
    if forward.cors:
        kept = [line for line in kept if not wire.is_cors(line)]
    if not forward.response_headers:
        return tuple(kept)
    return (*kept, *wire.beside(tuple(kept), forward.response_headers))
