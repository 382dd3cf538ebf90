"""Every code that a refusal can carry, and the errors that carry them."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import Enum


class Code(Enum):
    """A stable refusal code: its text on the wire, HTTP status and problem title.

    The text is part of the public interface (docs/codes.md lists all of them).
    """

    # 1 route
    BAD_PATH = ("bad-path", 400, "The request path is not canonical")
    BAD_QUERY = ("bad-query", 400, "The query string is malformed")
    BAD_HOST = ("bad-host", 400, "The Host of the request is malformed")
    BAD_HEADER = ("bad-header", 400, "A request header is malformed")
    BAD_FRAMING = ("bad-framing", 400, "The message framing is ambiguous")
    URL_TOO_LONG = ("url-too-long", 414, "The request target is too long")
    HEAD_TOO_LARGE = ("head-too-large", 431, "The header section is too large")
    HEAD_TIMEOUT = ("head-timeout", 408, "The header section did not arrive in time")
    ROUTE_UNKNOWN = ("route-unknown", 404, "No route matches the request")
    METHOD_NOT_ALLOWED = ("method-not-allowed", 405, "The route does not take this method")
    CORS_REFUSED = ("cors-refused", 403, "The origin may not make this request")
    UPGRADE_REFUSED = ("upgrade-refused", 400, "This upgrade is malformed or not taken")
    ORIGIN_REFUSED = ("origin-refused", 403, "The origin may not open this WebSocket")
    # 2 identify
    TOKEN_MISSING = ("token-missing", 401, "A bearer token is required")
    CREDENTIAL_AMBIGUOUS = ("credential-ambiguous", 400, "More than one credential was sent")
    CREDENTIAL_MALFORMED = ("credential-malformed", 401, "The credential is malformed")
    TOKEN_TOO_LARGE = ("token-too-large", 401, "The token is too large")
    TOKEN_MALFORMED = ("token-malformed", 401, "The token is malformed")
    TOKEN_HEADER_REFUSED = ("token-header-refused", 401, "The token header is not acceptable")
    TOKEN_ALGORITHM = ("token-algorithm", 401, "The token's algorithm is not accepted")
    TOKEN_TYPE = ("token-type", 401, "This type of token is not accepted")
    ISSUER_UNKNOWN = ("issuer-unknown", 401, "The token's issuer is not accepted")
    KEY_UNKNOWN = ("key-unknown", 401, "No key of the issuer fits the token")
    KEYS_UNAVAILABLE = ("keys-unavailable", 503, "The issuer's keys are not available yet")
    SIGNATURE_INVALID = ("signature-invalid", 401, "The token's signature is not valid")
    CLAIM_INVALID = ("claim-invalid", 401, "A claim of the token is malformed")
    TOKEN_EXPIRED = ("token-expired", 401, "The token has expired")
    TOKEN_NOT_YET_VALID = ("token-not-yet-valid", 401, "The token is not valid yet")
    TOKEN_LIFETIME = ("token-lifetime", 401, "The token's lifetime is too long")
    AUDIENCE_MISMATCH = ("audience-mismatch", 401, "The token is meant for another audience")
    CLAIM_REQUIRED = ("claim-required", 401, "A required claim is missing or different")
    CLAIM_FORBIDDEN = ("claim-forbidden", 401, "The token carries a forbidden claim")
    LOGIN_REQUIRED = ("login-required", 401, "A login is required")
    CSRF_REFUSED = ("csrf-refused", 403, "Another site may have sent this request")
    SESSION_UNAVAILABLE = ("session-unavailable", 503, "Sessions cannot be read now")
    LOGIN_UNAVAILABLE = ("login-unavailable", 503, "The login provider cannot be reached now")
    LOGIN_INSECURE = ("login-insecure", 400, "A login needs https")
    LOGIN_STATE = ("login-state", 400, "This login was not begun here, or too long ago")
    LOGIN_LOOP = ("login-loop", 400, "The login succeeds again and again, but does not last")
    LOGIN_REFUSED = ("login-refused", 403, "The login provider refused the login")
    LOGIN_FAILED = ("login-failed", 502, "The login provider's answer cannot be used")
    LOGOUT_REFUSED = ("logout-refused", 400, "The logout token is not acceptable")
    RETURN_REFUSED = ("return-refused", 400, "The page to return to is no path of this host")
    TOKEN_INACTIVE = ("token-inactive", 401, "The issuer says that the token is not active")
    INTROSPECTION_UNAVAILABLE = (
        "introspection-unavailable",
        503,
        "The issuer cannot be asked about the token now",
    )
    TOKEN_REVOKED = ("token-revoked", 401, "The token has been revoked")
    REVOCATION_UNAVAILABLE = (
        "revocation-unavailable",
        503,
        "It is not known which tokens have been revoked",
    )
    # 3 decide
    BODY_TOO_LARGE = ("body-too-large", 413, "The request body is too large")
    BODY_TIMEOUT = ("body-timeout", 408, "The request body did not arrive in time")
    BODY_MALFORMED = ("body-malformed", 400, "The request body is malformed")
    BODY_UNSUPPORTED = ("body-unsupported", 415, "Type or encoding of the body is not supported")
    POLICY_DENIED = ("policy-denied", 403, "The policy refuses the request")
    UNDEFINED = ("undefined", 403, "The policy made no decision")
    EVAL_ERROR = ("eval-error", 500, "The policy could not be evaluated")
    WORK_LIMIT = ("work-limit", 500, "The policy exceeded its work limit")
    DECISION_SHAPE = ("decision-shape", 500, "The policy's decision is malformed")
    # limits
    RATE_LIMITED = ("rate-limited", 429, "Too many requests")
    RATE_LIMIT_UNAVAILABLE = ("rate-limit-unavailable", 503, "Requests cannot be counted now")
    # 4 forward
    IDENTITY_TOO_LARGE = ("identity-too-large", 431, "The identity is too large for a header")
    IDENTITY_UNSENDABLE = ("identity-unsendable", 403, "The identity cannot be sent in a header")
    EXCHANGE_REFUSED = ("exchange-refused", 401, "The token cannot be exchanged")
    EXCHANGE_DENIED = ("exchange-denied", 403, "There is no token for the upstream")
    TOKEN_ENDPOINT_FAULT = ("token-endpoint-fault", 502, "The token endpoint failed")
    TOKEN_ENDPOINT_AWAY = ("token-endpoint-away", 503, "The token endpoint does not answer")
    UPSTREAM_CONNECT = ("upstream-connect", 502, "The upstream could not be reached")
    UPSTREAM_PROTOCOL = ("upstream-protocol", 502, "The upstream's response is malformed")
    UPSTREAM_RESET = ("upstream-reset", 502, "The upstream closed the connection")
    UPSTREAM_TIMEOUT = ("upstream-timeout", 504, "The upstream did not answer in time")
    UPSTREAM_BUSY = ("upstream-busy", 503, "Too many requests wait for the upstream")
    # the gateway itself
    SHUTTING_DOWN = ("shutting-down", 503, "The gateway is shutting down")
    TOO_MANY_CONNECTIONS = ("too-many-connections", 503, "The gateway has no free connection")
    CONNECTION_FLOOD = ("connection-flood", 429, "The connection sends too many control frames")
    ADMIN_LOCAL_ONLY = ("admin-local-only", 403, "The admin listener answers only this machine")
    ADMIN_TOKEN = ("admin-token", 401, "The admin listener requires its bearer token")
    ADMIN_ORIGIN = ("admin-origin", 403, "The admin listener takes no actions from web pages")
    ACTIONS_OFF = ("actions-off", 403, "The admin listener takes no actions")
    REVISION_UNKNOWN = ("revision-unknown", 404, "No such revision is kept, or several begin so")
    REVISION_UNFIT = ("revision-unfit", 409, "The revision does not fit the configuration")
    REVOCATION_MALFORMED = ("revocation-malformed", 400, "The entry of the deny list is malformed")
    REVOCATION_UNKNOWN = ("revocation-unknown", 404, "The deny list has no such entry")
    REVOCATION_FULL = ("revocation-full", 507, "The deny list takes no more entries")
    REVOCATION_NOT_KEPT = (
        "revocation-not-kept",
        500,
        "The change is effective, but a restart would forget it",
    )
    DECISION_UNKNOWN = ("decision-unknown", 404, "The decision is not among the recent ones")
    INTERNAL_ERROR = ("internal-error", 500, "The gateway failed")

    def __init__(self, text: str, status: int, title: str) -> None:
        self.text = text
        self.status = status
        self.title = title


class GatewayError(Exception):
    """The request is refused: a code, a detail for the log, and headers for the answer.

    `detail` may hold what the client sent, so it is for the log only; the answer carries the
    code and its title. `headers` are lower-case (name, value) pairs.
    """

    def __init__(
        self, code: Code, detail: str = "", *, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(f"{code.text}: {detail}" if detail else code.text)
        self.code = code
        self.detail = detail
        self.headers = headers


class RouteError(GatewayError):
    """Stage 1: the request has no canonical form or no route."""


class IdentityError(GatewayError):
    """Stage 2: the credential does not prove who is asking."""


class DecisionError(GatewayError):
    """Stage 3: the policy could not decide."""


class ForwardError(GatewayError):
    """Stage 4: the upstream could not be asked or did not answer."""


class ConfigError(Exception):
    """Something that an operator wrote cannot be used; `problems` lists all that was found."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)  # a supervisor hands it to its workers


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in a file: where it is, what is wrong, and what to write instead.

    `line` and `column` count from 1; 0 is unknown.
    """

    message: str
    _: KW_ONLY
    file: str = ""
    line: int = 0
    column: int = 0
    key: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        parts = [part for part in (where, self.key, self.message) if part]
        return ": ".join(parts) + (f" ({self.remedy})" if self.remedy else "")
