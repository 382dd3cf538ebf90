"""Reading what must not be shown."""

import pytest

from gateway.config.model import Admin, Config, KeySource, Route
from gateway.config.secrets import MAX_SECRET, admin_token, read_secret, secret_of
from gateway.errors import ConfigError

ROUTE = Route(id="a", paths=("/",), upstream="http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("data", "secret"),
    [
        (b"abc", b"abc"),
        (b"abc\n", b"abc"),
        (b"abc\r\n", b"abc"),
        (b"abc\n\n", b"abc\n"),
        (b" abc ", b" abc "),
        (b"\x00\xff", b"\x00\xff"),
    ],
)
def test_one_newline_is_dropped(tmp_path, data, secret):
    (tmp_path / "s").write_bytes(data)
    assert read_secret(tmp_path / "s") == secret


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"\n", "the file is empty"),
        (b"x" * (MAX_SECRET + 1), "larger than"),
        (None, "cannot be read: No such file"),
    ],
)
def test_files_without_a_secret(tmp_path, data, message):
    if data is not None:
        (tmp_path / "s").write_bytes(data)
    with pytest.raises(ConfigError, match=message) as caught:
        read_secret(tmp_path / "s")
    assert caught.value.problems[0].file == str(tmp_path / "s")


def test_the_secret_of_an_issuer(tmp_path):
    (tmp_path / "s").write_bytes(b"from a file\n")
    assert secret_of(KeySource(secret="gr\u00fc\u00df")) == "gr\u00fc\u00df".encode()
    assert secret_of(KeySource(secret_file=tmp_path / "s")) == b"from a file"


def test_the_admin_token(tmp_path):
    (tmp_path / "t").write_bytes(b"abc123\n")
    assert admin_token(Config(routes=(ROUTE,))) is None
    assert admin_token(Config(routes=(ROUTE,), admin=Admin(token="xyz"))) == "xyz"
    assert admin_token(Config(routes=(ROUTE,), admin=Admin(token_file=tmp_path / "t"))) == "abc123"


@pytest.mark.parametrize("token", [b"two words", b"tab\there", b"new\nline", b"gr\xfcn"])
def test_an_admin_token_that_no_header_can_carry(tmp_path, token):
    (tmp_path / "t").write_bytes(token)
    config = Config(routes=(ROUTE,), admin=Admin(token_file=tmp_path / "t"))
    with pytest.raises(ConfigError) as caught:
        admin_token(config)
    assert token.decode("latin-1") not in str(caught.value)
