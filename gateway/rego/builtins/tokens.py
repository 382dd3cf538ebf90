"""JSON Web Tokens in policies; the gateway's own verification is not here."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from gateway.rego.builtins.encoding import (
    base64url_bytes,
    charge_json,
    json_marshal,
    text_of,
)
from gateway.rego.builtins.operands import (
    charge_text,
    mapping,
    string,
    to_decimal,
    utf8,
)
from gateway.rego.builtins.registry import Builtin, State, charged, impure
from gateway.rego.builtins.signatures import ALGORITHMS, Key, private_key, public_keys
from gateway.rego.errors import BuiltinError
from gateway.rego.values import NUMBERS, Value, less, loads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

VERIFY_STEPS: Final = 5_000
"""What checking one signature costs; 0.5 ms is the slowest common one."""

SIGN_STEPS: Final = 10_000
"""What making a signature costs, beside the cube of an RSA key's length."""

CHARACTERS_A_STEP: Final = 2
KEY_STEPS: Final = 3
"""What reading one character of a key costs."""


@dataclass(frozen=True, slots=True)
class _Token:
    """A compact token (RFC 7515 §7.1): header and payload as they came, the signature decoded."""

    header: str
    payload: str
    signature: bytes

    @property
    def signed(self) -> bytes:
        """What the signature is over."""
        return utf8(f"{self.header}.{self.payload}")

    def header_members(self, state: State) -> dict[str, Value]:
        """Read the header."""
        header = _object(state, _decoded("header", self.header), "bad JWT header: ")
        if "enc" in header:
            raise BuiltinError("JWT is a JWE object, which is not supported")
        return header

    def payload_octets(self) -> bytes:
        """Decode the payload."""
        return _decoded("payload", self.payload)


def _token(state: State, value: Value) -> _Token:
    text = string(value)
    charge_text(state, text)
    state.charge(len(text) // CHARACTERS_A_STEP)
    if "." not in text:
        raise BuiltinError("encoded JWT had no period separators")
    parts = text.split(".")
    if len(parts) != 3:
        raise BuiltinError(f"encoded JWT must have 3 sections, found {len(parts)}")
    return _Token(parts[0], parts[1], _decoded("signature", parts[2]))


def _decoded(name: str, part: str) -> bytes:
    try:
        return base64url_bytes(part)
    except BuiltinError as error:
        raise BuiltinError(f"JWT {name} had invalid encoding: {error}") from None


def _object(state: State, octets: bytes, prefix: str = "") -> dict[str, Value]:
    text = text_of(octets)
    charge_json(state, text)
    try:
        value = loads(text)
    except ValueError as error:
        raise BuiltinError(f"{prefix}invalid JSON: {error}") from None
    if value.__class__ is not dict:
        raise BuiltinError(f"{prefix}decoded JSON type was not an Object")
    return value


def decode(state: State, value: Value) -> list[Value]:
    """Return [header, payload, signature in hexadecimal] without any check of the signature."""
    token = _token(state, value)
    while (header := token.header_members(state)).get("cty") == "JWT":
        # The inner token may be a JSON string (RFC 7519 §5.2 says it is not).
        token = _token(state, text_of(token.payload_octets()).strip("\"'"))
    return [header, _object(state, token.payload_octets()), token.signature.hex()]


# --- verifying


def _charge_keys(state: State, text: str) -> None:
    state.charge(KEY_STEPS * len(text))


def _verify(algorithm: str, state: State, value: Value, key: Value) -> bool:
    token = _token(state, value)
    text = string(key, 2)
    if algorithm.startswith("HS"):
        return _check(state, algorithm, utf8(text), token)
    _charge_keys(state, text)
    header = _checked_header(token.header_members(state))
    return any(
        _check(state, algorithm, candidate.material, token)
        for candidate in _candidates(public_keys(text), header)
    )


def _check(state: State, algorithm: str, material: Any, token: _Token) -> bool:
    state.charge(VERIFY_STEPS)
    charge_text(state, text_of(token.signed))
    return ALGORITHMS[algorithm].verify(material, token.signed, token.signature)


def _candidates(keys: tuple[Key, ...], header: dict[str, Value]) -> Iterable[Key]:
    """Return the key that the token names, else those whose algorithm is the token's or open."""
    named = [key for key in keys if key.id and key.id == header.get("kid")]
    if named:
        return named[:1]
    return [key for key in keys if key.algorithm in ("", header.get("alg", ""))]


def _checked_header(header: dict[str, Value]) -> dict[str, Value]:
    for name in ("alg", "kid", "typ", "cty"):
        if name in header and header[name].__class__ is not str:
            raise BuiltinError(f"{name}: must be a string")
    critical = header.get("crit", _ABSENT)
    if critical is not _ABSENT:
        if critical.__class__ is not list:
            raise BuiltinError("crit: must be a list")
        if not any(name.__class__ is str for name in critical):
            raise BuiltinError("crit: must be a nonempty list")
    return header


_ABSENT: Final = object()
_KNOWN_HEADERS: Final = frozenset(("alg", "kid", "typ", "cty", "crit"))


def decode_verify(state: State, value: Value, constraints: Value) -> list[Value]:
    """Return [true, header, payload] if signature and claims hold, else [false, {}, {}].

    RFC 7519 §7.2 in order; the constraints are `cert` or `secret`, `alg`, `iss`, `aud` and
    `time` in nanoseconds, the decision's own where it is absent.
    """
    unverified: list[Value] = [False, {}, {}]
    wanted = _constraints(state, mapping(constraints, 2))
    while True:
        token = _token(state, value)
        header = _checked_header(token.header_members(state))
        if not _acceptable(header, wanted.get("alg")):
            return unverified
        if not any(
            _check(state, header["alg"], key.material, token)
            for key in _candidates(wanted["keys"], header)
        ):
            return unverified
        if str(header.get("cty", "")).upper() != "JWT":
            break
        value = text_of(token.payload_octets())
    payload = _object(state, token.payload_octets())
    if not _claims_hold(payload, wanted):
        return unverified
    return [True, header, payload]


def _acceptable(header: dict[str, Value], algorithm: str | None) -> bool:
    critical = [name for name in header.get("crit", ()) if name.__class__ is str]
    return (
        header.get("alg") in ALGORITHMS
        and algorithm in (None, "", header["alg"])
        and not any(name in header and name not in _KNOWN_HEADERS for name in critical)
    )


def _constraints(state: State, given: dict[str, Value]) -> dict[str, Any]:
    wanted: dict[str, Any] = {"time": state.now_ns}
    for name, value in given.items():
        if name not in _CONSTRAINTS:
            raise BuiltinError("unknown token validation constraint")
        _CONSTRAINTS[name](name, value)
        wanted[name] = value
    secret, cert = wanted.pop("secret", ""), wanted.pop("cert", None)
    if secret and cert is not None:
        raise BuiltinError("duplicate key constraints")
    if cert is not None:
        _charge_keys(state, cert)
        wanted["keys"] = public_keys(cert)
    elif secret:
        wanted["keys"] = (Key(utf8(secret)),)
    else:
        raise BuiltinError("no key constraint")
    return wanted


def _text_constraint(name: str, value: Value) -> None:
    if value.__class__ is not str:
        raise BuiltinError(f"{name} constraint: must be a string")


def _time_constraint(_: str, value: Value) -> None:
    if value.__class__ not in NUMBERS:
        raise BuiltinError("token time constraint: must be a number")
    if to_decimal(value) < 0:
        raise BuiltinError("token time constraint: must not be negative")


_CONSTRAINTS: Final[dict[str, Callable[[str, Value], None]]] = {
    "cert": _text_constraint,
    "secret": _text_constraint,
    "alg": _text_constraint,
    "iss": _text_constraint,
    "aud": _text_constraint,
    "time": _time_constraint,
}


def _claims_hold(payload: dict[str, Value], wanted: dict[str, Any]) -> bool:
    if wanted.get("iss") and payload.get("iss") != wanted["iss"]:
        return False
    audience = payload.get("aud", _ABSENT)
    if audience is _ABSENT:
        if wanted.get("aud"):
            return False
    elif not _names(audience, wanted.get("aud", "")):
        return False
    try:
        seconds = float(wanted["time"]) / 1_000_000_000
    except OverflowError:
        raise BuiltinError("token time constraint: out of range") from None
    for name in ("exp", "nbf"):
        if name in payload and payload[name].__class__ not in NUMBERS:
            raise BuiltinError(f"{name} value must be a number")
    if "exp" in payload and not less(seconds, payload["exp"]):
        return False
    return "nbf" not in payload or not less(seconds, payload["nbf"])


def _names(audience: Value, wanted: str) -> bool:
    if audience.__class__ is str:
        return bool(audience == wanted)
    return audience.__class__ is list and wanted in audience


# --- signing


def encode_sign(state: State, header: Value, payload: Value, key: Value) -> str:
    """Sign a payload with a JWK; header, payload and key are objects."""
    texts = [json_marshal(state, part) for part in (header, payload, key)]
    return encode_sign_raw(state, *texts)


def encode_sign_raw(state: State, header: Value, payload: Value, key: Value) -> str:
    """Sign a payload with a JWK; header, payload and key are JSON text."""
    jwk = string(key, 3)
    head, body = string(header), string(payload, 2)
    charge_text(state, head, body)
    _charge_keys(state, jwk)
    state.charge(SIGN_STEPS)
    algorithm, kind = _signing_header(head)
    if kind in (None, "JWT") and not _is_json(body):
        raise BuiltinError("type is JWT but payload is not JSON")
    signed = ".".join(_base64url(utf8(part)) for part in (head, body))
    material = private_key(jwk).material
    bits = material.key_size if isinstance(material, RSAPrivateKey) else 0
    state.charge(bits**3 >> 20)
    signature = ALGORITHMS[algorithm].sign(material, signed.encode())
    return f"{signed}.{_base64url(signature)}"


def _signing_header(text: str) -> tuple[str, str | None]:
    try:
        header = loads(text)
    except ValueError as error:
        raise BuiltinError(f"missing or invalid 'alg' header: {error}") from None
    algorithm = header.get("alg") if header.__class__ is dict else None
    if algorithm.__class__ is not str:
        raise BuiltinError("missing or invalid 'alg' header")
    if algorithm not in ALGORITHMS:
        raise BuiltinError(f"unknown JWS algorithm: {algorithm[:40]}")
    kind = header.get("typ")
    return algorithm, kind if kind.__class__ is str else None


def _is_json(text: str) -> bool:
    try:
        loads(text)
    except ValueError:
        return False
    return True


def _base64url(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


BUILTINS: Final[tuple[Builtin, ...]] = (
    charged("io.jwt.decode", decode, 1, steps=80),
    impure("io.jwt.decode_verify", decode_verify, 2),
    impure("io.jwt.encode_sign", encode_sign, 3),
    impure("io.jwt.encode_sign_raw", encode_sign_raw, 3),
    *(charged(f"io.jwt.verify_{name.lower()}", partial(_verify, name), 2) for name in ALGORITHMS),
)
