"""`.signatures.json`: one token that lists every file of a bundle and its hash, in OPA's form."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from gateway.bundle.digest import ALGORITHMS, file_digest
from gateway.bundle.errors import BundleError, Reason
from gateway.jose.compact import Compact, TokenError, parse
from gateway.jose.jwk import ED25519_ALGORITHMS, VerificationKey
from gateway.jose.sign import SigningKey, sign_bytes
from gateway.jose.strict_json import JsonError, loads

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

NAME: Final = ".signatures.json"
MAX_TOKEN = 8 * 1024**2
PLUGIN = "_default"
"""The plugin that `opa build` names in what it signs itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A key that may sign bundles, with one algorithm, for one scope, until `expires` (Unix)."""

    id: str
    algorithm: str
    key: VerificationKey
    scope: str = ""
    expires: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Who may sign a bundle; without keys it must not be signed at all.

    `scope` is what the signature must be for, that of its key by default. Files that a pattern of
    `exclude` fits need not be signed.
    """

    keys: tuple[TrustedKey, ...] = ()
    scope: str = ""
    exclude: tuple[str, ...] = ()

    @property
    def marks(self) -> tuple[object, ...]:
        """What two equal ones have in common."""
        keys = ((k.id, k.algorithm, k.key.thumbprint, k.scope, k.expires) for k in self.keys)
        return *keys, self.scope, self.exclude


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Files that are signed as they must be: by the key `key_id` ("" where none need be).

    The signature is good from `begins` on and before `ends`, in Unix seconds.
    """

    key_id: str = ""
    begins: float = -math.inf
    ends: float = math.inf
    key_ends: float = math.inf

    def check(self, now: float) -> None:
        """BundleError where the signature is not good at that time."""
        if now >= self.key_ends:
            raise _wrong(Reason.KEY_EXPIRED, f"the key {self.key_id} has expired")
        if now >= self.ends:
            raise _wrong(Reason.SIGNATURE_EXPIRED, "the signature has expired")
        if now < self.begins:
            raise _wrong(Reason.SIGNATURE_EXPIRED, "the signature is not valid yet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a signature says, whether it is good or not."""

    algorithm: str
    key_id: str
    scope: str
    hashes: Mapping[str, tuple[str, str]]
    claims: Mapping[str, Any]
    token: Compact


def verify(files: Mapping[str, bytes], trust: Trust) -> Verified:
    """Verify that a trusted key signed these files and no others, whenever; BundleError.

    Files that are not signed are good where nobody is trusted.
    """
    if NAME not in files:
        if trust.keys:
            raise BundleError(Reason.UNSIGNED, f"there is no {NAME} in it")
        return Verified()
    if not trust.keys:
        raise BundleError(Reason.KEYS_MISSING, "it is signed, and there is no key to verify it")
    found = read(files[NAME])
    key = _signer(found, trust)
    _check_scope(found, key, trust)
    _check_files(found, files, trust.exclude)
    return Verified(
        key_id=key.id,
        begins=_moment(found, "nbf", -math.inf),
        ends=_moment(found, "exp", math.inf),
        key_ends=key.expires,
    )


def read(data: bytes) -> Signature:
    """Take a `.signatures.json` apart and verify nothing; BundleError."""
    document = _object(data, "the file")
    tokens, plugin = document.get("signatures"), document.get("plugin", PLUGIN)
    if document.keys() - {"signatures", "plugin"}:
        raise _malformed("expected only the members signatures and plugin")
    if plugin not in ("", PLUGIN):
        raise _malformed(f"it is for the signing plugin {plugin!r}")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise _malformed("signatures: expected a list with one token")
    if len(tokens) != 1:
        raise _wrong(Reason.SIGNATURES_MANY, f"{len(tokens)} signatures where one is expected")
    try:
        token = parse(str(tokens[0]).encode(), max_size=MAX_TOKEN)
    except (TokenError, UnicodeError) as error:
        raise _malformed(f"the token: {error}") from None
    claims = _object(token.payload, "the token's claims")
    named = [claims.get("keyid"), token.key_id]
    ids = {name for name in named if name is not None}
    if len(ids) > 1 or not all(isinstance(name, str) for name in ids):
        raise _malformed("the token names two keys, in kid and in keyid")
    scope = claims.get("scope", "")
    if not isinstance(scope, str):
        raise _malformed("the token's scope is no text")
    return Signature(
        algorithm=token.algorithm,
        key_id=str(next(iter(ids), "")),
        scope=scope,
        hashes=_hashes(claims.get("files")),
        claims=claims,
        token=token,
    )


def sign(
    files: Mapping[str, bytes],
    key: SigningKey,
    *,
    key_id: str = "",
    claims: Mapping[str, Any] | None = None,
) -> bytes:
    """The `.signatures.json` of files, as `opa sign` writes it; ValueError.

    `claims` are added to what is signed; a `scope` is one of them.
    """
    listed = [
        {"name": name, "hash": file_digest(name, files[name], "SHA-256"), "algorithm": "SHA-256"}
        for name in sorted(files)
        if name != NAME
    ]
    header = {"alg": key.algorithm, **({"kid": key_id} if key_id else {})}
    token = sign_bytes(_dump(header), _dump({**(claims or {}), "files": listed}), key)
    return json.dumps({"signatures": [token]}, indent=1).encode()


def is_excluded(name: str, patterns: Collection[str]) -> bool:
    """Whether a pattern fits the whole name; `*` does not go beyond a `/`."""
    parts = name.split("/")
    return any(
        len(wanted) == len(parts) and all(map(fnmatchcase, parts, wanted))
        for wanted in (pattern.split("/") for pattern in patterns)
    )


def _signer(found: Signature, trust: Trust) -> TrustedKey:
    """The trusted key whose signature it is."""
    known = ", ".join(sorted({key.id for key in trust.keys}))
    named = [key for key in trust.keys if found.key_id in ("", key.id)]
    if not named:
        remedy = f"trusted are {known}"
        raise _wrong(Reason.KEY_UNKNOWN, f"no trusted key is called {found.key_id!r}", remedy)
    fitting = [key for key in named if _is_same(key.algorithm, found.algorithm)]
    if not fitting:
        wanted = ", ".join(sorted({key.algorithm for key in named}))
        message = f"the signature is {found.algorithm}, and the key is trusted for {wanted} only"
        raise _wrong(Reason.SIGNATURE_INVALID, message, f"sign it with {wanted}")
    for key in fitting:
        token = found.token
        if key.key.verify(token.algorithm, token.signing_input, token.signature):
            return key
    raise _wrong(Reason.SIGNATURE_INVALID, "no trusted key made its signature")


def _is_same(one: str, other: str) -> bool:
    return one == other or {one, other} <= ED25519_ALGORITHMS


def _check_scope(found: Signature, key: TrustedKey, trust: Trust) -> None:
    wanted = trust.scope or key.scope
    if found.scope != wanted or key.scope not in ("", wanted):
        message = f"it is signed for {_scope(found.scope)}, not for {_scope(wanted)}"
        remedy = f"sign it with --scope {wanted}" if wanted else ""
        raise _wrong(Reason.SCOPE_MISMATCH, message, remedy)


def _moment(found: Signature, name: str, default: float) -> float:
    moment = found.claims.get(name, default)
    if isinstance(moment, bool) or not isinstance(moment, int | float):
        raise _malformed(f"the token's {name} is no number")
    return moment


def _scope(scope: str) -> str:
    return f"the scope {scope!r}" if scope else "no scope"


def _check_files(found: Signature, files: Mapping[str, bytes], exclude: Collection[str]) -> None:
    """Exactly the files that were signed, each with its hash."""
    present = {name for name in files if name != NAME and not is_excluded(name, exclude)}
    signed = {name for name in found.hashes if not is_excluded(name, exclude)}
    for name in sorted(present - signed):
        raise BundleError(Reason.FILE_UNSIGNED, "is not among the signed files", name=name)
    for name in sorted(signed - present):
        raise BundleError(Reason.FILE_MISSING, "is signed and not there", name=name)
    for name in sorted(present):
        algorithm, wanted = found.hashes[name]
        try:
            made = file_digest(name, files[name], algorithm)
        except ValueError as error:
            raise BundleError(
                Reason.DIGEST_MISMATCH, f"cannot be read: {error}", name=name
            ) from None
        if made != wanted:
            raise BundleError(Reason.DIGEST_MISMATCH, "is not what was signed", name=name)


def _hashes(listed: Any) -> dict[str, tuple[str, str]]:
    """Algorithm and hash of each signed file, by the name that it has in the archive."""
    if not isinstance(listed, list):
        raise _malformed("the token lists no files")
    found: dict[str, tuple[str, str]] = {}
    for each in listed:
        if not isinstance(each, dict) or set(each) != {"name", "hash", "algorithm"}:
            raise _malformed("the token's files: expected name, hash and algorithm of each")
        name, made, algorithm = (each[key] for key in ("name", "hash", "algorithm"))
        if not all(isinstance(text, str) for text in (name, made, algorithm)):
            raise _malformed("the token's files: expected text")
        bare = name.removeprefix("./") if name.startswith("./") else name.removeprefix("/")
        if algorithm not in ALGORITHMS:
            remedy = f"use one of {', '.join(ALGORITHMS)}"
            raise _malformed(f"{bare} is hashed with {algorithm!r}", remedy)
        if bare in found:
            raise _malformed(f"the token lists {bare} twice")
        found[bare] = algorithm, made.lower()
    return found


def _dump(value: Mapping[str, Any]) -> bytes:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        value = loads(data, max_members=len(data) + 1)
    except JsonError as error:
        raise _malformed(f"{what}: {error}") from None
    if not isinstance(value, dict):
        raise _malformed(f"{what}: expected a JSON object")
    return value


def _malformed(message: str, remedy: str = "") -> BundleError:
    return _wrong(Reason.SIGNATURE_MALFORMED, message, remedy)


def _wrong(reason: Reason, message: str, remedy: str = "") -> BundleError:
    return BundleError(reason, message, remedy=remedy, name=NAME)
