"""The shape of gateway.yaml: frozen, every key checked, unknown keys refused.

The descriptions are the configuration reference (docs/configuration.md is made from them).
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SecretStr,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
    model_validator,
)
from pydantic_core import core_schema

from gateway.config import addresses, values
from gateway.config.values import Malformed

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
METHOD = re.compile(r"[A-Z][A-Z0-9_-]{0,31}")
PREFIX = re.compile(r"/[!-~]*[^/]")

DURATION_UNITS = values.DURATION_UNITS
MAX_WORKERS = 256
MASKED = "**********"
"""What is shown in the place of a secret."""
GRANIAN_HEADERS = 100
"""Most header lines that its parser takes."""

ASYMMETRIC = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip
Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "HS256", "HS384", "HS512",
]  # fmt: skip


AsymmetricAlgorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
]  # fmt: skip


class OrText:
    """Lets a section be written as a string, which is its `value`."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(_as_value, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


def _as_value(written: object) -> object:
    return {"value": written} if isinstance(written, str) else written


class OneOrMany:
    """Lets a tuple of strings be written as one string, in the file and in the JSON Schema."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(values.many, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        array = handler(schema)
        return {"anyOf": [array["items"], array]}


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        better = re.sub(r"[^A-Za-z0-9_.-]+", "-", value).strip("-_.")[:64]
        raise Malformed(
            "expected a name of letters, digits, '_', '.' and '-', at most 64",
            f"write {better}" if better else "",
        )
    return value


def _header_name(value: str) -> str:
    if not TOKEN.fullmatch(value):
        better = re.sub(r"[^!#$%&'*+.^`|~0-9A-Za-z-]+", "-", value.strip(" :")).strip("-")
        raise Malformed(
            "expected the name of a header, without blanks and ':'",
            f"write {better}" if better else "",
        )
    return value.lower()


def _distinct_headers(value: object) -> object:
    if isinstance(value, dict):
        names = [str(name).lower() for name in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise Malformed(f"the header {twice[0]} is given twice", "case does not count")
    return value


def _method(value: str) -> str:
    if not METHOD.fullmatch(value):
        upper = value.strip().upper()
        remedy = f"write {upper}" if METHOD.fullmatch(upper) else ""
        if value in ("*", "any", "ANY", "all"):
            remedy = "leave methods out for every method"
        raise Malformed("expected an HTTP method in upper-case letters, such as GET", remedy)
    return value


def _cookie(value: str) -> str:
    if not TOKEN.fullmatch(value):
        raise Malformed("expected the name of a cookie, without blanks and '='")
    return value


def _session_cookie(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_]{1,32}", value):
        raise Malformed(
            "expected letters, digits and '_', at most 32",
            "__Host- before and the login's name after it are added",
        )
    return value


def _path(value: str) -> str:
    if not re.fullmatch(r"/(?![/\\])[!-~]*", value):
        raise Malformed("expected a path on the own host, such as /", "leave the host out")
    return value


def _prefix(value: str) -> str:
    if value and not PREFIX.fullmatch(value):
        better = "/" + value.strip("/")
        raise Malformed(
            "expected a path such as /api, without a slash at its end",
            f"write {better}" if PREFIX.fullmatch(better) else "leave it out to strip nothing",
        )
    return value


Count = Annotated[int, BeforeValidator(values.count)]
Size = Annotated[
    int,
    Field(ge=0),
    BeforeValidator(values.size),
    WithJsonSchema({"type": ["integer", "string"], "examples": [65536, "64KiB"]}),
]
SomeSize = Annotated[Size, Field(gt=0)]
Duration = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False),
    BeforeValidator(values.duration),
    WithJsonSchema({"type": ["number", "string"], "examples": [30, "500ms"]}),
]
SomeTime = Annotated[Duration, Field(gt=0)]
Share = Annotated[
    str, BeforeValidator(values.share), WithJsonSchema({"type": "string", "examples": ["5%"]})
]
Name = Annotated[str, AfterValidator(_name)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderNames = Annotated[tuple[HeaderName, ...], OneOrMany()]
Address = Annotated[str, BeforeValidator(addresses.address)]
Cidr = Annotated[str, AfterValidator(addresses.cidr)]
HttpUrl = Annotated[str, AfterValidator(addresses.http_url)]
UpstreamUrl = Annotated[str, AfterValidator(addresses.upstream_url)]
UpstreamUrls = Annotated[tuple[UpstreamUrl, ...], OneOrMany()]
Method = Annotated[str, AfterValidator(_method)]
Methods = Annotated[tuple[Method, ...], OneOrMany()]
Strings = Annotated[tuple[str, ...], OneOrMany()]
Paths = Annotated[tuple[Path, ...], OneOrMany()]
Secret = Annotated[SecretStr, Field(min_length=1)]


class Section(BaseModel):
    """A mapping in the file."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # a value may be a secret
    )


class IdentityHeader(Section):
    """What an identity header says. A string stands for the `value` alone."""

    value: str
    """`identity.X`, `claims.PATH` or `token.expires_at`."""
    encoding: Literal["percent", "plain", "base64url-json"] = "percent"
    """`percent` encodes what is not visible ASCII. `plain` encodes nothing and refuses it, blanks
    inside excepted. `base64url-json` keeps every value as it is."""
    lists: Literal["join", "repeat"] | None = None
    """The value is a list, joined with commas or one line each; one value is a list of one. By
    default `percent` joins lists and `plain` refuses them."""

    @model_validator(mode="after")
    def _one_value(self) -> Self:
        if self.lists is not None and self.encoding == "base64url-json":
            raise Malformed("a list is one JSON value", "leave it out", key=("lists",))
        return self

    @model_serializer(mode="wrap")
    def _short(self, handler: SerializerFunctionWrapHandler) -> Any:
        return self.value if self.is_short else handler(self)

    @property
    def is_short(self) -> bool:
        """Whether a string says all of it."""
        return self == IdentityHeader(value=self.value)


IdentityHeaders = Annotated[
    dict[HeaderName, Annotated[IdentityHeader, OrText()]], BeforeValidator(_distinct_headers)
]


class Tls(Section):
    """The listener's certificate; the files are watched and reload by themselves."""

    certificate: Path
    """PEM file with the certificate and its chain."""
    key: Path
    """PEM file with the private key."""


class Listener(Section):
    """An address that takes requests for the routes."""

    address: Address
    """HOST:PORT, [ADDRESS]:PORT or unix:/PATH."""
    tls: Tls | None = None
    """Certificate and key; without it the listener speaks plain HTTP."""
    http2: bool = True
    """Also speak HTTP/2 (ALPN `h2` on TLS, prior knowledge on plain listeners)."""


class Admin(Section):
    """The listener for health, status, metrics and recent decisions."""

    address: Address = "127.0.0.1:9090"
    """HOST:PORT, [ADDRESS]:PORT or unix:/PATH; `enabled: false` switches it off."""
    enabled: bool = True
    """Whether to open the admin listener."""
    token: Secret | None = None
    """Bearer token for everything but /health; needed unless the address is loopback."""
    token_file: Path | None = None
    """File with that token."""
    actions: bool = False
    """Whether the listener takes actions (rollback, pin, revocation); they need the token."""

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if self.token is not None and self.token_file is not None:
            raise Malformed("give token or token_file, not both")
        return self


ClaimPath = Annotated[str, Field(min_length=1)]


class IdentityMapping(Section):
    """Which claims the identity is read from; a dot goes one object deeper."""

    subject: ClaimPath = "sub"
    """Claim path of the subject (a string)."""
    scopes: ClaimPath = "scope"
    """Claim path of the scopes: a space-delimited string or a list."""
    groups: ClaimPath = "groups"
    """Claim path of the groups: a list or a string."""
    roles: ClaimPath = "roles"
    """Claim path of the roles: a list or a string."""


class KeySource(Section):
    """Where an issuer's verification keys come from: exactly one of the keys below."""

    discovery: bool | HttpUrl | None = None
    """`true` reads ISSUER/.well-known/openid-configuration; or give that document's URL."""
    jwks_url: HttpUrl | None = None
    """URL of a JWK Set."""
    jwks_file: Path | None = None
    """File with a JWK Set."""
    pem_file: Path | None = None
    """File with one or more PEM public keys or certificates."""
    secret: Secret | None = None
    """Shared secret for HS256/384/512, as text."""
    secret_file: Path | None = None
    """File with that secret (one trailing newline is dropped)."""
    interval: SomeTime = 600.0
    """How often a remote key set is fetched anew."""
    cooldown: Duration = 30.0
    """Shortest time between two fetches caused by unknown key ids."""
    timeout: SomeTime = 5.0
    """Time limit of one fetch, discovery and key set together."""
    allow_private_addresses: bool = False
    """Let the URLs resolve to private or link-local addresses (loopback always may)."""
    insecure_http: bool = False
    """Let the URLs be plain http on addresses other than loopback."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [
            name
            for name in (
                "discovery", "jwks_url", "jwks_file", "pem_file", "secret", "secret_file",
            )
            if getattr(self, name) not in (None, False)
        ]  # fmt: skip
        if len(given) != 1:
            raise Malformed(
                "expected exactly one of discovery, jwks_url, jwks_file, pem_file, secret, "
                f"secret_file; got {', '.join(given) or 'none'}",
                "" if given else "discovery: true reads ISSUER/.well-known/openid-configuration",
            )
        for name in ("discovery", "jwks_url"):
            url = getattr(self, name)
            if isinstance(url, str) and not self.insecure_http and not is_secure_url(url):
                raise Malformed(
                    "plain http on an address that is not loopback",
                    "use https, or set insecure_http: true",
                    key=(name,),
                )
        return self

    @property
    def remote(self) -> bool:
        """Whether the keys are fetched over HTTP."""
        return bool(self.discovery or self.jwks_url)

    @property
    def symmetric(self) -> bool:
        """Whether the key is a shared secret."""
        return self.secret is not None or self.secret_file is not None


class Issuer(Section):
    """A token issuer: how its tokens are recognised and what they must hold."""

    issuer: str = Field(min_length=1)
    """The `iss` claim, compared byte for byte."""
    keys: KeySource | None = None
    """Where its verification keys come from; only an issuer that is asked may do without."""
    introspection: Introspection | None = None
    """How it is asked about tokens (RFC 7662)."""
    audience: Strings = ()
    """Accepted audiences; the token's `aud` must hold one of them."""
    algorithms: Annotated[tuple[Algorithm, ...], OneOrMany()] = ()
    """Accepted signature algorithms. HS* only beside a secret, and only they."""
    types: Strings = ("at+jwt", "JWT", "")
    """Accepted `typ` headers, `""` for none; case is ignored, an `application/` prefix too."""
    accept_id_tokens: bool = False
    """Accept OpenID Connect ID tokens (a `nonce` or `at_hash` without `typ: at+jwt`)."""
    required_claims: dict[str, Any] = Field(default_factory=dict)
    """Claims that must be there: `"*"` for any value, else the value or a list of accepted ones."""
    forbidden_claims: Strings = ()
    """Claims that must not be there."""
    max_lifetime: SomeTime | None = None
    """Longest `exp - iat`; the token needs an `iat` then."""
    leeway: Duration = 30.0
    """Tolerated clock difference for exp, nbf and iat."""
    identity: IdentityMapping = IdentityMapping()
    """Which claims subject, scopes, groups and roles are read from."""
    required: bool = True
    """Whether the gateway is ready only when this issuer has keys."""
    insecure_any_audience: bool = False
    """Accept tokens for any audience."""
    insecure_any_algorithm: bool = False
    """Accept every supported algorithm that fits the keys."""
    insecure_no_expiry: bool = False
    """Accept tokens without `exp`."""

    @model_validator(mode="after")
    def _explicit(self) -> Self:
        if not self.audience and not self.insecure_any_audience:
            raise Malformed("audience is missing", "name it, or set insecure_any_audience: true")
        if self.keys is None:
            self._keyless()
            return self
        if not self.algorithms and not self.insecure_any_algorithm:
            raise Malformed(
                "algorithms is missing", "name them, or set insecure_any_algorithm: true"
            )
        hmac = [alg for alg in self.algorithms if alg.startswith("HS")]
        if self.keys.symmetric and len(hmac) != len(self.algorithms):
            raise Malformed(
                "a secret verifies only HS256, HS384 and HS512",
                "give public keys as an issuer of their own",
                key=("algorithms",),
            )
        if hmac and not self.keys.symmetric:
            raise Malformed(
                f"{hmac[0]} needs keys.secret or keys.secret_file",
                "public keys go with RS256, ES256 and the like",
                key=("algorithms",),
            )
        if self.keys.discovery is True:
            self._discoverable()
        return self

    @property
    def key_source(self) -> KeySource:
        """Where the keys of an issuer that has some come from."""
        assert self.keys is not None
        return self.keys

    def has_keys_of(self, other: Issuer) -> bool:
        """Whether another configuration of an issuer leads to the same key set."""
        return self.issuer == other.issuer and self.keys == other.keys

    def _keyless(self) -> None:
        if self.introspection is None:
            raise Malformed("keys is missing", "name their source, or give introspection")
        if self.introspection.tokens == "always":
            raise Malformed(
                "always asks about tokens whose signature is good, and there are no keys",
                "leave it out: without keys, it is asked about every token",
                key=("introspection", "tokens"),
            )
        given = next((n for n in ("algorithms", "insecure_any_algorithm") if getattr(self, n)), "")
        if given:
            raise Malformed("has no effect without keys", "remove it", key=(given,))

    def _discoverable(self) -> None:
        assert self.keys is not None
        try:
            addresses.http_url(self.issuer)
        except Malformed:
            raise Malformed(
                "true needs an issuer that is an http:// or https:// URL",
                "give the URL of the discovery document, or jwks_url",
                key=("keys", "discovery"),
            ) from None
        if not (self.keys.insecure_http or is_secure_url(self.issuer)):
            raise Malformed(
                "discovery over plain http on an address that is not loopback",
                "use https, or set keys.insecure_http: true",
                key=("keys", "discovery"),
            )


class Credentials(Section):
    """Where a request may carry its token; more than one at once is refused."""

    header: HeaderName = "authorization"
    """Header with `Bearer TOKEN`."""
    cookie: Annotated[str, AfterValidator(_cookie)] | None = None
    """Cookie with the bare token; it is removed from what the upstream gets."""


class UpstreamTls(Section):
    """How an https upstream is verified."""

    ca_file: Path | None = None
    """PEM file with the trusted roots; the system's by default."""
    server_name: str | None = None
    """Name to verify and send as SNI; the URL's host by default."""
    certificate: Path | None = None
    """PEM file with the client certificate."""
    key: Path | None = None
    """PEM file with the client certificate's key."""

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise Malformed("certificate and key go together", "give both, or none")
        return self


class Ejection(Section):
    """When a target of several is left out for a time (passive health checks)."""

    failures: Count = 5
    """Failures in a row, without an answer between them, that eject; 0 never does."""
    statuses: tuple[Annotated[Count, Field(ge=500, le=599)], ...] = ()
    """Answers that count as failures, such as 502, 503, 504; none by default."""
    base_time: SomeTime = 10.0
    """How long the first ejection lasts; each one that follows lasts twice as long."""
    max_time: SomeTime = 300.0
    """The longest ejection."""
    silence: Duration = 1.0
    """How long a target must have answered nothing before failures that a client may have caused
    eject it: all but those of the connection."""


class Retries(Section):
    """When a request is sent once more, to another target or on a fresh connection."""

    attempts: Count = Field(default=2, le=10)
    """Most further tries of one request; 0 for none."""
    methods: Methods = ("GET", "HEAD", "OPTIONS")
    """Methods of requests that may have been sent and are sent again; PUT and DELETE may be added.
    Of other methods, only what was never sent is tried again."""
    budget_percent: Count = Field(default=20, le=100)
    """Share of requests that may be sent again though they may have been sent."""
    budget_per_second: Count = Field(default=10, le=10_000)
    """How many a second may be sent again besides."""
    timeout: Duration = 10.0
    """No further try begins later than this after the request."""

    @model_validator(mode="after")
    def _idempotent(self) -> Self:
        unsafe = [method for method in self.methods if method not in IDEMPOTENT]
        if unsafe:
            raise Malformed(
                f"{unsafe[0]} may do twice what was asked once",
                f"only {', '.join(IDEMPOTENT)} can be sent again",
                key=("methods",),
            )
        return self


IDEMPOTENT = ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE")
"""Methods whose effect is the same however often they are sent (RFC 9110 §9.2.2)."""


class Upstream(Section):
    """A service that requests are forwarded to, over HTTP/1.1: one `url`, or several `targets`."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["url"]}, {"required": ["targets"]}]}
    )

    url: UpstreamUrl | None = None
    """http://HOST[:PORT], https://HOST[:PORT] or http+unix:/PATH; no path, no query."""
    targets: UpstreamUrls = ()
    """Several such URLs, among which the requests are spread; all of them https, or none."""
    balance: Literal["round_robin", "least_pending"] = "round_robin"
    """Which target gets a request: each in turn, or the one with the fewest under way."""
    ejection: Ejection = Ejection()
    """When a target is left out."""
    retries: Retries = Retries()
    """When a request is sent once more."""
    dns_interval: SomeTime = 30.0
    """How often host names are resolved anew; each address is a target of its own."""
    tls: UpstreamTls = UpstreamTls()
    """Certificate checks for https."""
    connect_timeout: SomeTime = 5.0
    """Time limit for the connection, its TLS handshake and the wait for a free connection."""
    first_byte_timeout: SomeTime = 60.0
    """Time limit from the sent request to the response's head."""
    idle_timeout: SomeTime = 60.0
    """Time limit between two pieces of a message in either direction."""
    max_connections: Count = Field(default=256, ge=1)
    """Most connections at once to each address."""
    max_pending: Count = Field(default=1024, ge=0)
    """Most requests that wait for a connection to an address; one more is 503 `upstream-busy`."""
    keep_alive: Duration = 30.0
    """How long an unused connection is kept."""
    max_head: SomeSize = 65536
    """Largest response head."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if bool(self.url) == bool(self.targets):
            raise Malformed(
                "give url or targets, not both" if self.url else "url is missing",
                "" if self.url else "write url: http://HOST:PORT, or targets: with several",
            )
        bare = [target.rstrip("/") for target in self.targets]
        if twice := next((target for target in bare if bare.count(target) > 1), ""):
            raise Malformed(f"{twice} is given twice", key=("targets",))
        if len({target.startswith("https:") for target in self.targets}) > 1:
            raise Malformed(
                "targets with and without TLS", "write https for all, or none", key=("targets",)
            )
        return self

    @property
    def urls(self) -> tuple[str, ...]:
        """The targets, be it one."""
        return self.targets or (self.url or "",)

    def __hash__(self) -> int:
        # Requests find their connections by it; pydantic's own takes longer than the search.
        return hash(self.url or self.targets)

    def __str__(self) -> str:
        return ", ".join(self.urls)


class Cors(Section):
    """Cross-origin requests that browsers may make (Fetch standard)."""

    origins: Strings = Field(min_length=1)
    """Allowed origins, exact (`https://app.example`), or `*` for any without credentials."""
    methods: Methods = ()
    """Allowed methods; those of the routes that match the path by default."""
    headers: HeaderNames = ("authorization", "content-type")
    """Allowed request headers."""
    expose: HeaderNames = ()
    """Response headers that scripts may read."""
    credentials: bool = False
    """Whether cookies may be sent."""
    max_age: Duration = 600.0
    """How long a browser may keep the preflight's answer."""

    @model_validator(mode="after")
    def _no_credentials_for_all(self) -> Self:
        if self.credentials and "*" in self.origins:
            raise Malformed("credentials: true needs the origins by name, not '*'")
        return self


class Body(Section):
    """A body that the policy sees as `input.request.body`."""

    max: Size = 65536
    """Largest body; a larger one is 413."""


class Assertion(Section):
    """A short-lived token, signed by the gateway, that tells upstreams who asks."""

    issuer: str = Field(default="gateway", min_length=1)
    """The `iss` of the tokens."""
    header: HeaderName = "x-gateway-assertion"
    """Header that carries the token."""
    algorithm: Literal["ES256", "ES384", "RS256", "EdDSA"] = "ES256"
    """What the gateway signs with; it makes the keys itself."""
    lifetime: SomeTime = 60.0
    """From `iat` to `exp`."""
    claims: Strings = ()
    """Paths of claims to copy into the token."""
    rotate: SomeTime = 86400.0
    """How long a key signs."""
    overlap: SomeTime = 3600.0
    """How long a key is published before it signs, and after."""

    @model_validator(mode="after")
    def _known_in_time(self) -> Self:
        if self.overlap < 4 * MIN_OVERLAP or self.rotate < 2 * self.overlap:
            raise Malformed(
                "verifiers could not know a key in time",
                f"take an overlap of at least {4 * MIN_OVERLAP:g}s, and twice that to rotate",
                key=("overlap",),
            )
        own = sorted(OWN_CLAIMS.intersection(self.claims))
        if own:
            raise Malformed(f"{own[0]} is the gateway's own claim", "leave it out", key=("claims",))
        return self


MIN_OVERLAP = 5.0
"""Seconds in which every process of a gateway hears of a new key."""
OWN_CLAIMS = frozenset(
    ("iss", "aud", "sub", "iat", "exp", "jti", "nbf", "client_issuer", "policy_revision")
)
"""What an assertion says by itself."""


class RateLimit(Section):
    """How many requests may come from whom; one more is 429 `rate-limited`."""

    requests: Count = Field(ge=1)
    """Requests in each `per`."""
    per: SomeTime = 60.0
    """Time for that many requests."""
    key: Strings = ("subject",)
    """Whom it counts: address, subject, issuer, host, route, method, claims.PATH, headers.NAME."""
    algorithm: Literal["gcra", "fixed", "sliding"] = "gcra"
    """`gcra`: evenly, with a burst. `fixed`: windows one after another. `sliding`: the last one."""
    burst: Annotated[int, BeforeValidator(values.count)] | None = Field(default=None, ge=1)
    """Requests at once with gcra; `requests` by default."""
    cost: Count = Field(default=1, ge=1)
    """What one request counts."""
    on_error: Literal["refuse", "allow"] = "refuse"
    """Where the storage does not answer: 503 `rate-limit-unavailable`, or not counted."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.burst is not None and self.algorithm != "gcra":
            raise Malformed(
                f"{self.algorithm} knows no burst", "leave it out, or take gcra", key=("burst",)
            )
        most = self.burst or self.requests
        if self.cost > most:
            raise Malformed(
                f"no request would be allowed: it costs more than {most}",
                "take less",
                key=("cost",),
            )
        return self


class RateLimits(Section):
    """Rate limits and where they are counted."""

    limits: dict[Name, RateLimit] = Field(default_factory=dict)
    """Limits by name."""
    default: Strings = ()
    """The limits of all routes that name none."""
    storage: Literal["memory", "redis"] = "memory"
    """`memory` counts for this machine; `redis` for all gateways that share one."""
    keys: Count = Field(default=65536, ge=64, le=2**24)
    """Most keys that memory holds; of too many, those that matter least are forgotten."""
    ipv6_prefix: Count = Field(default=64, ge=1, le=128)
    """Addresses of one IPv6 network of that length count as one."""


class Redis(Section):
    """A Redis server that several gateways share."""

    url: Annotated[str, AfterValidator(addresses.redis_url)] = "redis://127.0.0.1:6379/0"
    """redis://HOST[:PORT][/DB], rediss://HOST[:PORT][/DB] for TLS, or unix:/PATH."""
    username: str | None = None
    """Name to log in with."""
    password: Secret | None = None
    """Password to log in with."""
    password_file: Path | None = None
    """File with that password."""
    ca_file: Path | None = None
    """PEM file with the roots that rediss:// trusts; the system's by default."""
    timeout: SomeTime = Field(default=0.05, le=10.0)
    """Longest wait for an answer; after a failure it is asked again only after a while."""
    prefix: str = "gateway:"
    """What all keys begin with."""

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password is not None and self.password_file is not None:
            raise Malformed("give password or password_file, not both")
        return self


class Client(Section):
    """Who the gateway is at an authorization server, and how it proves that (RFC 6749 §2.3)."""

    id: str = Field(min_length=1)
    """The `client_id`."""
    authentication: Literal[
        "client_secret_basic", "client_secret_post", "private_key_jwt", "none"
    ] = "client_secret_basic"
    """How it authenticates: a secret in a header, a secret in the form, a signed assertion, or, as
    a public client, not at all."""
    secret: Secret | None = None
    """The client secret."""
    secret_file: Path | None = None
    """File with that secret (one trailing newline is dropped)."""
    key_file: Path | None = None
    """PEM file with the private key of `private_key_jwt` (RFC 7523)."""
    algorithm: AsymmetricAlgorithm = "ES256"
    """What it signs with."""
    key_id: str = ""
    """The `kid` of its assertions; none by default."""
    audience: str = ""
    """The `aud` of its assertions; the endpoint's URL by default."""

    @model_validator(mode="after")
    def _one_proof(self) -> Self:
        proofs = ("secret", "secret_file", "key_file")
        given = [name for name in proofs if getattr(self, name) is not None]
        if self.authentication == "none":
            if given:
                raise Malformed("none needs no proof", "leave it out", key=(given[0],))
            return self
        wanted = proofs[2:] if self.authentication == "private_key_jwt" else proofs[:2]
        if len(given) != 1 or given[0] not in wanted:
            raise Malformed(
                f"{self.authentication} needs {' or '.join(wanted)}; "
                f"got {', '.join(given) or 'none'}"
            )
        return self


class OAuthEndpoint(Section):
    """An endpoint of an authorization server that the gateway sends forms to."""

    url: HttpUrl
    """Where it is."""
    client: Client
    """Who the gateway is there."""
    timeout: SomeTime = Field(default=5.0, le=60.0)
    """Time limit of one call."""
    allow_private_addresses: bool = False
    """Let the URL resolve to private or link-local addresses (loopback always may)."""
    insecure_http: bool = False
    """Let the URL be plain http on an address other than loopback."""

    @model_validator(mode="after")
    def _confidential(self) -> Self:
        if not self.insecure_http and not is_secure_url(self.url):
            raise Malformed(
                "plain http on an address that is not loopback",
                "use https, or set insecure_http: true",
                key=("url",),
            )
        return self


class Login(Section):
    """How browsers log in: at an OpenID Connect provider, with an authorization code and PKCE."""

    issuer: str
    """Name of the provider among `issuers`; its discovery document tells the endpoints."""
    client: Client
    """Who the gateway is there; its `redirect_uri` is /.well-known/gateway/callback/NAME."""
    discovery: HttpUrl | None = None
    """URL of the discovery document; that of the issuer by default."""
    scopes: Strings = ("openid",)
    """Scopes to ask for; many providers give a refresh token for `offline_access` only."""
    parameters: dict[str, str] = Field(default_factory=dict)
    """Further parameters of the authorization request, such as `audience` or `prompt`."""
    token: Literal["access", "id"] = "access"  # noqa: S105  the kind of a token
    """Which token identifies requests; `id` where access tokens are opaque."""
    after_logout: Annotated[str, AfterValidator(_path)] = "/"
    """Path on the own host that a browser gets to after a logout."""
    timeout: SomeTime = Field(default=10.0, le=60.0)
    """Time limit of one request to the provider."""

    @property
    def by_id_token(self) -> bool:
        """Whether the ID token identifies requests."""
        return self.token == "id"  # noqa: S105  the kind of a token

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if "openid" not in self.scopes:
            raise Malformed(
                "without the scope openid there is no ID token", "add openid", key=("scopes",)
            )
        for name in self.parameters:
            if name in OWN_PARAMETERS:
                raise Malformed(
                    f"{name} is what the gateway sends itself",
                    "leave it out",
                    key=("parameters", name),
                )
        return self


OWN_PARAMETERS = frozenset((
    "response_type", "response_mode", "client_id", "client_secret", "redirect_uri", "scope",
    "state", "nonce", "code_challenge", "code_challenge_method", "request", "request_uri",
))  # fmt: skip
"""Parameters of an authorization request that a login makes itself, or must not have."""


class Sessions(Section):
    """The sessions of browsers that have logged in."""

    storage: Literal["memory", "redis"] = "memory"
    """`memory` keeps them on this machine; `redis` for all gateways that share one."""
    cookie: Annotated[str, AfterValidator(_session_cookie)] = "session"
    """Base of the cookies' names: `__Host-session-NAME` for the login NAME."""
    idle: SomeTime = 1800.0
    """How long a session lasts without a request."""
    lifetime: SomeTime = 43200.0
    """How long it lasts at most."""
    renew_before: Duration = 60.0
    """How long before its token expires it is renewed; half of the token's time at most."""
    login_timeout: SomeTime = Field(default=600.0, le=86400.0)
    """Time for a person to log in."""
    memory: SomeSize = 256 * 1024**2
    """Most memory for sessions; of too many, those end that were unused longest."""
    csrf_header: HeaderName | None = None
    """Header that lets unsafe requests without Origin and Sec-Fetch-Site pass; none by default."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.idle > self.lifetime:
            raise Malformed(
                "no session lasts that long without a request",
                "take less than lifetime",
                key=("idle",),
            )
        return self


class TokenEndpoint(OAuthEndpoint):
    """Where the gateway gets tokens for upstreams (RFC 8693, RFC 6749 §4.4)."""

    keep: SomeTime = 300.0
    """Longest time that a token is used; it is never used beyond its `expires_in`."""


class UpstreamToken(Section):
    """A token that the upstream gets as `Authorization: Bearer`, in the place of the client's."""

    endpoint: Name
    """Name of the token endpoint that gives it."""
    grant: Literal["token_exchange", "client_credentials"] = "token_exchange"
    """`token_exchange`: for the client's token (RFC 8693). `client_credentials`: for the gateway
    itself, whoever asks."""
    audience: Strings = ()
    """Whom it is for, as names that the authorization server knows."""
    resource: Annotated[tuple[HttpUrl, ...], OneOrMany()] = ()
    """Whom it is for, as URLs (RFC 8707)."""
    scopes: Strings = ()
    """What it is to allow."""
    subject_token_type: Literal["access_token", "id_token", "jwt"] = "access_token"  # noqa: S105
    """What the client's token is."""
    requested_token_type: Literal["access_token", "jwt"] | None = None
    """What it is to be; the authorization server chooses by default."""

    @model_validator(mode="after")
    def _for_somebody(self) -> Self:
        if self.grant == "token_exchange" and not (self.audience or self.resource or self.scopes):
            raise Malformed(
                "nothing says whom the token is for", "give audience, resource or scopes"
            )
        exchange_only = ("subject_token_type", "requested_token_type")
        given = [name for name in exchange_only if name in self.model_fields_set]
        if self.grant != "token_exchange" and given:
            raise Malformed(f"{self.grant} exchanges no token", "leave it out", key=(given[0],))
        return self


class Introspection(OAuthEndpoint):
    """How an issuer is asked about tokens that only it can read (RFC 7662)."""

    timeout: SomeTime = Field(default=2.0, le=60.0)
    """Time limit of one call, the wait for its turn included."""
    tokens: Literal["opaque", "always"] = "opaque"
    """Which tokens: those that are no JWT, or those besides whose signature is good."""
    token_types: Strings = ("Bearer",)
    """Accepted `token_type` of an answer, `""` for none; case is ignored."""
    max_age: Duration = 60.0
    """How long an answer is used, which is at most until the token's `exp`."""
    max_age_inactive: Duration = 5.0
    """The same of an answer that the token is not active."""
    concurrency: Count = Field(default=16, ge=1, le=1024)
    """Most calls at once."""
    max_pending: Count = Field(default=128, ge=0, le=65536)
    """Most tokens that wait for a call; one more is 503 `introspection-unavailable`."""


Issuer.model_rebuild()  # it holds this section, which is below it


class Revocation(Section):
    """Deny lists: tokens that are refused though all about them is good."""

    file: Path | None = None
    """A list to read; it is watched by itself, and what was good goes on where it is broken."""
    storage: Literal["disk", "redis"] = "disk"
    """Where entries of the admin listener are kept: in `policy.state`, or in the Redis that several
    gateways share."""
    stale_after: SomeTime = 30.0
    """How long Redis may be away until the list counts as stale."""
    on_error: Literal["refuse", "allow"] = "refuse"
    """While the list of Redis is stale or not there yet: 503 `revocation-unavailable` for all
    tokens, or the last known list serves on."""


class Route(Section):
    """Requests that go to one upstream, and who decides on them."""

    id: Name
    """Name of the route in logs, metrics and `input.route.id`."""
    hosts: Strings = ()
    """Hosts without port; `*.example.com` takes one or more labels. Any host by default."""
    paths: Strings = Field(min_length=1)
    """Path templates: `/orders/{id}`, `/static/{rest:path}` (`:path` takes the remainder)."""
    methods: Methods = ()
    """Methods, upper-case; all by default."""
    upstream: str
    """Name of an upstream, or an upstream's URL."""
    strip_prefix: Annotated[str, AfterValidator(_prefix)] = ""
    """Literal path prefix that the upstream does not get."""
    host: str = "pass"
    """Host header for the upstream: `pass` the client's, `upstream` for the URL's, or a value."""
    authentication: Literal["required", "optional", "anonymous"] = "required"
    """`optional`: no token is anonymous, a bad one is 401. `anonymous`: tokens are not read."""
    issuers: Strings = ()
    """Issuers (by name) whose tokens the route takes; all by default."""
    audience: Strings = ()
    """Accepted audiences on this route, instead of the issuer's."""
    entrypoint: str | None = None
    """Rego rule that decides, as `package/path/rule`; `policy.entrypoint` by default."""
    dialect: Literal["native", "envoy", "kong", "apisix"] = "native"
    """Shape of the input and the decision: ours, or that of a peer's OPA plugin."""
    enforcement: Literal["enforce", "report"] = "enforce"
    """`report`: what the policy refuses is logged and counted, and forwarded all the same."""
    body: Body | None = None
    """Show the parsed body to the policy."""
    max_body: Size | None = None
    """Largest request body on this route; `limits.body` by default."""
    forward_token: bool = False
    """Pass the client's credential on to the upstream."""
    upstream_token: UpstreamToken | None = None
    """A token of a token endpoint that the upstream gets instead; none by default."""
    identity_headers: IdentityHeaders | None = None
    """Identity headers for this route, instead of the general ones."""
    show_reasons: bool = False
    """Put the decision's reasons into the refusal body."""
    assertion: bool = True
    """Whether the upstream gets the signed assertion, where the file has an `assertion`."""
    rate_limits: Strings | None = None
    """Names of the limits that requests are charged; `rate_limits.default` by default."""
    login: str | None = None
    """Name of the login for browsers: its session stands for a token; who has none goes there."""
    cors: Cors | None = None
    """Cross-origin requests; `cors` of the whole file by default."""
    websocket: bool = False
    """Whether WebSocket handshakes are taken."""
    websocket_origins: Strings = ()
    """Origins that may open a WebSocket; a client without one is refused then. Any by default."""
    encoded_slashes: Literal["refuse", "pass"] = "refuse"
    """What happens to `%2F` in a path: 400, or passed on as one segment's data."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Anything the policy should know of the route (`input.route.labels`)."""


class BundleKey(Section):
    """A key that may sign a bundle: exactly one source of it, and what it may sign."""

    pem_file: Path | None = None
    """File with a PEM public key or certificate."""
    jwks_file: Path | None = None
    """File with a JWK Set; its keys are called by their `kid`."""
    secret: Secret | None = None
    """Shared secret for HS256/384/512, as text."""
    secret_file: Path | None = None
    """File with that secret (one trailing newline is dropped)."""
    algorithm: Algorithm
    """The one algorithm that its signatures may have."""
    scope: str = ""
    """The `scope` that it may sign for; any if empty and `verification.scope` names one."""
    expires: Annotated[str, AfterValidator(values.moment_text)] | None = None
    """When it stops being trusted: a day (`2027-01-31`) or a time (`2027-01-31T12:00:00Z`)."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = ("pem_file", "jwks_file", "secret", "secret_file")
        given = [name for name in sources if getattr(self, name) is not None]
        if len(given) != 1:
            raise Malformed(
                f"expected exactly one of {', '.join(sources)}; got {', '.join(given) or 'none'}"
            )
        if self.algorithm.startswith("HS") != given[0].startswith("secret"):
            raise Malformed(
                f"{self.algorithm} does not go with {given[0]}",
                "HS256, HS384 and HS512 need a secret, all others a public key",
                key=("algorithm",),
            )
        return self


class Verification(Section):
    """How a bundle must be signed; without it, a bundle that is signed is refused."""

    keys: dict[str, BundleKey]
    """The trusted keys by id, which is the `kid` (or `keyid`) of a signature that names one."""
    scope: str = ""
    """The `scope` that the signature must have; that of its key by default."""
    exclude: Strings = ()
    """Files that need not be signed, as `*.md` or `data/*/data.json`."""

    @model_validator(mode="after")
    def _trusts_somebody(self) -> Self:
        if not self.keys:
            raise Malformed("expected at least one key", key=("keys",))
        for name, key in self.keys.items():
            if self.scope and key.scope not in ("", self.scope):
                raise Malformed(
                    f"it can never sign this bundle, whose scope is {self.scope}",
                    key=("keys", name, "scope"),
                )
        return self


class Bundle(Section):
    """An OPA bundle: exactly one of `file` and `url`."""

    file: Path | None = None
    """An archive (.tar.gz), or a folder laid out as a bundle."""
    url: HttpUrl | None = None
    """Where the archive is fetched from; the last good one is kept in `policy.state`."""
    token: Secret | None = None
    """Bearer token for the URL."""
    token_file: Path | None = None
    """File with that token."""
    interval: SomeTime = 60.0
    """How often the URL is asked whether there is another archive."""
    timeout: SomeTime = 30.0
    """Time limit of one such request, and of the wait for it at the start."""
    max_size: Annotated[SomeSize, Field(le=64 * 1024**2)] = 64 * 1024**2
    """Largest archive that is fetched."""
    verification: Verification | None = None
    """Who must have signed it."""
    insecure_unsigned: bool = False
    """Take an archive that nobody signed from a URL."""
    allow_private_addresses: bool = False
    """Let the URL resolve to private or link-local addresses (loopback always may)."""
    insecure_http: bool = False
    """Let the URL be plain http on an address other than loopback."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.url is None):
            raise Malformed("expected exactly one of file, url")
        if self.token is not None and self.token_file is not None:
            raise Malformed("give token or token_file, not both")
        if self.url is None:
            if self.token is not None or self.token_file is not None:
                raise Malformed("a file needs no token")
            return self
        if not self.insecure_http and not is_secure_url(self.url):
            raise Malformed(
                "plain http on an address that is not loopback",
                "use https, or set insecure_http: true",
                key=("url",),
            )
        if self.verification is None and not self.insecure_unsigned:
            raise Malformed(
                "verification is missing", "name the keys, or set insecure_unsigned: true"
            )
        return self


POLICY_BUNDLE = "policy"
"""What the whole policy set is called among the bundles of a decision event."""


class Shadow(Section):
    """A second policy set that decides too and changes no answer; differences are reported."""

    paths: Paths = Field(min_length=1)
    """Folders or files, as in `policy.paths`."""
    share: Share = "100%"
    """Share of the requests that it decides too."""
    steps: Count | None = Field(default=None, ge=1_000)
    """Work limit of one decision, in steps; `policy.steps` by default."""
    queue: Count = Field(default=1_000, ge=1)
    """Most requests that wait for it; further ones are dropped and counted."""
    cpu: Share = "10%"
    """Most of one processor's time that it takes; when that is not enough, the queue fills up."""

    @model_validator(mode="after")
    def _some_cpu(self) -> Self:
        if values.fraction(self.cpu) == 0:
            raise Malformed("expected more than 0%", "leave shadow out", key=("cpu",))
        return self


class Canary(Section):
    """A second policy set that decides instead of the other, for a stable share of subjects."""

    paths: Paths = Field(min_length=1)
    """Folders or files, as in `policy.paths`."""
    share: Share
    """Share of the subjects that it decides for; raising it only adds subjects."""
    claim: ClaimPath = "sub"
    """Claim that names a subject, text or a whole number; without it `policy.paths` decides."""
    salt: str = ""
    """Another text draws other subjects."""


class Policy(Section):
    """The Rego policies."""

    paths: Paths = (Path("policies"),)
    """Folders or files with .rego modules and data.json / data.yaml documents; none by default
    where there are bundles."""
    bundles: dict[Name, Bundle] = Field(default_factory=dict)
    """OPA bundles by name; each owns the roots that its manifest names."""
    entrypoint: str | None = None
    """Rule that decides; `gateway/authz/decision`, else `gateway/authz/allow`, by default."""
    steps: Count = Field(default=1_000_000, ge=1_000)
    """Work limit of one decision, in steps."""
    tests: bool = True
    """Run the `*_test.rego` beside the policies before a reload takes effect."""
    state: Path | None = None
    """Folder for kept revisions and the pin (owner-only); `.gateway` beside the file by default."""
    history: Count = Field(default=10, ge=1, le=1_000)
    """How many good revisions are kept, for a start with a broken one and for a rollback."""
    shadow: Shadow | None = None
    """A second policy set that decides too and changes no answer."""
    canary: Canary | None = None
    """A second policy set that decides for a share of subjects."""

    @model_validator(mode="before")
    @classmethod
    def _bundles_alone(cls, value: object) -> object:
        if isinstance(value, dict) and value.get("bundles") and "paths" not in value:
            return {**value, "paths": ()}
        return value

    @model_validator(mode="after")
    def _some_policies(self) -> Self:
        if not self.paths and not self.bundles:
            raise Malformed("expected at least one entry", key=("paths",))
        if POLICY_BUNDLE in self.bundles:
            message = f"{POLICY_BUNDLE} is what the log calls all policies together"
            raise Malformed(message, "choose another name", key=("bundles", POLICY_BUNDLE))
        return self


class Reload(Section):
    """How changes on disk take effect."""

    watch: bool = True
    """Watch the files; SIGHUP and the rescan work besides."""
    debounce: Duration = 0.15
    """Quiet time after a change before the reload."""
    rescan: SomeTime = 30.0
    """How often the files are compared besides (network file systems send no events)."""


class Limits(Section):
    """Sizes and times that no client may exceed."""

    head: SomeSize = Field(default=32768, le=2**30)
    """Header section (431)."""
    headers: Count = Field(default=100, ge=8)
    """Number of header lines (431)."""
    url: SomeSize = Field(default=8192, le=2**30)
    """Request target (414)."""
    body: Size = 16 * 1024**2
    """Request body (413)."""
    head_timeout: SomeTime = 10.0
    """Time for the header section to arrive (408)."""
    body_timeout: SomeTime = 300.0
    """Time for the whole request body to arrive (408)."""
    idle_timeout: SomeTime = 60.0
    """Time between two requests or two pieces of a message."""
    connections: Count = Field(default=4096, ge=1)
    """Connections at once over all `listeners` (503); the admin listener has 64 of its own."""
    streams: Count = Field(default=100, ge=1)
    """Requests at once on one HTTP/2 connection."""
    token: SomeSize = 8192
    """Token (401)."""
    token_header: SomeSize = 4096
    """Decoded token header (401)."""
    json_depth: Count = Field(default=64, ge=4, le=90)
    """Nesting of JSON in tokens and bodies."""
    websocket_message: SomeSize = 1024**2
    """WebSocket message, in either direction."""
    drain_delay: Duration = 0.0
    """Time after SIGTERM for load balancers to see 503 of `ready`, before listeners close."""
    drain_timeout: Duration = 30.0
    """Time for requests in flight to end after that."""


def _check_sink(sink: str, path: Path | None) -> None:
    if sink == "file" and path is None:
        raise Malformed("sink: file needs a path", "name the file in path")
    if sink != "file" and path is not None:
        raise Malformed(
            f"nothing is written there, as sink is {sink}", "set sink: file", key=("path",)
        )


class DecisionLog(Section):
    """One JSON line for each request."""

    sink: Literal["stdout", "stderr", "file", "off"] = "stdout"
    """Where the lines go."""
    path: Path | None = None
    """The file; it is opened anew when it was renamed or removed."""
    mask: Strings = ()
    """JSON pointers into the event to erase, such as /input/claims/email."""
    queue: Count = Field(default=10_000, ge=1)
    """Most events that wait for the sink in a worker; further ones are dropped and counted."""
    ring: Count = Field(default=1_000, ge=0)
    """How many recent decisions each worker keeps for the admin listener."""

    @model_validator(mode="after")
    def _path_for_file(self) -> Self:
        _check_sink(self.sink, self.path)
        return self


class AccessLog(Section):
    """One short text line for each request."""

    sink: Literal["stdout", "stderr", "file", "off"] = "off"
    """Where the lines go."""
    path: Path | None = None
    """The file; it is opened anew when it was renamed or removed."""

    @model_validator(mode="after")
    def _path_for_file(self) -> Self:
        _check_sink(self.sink, self.path)
        return self


class Log(Section):
    """What is written, and where."""

    decisions: DecisionLog = DecisionLog()
    """The decision log."""
    access: AccessLog = AccessLog()
    """The access log."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of this instance in every decision event."""


DEFAULT_IDENTITY_HEADERS = {
    "x-auth-subject": "identity.subject",
    "x-auth-issuer": "identity.issuer",
    "x-auth-scopes": "identity.scopes",
    "x-auth-groups": "identity.groups",
    "x-auth-roles": "identity.roles",
}


class Config(Section):
    """The whole file."""

    workers: Annotated[int, Field(ge=1, le=MAX_WORKERS)] | Literal["auto"] = 1
    """Processes that serve requests, `auto` for one a CPU; `serve --workers` goes first. They share
    out `limits.connections`, `max_connections` and `max_pending`, rounded up."""
    server: Literal["hypercorn", "granian"] = "hypercorn"
    """What speaks HTTP on `listeners`; `granian` is faster and needs `policy-gateway[granian]`."""
    listeners: tuple[Listener, ...] = Field(
        default=(Listener(address="127.0.0.1:8080"),), min_length=1
    )
    """Addresses that take requests."""
    admin: Admin = Admin()
    """Health, status, metrics, recent decisions."""
    issuers: dict[Name, Issuer] = Field(default_factory=dict)
    """Token issuers by name."""
    credentials: Credentials = Credentials()
    """Where a request may carry its token."""
    upstreams: dict[Name, Upstream] = Field(default_factory=dict)
    """Services by name."""
    routes: tuple[Route, ...] = Field(min_length=1)
    """The routes; the most specific one that fits a request takes it."""
    policy: Policy = Policy()
    """The Rego policies."""
    identity_headers: IdentityHeaders = Field(
        default_factory=lambda: {
            name: IdentityHeader(value=value) for name, value in DEFAULT_IDENTITY_HEADERS.items()
        }
    )
    """Header for the upstream → its value, with an encoding or without."""
    assertion: Assertion | None = None
    """A signed token for upstreams; none by default."""
    token_endpoints: dict[Name, TokenEndpoint] = Field(default_factory=dict)
    """Where tokens for upstreams come from, by name."""
    cors: Cors | None = None
    """Cross-origin requests on all routes without a `cors` of their own."""
    rate_limits: RateLimits = RateLimits()
    """How many requests may come from whom."""
    logins: dict[Name, Login] = Field(default_factory=dict)
    """How browsers log in, by name."""
    sessions: Sessions = Sessions()
    """Where sessions of browsers are kept, and for how long."""
    revocation: Revocation = Revocation()
    """Which tokens are refused though all about them is good."""
    redis: Redis | None = None
    """The Redis server that `storage: redis` means."""
    trusted_proxies: Strings = ()
    """CIDR blocks or network names whose X-Forwarded-* and Forwarded are believed."""
    networks: dict[Name, Annotated[tuple[Cidr, ...], OneOrMany()]] = Field(default_factory=dict)
    """Named CIDR sets for `input.source.networks`."""
    limits: Limits = Limits()
    """Sizes and times."""
    log: Log = Log()
    """Decision log and access log."""
    reload: Reload = Reload()
    """How changes on disk take effect."""

    @model_validator(mode="after")
    def _server_can(self) -> Self:
        if self.server == "granian":
            for number, listener in enumerate(self.listeners):
                if listener.address.startswith("unix:"):
                    raise Malformed(
                        "server: granian takes TCP addresses only",
                        "use server: hypercorn, or HOST:PORT",
                        key=("listeners", str(number), "address"),
                    )
            if self.limits.headers > GRANIAN_HEADERS:
                raise Malformed(
                    f"server: granian takes at most {GRANIAN_HEADERS} header lines",
                    "use server: hypercorn, or a smaller number",
                    key=("limits", "headers"),
                )
        return self

    @property
    def own_cookies(self) -> tuple[bytes, ...]:
        """How the names of the gateway's own cookies begin; none where nobody can log in."""
        base = f"__Host-{self.sessions.cookie}".encode()
        return (base + b"-", base + b"~") if self.logins else ()

    @property
    def identity_names(self) -> frozenset[str]:
        """The identity headers of all routes: no client may send any of them anywhere."""
        signed = (self.assertion.header,) if self.assertion else ()
        return frozenset(self.identity_headers).union(
            signed, *(route.identity_headers or () for route in self.routes)
        )


def is_loopback_host(host: str) -> bool:
    """Whether a URL's host can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def public_url(url: str) -> str:
    """A URL as it may be shown: `**********` stands for its query, which may hold a key."""
    plain, mark, _ = re.sub(r"//[^/?#]*@", "//", url).partition("?")
    return f"{plain}?{MASKED}" if mark else plain


def is_secure_url(url: str) -> bool:
    """Whether a URL is https, or http on a loopback address."""
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback_host(parts.hostname or "")
