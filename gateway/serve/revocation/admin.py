"""The admin listener's endpoints for deny lists: `/tokens/revoked`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quart import Response, request

from gateway.errors import Code, GatewayError, Problem
from gateway.identify.denylist import EntryError, as_dict, read_entry
from gateway.record.encode import encode
from gateway.serve.actions import JSON, who

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.identify.revoked import Denial, Key
    from gateway.serve.revocation.service import RevocationService

PATH = "/tokens/revoked"
SHOWN = 1_000
"""So many entries are shown, the newest ones."""


class MalformedEntryError(GatewayError):
    """What was sent is no entry; `problems` say why."""

    def __init__(self, error: EntryError) -> None:
        super().__init__(Code.REVOCATION_MALFORMED, str(error))
        self.problems = (Problem(str(error), remedy=error.remedy),)


class RevokedTokens:
    """The endpoints of one machine's deny lists."""

    def __init__(self, service: RevocationService) -> None:
        self.service = service

    def acts(self) -> dict[str, Callable[..., Awaitable[Response]]]:
        """What is done, by method."""
        return {"POST": self.deny, "DELETE": self.allow}

    async def shown(self) -> Response:
        """The newest entries, and how many there are."""
        entries = self.service.entries()
        return _json({"total": len(entries), "entries": entries[-SHOWN:]})

    async def deny(self) -> Response:
        """Deny what the entry in the body names."""
        key, denial = await self._entry()
        await self.service.deny(key, denial, who())
        return _json({"denied": as_dict(key, denial)})

    async def allow(self) -> Response:
        """Take the entry away that the body names."""
        key, denial = await self._entry()
        await self.service.allow(key, who())
        return _json({"allowed": as_dict(key, denial)})

    async def _entry(self) -> tuple[Key, Denial]:
        try:
            return read_entry(await request.get_data(as_text=False), self.service.issuers())
        except EntryError as error:
            raise MalformedEntryError(error) from None


def _json(value: dict[str, Any]) -> Response:
    return Response(encode(value) + b"\n", content_type=JSON)
