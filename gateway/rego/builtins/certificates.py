"""X.509 certificates, requests and private keys, in the shape in which Go's JSON shows them."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from cryptography.x509.oid import (
    AuthorityInformationAccessOID,
    ExtendedKeyUsageOID,
    NameOID,
    SignatureAlgorithmOID,
)

from gateway.rego.builtins import rsa_keys
from gateway.rego.builtins.chains import Demand, verified_chain
from gateway.rego.builtins.encoding import base64_bytes
from gateway.rego.builtins.go_layout import EPOCH
from gateway.rego.builtins.operands import charge_text, integer, mapping, members, string
from gateway.rego.builtins.registry import Builtin, State, charged, impure
from gateway.rego.errors import BuiltinError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.rego.values import Value

MAX_TEXT: Final = 262_144
MAX_CERTIFICATES: Final = 100
PARSE_STEPS: Final = 5_000
"""What reading one certificate, or checking one signature, costs."""

# Warning: where the process turns warnings into errors, an odd certificate is a bad one.
BAD: Final = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    Warning,
)

_BLOCK: Final = re.compile(
    r"-----BEGIN ([A-Z0-9 ]+)-----\s([A-Za-z0-9+/=\s]*+)-----END \1-----", re.ASCII
)


def _blocks(text: str) -> list[tuple[str, bytes]]:
    """Read the PEM blocks of a text: (label, DER)."""
    return [(found[1], base64_bytes("".join(found[2].split()))) for found in _BLOCK.finditer(text)]


def _pem_or_der(text: str) -> str | bytes:
    """Return PEM text, also where it is base64 of PEM, else the DER that base64 holds."""
    if text.startswith("-----BEGIN"):
        return text
    octets = base64_bytes(text)
    return octets.decode("latin-1") if octets.startswith(b"-----BEGIN") else octets


# --- certificates


@lru_cache(maxsize=64)
def _certificates(text: str) -> tuple[x509.Certificate, ...]:
    source = _pem_or_der(text)
    if isinstance(source, bytes):
        ders = list(_der_sequence(source))
    else:
        blocks = _blocks(source)
        if any(label != "CERTIFICATE" for label, _ in blocks):
            raise BuiltinError("PEM block type is not CERTIFICATE")
        ders = [der for _, der in blocks]
    if len(ders) > MAX_CERTIFICATES:
        raise BuiltinError("too many certificates")
    try:
        return tuple(map(x509.load_der_x509_certificate, ders))
    except BAD as error:
        raise BuiltinError(f"x509: malformed certificate: {str(error)[:100]}") from None


def _der_sequence(octets: bytes) -> Iterable[bytes]:
    """Cut DER elements that stand one after the other (X.690 §8.1.3)."""
    while octets:
        length, header = octets[1] if len(octets) > 1 else 0x80, 2
        if length > 0x80:
            header += length & 0x7F
            length = int.from_bytes(octets[2:header], "big")
        size = header + length
        if octets[0] != 0x30 or size > len(octets) or size <= header:
            raise BuiltinError("x509: malformed certificate")
        yield octets[:size]
        octets = octets[size:]


def _read_certificates(state: State, value: Value) -> tuple[x509.Certificate, ...]:
    text = string(value)
    charge_text(state, text)
    if len(text) > MAX_TEXT:
        raise BuiltinError("certificates too long")
    state.charge(PARSE_STEPS * (1 + text.count("-----BEGIN") + len(text) // 2_000))
    return _certificates(text)


def parse_certificates(state: State, value: Value) -> list[Value]:
    """Return the certificates of PEM or base64 DER text."""
    return [_with_uris(certificate) for certificate in _read_certificates(state, value)]


def parse_and_verify(state: State, value: Value) -> list[Value]:
    """Return [true, chain] if the last certificate chains to the first, else [false, []]."""
    return _verified(state, value, Demand(EPOCH + timedelta(microseconds=state.now_ns // 1_000)))


def parse_and_verify_with_options(state: State, value: Value, options: Value) -> list[Value]:
    """Do the same under options: DNSName, CurrentTime (ns), KeyUsages."""
    return _verified(state, value, _demand(state, mapping(options, 2)))


def _verified(state: State, value: Value, demand: Demand) -> list[Value]:
    string(value)
    try:
        certificates = _read_certificates(state, value)
        state.charge(PARSE_STEPS * len(certificates) ** 2)
        chain = verified_chain(certificates, demand)
    except BuiltinError as error:
        if error.code != BuiltinError.code:
            raise
        return [False, []]
    return [False, []] if chain is None else [True, list(map(_with_uris, chain))]


def _demand(state: State, options: dict[str, Value]) -> Demand:
    now = state.now_ns
    name = ""
    usages = [ExtendedKeyUsageOID.SERVER_AUTH]
    for key, value in options.items():
        if key == "DNSName":
            name = string(value, 2)
        elif key == "CurrentTime":
            now = integer(value, 2)
        elif key == "KeyUsages":
            usages = [_usage(item) for item in members(value, 2)] or usages
        elif key == "MaxConstraintComparisons":
            integer(value, 2)
        else:
            raise BuiltinError("invalid key option")
    try:
        moment = EPOCH + timedelta(microseconds=now // 1_000)
    except OverflowError:
        raise BuiltinError("'CurrentTime' should be a valid int64 number") from None
    return Demand(moment, name, frozenset(usages))


def _usage(value: Value) -> x509.ObjectIdentifier:
    usage = _USAGE_NAMES.get(value) if value.__class__ is str else None
    if usage is None:
        raise BuiltinError("invalid entries for 'KeyUsages' found")
    return usage


_USAGES: Final[dict[str, x509.ObjectIdentifier]] = {
    "Any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "ServerAuth": ExtendedKeyUsageOID.SERVER_AUTH,
    "ClientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "CodeSigning": ExtendedKeyUsageOID.CODE_SIGNING,
    "EmailProtection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "IPSECEndSystem": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.5"),
    "IPSECTunnel": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.6"),
    "IPSECUser": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.7"),
    "TimeStamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "OCSPSigning": ExtendedKeyUsageOID.OCSP_SIGNING,
    "MicrosoftServerGatedCrypto": x509.ObjectIdentifier("1.3.6.1.4.1.311.10.3.3"),
    "NetscapeServerGatedCrypto": x509.ObjectIdentifier("2.16.840.1.113730.4.1"),
    "MicrosoftCommercialCodeSigning": x509.ObjectIdentifier("1.3.6.1.4.1.311.2.1.22"),
    "MicrosoftKernelCodeSigning": x509.ObjectIdentifier("1.3.6.1.4.1.311.61.1.1"),
}
_USAGE_NAMES: Final = {f"KeyUsage{name}": usage for name, usage in _USAGES.items()}
_USAGE_NUMBERS: Final = {usage: number for number, usage in enumerate(_USAGES.values())}


# --- the shape of Go's x509.Certificate


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def _with_uris(certificate: x509.Certificate) -> dict[str, Value]:
    try:
        return {**_certificate(certificate), "URIStrings": _uri_texts(certificate)}
    except BAD as error:
        raise BuiltinError(f"x509: malformed certificate: {str(error)[:100]}") from None


def _uri_texts(certificate: x509.Certificate) -> list[str] | None:
    names = _alternative_names(certificate)
    return (names and names.get_values_for_type(_URI)) or None


def _certificate(certificate: x509.Certificate) -> dict[str, Value]:
    subject_key = _extension(certificate, x509.SubjectKeyIdentifier)
    authority_key = _extension(certificate, x509.AuthorityKeyIdentifier)
    constraints = _extension(certificate, x509.BasicConstraints)
    return {
        **_signed(certificate),
        "Raw": _base64(certificate.public_bytes(Encoding.DER)),
        "RawTBSCertificate": _base64(certificate.tbs_certificate_bytes),
        "RawIssuer": _base64(certificate.issuer.public_bytes()),
        "Version": certificate.version.value + 1,
        "SerialNumber": certificate.serial_number,
        "Issuer": _name(certificate.issuer),
        "NotBefore": _time(certificate.not_valid_before_utc),
        "NotAfter": _time(certificate.not_valid_after_utc),
        "KeyUsage": _key_usage(_extension(certificate, x509.KeyUsage)),
        "UnhandledCriticalExtensions": None,
        "ExtKeyUsage": _extended_usages(certificate),
        "UnknownExtKeyUsage": _unknown_usages(certificate),
        "BasicConstraintsValid": constraints is not None,
        "IsCA": constraints is not None and constraints.ca,
        "MaxPathLen": _path_length(constraints),
        "MaxPathLenZero": constraints is not None and constraints.path_length == 0,
        "SubjectKeyId": subject_key and _base64(subject_key.digest),
        "AuthorityKeyId": authority_key
        and authority_key.key_identifier
        and _base64(authority_key.key_identifier),
        "OCSPServer": _access(certificate, AuthorityInformationAccessOID.OCSP),
        "IssuingCertificateURL": _access(certificate, AuthorityInformationAccessOID.CA_ISSUERS),
        "CRLDistributionPoints": _distribution_points(certificate),
        "PolicyIdentifiers": _policies(certificate),
        **_policy_rules(certificate),
        "PermittedDNSDomainsCritical": False,
        **dict.fromkeys(_NAME_CONSTRAINTS),
    }


_NAME_CONSTRAINTS: Final = tuple(
    f"{kind}{names}"
    for kind in ("Permitted", "Excluded")
    for names in ("DNSDomains", "IPRanges", "EmailAddresses", "URIDomains")
)


def _signed(signed: x509.Certificate | x509.CertificateSigningRequest) -> dict[str, Value]:
    """Show what certificates and requests have in common."""
    key = signed.public_key()
    names = _alternative_names(signed)
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {
        "RawSubjectPublicKeyInfo": _base64(spki),
        "RawSubject": _base64(signed.subject.public_bytes()),
        "Signature": _base64(signed.signature),
        "SignatureAlgorithm": _SIGNATURES.get(signed.signature_algorithm_oid, 0),
        "PublicKeyAlgorithm": next((n for kind, n in _KEYS if isinstance(key, kind)), 0),
        "PublicKey": _public_key(key),
        "Subject": _name(signed.subject),
        "Extensions": [_raw_extension(extension) for extension in signed.extensions] or None,
        "ExtraExtensions": None,
        "DNSNames": (names and names.get_values_for_type(x509.DNSName)) or None,
        "EmailAddresses": (names and names.get_values_for_type(x509.RFC822Name)) or None,
        "IPAddresses": (names and list(map(str, names.get_values_for_type(x509.IPAddress))))
        or None,
        "URIs": (names and [*map(_uri, names.get_values_for_type(_URI))]) or None,
    }


_URI: Final = x509.UniformResourceIdentifier
_KEYS: Final[tuple[tuple[type, int], ...]] = (
    (rsa.RSAPublicKey, 1),
    (ec.EllipticCurvePublicKey, 3),
    (Ed25519PublicKey, 4),
)
_SIGNATURES: Final = {
    SignatureAlgorithmOID.RSA_WITH_MD5: 2,
    SignatureAlgorithmOID.RSA_WITH_SHA1: 3,
    SignatureAlgorithmOID.RSA_WITH_SHA256: 4,
    SignatureAlgorithmOID.RSA_WITH_SHA384: 5,
    SignatureAlgorithmOID.RSA_WITH_SHA512: 6,
    SignatureAlgorithmOID.ECDSA_WITH_SHA1: 9,
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: 10,
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: 11,
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: 12,
    SignatureAlgorithmOID.RSASSA_PSS: 13,
    SignatureAlgorithmOID.ED25519: 16,
}


def _extension(signed: Any, kind: type[Any]) -> Any:
    try:
        return signed.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _alternative_names(signed: Any) -> Any:
    return _extension(signed, x509.SubjectAlternativeName)


def _raw_extension(extension: x509.Extension[Any]) -> dict[str, Value]:
    return {
        "Id": [int(part) for part in extension.oid.dotted_string.split(".")],
        "Critical": extension.critical,
        "Value": _base64(extension.value.public_bytes()),
    }


_NAME_PARTS: Final = {
    "Country": NameOID.COUNTRY_NAME,
    "Organization": NameOID.ORGANIZATION_NAME,
    "OrganizationalUnit": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "Locality": NameOID.LOCALITY_NAME,
    "Province": NameOID.STATE_OR_PROVINCE_NAME,
    "StreetAddress": NameOID.STREET_ADDRESS,
    "PostalCode": NameOID.POSTAL_CODE,
}


def _name(name: x509.Name) -> dict[str, Value]:
    def values(oid: x509.ObjectIdentifier) -> list[str]:
        return [_text(attribute.value) for attribute in name.get_attributes_for_oid(oid)]

    return {
        **{part: values(oid) or None for part, oid in _NAME_PARTS.items()},
        "SerialNumber": (values(NameOID.SERIAL_NUMBER) or [""])[-1],
        "CommonName": (values(NameOID.COMMON_NAME) or [""])[-1],
        "Names": [
            {
                "Type": [int(part) for part in attribute.oid.dotted_string.split(".")],
                "Value": _text(attribute.value),
            }
            for attribute in name
        ]
        or None,
        "ExtraNames": None,
    }


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")


def _uri(text: str) -> dict[str, Value]:
    scheme, _, rest = text.partition("://")
    rest, _, query = rest.partition("?")
    host, slash, path = rest.partition("/")
    return {
        "Scheme": scheme, "Opaque": "", "User": None, "Host": host, "Path": slash + path,
        "RawPath": "", "OmitHost": False, "ForceQuery": False, "RawQuery": query, "Fragment": "",
        "RawFragment": "",
    }  # fmt: skip


_USAGE_BITS: Final = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
    "key_agreement", "key_cert_sign", "crl_sign",
)  # fmt: skip


def _key_usage(usage: Any) -> int:
    if usage is None:
        return 0
    bits: int = sum(getattr(usage, name) << place for place, name in enumerate(_USAGE_BITS))
    if usage.key_agreement:
        bits |= usage.encipher_only << 7 | usage.decipher_only << 8
    return bits


def _extended_usages(certificate: x509.Certificate) -> list[int] | None:
    usages = _extension(certificate, x509.ExtendedKeyUsage) or ()
    return [_USAGE_NUMBERS[usage] for usage in usages if usage in _USAGE_NUMBERS] or None


def _unknown_usages(certificate: x509.Certificate) -> list[list[int]] | None:
    usages = _extension(certificate, x509.ExtendedKeyUsage) or ()
    return [_numbers(usage) for usage in usages if usage not in _USAGE_NUMBERS] or None


def _path_length(constraints: Any) -> int:
    if constraints is None:
        return 0
    return -1 if constraints.path_length is None else int(constraints.path_length)


def _access(certificate: x509.Certificate, method: x509.ObjectIdentifier) -> list[str] | None:
    found = _extension(certificate, x509.AuthorityInformationAccess) or ()
    return [
        item.access_location.value
        for item in found
        if item.access_method == method and isinstance(item.access_location, _URI)
    ] or None


def _distribution_points(certificate: x509.Certificate) -> list[str] | None:
    points = _extension(certificate, x509.CRLDistributionPoints) or ()
    return [
        name.value for point in points for name in point.full_name or () if isinstance(name, _URI)
    ] or None


def _policies(certificate: x509.Certificate) -> list[list[int]] | None:
    policies = _extension(certificate, x509.CertificatePolicies) or ()
    return [_numbers(policy.policy_identifier) for policy in policies] or None


def _numbers(identifier: x509.ObjectIdentifier) -> list[int]:
    return [int(part) for part in identifier.dotted_string.split(".")]


def _policy_rules(certificate: x509.Certificate) -> dict[str, Value]:
    """Show policies as texts and how many certificates below may leave them out."""
    policies = _extension(certificate, x509.CertificatePolicies) or ()
    constraints = _extension(certificate, x509.PolicyConstraints)
    inhibited = _extension(certificate, x509.InhibitAnyPolicy)
    counts = {
        "InhibitAnyPolicy": inhibited and inhibited.skip_certs,
        "InhibitPolicyMapping": constraints and constraints.inhibit_policy_mapping,
        "RequireExplicitPolicy": constraints and constraints.require_explicit_policy,
    }
    return {
        "Policies": [policy.policy_identifier.dotted_string for policy in policies] or None,
        "PolicyMappings": None,
        **{name: count or 0 for name, count in counts.items()},
        **{f"{name}Zero": count == 0 for name, count in counts.items()},
    }


def _public_key(key: Any) -> Value:
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"N": numbers.n, "E": numbers.e}
    if isinstance(key, ec.EllipticCurvePublicKey):
        point = key.public_numbers()
        return {"Curve": {}, "X": point.x, "Y": point.y}
    if isinstance(key, Ed25519PublicKey):
        return _base64(key.public_bytes(Encoding.Raw, PublicFormat.Raw))
    return None


# --- requests and private keys


def parse_request(state: State, value: Value) -> dict[str, Value]:
    """Return a certificate signing request of PEM or base64 text."""
    text = string(value)
    charge_text(state, text)
    state.charge(PARSE_STEPS)
    if len(text) > MAX_TEXT:
        raise BuiltinError("certificate request too long")
    source = _pem_or_der(text)
    if isinstance(source, str):
        blocks = _blocks(source)
        if not blocks or blocks[0][0] != "CERTIFICATE REQUEST":
            raise BuiltinError("invalid PEM-encoded certificate signing request")
        source = blocks[0][1]
    try:
        request = x509.load_der_x509_csr(source)
        return {
            **_signed(request),
            "Raw": _base64(request.public_bytes(Encoding.DER)),
            "RawTBSCertificateRequest": _base64(request.tbs_certrequest_bytes),
            "Version": 0,
            "Attributes": None,
        }
    except BAD:
        raise BuiltinError("asn1: structure error: malformed certificate request") from None


_PRIVATE_LABELS: Final = frozenset(("RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY"))
KEY_STEPS: Final = 6_000
"""What reading and checking one private key costs."""


def _private_keys(state: State, text: str) -> list[Any]:
    charge_text(state, text)
    if len(text) > MAX_TEXT:
        raise BuiltinError("keys too long")
    if not text.startswith("-----BEGIN"):
        try:
            text = base64_bytes(text).decode("latin-1")
        except BuiltinError:
            return []
    ders = [(label, der) for label, der in _blocks(text) if label in _PRIVATE_LABELS]
    state.charge(KEY_STEPS * len(ders))
    return [_private_key(der) for _, der in ders]


def _private_key(der: bytes) -> Any:
    try:
        key = load_der_private_key(der, password=None, unsafe_skip_rsa_key_validation=True)
        return rsa_keys.checked(key) if isinstance(key, rsa.RSAPrivateKey) else key
    except BAD:
        raise BuiltinError("x509: failed to parse private key") from None


def parse_private_keys(state: State, value: Value) -> list[Value] | None:
    """Return the private keys of PEM text, or base64 of it; null for the empty string."""
    text = string(value)
    if not text:
        return None
    return [_shown_private_key(key) for key in _private_keys(state, text)]


def _shown_private_key(key: Any) -> Value:
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.private_numbers()
        return {
            "N": numbers.public_numbers.n,
            "E": numbers.public_numbers.e,
            "D": numbers.d,
            "Primes": [numbers.p, numbers.q],
            "Precomputed": {
                "Dp": numbers.dmp1, "Dq": numbers.dmq1, "Qinv": numbers.iqmp, "CRTValues": [],
            },
        }  # fmt: skip
    if isinstance(key, ec.EllipticCurvePrivateKey):
        point = key.public_key().public_numbers()
        secret = key.private_numbers().private_value
        return {"Curve": {}, "X": point.x, "Y": point.y, "D": secret}
    if isinstance(key, Ed25519PrivateKey):
        seed = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return _base64(seed + public)
    raise BuiltinError("x509: unsupported private key type")


def jwk_from_private_key(state: State, value: Value) -> dict[str, str] | None:
    """Return the first private key of PEM text, or base64 of it, as a JWK."""
    text = string(value)
    if not text:
        raise BuiltinError("input PEM data was empty")
    if not text.startswith("-----BEGIN"):
        base64_bytes(text)
    keys = _private_keys(state, text)
    return _jwk(keys[0]) if keys else None


def _jwk(key: Any) -> dict[str, str]:
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.private_numbers()
        public = numbers.public_numbers
        members_ = {
            "n": public.n, "e": public.e, "d": numbers.d, "p": numbers.p, "q": numbers.q,
            "dp": numbers.dmp1, "dq": numbers.dmq1, "qi": numbers.iqmp,
        }  # fmt: skip
        return {"kty": "RSA", **{name: _base64url(number) for name, number in members_.items()}}
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _JWK_CURVES:
        point = key.public_key().public_numbers()
        size = (key.key_size + 7) // 8
        return {
            "kty": "EC",
            "crv": _JWK_CURVES[key.curve.name],
            "x": _base64url(point.x, size),
            "y": _base64url(point.y, size),
            "d": _base64url(key.private_numbers().private_value, size),
        }
    raise BuiltinError("unsupported private key type")


_JWK_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


def _base64url(number: int, size: int = 0) -> str:
    octets = number.to_bytes(size or (number.bit_length() + 7) // 8 or 1, "big")
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def parse_key_pair(state: State, certificate: Value, key: Value) -> dict[str, Value]:
    """Return a certificate chain and its private key, which must belong together."""
    certificates = _read_certificates(state, certificate)
    text = string(key, 2)
    charge_text(state, text)
    state.charge(KEY_STEPS)
    source = _pem_or_der(text)
    private = _private_key(source) if isinstance(source, bytes) else _first_private_key(source)
    if not certificates or certificates[0].public_key() != private.public_key():
        raise BuiltinError("tls: private key does not match public key")
    return {
        "Certificate": [_base64(item.public_bytes(Encoding.DER)) for item in certificates],
        "PrivateKey": _shown_private_key(private),
        "SupportedSignatureAlgorithms": None,
        "OCSPStaple": None,
        "SignedCertificateTimestamps": None,
        "Leaf": _certificate(certificates[0]),
    }


def _first_private_key(text: str) -> Any:
    for label, der in _blocks(text):
        if label in _PRIVATE_LABELS:
            return _private_key(der)
    raise BuiltinError("tls: failed to find PEM block with type ending in PRIVATE KEY")


BUILTINS: Final[tuple[Builtin, ...]] = (
    charged("crypto.x509.parse_certificates", parse_certificates, 1),
    impure("crypto.x509.parse_and_verify_certificates", parse_and_verify, 1),
    impure(
        "crypto.x509.parse_and_verify_certificates_with_options",
        parse_and_verify_with_options,
        2,
    ),
    charged("crypto.x509.parse_certificate_request", parse_request, 1),
    charged("crypto.x509.parse_keypair", parse_key_pair, 2),
    charged("crypto.x509.parse_rsa_private_key", jwk_from_private_key, 1),
    charged("crypto.parse_private_keys", parse_private_keys, 1),
)
