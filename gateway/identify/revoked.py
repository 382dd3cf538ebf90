"""Deny lists: tokens that are refused though everything about them is good."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from gateway.errors import Code, IdentityError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.model import Principal, Session

Kind = Literal["jti", "sub", "sid"]
KINDS: Final[tuple[Kind, ...]] = ("jti", "sub", "sid")
FOREVER: Final = float("inf")


class Key(NamedTuple):
    """What is denied: a claim's value, in tokens of an issuer (by its configured name)."""

    issuer: str
    kind: Kind
    value: str


class Denial(NamedTuple):
    """How long, and which tokens: those issued up to `before`; both in Unix seconds."""

    until: float = FOREVER
    before: float = FOREVER


Table = dict[Key, Denial]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What changes in the list of one source; what is put goes in before anything is dropped.

    `unsure` says why the list may lack entries, so that nobody can be let in; None leaves it.
    """

    source: str
    put: Mapping[Key, Denial] = field(default_factory=dict)
    drop: tuple[Key, ...] = ()
    unsure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """The lists by source, and those sources that are unsure, with the reason."""

    tables: Mapping[str, Table] = field(default_factory=dict)
    unsure: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.tables or self.unsure)

    def changed(self, change: Change) -> Denied:
        """The lists after a change."""
        made = self
        if change.put or change.drop:
            table = {**self.tables.get(change.source, {}), **change.put}
            for key in change.drop:
                table.pop(key, None)
            tables = {**self.tables, change.source: table}
            made = replace(made, tables={name: each for name, each in tables.items() if each})
        if change.unsure is not None:
            unsure = {**self.unsure, change.source: change.unsure}
            made = replace(made, unsure={name: text for name, text in unsure.items() if text})
        return made


NOTHING: Final = Denied()


def check(principal: Principal, denied: Denied, now: float, session: Session | None = None) -> None:
    """Whether a token may still be used, on every request; raises IdentityError.

    That of a `session` is as old as the login: its renewals are none of somebody who logs in anew.
    """
    if not denied or not principal.authenticated:
        return
    for name, reason in denied.unsure.items():
        raise IdentityError(
            Code.REVOCATION_UNAVAILABLE, f"{name}: {reason}", headers=(("retry-after", "1"),)
        )
    issued_at = principal.claims.get("iat") if session is None else session.began_at
    for key in keys_of(principal, session):
        for table in denied.tables.values():
            denial = table.get(key)
            if denial is not None and now < denial.until and _is_older(issued_at, denial):
                raise IdentityError(Code.TOKEN_REVOKED, f"{key.kind} of issuer {key.issuer}")


def keys_of(principal: Principal, session: Session | None = None) -> Iterator[Key]:
    """What would deny a token: its claims, the subject that the log shows, and its session's."""
    claims, issuer = principal.claims, principal.issuer
    for kind in KINDS:
        value = claims.get(kind)
        if isinstance(value, str):
            yield Key(issuer, kind, value)
        elif type(value) is int:  # some number their tokens
            yield Key(issuer, kind, str(value))
    if principal.subject and principal.subject != claims.get("sub"):
        yield Key(issuer, "sub", principal.subject)
    if session is not None:  # an access token need not tell what the ID token did
        yield Key(session.issuer, "sub", session.subject)
        yield Key(session.issuer, "sid", session.sid)


def _is_older(issued_at: Any, denial: Denial) -> bool:
    """Whether a token was issued by then; `iat` has seconds, so that of the same one is, too."""
    return denial.before == FOREVER or issued_at is None or bool(issued_at <= denial.before)


def difference(before: Table, after: Table) -> tuple[Table, tuple[Key, ...]]:
    """What is to be put and dropped to make one list of the other."""
    put = {key: denial for key, denial in after.items() if before.get(key) != denial}
    return put, tuple(key for key in before if key not in after)
