"""`gateway init`: a configuration, a policy with its tests and a development key to start from."""

from __future__ import annotations

import json
import os
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.jose.sign import generate, public_jwks

if TYPE_CHECKING:
    from collections.abc import Mapping

TEMPLATE = ("gateway.yaml", "policies/authz.rego", "policies/authz_test.rego")
SAMPLE = "sample/claims.json"
PRIVATE_KEY = "keys/dev.private.jwk"
"""Also named in the template's text."""

IGNORED = f"""\
# Private keys, tokens, and what the gateway keeps for itself.
{PRIVATE_KEY}
*.jwt
.gateway/
"""

CLAIMS = {
    "iss": "https://dev.invalid/",
    "aud": "orders-api",
    "sub": "alice",
    "roles": ["reader"],
}
"""Claims of a sample token; `gateway token mint` adds the times."""

NEXT_STEPS = """\
Next, in {folder}:
  gateway config check     see that all is well
  gateway policy test      run the policy's tests
  gateway echo             run a sample service on 127.0.0.1:9000
  gateway serve            run the gateway on 127.0.0.1:8080, before that service
  gateway token mint -k {key} --claims {claims} > alice.jwt
                           make a token to try it with
  curl -i -H "Authorization: Bearer $(cat alice.jwt)" http://127.0.0.1:8080/orders/42
                           ask for something
"""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--format", "form", type=click.Choice(["pretty", "json"]), default="pretty", show_default=True
)
def init(folder: Path, form: str) -> None:
    """Write a configuration, a policy with its tests and a development key into FOLDER.

    Nothing is overwritten: if one of the files is there already, nothing is written.

    Example: gateway init orders-gateway && cd orders-gateway && gateway config check
    """
    files = contents()
    if conflicts := [name for name in files if os.path.lexists(folder / name)]:
        listed = "\n".join(f"  {folder / name}" for name in conflicts)
        raise click.ClickException(f"nothing was written, because these are there:\n{listed}")
    for name, text in files.items():
        _write(folder / name, text, private=name == PRIVATE_KEY)
    if form == "json":
        click.echo(json.dumps({"folder": str(folder), "files": list(files)}, indent=2))
        return
    for name in files:
        click.echo(f"wrote {folder / name}")
    click.echo("\n" + NEXT_STEPS.format(folder=folder, key=PRIVATE_KEY, claims=SAMPLE), nl=False)


def contents() -> Mapping[str, str]:
    """The files by their names, with a key pair made anew."""
    template = resources.files("gateway.commands") / "template"
    key = generate("ES256")
    return {
        **{name: template.joinpath(name).read_text(encoding="utf-8") for name in TEMPLATE},
        "keys/dev.jwks.json": _json(public_jwks([key])),
        PRIVATE_KEY: _json(key.private_jwk()),
        SAMPLE: _json(CLAIMS),
        ".gitignore": IGNORED,
    }


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"


def _write(path: Path, text: str, *, private: bool) -> None:
    """Create the file; one that appeared meanwhile is an error, and so is a link in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = 0o600 if private else 0o644
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
