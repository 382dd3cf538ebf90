"""`policy.bundles`: what can be written, and what is said of what cannot."""

import json

import pytest

from gateway.config.load import load, read, restart_required, watched_files
from gateway.config.show import effective
from gateway.config.values import Malformed, moment
from gateway.errors import ConfigError

ROUTES = (
    "routes: [{id: a, paths: [/a], upstream: 'http://127.0.0.1:1', authentication: anonymous}]\n"
)
KEYS = "verification: {keys: {ci: {pem_file: ci.pem, algorithm: ES256}}}"
URL = "url: https://bundles.example/b.tar.gz"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "dir").mkdir()
    for name in ("b.tar.gz", "ci.pem", "keys.jwks", "token", "secret"):
        (tmp_path / name).write_text("x" * 40)
        (tmp_path / name).chmod(0o600)
    (tmp_path / "bad").write_text("two words")
    (tmp_path / "bad").chmod(0o600)
    return tmp_path


def loaded(folder, policy):
    return read(f"{ROUTES}policy: {policy}\n".encode(), folder / "gateway.yaml", {})


def bundle(folder, text):
    return loaded(folder, f"{{bundles: {{b: {{{text}}}}}}}")


def problems(folder, text):
    with pytest.raises(ConfigError) as error:
        bundle(folder, text)
    return [
        str(problem).removeprefix(f"{folder}/gateway.yaml:2:").partition(": ")[2]
        for problem in error.value.problems
    ]


def test_bundles_stand_alone(folder):
    config = bundle(folder, "file: b.tar.gz").config
    assert config.policy.paths == ()
    assert config.policy.bundles["b"].file == folder / "b.tar.gz"
    both = loaded(folder, "{paths: dir, bundles: {b: {file: dir}}}").config
    assert both.policy.paths == (folder / "dir",)


def test_everything_that_can_be_said(folder):
    text = f"""{URL}, token_file: token, interval: 10s, timeout: 2s, max_size: 1MiB,
      allow_private_addresses: true, verification: {{scope: prod, exclude: '*.md', keys: {{
        a: {{pem_file: ci.pem, algorithm: RS256, expires: 2027-01-31}},
        b: {{jwks_file: keys.jwks, algorithm: EdDSA, scope: prod}},
        c: {{secret_file: secret, algorithm: HS256, expires: '2027-01-31T12:00:00+01:00'}},
        d: {{secret: "0123456789", algorithm: HS512}}}}}}"""
    found = bundle(folder, text)
    keys = found.config.policy.bundles["b"].verification.keys
    assert keys["a"].pem_file == folder / "ci.pem"
    assert (keys["b"].scope, keys["b"].expires) == ("prod", None)
    assert not found.warnings
    watched = watched_files(found.config, folder / "gateway.yaml")
    assert {path.name for path in watched} == {
        "gateway.yaml", "ci.pem", "keys.jwks", "secret", "token",
    }  # fmt: skip
    shown = json.dumps(effective(found.config))
    assert "0123456789" not in shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected exactly one of file, url"),
        (f"file: b.tar.gz, {URL}, {KEYS}", "expected exactly one of file, url"),
        (
            URL,
            "verification is missing (name the keys, or set insecure_unsigned: true)",
        ),
        (
            f"url: http://bundles.example/b, {KEYS}",
            "plain http on an address that is not loopback (use https, or set insecure_http: true)",
        ),
        ("file: b.tar.gz, token_file: token", "a file needs no token"),
        (f"{URL}, {KEYS}, token: t, token_file: token", "give token or token_file, not both"),
        (f"{URL}, {KEYS}, max_size: 65MiB", "expected at most"),
        (f"{URL}, {KEYS}, interval: 0", "expected more than 0"),
        (f"{URL}, {KEYS}, token_file: bad", "cannot be sent in a header"),
        (f"{URL}, {KEYS}, token: two words", "cannot be sent in a header"),
        (f"{URL}, {KEYS}, token_file: absent", "cannot be read: No such file"),
        (
            f"file: dir, {KEYS}",
            "is a folder, which carries no signature (build an archive of it: gateway bundle build)",
        ),
        ("file: absent.tar.gz", "does not exist or cannot be read"),
        (f"{URL}, verification: {{keys: {{}}}}", "expected at least one key"),
        (f"{URL}, verification: {{}}", "keys is missing"),
        (
            f"{URL}, verification: {{keys: {{a: {{algorithm: ES256}}}}}}",
            "expected exactly one of pem_file, jwks_file, secret, secret_file; got none",
        ),
        (
            f"{URL}, verification: {{keys: {{a: {{pem_file: ci.pem}}}}}}",
            "algorithm is missing",
        ),
        (
            f"{URL}, verification: {{keys: {{a: {{pem_file: ci.pem, algorithm: HS256}}}}}}",
            "HS256 does not go with pem_file (HS256, HS384 and HS512 need a secret, all others a "
            "public key)",
        ),
        (
            f"{URL}, verification: {{keys: {{a: {{secret_file: secret, algorithm: ES256}}}}}}",
            "ES256 does not go with secret_file",
        ),
        (
            f"{URL}, verification: {{keys: {{a: {{pem_file: ci.pem, algorithm: none}}}}}}",
            "unsigned tokens are never accepted",
        ),
        (
            f"{URL}, verification: {{keys: {{a: {{pem_file: absent, algorithm: ES256}}}}}}",
            "is not a file that can be read",
        ),
        (
            f"{URL}, verification: {{scope: w, keys: "
            "{a: {pem_file: ci.pem, algorithm: ES256, scope: r}}}",
            "it can never sign this bundle, whose scope is w",
        ),
        (
            f"{URL}, verification: {{keys: "
            "{a: {pem_file: ci.pem, algorithm: ES256, expires: tomorrow}}}",
            "expected a day or a time with its zone",
        ),
    ],
)
def test_mistakes(folder, text, said):
    found = problems(folder, text)
    assert any(said in problem for problem in found), found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("resource: b.tar.gz", "resource: unknown key (url is the whole address of the archive)"),
        ("signing: {keyid: a}", "signing: unknown key (write verification: {keys: {ID: {…}}})"),
        ("polling: {}", "polling: unknown key (write interval: 1m)"),
        ("persist: true", "persist: unknown key (what was fetched is always kept)"),
        ("credentials: {}", "credentials: unknown key (write token or token_file)"),
    ],
)
def test_words_of_opa(folder, text, said):
    found = problems(folder, f"{URL}, {KEYS}, {text}")
    assert any(problem.endswith(said) for problem in found), found


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("{paths: []}", "policy.paths: expected at least one entry"),
        ("{bundles: {}, paths: []}", "policy.paths: expected at least one entry"),
        ("{bundles: {policy: {file: b.tar.gz}}}", "choose another name"),
        ("{bundles: {'a b': {file: b.tar.gz}}}", "write a-b"),
    ],
)
def test_mistakes_of_the_whole(folder, policy, said):
    with pytest.raises(ConfigError, match=said):
        loaded(folder, policy)


def test_what_an_operator_should_know(folder):
    (folder / "token").chmod(0o644)
    found = bundle(folder, f"{URL}, insecure_unsigned: true, token_file: token").warnings
    assert {problem.message for problem in found} == {
        "insecure_unsigned is switched on",
        f"{folder}/token can be read by other users",
    }


def test_a_reload_can_change_all_of_it(folder):
    before = bundle(folder, "file: b.tar.gz").config
    assert restart_required(before, bundle(folder, f"{URL}, {KEYS}").config) == ()


def test_the_query_of_a_url_is_not_shown(folder):
    config = bundle(folder, f"url: 'https://bundles.example/b.tar.gz?key=abc', {KEYS}").config
    assert effective(config)["policy"]["bundles"]["b"]["url"].endswith("b.tar.gz?**********")


def test_what_is_shown_reads_back(folder):
    from gateway.config.show import as_yaml

    config = bundle(folder, f"{URL}, {KEYS}").config
    (folder / "gateway.yaml").write_text(as_yaml(config))
    assert load(folder / "gateway.yaml", {}).config == config


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02", 86400.0),
        ("2027-01-31T12:00:00Z", 1801396800.0),
        ("2027-01-31T12:00:00.5+01:00", 1801393200.5),
        ("2027-13-01", None),
        ("2027-01-31T12:00:00", None),
        ("2027-01-31 12:00:00Z", None),
        ("20270131", None),
        ("2027-W05", None),
        ("", None),
    ],
)
def test_moments(text, seconds):
    if seconds is None:
        with pytest.raises(Malformed):
            moment(text)
    else:
        assert moment(text) == seconds
