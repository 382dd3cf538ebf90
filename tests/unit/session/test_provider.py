"""What providers say, and what is made of it."""

import json

import pytest

from gateway.session.provider import Metadata, ProviderError, Tokens

ISSUER = "https://idp.example"
GOOD = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
}


def parse(**changes):
    given = {name: value for name, value in {**GOOD, **changes}.items() if value is not ...}
    return Metadata.parse(json.dumps(given).encode(), ISSUER)


def test_metadata():
    found = parse()
    assert (found.authorization, found.token) == (f"{ISSUER}/authorize", f"{ISSUER}/token")
    assert (found.end_session, found.names_itself) == ("", False)
    more = parse(
        end_session_endpoint=f"{ISSUER}/end",
        authorization_response_iss_parameter_supported=True,
        code_challenge_methods_supported=["plain", "S256"],
    )
    assert (more.end_session, more.names_itself) == (f"{ISSUER}/end", True)
    assert parse(token_endpoint="http://localhost:1/token").token == "http://localhost:1/token"


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": f"{ISSUER}/"},
        {"issuer": None},
        {"token_endpoint": ...},
        {"token_endpoint": 7},
        {"token_endpoint": "http://idp.example/token"},
        {"token_endpoint": "https://idp.example/to\nken"},
        {"token_endpoint": "https://idp.example/token#x"},
        {"token_endpoint": "file:///etc/passwd"},
        {"token_endpoint": "https://[::1/"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": ...},
        {"end_session_endpoint": "http://idp.example/end"},
        {"code_challenge_methods_supported": []},
        {"code_challenge_methods_supported": "S256"},
    ],
    ids=str,
)
def test_metadata_that_cannot_be_used(changes):
    with pytest.raises(ProviderError):
        parse(**changes)


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b'{"issuer": 1, "issuer": 2}', b"\xff"])
def test_what_is_no_metadata(data):
    with pytest.raises(ProviderError):
        Metadata.parse(data, ISSUER)


def test_tokens():
    found = Tokens.parse({"access_token": "a", "token_type": "bearer"})
    assert found == Tokens(access_token="a", id_token="", refresh_token="", expires_in=None)
    assert (
        Tokens.parse({"access_token": "a", "token_type": "Bearer", "expires_in": "60"}).expires_in
        == 60
    )
    assert (
        Tokens.parse({"access_token": "a", "token_type": "Bearer", "expires_in": 10**30}).expires_in
        < 1e9
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"token_type": None},
        {"token_type": "mac"},
        {"access_token": ""},
        {"access_token": 7},
        {"access_token": "a b"},
        {"access_token": "x" * 20_000},
        {"refresh_token": "a\n"},
        {"id_token": ["x"]},
        {"expires_in": True},
        {"expires_in": "soon"},
        {"expires_in": "１"},
        {"expires_in": -1},
        {"expires_in": {}},
    ],
    ids=lambda value: str(value)[:40],
)
def test_tokens_that_cannot_be_used(changes):
    with pytest.raises(ProviderError) as caught:
        Tokens.parse({"access_token": "secret", "token_type": "Bearer", **changes})
    assert "secret" not in str(caught.value)
