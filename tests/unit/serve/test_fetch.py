"""What is told of a fetch that failed; the fetches themselves are in tests/live."""

from __future__ import annotations

import asyncio

import pytest

from gateway.serve.fetch import FetchError, fetch


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://10.0.0.1/jwks?key=s3cret", "https://10.0.0.1/jwks?********** is a private"),
        ("http://keys.example/jwks?key=s3cret", "http://keys.example/jwks?********** is plain"),
        ("http://127.0.0.1:1/jwks?key=s3cret", "http://127.0.0.1:1/jwks?**********: "),
        ("http://[::1]:x/jwks?key=s3cret", ""),
    ],
)
def test_the_query_of_a_url_is_not_told(url, told):
    with pytest.raises(FetchError) as caught:
        asyncio.run(fetch(url, seconds=5.0))
    assert str(caught.value).startswith(told)
    assert "s3cret" not in str(caught.value)
