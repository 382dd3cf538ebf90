"""Signatures in OPA's form: each way to tamper with a bundle is refused by name."""

import hmac
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.bundle.errors import BundleError
from gateway.bundle.reader import read_bundle
from gateway.bundle.signature import Trust, TrustedKey, sign
from gateway.jose.base64url import encode
from gateway.jose.jwk import VerificationKey, from_jwk, from_secret
from gateway.jose.sign import generate, sign_bytes
from tests.support.bundles import (
    MANIFEST,
    archive,
    claims_of,
    entry,
    listed,
    packed,
    signatures,
    signed,
    tokens,
    with_tar,
)
from tests.support.opa import needs_opa, opa

FILES = {
    "data.json": '{"users": {"alice": ["reader"]}}',
    "gateway/authz.rego": "package gateway.authz\n",
    ".manifest": MANIFEST,
}
KEYS = {alg: generate(alg) for alg in ("RS256", "PS384", "ES256", "ES512", "EdDSA", "HS256")}
ONE, OTHER = KEYS["ES256"], generate("ES256")
NOW = 1_790_000_000.0


def trusted(key, name="k", **how):
    known = (
        from_secret(key.key.raw_value)
        if key.algorithm.startswith("HS")
        else from_jwk(key.public_jwk())
    )
    return TrustedKey(id=name, algorithm=key.algorithm, key=known, **how)


def trust(*keys, **how):
    return Trust(keys=keys or (trusted(ONE),), **how)


def read(data, given=None, now=NOW):
    return read_bundle(data, "b.tar.gz", given or trust(), now)


def refusal(data, given=None, now=NOW):
    with pytest.raises(BundleError) as refused:
        read(data, given, now)
    (problem,) = refused.value.problems
    assert problem.file.startswith("b.tar.gz")
    assert f"[{refused.value.reason.code}]" in problem.message
    return refused.value.reason.code


@pytest.mark.parametrize("algorithm", KEYS)
def test_every_algorithm(algorithm):
    key = KEYS[algorithm]
    found = read(signed(FILES, key, kid="k"), trust(trusted(key)))
    assert found.signed.key_id == "k"
    assert found.manifest.revision == "v1"
    assert sorted(found.files) == sorted(FILES)
    refused = refusal(signed(FILES, generate(algorithm), kid="k"), trust(trusted(key)))
    assert refused == "signature-invalid"


def test_ours_is_the_form_of_opa_sign():
    files = {
        name: data if isinstance(data, bytes) else data.encode() for name, data in FILES.items()
    }
    made = sign(files, ONE)
    (token,) = tokens(made)
    assert made == f'{{\n "signatures": [\n  "{token}"\n ]\n}}'.encode()
    assert claims_of(token) == {"files": sorted(listed(files), key=lambda each: each["name"])}
    assert read(archive({**files, ".signatures.json": made})).signed.key_id == "k"
    with_claims = sign(files, ONE, key_id="k", claims={"scope": "write", "iss": "ci", "files": []})
    claims = claims_of(tokens(with_claims)[0])
    assert (claims["scope"], claims["iss"], len(claims["files"])) == ("write", "ci", 3)


@needs_opa
def test_opa_verifies_the_token():
    files = {
        name: data if isinstance(data, bytes) else data.encode() for name, data in FILES.items()
    }
    module = """package ask

        found := io.jwt.decode_verify(input.token, {"cert": input.jwks, "alg": "ES256"})"""
    (token,) = tokens(sign(files, ONE))
    jwks = json.dumps({"keys": [ONE.public_jwk()]})
    with opa() as asked:
        (said,) = asked.ask({"ask.rego": module}, [("ask.found", {"token": token, "jwks": jwks})])
    good, header, claims = said.value
    assert (good, header, claims) == (True, {"alg": "ES256"}, claims_of(token))


def test_what_the_plugin_of_opa_build_is_called():
    document = {**json.loads(signatures(FILES, ONE)), "plugin": "_default"}
    read(archive({**FILES, ".signatures.json": json.dumps(document)}))
    document["plugin"] = "kms"
    assert refusal(archive({**FILES, ".signatures.json": json.dumps(document)})) == (
        "signature-malformed"
    )


# --- which key


def test_a_set_of_keys():
    given = trust(trusted(OTHER, "old"), trusted(ONE, "new"), trusted(KEYS["RS256"], "rsa"))
    assert read(signed(FILES, ONE, kid="new"), given).signed.key_id == "new"
    assert read(signed(FILES, ONE), given).signed.key_id == "new"
    assert read(signed(FILES, KEYS["RS256"]), given).signed.key_id == "rsa"
    keyid = {"keyid": "new"}  # how OPA named it before there was `kid`
    assert read(signed(FILES, ONE, claims=keyid), given).signed.key_id == "new"
    assert read(signed(FILES, ONE, kid="new", claims=keyid), given).signed.key_id == "new"
    # A signature that names a key is that key's, whoever else made it.
    assert refusal(signed(FILES, ONE, kid="old"), given) == "signature-invalid"
    assert refusal(signed(FILES, ONE, kid="none"), given) == "key-unknown"
    assert refusal(signed(FILES, ONE, claims={"keyid": "none"}), given) == "key-unknown"
    two = signed(FILES, ONE, kid="new", claims={"keyid": "old"})
    assert refusal(two, given) == "signature-malformed"


def test_a_key_expires():
    given = trust(trusted(ONE, expires=NOW))
    assert read(signed(FILES, ONE), given, NOW - 1).signed.key_id == "k"
    assert refusal(signed(FILES, ONE), given, NOW) == "key-expired"
    newer = trust(trusted(ONE, expires=NOW), trusted(OTHER, "next"))
    assert read(signed(FILES, OTHER), newer).signed.key_id == "next"


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": NOW + 1}, None),
        ({"exp": NOW}, "signature-expired"),
        ({"exp": 10**400}, None),
        ({"nbf": NOW}, None),
        ({"nbf": NOW + 1}, "signature-expired"),
        ({"iat": NOW + 10**6}, None),
        ({"exp": True}, "signature-malformed"),
        ({"exp": str(NOW + 1)}, "signature-malformed"),
        ({"exp": None}, "signature-malformed"),
    ],
)
def test_times(claims, code):
    data = signed(FILES, ONE, claims=claims)
    assert (refusal(data) if code else read(data).signed.key_id) == (code or "k")


@pytest.mark.parametrize(
    ("signed_for", "bundle", "key", "good"),
    [
        ("", "", "", True),
        ("write", "write", "", True),
        ("write", "", "write", True),
        ("write", "write", "write", True),
        ("write", "", "", False),
        ("", "write", "", False),
        ("", "", "write", False),
        ("read", "write", "", False),
        ("write", "write", "read", False),
        ("read", "write", "read", False),
        ("Write", "write", "", False),
    ],
)
def test_scopes(signed_for, bundle, key, good):
    given = trust(trusted(ONE, scope=key), scope=bundle)
    data = signed(FILES, ONE, claims={"scope": signed_for} if signed_for else None)
    assert (read(data, given).signed.key_id if good else refusal(data, given)) == (
        "k" if good else "scope-mismatch"
    )


def test_a_scope_is_text():
    assert refusal(signed(FILES, ONE, claims={"scope": ["write"]})) == "signature-malformed"


# --- algorithms


def test_a_public_key_is_no_secret():
    """The confusion of algorithms: HS256 with the bytes of the public key."""
    pem = KEYS["RS256"].key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    payload = json.dumps({"files": listed(FILES)}).encode()
    for header in (b'{"alg":"HS256"}', b'{"alg":"HS256","kid":"k"}', b'{"alg":"RS256"}'):
        text = encode(header) + b"." + encode(payload)
        token = text + b"." + encode(hmac.digest(pem, text, "sha256"))
        document = json.dumps({"signatures": [token.decode()]})
        data = archive({**FILES, ".signatures.json": document})
        assert refusal(data, trust(trusted(KEYS["RS256"]))) == "signature-invalid"


@pytest.mark.parametrize("algorithm", ["RS512", "PS256"])
def test_another_algorithm_of_the_same_key_is_refused(algorithm):
    key = replace(KEYS["RS256"], algorithm=algorithm)
    assert refusal(signed(FILES, key), trust(trusted(KEYS["RS256"]))) == "signature-invalid"


def test_ed25519_goes_by_both_names():
    key = replace(KEYS["EdDSA"], algorithm="Ed25519")
    assert read(signed(FILES, key), trust(trusted(KEYS["EdDSA"]))).signed.key_id == "k"


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "ES256", "crit": ["exp"], "exp": 1},
        {"alg": "ES256", "b64": False},
        {"alg": "ES256", "zip": "DEF"},
        {"alg": 1},
    ],
)
def test_headers_that_change_the_reading(header):
    assert refusal(signed(FILES, ONE, header=header)) in (
        "signature-malformed",
        "signature-invalid",
    )


def test_a_key_in_the_header_is_not_looked_at():
    header = {"jwk": OTHER.public_jwk(), "jku": "https://evil.example/keys"}
    assert refusal(signed(FILES, OTHER, header=header)) == "signature-invalid"


# --- the files


def swapped(**changes):
    """A signed bundle of which files were changed afterwards; None takes one away."""
    whole = {**FILES, ".signatures.json": signatures(FILES, ONE), **changes}
    return archive({name: data for name, data in whole.items() if data is not None})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"gateway/authz.rego": "package gateway.authz\n\nallow := true\n"}, "digest-mismatch"),
        ({"gateway/authz.rego": ""}, "digest-mismatch"),
        ({"data.json": '{"users": {"mallory": ["reader"]}}'}, "digest-mismatch"),
        ({"data.json": '{"users": {"alice": ["reader"]}, "users": {}}'}, "digest-mismatch"),
        ({"data.json": "{"}, "digest-mismatch"),
        ({".manifest": '{"revision":"v1","roots":["x"],"rego_version":1}'}, "digest-mismatch"),
        ({"extra.rego": "package extra\n"}, "file-unsigned"),
        ({"README.md": "hello"}, "file-unsigned"),
        ({"a/data.json": "{}"}, "file-unsigned"),
        ({"data.json": None}, "file-missing"),
        ({".manifest": None}, "file-missing"),
        ({"gateway/authz.rego": None, "gateway/Authz.rego": FILES["gateway/authz.rego"]}, "file-unsigned"),
        ({".signatures.json": None}, "unsigned"),
        ({".signatures.json": "{}"}, "signature-malformed"),
        ({".signatures.json": '{"signatures": []}'}, "signatures-many"),
        ({".signatures.json": '{"signatures": [1]}'}, "signature-malformed"),
        ({".signatures.json": '{"signatures": ["a.b.c"]}'}, "signature-malformed"),
        ({".signatures.json": '{"Signatures": ["a.b.c"]}'}, "signature-malformed"),
        ({".signatures.json": ""}, "signature-malformed"),
        ({"x/.signatures.json": "{}"}, "file-unsigned"),
        ({"patch.json": '{"data": [{"op": "upsert", "path": "/x", "value": 1}]}'}, "file-unsigned"),
    ],
)  # fmt: skip
def test_tampering(changes, code):
    assert refusal(swapped(**changes)) == code


def test_what_is_written_otherwise_says_the_same():
    changed = swapped(**{"data.json": '{ "users":\n{"alice":["reader"] } }'})
    assert read(changed).signed.key_id == "k"


def test_two_signatures():
    both = tokens(signatures(FILES, ONE)) + tokens(signatures(FILES, OTHER))
    assert refusal(swapped(**{".signatures.json": json.dumps({"signatures": both})})) == (
        "signatures-many"
    )


def test_one_file_twice_in_the_archive():
    parts = [
        entry(f"/{name}", data if isinstance(data, bytes) else data.encode())
        for name, data in FILES.items()
    ]
    parts.append(entry("/.signatures.json", signatures(FILES, ONE)))
    parts.append(entry("gateway/authz.rego", b"package evil\n"))
    assert refusal(packed(*parts)) == "name-twice"


def test_the_names_of_tar_programs_are_the_names_that_were_signed():
    whole = {**FILES, ".signatures.json": signatures(FILES, ONE)}
    assert read(with_tar(whole)).signed.key_id == "k"
    dotted = {f"./{name}": data for name, data in FILES.items()}
    names = json.loads(signatures(FILES, ONE))
    assert len(names["signatures"]) == len(dotted) - 2
    payload = {"files": [{**each, "name": "/" + each["name"]} for each in listed(FILES)]}
    assert read(with_payload(payload)).signed.key_id == "k"


def with_payload(payload, raw=None):
    data = raw if raw is not None else json.dumps(payload).encode()
    token = sign_bytes(b'{"alg":"ES256"}', data, ONE)
    document = json.dumps({"signatures": [token]})
    return archive({**FILES, ".signatures.json": document})


FIRST, *REST = listed(FILES)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        [],
        {"files": {}},
        {"files": None},
        {"files": [1]},
        {"files": [{}]},
        {"files": [FIRST, *REST, FIRST]},
        {"files": [FIRST, *REST, {**FIRST, "name": "/" + FIRST["name"]}]},
        {"files": [{**FIRST, "hash": 1}, *REST]},
        {"files": [{**FIRST, "algorithm": "MD5"}, *REST]},
        {"files": [{**FIRST, "algorithm": "SHA-1"}, *REST]},
        {"files": [{**FIRST, "algorithm": "sha256"}, *REST]},
        {"files": [{**FIRST, "algorithm": ""}, *REST]},
        {"files": [{**FIRST, "Hash": "0"}, *REST]},
        {"files": [{name: FIRST[name] for name in ("name", "hash")}, *REST]},
    ],
)
def test_payloads_that_say_no_clear_thing(payload):
    assert refusal(with_payload(payload)) == "signature-malformed"


def test_names_twice_in_the_json():
    good = json.dumps(listed(FILES))
    raw = f'{{"files":[],"files":{good}}}'.encode()
    assert refusal(with_payload(None, raw)) == "signature-malformed"
    raw = f'{{"scope":"a","files":{good},"scope":""}}'.encode()
    assert refusal(with_payload(None, raw)) == "signature-malformed"


def test_hashes_in_capitals_and_of_other_lengths():
    upper = [{**each, "hash": each["hash"].upper()} for each in listed(FILES)]
    assert read(with_payload({"files": upper})).signed.key_id == "k"
    short = [{**FIRST, "hash": FIRST["hash"][:32]}, *REST]
    assert refusal(with_payload({"files": short})) == "digest-mismatch"
    strange = [{**FIRST, "hash": "é" * 64}, *REST]
    assert refusal(with_payload({"files": strange})) == "digest-mismatch"


@pytest.mark.parametrize(
    ("patterns", "name", "good"),
    [
        (("*.md",), "README.md", True),
        (("docs/*",), "docs/a.txt", True),
        (("*",), "docs/a.txt", False),
        (("docs/*",), "docs/sub/a.txt", False),
        (("docs/?.txt", "x"), "docs/a.txt", True),
        ((), "README.md", False),
    ],
)
def test_excluded_files(patterns, name, good):
    data = swapped(**{name: "hello"})
    given = trust(exclude=patterns)
    assert (read(data, given).signed.key_id if good else refusal(data, given)) == (
        "k" if good else "file-unsigned"
    )


# --- whether it must be signed


def test_without_keys_nothing_signed_is_taken():
    assert read(archive(FILES), Trust()).signed.key_id == ""
    assert refusal(signed(FILES, ONE), Trust()) == "keys-missing"


def test_where_nobody_verifies_it_may_be_signed_or_not():
    for data in (archive(FILES), signed(FILES, ONE)):
        assert read_bundle(data, "b.tar.gz", None, NOW).signed.key_id == ""


def test_a_good_bundle_stays_good_only_as_long_as_its_trust():
    """What was read once is known again."""
    data = signed(FILES, ONE, claims={"exp": NOW + 10})
    assert read(data).signed.key_id == "k"
    assert refusal(data, trust(trusted(OTHER))) == "signature-invalid"
    assert refusal(data, trust(scope="write")) == "scope-mismatch"
    assert refusal(data, trust(trusted(ONE, expires=NOW))) == "key-expired"
    assert refusal(data, Trust()) == "keys-missing"
    assert refusal(data, now=NOW + 10) == "signature-expired"
    assert read(data).signed.key_id == "k"


def test_a_key_shows_nothing_of_itself():
    assert isinstance(trusted(KEYS["HS256"]).key, VerificationKey)
    secret = KEYS["HS256"].key.raw_value
    assert str(secret)[2:12] not in repr(trust(trusted(KEYS["HS256"])))
