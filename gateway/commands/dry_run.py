"""One request through the whole pipeline, as the options of a command describe it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.commands.offline import offline_keyrings, remote
from gateway.config.values import Malformed
from gateway.model import Need
from gateway.record.encode import encode
from gateway.record.text import one_line
from gateway.workbench.request import make_request, send as send_request

if TYPE_CHECKING:
    from gateway.model import Answer, Forward, Refuse
    from gateway.snapshot import Snapshot
    from gateway.workbench.request import Request

OPTIONS = {"headers": "--header"}
"""The options of a request's parts, where the part has another name."""


def read_request(
    token: str | None,
    introspection: dict[str, Any] | None,
    method: str,
    target: str,
    lines: tuple[str, ...],
    body: str | None,
    scheme: str | None,
    host: str,
    address: str,
) -> Request:
    """The request that the options describe; click.BadParameter for what no listener would take."""
    try:
        return make_request(
            token=token,
            introspection=introspection,
            method=method,
            path=target,
            headers=tuple(map(_header, lines)),
            body=_body(body or ""),
            scheme=scheme,
            host=host,
            address=address,
        )
    except Malformed as error:
        (part,) = error.key
        raise _bad(OPTIONS.get(part, f"--{part}"), str(error)) from None


def _header(line: str) -> tuple[str, str]:
    name, colon, value = (part.strip() for part in line.partition(":"))
    if not colon:
        raise _bad("--header", f"expected NAME: VALUE, got {line!r}")
    return name, value


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
    outcome = send_request(request, snapshot, offline_keyrings(snapshot, jwks), time.time())
    if isinstance(outcome, Need):
        raise remote(snapshot, outcome)
    return outcome


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
        ("reported", result["unenforced"]),
        ("token", _asked(result["upstream_token"])),
        ("revision", result["revision"] + (" (canary)" if result["canary"] else "")),
    ]
    lines = [f"{result['outcome']}: {happens}"]
    lines += [f"  {name:<9} {value}" for name, value in rows if value]
    for title, headers in ((sent, "headers"), ("added to the response", "response_headers")):
        if result[headers]:
            lines += [f"{title}:", *(f"  {line}" for line in result[headers])]
    return "\n".join(map(one_line, lines))


def _asked(token: dict[str, Any] | None) -> str | None:
    """The token that the upstream would get besides; nobody was asked for it."""
    if token is None:
        return None
    what = "in exchange for the client's" if token["exchange"] else "of the gateway's own"
    return f"{what}, from token endpoint {token['endpoint']}"


def _who(result: dict[str, Any]) -> str | None:
    if result["authenticated"]:
        return f"{result['subject']} (issuer {result['issuer']})"
    return None if result["authenticated"] is None else "anonymous"
