"""Keys and signatures of bundles as options, named as OPA names them."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click
from pydantic import ValidationError

from gateway.bundle import signature
from gateway.bundle.trust import trust_of
from gateway.commands.inputs import read_key, read_shared_secret
from gateway.commands.options import config_file, no_such
from gateway.config.load import load
from gateway.config.model import Algorithm, Bundle, BundleKey, Section, Verification
from gateway.files import MAX_NAMED_FILE, read_file
from gateway.jose.jwk import HMAC_BYTES, JwkError
from gateway.jose.sign import SigningKey, load_pem
from gateway.jose.strict_json import JsonError, loads

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.bundle.signature import Trust

_Section = TypeVar("_Section", bound=Section)

ALGORITHMS = get_args(Algorithm)
DEFAULT_ALGORITHM = "RS256"
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)

signing_algorithm = click.option(
    "--signing-alg", "algorithm", type=click.Choice(ALGORITHMS), metavar="NAME",
    help=f"{DEFAULT_ALGORITHM} by default, or what a JWK says; one of {', '.join(ALGORITHMS)}.",
)  # fmt: skip
scope_option = click.option("--scope", default="", help="What the signature is for.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """What the options say of a signature to make."""

    signing_key: Path | None
    algorithm: str | None
    key_id: str | None
    claims_file: Path | None
    scope: str

    def key(self) -> SigningKey | None:
        """The key, None where no option names one; ClickException for one that does not do."""
        if self.signing_key is None:
            if self.algorithm or self.key_id or self.claims_file or self.scope:
                raise click.UsageError("name the key that signs, with --signing-key")
            return None
        if self.algorithm in HMAC_BYTES:
            return read_shared_secret(self.signing_key, str(self.algorithm))
        data = read_file(self.signing_key, MAX_NAMED_FILE)
        if data.lstrip().startswith(b"{"):
            key = read_key(self.signing_key)
            if self.algorithm not in (None, key.algorithm):
                said = f"is for {key.algorithm}, not {self.algorithm}"
                raise click.ClickException(f"{self.signing_key}: {said}")
            return key
        try:
            return load_pem(data, self.algorithm or DEFAULT_ALGORITHM)
        except JwkError as error:
            raise click.ClickException(f"{self.signing_key}: {error}") from None

    def signed(self, files: dict[str, bytes], key: SigningKey) -> dict[str, bytes]:
        """The files with their signature, in the place of one that is there; ClickException."""
        key_id = key.id if self.key_id is None else self.key_id
        try:
            made = signature.sign(files, key, key_id=key_id, claims=self.claims())
        except ValueError as error:
            raise click.ClickException(f"cannot be signed: {error}") from None
        return {**files, signature.NAME: made}

    def claims(self) -> dict[str, Any]:
        """What is signed besides the files."""
        claims: Any = {}
        if self.claims_file is not None:
            try:
                claims = loads(read_file(self.claims_file, MAX_NAMED_FILE))
            except JsonError as error:
                raise click.ClickException(f"{self.claims_file}: {error}") from None
            if not isinstance(claims, dict):
                raise click.ClickException(f"{self.claims_file}: expected a JSON object")
        if self.scope and claims.setdefault("scope", self.scope) != self.scope:
            raise click.UsageError(f"--scope: {self.claims_file} has another scope")
        return dict(claims)


_SIGNING = (
    click.option(
        "--signing-key", type=FILE, help="File with the private key (PEM, JWK) or the secret (HS*)."
    ),
    signing_algorithm,
    click.option("--key-id", help="The key's name in the signature; a JWK's `kid` by default."),
    click.option("--claims-file", type=FILE, help="JSON file with further claims to sign."),
    scope_option,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifying:
    """What the options say of how a bundle must be signed."""

    path: Path
    name: str | None
    verification_key: Path | None
    verification_key_id: str
    algorithm: str | None
    scope: str
    exclude: tuple[str, ...]

    def configured(self) -> Bundle | None:
        """The bundle of the configuration that --name names; ConfigError."""
        if self.name is None:
            return None
        if self.verification_key:
            raise click.UsageError("--name takes the configuration's keys; leave the others out")
        bundles = load(self.path, os.environ).config.policy.bundles
        if self.name not in bundles:
            raise no_such("bundle", self.name, bundles, "--name")
        return bundles[self.name]

    def verification(self) -> Verification | None:
        """What the options themselves say; None where they name no key."""
        if self.verification_key is None:
            if self.algorithm or self.scope or self.exclude:
                raise click.UsageError("name the key that verifies, with --verification-key")
            return None
        file = self.verification_key.absolute()
        algorithm: Any = self.algorithm or DEFAULT_ALGORITHM
        if algorithm in HMAC_BYTES:
            source = "secret_file"
        else:
            is_set = read_file(file, MAX_NAMED_FILE).lstrip().startswith(b"{")
            source = "jwks_file" if is_set else "pem_file"
        key = validated(BundleKey, {source: file, "algorithm": algorithm})
        keys = {self.verification_key_id: key}
        return validated(Verification, {"keys": keys, "scope": self.scope, "exclude": self.exclude})

    def trust(self) -> Trust:
        """The keys that count; without any, a signed bundle is refused. ConfigError."""
        bundle = self.configured()
        return trust_of(bundle.verification if bundle else self.verification())


_VERIFYING = (
    config_file,
    click.option("--name", help="A bundle of the configuration, whose keys count."),
    click.option(
        "--verification-key", type=FILE,
        help="File with the public key (PEM), a JWK Set or the secret (HS*).",
    ),
    click.option(
        "--verification-key-id", default="default", show_default=True,
        help="What the key is called; that of a JWK is its `kid`.",
    ),
    click.option(
        "--signing-alg", "algorithm", type=click.Choice(ALGORITHMS), metavar="NAME",
        help=f"What the key signs with: {', '.join(ALGORITHMS)}; {DEFAULT_ALGORITHM} by default.",
    ),
    scope_option,
    click.option(
        "--exclude-files-verify", "exclude", multiple=True, metavar="PATTERN",
        help="Files that need not be signed.",
    ),
)  # fmt: skip


def signing_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a signature to make, which it gets together as `signing`."""
    return _gathered(command, Signing, "signing", _SIGNING)


def verifying_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of the trusted keys, which it gets together as `verifying`."""
    return _gathered(command, Verifying, "verifying", _VERIFYING)


def _gathered(
    command: Callable[..., None],
    kind: type[Signing | Verifying],
    name: str,
    options: tuple[Callable[..., Any], ...],
) -> Callable[..., None]:
    @functools.wraps(command)
    def gathered(*arguments: Any, **given: Any) -> None:
        made = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        command(*arguments, **{name: made}, **given)

    made: Callable[..., None] = gathered
    for option in reversed(options):
        made = option(made)
    return made


def validated(model: type[_Section], given: dict[str, Any]) -> _Section:
    """A section of the configuration that options make; UsageError with its first fault."""
    try:
        return model(**given)
    except ValidationError as error:
        (first, *_) = error.errors()
        fault = first.get("ctx", {}).get("error")
        remedy = getattr(fault, "remedy", "")
        message = str(fault) if fault else f"{first['loc'][-1]}: {first['msg']}"
        raise click.UsageError(f"{message}; {remedy}" if remedy else message) from None
