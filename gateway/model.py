"""The values that pass between the stages; all frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from gateway import wire

if TYPE_CHECKING:
    from gateway.config.model import Route, Upstream
    from gateway.errors import Code
    from gateway.identify.keyring import Keyring


Headers = tuple[tuple[bytes, bytes], ...]
"""Header lines in order; names lower-case."""

Fields = Mapping[bytes, list[bytes]]
"""The values of header lines by name; several lines of one name in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A request's head as the server read it.

    `id` is the decision id (generated here). `raw_path` and `query_string` are the target's
    bytes on either side of the first `?`. `scheme` is that of the listener. `peer` is the
    address of the connection's other end, empty for a Unix socket. `fields` are the values of
    the header lines by name, in order.
    """

    id: str
    method: str
    scheme: str
    authority: bytes
    raw_path: bytes
    query_string: bytes
    headers: Headers
    http_version: str
    peer: str
    websocket: bool = False
    fields: Fields = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", wire.fields(self.headers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How many requests in how many seconds, counted how; `burst` is for `gcra` only."""

    requests: int
    per: float
    algorithm: Literal["gcra", "fixed", "sliding"] = "gcra"
    burst: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A quota that a policy chose: a configured limit by its name, or one of its own."""

    key: str
    limit: str | Quota


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one rate limit is to be charged for a request.

    `key` is a digest of the limit, its quota and whom it counts, `cost` at most the quota;
    `required` tells whether the request is refused where it cannot be counted.
    """

    limit: str
    key: bytes
    quota: Quota
    cost: int = 1
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a rate limit stands after a charge, or without it where it was refused.

    `remaining` are requests, `reset` the seconds until all of the quota is there again, and
    `retry_after` those until the charge would be taken: 0 where it was.
    """

    charge: Charge
    allowed: bool
    remaining: int
    reset: float
    retry_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of a request's charges: all were taken, or none.

    `error` says why they could not be counted; there are no standings then.
    """

    charges: tuple[Charge, ...]
    standings: tuple[Standing, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A browser's session as the shell found it, renewed where that was due.

    `id` names it in logs, and opens nothing. `token` identifies its requests, and is empty where
    there is no such session; `access_token` is what an upstream may get. `issuer` is the login's,
    by its configured name, and `subject` and `sid` are those of its ID token. It `began_at` (Unix
    seconds), however often its tokens were renewed since.
    """

    login: str
    id: str = ""
    token: bytes = field(default=b"", repr=False)
    access_token: bytes = field(default=b"", repr=False)
    issuer: str = ""
    subject: str = ""
    sid: str = ""
    began_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Introspected:
    """An issuer's answer about a token (RFC 7662 §2.2); `revision` is another for each answer."""

    members: Mapping[str, Any]
    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the shell brought for earlier `Need`s of this request.

    `keyrings` holds the newest keyring of each issuer whose keys the request has waited for.
    `body` is the whole request body, where the policy asked for it. `admitted` is what became of
    the charges before identification. `session` is the one that the request's cookie named,
    `introspected` what the issuer says of the token.
    """

    keyrings: Mapping[str, Keyring] = field(default_factory=dict)
    body: bytes | None = None
    admitted: Taken | None = None
    session: Session | None = None
    introspected: Introspected | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the request comes from, after trusted proxies.

    `address` is the client's; `networks` the configured names that hold it; `scheme` what the
    client used; `request_id` an inbound id, only from a trusted proxy; `trusted` whether the
    peer is a trusted proxy; `forwarded_for` the chain to pass on, without the peer.
    """

    address: str
    networks: tuple[str, ...]
    scheme: str
    trusted: bool
    forwarded_for: str = ""
    forwarded_host: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The route of a request, and its one canonical path.

    `path` is canonical ASCII; `segments` and `params` are its percent-decoded UTF-8 pieces.
    `host` is the validated host, lower-case, without port. `query` is the parsed query string.
    """

    route: Route
    path: str
    segments: tuple[str, ...]
    params: Mapping[str, str]
    host: str
    query: Mapping[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Principal:
    """Who is asking: the verified claims and what the issuer's mapping reads from them.

    Each is equal to itself only: one object stands for one token's whole use.
    `issuer` is the configured name; an anonymous request has no claims and is not
    authenticated. Times are Unix seconds. `token` is the credential as it was sent.
    """

    authenticated: bool
    issuer: str = ""
    subject: str = ""
    scopes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    claims: Mapping[str, Any] = field(default_factory=dict)
    token_header: Mapping[str, Any] = field(default_factory=dict)
    expires_at: float | None = None
    token: bytes = field(default=b"", repr=False)


ANONYMOUS = Principal(authenticated=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a policy decided so: a code for machines and an optional text."""

    code: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the policy said, with every part checked.

    `code` is None when allowed. `headers` are lower-case (name, value) pairs in order.
    `body` is any JSON value or None; `has_body` tells null from absent, `text` a string that is
    sent as it stands. `rate_limit` is the quota that the policy chose. `result` is the policy's
    value as JSON, for the log.
    """

    allow: bool
    code: Code | None = None
    status: int = 403
    reasons: tuple[Reason, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    remove_headers: tuple[str, ...] = ()
    response_headers: tuple[tuple[str, str], ...] = ()
    body: Any = None
    has_body: bool = False
    text: bool = False
    rate_limit: Chosen | None = None
    result: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """What the stages found, for the decision event and for `explain`.

    `session` is the one that it belongs to. `charges` are to be taken before the outcome
    is carried out, `taken` is what became of those before. `unenforced` is the code that the policy
    would have refused with, on a route that only reports. `canary` tells that the canary decided,
    whose revision is `revision` then. `now` (Unix seconds) is the time that the policy was asked
    for.
    """

    head: Head
    revision: str
    source: Source | None = None
    match: Match | None = None
    principal: Principal | None = None
    document: Mapping[str, Any] | None = None
    decision: Decision | None = None
    session: Session | None = None
    charges: tuple[Charge, ...] = ()
    taken: tuple[Taken, ...] = ()
    detail: str = ""
    unenforced: Code | None = None
    canary: bool = False
    now: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """What the gateway is to sign for an upstream: claims as JSON, and the header to send it in."""

    header: bytes
    claims: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """What the gateway is to ask a token endpoint for: a token that goes to the upstream.

    `endpoint` is its configured name. `fields` are those of the form, but for the client's own
    and the subject token, which is empty where the gateway asks for itself. `issued_types` are the
    types that the answer may name, empty where it need not name any. `key` is a digest of all
    this: the same for requests that one token answers. `expires_at` is the subject token's, in
    Unix seconds.
    """

    endpoint: str
    fields: tuple[tuple[str, str], ...]
    issued_types: frozenset[str] = frozenset()
    subject_token: bytes = field(default=b"", repr=False)
    expires_at: float | None = None
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Send the request to `upstream`; `target` is the request target in origin form.

    `headers` are complete but for framing and `expect`. `response_headers` are added to the
    upstream's response. `expires_at` ends a WebSocket. `max_body` is in bytes. `cors` tells that
    the gateway answers for cross-origin requests, so that the upstream may not. `assertion` is
    to be signed and added to the headers, and so is the token that `token` asks for. The upstream
    can set no cookie whose name begins as one of `own_cookies`, in lower case.
    """

    upstream: Upstream
    method: str
    target: bytes
    headers: Headers
    response_headers: Headers
    max_body: int
    expires_at: float | None
    trail: Trail
    cors: bool = False
    assertion: Assertion | None = None
    own_cookies: tuple[bytes, ...] = ()
    token: TokenRequest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Answer with a refusal: a complete response."""

    code: Code
    status: int
    headers: Headers
    body: bytes
    trail: Trail


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Answer without the upstream, though nothing is refused (a CORS preflight, a redirect)."""

    status: int
    headers: Headers
    body: bytes
    trail: Trail


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One thing that the shell must bring before `plan` can go on.

    `keys`: the newest keyring of `issuer`. `introspection`: what `issuer` says of `token`. `body`:
    the whole body, at most `max_bytes`. `quota`: that `charges` are taken. `session`: that of a
    `cookie`, made by `login`. `trail` is what is known by then.
    """

    kind: Literal["keys", "introspection", "body", "quota", "session"]
    issuer: str = ""
    token: bytes = field(default=b"", repr=False)
    login: str = ""
    cookie: bytes = field(default=b"", repr=False)
    max_bytes: int = 0
    charges: tuple[Charge, ...] = ()
    trail: Trail | None = None


class Missing(Exception):  # noqa: N818  not an error: the stage waits for a fact
    """A stage cannot go on without `need`."""

    def __init__(self, need: Need) -> None:
        super().__init__(need.kind)
        self.need = need


Outcome = Forward | Refuse | Answer | Need
