"""Sessions of browsers: which cookie is one, and whether it may be used here. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote

from gateway import wire
from gateway.errors import Code, IdentityError
from gateway.model import Answer, Missing, Need
from gateway.session.cookies import Cookies, separate, session_cookie
from gateway.session.origin import check_origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.model import Config
    from gateway.errors import GatewayError
    from gateway.model import Facts, Head, Match, Session, Source, Trail

__all__ = ["SessionRules"]

MAX_RETURN: Final = 2000
"""Longest path with its query that a login leads back to, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRules:
    """The rules of one configuration; `cookies` are the sessions' by login.

    `own` is how the names of all cookies of the gateway begin. `allowed` are further origins that
    may use a session, by route id.
    """

    own: tuple[bytes, ...]
    cookies: Mapping[str, bytes]
    csrf_header: bytes | None
    allowed: Mapping[str, frozenset[bytes]]

    @classmethod
    def build(cls, config: Config) -> Self | None:
        """Prepare them; None where nobody can log in."""
        if not config.logins:
            return None
        allowed = {}
        for route in config.routes:
            cors = route.cors or config.cors
            origins = cors.origins if cors and cors.credentials else ()
            allowed[route.id] = frozenset(map(str.encode, (*origins, *route.websocket_origins)))
        header = config.sessions.csrf_header
        return cls(
            own=config.own_cookies,
            cookies={name: session_cookie(config, name) for name in config.logins},
            csrf_header=header.encode() if header else None,
            allowed=allowed,
        )

    def separate(self, head: Head) -> tuple[Head, Cookies]:
        """A head without the gateway's own cookies, which nobody else may see, and these."""
        return separate(head, self.own)

    def read(
        self, head: Head, match: Match, source: Source, cookies: Cookies, facts: Facts
    ) -> Session | None:
        """The session of a request; None where it has none, or one that has ended.

        Missing where it must be looked up. IdentityError CREDENTIAL_AMBIGUOUS for several cookies
        of its name, of which another site's may be one, and CSRF_REFUSED where another site may
        have made a browser send it.
        """
        login = match.route.login
        if login is None:
            return None
        values = cookies.get(self.cookies[login])
        if not values:
            return None
        if len(values) > 1:
            raise IdentityError(Code.CREDENTIAL_AMBIGUOUS, f"{len(values)} session cookies")
        check_origin(head, source, self.allowed[match.route.id], self.csrf_header)
        if facts.session is None:
            raise Missing(Need(kind="session", login=login, cookie=values[0]))
        return facts.session if facts.session.token else None

    def to_login(self, error: GatewayError, trail: Trail) -> Answer | None:
        """The way to the login, for a browser that shows a page and has no session."""
        match, head = trail.match, trail.head
        if error.code is not Code.LOGIN_REQUIRED or match is None or not is_navigation(head):
            return None
        target = head.raw_path + (b"?" + head.query_string if head.query_string else b"")
        back = quote(target, safe="/") if len(target) <= MAX_RETURN else "%2F"
        place = f"{wire.OWN_PREFIX.decode()}login/{match.route.login}?return_to={back}"
        return Answer(
            status=303,
            headers=(
                (b"location", place.encode()),
                (b"cache-control", b"no-store"),
                (b"x-decision-id", head.id.encode()),
            ),
            body=b"",
            trail=trail,
        )


def is_navigation(head: Head) -> bool:
    """Whether a browser would show the answer as a page, and follow to another site."""
    if head.method not in ("GET", "HEAD") or head.websocket:
        return False
    mode = head.fields.get(b"sec-fetch-mode")
    if mode is not None:
        return mode == [b"navigate"]
    accepted = wire.elements(head.fields.get(b"accept", ()))
    return any(part.partition(b";")[0].strip().lower() == b"text/html" for part in accepted)
