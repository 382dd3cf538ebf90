"""Certificates and keys of many kinds, as OPA itself shows them."""

import datetime
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from gateway.rego.values import equal
from tests.support.opa import needs_opa, opa
from tests.support.rego_values import call

KEYS = {
    "rsa": rsa.generate_private_key(65537, 2048),
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}
URI = x509.UniformResourceIdentifier
OID = x509.ObjectIdentifier

NAMES = {
    "plain": {"COMMON_NAME": "a", "ORGANIZATION_NAME": "o", "COUNTRY_NAME": "DE"},
    "escaped": {"COMMON_NAME": 'é,+"<>;#x ', "ORGANIZATIONAL_UNIT_NAME": " u"},
    "long": {"STREET_ADDRESS": "s", "POSTAL_CODE": "1", "SERIAL_NUMBER": "7", "LOCALITY_NAME": "l"},
    "other": {"DOMAIN_COMPONENT": "x", "EMAIL_ADDRESS": "e@f"},
    "empty": {},
}
EXTENSIONS = {
    "names": x509.SubjectAlternativeName(
        [
            x509.DNSName("a.example"),
            x509.IPAddress(ipaddress.ip_address("10.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
            URI("spiffe://a/b?c=d"),
            x509.RFC822Name("a@b.c"),
        ]
    ),
    "usage": x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    ),
    "extended usage": x509.ExtendedKeyUsage(
        [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CODE_SIGNING, OID("1.2.3.4")]
    ),
    "authority": x509.BasicConstraints(ca=True, path_length=0),
    "long authority": x509.BasicConstraints(ca=True, path_length=None),
    "subject key": x509.SubjectKeyIdentifier(b"abc"),
    "authority key": x509.AuthorityKeyIdentifier(b"xyz", None, None),
    "policies": x509.CertificatePolicies([x509.PolicyInformation(OID("1.2.3.9"), None)]),
    "policy limits": x509.PolicyConstraints(1, 0),
    "any policy": x509.InhibitAnyPolicy(1),
    "revocation": x509.CRLDistributionPoints(
        [x509.DistributionPoint([URI("http://c/crl")], None, None, None)]
    ),
    "access": x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(AuthorityInformationAccessOID.OCSP, URI("http://o")),
            x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, URI("http://i")),
        ]
    ),
    "unknown": x509.UnrecognizedExtension(OID("1.2.3.5"), b"\x05\x00"),
}


def _name(parts):
    return x509.Name(
        [x509.NameAttribute(getattr(NameOID, part), text) for part, text in parts.items()]
    )


def _certificate(*, key="rsa", name="plain", extensions=(), serial=12_345):
    subject, private = _name(NAMES[name]), KEYS[key]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(serial)
        .not_valid_before(datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2051, 1, 1, tzinfo=datetime.UTC))
    )
    for extension in extensions:
        critical = extension in ("usage", "authority", "policy limits", "any policy")
        builder = builder.add_extension(EXTENSIONS[extension], critical=critical)
    digest = None if key == "ed25519" else hashes.SHA384()
    return builder.sign(private, digest).public_bytes(Encoding.PEM).decode()


def _same(oracle, name, *arguments):
    said = oracle.ask(
        {
            "a.rego": f"package t\n\np := {name}({', '.join(f'input[{n}]' for n in range(len(arguments)))})\n"
        },
        [("t.p", list(arguments))],
    )[0]
    assert said.kind == "value", said
    seen = call(name, *arguments)
    assert equal(seen, said.value), [
        (key, one.get(key), other.get(key))
        for one, other in zip(seen, said.value, strict=True)
        for key in {*one, *other}
        if one.get(key) != other.get(key)
    ]


@pytest.fixture(scope="module")
def oracle():
    with opa() as asked:
        yield asked


CERTIFICATES = {
    **{f"key {key}": {"key": key} for key in KEYS},
    **{f"name {name}": {"name": name} for name in NAMES},
    **{extension: {"extensions": [extension]} for extension in EXTENSIONS},
    "several": {"extensions": ["usage", "names", "unknown", "subject key"], "serial": 2**150 + 7},
}


@needs_opa
@pytest.mark.parametrize("name", CERTIFICATES)
def test_certificates(oracle, name):
    _same(oracle, "crypto.x509.parse_certificates", _certificate(**CERTIFICATES[name]))


@needs_opa
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("key", ["rsa", "p256", "p384"])
def test_keys(oracle, key, form):
    pem = KEYS[key].private_bytes(Encoding.PEM, form, NoEncryption()).decode()
    _same(oracle, "crypto.parse_private_keys", pem)
