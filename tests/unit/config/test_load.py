"""gateway.yaml → Config, and what people are told of their mistakes."""

import os
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.config.certificates import explain
from gateway.config.disk import warn
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
        "10:5: routes.0: upstream is missing (Name of an upstream, or an upstream's URL)",
        "12:1: upstream: unknown key (did you mean 'upstreams'?)",
    ),
    "a missing key": (
        ("    paths: /orders\n", ""),
        "10:5: routes.0: paths is missing (Path templates: `/orders/{id}`, "
        "`/static/{rest:path}` (`:path` takes the remainder))",
    ),
    "unknown upstream": (
        ("    upstream: orders", "    upstream: order"),
        "12:15: routes.0.upstream: there is no upstream 'order' (did you mean 'orders'?)",
    ),
    "an upstream URL with a path": (
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000/v1"),
        "8:17: upstreams.orders.url: expected a URL without path and query (the request's "
        "path is sent)",
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
        "2:3: issuers.corp: audience is missing (name it, or set insecure_any_audience: true)",
    ),
    "an issuer without algorithms": (
        ("    algorithms: [RS256]\n", ""),
        "2:3: issuers.corp: algorithms is missing (name them, or set insecure_any_algorithm: true)",
    ),
    "a misspelt algorithm": (
        ("[RS256]", "[RS256, RSA256]"),
        f"5:25: issuers.corp.algorithms.1: expected {ALGORITHMS} (did you mean 'RS256'?)",
    ),
    "the none algorithm": (
        ("[RS256]", "none"),
        "5:17: issuers.corp.algorithms: expected RS256, RS384, RS512, PS256, PS384, PS512, "
        "ES256, ES384, ES512, EdDSA, Ed25519, HS256, HS384 or HS512 (unsigned tokens are "
        "never accepted)",
    ),
    "HMAC with public keys": (
        ("[RS256]", "[HS256]"),
        "5:5: issuers.corp.algorithms: HS256 needs keys.secret or keys.secret_file (public "
        "keys go with RS256, ES256 and the like)",
    ),
    "public-key algorithm with a secret": (
        ("{jwks_url: https://login.example.com/jwks}", "{secret: hush}"),
        "5:5: issuers.corp.algorithms: a secret verifies only HS256, HS384 and HS512 (give "
        "public keys as an issuer of their own)",
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
        "6:22: issuers.corp.keys.jwks_url: plain http on an address that is not loopback (use"
        " https, or set insecure_http: true)",
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
        "13:20: routes.0.methods.1: expected an HTTP method in upper-case letters, such as "
        "GET (write POST)",
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
        "13:12: routes.0.hosts.0: expected a host without scheme and port, such as "
        "api.example or *.example (write api.example)",
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
        "10m, 1h (write 5m)",
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
        "9:8: limits: expected a mapping, got nothing (write {} for its defaults)",
    ),
    "a list where a mapping is expected": (
        ("  orders: {url", "  - {url"),
        "7:1: upstreams: expected a mapping, got a list (write NAME: VALUE for each entry, "
        "without '- ')",
    ),
    "a mapping where a list is expected": (
        ("  - id: orders", "    id: orders"),
        "9:1: routes: expected a list, got a mapping (begin each entry with '- ')",
    ),
    "an unknown network": (
        ("routes:", "networks: {office: 10.0.0.0/8}\ntrusted_proxies: [ofice]\nroutes:"),
        "10:19: trusted_proxies.0: 'ofice' is neither a CIDR block nor the name of a network "
        "(did you mean 'office'?)",
    ),
    "a network with host bits": (
        ("routes:", "networks: {office: [10.0.0.1/8]}\nroutes:"),
        "9:21: networks.office.0: expected an address or CIDR block such as 10.0.0.0/8 (write"
        " 10.0.0.0/8 for the block around it)",
    ),
    "an unknown part of the identity": (
        ("routes:", "identity_headers: {X-User: identity.sub}\nroutes:"),
        "9:28: identity_headers.X-User: expected identity.subject, identity.issuer, "
        "identity.scopes, identity.groups, identity.roles, token.expires_at or claims.PATH "
        "(did you mean 'identity.subject'?)",
    ),
    "one identity header in two spellings": (
        ("routes:", "identity_headers: {X-User: claims.a, x-user: claims.b}\nroutes:"),
        "9:1: identity_headers: the header x-user is given twice (case does not count)",
    ),
    "an identity header that is no header": (
        ("routes:", "identity_headers: {x user: claims.a}\nroutes:"),
        "9:20: identity_headers.x user: expected the name of a header, without blanks and ':'"
        " (write x-user)",
    ),
    "a mask that is no pointer": (
        ("routes:", "log: {decisions: {mask: input.claims}}\nroutes:"),
        "9:25: log.decisions.mask.0: expected a JSON pointer, such as /input/claims/email "
        "(write /input/claims)",
    ),
    "a log file without a name": (
        ("routes:", "log: {access: {sink: file}}\nroutes:"),
        "9:7: log.access: sink: file needs a path (name the file in path)",
    ),
    "a Unix socket for Granian": (
        ("routes:", "server: granian\nlisteners: [{address: 'unix:/run/gateway'}]\nroutes:"),
        "10:23: listeners.0.address: server: granian takes TCP addresses only "
        "(use server: hypercorn, or HOST:PORT)",
    ),
    "more header lines than Granian takes": (
        ("routes:", "server: granian\nlimits: {headers: 101}\nroutes:"),
        "10:19: limits.headers: server: granian takes at most 100 header lines "
        "(use server: hypercorn, or a smaller number)",
    ),
    "a server that there is not": (
        ("routes:", "server: uvicorn\nroutes:"),
        "9:9: server: expected hypercorn or granian",
    ),
    "an origin with a path": (
        ("routes:", "cors: {origins: https://app.example/}\nroutes:"),
        "9:17: cors.origins.0: expected an origin, such as https://app.example, lower-case "
        "and without a path (write https://app.example)",
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
        "9:23: listeners.0.address: expected HOST:PORT, [ADDRESS]:PORT or unix:/PATH (write "
        "localhost:8080)",
    ),
    "an unset variable": (
        ("audience: api", "audience: ${AUDIENCE}"),
        "4:15: issuers.corp.audience: the environment variable AUDIENCE is not set "
        "(set it, or give a default: ${AUDIENCE:-value})",
    ),
    "an unquoted variable inside braces": (
        ("http://127.0.0.1:9000", "${URL}"),
        "8:18: expected ',' or '}' here, but there is '{' (inside { } and [ ], put a value "
        "with ${NAME} in quotes)",
    ),
    "a tab": (
        ("    paths:", "\tpaths:"),
        "11:1: a tab, where only blanks may be (indent with spaces)",
    ),
    "a merge key": (
        ("    audience: api", "    <<: {audience: api}\n    audience: api"),
        "4:5: issuers.corp.<<: unknown key (merge keys are not taken: write the values out)",
    ),
    "a host and a port": (
        ("routes:", "listeners: [{host: 0.0.0.0, port: 8080}]\nroutes:"),
        "9:13: listeners.0: address is missing (HOST:PORT, [ADDRESS]:PORT or unix:/PATH)",
        "9:14: listeners.0.host: unknown key (address holds both: HOST:PORT)",
        "9:29: listeners.0.port: unknown key (address holds both: HOST:PORT)",
    ),
    "a listener as text": (
        ("routes:", "listeners: ['127.0.0.1:8080']\nroutes:"),
        "9:13: listeners.0: expected a mapping, got text (it needs address)",
    ),
    "a listener that another one covers": (
        ("routes:", "listeners: [{address: '0.0.0.0:1'}, {address: '127.0.0.1:1'}]\nroutes:"),
        "9:47: listeners.1.address: the listener on 0.0.0.0:1 takes this address, too: "
        "127.0.0.1:1 (give one of them another port)",
    ),
    "a socket in a folder that is not there": (
        ("routes:", "listeners: [{address: 'unix:/absent/x.sock'}]\nroutes:"),
        "9:23: listeners.0.address: the folder /absent does not exist (mkdir -p /absent)",
    ),
    "a socket that is a folder": (
        ("routes:", "admin: {address: 'unix:/tmp'}\nroutes:"),
        "9:18: admin.address: /tmp is a folder (name a file in it: unix:/tmp/gateway.sock)",
    ),
    "a socket that is a file": (
        ("routes:", "listeners: [{address: 'unix:/etc/passwd'}]\nroutes:"),
        "9:23: listeners.0.address: /etc/passwd is there and is no socket "
        "(remove it, or take another name)",
    ),
    "an upstream as text": (
        ("{url: http://127.0.0.1:9000}", "http://127.0.0.1:9000"),
        "8:11: upstreams.orders: expected a mapping, got text (it needs url or targets)",
    ),
    "an inline upstream on a socket in another notation": (
        ("    upstream: orders", "    upstream: unix:/run/x.sock"),
        "12:15: routes.0.upstream: expected http://HOST[:PORT], https://HOST[:PORT] or "
        "http+unix:/PATH (write http+unix:/run/x.sock)",
    ),
    "discovery of an issuer that is no URL": (
        (
            "    issuer: https://login.example.com/\n    audience: api\n    algorithms: [RS256]\n"
            "    keys: {jwks_url: https://login.example.com/jwks}",
            "    issuer: urn:x\n    audience: api\n    algorithms: [RS256]\n"
            "    keys: {discovery: true}",
        ),
        "6:23: issuers.corp.keys.discovery: true needs an issuer that is an http:// or https:// "
        "URL (give the URL of the discovery document, or jwks_url)",
    ),
    "discovery over plain http": (
        (
            "    issuer: https://login.example.com/\n    audience: api\n    algorithms: [RS256]\n"
            "    keys: {jwks_url: https://login.example.com/jwks}",
            "    issuer: http://a.example\n    audience: api\n    algorithms: [RS256]\n"
            "    keys: {discovery: true}",
        ),
        "6:23: issuers.corp.keys.discovery: discovery over plain http on an address that is not "
        "loopback (use https, or set keys.insecure_http: true)",
    ),
    "keys that are not there": (
        ("{jwks_url: https://login.example.com/jwks}", "{}"),
        "6:5: issuers.corp.keys: expected exactly one of discovery, jwks_url, jwks_file, pem_file, "
        "secret, secret_file; got none "
        "(discovery: true reads ISSUER/.well-known/openid-configuration)",
    ),
    "a section of which another gateway's users think": (
        ("routes:", "rate_limit: {}\nroutes:"),
        "9:1: rate_limit: unknown key (did you mean 'rate_limits'?)",
    ),
    "no authentication by another name": (
        ("    upstream: orders", "    upstream: orders\n    authentication: none"),
        "13:21: routes.0.authentication: expected required, optional or anonymous "
        "(write anonymous)",
    ),
    "a log file as sink": (
        ("routes:", "log: {access: {sink: /var/log/x}}\nroutes:"),
        "9:22: log.access.sink: expected stdout, stderr, file or off "
        "(write sink: file and path: /var/log/x)",
    ),
    "a log file that nothing is written to": (
        ("routes:", "log: {access: {path: /tmp/x}}\nroutes:"),
        "9:22: log.access.path: nothing is written there, as sink is off (set sink: file)",
    ),
    "a log file that is a folder": (
        ("routes:", "log: {access: {sink: file, path: /tmp}}\nroutes:"),
        "9:34: log.access.path: /tmp is a folder (name a file in it)",
    ),
    "a limit where there are none": (
        ("    paths: /orders\n", "    paths: /orders\n    rate_limits: people\n"),
        "12:18: routes.0.rate_limits.0: there is no limit 'people' "
        "(name one in rate_limits.limits)",
    ),
    "a rate limit by a name from elsewhere": (
        ("routes:", "rate_limits: {limits: {a: {requests: 1, per: 1s, key: ip}}}\nroutes:"),
        "9:55: rate_limits.limits.a.key.0: expected address, subject, issuer, host, route, method, "
        "claims.PATH or headers.NAME (did you mean 'address'?)",
    ),
    "an identity without its prefix": (
        ("routes:", "identity_headers: {x-user: subject}\nroutes:"),
        "9:28: identity_headers.x-user: expected identity.subject, identity.issuer, "
        "identity.scopes, identity.groups, identity.roles, token.expires_at or claims.PATH "
        "(did you mean 'identity.subject'?)",
    ),
    "a mask of what has to be there": (
        ("routes:", "log: {decisions: {mask: /decision_id}}\nroutes:"),
        "9:25: log.decisions.mask.0: /decision_id is in every event and cannot be erased",
    ),
    "a claim without its prefix, beside an encoding": (
        ("routes:", "identity_headers: {x-user: {value: sub, encoding: plain}}\nroutes:"),
        "9:36: identity_headers.x-user.value: expected identity.subject, identity.issuer, "
        "identity.scopes, identity.groups, identity.roles, token.expires_at or claims.PATH "
        "(write claims.sub)",
    ),
    "a claim without its prefix": (
        ("routes:", "identity_headers: {x-user: sub}\nroutes:"),
        "9:28: identity_headers.x-user: expected identity.subject, identity.issuer, "
        "identity.scopes, identity.groups, identity.roles, token.expires_at or claims.PATH "
        "(write claims.sub)",
    ),
    "everybody as a trusted proxy": (
        ("routes:", "trusted_proxies: '*'\nroutes:"),
        "9:18: trusted_proxies.0: '*' is neither a CIDR block nor the name of a network "
        "(name the proxies: everybody could claim any address, and be believed)",
    ),
    "a trusted proxy with host bits": (
        ("routes:", "trusted_proxies: 10.1.2.3/8\nroutes:"),
        "9:18: trusted_proxies.0: '10.1.2.3/8' is neither a CIDR block nor the name of a network "
        "(write 10.0.0.0/8 for the block around it)",
    ),
    "a mapping where a list of texts is expected": (
        ("audience: api", "audience: {a: b}"),
        "4:5: issuers.corp.audience: expected text or a list, got a mapping",
    ),
    "a number where a list of texts is expected": (
        ("audience: api", "audience: 5"),
        "4:15: issuers.corp.audience: expected text or a list, got a number (put it in quotes)",
    ),
    "true where a section is expected": (
        ("    upstream: orders", "    upstream: orders\n    body: true"),
        "13:11: routes.0.body: expected a mapping, got true (write {} for its defaults)",
    ),
    "text where a section is expected": (
        ("routes:", "policy: policies\nroutes:"),
        "9:9: policy: expected a mapping, got text "
        "(known here: paths, bundles, entrypoint, steps, tests, state, history, shadow, canary)",
    ),
    "limits of nothing": (
        ("routes:", "limits: {head: 0, idle_timeout: 0s}\nroutes:"),
        "9:16: limits.head: expected more than 0",
        "9:33: limits.idle_timeout: expected more than 0",
    ),
    "limits beyond everything": (
        ("routes:", "limits: {body: 9999999GiB, headers: 1e12, json_depth: 1000}\nroutes:"),
        "9:16: limits.body: expected at most 1024GiB",
        "9:37: limits.headers: expected at most 2147483647",
        "9:55: limits.json_depth: expected at most 90",
    ),
    "a name with a blank": (
        ("  - id: orders", "  - id: all orders"),
        "10:9: routes.0.id: expected a name of letters, digits, '_', '.' and '-', at most 64 "
        "(write all-orders)",
    ),
    "a claim path of nothing": (
        ("audience: api", "audience: api\n    identity: {roles: ''}"),
        "5:23: issuers.corp.identity.roles: expected text that is not empty",
    ),
    "an origin with a wildcard": (
        ("routes:", "cors: {origins: 'https://*.app.example'}\nroutes:"),
        "9:17: cors.origins.0: expected an origin, such as https://app.example, lower-case and "
        "without a path (name each origin)",
    ),
    "a client certificate without its key": (
        ("http://127.0.0.1:9000}", "http://127.0.0.1:9000, tls: {certificate: a.pem}}"),
        "8:40: upstreams.orders.tls: certificate and key go together (give both, or none)",
    ),
    "an upstream without a target": (
        ("{url: http://127.0.0.1:9000}", "{}"),
        "8:3: upstreams.orders: url is missing (write url: http://HOST:PORT, or targets: "
        "with several)",
    ),
    "a url and targets": (
        ("{url: http://127.0.0.1:9000}", "{url: 'http://a', targets: ['http://b']}"),
        "8:3: upstreams.orders: give url or targets, not both",
    ),
    "a target twice": (
        ("{url: http://127.0.0.1:9000}", "{targets: ['http://a', 'http://b', 'http://a/']}"),
        "8:12: upstreams.orders.targets: http://a is given twice",
    ),
    "targets with and without TLS": (
        ("{url: http://127.0.0.1:9000}", "{targets: ['https://a', 'http://b']}"),
        "8:12: upstreams.orders.targets: targets with and without TLS (write https for all, "
        "or none)",
    ),
    "a target with a path": (
        ("{url: http://127.0.0.1:9000}", "{targets: ['http://a', 'http://b/x']}"),
        "8:34: upstreams.orders.targets.1: expected a URL without path and query (the "
        "request's path is sent)",
    ),
    "no targets": (
        ("{url: http://127.0.0.1:9000}", "{targets: []}"),
        "8:3: upstreams.orders: url is missing (write url: http://HOST:PORT, or targets: "
        "with several)",
    ),
    "a method that is not idempotent": (
        ("{url: http://127.0.0.1:9000}", "{url: 'http://a', retries: {methods: [GET, POST]}}"),
        "8:39: upstreams.orders.retries.methods: POST may do twice what was asked once (only "
        "GET, HEAD, OPTIONS, TRACE, PUT, DELETE can be sent again)",
    ),
    "a status that is no failure": (
        ("{url: http://127.0.0.1:9000}", "{url: 'http://a', ejection: {statuses: [404]}}"),
        "8:51: upstreams.orders.ejection.statuses.0: expected at least 500",
    ),
    "a budget of more than all": (
        ("{url: http://127.0.0.1:9000}", "{url: 'http://a', retries: {budget_percent: 101}}"),
        "8:55: upstreams.orders.retries.budget_percent: expected at most 100",
    ),
    "a balance of another gateway": (
        ("{url: http://127.0.0.1:9000}", "{url: 'http://a', balance: least_conn}"),
        "8:38: upstreams.orders.balance: expected round_robin or least_pending (did you mean "
        "'least_pending'?)",
    ),
    "a Host header of several targets": (
        (
            "{url: http://127.0.0.1:9000}\nroutes:\n  - id: orders\n",
            "{targets: ['http://a', 'http://b']}\nroutes:\n  - id: orders\n    host: upstream\n",
        ),
        "11:11: routes.0.host: orders has several targets, with different hosts (write the "
        "one that all of them take, such as a)",
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
        "issuers.corp.keys.jwks_url",
        "issuers.two.audience",
        "upstreams.orders.url",
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
        (
            "",
            [
                "1:1: routes is missing (The routes; the most specific one that fits a request takes it)"
            ],
        ),
        ("- a\n", ["1:1: expected a mapping, got a list (it needs routes)"]),
        ("text\n", ["1:1: expected a mapping, got text (it needs routes)"]),
        ("routes: []\n", ["1:1: routes: expected at least one entry"]),
        (
            "routes: [1]\n",
            ["1:10: routes.0: expected a mapping, got a number (it needs id, paths and upstream)"],
        ),
        (
            "a: [1, 2\nb: 3\n",
            ["2:2: expected ',' or ']' here, but there is ':'"],
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

    @pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
    def test_a_key_of_another_type(self, folder, form):
        certificate, key = Authority(folder).issue("a.example")
        other = rsa.generate_private_key(65537, 2048)
        key.write_bytes(other.private_bytes(Encoding.PEM, form, NoEncryption()))
        (found,) = problems_of(BASE + self.TLS % (certificate, key), folder)
        assert "the key belongs to another certificate" in found

    def test_files_that_hold_something_else(self, folder):
        (folder / "a").write_text("nothing")
        assert problems_of(BASE + self.TLS % ("a", "a"), folder) == [
            f"13:57: listeners.0.tls.certificate: {folder}/a holds no PEM certificate",
            f"13:65: listeners.0.tls.key: {folder}/a holds no PEM private key",
        ]

    def test_files_the_wrong_way_round(self, folder):
        certificate, key = Authority(folder).issue("a.example")
        found = problems_of(BASE + self.TLS % (key, certificate), folder)
        assert [line.partition("(")[2] for line in found] == [
            "this is the private key; name it in key)",
            "this is the certificate; name it in certificate)",
        ]

    def test_files_that_are_not_pem(self, folder):
        (folder / "a").write_bytes(b"\x30\x82\x01")
        found = problems_of(BASE + self.TLS % ("a", "a"), folder)
        assert ["-inform der" in line for line in found] == [True, True]

    @pytest.mark.parametrize("part", [0, 1])
    def test_files_that_are_damaged(self, folder, part):
        pair = Authority(folder).issue("a.example")
        text = pair[part].read_text()
        pair[part].write_text(text[:60] + "!!!!" + text[64:])
        (found,) = problems_of(BASE + self.TLS % pair, folder)
        assert "a PEM block in one of the files is damaged" in found
        assert "_ssl.c" not in found

    @pytest.mark.parametrize(
        ("raised", "words"),
        [
            (
                "[X509: KEY_VALUES_MISMATCH] key values mismatch (_ssl.c:4046)",
                "another certificate",
            ),
            ("[SSL: EE_KEY_TOO_SMALL] ee key too small (_ssl.c:4029)", "2048 bits"),
            ("[SSL: CA_MD_TOO_WEAK] ca md too weak (_ssl.c:4029)", "SHA-1"),
            ("[SSL] PEM lib (_ssl.c:4046)", "damaged"),
        ],
    )
    def test_openssl_in_words(self, raised, words):
        assert words in explain(OSError(raised))
        assert "_ssl.c" not in explain(OSError(raised))

    @pytest.mark.parametrize(
        ("days", "told"),
        [
            (-1, "has expired on "),
            (0.5, "expires within two days, on "),
            (13.5, "expires in 13 days, on "),
            (15, None),
            (80, None),
        ],
    )
    def test_a_certificate_that_ends(self, folder, days, told):
        pair = Authority(folder).issue("a.example")
        config = accepted(BASE + self.TLS % pair, folder)
        # The authority's certificates are good for 90 days.
        now = datetime.now(UTC) + timedelta(days=90 - days)
        found = [fault for fault in warn(config, now) if fault.key[-1] == "certificate"]
        assert len(found) == bool(told)
        assert all(told in fault.message for fault in found)
        assert all(fault.key == ("listeners", 0, "tls", "certificate") for fault in found)

    def test_a_certificate_that_is_not_valid_yet(self, folder):
        authority = Authority(folder)
        certificate, key = authority.issue("a.example")
        certificate.write_bytes(certificate.read_bytes() + authority.root.read_bytes())
        upstream = f"9000, tls: {{certificate: {certificate}, key: {key}}}}}"
        config = accepted(BASE.replace("9000}", upstream), folder)
        key.chmod(0o600)
        found = [*warn(config, datetime.now(UTC) - timedelta(days=2))]
        assert [fault.key for fault in found] == [("upstreams", "orders", "tls", "certificate")] * 2
        assert "is not valid before" in found[0].message
        assert "certificate 2 of the chain" in found[1].message

    def test_warnings_of_certificates_are_those_of_the_load(self, folder, monkeypatch):
        pair = Authority(folder).issue("a.example")
        pair[1].chmod(0o600)
        monkeypatch.setattr("gateway.config.certificates.SOON", timedelta(days=1000))
        text = BASE + self.TLS % pair
        (warning,) = read(text.encode(), folder / "gateway.yaml", {}).warnings
        assert (warning.line, warning.key) == (13, "listeners.0.tls.certificate")

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
        assert "upstreams.orders.tls.ca_file" in found
        assert "holds no PEM certificate" in found
        _, key = Authority(folder).issue("a.example")
        (found,) = problems_of(text.replace("roots", str(key)), folder)
        assert "this is a private key" in found
        (folder / "roots").write_text(
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        )
        (found,) = problems_of(text, folder)
        assert "a certificate in it is damaged" in found


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

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root's files are handed to others so")
    @pytest.mark.parametrize(
        ("mode", "user", "groups", "warned"),
        [
            (0o440, 65532, [65532], False),
            (0o640, 65532, [65532], False),
            (0o460, 65532, [65532], True),
            (0o444, 65532, [65532], True),
            (0o440, 65532, [100], True),
            (0o440, 0, [65532], True),
        ],
    )
    def test_a_secret_that_root_hands_to_a_group(
        self, folder, monkeypatch, mode, user, groups, warned
    ):
        """As Kubernetes mounts a Secret for a pod with `fsGroup`."""
        (folder / "token").write_text("abc\n")
        os.chown(folder / "token", 0, 65532)
        (folder / "token").chmod(mode)
        monkeypatch.setattr(os, "geteuid", lambda: user)
        monkeypatch.setattr(os, "getegid", lambda: 100)
        monkeypatch.setattr(os, "getgroups", lambda: groups)
        text = BASE + "admin: {token_file: token}\n"
        warnings = read(text.encode(), folder / "gateway.yaml", {}).warnings
        assert [warning.key for warning in warnings] == ["admin.token_file"] * warned

    def test_warns_of_a_route_that_does_not_enforce_its_policy(self, folder):
        text = BASE + "    enforcement: report\n"
        (warning,) = read(text.encode(), folder / "gateway.yaml", {}).warnings
        assert warning.key == "routes.0.enforcement"
        assert "is not enforced" in warning.message

    @pytest.mark.parametrize(
        ("proxies", "places"),
        [
            ("[10.0.0.0/8, 0.0.0.0/0]", [1]),
            ("['::/0', all, some, 127.0.0.1]", [0, 1]),
            ("some", []),
        ],
    )
    def test_warns_of_proxies_that_could_be_anybody(self, folder, proxies, places):
        text = BASE + "networks: {all: [10.0.0.0/8, 0.0.0.0/0], some: [10.0.0.0/8]}\n"
        text += f"trusted_proxies: {proxies}\n"
        warnings = read(text.encode(), folder / "gateway.yaml", {}).warnings
        assert [found.key for found in warnings] == [f"trusted_proxies.{each}" for each in places]
        assert all("holds every address" in found.message for found in warnings)

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
        ("server: granian", ("server",)),
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
