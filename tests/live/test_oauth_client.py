"""How the gateway authenticates at an endpoint, and which answers it takes."""

import base64
import json
import time
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from pydantic import SecretStr, ValidationError

from gateway.config.model import OAuthEndpoint
from gateway.errors import ConfigError
from gateway.jose.sign import generate
from gateway.serve.oauth_client import Credentials, EndpointError, call
from tests.support.gateway import live
from tests.support.upstream import answers, ok, upstream

NOW = 1_790_000_000.0


def endpoint(url="http://127.0.0.1:1/token", client=None, **changes):
    client = client or {"id": "gate way", "secret": "p:ä+ß"}
    return OAuthEndpoint(url=url, client=client, **changes)


def added(**client):
    made = endpoint(client=client)
    return Credentials.read(made.client).added(made.url, NOW)


def test_a_secret_in_a_header_is_form_encoded_first():
    headers, form = added(id="gate way:1", secret="p:ä+ß")
    scheme, _, pair = headers["authorization"].partition(" ")
    assert (scheme, form) == ("Basic", ())
    assert base64.b64decode(pair) == b"gate+way%3A1:p%3A%C3%A4%2B%C3%9F"


def test_a_secret_in_the_form():
    headers, form = added(id="a", secret="b", authentication="client_secret_post")
    assert (headers, dict(form)) == ({}, {"client_id": "a", "client_secret": "b"})


def test_a_secret_from_a_file(tmp_path):
    (tmp_path / "s").write_text("hidden\n")
    headers, _ = added(id="a", secret_file=tmp_path / "s")
    assert base64.b64decode(headers["authorization"][6:]) == b"a:hidden"
    (tmp_path / "s").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="no UTF-8"):
        added(id="a", secret_file=tmp_path / "s")


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "PS384", "Ed25519"])
def test_an_assertion(tmp_path, algorithm):
    key = generate(algorithm)
    (tmp_path / "key.pem").write_bytes(pem(key))
    client = {"id": "gw", "authentication": "private_key_jwt", "algorithm": algorithm}
    client |= {"key_file": tmp_path / "key.pem", "key_id": "k1"}
    headers, form = added(**client)
    fields = dict(form)
    assertion = fields.pop("client_assertion")
    assert (headers, fields) == (
        {},
        {
            "client_id": "gw",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        },
    )
    token = jwt.decode(assertion, key.key, algorithms=[algorithm])
    assert token.header == {"alg": algorithm, "typ": "JWT", "kid": "k1"}
    unique = token.claims.pop("jti")
    assert token.claims == {
        "iss": "gw",
        "sub": "gw",
        "aud": "http://127.0.0.1:1/token",
        "iat": int(NOW),
        "exp": int(NOW) + 60,
    }
    again = jwt.decode(dict(added(**client)[1])["client_assertion"], key.key, [algorithm])
    assert again.claims["jti"] != unique
    other = jwt.decode(
        dict(added(**client, audience="https://as.example")[1])["client_assertion"],
        key.key,
        [algorithm],
    )
    assert other.claims["aud"] == "https://as.example"


def pem(key):
    native = key.key.private_key
    return native.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_a_key_that_cannot_be_used_is_named(tmp_path):
    client = {"id": "gw", "authentication": "private_key_jwt", "key_file": tmp_path / "key.pem"}
    with pytest.raises(ConfigError, match=r"key\.pem: No such file"):
        added(**client)
    (tmp_path / "key.pem").write_bytes(pem(generate("RS256")))
    with pytest.raises(ConfigError, match="not ES256"):
        added(**client)


@pytest.mark.parametrize(
    "client",
    [
        {"id": "a"},
        {"id": "", "secret": "b"},
        {"id": "a", "secret": "b", "secret_file": "c"},
        {"id": "a", "key_file": "k"},
        {"id": "a", "secret": "b", "authentication": "private_key_jwt"},
        {"id": "a", "secret": "b", "key_file": "k", "authentication": "client_secret_post"},
    ],
)
def test_a_client_proves_itself_in_one_way(client):
    with pytest.raises(ValidationError):
        endpoint(client=client)


def test_an_endpoint_is_confidential():
    with pytest.raises(ValidationError, match="plain http"):
        endpoint("http://as.example/token")
    endpoint("http://as.example/token", insecure_http=True)


def test_nothing_shows_the_secret():
    credentials = Credentials.read(endpoint().client)
    assert "p:ä" not in repr(credentials) + repr(endpoint())
    assert isinstance(credentials.client.secret, SecretStr)


@live
async def test_a_form_is_sent_once_and_answered():
    async with upstream(answers(ok(b'{"active": true}'))) as server:
        made = endpoint(f"{server.url}/token?tenant=a")
        found = await call(made, Credentials.read(made.client), (("a", "b&c"), ("a", "ü")), NOW)
        assert found == {"active": True}
        (request,) = server.requests
        assert (request.method, request.target) == ("POST", "/token?tenant=a")
        assert parse_qsl(request.body.decode()) == [("a", "b&c"), ("a", "ü")]
        assert request.header("content-type") == "application/x-www-form-urlencoded"
        assert request.header("accept") == "application/json"
        assert request.header("authorization").startswith("Basic ")


def answer(status, body=b"", headers=b""):
    line = b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n%b\r\n" % (status, len(body), headers)
    return line + body


def refusal(error, status=400):
    document = {"error": error, "error_description": "TOKEN"}
    return answer(status, json.dumps(document).encode())


HOSTILE = {
    "garbage": (ok(b"<html>"), "fault"),
    "empty": (ok(b""), "fault"),
    "a list": (ok(b"[]"), "fault"),
    "a name twice": (ok(b'{"a": 1, "a": 2}'), "fault"),
    "deep": (ok(b'{"a":' * 40 + b"1" + b"}" * 40), "fault"),
    "huge": (ok(b'{"a": "' + b"x" * 70_000 + b'"}'), "away"),
    "endless": (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 70_000, "away"),
    "compressed": (ok(b"{}", b"content-encoding: gzip\r\n"), "away"),
    "cut off": (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", "away"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.9\r\n", "away"),
    "moved": (answer(307, headers=b"location: /elsewhere\r\n"), "away"),
    "moved to another host": (answer(302, headers=b"location: http://localhost:1/\r\n"), "away"),
    "broken": (answer(500, b'{"error": "invalid_grant"}'), "away"),
    "busy": (answer(429, headers=b"retry-after: 7\r\n"), "away"),
    "created": (answer(201, b"{}"), "fault"),
    "no error": (answer(400, b"{}"), "fault"),
    "a number": (refusal(7), "fault"),
    "an error that could be anything": (refusal("eyJhbGciOi.TOKEN"), "fault"),
    "refused": (refusal("invalid_grant"), "refused"),
    "not known here": (refusal("invalid_client", 401), "refused"),
}


@pytest.mark.parametrize("name", HOSTILE)
@live
async def test_what_is_no_answer(name):
    response, kind = HOSTILE[name]

    async def script(peer):
        if await peer.request() is not None:
            peer.send(response)

    async with upstream(script) as server:
        made = endpoint(f"{server.url}/token")
        with pytest.raises(EndpointError) as caught:
            await call(made, Credentials.read(made.client), (("token", "TOKEN"),), time.time())
        assert caught.value.kind == kind
        assert "TOKEN" not in str(caught.value)
        assert caught.value.retry_after == (7.0 if name == "busy" else 0.0)
        assert len(server.requests) == 1


@live
async def test_a_slow_endpoint_and_one_that_is_not_there():
    async def silent(peer):
        await peer.request()
        await peer.closed()

    async with upstream(silent) as server:
        for url in (f"{server.url}/token", "http://127.0.0.1:1/token"):
            made = endpoint(url, timeout="200ms")
            with pytest.raises(EndpointError) as caught:
                await call(made, Credentials.read(made.client), (), NOW)
            assert caught.value.kind == "away"


@pytest.mark.parametrize("url", ["https://10.0.0.1/token", "https://169.254.169.254/token"])
@live
async def test_no_form_goes_to_a_private_address(url):
    made = endpoint(url)
    with pytest.raises(EndpointError, match="private address"):
        await call(made, Credentials.read(made.client), (), NOW)
