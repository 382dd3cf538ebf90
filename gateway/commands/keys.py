"""`gateway keys`: signing keys for development and tests."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from gateway.config.model import Algorithm
from gateway.jose.sign import generate as generate_key, load as load_key, public_jwks

if TYPE_CHECKING:
    from gateway.jose.sign import SigningKey


@click.group()
def keys() -> None:
    """Generate keys and show their public half."""


@keys.command()
@click.option(
    "--algorithm", "-a", type=click.Choice(get_args(Algorithm)), default="ES256", show_default=True
)
@click.option("--kid", help="The key's id; its thumbprint (RFC 7638) by default.")
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A new file (owner-only) for the private key; standard output by default.",
)
def generate(algorithm: str, kid: str | None, out: Path | None) -> None:
    """Generate a private key as a JWK.

    Example: gateway keys generate -a EdDSA -o dev.private.jwk
    """
    text = json.dumps(generate_key(algorithm, key_id=kid).private_jwk(), indent=2) + "\n"
    if out is None:
        click.echo(text, nl=False)
        return
    # An existing key is never overwritten, and nobody else may read a new one, ever.
    handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)


@keys.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
def jwks(files: tuple[Path, ...]) -> None:
    """Print the public JWK Set of private keys.

    Example: gateway keys jwks dev.private.jwk > jwks.json
    """
    click.echo(json.dumps(public_jwks([read_key(file) for file in files]), indent=2))


def read_key(file: Path) -> SigningKey:
    """The private key in a file; ClickException with the reason otherwise."""
    try:
        return load_key(file.read_bytes())
    except ValueError as error:
        raise click.ClickException(f"{file}: {error}") from None
