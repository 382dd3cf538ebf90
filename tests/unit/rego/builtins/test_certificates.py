"""crypto.x509.*: certificates, chains and keys made here."""

import base64
import datetime
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.rego.errors import BuiltinError
from tests.support.rego_values import Work, call

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
YEAR = datetime.timedelta(days=365)
NOW_NS = int(NOW.timestamp()) * 1_000_000_000


class Party:
    def __init__(self, name):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def certify(self, subject, *extensions, ca=None, start=NOW - YEAR, end=NOW + YEAR):
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject.name)
            .issuer_name(self.name)
            .public_key(subject.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
        )
        if ca is not None:
            length = ca if isinstance(ca, int) and ca is not True else None
            builder = builder.add_extension(x509.BasicConstraints(True, length), critical=True)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        made = builder.sign(self.key, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM).decode()


ROOT, MIDDLE, LEAF, STRANGER = (Party(name) for name in ("root", "middle", "leaf", "stranger"))
FALSE_ROOT = Party("root")
ROOT_PEM = ROOT.certify(ROOT, ca=True)
MIDDLE_PEM = ROOT.certify(MIDDLE, ca=True)
NAMES = (
    x509.SubjectAlternativeName(
        [x509.DNSName("api.example"), x509.DNSName("*.wild.example"),
         x509.IPAddress(ipaddress.ip_address("10.0.0.1")),
         x509.UniformResourceIdentifier("spiffe://example/api")]
    ),
    False,
)  # fmt: skip
LEAF_PEM = MIDDLE.certify(LEAF, NAMES)


def verify(*pems, options=None):
    state = Work(now_ns=NOW_NS)
    if options is None:
        name, arguments = "crypto.x509.parse_and_verify_certificates", ("".join(pems),)
    else:
        name = "crypto.x509.parse_and_verify_certificates_with_options"
        arguments = ("".join(pems), options)
    valid, chain = call(name, *arguments, state=state)
    assert valid == bool(chain)
    return [item["Subject"]["CommonName"] for item in chain]


def test_a_chain():
    assert verify(ROOT_PEM, MIDDLE_PEM, LEAF_PEM) == ["leaf", "middle", "root"]
    assert verify(ROOT_PEM, ROOT.certify(LEAF)) == ["leaf", "root"]


REFUSED = {
    "one certificate": [ROOT_PEM],
    "nothing": [""],
    "no intermediate": [ROOT_PEM, LEAF_PEM],
    "another root": [STRANGER.certify(STRANGER, ca=True), MIDDLE_PEM, LEAF_PEM],
    "same name, other key": [FALSE_ROOT.certify(FALSE_ROOT, ca=True), MIDDLE_PEM, LEAF_PEM],
    "root is no authority": [ROOT.certify(ROOT), ROOT.certify(LEAF)],
    "intermediate is no authority": [ROOT_PEM, ROOT.certify(MIDDLE), LEAF_PEM],
    "path too long": [ROOT.certify(ROOT, ca=0), MIDDLE_PEM, LEAF_PEM],
    "expired leaf": [ROOT_PEM, MIDDLE_PEM, MIDDLE.certify(LEAF, end=NOW - YEAR / 2)],
    "future intermediate": [
        ROOT_PEM,
        ROOT.certify(MIDDLE, ca=True, start=NOW + YEAR / 2),
        LEAF_PEM,
    ],
    "expired root": [ROOT.certify(ROOT, ca=True, end=NOW - YEAR / 2), ROOT.certify(LEAF)],
    "name constraints that are not critical": [
        ROOT_PEM,
        ROOT.certify(
            MIDDLE, (x509.NameConstraints([x509.DNSName("other.example")], None), False), ca=True
        ),
        LEAF_PEM,
    ],
    "name constraints": [
        ROOT_PEM,
        ROOT.certify(
            MIDDLE, (x509.NameConstraints([x509.DNSName("other.example")], None), True), ca=True
        ),
        LEAF_PEM,
    ],
    "unknown critical extension": [
        ROOT_PEM,
        ROOT.certify(
            LEAF, (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
        ),
    ],
    "client only": [
        ROOT_PEM,
        ROOT.certify(LEAF, (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)),
    ],
    "may not sign": [
        ROOT.certify(
            ROOT,
            (x509.KeyUsage(True, False, False, False, False, False, False, False, False), True),
            ca=True,
        ),
        ROOT.certify(LEAF),
    ],
    "garbage": ["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", LEAF_PEM],
}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refused(case):
    assert verify(*REFUSED[case]) == []


@pytest.mark.parametrize(
    ("options", "valid"),
    [
        ({}, True),
        ({"DNSName": "api.example"}, True),
        ({"DNSName": "API.example."}, True),
        ({"DNSName": "x.wild.example"}, True),
        ({"DNSName": "x.y.wild.example"}, False),
        ({"DNSName": "wild.example"}, False),
        ({"DNSName": "10.0.0.1"}, True),
        ({"DNSName": "10.0.0.2"}, False),
        ({"CurrentTime": NOW_NS + 10**18}, False),
        ({"KeyUsages": ["KeyUsageClientAuth"]}, True),
    ],
)
def test_options(options, valid):
    assert bool(verify(ROOT_PEM, MIDDLE_PEM, LEAF_PEM, options=options)) is valid


@pytest.mark.parametrize(
    "options",
    [{"Nope": 1}, {"DNSName": 5}, {"KeyUsages": ["x"]}, {"KeyUsages": "x"}, {"CurrentTime": "x"},
     {"CurrentTime": 10**60}],
)  # fmt: skip
def test_bad_options(options):
    with pytest.raises(BuiltinError):
        verify(ROOT_PEM, LEAF_PEM, options=options)


@pytest.mark.parametrize(
    "text",
    [
        LEAF_PEM + ROOT_PEM,
        base64.b64encode((LEAF_PEM + ROOT_PEM).encode()).decode(),
        base64.b64encode(
            b"".join(
                x509.load_pem_x509_certificate(pem.encode()).public_bytes(
                    serialization.Encoding.DER
                )
                for pem in (LEAF_PEM, ROOT_PEM)
            )
        ).decode(),
    ],
)
def test_parse(text):
    leaf, root = call("crypto.x509.parse_certificates", text)
    assert leaf["Subject"]["CommonName"] == "leaf"
    assert leaf["Issuer"]["CommonName"] == "middle"
    assert leaf["DNSNames"] == ["api.example", "*.wild.example"]
    assert leaf["IPAddresses"] == ["10.0.0.1"]
    assert leaf["URIStrings"] == ["spiffe://example/api"]
    assert leaf["NotAfter"] == "2031-01-01T00:00:00Z"
    assert (leaf["IsCA"], leaf["Version"], leaf["SignatureAlgorithm"]) == (False, 3, 10)
    assert (root["IsCA"], root["MaxPathLen"], root["DNSNames"]) == (True, -1, None)


@pytest.mark.parametrize(
    "text", ["x", "AAAA", LEAF_PEM.replace("CERTIFICATE", "PUBLIC KEY"), "MAA=", "MIID" * 9]
)
def test_what_is_no_certificate(text):
    with pytest.raises(BuiltinError):
        call("crypto.x509.parse_certificates", text)


def private_pem(key, form=serialization.PrivateFormat.PKCS8):
    return key.private_bytes(
        serialization.Encoding.PEM, form, serialization.NoEncryption()
    ).decode()


@pytest.mark.parametrize(
    ("key", "members"),
    [
        (rsa.generate_private_key(public_exponent=65537, key_size=2048), {"N", "E", "D"}),
        (ec.generate_private_key(ec.SECP384R1()), {"X", "Y", "D"}),
    ],
)
def test_private_keys(key, members):
    pem = private_pem(key)
    (shown,) = call("crypto.parse_private_keys", pem)
    assert members <= shown.keys()
    encoded = base64.b64encode(pem.encode()).decode()
    assert call("crypto.parse_private_keys", encoded) == [shown]
    traditional = private_pem(key, serialization.PrivateFormat.TraditionalOpenSSL)
    assert call("crypto.parse_private_keys", traditional) == [shown]
    made = call("crypto.x509.parse_rsa_private_key", pem)
    assert made["kty"] in ("RSA", "EC")


def test_no_private_keys():
    assert call("crypto.parse_private_keys", "") is None
    assert call("crypto.parse_private_keys", "nothing here") == []
    assert call("crypto.parse_private_keys", LEAF_PEM) == []
    seed = call("crypto.parse_private_keys", private_pem(ed25519.Ed25519PrivateKey.generate()))[0]
    assert len(base64.b64decode(seed)) == 64


def test_a_key_pair_belongs_together():
    pair = call("crypto.x509.parse_keypair", LEAF_PEM, private_pem(LEAF.key))
    assert pair["Leaf"]["Subject"]["CommonName"] == "leaf"
    with pytest.raises(BuiltinError):
        call("crypto.x509.parse_keypair", LEAF_PEM, private_pem(ROOT.key))


def test_a_request():
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(LEAF.name)
        .sign(LEAF.key, hashes.SHA256())
    )
    pem = request.public_bytes(serialization.Encoding.PEM).decode()
    shown = call("crypto.x509.parse_certificate_request", pem)
    assert shown["Subject"]["CommonName"] == "leaf"
    with pytest.raises(BuiltinError):
        call("crypto.x509.parse_certificate_request", LEAF_PEM)
