"""Asks issuers about tokens (RFC 7662): one call for all who wait, and answers kept for a while."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import OrderedDict
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import Code, GatewayError
from gateway.identify.cache import weight
from gateway.model import Introspected
from gateway.record.metrics import IntrospectionGauges
from gateway.serve.oauth_client import Credentials, EndpointError, call

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.model import Config, Introspection, Issuer
    from gateway.record.metrics import Metrics

log = logging.getLogger("gateway.introspection")

MAX_ANSWERS: Final = 10_000
MAX_BYTES: Final = 32 * 1024**2
_REVISIONS: Final = itertools.count(1)
INACTIVE: Final = Introspected(members={"active": False}, revision="inactive")


class Answers:
    """Answers by a digest of the token, the least recently used leaving first; for one thread.

    Those about tokens that are not active are kept apart, so that made-up tokens push none of the
    others out. Times are those of the event loop.
    """

    def __init__(self, max_entries: int = MAX_ANSWERS, max_bytes: int = MAX_BYTES) -> None:
        self._active: OrderedDict[bytes, tuple[float, Introspected, int]] = OrderedDict()
        self._inactive: OrderedDict[bytes, float] = OrderedDict()
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self.size = 0

    def __len__(self) -> int:
        return len(self._active) + len(self._inactive)

    def get(self, digest: bytes, now: float) -> Introspected | None:
        """The answer, if it is still good."""
        found = self._active.get(digest)
        if found is not None:
            if now < found[0]:
                self._active.move_to_end(digest)
                return found[1]
            self._drop(digest)
        elif now < self._inactive.get(digest, now):
            return INACTIVE
        return None

    def put(self, digest: bytes, answer: Introspected, until: float) -> None:
        """Keep an answer until then."""
        self._drop(digest)
        self._inactive.pop(digest, None)
        if answer is INACTIVE:
            self._inactive[digest] = until
            if len(self._inactive) > self._max_entries:
                self._inactive.popitem(last=False)
            return
        size = weight(answer.members)
        if size > self._max_bytes // 16:
            return
        self._active[digest] = (until, answer, size)
        self.size += size
        while len(self._active) > self._max_entries or self.size > self._max_bytes:
            _, (_, _, freed) = self._active.popitem(last=False)
            self.size -= freed

    def _drop(self, digest: bytes) -> None:
        found = self._active.pop(digest, None)
        if found is not None:
            self.size -= found[2]


class Introspector:
    """One issuer's endpoint; for one event loop."""

    def __init__(
        self, name: str, issuer: Issuer, section: Introspection, credentials: Credentials
    ) -> None:
        self.name = name
        self.issuer = issuer
        self.section = section
        self.credentials = credentials
        self.answers = Answers()
        self.last_error = ""
        self.calls: dict[bytes, asyncio.Task[Introspected | str]] = {}
        self._turns = asyncio.Semaphore(section.concurrency)

    async def ask(self, token: bytes) -> tuple[Introspected | str, str]:
        """What the issuer says, or why that is not known; and what was done for it."""
        digest = sha256(token).digest()
        known = self.answers.get(digest, asyncio.get_running_loop().time())
        if known is not None:
            return known, "cached"
        running = self.calls.get(digest)
        if running is None:
            if len(self.calls) >= self.section.concurrency + self.section.max_pending:
                return "too many tokens wait for an answer", "busy"
            running = self.calls[digest] = asyncio.create_task(self._call(token, digest))
            running.add_done_callback(lambda _: self.calls.pop(digest, None))
        # One waiter's disconnect must not end the call of the others.
        await asyncio.wait((running,))
        if running.cancelled():
            return "the gateway is shutting down", "error"
        answer = running.result()
        if isinstance(answer, str):
            return answer, "error"
        return answer, "inactive" if answer is INACTIVE else "active"

    async def _call(self, token: bytes, digest: bytes) -> Introspected | str:
        form = (("token", token.decode("ascii")), ("token_type_hint", "access_token"))
        try:
            async with asyncio.timeout(self.section.timeout), self._turns:
                now = time.time()
                members = await call(self.section, self.credentials, form, now)
        except TimeoutError:
            return self._failed(f"no answer within {self.section.timeout:g} s")
        except EndpointError as error:
            return self._failed(str(error))
        except Exception as error:  # a fault of ours is no answer
            log.exception("issuer %s could not be asked about a token", self.name)
            return self._failed(f"{type(error).__name__}: {error}")
        active = members.get("active")
        if active is not True and active is not False:
            return self._failed("the answer does not say whether the token is active")
        self.last_error = ""
        answer = INACTIVE
        lasts = self.section.max_age_inactive
        if active:
            answer = Introspected(members=members, revision=str(next(_REVISIONS)))
            lasts = min(self.section.max_age, _left(members, now))
        if lasts > 0:
            self.answers.put(digest, answer, asyncio.get_running_loop().time() + lasts)
        return answer

    def _failed(self, reason: str) -> str:
        if reason != self.last_error:
            log.warning("issuer %s cannot be asked about tokens: %s", self.name, reason)
        self.last_error = reason
        return reason


class IntrospectionService:
    """The issuers of the active configuration that are asked."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.active: Mapping[str, Introspector] = {}
        self._retired: list[Introspector] = []

    def prepare(self, config: Config, *, changed: bool) -> dict[str, Introspector]:
        """Those of a configuration, with their answers where nothing differs; ConfigError.

        `changed` tells that some file which the configuration names has other contents. Blocking.
        """
        made = {}
        for name, issuer in config.issuers.items():
            section = issuer.introspection
            if section is None:
                continue
            known = self.active.get(name)
            of_file = section.client.secret_file or section.client.key_file
            if known is not None and known.issuer == issuer and not (changed and of_file):
                made[name] = known
            else:
                made[name] = Introspector(name, issuer, section, Credentials.read(section.client))
        return made

    def activate(self, made: Mapping[str, Introspector], issuers: Mapping[str, Issuer]) -> None:
        """Ask them from now on; what others have answered is forgotten."""
        for name, each in made.items():
            each.issuer = issuers[name]  # an equal one, which is quickly known as the same
        replaced = [each for name, each in self.active.items() if made.get(name) is not each]
        self._retired = [each for each in (*self._retired, *replaced) if each.calls]
        self.active = made

    async def ask(self, name: str, issuer: Issuer, token: bytes) -> Introspected:
        """What an issuer says of a token; GatewayError where that cannot be known now."""
        found = self.active.get(name)
        if found is None or (found.issuer is not issuer and found.issuer != issuer):
            # What the new configuration brings is not for requests of the old one.
            raise _unavailable(name, "a reload has changed the issuer")
        answer, outcome = await found.ask(token)
        self.metrics.introspected(name, outcome)
        if isinstance(answer, str):
            raise _unavailable(name, answer)
        return answer

    def gauges(self) -> dict[str, IntrospectionGauges]:
        """How each of them does."""
        return {
            name: IntrospectionGauges(
                answers=len(each.answers), waiting=len(each.calls), error=each.last_error
            )
            for name, each in self.active.items()
        }

    def close(self) -> None:
        """End all calls."""
        for each in (*self.active.values(), *self._retired):
            for running in each.calls.values():
                running.cancel()


def _unavailable(name: str, reason: str) -> GatewayError:
    return GatewayError(
        Code.INTROSPECTION_UNAVAILABLE, f"{name}: {reason}", headers=(("retry-after", "1"),)
    )


def _left(members: Mapping[str, Any], now: float) -> float:
    """Seconds until the token's `exp`; whether that is one is judged elsewhere."""
    expires_at: Any = members.get("exp")
    if type(expires_at) in (int, float, Decimal):
        return float(min(expires_at, now + 1e9)) - now
    return float("inf")
