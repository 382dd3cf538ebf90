"""`gateway bundle`: build, inspect, sign, verify and fetch OPA bundles."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.bundle import archive
from gateway.bundle.build import gather
from gateway.bundle.errors import BundleError
from gateway.bundle.reader import read_bundle, sorted_out
from gateway.bundle.signature import Verified
from gateway.commands import report
from gateway.commands.bundle_options import (
    FILE,
    Signing,
    Verifying,
    signing_options,
    validated,
    verifying_options,
)
from gateway.commands.bundle_report import as_dict, as_lines
from gateway.commands.group import Group
from gateway.config.model import Bundle
from gateway.files import read_file
from gateway.rego import CompileError
from gateway.rego.compiler import Unit, all_good, compile_all
from gateway.rego.testing import suites
from gateway.serve.bundles import download
from gateway.serve.fetch import FetchError
from gateway.snapshot import as_config_error

if TYPE_CHECKING:
    from gateway.bundle.folder import PolicySources
    from gateway.serve.bundles import Download

DEFAULT_OUTPUT = Path("bundle.tar.gz")
shape_option = click.option(
    "--format", "-f", "shape", type=click.Choice(["pretty", "json"]), default="pretty"
)
output_option = click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), default=DEFAULT_OUTPUT,
    show_default=True, help="The archive to write.",
)  # fmt: skip


@click.group(cls=Group)
def bundle() -> None:
    """Build, inspect, sign, verify and fetch OPA bundles."""


@bundle.command(short_help="Build a bundle of policies and data.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@output_option
@click.option("--revision", "-r", help="The revision that its manifest names.")
@click.option(
    "--root", "roots", multiple=True, metavar="PATH",
    help="A part of data that it owns, such as gateway/authz; all of it by default.",
)  # fmt: skip
@click.option(
    "--ignore",
    multiple=True,
    metavar="PATTERN",
    help="What to leave out, as '*_test.rego'.",
)
@signing_options
@shape_option
def build(
    paths: tuple[Path, ...],
    output: Path,
    revision: str | None,
    roots: tuple[str, ...],
    ignore: tuple[str, ...],
    signing: Signing,
    shape: str,
) -> None:
    """Build a bundle of the policies and data below PATHS, as `opa build -b` does.

    The same files make the same bytes. A `.manifest` in the folder is taken over, and options go
    before it. The policies must compile; nothing in them is optimised or rewritten.

    Example: gateway bundle build policies --revision "$(git rev-parse HEAD)" -o authz.tar.gz
    """
    key = signing.key()
    files, sources = gather(
        tuple(path.absolute() for path in paths), ignore=ignore, revision=revision, roots=roots
    )
    if not (sources.modules or sources.tests or sources.data):
        raise click.ClickException("there is nothing in it: no .rego, no data.json, no data.yaml")
    _compile(sources)
    _write(output, archive.write(files if key is None else signing.signed(files, key)), shape)


@bundle.command(short_help="Show what is in a bundle. Nothing is verified.")
@click.argument("file", type=FILE)
@shape_option
def inspect(file: Path, shape: str) -> None:
    """Show manifest, packages, data, files and signature of the bundle FILE. Nothing is verified.

    Example: gateway bundle inspect bundle.tar.gz --format json | jq .manifest.revision
    """
    found = as_dict(_read(file), file)
    click.echo(json.dumps(found, indent=2) if shape == "json" else "\n".join(as_lines(found)))


@bundle.command(short_help="Sign a bundle.")
@click.argument("file", type=FILE)
@signing_options
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False),
    help="The signed archive; FILE itself by default.",
)  # fmt: skip
@shape_option
def sign(file: Path, signing: Signing, output: Path | None, shape: str) -> None:
    """Write the signature of the bundle FILE into it, in the place of one that is there.

    Example: gateway bundle sign authz.tar.gz --signing-key ci.private.jwk --scope production
    """
    key = signing.key()
    if key is None:
        raise click.UsageError("name the key that signs, with --signing-key")
    _write(output or file, archive.write(signing.signed(_read(file), key)), shape)


@bundle.command(short_help="Verify a bundle as the gateway does.")
@click.argument("file", type=FILE)
@verifying_options
@shape_option
def verify(file: Path, verifying: Verifying, shape: str) -> None:
    """Verify that the bundle FILE can be read and is signed as it must be.

    The keys are those of the options, or of the bundle --name of the configuration.
    Exit codes: 0 it is good; 1 it is refused.

    Example: gateway bundle verify authz.tar.gz --verification-key ci.pem --signing-alg ES256
    """
    trust = verifying.trust()
    data = read_file(file, archive.MAX_PACKED)
    try:
        found = read_bundle(data, str(file), trust, time.time())
    except BundleError as error:
        if shape == "pretty":
            raise
        problem = report.as_json(error.problems[0])
        click.echo(json.dumps({"verified": False, "code": error.reason.code, **problem}))
        raise click.exceptions.Exit(1) from None
    result = {
        "verified": True,
        "revision": found.manifest.revision,
        "signed_by": found.signed.key_id or None,
        "files": len(found.files),
    }
    by = f"signed by {found.signed.key_id}" if found.signed.key_id else "not signed"
    text = f"good: revision {found.manifest.revision!r}, {by}"
    click.echo(json.dumps(result) if shape == "json" else text)


@bundle.command(short_help="Fetch a bundle from a URL, verified.")
@click.argument("url", required=False)
@output_option
@click.option("--token-file", type=FILE, help="File with the bearer token.")
@click.option("--timeout", default="30s", show_default=True, help="Time limit for all of it.")
@click.option("--insecure-unsigned", is_flag=True, help="Take a bundle that nobody signed.")
@click.option("--insecure-http", is_flag=True, help="Plain http, not only to loopback.")
@click.option("--allow-private-addresses", is_flag=True, help="Also from private networks.")
@verifying_options
@shape_option
def pull(
    url: str | None,
    output: Path,
    verifying: Verifying,
    shape: str,
    **options: Any,
) -> None:
    """Fetch the bundle at URL, or the bundle --name of the configuration, as the gateway does.

    It is written only if it is good.

    Example: gateway bundle pull https://bundles.example/authz.tar.gz --verification-key ci.pem
    """
    configured = verifying.configured()
    if (url is None) == (configured is None):
        raise click.UsageError("name a URL, or a bundle of the configuration with --name")
    if configured is None:
        if verifying.verification_key is None and not options["insecure_unsigned"]:
            raise click.UsageError(
                "name the key with --verification-key, or add --insecure-unsigned"
            )
        given = {"url": url, "verification": verifying.verification(), **options}
        configured = validated(Bundle, given)
    if configured.url is None:
        raise click.UsageError(f"the bundle {verifying.name} is on disk: {configured.file}")
    found = asyncio.run(_download(configured))
    assert found.data is not None
    _write(output, found.data, shape)


async def _download(asked: Bundle) -> Download:
    try:
        return await download(asked)
    except FetchError as error:
        raise click.ClickException(str(error)) from None


def _read(file: Path) -> dict[str, bytes]:
    """All files of a bundle, whether they mean something or not; ConfigError."""
    try:
        files = archive.read(read_file(file, archive.MAX_PACKED))
        sorted_out(files, Verified())
    except BundleError as error:
        raise error.of(str(file)) from None
    return files


def _compile(sources: PolicySources) -> None:
    """ConfigError where policies or their tests do not compile."""
    tests = suites(sources.modules, sources.tests)
    units = [Unit(modules=suite.modules) for suite in tests]
    if sources.modules:
        units.append(Unit(modules=sources.modules))
    try:
        all_good(compile_all(units))
    except CompileError as error:
        raise as_config_error(error) from None


def _write(path: Path, data: bytes, shape: str) -> None:
    """Write an archive as a whole or not at all, and say so."""
    files = archive.read(data)
    found = sorted_out(files, Verified())
    handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        # mkstemp's file is for its owner only; this one is to be published.
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    made = {
        "file": str(path),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "revision": found.manifest.revision,
        "files": sorted(files),
    }
    counts = f"{report.counted(len(files), 'file')}, {len(data)} bytes"
    text = f"{path}: {counts}, revision {found.manifest.revision!r}\nsha256 {made['sha256']}"
    click.echo(json.dumps(made) if shape == "json" else text)
