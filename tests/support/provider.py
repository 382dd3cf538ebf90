"""An OpenID Connect provider on loopback that does what a test says, and gateways that log in there."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from gateway.identify.id_token import half_hash
from gateway.jose.sign import SigningKey, generate, public_jwks, sign
from tests.support import http1
from tests.support.gateway import Running, running
from tests.support.upstream import Peer, Running as Server, ok, upstream

KEY = generate("ES256")
CLIENT, SECRET = "gateway", "a secret: of 100%"
OWN = "/.well-known/gateway"
HTML = (("accept", "text/html"),)


@dataclass
class Grant:
    """What was granted for a code."""

    asked: dict[str, str]
    refresh: str = ""
    spent: dict[str, float] = field(default_factory=dict)


class Provider:
    """The provider: everybody is logged in already, as `subject`.

    `lifetime` is that of access tokens. `rotate` gives a new refresh token each time; the one before
    is good for `grace` seconds more, and later ends all. `claims` change ID tokens, `answer` the
    token endpoint's members, `status` its status, `failures` how many answers are 500. While `gate` is not set the token endpoint
    waits before it answers. With `drop` it does what it is asked and does not answer, with `away`
    it does nothing. `refreshes` are the refresh tokens that came.
    """

    def __init__(self, key: SigningKey = KEY) -> None:
        self.key = key
        self.server: Server | None = None
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.subject = "alice"
        self.lifetime = 600.0
        self.rotate = False
        self.grace = 0.0
        self.gives_refresh = True
        self.claims: dict[str, Any] = {}
        self.answer: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.response: dict[str, str] = {"iss": "{issuer}"}
        self.status = 200
        self.failures = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.drop = False
        self.away = False
        self.refreshes: list[str] = []
        self.grants: dict[str, Grant] = {}
        self.live: dict[str, Grant] = {}
        self.made = 0

    @property
    def issuer(self) -> str:
        assert self.server is not None
        return self.server.url

    async def __call__(self, peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            path = request.target.partition("?")[0]
            if self.away:
                peer.reset()
                return
            if path == "/.well-known/openid-configuration":
                peer.send(document(self.published()))
            elif path == "/jwks":
                peer.send(document(public_jwks([self.key])))
            elif path == "/token":
                await self.token(peer, request)
            elif path == "/end":
                peer.send(ok(b"ended"))
            else:
                peer.send(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")

    def published(self) -> dict[str, Any]:
        url = self.issuer
        return {
            "issuer": url,
            "authorization_endpoint": f"{url}/authorize?tenant=1",
            "token_endpoint": f"{url}/token",
            "end_session_endpoint": f"{url}/end",
            "jwks_uri": f"{url}/jwks",
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            **self.metadata,
        }

    def authorize(self, url: str) -> str:
        """Where the provider sends a browser that came with an authorization request."""
        asked = {name: value[0] for name, value in parse_qs(urlsplit(url).query).items()}
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        self.made += 1
        code = f"code-{self.made}"
        self.grants[code] = Grant(asked=asked)
        told = {"code": code, "state": asked["state"]}
        told |= {name: value.format(issuer=self.issuer) for name, value in self.response.items()}
        return f"{asked['redirect_uri']}?{urlencode(told)}"

    async def token(self, peer: Peer, request: Any) -> None:
        form = {name: value[0] for name, value in parse_qs(request.body.decode()).items()}
        pair = base64.b64encode(b"gateway:a+secret%3A+of+100%25").decode()
        assert request.header("authorization") == f"Basic {pair}"
        if form["grant_type"] == "refresh_token":
            self.refreshes.append(form["refresh_token"])
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            peer.send(document({"error": "server_error"}, 500))
            return
        if self.status != 200:
            peer.send(document({"error": "server_error"}, self.status))
            return
        grant = self._grant(form)
        if grant is None:
            peer.send(document({"error": "invalid_grant"}, 400))
            return
        answer = document(self._tokens(grant, form))
        if self.drop:  # it is done, and nobody hears of it
            peer.reset()
            return
        peer.send(answer)

    def logout_token(
        self, header: Any = None, *, key: SigningKey | None = None, **changes: Any
    ) -> str:
        """A token that ends sessions."""
        self.made += 1
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 120, "jti": str(self.made),
            "sub": self.subject, "sid": "s1",
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        }  # fmt: skip
        whole = {n: v for n, v in {**claims, **changes}.items() if v is not None}
        return sign(header or {"typ": "logout+jwt"}, whole, key or self.key)

    def expired(self) -> str:
        """An ID token that is good no more."""
        claims = {"iss": self.issuer, "aud": CLIENT, "sub": self.subject, "iat": 1, "exp": 2}
        return sign({}, claims, self.key)

    def _grant(self, form: dict[str, str]) -> Grant | None:
        if form["grant_type"] == "authorization_code":
            grant = self.grants.pop(form["code"], None)
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            fits = grant and grant.asked["code_challenge"] == challenge
            return grant if fits and grant.asked["redirect_uri"] == form["redirect_uri"] else None
        grant = self.live.get(form["refresh_token"])
        if grant is None:
            return None
        spent = grant.spent.get(form["refresh_token"])
        if spent is not None and time.monotonic() > spent + self.grace:
            self.live = {name: other for name, other in self.live.items() if other is not grant}
            return None
        return grant

    def _tokens(self, grant: Grant, form: dict[str, str]) -> dict[str, Any]:
        self.made += 1
        now = time.time()
        common = {"iss": self.issuer, "sub": self.subject, "iat": int(now)}
        access = sign(
            {"typ": "at+jwt"},
            {
                **common,
                "aud": "api",
                "roles": ["reader"],
                "exp": now + self.lifetime,
                "jti": str(self.made),
            },
            self.key,
        )
        identity = {**common, "aud": CLIENT, "exp": int(now + 600), "sid": "s1"}
        if form["grant_type"] == "authorization_code":
            identity |= {"nonce": grant.asked["nonce"], "at_hash": half_hash(access, "ES256")}
        identity = {n: v for n, v in {**identity, **self.claims}.items() if v is not None}
        given = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": self.lifetime,
            "id_token": sign({}, identity, self.key),
        }
        used = form.get("refresh_token", "")
        if self.gives_refresh and (self.rotate or not used):
            given["refresh_token"] = f"refresh-{self.made}"
            self.live[given["refresh_token"]] = grant
            if used:
                grant.spent.setdefault(used, time.monotonic())
        return {n: v for n, v in {**given, **self.answer}.items() if v is not None}


def document(value: Any, status: int = 200) -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
        status,
        len(body),
        body,
    )


class Browser:
    """Keeps cookies of one host as a browser does, and follows where it is told to."""

    def __init__(self, gateway: Running, host: str = "localhost") -> None:
        self.gateway = gateway
        self.host = f"{host}:{gateway.port}"
        self.cookies: dict[str, str] = {}

    @property
    def origin(self) -> str:
        return f"http://{self.host}"

    async def ask(
        self,
        target: str,
        *,
        method: str = "GET",
        headers: tuple[tuple[str, str], ...] = HTML,
        body: bytes = b"",
    ) -> http1.Response:
        """Send a request with the cookies, and keep those of the answer."""
        lines = [("host", self.host), *headers]
        if self.cookies:
            lines.append(("cookie", "; ".join(f"{n}={v}" for n, v in self.cookies.items())))
        async with http1.connect(self.gateway.port) as client:
            answer = await client.request(method, target, tuple(lines), body)
        for name, value in answer.headers:
            if name == "set-cookie":
                self._keep(value)
        return answer

    def _keep(self, line: str) -> None:
        pair, *attributes = line.split("; ")
        name, _, value = pair.partition("=")
        # What browsers ask of the prefix.
        assert name.startswith("__Host-")
        assert {"Path=/", "Secure", "HttpOnly", "SameSite=Lax"} <= set(attributes)
        if "Max-Age=0" in attributes:
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = value

    async def told_to_log_out(
        self, token: str, kind: str = "application/x-www-form-urlencoded"
    ) -> http1.Response:
        """What the provider is answered, who has no cookies."""
        async with http1.connect(self.gateway.port) as client:
            lines = (("host", self.host), ("content-type", kind))
            return await client.request(
                "POST", f"{OWN}/backchannel-logout/web", lines, f"logout_token={token}".encode()
            )

    async def begin(self, return_to: str = "/items") -> str:
        """Begin a login; where the provider is asked."""
        answer = await self.ask(f"{OWN}/login/web?{urlencode({'return_to': return_to})}")
        assert answer.status == 303, answer
        place = answer.header("location")
        assert place is not None
        return place

    async def answer(self, place: str) -> http1.Response:
        """Bring what the provider says to the gateway."""
        parts = urlsplit(place)
        assert parts.netloc == self.host, place
        return await self.ask(f"{parts.path}?{parts.query}")

    async def login(self, provider: Provider, return_to: str = "/items") -> http1.Response:
        """Log in; the answer with the session."""
        answer = await self.answer(provider.authorize(await self.begin(return_to)))
        assert answer.status == 303, answer
        return answer

    @property
    def session(self) -> str | None:
        """The cookie of the session."""
        return self.cookies.get("__Host-session-web")


LOGIN = {
    "issuer": "idp",
    "client": {"id": CLIENT, "secret": SECRET},
    "scopes": ["openid", "offline_access"],
}


def config_of(issuer: str, **changes: Any) -> dict[str, Any]:
    """What a gateway needs to log browsers in at an issuer; `changes` are of the login."""
    return {
        "issuers": {
            "corp": None,
            "idp": {
                "issuer": issuer,
                "audience": "api",
                "algorithms": ["ES256"],
                "leeway": 0,
                "keys": {"discovery": True, "cooldown": "50ms"},
            },
        },
        "logins": {"web": {**LOGIN, **changes}},
        "routes": [
            {"id": "items", "paths": ["/items", "/items/{rest:path}"], "upstream": "service",
             "login": "web", "forward_token": True, "websocket": True},
            {"id": "quiet", "paths": ["/quiet"], "upstream": "service", "login": "web"},
            {"id": "public", "paths": ["/public"], "upstream": "service", "login": "web",
             "authentication": "optional"},
            {"id": "open", "paths": ["/open/{rest:path}"], "upstream": "service",
             "authentication": "anonymous"},
        ],
    }  # fmt: skip


@contextlib.asynccontextmanager
async def logins(
    folder: Any,
    provider: Provider,
    *,
    sessions: dict[str, Any] | None = None,
    workers: int = 1,
    more: dict[str, Any] | None = None,
    **changes: Any,
) -> AsyncIterator[tuple[Running, Browser]]:
    """A gateway that logs browsers in at the provider, and a browser."""
    async with upstream(provider) as provider.server:
        config = config_of(provider.issuer, **changes)
        config |= {"sessions": sessions or {}, **(more or {})}
        async with running(folder, config=config, workers=workers) as gateway:
            yield gateway, Browser(gateway)


def hidden(text: str) -> str:
    """The value of a hidden input of a page."""
    found = re.search(r'value="([^"]*)"', text)
    assert found is not None
    return found[1]
