"""Brings tokens for upstreams: kept while they are good, one call for all who wait for the same."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from gateway.errors import Code, ConfigError, ForwardError
from gateway.forward.token import AnswerError, Issued, read_answer
from gateway.record.metrics import TokenGauges
from gateway.serve.oauth_client import Credentials, EndpointError, call

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.config.model import TokenEndpoint
    from gateway.model import TokenRequest
    from gateway.record.metrics import Metrics

log = logging.getLogger("gateway.tokens")

MAX_TOKENS: Final = 10_000
MAX_BYTES: Final = 32 * 1024**2
OVERHEAD: Final = 512
"""Bytes that a token takes besides itself, about."""
MAX_FAILURES: Final = 1_000
MAX_CALLS: Final = 32
MAX_WAITING: Final = 1_000
"""Calls at once to one endpoint, and those that wait for their turn."""

REFUSED_FOR: Final = 5.0
"""Seconds for which a refusal stands for all requests with the same token."""
FAILED_FOR: Final = 1.0
FREE_FAILURES: Final = 3
"""Failures in a row, of different tokens, after which the endpoint is left alone."""
MOST_DOUBLED: Final = 32
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0

REFUSED: Final = frozenset(("invalid_grant", "invalid_request", "invalid_token"))
"""Errors that say that the subject token is not taken (RFC 8693 §2.2.2 names invalid_request)."""
DENIED: Final = frozenset(("access_denied", "invalid_target", "invalid_scope"))
"""Errors that say that its subject gets no such token."""

OUTCOMES: Final = {
    Code.EXCHANGE_REFUSED: "refused",
    Code.EXCHANGE_DENIED: "denied",
    Code.TOKEN_ENDPOINT_FAULT: "fault",
    Code.TOKEN_ENDPOINT_AWAY: "away",
}


@dataclass(slots=True)
class Held:
    """A token that is kept; times are Unix seconds."""

    header: bytes = field(repr=False)
    expires_at: float
    renew_at: float

    @property
    def size(self) -> int:
        """Bytes of memory, about."""
        return len(self.header) + OVERHEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why there is no token; `retry_after` in seconds."""

    code: Code
    text: str
    retry_after: float = 0.0

    @property
    def outcome(self) -> str:
        """As metrics have it."""
        return OUTCOMES[self.code]

    @property
    def of_token(self) -> bool:
        """Whether it is the subject token's, so that the endpoint works."""
        return self.code in (Code.EXCHANGE_REFUSED, Code.EXCHANGE_DENIED)

    def error(self) -> ForwardError:
        """A new error: one that is raised again and again would grow."""
        wait = str(max(1, math.ceil(self.retry_after)))
        away = self.code is Code.TOKEN_ENDPOINT_AWAY
        return ForwardError(self.code, self.text, headers=(("retry-after", wait),) if away else ())


def away(text: str, retry_after: float = 0.0) -> Failure:
    """An endpoint that gives no answer now."""
    return Failure(code=Code.TOKEN_ENDPOINT_AWAY, text=text, retry_after=retry_after)


def failure_of(error: EndpointError, request: TokenRequest) -> Failure:
    """Why there is no token, where the endpoint did not give one."""
    if error.kind == "away":
        return away(str(error), error.retry_after)
    # What the gateway asks for itself is no fault of whoever sent the request.
    if error.kind == "refused" and request.subject_token:
        if error.error in REFUSED:
            return Failure(code=Code.EXCHANGE_REFUSED, text=str(error))
        if error.error in DENIED:
            return Failure(code=Code.EXCHANGE_DENIED, text=str(error))
    return Failure(code=Code.TOKEN_ENDPOINT_FAULT, text=str(error))


class TokenSource:
    """One token endpoint and the tokens that it gave; runs in one event loop.

    Its tokens end with it: a reload that changes the endpoint makes another one. `tasks` are
    the calls of all sources.
    """

    def __init__(
        self,
        name: str,
        section: TokenEndpoint,
        credentials: Credentials,
        metrics: Metrics,
        tasks: set[asyncio.Task[Issued | Failure]],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.section = section
        self.credentials = credentials
        self.metrics = metrics
        self.clock = clock
        self.last_error = ""
        self._tasks = tasks
        self._held: OrderedDict[bytes, Held] = OrderedDict()
        self._size = 0
        self._failed: OrderedDict[bytes, tuple[Failure, float]] = OrderedDict()
        self._calls: dict[bytes, asyncio.Task[Issued | Failure]] = {}
        self._turns = asyncio.Semaphore(MAX_CALLS)
        self._failing: set[bytes] = set()
        self._retry_at = 0.0
        self._trying = False

    async def header(self, request: TokenRequest) -> bytes:
        """The Authorization value for a request; ForwardError where there is none."""
        now = self.clock()
        held = self._held.get(request.key)
        if held is not None and now < held.expires_at:
            self._held.move_to_end(request.key)
            if now >= held.renew_at and not self._paused(now):
                self._start(request)
            self.metrics.token_requested(self.name, "cached")
            return held.header
        found = await self._waited(request, now)
        if isinstance(found, Failure):
            self.metrics.token_requested(self.name, found.outcome)
            raise found.error()
        self.metrics.token_requested(self.name, "issued")
        return found.header

    async def _waited(self, request: TokenRequest, now: float) -> Issued | Failure:
        """What comes of one call for any number of requests that want the same."""
        failed = self._failed.get(request.key)
        if failed is not None and now < failed[1]:
            return failed[0]
        task = self._calls.get(request.key)
        if task is None:
            if (pause := self._paused(now)) > 0:
                return away(f"left alone for a while: {self.last_error}", pause)
            if len(self._calls) >= MAX_CALLS + MAX_WAITING:
                return away("too many requests wait for it")
            task = self._start(request)
        # One waiter's disconnect must not end the call of the others.
        await asyncio.wait((task,))
        return away("the gateway is shutting down") if task.cancelled() else task.result()

    def _start(self, request: TokenRequest) -> asyncio.Task[Issued | Failure]:
        """The call for a request: the one under way, or a new one."""
        task = self._calls.get(request.key)
        if task is None:
            self._trying = self._retry_at > 0
            task = asyncio.get_running_loop().create_task(self._call(request))
            self._calls[request.key] = task
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return task

    async def _call(self, request: TokenRequest) -> Issued | Failure:
        """Ask once, and remember what came of it."""
        trying = self._trying
        found: Issued | Failure
        try:
            found = await self._asked(request)
        except Exception as error:  # a fault of ours refuses, whatever it is
            log.exception("token endpoint %s could not be asked", self.name)
            found = Failure(code=Code.TOKEN_ENDPOINT_FAULT, text=type(error).__name__)
        finally:
            del self._calls[request.key]
            if trying:
                self._trying = False
        if isinstance(found, Failure):
            self._note(request, found)
        self.metrics.token_called(
            self.name, found.outcome if isinstance(found, Failure) else "issued"
        )
        return found

    async def _asked(self, request: TokenRequest) -> Issued | Failure:
        subject = request.subject_token.decode()
        form = (*request.fields, *((("subject_token", subject),) if subject else ()))
        try:
            async with asyncio.timeout(self.section.timeout):
                await self._turns.acquire()
        except TimeoutError:
            return away("too many requests wait for it")
        try:
            # From before it is asked, so that `expires_in` is not counted from too late.
            now = self.clock()
            answer = await call(self.section, self.credentials, form, now)
            issued = read_answer(answer, request, keep=self.section.keep, now=now)
        except EndpointError as error:
            return failure_of(error, request)
        except AnswerError as error:
            return Failure(code=Code.TOKEN_ENDPOINT_FAULT, text=str(error))
        finally:
            self._turns.release()
        self._works()
        self._keep(request, issued, now)
        return issued

    # What is remembered

    def _keep(self, request: TokenRequest, issued: Issued, now: float) -> None:
        self._failed.pop(request.key, None)
        self._forget(request.key)
        if issued.used_for > 0:
            later = math.inf if issued.renew_after is None else issued.renew_after
            held = Held(issued.header, now + issued.used_for, now + later)
            self._held[request.key] = held
            self._size += held.size
        while self._held and (self._overfull or next(iter(self._held.values())).expires_at <= now):
            self._forget(next(iter(self._held)))

    @property
    def _overfull(self) -> bool:
        return len(self._held) > MAX_TOKENS or self._size > MAX_BYTES

    def _forget(self, key: bytes) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            self._size -= held.size

    def _note(self, request: TokenRequest, failure: Failure) -> None:
        """Remember for a short time that there is no token, and how the endpoint does."""
        now = self.clock()
        if failure.of_token:
            self._forget(request.key)  # a renewal was refused: what is at hand is void, too
            self._works()
        else:
            self._fails(request, failure, now)
            if (held := self._held.get(request.key)) is not None:
                held.renew_at = now + FAILED_FOR
        self._failed.pop(request.key, None)
        self._failed[request.key] = failure, now + (REFUSED_FOR if failure.of_token else FAILED_FOR)
        if len(self._failed) > MAX_FAILURES:
            self._failed.popitem(last=False)

    # Whether the endpoint is left alone

    def _works(self) -> None:
        self._failing.clear()
        self._retry_at, self.last_error = 0.0, ""

    def _fails(self, request: TokenRequest, failure: Failure, now: float) -> None:
        if failure.text != self.last_error:
            log.warning("token endpoint %s: %s", self.name, failure.text)
        self.last_error = failure.text
        if now < self._retry_at:
            return  # calls that fail together are one failure
        # One client's token, again and again, must not have it left alone for all.
        mark = request.key if request.subject_token else b"%d" % len(self._failing)
        if len(self._failing) < MOST_DOUBLED:
            self._failing.add(mark)
        beyond = len(self._failing) - FREE_FAILURES
        if beyond >= 0 or failure.retry_after:  # it may say so itself
            pause = max(FIRST_PAUSE * 2.0 ** max(beyond, 0), failure.retry_after)
            self._retry_at = now + min(pause, LONGEST_PAUSE)

    def _paused(self, now: float) -> float:
        """For how long nobody may ask; when that is over one request does, before all others."""
        if not self._retry_at:
            return 0.0
        return max(self._retry_at - now, FIRST_PAUSE if self._trying else 0.0)

    def gauges(self) -> TokenGauges:
        """How it does."""
        return TokenGauges(error=self.last_error, tokens=len(self._held))


class TokenService:
    """The token endpoints of the active configuration, by name.

    Each process has its own, and its own tokens. A request takes `sources` once, at its start.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.sources: Mapping[str, TokenSource] = {}
        self._tasks: set[asyncio.Task[Issued | Failure]] = set()

    def prepare(self, endpoints: Mapping[str, TokenEndpoint]) -> dict[str, TokenSource]:
        """The sources for a configuration; ConfigError. Blocking.

        They are those at hand, with their tokens, where nothing differs, nor any secret in a file.
        """
        made = {}
        for name, section in endpoints.items():
            try:
                credentials = Credentials.read(section.client)
            except ConfigError as error:
                key = f"token_endpoints.{name}.client"
                raise ConfigError(tuple(replace(one, key=key) for one in error.problems)) from None
            source = self.sources.get(name)
            if source is None or (source.section, source.credentials) != (section, credentials):
                source = TokenSource(name, section, credentials, self.metrics, self._tasks)
            made[name] = source
        return made

    def activate(self, sources: Mapping[str, TokenSource]) -> None:
        """Use them from now on; requests under way go on with those that they have."""
        self.sources = sources

    def gauges(self) -> dict[str, TokenGauges]:
        """How each endpoint does."""
        return {name: source.gauges() for name, source in self.sources.items()}

    def close(self) -> None:
        """End all calls."""
        for task in tuple(self._tasks):
            task.cancel()
