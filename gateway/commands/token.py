"""`gateway token`: mint, inspect and verify tokens."""

from __future__ import annotations

import json
import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.commands.keys import read_key
from gateway.commands.options import config_file
from gateway.config.model import DURATION_UNITS, Route
from gateway.errors import IdentityError
from gateway.jose import base64url
from gateway.jose.sign import sign
from gateway.jose.strict_json import loads
from gateway.model import Facts, Head, Match, Missing, Principal
from gateway.snapshot import load

TIMES = ("exp", "nbf", "iat", "auth_time")


@click.group()
def token() -> None:
    """Mint, inspect and verify tokens."""


@token.command()
@click.option(
    "--key", "-k", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True,
    help="A private JWK, as `gateway keys generate` writes it.",
)  # fmt: skip
@click.option("--claims", default="{}", help="Claims as JSON, or a file with them.")
@click.option("--iss", help="The issuer.")
@click.option("--sub", help="The subject.")
@click.option("--aud", multiple=True, help="An audience; may be given several times.")
@click.option("--claim", multiple=True, metavar="NAME=VALUE", help="One claim; VALUE may be JSON.")
@click.option("--expires-in", default="1h", show_default=True, help="Lifetime, such as 5m or 1h.")
@click.option("--typ", default="at+jwt", show_default=True, help="The header's `typ`.")
def mint(
    key: Path,
    claims: str,
    iss: str | None,
    sub: str | None,
    aud: tuple[str, ...],
    claim: tuple[str, ...],
    expires_in: str,
    typ: str,
) -> None:
    """Sign a token with a key of your own, for tests.

    Example: gateway token mint -k dev.private.jwk --iss https://dev.invalid/ --aud orders-api
    --sub alice --claim 'roles=["reader"]'
    """
    now = int(time.time())
    whole: dict[str, Any] = {"iat": now, "exp": now + _seconds(expires_in), **_claims(claims)}
    audience: str | list[str] | None = list(aud) or None
    if len(aud) == 1:
        audience = aud[0]
    given = {"iss": iss, "sub": sub, "aud": audience}
    whole |= {name: value for name, value in given.items() if value is not None}
    whole |= dict(map(_claim, claim))
    click.echo(sign({"typ": typ} if typ else {}, whole, read_key(key)))


@token.command()
@click.argument("file", type=click.File("r"), default="-")
@click.option("--format", "shape", type=click.Choice(["pretty", "json"]), default="pretty")
def inspect(file: Any, shape: str) -> None:
    """Show what a token says. Nothing is verified.

    Example: gateway token inspect token.txt
    """
    header, claims = _parts(file.read().strip())
    click.echo(json.dumps({"header": header, "claims": claims}, indent=2, ensure_ascii=False))
    if shape == "json":
        return
    now = time.time()
    for name in TIMES:
        at = claims.get(name)
        if isinstance(at, int | float) and abs(at) < 1e11:
            when = datetime.fromtimestamp(at, UTC).isoformat()
            click.echo(f"{name}: {when} ({'past' if at <= now else 'to come'})", err=True)
    click.echo("not verified: `gateway token verify` does that", err=True)


@token.command()
@click.argument("file", type=click.File("r"), default="-")
@config_file
@click.option("--route", "route_id", help="The route whose issuers and audience count.")
@click.option(
    "--jwks", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Keys for an issuer that fetches its own.",
)  # fmt: skip
@click.option("--format", "shape", type=click.Choice(["pretty", "json"]), default="pretty")
def verify(file: Any, path: Path, route_id: str | None, jwks: Path | None, shape: str) -> None:
    """Verify a token exactly as the gateway does; exit 0 if it is good, else 1.

    Example: gateway token verify token.txt --config gateway.yaml
    """
    text = file.read().strip()
    result = _verified(text, path, route_id, jwks)
    if shape == "json":
        click.echo(json.dumps(result, ensure_ascii=False))
    elif result["verified"]:
        click.echo(f"good: subject {result['subject']!r} of issuer {result['issuer']}")
    else:
        click.echo(f"refused: {result['code']}: {result['detail'] or result['title']}")
    if not result["verified"]:
        raise click.exceptions.Exit(1)


def _verified(text: str, path: Path, route_id: str | None, jwks: Path | None) -> dict[str, Any]:
    snapshot = load(path, os.environ)
    routes = {route.id: route for route in snapshot.config.routes}
    if route_id is not None and route_id not in routes:
        raise click.ClickException(f"no route {route_id!r}; there are {', '.join(routes)}")
    keyrings = offline_keyrings(snapshot, jwks)
    try:
        principal = _identify(snapshot, keyrings, text, routes[route_id] if route_id else None)
    except IdentityError as error:
        code = error.code
        return {
            "verified": False, "code": code.text, "title": code.title, "detail": error.detail
        }  # fmt: skip
    except Missing as missing:
        raise click.ClickException(
            f"the keys of issuer {missing.need.issuer!r} are remote; give them with --jwks FILE"
        ) from None
    return {
        "verified": True,
        "issuer": principal.issuer,
        "subject": principal.subject,
        "claims": dict(principal.claims),
    }


def _identify(snapshot: Any, keyrings: Any, text: str, route: Route | None) -> Principal:
    header = snapshot.config.credentials.header
    head = Head(
        id="", method="GET", scheme="https", authority=b"", raw_path=b"/", query_string=b"",
        headers=((header.encode(), b"Bearer " + text.encode("utf-8", "replace")),),
        http_version="1.1", peer="",
    )  # fmt: skip
    if route is None:
        route = Route(id="any", paths=("/",), upstream="http://127.0.0.1")
    route = route.model_copy(update={"authentication": "required"})
    match = Match(route=route, path="/", segments=(), params={}, host="")
    principal: Principal = snapshot.identifier.identify(head, match, Facts(), keyrings, time.time())
    return principal


def offline_keyrings(snapshot: Any, jwks: Path | None) -> dict[str, Any]:
    """The snapshot's keyrings, with those of remote issuers from a file."""
    from gateway.identify import Keyring  # noqa: PLC0415

    keyrings = dict(snapshot.keyrings)
    if jwks is not None:
        try:
            given = Keyring.from_jwks(jwks.read_bytes())
        except ValueError as error:
            raise click.ClickException(f"{jwks}: {error}") from None
        for name, issuer in snapshot.config.issuers.items():
            if issuer.keys.remote:
                keyrings[name] = given
    return keyrings


def _seconds(text: str) -> int:
    found = re.fullmatch(r"(-?\d+)([a-z]*)", text)
    if not found or (found[2] or "s") not in DURATION_UNITS:
        raise click.BadParameter("expected a duration such as 30s, 5m or 1h")
    return int(int(found[1]) * DURATION_UNITS[found[2] or "s"])


def _claims(text: str) -> dict[str, Any]:
    try:
        data = text.encode() if text.lstrip().startswith("{") else Path(text).read_bytes()
        claims = loads(data)
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"not JSON: {error}") from None
    if not isinstance(claims, dict):
        raise click.BadParameter("claims are a JSON object")
    return claims


def _claim(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"expected NAME=VALUE, got {text!r}")
    try:
        return name, loads(value.encode())
    except ValueError:
        return name, value


def _parts(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        header, claims, _ = text.encode("ascii").split(b".")
        parts = [loads(base64url.decode(part)) for part in (header, claims)]
    except ValueError as error:
        raise click.ClickException(f"not a compact token: {error}") from None
    if not (isinstance(parts[0], dict) and isinstance(parts[1], dict)):
        raise click.ClickException("not a compact token: header and claims must be objects")
    return parts[0], parts[1]
