"""Headers out: what the client may not say is removed, what the gateway says is set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from gateway import wire
from gateway.errors import Code, ForwardError
from gateway.forward.identity import identity_names, lines, reader, spelled

if TYPE_CHECKING:
    from gateway.config.model import Config, Route, Upstream
    from gateway.forward.identity import Reader
    from gateway.model import Decision, Forward, Head, Headers, Match, Principal, Source

OVERRIDES: Final = frozenset((
    b"x-original-url", b"x-original-uri", b"x-rewrite-url", b"x-http-method",
    b"x-http-method-override", b"x-method-override", b"proxy",
))  # fmt: skip
"""Fields that never pass: they would replace the path or method that the policy saw.

`Proxy` reaches CGI programs as HTTP_PROXY, where their own requests then go (httpoxy).
"""

CLAIMS_OF_PROXIES: Final = frozenset((
    b"via", b"x-real-ip", b"x-original-host", b"x-original-forwarded-for", b"x-host",
    b"x-client-ip", b"client-ip", b"true-client-ip", b"cf-connecting-ip", b"fastly-client-ip",
    b"x-cluster-client-ip",
))  # fmt: skip
"""Fields that upstreams believe of a proxy; they pass only where a trusted proxy sent them."""

USUAL: Final = frozenset((
    b"accept", b"accept-encoding", b"accept-language", b"cache-control", b"content-encoding",
    b"content-type", b"dnt", b"if-match", b"if-modified-since", b"if-none-match", b"origin",
    b"pragma", b"priority", b"range", b"referer", b"sec-ch-ua", b"sec-ch-ua-mobile",
    b"sec-ch-ua-platform", b"sec-fetch-dest", b"sec-fetch-mode", b"sec-fetch-site",
    b"sec-fetch-user", b"traceparent", b"tracestate", b"upgrade-insecure-requests",
    b"user-agent", b"x-requested-with",
))  # fmt: skip
"""Names, in the one spelling, that most requests carry: they pass without a closer look, unless
something removes them."""

FORWARDING: Final = (b"x-forwarded", b"forwarded")
"""How the fields begin that say where a request comes from; the gateway sets its own."""

NOT_PASSED_BACK: Final = wire.HOP_BY_HOP | {b"alt-svc"}
"""`Alt-Svc` would lead the client past the gateway."""

ACCUMULATED: Final = frozenset((b"vary", b"set-cookie"))
"""Response fields whose lines add up; what the gateway sets replaces any other of the name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteHeaders:
    """What one route does to request headers.

    `removed` are the spelled names (wire.SPELLING) that never pass, `distrusted` those that do
    not pass unless a trusted proxy sent them; `usual` pass as they are. `cookie` is the
    credential cookie to take away, or empty; `host` is None where the client's passes;
    `identity` reads the identity headers.
    """

    removed: frozenset[bytes]
    distrusted: frozenset[bytes]
    usual: frozenset[bytes]
    cookie: bytes
    host: bytes | None
    identity: tuple[tuple[bytes, Reader], ...]

    @classmethod
    def build(cls, config: Config, route: Route, upstream: Upstream) -> Self:
        """Prepare a route of a configuration that `check_identity` found nothing wrong with."""
        identity = route.identity_headers
        identity = config.identity_headers if identity is None else identity
        credentials = config.credentials
        removed = wire.RESERVED | OVERRIDES | identity_names(config)
        if not route.forward_token:
            removed |= spelled({credentials.header, "authorization"})
        hosts = {"pass": None, "upstream": urlsplit(upstream.url).netloc.encode() or b"localhost"}
        readers = ((name.encode(), reader(path)) for name, path in identity.items())
        return cls(
            removed=removed,
            distrusted=removed | CLAIMS_OF_PROXIES,
            usual=USUAL - removed,
            cookie=b"" if route.forward_token else (credentials.cookie or "").encode(),
            host=hosts[route.host] if route.host in hosts else route.host.encode(),
            identity=tuple((name, read) for name, read in readers if read),
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
        return (
            (b"host", self.host or authority),
            *self._passed(head, decision, source),
            (b"x-forwarded-for", chain.encode()),
            (b"x-forwarded-proto", source.scheme.encode()),
            (b"x-forwarded-host", source.forwarded_host.encode() or authority),
            (b"x-request-id", (source.request_id or head.id).encode()),
            (b"x-decision-id", head.id.encode()),
            *(lines(self.identity, principal) if principal.authenticated else ()),
            *((name.encode(), value.encode()) for name, value in decision.headers),
        )

    def _passed(self, head: Head, decision: Decision, source: Source) -> Headers:
        """The client's own headers, as far as they pass.

        ForwardError BAD_HEADER where one name comes in two spellings: the policy saw two headers,
        and the upstream may see one.
        """
        removed = self.removed if source.trusted else self.distrusted
        usual = self.usual
        dropped = wire.connection_options(head.headers)
        if decision.headers or decision.remove_headers:
            names = {name for name, _ in decision.headers}.union(decision.remove_headers)
            dropped |= spelled(names)
        if dropped:
            removed |= dropped
            usual -= dropped
        kept: list[tuple[bytes, bytes]] = []
        cookies: list[bytes] = []
        odd = False
        for line in head.headers:
            name = line[0]
            if name in usual:
                kept.append(line)
                continue
            spelling = name.translate(wire.SPELLING)
            if spelling in removed or spelling.startswith(FORWARDING):
                continue
            if name == b"cookie":
                cookies.append(line[1])
                continue
            odd = odd or spelling != name
            kept.append(line)
        if odd:
            _refuse_two_spellings((*kept, *((b"cookie", cookie) for cookie in cookies)))
        # RFC 9113 §8.2.3: HTTP/2 may split the cookies over lines, HTTP/1.1 may not.
        cookie = b"; ".join(cookies)
        if self.cookie:
            cookie = without_cookie(cookie, self.cookie)
        return (*kept, (b"cookie", cookie)) if cookie else tuple(kept)


def _refuse_two_spellings(headers: Headers) -> None:
    names = {name for name, _ in headers}
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


def response_headers(headers: Headers, forward: Forward) -> Headers:
    """The upstream's response headers as the client gets them, with the gateway's added.

    Fields of the connection are dropped. What the gateway sets replaces the upstream's, but for
    `Vary` and `Set-Cookie`, which add up.
    """
    dropped = NOT_PASSED_BACK
    if forward.response_headers:
        dropped |= {name for name, _ in forward.response_headers} - ACCUMULATED
    kept = [line for line in wire.end_to_end(headers) if line[0] not in dropped]
    if forward.cors:
        kept = [line for line in kept if not line[0].startswith(b"access-control-")]
    return (*kept, *forward.response_headers)
