"""One request through the whole pipeline, without a listener or an upstream."""

from __future__ import annotations

import ipaddress
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.commands.offline import offline_keyrings, remote_keys
from gateway.config.model import METHOD, TOKEN
from gateway.model import Facts, Forward, Head, Need, Refuse
from gateway.pipeline import plan
from gateway.record.encode import encode

if TYPE_CHECKING:
    from gateway.model import Answer
    from gateway.snapshot import Snapshot

OWN_HEADERS = {
    "host": "--host says it",
    "content-length": "--body makes it",
    "transfer-encoding": "--body comes whole",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as the options describe it, each of its parts well-formed.

    `target` is path and query; `token` is None for an anonymous request; `scheme` is that of the
    first listener where it is None.
    """

    token: str | None
    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    scheme: str | None
    host: bytes
    address: str

    def head(self, snapshot: Snapshot) -> Head:
        """The head as a listener would read it."""
        lines = [(b"host", self.host)]
        if self.token is not None:
            credential = snapshot.config.credentials.header.encode()
            lines.append((credential, b"Bearer " + self.token.encode()))
        lines += self.headers
        if self.body:
            lines.append((b"content-length", b"%d" % len(self.body)))
        path, _, query = self.target.partition(b"?")
        secure = snapshot.config.listeners[0].tls is not None
        return Head(
            id="dry-run",
            method=self.method,
            scheme=self.scheme or ("https" if secure else "http"),
            authority=self.host,
            raw_path=path,
            query_string=query,
            headers=tuple(lines),
            http_version="1.1",
            peer=self.address,
        )


def read_request(
    token: str | None,
    method: str,
    target: str,
    lines: tuple[str, ...],
    body: str | None,
    scheme: str | None,
    host: str,
    address: str,
) -> Request:
    """The request that the options describe; click.BadParameter for what no listener would take."""
    if METHOD.fullmatch(method) is None:
        upper = method.upper()
        if METHOD.fullmatch(upper):
            raise _bad("--method", f"methods are case-sensitive (RFC 9110 §9.1): write {upper}")
        raise _bad("--method", f"expected a method, such as GET, got {method!r}")
    if not target.startswith("/") or not re.fullmatch(r"[!-~]+", target):
        raise _bad(
            "--path",
            "expected path and query in ASCII without blanks, such as /orders?page=2, "
            f"got {target!r}; other characters are percent-encoded",
        )
    if not re.fullmatch(r"[!-~]+", host):
        raise _bad("--host", f"expected a host, such as api.example, got {host!r}")
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise _bad(
            "--address", f"expected an IP address, such as 192.0.2.7, got {address!r}"
        ) from None
    return Request(
        token=token,
        method=method,
        target=target.encode(),
        headers=tuple(map(_header, lines)),
        body=_body(body or ""),
        scheme=scheme,
        host=host.encode(),
        address=address,
    )


def _header(line: str) -> tuple[bytes, bytes]:
    name, colon, value = (part.strip() for part in line.partition(":"))
    if not colon or not TOKEN.fullmatch(name):
        raise _bad("--header", f"expected NAME: VALUE, got {line!r}")
    if why := OWN_HEADERS.get(name.lower()):
        raise _bad("--header", f"{name}: {why}")
    if not value.isprintable():
        raise _bad("--header", f"{name}: a value is one line of text, got {value!r}")
    return name.lower().encode(), value.encode()


def _body(text: str) -> bytes:
    try:
        return Path(text[1:]).read_bytes() if text.startswith("@") else text.encode()
    except OSError as error:
        raise click.ClickException(f"--body: {text[1:]}: {error.strerror}") from None
    except UnicodeEncodeError:
        raise _bad("--body", "not UTF-8; write it to a file and give @FILE") from None


def _bad(option: str, message: str) -> click.BadParameter:
    return click.BadParameter(message, param_hint=option)


def send(request: Request, snapshot: Snapshot, jwks: Path | None) -> Forward | Refuse | Answer:
    """What the gateway would do with the request; ClickException where it would need keys."""
    head = request.head(snapshot)
    facts = Facts(keyrings=offline_keyrings(snapshot, jwks))
    outcome = plan(head, facts, snapshot, time.time())
    if isinstance(outcome, Need) and outcome.kind == "body":
        outcome = plan(head, replace(facts, body=request.body), snapshot, time.time())
    if isinstance(outcome, Need):
        raise remote_keys(snapshot, outcome.issuer)
    return outcome


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
        "upstream": None,
        "target": None,
        "headers": _lines(outcome.headers),
        "response_headers": [],
        "revision": trail.revision,
    }
    told: dict[str, Any]
    match outcome:
        case Forward():
            told = {
                "outcome": "forwarded",
                "upstream": outcome.upstream.url,
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


def _lines(headers: tuple[tuple[bytes, bytes], ...]) -> list[str]:
    return [f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in headers]


def as_text(result: dict[str, Any]) -> str:
    """The same for people: first what happens, then why, then what is sent."""
    match result["outcome"]:
        case "forwarded":
            happens, sent = f"to {result['upstream']}{result['target']}", "sent to the upstream"
        case "refused":
            happens = f"{result['status']} {result['code']}: {result['title']}"
            sent = "sent to the client"
        case _:
            happens, sent = f"{result['status']} by the gateway itself", "sent to the client"
    rows = [
        ("why", result["detail"]),
        ("request", f"{result['method']} {result['path']}"),
        ("route", result["route"]),
        ("subject", _who(result)),
        ("decision", None if result["decision"] is None else encode(result["decision"]).decode()),
        *(
            ("reason", ": ".join(filter(None, (reason["code"], reason["message"]))))
            for reason in result["reasons"]
        ),
        ("revision", result["revision"]),
    ]
    lines = [f"{result['outcome']}: {happens}"]
    lines += [f"  {name:<9} {value}" for name, value in rows if value]
    for title, headers in ((sent, "headers"), ("added to the response", "response_headers")):
        if result[headers]:
            lines += [f"{title}:", *(f"  {line}" for line in result[headers])]
    return "\n".join(lines)


def _who(result: dict[str, Any]) -> str | None:
    if result["authenticated"]:
        return f"{result['subject']} (issuer {result['issuer']})"
    return None if result["authenticated"] is None else "anonymous"
