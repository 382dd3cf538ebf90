"""`gateway token`: mint, inspect and verify tokens."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import click

from gateway.commands.group import Group
from gateway.commands.inputs import (
    COMPACT,
    claim_of,
    claims_of,
    hmac_algorithm,
    json_text,
    name_of,
    read_key,
    read_shared_secret,
    read_token,
    seconds_of,
)
from gateway.commands.offline import offline_keyrings, remote
from gateway.commands.options import config_file, no_such
from gateway.commands.token_revoke import revoke, revoked, unrevoke
from gateway.config.model import Issuer, Route
from gateway.errors import IdentityError
from gateway.jose import base64url
from gateway.jose.jwk import HMAC_BYTES
from gateway.jose.sign import sign_bytes
from gateway.jose.strict_json import loads
from gateway.model import Facts, Head, Match, Missing, Principal
from gateway.snapshot import Snapshot, load
from gateway.workbench.request import answered

TIMES = ("exp", "nbf", "iat", "auth_time")
LEEWAY = Issuer.model_fields["leeway"].default
LIFETIME = "1h"


@click.group(cls=Group)
def token() -> None:
    """Mint, inspect, verify and revoke tokens."""


for command in (revoke, unrevoke, revoked):
    token.add_command(command)


@token.command()
@click.option(
    "--key", "-k", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True,
    help="A private JWK, as `gateway keys generate` writes it, or a shared secret.",
)  # fmt: skip
@click.option(
    "--algorithm", "-a", callback=hmac_algorithm, metavar=f"[{'|'.join(HMAC_BYTES)}]",
    help="For a shared secret: FILE is text, as `keys.secret_file` of gateway.yaml reads it.",
)  # fmt: skip
@click.option("--claims", default="{}", help="Claims as JSON, or a file with them.")
@click.option("--iss", help="The issuer.")
@click.option("--sub", help="The subject.")
@click.option("--aud", multiple=True, help="An audience; may be given several times.")
@click.option("--claim", multiple=True, metavar="NAME=VALUE", help="One claim; VALUE may be JSON.")
@click.option(
    "--expires-in",
    help=f"Lifetime, such as 5m; {LIFETIME} by default, unless the claims have `exp`.",
)
@click.option("--typ", default="at+jwt", show_default=True, help="The header's `typ`.")
def mint(
    key: Path,
    algorithm: str | None,
    claims: str,
    iss: str | None,
    sub: str | None,
    aud: tuple[str, ...],
    claim: tuple[str, ...],
    expires_in: str | None,
    typ: str,
) -> None:
    """Sign a token with a key of your own, for tests.

    Single options replace what --claims says.

    Example: gateway token mint -k dev.private.jwk --iss https://dev.invalid/ --aud orders-api
    --sub alice --claim 'roles=["reader"]'
    """
    now = int(time.time())
    whole = {"iat": now, "exp": now + seconds_of(expires_in or LIFETIME)} | claims_of(claims)
    if expires_in is not None:
        whole["exp"] = now + seconds_of(expires_in)
    audience = aud[0] if len(aud) == 1 else list(aud) or None
    given = {"iss": iss, "sub": sub, "aud": audience}
    whole |= {name: value for name, value in given.items() if value is not None}
    whole |= dict(map(claim_of, claim))
    signing = (
        read_shared_secret(key, algorithm)
        if algorithm
        else read_key(key, otherwise="or -a HS256 with a shared secret")
    )
    header = {"alg": signing.algorithm, "kid": signing.id, "typ": typ}
    try:
        texts = [
            json_text(part).encode()
            for part in ({name: text for name, text in header.items() if text}, whole)
        ]
    except UnicodeEncodeError:
        raise click.UsageError("a claim or --typ is not UTF-8") from None
    click.echo(sign_bytes(texts[0], texts[1], signing))


@token.command(short_help="Show what a token says. Nothing is verified.")
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--format", "shape", type=click.Choice(["pretty", "json"]), default="pretty")
def inspect(file: IO[bytes], shape: str) -> None:
    """Show what the token in FILE (or on standard input) says. Nothing is verified.

    Example: gateway token inspect token.txt
    """
    header, claims = _parts(read_token(file), name_of(file))
    click.echo(json_text({"header": header, "claims": claims}, indent=2))
    if shape == "json":
        return
    now = time.time()
    for name in TIMES:
        if (moment := _moment(claims.get(name))) is not None:
            relation = "past" if claims[name] <= now else "to come"
            click.echo(f"{name}: {moment} ({relation})", err=True)
    click.echo(
        "Nothing is verified; `gateway token verify` does that. It grants exp, nbf and iat the "
        f"`leeway` of the issuer ({LEEWAY:g}s by default); `past` and `to come` do not.",
        err=True,
    )


def _moment(at: object) -> str | None:
    """A time claim for people; None where it is none that a calendar has."""
    if isinstance(at, bool) or not isinstance(at, int | float):
        return None
    try:
        return datetime.fromtimestamp(at, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return None


@token.command(short_help="Verify a token exactly as the gateway does.")
@click.argument("file", type=click.File("rb"), default="-")
@config_file
@click.option("--route", "route_id", help="The route whose issuers and audience count.")
@click.option(
    "--jwks", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The key set of issuers whose keys come from the network.",
)  # fmt: skip
@click.option(
    "--introspection", help="What the issuer answers about the token, as JSON or a file with it."
)
@click.option("--format", "shape", type=click.Choice(["pretty", "json"]), default="pretty")
def verify(
    file: IO[bytes],
    path: Path,
    route_id: str | None,
    jwks: Path | None,
    introspection: str | None,
    shape: str,
) -> None:
    """Verify the token in FILE (or on standard input) exactly as the gateway does.

    Exit codes: 0 it is good; 1 it is refused, or could not be looked at.

    Example: gateway token verify token.txt --config gateway.yaml
    """
    answer = claims_of(introspection, "--introspection") if introspection else None
    result = _verified(read_token(file), path, route_id, jwks, answer)
    if shape == "json":
        click.echo(json_text(result))
    elif result["verified"]:
        click.echo(f"good: subject {result['subject']!r} of issuer {result['issuer']}")
    else:
        detail = f" ({result['detail']})" if result["detail"] else ""
        click.echo(f"refused: {result['code']}: {result['title']}{detail}")
    if not result["verified"]:
        raise click.exceptions.Exit(1)


def _verified(
    text: str, path: Path, route_id: str | None, jwks: Path | None, answer: dict[str, Any] | None
) -> dict[str, Any]:
    snapshot = load(path, os.environ, now=time.time())
    routes = {route.id: route for route in snapshot.config.routes}
    if route_id is not None and route_id not in routes:
        raise no_such("route", route_id, routes, "--route")
    facts = Facts(
        keyrings=offline_keyrings(snapshot, jwks),
        introspected=answered(answer) if answer is not None else None,
    )
    try:
        principal = _identify(snapshot, facts, text, routes[route_id] if route_id else None)
    except IdentityError as error:
        code = error.code
        return {
            "verified": False, "code": code.text, "title": code.title, "detail": error.detail
        }  # fmt: skip
    except Missing as missing:
        raise remote(snapshot, missing.need) from None
    return {
        "verified": True,
        "issuer": principal.issuer,
        "subject": principal.subject,
        "claims": dict(principal.claims),
    }


def _identify(snapshot: Snapshot, facts: Facts, text: str, route: Route | None) -> Principal:
    header = snapshot.config.credentials.header
    head = Head(
        id="", method="GET", scheme="https", authority=b"", raw_path=b"/", query_string=b"",
        headers=((header.encode(), b"Bearer " + text.encode()),),
        http_version="1.1", peer="",
    )  # fmt: skip
    if route is None:
        route = Route(id="any", paths=("/",), upstream="http://127.0.0.1")
    route = route.model_copy(update={"authentication": "required"})
    match = Match(route=route, path="/", segments=(), params={}, host="")
    return snapshot.identifier.identify(head, match, facts, snapshot.keyrings, time.time())


def _parts(text: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the claims of a compact token, unverified."""
    parts = text.encode().split(b".")
    if len(parts) == 5:  # RFC 7516 §3.1
        raise click.ClickException(
            f"{name}: an encrypted token (JWE), which the gateway does not take"
        )
    if len(parts) != 3:
        raise click.ClickException(f"{name}: {len(parts)} parts between dots; {COMPACT}")
    read: dict[str, Any] = {}
    for which, part in zip(("header", "claims"), parts, strict=False):
        try:
            read[which] = loads(base64url.decode(part))
        except ValueError as error:
            raise click.ClickException(f"{name}: the {which}: {error}; {COMPACT}") from None
        if not isinstance(read[which], dict):
            raise click.ClickException(f"{name}: the {which}: expected a JSON object")
    return read["header"], read["claims"]
