"""`gateway bundle`: what it writes, what it says, and how it ends."""

import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.bundle import archive
from gateway.commands import main
from gateway.jose.sign import generate, public_jwks
from tests.support.bundles import archive as opa_archive, claims_of, signed, tokens

SAMPLES = Path(__file__).parents[3] / "policies"
ALLOW = "package gateway.authz\n\ndecision := true\n"
KEY = generate("ES256")


def run(*arguments):
    return CliRunner().invoke(main, ["bundle", *map(str, arguments)])


def done(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def said(*arguments, code=1):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    return result.stderr


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "policies/gateway/authz.rego": ALLOW,
        "policies/gateway/authz_test.rego": "package gateway.authz_test\n\ntest_it if true\n",
        "policies/users/data.json": '{"alice": 1.50}',
        "policies/README.md": "hello",
        "ci.jwk": json.dumps(KEY.private_jwk()),
        "ci.jwks": json.dumps(public_jwks([KEY])),
        "secret": "s" * 32 + "\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def pem(name, key, *, password=None):
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    Path(f"{name}.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    )
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    Path(f"{name}.pub").write_bytes(public)


def built(name="bundle.tar.gz"):
    return archive.read(Path(name).read_bytes())


def test_build():
    out = done("build", "policies", "-r", "v1", "--root", "gateway", "--root", "/users/")
    assert out.startswith("bundle.tar.gz: 4 files, ")
    assert "revision 'v1'\nsha256 " in out
    files = built()
    assert sorted(files) == [
        ".manifest", "gateway/authz.rego", "gateway/authz_test.rego", "users/data.json",
    ]  # fmt: skip
    assert files[".manifest"] == (
        b'{"revision":"v1","roots":["gateway","users"],"rego_version":1}\n'
    )
    assert files["users/data.json"] == b'{"alice": 1.50}'
    assert Path("bundle.tar.gz").stat().st_mode & 0o777 == 0o666 & ~_mask()
    assert [each.name for each in Path().glob(".*")] == []


def _mask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_same_files_make_the_same_bytes(tmp_path):
    """Wherever they are, whenever they were written."""
    done("build", SAMPLES, "-r", "1", "-o", "one.tar.gz")
    shutil.copytree(SAMPLES, tmp_path / "elsewhere" / "copy")
    for path in (tmp_path / "elsewhere").rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o755)
    done("build", "elsewhere/copy", "-r", "1", "-o", "two.tar.gz")
    assert Path("one.tar.gz").read_bytes() == Path("two.tar.gz").read_bytes()


def test_a_manifest_in_the_folder_is_taken_over():
    manifest = {"revision": "old", "roots": ["gateway", "users"], "metadata": {"by": "me"}}
    Path("policies/.manifest").write_text(json.dumps(manifest))
    done("build", "policies")
    assert json.loads(built()[".manifest"]) == {**manifest, "rego_version": 1}
    done("build", "policies", "--revision", "new")
    assert json.loads(built()[".manifest"])["revision"] == "new"


def test_ignore():
    done("build", "policies", "--ignore", "*_test.rego", "--ignore", "users")
    assert sorted(built()) == [".manifest", "gateway/authz.rego"]


def test_several_paths():
    Path("more/acl").mkdir(parents=True)
    Path("more/acl/data.json").write_text("{}")
    done("build", "policies", "more")
    assert "acl/data.json" in built()
    shutil.copytree("policies", "again")
    assert "gateway/authz.rego is in two of the paths" in said("build", "policies", "again")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--root", "gateway"], "users/data.json: the data data.users lies outside"),
        (["--root", "users"], "gateway/authz.rego: the package data.gateway.authz lies outside"),
        (["--root", "a", "--root", "a/b"], "data.a and data.a.b overlap"),
        (["--root", "a//b"], "has an empty name"),
        (["--ignore", "*"], "there is nothing in it"),
        (["-r", "a\nb"], "expected printable text"),
    ],
)
def test_what_cannot_be_built(arguments, words):
    assert words in said("build", "policies", *arguments)
    assert not Path("bundle.tar.gz").exists()


def test_policies_must_compile():
    Path("policies/gateway/broken.rego").write_text("package gateway.broken\n\nx := nothing(1)\n")
    assert "broken.rego:3:6" in said("build", "policies")
    Path("policies/gateway/broken.rego").rename("policies/gateway/broken_test.rego")
    assert "broken_test.rego:3:6" in said("build", "policies")
    done("build", "policies", "--ignore", "broken_test.rego")


def test_a_bundle_of_a_bundle():
    done("build", "policies")
    assert "cannot be built of an archive" in said("build", "bundle.tar.gz", "-o", "x.tar.gz")


def test_data_alone():
    done("build", "policies", "--ignore", "*.rego")
    assert sorted(built()) == [".manifest", "users/data.json"]


def test_inspect():
    claims = {"scope": "write"}
    files = {
        "gateway/authz.rego": ALLOW, "users/data.json": "{}", "x": "",
        ".manifest": '{"revision":"v1","roots":["gateway","users"],"metadata":{"by":"ci"}}',
    }  # fmt: skip
    Path("b.tar.gz").write_bytes(signed(files, KEY, kid="k", claims=claims))
    found = json.loads(done("inspect", "b.tar.gz", "--format", "json"))
    assert found["manifest"] == {
        "revision": "v1", "roots": ["gateway", "users"], "metadata": {"by": "ci"},
    }  # fmt: skip
    assert found["namespaces"] == {
        "data.gateway.authz": ["/gateway/authz.rego"],
        "data.users": ["/users/data.json"],
    }
    assert found["signature"] == {
        "alg": "ES256", "kid": "k", "scope": "write", "files": 4, "claims": claims,
    }  # fmt: skip
    assert found["ignored"] == ["x"]
    assert found["problems"] == []
    text = done("inspect", "b.tar.gz")
    assert "signature ES256, key k, scope write, 4 files; not verified" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_inspect_what_is_not_all_right():
    files = {
        "gateway/authz.rego": ALLOW, ".manifest": '{"roots":["x"]}', ".signatures.json": "{}",
    }  # fmt: skip
    Path("b.tar.gz").write_bytes(opa_archive(files))
    text = done("inspect", "b.tar.gz")
    assert "problem: b.tar.gz/gateway/authz.rego: the package data.gateway.authz lies" in text
    assert "signature signatures: expected a list with one token" in text
    Path("b.tar.gz").write_bytes(b"text")
    assert "error: b.tar.gz: not a gzip file" in said("inspect", "b.tar.gz")


def test_the_revision_is_what_the_gateway_shows():
    done("build", "policies")
    shown = json.loads(done("inspect", "bundle.tar.gz", "-f", "json"))["policy_revision"]
    checked = CliRunner().invoke(main, ["policy", "check", "bundle.tar.gz"])
    assert checked.stdout == f"1 module, 1 test module, no fault; revision {shown}\n"


def verify(*arguments):
    return run("verify", "bundle.tar.gz", *arguments)


def test_sign_and_verify_with_a_jwk():
    done("build", "policies", "--signing-key", "ci.jwk")
    (token,) = tokens(built()[".signatures.json"])
    assert len(claims_of(token)["files"]) == 4
    good = verify("--verification-key", "ci.jwks", "--signing-alg", "ES256")
    assert good.stdout == f"good: revision '', signed by {KEY.id}\n"
    other = generate("ES256")
    Path("other.jwks").write_text(json.dumps(public_jwks([other])))
    refused = verify("--verification-key", "other.jwks", "--signing-alg", "ES256", "-f", "json")
    assert refused.exit_code == 1
    found = json.loads(refused.stdout)
    assert (found["verified"], found["code"]) == (False, "key-unknown")


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (rsa.generate_private_key(65537, 2048), "RS256"),
        (rsa.generate_private_key(65537, 2048), "PS512"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
    ],
    ids=["RS256", "PS512", "ES384"],
)
def test_sign_and_verify_with_pem(key, algorithm):
    pem("ci", key)
    done("build", "policies")
    done("sign", "bundle.tar.gz", "--signing-key", "ci.pem", "--signing-alg", algorithm)
    given = ("--verification-key", "ci.pub", "--signing-alg", algorithm)
    assert verify(*given).stdout == "good: revision '', signed by default\n"
    assert verify(*given, "--verification-key-id", "k", "-f", "json").exit_code == 0
    done("sign", "bundle.tar.gz", "--signing-key", "ci.pem", "--signing-alg", algorithm,
         "--key-id", "k", "--scope", "write", "-o", "other.tar.gz")  # fmt: skip
    assert verify(*given).exit_code == 0  # what was signed stays as it was
    assert "[key-unknown]" in said("verify", "other.tar.gz", *given, "--scope", "write")
    given = (*given, "--verification-key-id", "k")
    assert "[scope-mismatch]" in said("verify", "other.tar.gz", *given)
    done("verify", "other.tar.gz", *given, "--scope", "write")


def test_sign_and_verify_with_a_secret():
    done("build", "policies", "--signing-key", "secret", "--signing-alg", "HS256")
    given = ("--verification-key", "secret", "--signing-alg", "HS256")
    assert verify(*given).exit_code == 0
    Path("secret").write_text("t" * 32)
    assert "[signature-invalid]" in verify(*given).stderr


def test_claims():
    Path("claims.json").write_text('{"iss": "ci", "scope": "write", "exp": 1.5}')
    given = ("--signing-key", "ci.jwk", "--claims-file", "claims.json")
    done("build", "policies", *given)
    claims = claims_of(tokens(built()[".signatures.json"])[0])
    assert (claims["iss"], claims["scope"], claims["exp"]) == ("ci", "write", 1.5)
    keys = ("--verification-key", "ci.jwks", "--signing-alg", "ES256", "--scope", "write")
    assert "[signature-expired]" in verify(*keys).stderr
    assert "has another scope" in said("build", "policies", *given, "--scope", "read", code=64)


def test_excluded_files():
    done("build", "policies", "--signing-key", "ci.jwk")
    files = built() | {"README.md": b"hello"}
    Path("bundle.tar.gz").write_bytes(archive.write(files))
    keys = ("--verification-key", "ci.jwks", "--signing-alg", "ES256")
    assert "README.md: is not among the signed files [file-unsigned]" in verify(*keys).stderr
    assert verify(*keys, "--exclude-files-verify", "*.md").exit_code == 0


def test_verify_with_the_keys_of_the_configuration():
    done("build", "policies", "--signing-key", "ci.jwk")
    Path("gateway.yaml").write_text(
        "routes: [{id: a, paths: [/a], upstream: 'http://127.0.0.1:1', authentication: anonymous}]\n"
        "policy: {bundles: {authz: {file: bundle.tar.gz, verification: {keys: {ci: "
        "{jwks_file: ci.jwks, algorithm: ES256}}}}}}\n"
    )
    assert verify("--name", "authz").exit_code == 0
    assert "no bundle 'auth'; did you mean 'authz'?" in verify("--name", "auth").stderr
    assert "the bundle authz is on disk" in said("pull", "--name", "authz", code=64)
    both = ("--name", "authz", "--verification-key", "ci.jwks")
    assert "leave the others out" in verify(*both).stderr
    checked = CliRunner().invoke(main, ["config", "check"])
    assert checked.exit_code == 0, checked.output
    tested = CliRunner().invoke(main, ["policy", "test"])
    assert (tested.exit_code, tested.stdout) == (0, "1 test: 1 passed\n")


def test_verify_without_keys():
    done("build", "policies")
    assert verify().stdout == "good: revision '', not signed\n"
    done("sign", "bundle.tar.gz", "--signing-key", "ci.jwk")
    assert "[keys-missing]" in verify().stderr


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["--scope", "x"], "--signing-key", 64),
        ([], "--signing-key", 64),
        (["--signing-key", "ci.jwk", "--signing-alg", "RS256"], "is for ES256, not RS256", 1),
        (["--signing-key", "secret"], "not a PEM private key", 1),
        (["--signing-key", "ci.pem", "--signing-alg", "ES256"], "the key is for PS256", 1),
        (["--signing-key", "locked.pem"], "the private key is encrypted", 1),
        (["--signing-key", "ci.pub"], "not a PEM private key", 1),
        (["--signing-key", "ci.pem", "--signing-alg", "HS256"], "not a shared secret", 1),
        (["--signing-key", "absent"], "does not exist", 1),
    ],
)
def test_what_does_not_sign(arguments, words, code):
    key = rsa.generate_private_key(65537, 2048)
    pem("ci", key)
    pem("locked", key, password=b"x")
    done("build", "policies")
    before = Path("bundle.tar.gz").read_bytes()
    assert words in said("sign", "bundle.tar.gz", *arguments, code=code)
    assert Path("bundle.tar.gz").read_bytes() == before


def test_tampered_bundles_end_with_1():
    done("build", "policies", "--signing-key", "ci.jwk")
    files = built() | {"gateway/authz.rego": b"package gateway.authz\n\ndecision := false\n"}
    Path("bundle.tar.gz").write_bytes(archive.write(files))
    result = verify("--verification-key", "ci.jwks", "--signing-alg", "ES256")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "error: bundle.tar.gz/gateway/authz.rego: is not what was signed [digest-mismatch] "
        "(sign the bundle as it is now)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a URL"),
        (["https://bundles.example/b"], "--verification-key, or add --insecure-unsigned"),
        (["ftp://bundles.example/b", "--insecure-unsigned"], "http:// or https:// URL"),
        (["http://bundles.example/b", "--insecure-unsigned"], "plain http"),
        (["https://bundles.example/b", "--insecure-unsigned", "--timeout", "x"], "seconds"),
    ],
)
def test_what_is_not_fetched(arguments, words):
    assert words in said("pull", *arguments, code=64)


def test_offline_commands_take_archives():
    done("build", "policies", "-o", "one.tar.gz", "--signing-key", "ci.jwk")
    Path("policies/gateway/authz.rego").write_text(ALLOW.replace("true", "false"))
    done("build", "policies", "-o", "two.tar.gz")
    for arguments in (
        ["test", "one.tar.gz"],
        ["check", "one.tar.gz"],
        ["eval", "-d", "one.tar.gz", "data.gateway.authz.decision", "--fail"],
        ["diff", "one.tar.gz", "one.tar.gz", "--entrypoint", "gateway/authz/decision"],
    ):
        result = CliRunner().invoke(main, ["policy", *arguments])
        assert result.exit_code == 0, (arguments, result.output)
    differ = CliRunner().invoke(
        main, ["policy", "diff", "one.tar.gz", "two.tar.gz", "--entrypoint", "gateway/authz/decision"]
    )  # fmt: skip
    assert differ.exit_code == 2, differ.output
