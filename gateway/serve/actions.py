"""The admin listener's endpoints that change something: who may act, and what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quart import Response, request

from gateway.errors import Code, GatewayError
from gateway.record.encode import encode
from gateway.record.event import rfc3339
from gateway.serve.rollout import STRANGERS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.serve.rollout import Rollout

JSON = "application/json"

FROM_PAGES = ("origin", "referer", "sec-fetch-site", "sec-fetch-mode")
"""Headers that browsers send and no command line does."""


class Actions:
    """The endpoints of one rollout; `allowed` tells whether it takes acts now.

    `told` is what the listener says of the active policies after an act.
    """

    def __init__(
        self,
        rollout: Rollout,
        allowed: Callable[[], bool],
        told: Callable[[], Mapping[str, Any]],
    ) -> None:
        self.rollout = rollout
        self.allowed = allowed
        self.told = told

    def acts(self) -> dict[str, Callable[..., Awaitable[Response]]]:
        """What POST does, by path; the path is the endpoint's name too."""
        return {
            "/policy/rollback": self.rollback,
            "/policy/rollback/<revision>": self.rollback,
            "/policy/pin": self.pin,
            "/policy/pin/<revision>": self.pin,
            "/policy/unpin": self.unpin,
        }

    def check(self, token: str | None) -> None:
        """Let the current request act, or raise GatewayError.

        A token is asked for on every address. Browsers send none by themselves; what a page could
        make one send is refused besides.
        """
        if token is None or not self.allowed():
            raise GatewayError(Code.ACTIONS_OFF)
        if any(name in request.headers for name in FROM_PAGES):
            raise GatewayError(Code.ADMIN_ORIGIN)

    def refused(self, error: GatewayError) -> None:
        """Put on record what was not let pass."""
        action = request.path.split("/")[2]
        by = who("somebody") if error.code in STRANGERS else who()
        self.rollout.record(action, by, refused=error.code)

    async def history(self) -> Response:
        """The kept revisions, the newest first."""
        kept = [
            {
                "revision": each.revision,
                "kept_at": rfc3339(each.kept_at),
                "served_at": rfc3339(each.served_at),
                "files": each.files,
                "size": each.size,
                "bundles": each.bundles,
            }
            for each in await self.rollout.history()
        ]
        return Response(encode({**self.told(), "revisions": kept}) + b"\n", content_type=JSON)

    async def rollback(self, revision: str | None = None) -> Response:
        """Serve a kept revision, or the one before, until unpin."""
        await self.rollout.rollback(revision, who())
        return self._done()

    async def pin(self, revision: str | None = None) -> Response:
        """Serve a kept revision, or the active one, until unpin."""
        await self.rollout.pin(revision, who())
        return self._done()

    async def unpin(self) -> Response:
        """Serve what is on disk again."""
        await self.rollout.unpin(who())
        return self._done()

    def _done(self) -> Response:
        return Response(encode(self.told()) + b"\n", content_type=JSON)


def who(holder: str = "admin token") -> str:
    """Who asks: there is one token, so it is told from where."""
    peer = request.scope.get("client")
    return f"{holder} from {peer[0] if peer else 'the Unix socket'}"
