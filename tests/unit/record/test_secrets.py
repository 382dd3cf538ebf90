from __future__ import annotations

import pytest

from gateway.record.secrets import (
    ERASED,
    MAX_PIECES,
    has_token,
    is_secret,
    is_secret_parameter,
    scrub,
    without_credentials,
    without_tokens,
)
from gateway.wire import holds_url

JWS = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "name",
    [
        "authorization", "Authorization", "proxy-authorization", "x-forwarded-authorization",
        "cookie", "set-cookie", "x-api-key", "X_API_KEY", "apikey", "x-auth-token", "access_token",
        "refresh_token", "x-csrf-token", "client_secret", "password", "new_passwd", "passphrase",
        "x-amz-security-token", "client_assertion", "x-goog-iap-jwt-assertion", "session_id",
        "sessionid", "sec-websocket-protocol", "private-key", "x" * 100 + "-token",
        "x.api.key", "X_Api_Key", "api key", "token[]", "token[0]", "user[password]", "access-token",
        "Access.Token", "x~auth~token", "apiKey", "accessToken", "-token-",
    ],
)  # fmt: skip
def test_secret_names(name):
    assert is_secret(name)
    assert is_secret_parameter(name)


@pytest.mark.parametrize(
    "name",
    ["accept", "host", "user-agent", "content-type", "x-request-id", "keys", "key", "page",
     "tokens", "id", "author", "x" * 100],
)  # fmt: skip
def test_other_names(name):
    assert not is_secret(name)
    assert not is_secret_parameter(name)


@pytest.mark.parametrize(
    "name", ["code", "sig", "X-Amz-Signature", "signature", "code[]", "X.Amz.Signature"]
)
def test_names_that_are_secret_in_a_query_only(name):
    assert is_secret_parameter(name)
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("page=2&sort=a", "page=2&sort=a"),
        ("access_token=abc&page=2", "access_token=[erased]&page=2"),
        ("page=2&access%5Ftoken=abc", "page=2&access%5Ftoken=[erased]"),
        ("Access_Token=abc", "Access_Token=[erased]"),
        ("to%6Ben=abc", "to%6Ben=[erased]"),
        ("a=1&token=a=b=c", "a=1&token=[erased]"),
        ("token=", "token="),
        ("token", "token"),
        ("/cb?code=abc&state=1", "/cb?code=[erased]&state=1"),
        ("https://app/x#access_token=abc", "https://app/x#access_token=[erased]"),
        ("a=b?c&access_token=x?y", "a=b?c&access_token=[erased]?y"),
        ("token[]=abc&access%2Etoken=abc", "token[]=[erased]&access%2Etoken=[erased]"),
        ("https://user:pass@host/x?a=1", "https://[erased]@host/x?a=1"),
        ("https://user@host/", "https://[erased]@host/"),
        ("//user:p@ss@host", "//[erased]@host"),
        ("https://host/@user", "https://host/@user"),
        ("me@example.com", "me@example.com"),
        ("", ""),
    ],
)
def test_scrub(text, scrubbed):
    assert scrub(text, is_secret_parameter) == scrubbed


@pytest.mark.parametrize(
    "name",
    ["referer", "Location", "content-location", "x-original-uri", "X-Original-URL",
     "x-envoy-original-path", "x-forwarded-url", "x-forwarded-path", "X_Forwarded_Uri",
     "x-rewrite-url", "x-request-uri", "x-auth-request-redirect", ":path", "link"],
)  # fmt: skip
def test_headers_that_hold_urls(name):
    assert holds_url(name.encode())


@pytest.mark.parametrize("name", ["accept", "host", "origin", "x-forwarded-for", "via", "etag"])
def test_headers_that_hold_none(name):
    assert not holds_url(name.encode())


def test_scrub_returns_the_text_itself_where_nothing_is_secret():
    text = "page=2&sort=a"
    assert scrub(text, is_secret_parameter) is text


@pytest.mark.parametrize("before", ["", "Bearer%20", "v1_", "a.b."])
def test_tokens_are_found_after_other_words(before):
    assert without_tokens(f"x {before}{JWS} y") == f"x {before}{ERASED} y"


def test_several_tokens():
    assert without_tokens(f"{JWS} and {JWS}, {JWS}") == f"{ERASED} and {ERASED}, {ERASED}"


@pytest.mark.parametrize(
    "unit",
    [
        "//",
        "//@",
        "//a@",
        "eyJ",
        "eyJ.",
        "eyJhbGciOiJSUzI1NiJ9-",
        ".",
        "%2e",
        "eyJhbGciOiJSUzI1NiJ9.a.",
    ],
)
def test_search_is_linear(unit):
    """A quadratic search of this text would take minutes."""
    text = unit * (2_000_000 // len(unit))
    without_tokens(text)
    has_token(text.encode())
    scrub(text + "@", is_secret_parameter)


@pytest.mark.parametrize(
    "token",
    [
        JWS,
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.",
        "ewoiYWxnIjoibm9uZSIgfQ.ewoic3ViIjoiYSJ9.c2ln",
        "eyAiYWxnIjogIlJTMjU2IiB9.eyAic3ViIjogImEiIH0.c2ln",
        "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..aXY.Y2lwaGVy.dGFn",
        JWS.replace(".", "%2E"),
    ],
)
def test_tokens_are_found(token):
    text = f'{{"path":"/verify/{token}/x"}}'
    assert has_token(text.encode())
    assert without_tokens(text) == f'{{"path":"/verify/{ERASED}/x"}}'


@pytest.mark.parametrize(
    "text",
    ["eyeglasses-and-more-things.example.com", "eyJhbGciOiJSUzI1NiJ9", "eyJhbGciOiJSUzI1NiJ9.rest.of",
     "1.2.3", "ewoks-are-small-and-furry.ewoks.example"],
)  # fmt: skip
def test_other_text_is_no_token(text):
    assert not has_token(text.encode())
    assert without_tokens(text) == text


def test_credentials_are_removed_from_a_text():
    headers = (
        (b"cookie", b"sid=0123456789; theme=dark-mode"),
        (b"authorization", b"Basic dXNlcjpwYXNz=="),
        (b"accept", b"text/html"),
    )
    text = "text/html dXNlcjpwYXNz== 0123456789 sid=0123456789"
    assert without_credentials(text, headers) == f"text/html {ERASED} {ERASED} {ERASED}"


def test_so_many_credentials_that_the_search_would_be_slow_erase_the_whole_text():
    def text_of(count):
        value = ",".join(f"piece-{number:03}" for number in range(count))
        return without_credentials("a piece-001 b", ((b"x-token", value.encode()),))

    # The whole value is a piece, too.
    assert text_of(MAX_PIECES - 1) == f"a {ERASED} b"
    assert text_of(MAX_PIECES) == ERASED


def test_short_words_are_not_looked_for():
    cookie = "; ".join(f"{number}=x" for number in range(200)).encode()
    assert without_credentials("a x b", ((b"cookie", cookie),)) == "a x b"
