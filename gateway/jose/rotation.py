"""Keys that sign one after another: published before they sign, and for a while after."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from gateway.jose.jwk import JwkError
from gateway.jose.sign import SigningKey, generate, load, public_jwks
from gateway.jose.strict_json import JsonError, loads

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A key, and from when it signs until the next does (Unix seconds)."""

    key: SigningKey
    signs_from: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """All keys that are published, by the time from which they sign."""

    keys: tuple[Term, ...] = ()

    def current(self, now: float) -> SigningKey:
        """The key that signs now; there must be one."""
        begun = [term for term in self.keys if term.signs_from <= now]
        return (begun[-1] if begun else self.keys[0]).key

    def public(self) -> bytes:
        """The JWK Set of all of them."""
        return json.dumps(public_jwks(term.key for term in self.keys)).encode() + b"\n"

    def rotated(
        self,
        now: float,
        *,
        algorithm: str,
        rotate: float,
        overlap: float,
        make: Callable[[str], SigningKey] = generate,
    ) -> Self:
        """The keys as they should be by now; itself where they are.

        A key follows `rotate` seconds after the one before, and is there `overlap` seconds
        earlier; one that was followed goes `overlap` seconds later.
        """
        if not self.keys:
            return replace(self, keys=(Term(key=make(algorithm), signs_from=now),))
        keys = self.keys
        last = keys[-1]
        due = last.signs_from + rotate if last.key.algorithm == algorithm else now
        if last.signs_from <= now and due <= now + overlap:
            following = Term(key=make(algorithm), signs_from=max(due, now + overlap))
            keys = (*keys, following)
        ended = [
            index for index in range(len(keys) - 1) if keys[index + 1].signs_from + overlap <= now
        ]
        keys = keys[len(ended) :]
        return self if keys == self.keys else replace(self, keys=keys)

    def dump(self) -> bytes:
        """The private keys, as `parse` reads them."""
        rows = [
            {"jwk": term.key.private_jwk(), "signs_from": term.signs_from} for term in self.keys
        ]
        return json.dumps({"keys": rows}).encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """What `dump` wrote; JwkError."""
        try:
            document: Any = loads(data)
            terms = [
                Term(key=load(json.dumps(row["jwk"])), signs_from=float(row["signs_from"]))
                for row in document["keys"]
            ]
        except (JsonError, KeyError, TypeError, ValueError) as error:
            raise JwkError(f"not a file of signing keys: {error}") from None
        if not terms:
            raise JwkError("a file of signing keys without keys")
        return cls(keys=tuple(sorted(terms, key=lambda term: term.signs_from)))
