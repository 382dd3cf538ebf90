"""The effective configuration."""

import json

import pytest

from gateway.config.load import read
from gateway.config.model import public_url
from gateway.config.show import as_json, as_yaml, effective

TEXT = b"""\
issuers:
  shared:
    issuer: https://a.example/
    audience: api
    algorithms: HS256
    keys: {secret: hunter2-hunter2-hunter2-hunter2}
  open:
    issuer: https://b.example/
    audience: api
    algorithms: ES256
    keys: {jwks_url: https://b.example/jwks}
    required_claims: {level: [1, "*", null], nested: {on: true}}
admin: {token: hunter2-too}
routes:
  - {id: a, paths: [/a, /b], upstream: "http://127.0.0.1:1", labels: {cost: "$${x}", off: "off"}}
networks: {office: [10.0.0.0/8, "2001:db8::/32"]}
"""


@pytest.fixture
def loaded(tmp_path):
    (tmp_path / "policies").mkdir()
    return read(TEXT, tmp_path / "gateway.yaml", {})


def test_secrets_are_masked(loaded):
    shown = effective(loaded.config)
    assert shown["issuers"]["shared"]["keys"]["secret"] == "**********"
    assert shown["admin"]["token"] == "**********"
    for text in (as_json(loaded.config), as_yaml(loaded.config), str(loaded), repr(loaded.config)):
        assert "hunter2" not in text


@pytest.mark.parametrize("name", ["jwks_url", "discovery"])
def test_the_query_of_a_url_is_masked(name, tmp_path):
    (tmp_path / "policies").mkdir()
    text = TEXT.replace(
        b"jwks_url: https://b.example/jwks",
        b"%s: 'https://b.example/jwks?key=hunter2'" % name.encode(),
    )
    text = text.replace(b"issuer: https://b.example/", b"issuer: https://b.example/?k=hunter2")
    config = read(text, tmp_path / "gateway.yaml", {}).config
    shown = effective(config)["issuers"]["open"]
    assert shown["keys"][name] == "https://b.example/jwks?**********"
    assert shown["issuer"] == "https://b.example/?**********"
    assert "hunter2" not in as_yaml(config) + as_json(config)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/x", "https://a.example/x"),
        ("https://a.example/x?", "https://a.example/x?**********"),
        ("https://a.example?k=a?b", "https://a.example?**********"),
        ("https://u:p@a.example/@x", "https://a.example/@x"),
        ("urn:example:a", "urn:example:a"),
    ],
)
def test_urls_as_they_are_shown(url, shown):
    assert public_url(url) == shown


def test_absent_secrets_are_not_masked(loaded):
    assert effective(loaded.config)["issuers"]["open"]["keys"]["secret"] is None


def test_defaults_are_filled_in(loaded):
    assert effective(loaded.config)["limits"]["url"] == 8192


def test_json_and_yaml_hold_the_same(loaded, tmp_path):
    again = read(as_yaml(loaded.config).encode(), tmp_path / "gateway.yaml", {})
    assert effective(again.config) == effective(loaded.config)
    assert json.loads(as_json(loaded.config)) == effective(loaded.config)
    assert again.config.routes[0].labels == {"cost": "${x}", "off": "off"}
