"""A login under way: from the browser's first step to the authorization code (RFC 6749 §4.1)."""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import orjson
from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from gateway.errors import Code, IdentityError
from gateway.session.seal import NONCE_SIZE, derive, seal, unseal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.model import Login
    from gateway.session.provider import Metadata

RANDOM: Final = 3 * 32 + NONCE_SIZE
"""Random bytes that a login takes."""
SHOWN: Final = 10
"""Signs of the state in the name of the login's cookie: a browser may have several under way."""
_SEAL: Final = b"login-flow"
_STATE: Final = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Flow:
    """A login under way; `began` in Unix seconds."""

    login: str
    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    return_to: str
    began: float

    @property
    def mark(self) -> bytes:
        """What tells its cookie from others."""
        return mark_of(self.state)

    def sealed(self, secret: bytes, random: bytes) -> str:
        """What the browser keeps of it; opens only with the `secret` of the gateway."""
        value = orjson.dumps(asdict(self))
        sealed = seal(derive(secret, _SEAL), value, self.login.encode(), random[-NONCE_SIZE:])
        return _text(sealed)

    def authorization(self, login: Login, metadata: Metadata) -> str:
        """Where the browser goes to log in (OpenID Connect Core 1.0 §3.1.2.1, RFC 7636 §4.3)."""
        url: str = prepare_grant_uri(
            metadata.authorization,
            client_id=login.client.id,
            response_type="code",
            redirect_uri=self.redirect_uri,
            scope=" ".join(login.scopes),
            state=self.state,
            nonce=self.nonce,
            code_challenge=create_s256_code_challenge(self.verifier),  # type: ignore[no-untyped-call]
            code_challenge_method="S256",
        )
        return str(add_params_to_uri(url, login.parameters.items()))

    def token_request(self, code: str) -> dict[str, str]:
        """The parameters that exchange the code (RFC 6749 §4.1.3, RFC 7636 §4.5)."""
        return {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier,
        }


def begin(login: str, redirect_uri: str, return_to: str, random: bytes, now: float) -> Flow:
    """Begin a login; `random` are RANDOM bytes."""
    return Flow(
        login=login,
        state=_text(random[:32]),
        nonce=_text(random[32:64]),
        verifier=_text(random[64:96]),
        redirect_uri=redirect_uri,
        return_to=return_to,
        began=now,
    )


def mark_of(state: str) -> bytes:
    """The `mark` of a login with `state`; IdentityError LOGIN_STATE for what no login has."""
    if not _STATE.fullmatch(state):
        raise IdentityError(Code.LOGIN_STATE, "not a state of ours")
    return state[:SHOWN].encode()


def resume(
    cookie: bytes, secret: bytes, login: str, state: str, *, now: float, timeout: float
) -> Flow:
    """The login that this browser has begun with `state`; IdentityError LOGIN_STATE."""
    try:
        sealed = urlsafe_b64decode(cookie + b"=" * (-len(cookie) % 4))
        flow = Flow(**orjson.loads(unseal(derive(secret, _SEAL), sealed, login.encode())))
    except (ValueError, TypeError):  # SealError is one
        raise IdentityError(Code.LOGIN_STATE, "the cookie is damaged") from None
    if not hmac.compare_digest(flow.state.encode(), state.encode()):
        raise IdentityError(Code.LOGIN_STATE, "another state than the cookie's")
    if not flow.began <= now + 60 or now >= flow.began + timeout:
        raise IdentityError(Code.LOGIN_STATE, f"begun {now - flow.began:.0f} s ago")
    return flow


def code_of(answer: Mapping[str, list[str]], metadata: Metadata) -> str:
    """The authorization code of a provider's answer (RFC 6749 §4.1.2).

    IdentityError LOGIN_REFUSED for an error, LOGIN_FAILED where a parameter is missing or comes
    twice, or where it is the answer of another provider (RFC 9207 §2.4).
    """
    once = {name: values[0] for name, values in answer.items() if len(values) == 1}
    if len(once) < len(answer):
        raise IdentityError(Code.LOGIN_FAILED, "a parameter comes twice")
    issuer = once.get("iss")
    if issuer is None and metadata.names_itself:
        raise IdentityError(Code.LOGIN_FAILED, "the provider does not name itself")
    if issuer is not None and issuer != metadata.issuer:
        raise IdentityError(Code.LOGIN_FAILED, f"the answer of {issuer[:200]!r}")
    if "error" in once:
        raise IdentityError(Code.LOGIN_REFUSED, f"the provider says {once['error'][:64]!r}")
    if not once.get("code"):
        raise IdentityError(Code.LOGIN_FAILED, "no code")
    return once["code"]


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
