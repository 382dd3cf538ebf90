"""Issuers with generated keys, tokens of theirs, and requests that carry them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from gateway.config.model import Config
from gateway.identify import Keyring
from gateway.jose.sign import SigningKey, generate, public_jwks, sign
from gateway.model import Head, Match

NOW = 1_790_000_000.0
ISSUER = "https://issuer.example"
AUDIENCE = "api"


def key(algorithm: str = "ES256", name: str = "k1") -> SigningKey:
    """A key pair, generated once for each algorithm and id."""
    return _generated(algorithm, name)


@cache
def _generated(algorithm: str, name: str) -> SigningKey:
    return generate(algorithm, key_id=name)


def keyring(*keys: SigningKey) -> Keyring:
    """The public keyring of `keys`."""
    return Keyring.from_jwks(json.dumps(public_jwks(keys)).encode())


def claims(**changes: Any) -> dict[str, Any]:
    """Claims of a good token at NOW; a change of `...` removes the claim."""
    good = {
        "iss": ISSUER,
        "sub": "alice",
        "aud": AUDIENCE,
        "iat": int(NOW) - 60,
        "exp": int(NOW) + 300,
        **changes,
    }
    return {name: value for name, value in good.items() if value is not ...}


def token(
    signer: SigningKey | None = None, header: Mapping[str, Any] | None = None, **changes: Any
) -> str:
    """A signed token at NOW with changed claims."""
    return sign(header or {}, claims(**changes), signer or key())


def config(
    issuer: Mapping[str, Any] | None = None,
    route: Mapping[str, Any] | None = None,
    **top: Any,
) -> Config:
    """One remote issuer `main` and one route, with changes to either."""
    base: dict[str, Any] = {
        "issuers": {
            "main": {
                "issuer": ISSUER,
                "keys": {"jwks_url": "https://issuer.example/jwks"},
                "audience": AUDIENCE,
                "algorithms": ["ES256"],
                **(issuer or {}),
            }
        },
        "routes": [
            {
                "id": "all",
                "paths": "/{rest:path}",
                "upstream": "http://127.0.0.1:9",
                **(route or {}),
            }
        ],
    }
    return Config.model_validate({**base, **top})


def head(*headers: tuple[bytes, bytes], bearer: str | bytes | None = None) -> Head:
    """A GET request with these header lines, and a bearer token."""
    if bearer is not None:
        raw = bearer.encode() if isinstance(bearer, str) else bearer
        headers = (*headers, (b"authorization", b"Bearer " + raw))
    return Head(
        id="d1",
        method="GET",
        scheme="https",
        authority=b"api.example",
        raw_path=b"/",
        query_string=b"",
        headers=((b"host", b"api.example"), *headers),
        http_version="1.1",
        peer="127.0.0.1",
    )


def match(of: Config, number: int = 0) -> Match:
    """A match of the configuration's route."""
    return Match(route=of.routes[number], path="/", segments=(), params={}, host="api.example")
