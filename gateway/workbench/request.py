"""One request through the whole pipeline, without a listener or an upstream."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from gateway.config.model import METHOD, TOKEN
from gateway.config.values import Malformed
from gateway.model import Facts, Forward, Head, Introspected, Need, Refuse, Session, Taken
from gateway.pipeline import plan
from gateway.record.encode import encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.identify import Keyring
    from gateway.model import Answer, Outcome, TokenRequest
    from gateway.snapshot import Snapshot

OWN_HEADERS = ("host", "content-length", "transfer-encoding")
"""Headers that the other parts of a request make."""


DRY_RUN = "dry-run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as a client would send it, each of its parts well-formed.

    `target` is path and query; `token` is None for an anonymous request, and `introspection` what
    its issuer answers where it is asked; `scheme` is that of the first listener where it is None.
    `session` tells that the token is that of a browser's session.
    """

    token: str | None
    introspection: Mapping[str, Any] | None
    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    scheme: str | None
    host: bytes
    address: str
    session: bool = False

    def found(self, login: str) -> Session:
        """What the cookie stands for: a session with the token, or none where there is none."""
        token = (self.token or "").encode()
        return Session(login=login, id=DRY_RUN if token else "", token=token, access_token=token)

    def head(self, snapshot: Snapshot) -> Head:
        """The head as a listener would read it."""
        lines = [(b"host", self.host)]
        if self.session:
            cookies = snapshot.sessions.cookies.values() if snapshot.sessions else ()
            lines += [(b"cookie", name + b"=" + DRY_RUN.encode()) for name in cookies]
        elif self.token is not None:
            credential = snapshot.config.credentials.header.encode()
            lines.append((credential, b"Bearer " + self.token.encode()))
        lines += self.headers
        if self.body:
            lines.append((b"content-length", b"%d" % len(self.body)))
        path, _, query = self.target.partition(b"?")
        secure = snapshot.config.listeners[0].tls is not None
        return Head(
            id=DRY_RUN,
            method=self.method,
            scheme=self.scheme or ("https" if secure else "http"),
            authority=self.host,
            raw_path=path,
            query_string=query,
            headers=tuple(lines),
            http_version="1.1",
            peer=self.address,
        )


def make_request(
    *,
    token: str | None = None,
    introspection: Mapping[str, Any] | None = None,
    method: str = "GET",
    path: str = "/",
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    scheme: str | None = None,
    host: str = "localhost",
    address: str = "127.0.0.1",
    session: bool = False,
) -> Request:
    """A request of these parts; Malformed, with the part as its key, for what no listener takes."""
    if METHOD.fullmatch(method) is None:
        upper = method.upper()
        if METHOD.fullmatch(upper):
            raise Malformed(
                f"methods are case-sensitive (RFC 9110 §9.1): write {upper}", key=("method",)
            )
        raise Malformed(f"expected a method, such as GET, got {method!r}", key=("method",))
    if not path.startswith("/") or not re.fullmatch(r"[!-~]+", path):
        raise Malformed(
            "expected path and query in ASCII without blanks, such as /orders?page=2, "
            f"got {path!r}; other characters are percent-encoded",
            key=("path",),
        )
    if not re.fullmatch(r"[!-~]+", host):
        raise Malformed(f"expected a host, such as api.example, got {host!r}", key=("host",))
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise Malformed(
            f"expected an IP address, such as 192.0.2.7, got {address!r}", key=("address",)
        ) from None
    return Request(
        token=token,
        introspection=introspection,
        method=method,
        target=path.encode(),
        headers=tuple(_header(name, value) for name, value in headers),
        body=body,
        scheme=scheme,
        host=host.encode(),
        address=address,
        session=session,
    )


def _header(name: str, value: str) -> tuple[bytes, bytes]:
    if not TOKEN.fullmatch(name):
        raise Malformed(f"expected the name of a header, got {name!r}", key=("headers",))
    if name.lower() in OWN_HEADERS:
        part = "host" if name.lower() == "host" else "body"
        raise Malformed(f"{name} is made of the request's {part}", key=("headers",))
    if not value.isprintable():
        raise Malformed(f"{name}: a value is one line of text, got {value!r}", key=("headers",))
    return name.lower().encode(), value.encode()


def send(
    request: Request, snapshot: Snapshot, keyrings: Mapping[str, Keyring], now: float
) -> Outcome:
    """What the gateway would do with the request; a Need of what only the network would have.

    That are keys which `keyrings` lack, and an issuer's answer which the request lacks.
    """
    head = request.head(snapshot)
    facts = Facts(keyrings=keyrings)
    while True:
        outcome = plan(head, facts, snapshot, now)
        if not isinstance(outcome, Need) or outcome.kind == "keys":
            return outcome
        if outcome.kind == "introspection":
            if request.introspection is None:
                return outcome
            facts = replace(facts, introspected=answered(request.introspection))
            continue
        if outcome.kind == "body":
            facts = replace(facts, body=request.body)
        elif outcome.kind == "session":
            facts = replace(facts, session=request.found(outcome.login))
        else:  # a dry run spends nobody's quota
            facts = replace(facts, admitted=Taken(charges=outcome.charges))


def answered(members: Mapping[str, Any]) -> Introspected:
    """An issuer's answer about a token."""
    return Introspected(members=members, revision=sha256(encode(members)).hexdigest())


def as_dict(outcome: Forward | Refuse | Answer) -> dict[str, Any]:
    """An outcome as JSON; `status` is null where the upstream would say it."""
    trail = outcome.trail
    decision, principal = trail.decision, trail.principal
    result: dict[str, Any] = {
        "outcome": "answered",
        "status": None,
        "code": None,
        "title": None,
        "detail": trail.detail or None,
        "method": trail.head.method,
        "path": trail.head.raw_path.decode("latin-1"),
        "route": trail.match.route.id if trail.match else None,
        "authenticated": principal.authenticated if principal else None,
        "subject": principal.subject if principal else None,
        "issuer": principal.issuer if principal else None,
        "decision": decision.result if decision else None,
        "reasons": [
            {"code": reason.code, "message": reason.message}
            for reason in (decision.reasons if decision else ())
        ],
        "unenforced": trail.unenforced.text if trail.unenforced else None,
        "upstream": None,
        "upstream_token": None,
        "target": None,
        "headers": _lines(outcome.headers),
        "response_headers": [],
        "revision": trail.revision,
        "canary": trail.canary,
    }
    told: dict[str, Any]
    match outcome:
        case Forward():
            told = {
                "outcome": "forwarded",
                "upstream": str(outcome.upstream),
                "upstream_token": _asked(outcome.token),
                "target": outcome.target.decode("latin-1"),
                "response_headers": _lines(outcome.response_headers),
            }
        case Refuse():
            told = {
                "outcome": "refused",
                "status": outcome.status,
                "code": outcome.code.text,
                "title": outcome.code.title,
            }
        case _:
            told = {"status": outcome.status}
    return result | told


def _asked(request: TokenRequest | None) -> dict[str, Any] | None:
    """What a token endpoint would be asked, without the client's token."""
    if request is None:
        return None
    fields = [f"{name}={value}" for name, value in request.fields]
    return {
        "endpoint": request.endpoint,
        "exchange": bool(request.subject_token),
        "fields": fields,
    }


def _lines(headers: tuple[tuple[bytes, bytes], ...]) -> list[str]:
    return [f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in headers]
