"""gateway.yaml → Config, and what people are told of their mistakes."""

import textwrap
from pathlib import Path

import pytest

from gateway.config.load import Loaded, load, read, restart_required, watched_files
from gateway.config.model import Config
from gateway.errors import ConfigError, Problem
from tests.support.certificates import Authority

BASE = """\
issuers:
  corp:
    issuer: https://login.example.com/
    audience: api
    algorithms: [RS256]
    keys: {jwks_url: https://login.example.com/jwks}
upstreams:
  orders: {url: http://127.0.0.1:9000}
routes:
  - id: orders
    paths: /orders
    upstream: orders
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "policies").mkdir()
    return tmp_path


def problems_of(text, folder, environ=None):
    """Each problem as people see it, without the name of the file."""
    path = folder / "gateway.yaml"
    with pytest.raises(ConfigError) as caught:
        read(textwrap.dedent(text).encode(), path, environ or {})
    return [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]


def accepted(text, folder, environ=None):
    return read(textwrap.dedent(text).encode(), folder / "gateway.yaml", environ or {}).config


ALGORITHMS = (
    "RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519, "
    "HS256, HS384 or HS512"
)

MISTAKES = {
    "unknown section": (
        ("upstreams:", "upstream:"),
        "7:1: upstream: unknown key (did you mean 'upstreams'?)",
    ),
    "unknown key of a route": (
        ("    upstream: orders", "    upstream: orders\n    method: [GET]"),
        "13:5: routes.0.method: unknown key (did you mean 'methods'?)",
    ),
    "unknown key that resembles nothing": (
        ("{url: http://127.0.0.1:9000}", "{url: http://127.0.0.1:9000, tls: {zzz: 1}}"),
        "8:46: upstreams.orders.tls.zzz: unknown key "
        "(known here: ca_file, certificate, key, server_name)",
    ),
    "a key too far to the left": (
        ("    upstream: orders", "upstream: orders"),
        "12:1: upstream: unknown key (did you mean 'upstreams'?)",
        "10:5: routes.0: upstream is missing",
    ),
    "a missing key": (
        ("    paths: /orders\n", ""),
        "10:5: routes.0: paths is missing",
    ),
    "unknown upstream": (
        ("    upstream: orders", "    upstream: order"),
        "12:15: routes.0.upstream: there is no upstream 'order' (did you mean 'orders'?)",
    ),
    "an upstream URL with a path": (
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000/v1"),
        "8:3: upstreams.orders: expected a URL without path and query (the request's path is sent)",
    ),
    "an inline upstream URL with credentials": (
        ("    upstream: orders", "    upstream: http://u:p@h"),
        "12:15: routes.0.upstream: expected a URL without credentials and fragment",
    ),
    "unknown issuer": (
        ("    upstream: orders", "    upstream: orders\n    issuers: [corp, corps]"),
        "13:21: routes.0.issuers.1: there is no issuer 'corps' (did you mean 'corp'?)",
    ),
    "an issuer without audience": (
        ("    audience: api\n", ""),
        "2:3: issuers.corp: audience is missing; name it, or set insecure_any_audience: true",
    ),
    "an issuer without algorithms": (
        ("    algorithms: [RS256]\n", ""),
        "2:3: issuers.corp: algorithms is missing; name them, or set insecure_any_algorithm: true",
    ),
    "a misspelt algorithm": (
        ("[RS256]", "[RS256, RSA256]"),
        f"5:25: issuers.corp.algorithms.1: expected {ALGORITHMS} (did you mean 'RS256'?)",
    ),
    "the none algorithm": (
        ("[RS256]", "none"),
        f"5:17: issuers.corp.algorithms: expected {ALGORITHMS}",
    ),
    "HMAC with public keys": (
        ("[RS256]", "[HS256]"),
        "2:3: issuers.corp: HS256 needs keys.secret or keys.secret_file",
    ),
    "public-key algorithm with a secret": (
        ("{jwks_url: https://login.example.com/jwks}", "{secret: hush}"),
        "2:3: issuers.corp: a secret verifies only HS256, HS384 and HS512; give public keys too "
        "as an issuer of their own",
    ),
    "an empty secret": (
        ("{jwks_url: https://login.example.com/jwks}", "{secret: ''}"),
        "6:20: issuers.corp.keys.secret: expected text that is not empty",
    ),
    "two key sources": (
        ("{jwks_url: https://login.example.com/jwks}", "{discovery: true, secret: x}"),
        "6:5: issuers.corp.keys: expected exactly one of discovery, jwks_url, jwks_file, "
        "pem_file, secret, secret_file; got discovery, secret",
    ),
    "a JWKS over plain http": (
        ("jwks_url: https:", "jwks_url: http:"),
        "6:5: issuers.corp.keys: jwks_url is plain http on an address that is not loopback; use "
        "https, or set insecure_http: true",
    ),
    "discovery that is neither a URL nor true": (
        ("jwks_url: https://login.example.com/jwks", "discovery: ture"),
        "6:23: issuers.corp.keys.discovery: expected true or false, or an http:// or https:// URL",
    ),
    "two issuers with one iss": (
        (
            "upstreams:",
            (
                "  two:\n    issuer: https://login.example.com/\n    audience: b\n"
                "    algorithms: RS256\n    keys: {discovery: true}\nupstreams:"
            ),
        ),
        "8:13: issuers.two.issuer: another issuer has the same iss; its tokens would have two "
        "sets of keys: https://login.example.com/",
    ),
    "an audience that has no effect": (
        ("    audience: api\n", "    audience: api\n    insecure_any_audience: true\n"),
        "4:15: issuers.corp.audience: has no effect beside insecure_any_audience "
        "(remove one of the two)",
    ),
    "a claim both required and forbidden": (
        (
            "    audience: api\n",
            ("    audience: api\n    required_claims: {act: '*'}\n    forbidden_claims: [act]\n"),
        ),
        "6:5: issuers.corp.forbidden_claims: the claim act is required and forbidden",
    ),
    "a misspelt choice": (
        ("    upstream: orders", "    upstream: orders\n    authentication: option"),
        "13:21: routes.0.authentication: expected required, optional or anonymous "
        "(did you mean 'optional'?)",
    ),
    "a lower-case method": (
        ("    upstream: orders", "    upstream: orders\n    methods: [GET, post]"),
        "13:20: routes.0.methods.1: expected an HTTP method in upper-case letters, such as GET",
    ),
    "two routes with one id": (
        ("routes:", "routes:\n  - {id: orders, paths: /x, upstream: orders}"),
        "11:9: routes.1.id: another route has this id: orders",
    ),
    "no issuers": (
        (BASE[: BASE.index("upstreams:")], ""),
        "4:5: routes.0.authentication: authentication is required, but there are no issuers "
        "(add issuers, or set authentication: anonymous)",
    ),
    "issuers on an anonymous route": (
        (
            "    upstream: orders",
            ("    upstream: orders\n    authentication: anonymous\n    issuers: corp"),
        ),
        "14:14: routes.0.issuers: an anonymous route reads no token "
        "(set authentication: optional, or remove this)",
    ),
    "a host with its port": (
        ("    upstream: orders", "    upstream: orders\n    hosts: api.example:443"),
        "13:12: routes.0.hosts.0: expected a host without port, such as api.example or "
        "*.example (leave hosts out for any host)",
    ),
    "a path without its slash": (
        ("/orders\n", "orders\n"),
        "11:12: routes.0.paths.0: expected a path that begins with a slash, such as /orders/{id} "
        "(write /orders)",
    ),
    "a path with a wildcard": (
        ("/orders\n", "/orders/*\n"),
        "11:12: routes.0.paths.0: '*' is no wildcard in a path (write /orders/{rest:path})",
    ),
    "a prefix with a parameter": (
        ("    upstream: orders", "    upstream: orders\n    strip_prefix: '/{tenant}'"),
        "13:19: routes.0.strip_prefix: expected a path as it is, without parameters "
        "(write the part that is fixed)",
    ),
    "an entrypoint in Rego's notation": (
        ("    upstream: orders", "    upstream: orders\n    entrypoint: data.orders.authz.allow"),
        "13:17: routes.0.entrypoint: expected package/path/rule, such as "
        "gateway/authz/decision (write orders/authz/allow)",
    ),
    "a size with a wrong unit": (
        ("routes:", "limits: {body: 10XB}\nroutes:"),
        "9:16: limits.body: expected a size in bytes, or with a unit: 64KiB, 10MiB, 1GiB",
    ),
    "a duration with a wrong unit": (
        ("routes:", "limits: {idle_timeout: 5 minutes}\nroutes:"),
        "9:24: limits.idle_timeout: expected seconds, or a duration with a unit: 500ms, 30s, "
        "10m, 1h",
    ),
    "true where a number is expected": (
        ("routes:", "limits: {headers: true}\nroutes:"),
        "9:19: limits.headers: expected a number, got true or false",
    ),
    "a number that is too small": (
        ("routes:", "limits: {headers: 1}\nroutes:"),
        "9:19: limits.headers: expected at least 8",
    ),
    "a negative size": (
        ("routes:", "limits: {body: -1}\nroutes:"),
        "9:16: limits.body: expected at least 0",
    ),
    "an infinite duration": (
        ("routes:", "limits: {idle_timeout: .inf}\nroutes:"),
        "9:24: limits.idle_timeout: not a number that can be read",
    ),
    "a number where text is expected": (
        ("    upstream: orders", "    upstream: orders\n    labels: {version: 1.0}"),
        "13:23: routes.0.labels.version: expected text, got a number (put it in quotes)",
    ),
    "text where true or false is expected": (
        ("    upstream: orders", "    upstream: orders\n    websocket: maybe"),
        "13:16: routes.0.websocket: expected true or false, got text",
    ),
    "a section without contents": (
        ("routes:", "limits:\nroutes:"),
        "9:8: limits: expected a mapping, got nothing",
    ),
    "a list where a mapping is expected": (
        ("  orders: {url", "  - {url"),
        "7:1: upstreams: expected a mapping, got a list",
    ),
    "a mapping where a list is expected": (
        ("  - id: orders", "    id: orders"),
        "9:1: routes: expected a list, got a mapping",
    ),
    "an unknown network": (
        ("routes:", "networks: {office: 10.0.0.0/8}\ntrusted_proxies: [ofice]\nroutes:"),
        "10:19: trusted_proxies.0: 'ofice' is neither a CIDR block nor the name of a network "
        "(did you mean 'office'?)",
    ),
    "a network with host bits": (
        ("routes:", "networks: {office: [10.0.0.1/8]}\nroutes:"),
        "9:21: networks.office.0: expected an address or CIDR block such as 10.0.0.0/8: "
        "10.0.0.1/8 has host bits set",
    ),
    "an unknown part of the identity": (
        ("routes:", "identity_headers: {X-User: identity.sub}\nroutes:"),
        "9:28: identity_headers.X-User: expected identity.subject, identity.issuer, "
        "identity.scopes, identity.groups, identity.roles, token.expires_at or claims.PATH "
        "(did you mean 'identity.subject'?)",
    ),
    "one identity header in two spellings": (
        ("routes:", "identity_headers: {X-User: claims.a, x-user: claims.b}\nroutes:"),
        "9:1: identity_headers: the header x-user is given twice",
    ),
    "an identity header that is no header": (
        ("routes:", "identity_headers: {x user: claims.a}\nroutes:"),
        "9:20: identity_headers.x user: expected an HTTP field name",
    ),
    "a mask that is no pointer": (
        ("routes:", "log: {decisions: {mask: input.claims}}\nroutes:"),
        "9:25: log.decisions.mask.0: expected a JSON pointer, such as /input/claims/email",
    ),
    "a log file without a name": (
        ("routes:", "log: {access: {sink: file}}\nroutes:"),
        "9:7: log.access: path goes with sink: file",
    ),
    "an origin with a path": (
        ("routes:", "cors: {origins: https://app.example/}\nroutes:"),
        "9:17: cors.origins.0: expected an origin, such as https://app.example, lower-case and "
        "without a path",
    ),
    "credentials for every origin": (
        ("routes:", "cors: {origins: '*', credentials: true}\nroutes:"),
        "9:1: cors: credentials: true needs the origins by name, not '*'",
    ),
    "an admin listener for everybody": (
        ("routes:", "admin: {address: 0.0.0.0:9090}\nroutes:"),
        "9:18: admin.address: an admin listener that is not on loopback needs a token "
        "(set admin.token_file, or listen on 127.0.0.1)",
    ),
    "an admin token file that is not there": (
        ("routes:", "admin: {token_file: /absent}\nroutes:"),
        "9:21: admin.token_file: /absent: cannot be read: No such file or directory",
    ),
    "an admin token that no header can carry": (
        ("routes:", "admin: {token: 'two words'}\nroutes:"),
        "9:16: admin.token: the admin token cannot be sent in a header; use visible ASCII "
        "without blanks",
    ),
    "two listeners with one address": (
        ("routes:", "listeners: [{address: '127.0.0.1:9090'}]\nroutes:"),
        "1:1: admin.address: another listener has this address: 127.0.0.1:9090",
    ),
    "an address without port": (
        ("routes:", "listeners: [{address: localhost}]\nroutes:"),
        "9:23: listeners.0.address: expected HOST:PORT, [ADDRESS]:PORT or unix:/PATH",
    ),
    "an unset variable": (
        ("audience: api", "audience: ${AUDIENCE}"),
        "4:15: issuers.corp.audience: the environment variable AUDIENCE is not set "
        "(set it, or give a default: ${AUDIENCE:-value})",
    ),
    "an unquoted variable inside braces": (
        ("http://127.0.0.1:9000", "${URL}"),
        "8:18: while parsing a flow mapping: expected ',' or '}', but got '{' "
        "(inside { } and [ ], put a value with ${NAME} in quotes)",
    ),
    "a tab": (
        ("    paths:", "\tpaths:"),
        "11:1: while scanning for the next token: found character '\\t' that cannot start any "
        "token (indent with spaces)",
    ),
    "a client certificate without its key": (
        ("http://127.0.0.1:9000}", "http://127.0.0.1:9000, tls: {certificate: a.pem}}"),
        "8:40: upstreams.orders.tls: certificate and key go together",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name, folder):
    (old, new), *expected = MISTAKES[name]
    assert BASE.count(old) >= 1, "the row changes nothing"
    found = problems_of(BASE.replace(old, new, 1), folder)
    assert sorted(found) == sorted(expected)


def test_the_base_of_the_mistakes_is_good(folder):
    assert accepted(BASE, folder).routes[0].id == "orders"


def test_every_problem_is_reported_at_once_in_order(folder):
    text = """\
    listeners: 5
    issuers:
      corp:
        issuer: https://a.example/
        audence: api
        algorithms: [RS256, ES]
        keys: {jwks_url: http://a.example}
      two:
        issuer: https://a.example/
        audience: ${AUD}
        algorithms: ES256
        keys: {jwks_file: nope.json}
    upstreams:
      orders: {url: http://127.0.0.1:9000/x}
    routes:
      - id: a
        paths: /
        upstrem: ordes
        body: {max: 1xx}
      - id: a
        paths: [orders]
        upstream: orders
        issuers: [tow]
        steps: 1
      - id: b
        upstream: 5
    trusted_proxies: [nets]
    id: 1
    id: 2
    """
    found = problems_of(text, folder)
    lines = [int(line.partition(":")[0]) for line in found]
    assert lines == sorted(lines)
    assert [line.split(": ")[1] for line in found] == [
        "listeners",
        "issuers.corp.audence",
        "issuers.corp.algorithms.1",
        "issuers.corp.keys",
        "issuers.two.audience",
        "upstreams.orders",
        "routes.0.upstrem",
        "routes.0.upstrem",
        "routes.0.body.max",
        "routes.1.id",
        "routes.1.paths.0",
        "routes.1.issuers.0",
        "routes.1.steps",
        "routes.2",
        "routes.2.upstream",
        "trusted_proxies.0",
        "id",
        "id",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["1:1: routes is missing"]),
        ("- a\n", ["1:1: expected a mapping, got a list"]),
        ("text\n", ["1:1: expected a mapping, got text"]),
        ("routes: []\n", ["1:1: routes: expected at least one entry"]),
        ("routes: [1]\n", ["1:10: routes.0: expected a mapping, got a number"]),
        (
            "a: [1, 2\nb: 3\n",
            ["2:2: while parsing a flow sequence: expected ',' or ']', but got ':'"],
        ),
    ],
)
def test_files_that_are_no_configuration(text, expected, folder):
    assert problems_of(text, folder) == expected


def test_a_misspelt_key_does_not_hide_what_is_wrong_below_it(folder):
    text = BASE.replace("    upstream: orders", "    upstrem: absent\n    autentication: nope")
    assert problems_of(text, folder) == [
        "12:5: routes.0.upstrem: unknown key (did you mean 'upstream'?)",
        "12:14: routes.0.upstrem: there is no upstream 'absent' (known here: orders)",
        "13:5: routes.0.autentication: unknown key (did you mean 'authentication'?)",
        "13:20: routes.0.autentication: expected required, optional or anonymous",
    ]


def test_secrets_do_not_appear_in_problems(folder):
    text = BASE.replace(
        "{jwks_url: https://login.example.com/jwks}", "{secret: [hunter2], secret_file: 17}"
    ).replace("routes:", "admin: {token: {hunter2: 1}}\nroutes:")
    found = "\n".join(problems_of(text, folder, {}))
    assert "issuers.corp.keys.secret" in found
    assert "hunter2" not in found.replace("admin.token.hunter2", "")


def test_the_environment_is_read(folder):
    text = BASE.replace("http://127.0.0.1:9000", "'http://${HOST}:${PORT:-9000}'").replace(
        "routes:", "limits: {headers: '${N}'}\nlog: {access: {sink: '${SINK:-off}'}}\nroutes:"
    )
    config = accepted(text, folder, {"HOST": "orders.internal", "N": "50"})
    assert config.upstreams["orders"].url == "http://orders.internal:9000"
    assert config.limits.headers == 50
    assert config.log.access.sink == "off"


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("body", "1024", 1024),
        ("body", "64KiB", 65536),
        ("body", "64 kib", 65536),
        ("body", "2MiB", 2 * 1024**2),
        ("idle_timeout", "30", 30.0),
        ("idle_timeout", "500ms", 0.5),
        ("idle_timeout", "1.5m", 90.0),
        ("idle_timeout", "2h", 7200.0),
    ],
)
def test_sizes_and_durations(key, text, value, folder):
    config = accepted(BASE + f"limits: {{{key}: {text}}}\n", folder)
    assert getattr(config.limits, key) == value


def test_one_text_will_do_for_a_list(folder):
    config = accepted(
        BASE.replace("[RS256]", "RS256")
        + "    methods: GET\n    hosts: a.example\n    issuers: corp\n"
        + "networks: {office: 10.0.0.0/8}\npolicy: {paths: policies}\ntrusted_proxies: office\n",
        folder,
    )
    route = config.routes[0]
    assert (route.methods, route.hosts, route.issuers) == (("GET",), ("a.example",), ("corp",))
    assert config.issuers["corp"].algorithms == ("RS256",)
    assert config.networks == {"office": ("10.0.0.0/8",)}


class TestPaths:
    def test_start_at_the_folder_of_the_file(self, folder):
        (folder / "keys.json").write_text("{}")
        config = accepted(
            BASE.replace("jwks_url: https://login.example.com/jwks", "jwks_file: keys.json"), folder
        )
        assert config.issuers["corp"].keys.jwks_file == folder / "keys.json"
        assert config.policy.paths == (folder / "policies",)
        assert config.policy.state == folder / ".gateway"

    def test_a_relative_file_makes_absolute_paths(self, folder, monkeypatch):
        monkeypatch.chdir(folder.parent)
        path = Path(folder.name) / "gateway.yaml"
        config = read(BASE.encode(), path, {}).config
        assert config.policy.paths == (folder / "policies",)

    def test_absolute_ones_stay(self, folder, tmp_path_factory):
        other = tmp_path_factory.mktemp("other")
        config = accepted(BASE + f"policy: {{paths: [{other}]}}\n", folder)
        assert config.policy.paths == (other,)

    @pytest.mark.parametrize(
        ("addition", "key"),
        [
            ("policy: {paths: [absent]}", "policy.paths.0"),
            ("listeners: [{address: ':1', tls: {certificate: a, key: policies}}]", "listeners.0"),
            ("admin: {token_file: absent}", "admin.token_file"),
            ("log: {decisions: {sink: file, path: absent/log}}", "log.decisions.path"),
            ('policy: {paths: ["a\\0b"]}', "policy.paths.0"),
            ('admin: {token_file: "a\\0b"}', "admin.token_file"),
            ('log: {access: {sink: file, path: "a\\0b/x"}}', "log.access.path"),
        ],
    )
    def test_that_are_not_there(self, folder, addition, key):
        found = problems_of(BASE + addition + "\n", folder)
        assert found
        assert any(key in line for line in found)

    def test_are_watched_where_they_are_read(self, folder):
        for name in ("keys.json", "token"):
            (folder / name).write_text("x")
        path = folder / "gateway.yaml"
        text = BASE.replace("jwks_url: https://login.example.com/jwks", "jwks_file: keys.json")
        text += "admin: {token_file: token}\nlog: {access: {sink: file, path: access.log}}\n"
        config = accepted(text, folder)
        assert set(watched_files(config, path)) == {
            path,
            folder / "keys.json",
            folder / "token",
            folder / "policies",
        }


class TestCertificates:
    TLS = "listeners: [{address: '127.0.0.1:1', tls: {certificate: %s, key: %s}}]\n"

    def test_a_pair_is_taken(self, folder):
        certificate, key = Authority(folder).issue("a.example")
        assert accepted(BASE + self.TLS % (certificate, key), folder).listeners[0].tls

    def test_a_key_of_another_certificate(self, folder):
        authority = Authority(folder)
        certificate, _ = authority.issue("a.example")
        _, key = authority.issue("b.example")
        (found,) = problems_of(BASE + self.TLS % (certificate, key), folder)
        assert "listeners.0.tls.certificate" in found
        assert "the key belongs to another certificate" in found

    def test_files_that_hold_something_else(self, folder):
        (folder / "a").write_text("nothing")
        (found,) = problems_of(BASE + self.TLS % ("a", "a"), folder)
        assert "certificate and key cannot be used: one of them is not PEM" in found

    def test_an_encrypted_key(self, folder):
        from cryptography.hazmat.primitives import serialization

        certificate, key = Authority(folder).issue("a.example")
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        key.write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"secret"),
            )
        )
        (found,) = problems_of(BASE + self.TLS % (certificate, key), folder)
        assert "the key is encrypted" in found

    def test_roots_that_are_none(self, folder):
        (folder / "roots").write_text("nothing")
        text = BASE.replace("9000}", "9000, tls: {ca_file: roots}}")
        (found,) = problems_of(text, folder)
        assert "upstreams.orders.tls.ca_file: no PEM certificates" in found


class TestLoaded:
    def loaded(self, folder) -> Loaded:
        return read(BASE.encode(), folder / "gateway.yaml", {})

    @pytest.mark.parametrize(
        ("key", "line", "column"),
        [
            ("routes.0.paths.0", 11, 12),
            ("routes.0.strip_prefix", 10, 5),
            ("issuers.corp.keys", 6, 5),
            ("policy.entrypoint", 1, 1),
        ],
    )
    def test_locates_what_the_builders_find(self, folder, key, line, column):
        problem = self.loaded(folder).locate(Problem("wrong", key=key, remedy="right"))
        assert (problem.file, problem.line, problem.column) == (
            str(folder / "gateway.yaml"), line, column,
        )  # fmt: skip
        assert (problem.message, problem.key, problem.remedy) == ("wrong", key, "right")

    def test_leaves_alone_what_has_a_place(self, folder):
        placed = Problem("wrong", file="policies/a.rego", line=3, key="routes.0")
        error = self.loaded(folder).located(ConfigError((placed, Problem("whole"))))
        assert [str(problem) for problem in error.problems] == [
            "policies/a.rego:3: routes.0: wrong",
            "whole",
        ]

    def test_warns_of_what_is_unsafe(self, folder):
        (folder / "token").write_text("abc\n")
        (folder / "token").chmod(0o644)
        text = BASE.replace("audience: api", "insecure_any_audience: true").replace(
            "{jwks_url: https:", "{insecure_http: true, jwks_url: http:"
        )
        text += "admin: {token_file: token}\n"
        warnings = read(text.encode(), folder / "gateway.yaml", {}).warnings
        assert {warning.key: (warning.line, warning.message) for warning in warnings} == {
            "issuers.corp.insecure_any_audience": (4, "insecure_any_audience is switched on"),
            "issuers.corp.keys.insecure_http": (6, "insecure_http is switched on"),
            "admin.token_file": (13, f"{folder}/token can be read by other users"),
        }
        (folder / "token").chmod(0o600)
        assert len(read(text.encode(), folder / "gateway.yaml", {}).warnings) == 2

    def test_reads_from_disk(self, folder):
        path = folder / "gateway.yaml"
        path.write_text(BASE)
        assert isinstance(load(path, {}).config, Config)

    def test_says_what_to_do_without_a_file(self, folder):
        with pytest.raises(ConfigError) as caught:
            load(folder / "absent.yaml", {})
        assert str(caught.value) == (
            f"{folder}/absent.yaml: cannot be read: No such file or directory "
            "(gateway init DIR writes one)"
        )


def test_a_claim_is_never_dropped_because_its_value_is_null(folder):
    text = BASE.replace("audience: api", "audience: api\n    required_claims: {nonce: null}")
    assert accepted(text, folder).issuers["corp"].required_claims == {"nonce": None}


@pytest.mark.parametrize(
    ("addition", "expected"),
    [
        ("", ()),
        ("limits: {body: 1}", ()),
        ("listeners: [{address: ':2'}]", ("listeners.0.address",)),
        (
            "listeners: [{address: '127.0.0.1:8080'}, {address: ':2'}]",
            ("listeners.1.address", "listeners.1.http2"),
        ),
        ("admin: {address: '127.0.0.1:1'}", ("admin.address",)),
        ("admin: {token: abc}", ()),
        ("limits: {connections: 7, head: 8000}", ("limits.head", "limits.connections")),
        ("log: {decisions: {mask: [/a]}}", ()),
        ("log: {decisions: {sink: stderr}}", ("log.decisions.sink",)),
    ],
)
def test_what_needs_a_restart(folder, addition, expected):
    addition = addition.replace("':2'", "'127.0.0.1:2'")
    old, new = accepted(BASE, folder), accepted(BASE + addition + "\n", folder)
    assert restart_required(old, new) == expected
