"""What a session holds, and how it is kept: under a digest of its cookie, sealed with it."""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import asdict, dataclass
from typing import Final, Self

import orjson

from gateway.session.seal import SealError, derive, seal, unseal

_COOKIE: Final = re.compile(rb"[A-Za-z0-9_-]{43}")
_KEY: Final = b"session-key"
_SEAL: Final = b"session-seal"
SOONEST: Final = 1.0
"""Seconds between two renewals of a session."""
SHOWN: Final = 16
"""Digits of a session's id."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Record:
    """A session; `issuer`, `subject` and `sid` are those of the ID token.

    `began_at` is when its login was, as the ID token says. `expires_at` is when the token that
    identifies requests expires, `received_at` when it came.
    `attempt_at` is when a renewal was begun of which no answer is known; after `failures` of them,
    none is tried before `retry_at`. All of them in Unix seconds.
    """

    login: str
    issuer: str
    subject: str
    sid: str
    access_token: str
    id_token: str
    refresh_token: str
    expires_at: float
    received_at: float
    began_at: float = 0.0
    attempt_at: float = 0.0
    failures: int = 0
    retry_at: float = 0.0

    def due_at(self, before: float) -> float:
        """When it is to be renewed: so many seconds before it expires, or at half of its time.

        Not within the first second, unless it has expired: a provider may give what it gave.
        """
        due = self.expires_at - min(before, (self.expires_at - self.received_at) / 2)
        return min(max(due, self.received_at + SOONEST), self.expires_at)

    def is_due(self, now: float, before: float) -> bool:
        """Whether it can be renewed, and it is time to."""
        return bool(self.refresh_token) and now >= max(self.due_at(before), self.retry_at)

    def identifying(self, *, by_id_token: bool) -> bytes:
        """The token that identifies requests."""
        return (self.id_token if by_id_token else self.access_token).encode()

    @property
    def tags(self) -> tuple[bytes, ...]:
        """What its provider may end it by: the session there, and the subject."""
        named = (("sid", self.sid), ("sub", self.subject))
        return tuple(tag(self.issuer, kind, value) for kind, value in named if value)


@dataclass(frozen=True, slots=True, repr=False)
class Ticket:
    """The secret of a session's cookie: 32 random bytes, that the browser alone keeps."""

    secret: bytes

    @classmethod
    def read(cls, cookie: bytes) -> Self | None:
        """That of a cookie; None for a value that none has."""
        if not _COOKIE.fullmatch(cookie):
            return None
        secret = urlsafe_b64decode(cookie + b"=")
        # The last sign has two unused bits: of four spellings one is the cookie's.
        return cls(secret) if cls(secret).cookie.encode() == cookie else None

    @property
    def cookie(self) -> str:
        """The value of the cookie."""
        return urlsafe_b64encode(self.secret).rstrip(b"=").decode()

    @property
    def key(self) -> bytes:
        """What the session is kept under."""
        return derive(self.secret, _KEY)

    @property
    def id(self) -> str:
        """What logs call it: neither the cookie nor the key."""
        return hashlib.sha256(self.key).hexdigest()[:SHOWN]

    def seal(self, record: Record, nonce: bytes) -> bytes:
        """The session as it is kept."""
        return seal(derive(self.secret, _SEAL), orjson.dumps(asdict(record)), _SEAL, nonce)

    def unseal(self, value: bytes) -> Record:
        """The session; SealError."""
        try:
            return Record(**orjson.loads(unseal(derive(self.secret, _SEAL), value, _SEAL)))
        except (TypeError, orjson.JSONDecodeError):
            raise SealError("of another version") from None


def tag(issuer: str, kind: str, value: str) -> bytes:
    """What finds the sessions of a provider's session or subject."""
    return hashlib.sha256(orjson.dumps([issuer, kind, value])).digest()
