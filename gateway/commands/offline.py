"""Keys for commands that fetch nothing from the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gateway.identify import Keyring
from gateway.identify.discovery import discovery_url
from gateway.identify.keyring import KeysError

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model import Need
    from gateway.snapshot import Snapshot


def offline_keyrings(snapshot: Snapshot, jwks: Path | None) -> dict[str, Keyring]:
    """The keyrings of the issuers whose keys come from the network, read from a file instead.

    Without a file there are none, and a token of such an issuer needs its keys first.
    """
    remote = [
        name
        for name, issuer in snapshot.config.issuers.items()
        if issuer.keys is not None and issuer.keys.remote
    ]
    if jwks is None:
        return {}
    if not remote:
        raise click.UsageError("--jwks: no issuer of the configuration has its keys elsewhere")
    try:
        given = Keyring.from_jwks(jwks.read_bytes())
    except KeysError as error:
        remedy = error.remedy or "expected a JWK Set, as the issuer publishes it"
        raise click.ClickException(f"{jwks}: {error}; {remedy}") from None
    return dict.fromkeys(remote, given)


def remote(snapshot: Snapshot, need: Need) -> click.ClickException:
    """What to say where something is needed that only the network has."""
    name = need.issuer
    issuer = snapshot.config.issuers[name]
    if need.kind == "introspection":
        return click.ClickException(
            f"issuer {name!r} would be asked about the token, where this command does not go; "
            "give its answer with --introspection, as JSON or a file with it"
        )
    place = issuer.key_source.jwks_url or f"the jwks_uri of {discovery_url(issuer)}"
    return click.ClickException(
        f"the keys of issuer {name!r} come from the network, where this command does not go; "
        f"save {place} to a file and add --jwks FILE"
    )
