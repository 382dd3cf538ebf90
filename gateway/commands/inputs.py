"""What commands read of their arguments and files, or an error that says what was expected."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
from joserfc.errors import JoseError

from gateway.config.document import read_document
from gateway.config.model import ASYMMETRIC, DURATION_UNITS
from gateway.config.secrets import read_secret
from gateway.errors import ConfigError, Problem
from gateway.jose.jwk import HMAC_BYTES, JwkError, from_secret
from gateway.jose.sign import SigningKey, load as load_key
from gateway.jose.strict_json import JsonError, loads

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_TOKEN = 1024**2
MAX_JSON = 64 * 1024**2
MAX_JSON_DEPTH = 512
COMPACT = "expected a token: three parts in base64url with dots between them"
PRIVATE_JWK = "expected a private JWK, as `gateway keys generate` writes it"

# What no string without quotes is meant to be.
_JSON_LOOKS = re.compile(r'\s*(?:[\[{"]|-?[0-9.]+(?:[eE][-+]?[0-9]+)?\s*$)')


def name_of(file: IO[bytes]) -> str:
    """The name of an open file for people."""
    name = str(getattr(file, "name", "<stdin>"))
    return "standard input" if name == "<stdin>" else name


def read_json(file: IO[bytes], option: str) -> Any:
    """The JSON in a file that an option names; ClickException where it is none."""
    try:
        return loads(file.read(MAX_JSON), max_depth=MAX_JSON_DEPTH, max_members=MAX_JSON)
    except JsonError as error:
        raise click.ClickException(f"{option}: {name_of(file)}: {error}") from None


def read_input(path: Path) -> Any:
    """The JSON, or YAML, in a file that is an input; `-` is stdin. Raises ConfigError."""
    name = "standard input" if str(path) == "-" else str(path)
    try:
        with click.open_file(str(path), "rb") as file:
            data = file.read(MAX_JSON)
        if path.suffix not in (".yaml", ".yml"):
            return loads(data, max_depth=MAX_JSON_DEPTH, max_members=MAX_JSON)
    except OSError as error:
        raise ConfigError((Problem(f"cannot be read: {error.strerror}", file=name),)) from None
    except JsonError as error:
        raise ConfigError((Problem(f"not JSON: {error}", file=name),)) from None
    document = read_document(data, None)
    if document.problems:
        raise ConfigError(tuple(replace(each, file=name) for each in document.problems))
    return document.tree


def read_token(file: IO[bytes]) -> str:
    """The token in a file, without blanks around it; ClickException for what cannot be one."""
    name = name_of(file)
    data = file.read(MAX_TOKEN + 1)
    if len(data) > MAX_TOKEN:
        raise click.ClickException(f"{name}: larger than {MAX_TOKEN} bytes; {COMPACT}")
    if not data.strip():
        raise click.ClickException(f"{name}: empty; {COMPACT}")
    try:
        text = data.decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise click.ClickException(
            f"{name}: byte {error.start + 1} is not ASCII; {COMPACT}"
        ) from None
    if text.lower().startswith("bearer "):
        raise click.ClickException(f"{name}: begins with {text[:6]!r}; leave only the token")
    return text


def read_key(file: Path, *, otherwise: str = "") -> SigningKey:
    """The private key in a JWK file; ClickException with the reason otherwise.

    `otherwise` says what else was possible, where the file could hold a shared secret.
    """
    data = file.read_bytes()
    try:
        return load_key(data)
    except (ValueError, TypeError, JoseError) as error:
        is_text = not data.lstrip().startswith((b"{", b"[")) and b"-----BEGIN " not in data
        more = f", {otherwise}" if otherwise and is_text else ""
        raise click.ClickException(f"{file}: {error}; {PRIVATE_JWK}{more}") from None


def read_shared_secret(file: Path, algorithm: str) -> SigningKey:
    """The secret in a text file, read as `keys.secret_file` is; it has no id."""
    secret = read_secret(file)
    if secret.lstrip().startswith(b"{"):
        raise click.ClickException(
            f"{file}: looks like a JWK, which names its algorithm itself; leave --algorithm out"
        )
    try:
        found = from_secret(secret)
    except JwkError as error:
        raise click.ClickException(f"{file}: {error}") from None
    if algorithm not in found.algorithms:
        raise click.ClickException(
            f"{file}: the secret is {len(secret)} bytes long; "
            f"{algorithm} needs {HMAC_BYTES[algorithm]} or more"
        )
    return SigningKey(id="", algorithm=algorithm, key=found.key)


def hmac_algorithm(ctx: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    """An option that names the algorithm of a shared secret."""
    if name is None or name in HMAC_BYTES:
        return name
    why = "only for shared secrets; a private JWK names its algorithm itself: leave it out"
    known = ", ".join(HMAC_BYTES)
    message = why if name in ASYMMETRIC else f"expected one of {known}, got {name!r}; it is {why}"
    raise click.BadParameter(message, ctx, parameter)


def claims_of(text: str, option: str = "--claims") -> dict[str, Any]:
    """The claims in an argument: a JSON object, or the name of a file with one."""
    given = text.lstrip().startswith(("{", "["))
    try:
        claims = loads(text if given else Path(text).read_bytes())
    except OSError as error:
        message = f"{text}: {error.strerror}; expected a JSON object or a file"
        raise click.ClickException(f"{option}: {message}") from None
    except ValueError as error:
        if given:
            raise click.BadParameter(f"not JSON: {error}", param_hint=option) from None
        raise click.ClickException(f"{option}: {text}: not JSON: {error}") from None
    if not isinstance(claims, dict):
        raise click.ClickException(
            f'{option}: {text}: expected a JSON object, such as {{"sub": "alice"}}'
        )
    return claims


def claim_of(text: str) -> tuple[str, Any]:
    """A claim's name and value in NAME=VALUE; a VALUE that does not look like JSON is a string."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"expected NAME=VALUE, got {text!r}", param_hint="--claim")
    try:
        return name, loads(value)
    except JsonError as error:
        if _JSON_LOOKS.match(value):
            raise click.BadParameter(
                f"{name}: {value} is not JSON: {error}; put double quotes round a string",
                param_hint="--claim",
            ) from None
        return name, value


def seconds_of(text: str, option: str = "--expires-in") -> int:
    """A lifetime in seconds; it may be negative, for a token that has expired."""
    found = re.fullmatch(r"(-?[0-9]{1,10})([a-z]*)", text)
    if not found or (found[2] or "s") not in DURATION_UNITS:
        raise click.BadParameter(
            f"expected a duration such as 30s, 5m or 1h, got {text!r}", param_hint=option
        )
    return int(int(found[1]) * DURATION_UNITS[found[2] or "s"])


def json_text(value: Mapping[str, Any], *, indent: int | None = None) -> str:
    """JSON whose numbers are exactly those that `strict_json` read."""
    mark = secrets.token_hex(8)  # json can write no number but its own
    separators = (",", ":") if indent is None else None
    made = json.dumps(
        value,
        ensure_ascii=False,
        indent=indent,
        separators=separators,
        default=lambda number: f"{mark}{number}",
    )
    return re.sub(f'"{mark}([^"]*)"', r"\1", made)
