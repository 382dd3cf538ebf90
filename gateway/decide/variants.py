"""Policy sets beside the one that is enforced: a canary decides for some, a shadow for nobody."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.jose.claim_path import find

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction

    from gateway.bundle.folder import PolicySources
    from gateway.decide import Decider
    from gateway.model import Principal
    from gateway.rego.testing import TestResult

SUBJECTS: Final = 2**64
"""Subjects fall on so many places, evenly."""

REQUESTS: Final = 2**32


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A policy set that is ready to decide; `tested` as in a Snapshot."""

    policies: PolicySources
    decider: Decider
    tested: Mapping[str, tuple[TestResult, ...]]

    @property
    def revision(self) -> str:
        """The revision of its policies."""
        return self.policies.revision


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary(Variant):
    """A policy set that decides for the subjects on the first `places` of SUBJECTS.

    `claim` is the path of the claim that names a subject.
    """

    places: int
    claim: str
    salt: str

    def takes(self, principal: Principal) -> bool:
        """Whether it decides for a principal, whose claims are verified."""
        subject = find(principal.claims, self.claim)
        if subject.__class__ not in (str, int):  # neither true nor a list names anybody
            return False
        return place_of(self.salt, principal.issuer, subject) < self.places


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow(Variant):
    """A policy set that decides beside the answer.

    Of all requests it decides `sampled` of REQUESTS. `queue` is the most that wait, `cpu` the
    most of one processor's time that it takes, as a part of 1.
    """

    sampled: int
    queue: int
    cpu: float

    def samples(self, decision_id: str) -> bool:
        """Whether it decides a request; the gateway made its id."""
        return zlib.crc32(decision_id.encode()) < self.sampled


def place_of(salt: str, issuer: str, subject: str | int) -> int:
    """The place of a subject of an issuer, below SUBJECTS: a hash, so that nobody chooses it."""
    # With lengths, so that no two names run into one; in hex, as long numbers have no decimal.
    name = f"s{subject}" if subject.__class__ is str else f"i{subject:x}"
    named = f"{len(salt)}:{salt}{len(issuer)}:{issuer}{name}"
    digest = hashlib.sha256(named.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


def first(share: Fraction, of: int) -> int:
    """How many of so many places a share is."""
    return int(share * of)
