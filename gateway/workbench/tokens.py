"""Tokens for scenarios, signed by keys that stand in for those of the issuers."""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from gateway.config.validate import did_you_mean
from gateway.config.values import Malformed
from gateway.files import MAX_NAMED_FILE, read_file
from gateway.identify import Keyring, KeysError, accepted_algorithms
from gateway.jose import base64url
from gateway.jose.sign import SigningKey, generate, public_jwks, sign_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.config.model import Config, Issuer
    from gateway.workbench.scenario import TokenRecipe

QUICKEST = ("ES256", "EdDSA", "Ed25519", "ES384", "ES512", "HS256", "HS384", "HS512", "RS256")
"""Algorithms by what a new key costs."""

KEY_ID = "test"


class Mint:
    """Makes the tokens of one configuration."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._keys: dict[tuple[str, str], SigningKey] = {}

    @cached_property
    def keyrings(self) -> dict[str, Keyring]:
        """For each issuer the keys that verify what it signs here."""
        return {name: self._keyring(name, issuer) for name, issuer in self._config.issuers.items()}

    def token(self, name: str, recipe: TokenRecipe, now: float) -> str:
        """The token's text; Malformed for an issuer or a file that is not there."""
        if recipe.file is not None:
            return _text(recipe.file)
        issuer_name, issuer = self._issuer(recipe)
        if _is_opaque(recipe, issuer):
            return "opaque-" + re.sub(r"[^A-Za-z0-9_~+/-]", "-", name)
        usual = _usual(name, recipe, issuer, now)
        algorithm = _algorithm(issuer)
        key = self._key(issuer_name, recipe.signed_by, algorithm)
        unsigned = recipe.signed_by == "nobody"
        kind = "at+jwt" if "at+jwt" in issuer.types else next(iter(issuer.types), "")
        header = {
            "alg": "none" if unsigned else algorithm,
            "kid": None if unsigned else KEY_ID,
            "typ": kind or None,
        }
        parts = _json(header | recipe.header), _json(usual | recipe.claims)
        if unsigned:
            return f"{b'.'.join(map(base64url.encode, parts)).decode()}."
        return sign_bytes(*parts, key)

    def introspection(self, name: str, recipe: TokenRecipe, now: float) -> dict[str, Any] | None:
        """What the issuer answers about the token; None where it is not asked. Malformed."""
        issuer_name, issuer = self._issuer(recipe)
        given = recipe.introspection or {}
        if issuer.introspection is None:
            if recipe.introspection is None:
                return None
            at = ("token", "introspection")
            raise Malformed(f"the issuer {issuer_name} is not asked about tokens", key=at)
        usual: dict[str, Any] = {"active": True}
        if recipe.file is None and _is_opaque(recipe, issuer):
            kind = next(iter(issuer.introspection.token_types), None) or None
            usual |= {"token_type": kind, **_usual(name, recipe, issuer, now), **recipe.claims}
        return {name: value for name, value in (usual | given).items() if value is not None}

    def given_keyrings(self, recipe: TokenRecipe) -> dict[str, Keyring]:
        """The keyrings for a token in a file: that of its issuer is read from `jwks`."""
        if recipe.jwks is None:
            return {}
        name, issuer = self._issuer(recipe)
        try:
            data = read_file(recipe.jwks, MAX_NAMED_FILE)
            return {name: Keyring.from_jwks(data, algorithms=accepted_algorithms(issuer))}
        except OSError as error:
            raise Malformed(f"{recipe.jwks}: {error.strerror}", key=("token",)) from None
        except KeysError as error:
            raise Malformed(f"{recipe.jwks}: {error}", error.remedy, key=("token",)) from None

    def _issuer(self, recipe: TokenRecipe) -> tuple[str, Issuer]:
        issuers = self._config.issuers
        name = recipe.issuer or next(iter(issuers), "")
        if name not in issuers:
            raise Malformed(f"no issuer {name!r}", did_you_mean(name, issuers), key=("token",))
        return name, issuers[name]

    def _key(self, issuer: str, owner: str, algorithm: str) -> SigningKey:
        """The one key of an issuer, or of a stranger to it: a new RSA key takes 0.1 s."""
        if (issuer, owner) not in self._keys:
            self._keys[issuer, owner] = generate(algorithm, key_id=KEY_ID)
        return self._keys[issuer, owner]

    def _keyring(self, name: str, issuer: Issuer) -> Keyring:
        key = self._key(name, "issuer", _algorithm(issuer))
        if issuer.keys is not None and issuer.keys.symmetric:
            return Keyring.from_secret(base64url.decode(key.private_jwk()["k"]))
        data = json.dumps(public_jwks([key])).encode()
        return Keyring.from_jwks(data, algorithms=accepted_algorithms(issuer))


def _is_opaque(recipe: TokenRecipe, issuer: Issuer) -> bool:
    """Whether the token is none that its issuer signs."""
    if issuer.introspection is None or issuer.keys is None:
        return issuer.introspection is not None
    return recipe.introspection is not None and issuer.introspection.tokens == "opaque"


def _usual(name: str, recipe: TokenRecipe, issuer: Issuer, now: float) -> dict[str, Any]:
    issued = now - recipe.age
    return {
        "iss": issuer.issuer,
        "sub": name,
        "aud": issuer.audience[0] if issuer.audience else None,
        "iat": _whole(issued),
        "exp": _whole(issued + recipe.lifetime),
    }


def _algorithm(issuer: Issuer) -> str:
    accepted = accepted_algorithms(issuer)
    return next((each for each in QUICKEST if each in accepted), min(accepted))


def _whole(seconds: float) -> float | int:
    return int(seconds) if seconds == int(seconds) else seconds


def _json(members: Mapping[str, Any]) -> bytes:
    given = {name: value for name, value in members.items() if value is not None}
    return json.dumps(given, separators=(",", ":"), ensure_ascii=False, default=float).encode()


def _text(file: Path) -> str:
    try:
        return read_file(file, MAX_NAMED_FILE).decode("ascii").strip()
    except OSError as error:
        raise Malformed(f"{file}: {error.strerror}", key=("token",)) from None
    except UnicodeDecodeError:
        raise Malformed(f"{file}: not a token", key=("token",)) from None
