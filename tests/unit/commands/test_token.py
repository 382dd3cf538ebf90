"""`gateway token`: what is minted is what was asked for; each mistake has its explanation."""

import base64
import json

import pytest
from click.testing import CliRunner

from gateway.commands import EXIT_USAGE, main
from gateway.jose.sign import generate, sign_bytes

KEY = generate("ES256", key_id="k")
ISSUER = "https://dev.invalid/"
CONFIG = """\
issuers:
  dev:
    issuer: https://dev.invalid/
    audience: orders-api
    algorithms: [{algorithm}]
    keys: {keys}
upstreams: {{orders: {{url: "http://127.0.0.1:9000"}}}}
routes:
  - {{id: orders, paths: [/orders], upstream: orders}}
  - {{id: bills, paths: [/bills], upstream: orders, audience: bills}}
policy: {{paths: policies}}
"""
POLICY = "package gateway.authz\n\nimport rego.v1\n\ndefault allow := false\n"


def run(*arguments, **more):
    return CliRunner().invoke(main, ["token", *map(str, arguments)], **more)


def decoded(token):
    return [
        json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        for part in token.strip().split(".")[:2]
    ]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key.jwk").write_text(json.dumps(KEY.private_jwk()))
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [KEY.public_jwk()]}))
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "authz.rego").write_text(POLICY)
    configure(tmp_path, "{jwks_file: jwks.json}")
    return tmp_path


def configure(folder, keys, algorithm="ES256"):
    (folder / "gateway.yaml").write_text(CONFIG.format(keys=keys, algorithm=algorithm))


def mint(*arguments):
    result = run("mint", "-k", "key.jwk", *arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


GOOD = ("--iss", ISSUER, "--aud", "orders-api", "--sub", "alice")


class TestMint:
    def test_header_and_claims(self, folder):
        header, claims = decoded(mint(*GOOD, "--claim", 'roles=["reader"]', "--claim", "x=a b"))
        assert header == {"alg": "ES256", "kid": "k", "typ": "at+jwt"}
        assert claims.pop("exp") - claims.pop("iat") == 3600
        assert claims == {
            "iss": ISSUER,
            "aud": "orders-api",
            "sub": "alice",
            "roles": ["reader"],
            "x": "a b",
        }

    @pytest.mark.parametrize(
        ("arguments", "lifetime"),
        [
            ((), 3600),
            (("--expires-in", "5m"), 300),
            (("--expires-in", "-30s"), -30),
            (("--claims", '{"exp": 7}', "--expires-in", "1m"), 60),
        ],
    )
    def test_a_lifetime_counts_from_now(self, folder, arguments, lifetime):
        _, claims = decoded(mint(*arguments))
        assert claims["exp"] - claims["iat"] == lifetime

    @pytest.mark.parametrize(
        "arguments",
        [("--claims", '{"exp": 7}'), ("--expires-in", "1m", "--claim", "exp=7")],
    )
    def test_an_expiry_among_the_claims_stays(self, folder, arguments):
        assert decoded(mint(*arguments))[1]["exp"] == 7

    @pytest.mark.parametrize(
        "number",
        ["1e400", "0.1000000000000000055511151231257827", "1E-400", "9" * 4300, "1.0", "-0.0"],
    )
    def test_numbers_are_signed_as_they_are(self, folder, number):
        token = mint("--claim", f"n={number}")
        payload = token.split(".")[1]
        text = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).decode()
        assert float(text.split('"n":')[1].rstrip("}")) == float(number)
        shown = run("inspect", "--format", "json", input=token)
        assert (shown.exit_code, shown.stderr) == (0, "")
        assert f'"n": {number.replace("1e400", "1E+400")}\n' in shown.stdout

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("--claim", "x"), "--claim: expected NAME=VALUE, got 'x'"),
            (("--claim", "=x"), "--claim: expected NAME=VALUE, got '=x'"),
            (("--claim", "x=1e999"), "x: 1e999 is not JSON: a number is too long"),
            (("--claim", "roles=[reader"), "roles: [reader is not JSON: "),
            (("--claim", 'x={"a":1,"a":2}'), "occurs twice"),
            (("--claims", "{"), "--claims: not JSON: "),
            (("--expires-in", "soon"), "--expires-in: expected a duration such as 30s"),
            (("--expires-in", "9" * 5000), "--expires-in: expected a duration such as 30s"),
            (("--sub", "\udcff"), "a claim or --typ is not UTF-8"),
            (("--claim", "x=\udcff"), "a claim or --typ is not UTF-8"),
            (("--typ", "\udcff"), "a claim or --typ is not UTF-8"),
        ],
    )
    def test_wrong_usage(self, folder, arguments, said):
        result = run("mint", "-k", "key.jwk", *arguments)
        assert (result.exit_code, result.stdout) == (EXIT_USAGE, "")
        assert said in result.stderr

    @pytest.mark.parametrize(
        ("claims", "said"),
        [
            ("absent.json", "absent.json: No such file or directory"),
            (".", ".: Is a directory; expected a JSON object or a file"),
            ("list.json", "list.json: expected a JSON object"),
            ("binary", "binary: not JSON: not well-formed Unicode"),
        ],
    )
    def test_claims_in_a_file_that_is_bad(self, folder, claims, said):
        (folder / "list.json").write_text("[]")
        (folder / "binary").write_bytes(b"\xff\x00")
        result = run("mint", "-k", "key.jwk", "--claims", claims)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"error: --claims: {said}")

    @pytest.mark.parametrize(
        ("algorithm", "said"),
        [
            ("RS256", "'--algorithm' / '-a': only for shared secrets; a private JWK names"),
            ("none", "expected one of HS256, HS384, HS512, got 'none'; it is only for shared"),
        ],
    )
    def test_an_algorithm_is_for_shared_secrets(self, folder, algorithm, said):
        result = run("mint", "-k", "key.jwk", "-a", algorithm)
        assert (result.exit_code, result.stdout) == (EXIT_USAGE, "")
        assert said in result.stderr
        assert result.stderr.endswith("leave it out\n")

    @pytest.mark.parametrize(("data", "hint"), [(b"s" * 40, True), (b'{"a": 1}', False)])
    def test_a_shared_secret_without_its_algorithm(self, folder, data, hint):
        (folder / "secret").write_bytes(data)
        result = run("mint", "-k", "secret")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "expected a private JWK" in result.stderr
        assert ("or -a HS256 with a shared secret" in result.stderr) is hint

    def test_a_shared_secret_as_the_configuration_names_it(self, folder):
        CliRunner().invoke(main, ["keys", "generate", "-a", "HS256", "-o", "shared.secret"])
        configure(folder, "{secret_file: shared.secret}", "HS256")
        minted = run("mint", "-k", "shared.secret", "-a", "HS256", *GOOD)
        assert minted.exit_code == 0, minted.output
        assert decoded(minted.stdout)[0] == {"alg": "HS256", "typ": "at+jwt"}
        assert run("verify", input=minted.stdout).exit_code == 0

    @pytest.mark.parametrize(
        ("secret", "algorithm", "said"),
        [
            (b"", "HS256", "the file is empty; a secret was expected"),
            (b"short\n", "HS256", "the secret is 5 bytes long; HS256 needs 32"),
            (b"x" * 40, "HS512", "the secret is 40 bytes long; HS512 needs 64 or more"),
            (b'{"kty": "oct"}', "HS256", "looks like a JWK"),
        ],
    )
    def test_a_secret_that_does_not_fit(self, folder, secret, algorithm, said):
        (folder / "secret").write_bytes(secret)
        result = run("mint", "-k", "secret", "-a", algorithm)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "error: secret: " in result.stderr
        assert said in result.stderr


NOT_TOKENS = [
    (b"", "empty; expected a token"),
    (b"\n", "empty; expected a token"),
    (b"\xff\xfe\x00", "byte 1 is not ASCII; expected a token"),
    ("a.b.ü".encode(), "byte 5 is not ASCII; expected a token"),
    (b"Bearer a.b.c", "begins with 'Bearer'; leave only the token"),
    (b"a" * (1024**2 + 1), "larger than 1048576 bytes"),
]


@pytest.mark.parametrize("command", ["inspect", "verify"])
@pytest.mark.parametrize(("data", "said"), NOT_TOKENS)
def test_a_file_that_holds_no_token(folder, command, data, said):
    (folder / "t.jwt").write_bytes(data)
    result = run(command, "t.jwt")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"error: t.jwt: {said}" in result.stderr
    result = run(command, input=data)
    assert f"error: standard input: {said}" in result.stderr


class TestInspect:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("a.b", "2 parts between dots; expected a token: three parts"),
            ("a.b.c.d.e", "an encrypted token (JWE), which the gateway does not take"),
            ("!.e30.x", "the header: "),
            ("e30.!.x", "the claims: "),
            ("W10.e30.x", "the header: expected a JSON object"),
            ("e30.NQ.x", "the claims: expected a JSON object"),
        ],
    )
    def test_what_is_no_token(self, folder, text, said):
        result = run("inspect", input=text)
        assert (result.exit_code, result.stdout) == (1, "")
        assert said in result.stderr

    @pytest.mark.parametrize(
        ("number", "said"),
        [
            ("1e999", "the claims: a number is too long"),
            ("1e400", None),
            ("-99999999999", None),
            ("9" * 400, None),
            ("true", None),
            ('"x"', None),
        ],
    )
    def test_times_that_no_calendar_has(self, folder, number, said):
        token = sign_bytes(b'{"alg":"ES256"}', b'{"exp":%s}' % number.encode(), KEY)
        result = run("inspect", input=token)
        assert result.exit_code == (1 if said else 0)
        assert (said or "Nothing is verified") in result.stderr
        assert "exp:" not in result.stderr

    def test_times_and_what_they_leave_out(self, folder):
        result = run("inspect", input=mint(*GOOD, "--expires-in", "-10s"))
        assert result.exit_code == 0
        assert "+00:00 (past)\n" in result.stderr
        assert "`leeway` of the issuer (30s by default)" in result.stderr


class TestVerify:
    def test_a_good_token(self, folder):
        result = run("verify", input=mint(*GOOD))
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == "good: subject 'alice' of issuer dev\n"

    def test_a_number_that_is_no_double(self, folder):
        result = run("verify", "--format", "json", input=mint(*GOOD, "--claim", "n=1e400"))
        assert result.exit_code == 0
        assert '"n":1E+400' in result.stdout

    def test_a_refused_token_has_code_and_reason(self, folder):
        result = run("verify", input=mint(*GOOD, "--expires-in", "-5m"))
        assert result.exit_code == 1
        assert result.stdout.startswith("refused: token-expired: The token has expired (exp ")
        result = run("verify", "--route", "bills", input=mint(*GOOD))
        assert result.stdout.startswith("refused: audience-mismatch: The token is meant for")
        told = json.loads(run("verify", "--format", "json", input="a.b.c").stdout)
        assert (told["verified"], told["code"]) == (False, "token-malformed")

    def test_an_unknown_route_is_wrong_usage(self, folder):
        result = run("verify", "--route", "order", input=mint(*GOOD))
        assert result.exit_code == EXIT_USAGE
        assert "--route: no route 'order'; did you mean 'orders'?" in result.stderr

    @pytest.mark.parametrize(
        ("keys", "place"),
        [
            ("{jwks_url: https://dev.invalid/keys}", "save https://dev.invalid/keys to"),
            (
                "{discovery: true}",
                "save the jwks_uri of https://dev.invalid/.well-known/openid-configuration to",
            ),
            ("{discovery: https://x.invalid/doc}", "the jwks_uri of https://x.invalid/doc"),
        ],
    )
    def test_remote_keys_come_from_a_file(self, folder, keys, place):
        configure(folder, keys)
        token = mint(*GOOD)
        result = run("verify", input=token)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "the keys of issuer 'dev' come from the network" in result.stderr
        assert place in result.stderr
        assert "add --jwks FILE" in result.stderr
        assert run("verify", "--jwks", "jwks.json", input=token).exit_code == 0
        (folder / "other.json").write_text(
            json.dumps({"keys": [generate("ES256", key_id="other").public_jwk()]})
        )
        result = run("verify", "--jwks", "other.json", input=token)
        assert result.stdout.startswith("refused: key-unknown: ")
        result = run("verify", "--jwks", "key.jwk", input=token)
        assert (
            "error: key.jwk: not a JWK Set, but a private key; `gateway keys jwks" in result.stderr
        )

    def test_a_key_set_that_nobody_needs_is_wrong_usage(self, folder):
        result = run("verify", "--jwks", "jwks.json", input=mint(*GOOD))
        assert result.exit_code == EXIT_USAGE
        assert "--jwks: no issuer of the configuration has its keys elsewhere" in result.stderr
