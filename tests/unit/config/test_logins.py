"""Logins and sessions in gateway.yaml, and what people are told of their mistakes."""

import pytest

from tests.unit.config.test_load import accepted, problems_of

BASE = """\
issuers:
  corp:
    issuer: https://login.example.com/
    audience: api
    algorithms: [RS256]
    keys: {discovery: true}
  other: {issuer: "urn:x", audience: api, algorithms: [RS256], keys: {jwks_url: "https://x.example/"}}
  shared: {issuer: "https://s.example", audience: api, algorithms: [HS256], keys: {secret: 0123456789abcdef0123456789abcdef}}
logins:
  web:
    issuer: corp
    client: {id: gateway, authentication: none}
routes:
  - id: orders
    paths: /orders
    upstream: http://127.0.0.1:9000
    login: web
"""

MISTAKES = {
    "unknown issuer": (
        ("issuer: corp", "issuer: crop"),
        "11:13: logins.web.issuer: there is no issuer 'crop' (did you mean 'corp'?)",
    ),
    "an issuer with a shared secret": (
        ("issuer: corp", "issuer: shared"),
        "11:13: logins.web.issuer: shared has no public keys, which ID tokens are verified with "
        "(write keys: {discovery: true} for the issuer)",
    ),
    "an issuer that is no URL": (
        ("issuer: corp", "issuer: other"),
        "10:3: logins.web.discovery: other has no URL as its issuer (give the URL of the discovery document)",
    ),
    "unknown login": (
        ("login: web", "login: wep"),
        "10:3: logins.web: no route uses it (write login: web)",
        "17:12: routes.0.login: there is no login 'wep' (did you mean 'web'?)",
    ),
    "a route that takes no tokens of the issuer": (
        ("login: web", "login: web\n    issuers: other"),
        "17:12: routes.0.login: the route takes no tokens of its issuer corp "
        "(add it to the route's issuers)",
    ),
    "an anonymous route": (
        ("login: web", "login: web\n    authentication: anonymous"),
        "17:12: routes.0.login: an anonymous route reads no token "
        "(set authentication: optional, or remove this)",
    ),
    "a client without proof": (
        (", authentication: none", ""),
        "12:5: logins.web.client: client_secret_basic needs secret or secret_file; got none",
    ),
    "a public client with a secret": (
        ("authentication: none", "authentication: none, secret: x"),
        "12:57: logins.web.client.secret: none needs no proof (leave it out)",
    ),
    "scopes without openid": (
        ("issuer: corp", "issuer: corp\n    scopes: profile"),
        "12:13: logins.web.scopes: without the scope openid there is no ID token (add openid)",
    ),
    "a parameter of the gateway's own": (
        ("issuer: corp", "issuer: corp\n    parameters: {state: x}"),
        "12:25: logins.web.parameters.state: state is what the gateway sends itself (leave it out)",
    ),
    "a logout to another host": (
        ("issuer: corp", "issuer: corp\n    after_logout: //evil.example"),
        "12:19: logins.web.after_logout: expected a path on the own host, such as / "
        "(leave the host out)",
    ),
    "a cookie's name that is whole": (
        ("routes:", "sessions: {cookie: __Host-a}\nroutes:"),
        "13:20: sessions.cookie: expected letters, digits and '_', at most 32 "
        "(__Host- before and the login's name after it are added)",
    ),
    "an idle time that is never over": (
        ("routes:", "sessions: {idle: 2h, lifetime: 1h}\nroutes:"),
        "13:18: sessions.idle: no session lasts that long without a request "
        "(take less than lifetime)",
    ),
    "a storage that there is not": (
        ("routes:", "sessions: {storage: redis}\nroutes:"),
        "13:21: sessions.storage: redis is not configured "
        "(add redis: {url: redis://HOST:PORT/0} to the file)",
    ),
    "plain http": (
        ("issuer: corp", "issuer: corp\n    discovery: http://login.example.com/x"),
        "12:16: logins.web.discovery: discovery over plain http on an address that is not loopback "
        "(use https, or set insecure_http: true in the keys of corp)",
    ),
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "policies").mkdir()
    return tmp_path


@pytest.mark.parametrize("name", MISTAKES)
def test_people_are_told_of(name, folder):
    (before, after), *told = MISTAKES[name]
    assert before in BASE
    assert problems_of(BASE.replace(before, after), folder) == told


def test_the_cookies_have_names_of_their_own(folder):
    assert accepted(BASE, folder).own_cookies == (b"__Host-session-", b"__Host-session~")
    without = BASE.replace("    login: web\n", "").replace("logins:", "networks: {}\nlogins: {}\n#")
    text = without[: without.index("logins: {}")] + without[without.index("routes:") :]
    assert accepted(text, folder).own_cookies == ()
