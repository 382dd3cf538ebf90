"""The requests of `gateway demo`, and what must come of each."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from gateway.jose.sign import SigningKey, sign

TENANT = "acme"
ORDERS = f"/tenants/{TENANT}/orders"
ALICES = f"/tenants/{TENANT}/customers/alice/orders"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One request and what must come of it; `subject` is what the upstream must see."""

    name: str
    method: str = "GET"
    path: str = f"{ORDERS}/42"
    token: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    status: int
    code: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What came of a request."""

    status: int
    code: str
    upstream: dict[str, Any] | None = field(default=None)

    def fits(self, row: Row) -> bool:
        """Whether it came out as stated."""
        headers = {} if self.upstream is None else self.upstream["headers"]
        subject = headers.get("x-auth-subject", "")
        return (self.status, self.code, subject) == (
            row.status,
            row.code,
            row.subject,
        ) and "root" not in headers.values()  # which one of the rows claims to be


def mint(issuer: str, key: SigningKey, subject: str, roles: list[str], **claims: Any) -> str:
    """A token of the demo's issuer, valid for an hour."""
    now = int(time.time())
    whole = {
        "iss": issuer,
        "aud": "orders",
        "sub": subject,
        "roles": roles,
        "tenant": TENANT,
        "iat": now,
        "exp": now + 3600,
        **claims,
    }
    return sign({"typ": "at+jwt"}, whole, key)


def rows(issuer: str, key: SigningKey, stranger: SigningKey) -> list[Row]:
    """The requests of the demo."""
    reader = mint(issuer, key, "alice", ["reader"])
    writer = mint(issuer, key, "bob", ["writer"])
    admin = mint(issuer, key, "carol", ["admin"], mfa=True)
    weak = mint(issuer, key, "carol", ["admin"])
    other = mint(issuer, key, "mallory", ["reader"], tenant="other")
    now = int(time.time())
    expired = mint(issuer, key, "alice", ["reader"], iat=now - 7200, exp=now - 3600)
    elsewhere = mint(issuer, key, "alice", ["reader"], aud="billing")
    head, payload, signature = reader.split(".")
    flipped = signature[:-4] + ("AAAA" if signature[-4:] != "AAAA" else "BBBB")
    forged = mint(issuer, SigningKey(id=key.id, algorithm="ES256", key=stranger.key), "alice", [])
    spoof = (("X-Auth-Subject", "root"), ("X_Auth_Roles", "root"), ("X-Forwarded-For", "root"))
    return [
        Row(name="reader reads", token=reader, status=200, subject="alice"),
        Row(
            name="reader writes", method="POST", path=ORDERS, token=reader,
            status=403, code="policy-denied",
        ),
        Row(
            name="writer writes", method="POST", path=ORDERS, token=writer,
            status=200, subject="bob",
        ),
        Row(name="another tenant", token=other, status=403, code="policy-denied"),
        Row(
            name="cancels own orders", method="DELETE", path=ALICES, token=reader,
            status=200, subject="alice",
        ),
        Row(
            name="another's orders", path=ALICES, token=writer,
            status=403, code="policy-denied",
        ),
        Row(name="admin area", path="/admin/users", token=admin, status=200, subject="carol"),
        Row(
            name="no second factor", path="/admin/users", token=weak,
            status=403, code="policy-denied",
        ),
        Row(name="no token", status=401, code="token-missing"),
        Row(name="public, no token", path="/public/status", status=200),
        Row(name="expired token", token=expired, status=401, code="token-expired"),
        Row(name="wrong audience", token=elsewhere, status=401, code="audience-mismatch"),
        Row(
            name="wrong signature", token=f"{head}.{payload}.{flipped}",
            status=401, code="signature-invalid",
        ),
        Row(name="another's key", token=forged, status=401, code="signature-invalid"),
        Row(
            name="spoofed identity", token=reader, headers=spoof, status=200, subject="alice"
        ),
        Row(
            name="path trick", path="/public/..%2fadmin/users", status=400, code="bad-path"
        ),
        Row(name="unknown path", path="/other", token=reader, status=404, code="route-unknown"),
    ]  # fmt: skip
