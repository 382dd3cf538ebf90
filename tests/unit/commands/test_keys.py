"""`gateway keys`: what it makes can be used, and no mistake looks like a bug of the gateway."""

import json
import stat

import pytest
from click.testing import CliRunner

from gateway.commands import EXIT_USAGE, main
from gateway.identify import Keyring
from gateway.jose.sign import generate, load


def run(*arguments):
    return CliRunner().invoke(main, ["keys", *map(str, arguments)])


def test_a_key_and_its_public_half(tmp_path):
    file = tmp_path / "dev.private.jwk"
    made = run("generate", "-a", "EdDSA", "--kid", "k1", "-o", file)
    assert (made.exit_code, made.output) == (0, "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load(file.read_bytes()).id == "k1"
    shown = run("jwks", file)
    keyring = Keyring.from_jwks(shown.stdout.encode())
    assert [key.id for key in keyring.keys] == ["k1"]
    assert '"d"' not in shown.stdout


def test_a_key_is_never_overwritten(tmp_path):
    file = tmp_path / "dev.private.jwk"
    file.write_text("mine")
    result = run("generate", "-o", file)
    assert result.exit_code == 1
    assert result.stderr == f"error: {file}: is there already; nothing was written\n"
    assert file.read_text() == "mine"


@pytest.mark.parametrize(("algorithm", "size"), [("HS256", 64), ("HS384", 96), ("HS512", 128)])
def test_a_shared_secret_is_text_that_the_configuration_reads(algorithm, size, tmp_path):
    file = tmp_path / "dev.secret"
    assert run("generate", "-a", algorithm, "-o", file).exit_code == 0
    text = file.read_text()
    assert len(text.removesuffix("\n")) == size
    (key,) = Keyring.from_secret(text.removesuffix("\n")).keys
    assert algorithm in key.algorithms
    assert run("generate", "-a", algorithm).stdout != text


def test_a_shared_secret_has_no_id():
    result = run("generate", "-a", "HS256", "--kid", "k")
    assert result.exit_code == EXIT_USAGE
    assert "--kid: a shared secret (HS256) has no id" in result.stderr


@pytest.mark.parametrize("kid", ["\udcff", "a\nb"])
def test_an_id_is_text(kid):
    result = run("generate", "--kid", kid)
    assert (result.exit_code, result.stdout) == (EXIT_USAGE, "")
    assert "--kid: expected text, got " in result.stderr


def key_file(tmp_path, name, **given):
    file = tmp_path / name
    file.write_text(json.dumps(generate("ES256", **given).private_jwk()))
    return file


def test_a_shared_secret_has_no_public_half(tmp_path):
    file = tmp_path / "shared.jwk"
    file.write_text(json.dumps(generate("HS256").private_jwk()))
    result = run("jwks", file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{file}: a shared secret has no public half" in result.stderr
    assert "keys.secret_file" in result.stderr


def test_two_keys_of_one_id_are_no_set(tmp_path):
    one, two = (key_file(tmp_path, name, key_id="k") for name in ("one.jwk", "two.jwk"))
    for files in ((one, two), (one, one)):
        result = run("jwks", *files)
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"{files[1]}: its kid 'k' is that of {one}, too" in result.stderr
    assert run("jwks", one, key_file(tmp_path, "three.jwk")).exit_code == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe\x00",
        b"[]",
        b"{}",
        b'{"alg": 1}',
        b'{"alg": "ES256"}',
        b'{"alg": "ES256", "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "d": 5}',
        b'{"alg": "none", "kty": "oct", "k": "AAAA"}',
        b'{"alg": "HS256", "kty": "oct", "k": "AAAA"}',
        b'{"keys": []}',
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        json.dumps(generate("ES256").public_jwk()).encode(),
    ],
)
def test_what_is_no_private_key(data, tmp_path):
    file = tmp_path / "x.jwk"
    file.write_bytes(data)
    result = run("jwks", file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: {file}: ")
    assert "expected a private JWK, as `gateway keys generate` writes it" in result.stderr


@pytest.mark.parametrize("wrong", [5, "", "AA", None, [], {}])
@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_private_members_that_are_wrong(algorithm, wrong, tmp_path):
    jwk = generate(algorithm).private_jwk()
    file = tmp_path / "x.jwk"
    for member in {"d", "p", "dp", "qi"} & jwk.keys():
        file.write_text(json.dumps({**jwk, member: wrong}))
        result = run("jwks", file)
        assert result.exit_code == 1, (member, result.output)
        assert result.stderr.startswith(f"error: {file}: ")
