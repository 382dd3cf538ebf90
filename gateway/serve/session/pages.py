"""What browsers meet when they log in and out: login/NAME, callback/NAME, logout/NAME.

And what a provider does where somebody logs out elsewhere: backchannel-logout/NAME.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode, urlsplit

from gateway import wire
from gateway.config.model import is_loopback_host
from gateway.errors import Code, GatewayError, IdentityError
from gateway.route.host import canonical_host
from gateway.route.own_path import own_path
from gateway.route.pieces import check_pieces
from gateway.route.query import parse_query
from gateway.serve.head import read_head
from gateway.serve.oauth_client import EndpointError
from gateway.serve.session.page import Reply, page, read_form, refusal, send
from gateway.serve.session.provider import unavailable
from gateway.serve.session.renewal import AWAY
from gateway.serve.session.store import StoreError
from gateway.session import flow as flows, is_navigation
from gateway.session.cookies import delete_cookie, flow_prefix, session_cookie, set_cookie
from gateway.session.origin import check_origin, own_origin
from gateway.session.provider import ProviderError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.model import Head, Headers, Source
    from gateway.serve.asgi import Receive, Scope, Send
    from gateway.serve.runtime import Runtime
    from gateway.serve.session.provider import Provider
    from gateway.session.cookies import Cookies
    from gateway.session.record import Record
    from gateway.snapshot import Snapshot

log = logging.getLogger("gateway.sessions")

FLOWS: Final = 8192
"""Most bytes of cookies of logins under way: more, and no request of the browser would be taken."""
LOOP: Final = 5
"""Logins of one browser within LOOP_TIME after which the next is not begun by itself."""
LOOP_TIME: Final = 60.0
TOLD: Final = frozenset((Code.LOGIN_FAILED, Code.LOGIN_REFUSED, Code.LOGIN_UNAVAILABLE))
"""What an operator should know of; the others anybody can bring about, as often as they like."""
_GUARD: Final = re.compile(rb"([0-9]{1,2})\.([0-9]{1,12})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request to one of the pages."""

    head: Head
    source: Source
    cookies: Cookies
    query: Mapping[str, list[str]]
    snapshot: Snapshot
    provider: Provider
    form: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The login."""
        return self.provider.name

    @property
    def origin(self) -> str:
        """The own origin as the browser knows it."""
        return own_origin(self.head, self.source).decode()

    @property
    def session_cookie(self) -> bytes:
        """The cookie of the login's session."""
        return session_cookie(self.snapshot.config, self.name)

    @property
    def flow_prefix(self) -> bytes:
        """How the cookies of its logins under way begin."""
        return flow_prefix(self.snapshot.config, self.name)

    @property
    def guard_cookie(self) -> bytes:
        """The cookie that counts its logins of late."""
        return self.flow_prefix.removesuffix(b"~")

    def page(self, name: str) -> str:
        """The path of one of the pages."""
        return f"{wire.OWN_PREFIX.decode()}{name}/{self.name}"


class SessionPages:
    """The pages; an ASGI application for HTTP requests of paths that it `has`."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.pages: Mapping[str, Mapping[str, Callable[[Asked], Awaitable[Reply]]]] = {
            "login": {"GET": self.login, "HEAD": self.login},
            "callback": {"GET": self.callback},
            "logout": {"GET": self.confirm, "HEAD": self.confirm, "POST": self.logout},
            "backchannel-logout": {"POST": self.ended},
        }

    def has(self, scope: Scope) -> bool:
        """Whether a path is that of a page, of a login that there is."""
        name, _, login = self._path(scope)
        return name in self.pages and login in self.runtime.sessions.providers

    async def __call__(self, scope: Scope, receive: Receive, sender: Send) -> None:
        """Answer a request for one of the pages."""
        name, _, login = self._path(scope)
        head = read_head(scope)
        methods = self.pages[name]
        reply = None
        try:
            if head.method not in methods:
                allow = (("allow", ", ".join(methods)),)
                raise GatewayError(Code.METHOD_NOT_ALLOWED, headers=allow)
            asked = self._read(head, login)
            if name == "backchannel-logout":
                timeout = asked.snapshot.config.limits.body_timeout
                asked = replace(asked, form=await read_form(head, receive, timeout))
            reply = await self._reply(methods[head.method], asked)
        except GatewayError as error:
            reply = refusal(error, head, html=is_navigation(head), retry=self._retry(error, login))
        except Exception as error:  # a fault of ours refuses, whatever it is
            log.exception("login %s: a page failed", login)
            reply = refusal(GatewayError(Code.INTERNAL_ERROR, str(error)), head)
        await send(sender, head, reply)

    @staticmethod
    def _path(scope: Scope) -> tuple[str, str, str]:
        path: bytes = scope["raw_path"].removeprefix(wire.OWN_PREFIX)
        return path.decode("latin-1").partition("/")

    def _read(self, head: Head, login: str) -> Asked:
        snapshot = self.runtime.snapshot
        source = snapshot.origins.read(head)
        check_pieces(head)
        rules = snapshot.sessions
        provider = self.runtime.sessions.providers.get(login)
        if rules is None or provider is None:  # a reload took it away
            raise GatewayError(Code.ROUTE_UNKNOWN)
        head, cookies = rules.separate(head)
        return Asked(
            head=head,
            source=source,
            cookies=cookies,
            query=parse_query(head.query_string),
            snapshot=snapshot,
            provider=provider,
        )

    @staticmethod
    def _retry(error: GatewayError, login: str) -> str:
        """Where the page of a refusal leads to try again; empty for nowhere."""
        hopeless = (Code.LOGIN_INSECURE, Code.METHOD_NOT_ALLOWED, Code.ROUTE_UNKNOWN)
        return "" if error.code in hopeless else f"{wire.OWN_PREFIX.decode()}login/{quote(login)}"

    async def _reply(self, answer: Callable[[Asked], Awaitable[Reply]], asked: Asked) -> Reply:
        """The answer, and what became of it for the log."""
        try:
            return await answer(asked)
        except GatewayError as error:
            self._count(asked.name, error.code.text)
            level = logging.INFO if error.code in TOLD else logging.DEBUG
            log.log(level, "login %s: %s (%s)", asked.name, error, asked.head.id)
            raise
        except StoreError as error:
            self._count(asked.name, Code.SESSION_UNAVAILABLE.text)
            raise GatewayError(Code.SESSION_UNAVAILABLE, str(error)) from None

    def _count(self, login: str, outcome: str) -> None:
        self.runtime.metrics.login_ended(login, outcome)

    # The three pages

    async def login(self, asked: Asked) -> Reply:
        """Send the browser to the provider, unless another tab has just logged in."""
        _check_secure(asked)
        back = asked.query.get("return_to", ["/"])
        if len(back) != 1:
            raise GatewayError(Code.RETURN_REFUSED, f"{len(back)} of them")
        return_to = own_path(back[0])
        if await self._has_session(asked):
            return redirect(return_to, ())
        if _logins_of_late(asked, time.time()) >= LOOP:
            raise GatewayError(Code.LOGIN_LOOP, headers=(_text(delete_cookie(asked.guard_cookie)),))
        metadata = await asked.provider.metadata()
        secret = await self.runtime.sessions.store.secret()
        random = os.urandom(flows.RANDOM)
        callback = asked.origin + asked.page("callback")
        flow = flows.begin(asked.name, callback, return_to, random, time.time())
        kept = flow.sealed(secret, random)
        timeout = asked.snapshot.config.sessions.login_timeout
        cookie = set_cookie(asked.flow_prefix + flow.mark, kept, timeout)
        gone = map(delete_cookie, _superfluous(asked, len(kept)))
        return redirect(flow.authorization(asked.provider.login, metadata), (cookie, *gone))

    async def _has_session(self, asked: Asked) -> bool:
        values = asked.cookies.get(asked.session_cookie, ())
        if len(values) != 1:
            return False
        found = await self.runtime.sessions.find(asked.name, values[0], asked.snapshot)
        return await self.runtime.sessions.identifies(found, asked.snapshot)

    async def callback(self, asked: Asked) -> Reply:
        """Take the provider's answer, and begin a session."""
        _check_secure(asked)
        state = asked.query.get("state", [])
        if len(state) != 1:
            raise IdentityError(Code.LOGIN_STATE, f"{len(state)} states")
        name = asked.flow_prefix + flows.mark_of(state[0])
        done = (_text(delete_cookie(name)),)
        try:
            record, return_to = await self._logged_in(asked, name, state[0])
        except GatewayError as error:
            raise type(error)(error.code, error.detail, headers=(*error.headers, *done)) from None
        for cookie in asked.cookies.get(asked.session_cookie, ()):
            await self.runtime.sessions.end(cookie, asked.provider)
        ticket = await self.runtime.sessions.create(record, asked.snapshot)
        self._count(asked.name, "success")
        log.info("login %s: session %s begins (%s)", asked.name, ticket.id, asked.head.id)
        times = f"{_logins_of_late(asked, time.time()) + 1}.{int(time.time())}"
        cookies = (
            set_cookie(asked.session_cookie, ticket.cookie),
            set_cookie(asked.guard_cookie, times, LOOP_TIME),
            delete_cookie(name),
        )
        return redirect(return_to, cookies)

    async def _logged_in(self, asked: Asked, name: bytes, state: str) -> tuple[Record, str]:
        """The new session, and where its login leads back to."""
        sessions, timeout = self.runtime.sessions, asked.snapshot.config.sessions.login_timeout
        kept = asked.cookies.get(name, [])
        if len(kept) != 1:
            raise IdentityError(Code.LOGIN_STATE, f"{len(kept)} cookies of this login")
        secret = await sessions.store.secret()
        flow = flows.resume(kept[0], secret, asked.name, state, now=time.time(), timeout=timeout)
        if flow.redirect_uri != asked.origin + asked.page("callback"):
            raise IdentityError(Code.LOGIN_STATE, "begun on another host")
        digest = hashlib.sha256(b"state\0" + state.encode()).digest()
        if not await sessions.store.claim(digest, timeout + 60):
            raise IdentityError(Code.LOGIN_STATE, "this answer was here before")
        metadata = await asked.provider.metadata()
        code = flows.code_of(asked.query, metadata)
        try:
            tokens = await asked.provider.redeem(flow.token_request(code))
            record = await sessions.received(
                tokens, asked.provider, asked.snapshot, nonce=flow.nonce, code=code
            )
        except EndpointError as error:
            if error.kind == "away":
                raise unavailable(str(error), error.retry_after) from None
            raise IdentityError(Code.LOGIN_FAILED, str(error)) from None
        except ProviderError as error:
            raise IdentityError(Code.LOGIN_FAILED, str(error)) from None
        except GatewayError as error:
            if error.code.status == AWAY:
                raise
            raise IdentityError(Code.LOGIN_FAILED, str(error)) from None
        return record, flow.return_to

    async def ended(self, asked: Asked) -> Reply:
        """End the sessions of somebody who has logged out elsewhere (Back-Channel Logout §2.5)."""
        tokens = asked.form.get("logout_token", [])
        if len(tokens) != 1:
            raise IdentityError(Code.LOGOUT_REFUSED, f"{len(tokens)} tokens")
        token = tokens[0].encode()
        count = await self.runtime.sessions.end_all(token, asked.provider, asked.snapshot)
        self._count(asked.name, "logout")
        log.info("login %s: the provider ends %d sessions (%s)", asked.name, count, asked.head.id)
        return Reply(status=200)

    async def confirm(self, asked: Asked) -> Reply:
        """Ask whether to log out: another site could make a browser open this page."""
        end_session = await _end_session(asked)
        parts = urlsplit(end_session)
        # Browsers ask for leave to follow the redirect of a form, too.
        target = f" {parts.scheme}://{parts.netloc}" if end_session else ""
        form = f'<form method="post" action="{asked.page("logout")}">'
        body = f"{form}<button>Log out</button></form>"
        return page("Log out", body, form_action=f"'self'{target}")

    async def logout(self, asked: Asked) -> Reply:
        """End the session here, and then at the provider (RP-Initiated Logout 1.0 §2)."""
        check_origin(asked.head, asked.source)
        values = asked.cookies.get(asked.session_cookie, [])
        ended = [await self.runtime.sessions.end(value, asked.provider) for value in values]
        record = next((one for one in ended if one is not None), None)
        gone = (delete_cookie(asked.session_cookie),)
        after = asked.provider.login.after_logout
        if record is None:
            return redirect(after, gone)
        self._count(asked.name, "logout")
        log.info("login %s: a session ends by logout (%s)", asked.name, asked.head.id)
        end_session = await _end_session(asked)
        if not end_session:
            return redirect(after, gone)
        told = {
            "id_token_hint": record.id_token,
            "client_id": asked.provider.login.client.id,
            "post_logout_redirect_uri": asked.origin + after,
        }
        mark = "&" if urlsplit(end_session).query else "?"
        return redirect(f"{end_session}{mark}{urlencode(told)}", gone)


def redirect(place: str, headers: Headers) -> Reply:
    """The way to another page, by GET."""
    return Reply(status=303, headers=((b"location", place.encode()), *headers))


async def _end_session(asked: Asked) -> str:
    """The provider's logout; empty where there is none, or it is not known."""
    try:
        return (await asked.provider.metadata()).end_session
    except GatewayError:
        return ""


def _superfluous(asked: Asked, added: int) -> list[bytes]:
    """Cookies of logins under way, the oldest first, that leave no room for one more."""
    sizes = {
        name: len(name) + sum(map(len, values))
        for name, values in asked.cookies.items()
        if name.startswith(asked.flow_prefix)
    }
    gone = []
    total = sum(sizes.values()) + added
    for name, size in sizes.items():
        if total <= FLOWS:
            break
        gone.append(name)
        total -= size
    return gone


def _check_secure(asked: Asked) -> None:
    """Browsers keep none of the cookies of a login over plain http, but on their own machine."""
    if asked.source.scheme != "https":
        host = canonical_host(asked.source.forwarded_host.encode() or asked.head.authority)
        if not is_loopback_host(host.strip("[]")):
            raise GatewayError(
                Code.LOGIN_INSECURE,
                "the request came over http; where a proxy ends TLS, name it in trusted_proxies "
                "and have it set X-Forwarded-Proto",
            )


def _logins_of_late(asked: Asked, now: float) -> int:
    """How many logins this browser has finished within LOOP_TIME before the next."""
    values = asked.cookies.get(asked.guard_cookie, [])
    found = _GUARD.fullmatch(values[0]) if len(values) == 1 else None
    if found is None or not 0 <= now - int(found[2]) + 1 <= LOOP_TIME:
        return 0
    return int(found[1])


def _text(line: tuple[bytes, bytes]) -> tuple[str, str]:
    return line[0].decode(), line[1].decode()
