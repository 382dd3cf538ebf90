"""`gateway keys`: signing keys for development and tests."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any, get_args

import click

from gateway.commands.group import Group
from gateway.commands.inputs import read_key
from gateway.config.model import Algorithm
from gateway.jose.jwk import HMAC_BYTES, JwkError
from gateway.jose.sign import generate as generate_key

ALGORITHMS = get_args(Algorithm)


@click.group(cls=Group)
def keys() -> None:
    """Generate keys and show their public half."""


@keys.command()
@click.option(
    "--algorithm", "-a", type=click.Choice(ALGORITHMS), metavar="NAME", default="ES256",
    show_default=True,
    help=f"One of {', '.join(ALGORITHMS)}; those of HMAC (HS*) have a shared secret.",
)  # fmt: skip
@click.option("--kid", help="The key's id; its thumbprint (RFC 7638) by default.")
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A new file (owner-only) for the private key; standard output by default.",
)
def generate(algorithm: str, kid: str | None, out: Path | None) -> None:
    """Generate a private key as a JWK, or a shared secret.

    A shared secret (HS256, HS384, HS512) is text, as `keys.secret_file` of gateway.yaml reads it
    and `gateway token mint --algorithm` signs with it.

    Example: gateway keys generate -a EdDSA -o dev.private.jwk
    """
    if algorithm in HMAC_BYTES:
        if kid is not None:
            raise click.UsageError(f"--kid: a shared secret ({algorithm}) has no id")
        text = secrets.token_hex(HMAC_BYTES[algorithm]) + "\n"
    elif kid is not None and not kid.isprintable():
        raise click.UsageError(f"--kid: expected text, got {kid!r}")
    else:
        text = json.dumps(generate_key(algorithm, key_id=kid).private_jwk(), indent=2) + "\n"
    if out is None:
        click.echo(text, nl=False)
        return
    # An existing key is never overwritten, and nobody else may read a new one, ever.
    try:
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise click.ClickException(f"{out}: is there already; nothing was written") from None
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
    entries: dict[str, dict[str, Any]] = {}
    origins: dict[str, Path] = {}
    for file in files:
        key = read_key(file)
        if key.id in entries:
            raise click.ClickException(
                f"{file}: its kid {key.id!r} is that of {origins[key.id]}, too; the keys of a set "
                "need different ids (`gateway keys generate --kid`)"
            )
        try:
            entries[key.id] = key.public_jwk()
        except JwkError:
            raise click.ClickException(
                f"{file}: a shared secret has no public half, and nobody may see it; "
                "gateway.yaml reads it as text, from keys.secret_file"
            ) from None
        origins[key.id] = file
    click.echo(json.dumps({"keys": [*entries.values()]}, indent=2))
