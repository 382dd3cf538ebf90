"""RSA private keys, checked as Go does: that the numbers agree, not that the primes are prime.

The check that the numbers are prime takes a quarter of a second for 4,096 bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.rego.builtins.encoding import base64url_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_RSA_BITS: Final = 8_192


def checked(key: rsa.RSAPrivateKey) -> rsa.RSAPrivateKey:
    """Return the key; ValueError if its numbers do not agree."""
    if key.key_size > MAX_RSA_BITS:
        raise ValueError("RSA key too large")
    numbers = key.private_numbers()
    _check(numbers)
    return key


def _check(numbers: rsa.RSAPrivateNumbers) -> None:
    p, q, d, public = numbers.p, numbers.q, numbers.d, numbers.public_numbers
    agree = (
        min(p, q) > 2
        and p & q & public.e & 1
        and public.e > 1
        and p != q
        and p * q == public.n
        and d * public.e % (p - 1) == 1
        and d * public.e % (q - 1) == 1
        and numbers.dmp1 == d % (p - 1)
        and numbers.dmq1 == d % (q - 1)
        and numbers.iqmp * q % p == 1
    )
    if not agree:
        raise ValueError("RSA key whose numbers do not agree")


def from_jwk(jwk: Mapping[str, Any]) -> rsa.RSAPrivateKey:
    """Build the private key of a JWK that names the primes (RFC 7518 §6.3.2)."""
    n, e, d, p, q = (_number(jwk[name]) for name in ("n", "e", "d", "p", "q"))
    if "oth" in jwk or n.bit_length() > MAX_RSA_BITS or min(p, q, d) < 3:
        raise ValueError("RSA key of a kind that is not supported")
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(e, n)
    )
    _check(numbers)
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def _number(text: str) -> int:
    return int.from_bytes(base64url_bytes(text), "big")
