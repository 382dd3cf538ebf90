"""The gateway as a confidential client: it authenticates at an endpoint and reads the answer."""

from __future__ import annotations

import base64
import re
import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal, Self
from urllib.parse import quote_plus

from gateway.config.model import public_url
from gateway.config.secrets import read_secret
from gateway.errors import ConfigError, Problem
from gateway.files import read_file
from gateway.jose.jwk import JwkError
from gateway.jose.sign import SigningKey, load_pem, sign
from gateway.jose.strict_json import JsonError, loads
from gateway.serve.fetch import JSON, FetchError, post

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.model import Client, OAuthEndpoint

Form = tuple[tuple[str, str], ...]

LIFETIME: Final = 60
"""Seconds from `iat` to `exp` of a client's assertion."""
MAX_KEY: Final = 65536
MAX_DEPTH: Final = 32
ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

# What is no name of an error may be anything, an echo of the token too.
_ERROR: Final = re.compile(r"[a-z_]{1,48}")
_SECONDS: Final = re.compile(r"[0-9]{1,6}")


class EndpointError(Exception):
    """There is no answer that can be used; the text holds nothing that was sent.

    `away`: it cannot be reached, or not now, and may be tried again after `retry_after` seconds
    (0: not said). `refused`: it answered with `error` (RFC 6749 §5.2). `fault`: all else.
    """

    def __init__(
        self,
        kind: Literal["away", "refused", "fault"],
        text: str,
        *,
        error: str = "",
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(text)
        self.kind = kind
        self.error = error
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a client proves itself with: a secret, or a key to sign with.

    Equal to others that prove the same; of the key, its file's digest is compared.
    """

    client: Client
    secret: str = field(default="", repr=False)
    key: SigningKey | None = field(default=None, repr=False, compare=False)
    key_digest: bytes = b""

    @classmethod
    def read(cls, client: Client) -> Self:
        """Those of a client; ConfigError where its file cannot be used. Blocking."""
        if client.authentication == "none":
            return cls(client=client)
        if client.key_file is not None:
            return cls(client=client, **_key(client, client.key_file))
        if client.secret is not None:
            return cls(client=client, secret=client.secret.get_secret_value())
        assert client.secret_file is not None
        try:
            return cls(client=client, secret=read_secret(client.secret_file).decode())
        except UnicodeDecodeError:
            problem = Problem("the secret is no UTF-8", file=str(client.secret_file))
            raise ConfigError((problem,)) from None

    def added(self, url: str, now: float) -> tuple[dict[str, str], Form]:
        """The headers and the form fields that authenticate a call to `url` at `now`."""
        client = self.client
        if self.key is not None:
            return {}, (
                ("client_id", client.id),
                ("client_assertion_type", ASSERTION),
                ("client_assertion", self._assertion(url, now)),
            )
        if client.authentication == "none":
            return {}, (("client_id", client.id),)
        if client.authentication == "client_secret_post":
            return {}, (("client_id", client.id), ("client_secret", self.secret))
        # RFC 6749 §2.3.1: both are form-encoded before they are joined.
        pair = f"{quote_plus(client.id)}:{quote_plus(self.secret)}"
        return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}, ()

    def _assertion(self, url: str, now: float) -> str:
        assert self.key is not None
        client = self.client
        header = {"alg": self.key.algorithm, "typ": "JWT"}
        claims = {
            "iss": client.id,
            "sub": client.id,
            "aud": client.audience or url,
            "jti": secrets.token_urlsafe(16),
            "iat": int(now),
            "exp": int(now) + LIFETIME,
        }
        return sign(
            {**header, **({"kid": client.key_id} if client.key_id else {})}, claims, self.key
        )


async def call(
    endpoint: OAuthEndpoint, credentials: Credentials, form: Form, now: float
) -> dict[str, Any]:
    """The members of an endpoint's 200 answer to a form; EndpointError for any other."""
    headers, proof = credentials.added(endpoint.url, now)
    try:
        reply = await post(
            endpoint.url,
            (*form, *proof),
            seconds=endpoint.timeout,
            headers={**JSON, **headers},
            allow_private=endpoint.allow_private_addresses,
            insecure_http=endpoint.insecure_http,
        )
    except FetchError as error:
        raise EndpointError("away", str(error)) from None
    where = public_url(endpoint.url)
    if reply.status == 429 or reply.status >= 500:
        seconds = float(reply.retry_after) if _SECONDS.fullmatch(reply.retry_after) else 0.0
        raise EndpointError("away", f"{where} answered {reply.status}", retry_after=seconds)
    try:
        document = loads(reply.body, max_depth=MAX_DEPTH)
    except JsonError:
        document = None
    if not isinstance(document, dict):
        raise EndpointError("fault", f"{where} answered {reply.status} without a JSON object")
    if reply.status == 200:
        return document
    named = document.get("error")
    if isinstance(named, str) and _ERROR.fullmatch(named):
        raise EndpointError("refused", f"{where} answered {named}", error=named)
    raise EndpointError("fault", f"{where} answered {reply.status} without an error's name")


def _key(client: Client, file: Path) -> dict[str, Any]:
    try:
        content = read_file(file, MAX_KEY)
        key = load_pem(content, client.algorithm)
    except (OSError, JwkError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError((Problem(f"{reason}", file=str(file)),)) from None
    return {"key": key, "key_digest": sha256(content).digest()}
