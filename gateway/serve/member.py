"""One worker's process, as its supervisor sees it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from typing import TYPE_CHECKING, Final

from gateway.errors import ConfigError
from gateway.serve.link import (
    Activate,
    Activated,
    Asked,
    Comparison,
    Prepared,
    Recalled,
    Report,
    Wanted,
)
from gateway.serve.session.linked import answer as answer_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.serve.edition import Edition
    from gateway.serve.link import Answer, Link, Order
    from gateway.serve.session import Store

log = logging.getLogger("gateway.workers")

PREPARE_WITHIN: Final = 120.0
ACTIVATE_WITHIN: Final = 5.0
DIES_WITHIN: Final = 10.0
ENDS_WITHIN: Final = 0.5
"""Seconds for a worker that has closed its link to write its last messages."""


class Lost(Exception):  # noqa: N818  nobody's error
    """The worker has ended, or does not answer."""


class Member:
    """A worker's process: what it was told, and what it says of itself.

    `place` is its number among those that take connections; None for the spare one, and until it
    is `active`, which it is once it has the edition that all serve with. `requests` are those
    that it has counted, `report` is its last one, `heard` the loop's time of that.
    `fetching` are the issuers whose keys it waits for.
    """

    def __init__(
        self,
        pid: int,
        link: Link,
        *,
        reported: Callable[[Member, Report], None],
        wanted: Callable[[Member, str], None],
        sessions: Store,
    ) -> None:
        self.pid = pid
        self.link = link
        self.reported = reported
        self.wanted = wanted
        self.sessions = sessions
        self.started = time.time()
        self.place: int | None = None
        self.restarts = 0
        self.active = False
        self.active_since = float("inf")
        self.edition: Edition | None = None
        self.revision = ""
        self.config_revision = ""
        self.requests = 0
        self.report = Report()
        self.heard = asyncio.get_running_loop().time()
        self.gone = asyncio.Event()
        self.fetching: set[str] = set()
        self._programs: frozenset[str] = frozenset()
        self._prepared = 0
        self._numbers = 0
        self._waiting: dict[tuple[str, int], asyncio.Future[Answer]] = {}
        self._process = _process(pid)

    async def listen(self) -> None:
        """Hear what the worker says, until it is gone."""
        try:
            while (answer := await self.link.answered()) is not None:
                if isinstance(answer, Asked):
                    self.link.order(await answer_of(self.sessions, answer))
                    await asyncio.sleep(0)  # whoever asks and asks takes turns with all others
                else:
                    self._heard(answer)
                await self.link.heard()  # who asks and does not listen is not heard
        except Exception as error:  # noqa: BLE001  whatever a worker says ends only itself
            log.error("worker %d says what makes no sense: %s", self.pid, error)  # noqa: TRY400
            self._signal()
        finally:
            self.link.close()
            await self._ended()
            self.gone.set()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(Lost(f"worker {self.pid} has ended"))

    async def _ended(self) -> None:
        """See to it that the process ends: who closes its link must not go on serving unruled."""
        if self._process is None:
            return
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._process, over.set)
        try:
            for limit in (ENDS_WITHIN, DIES_WITHIN):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), limit)
                if over.is_set():
                    break
                self._signal()
        finally:
            loop.remove_reader(self._process)
            os.close(self._process)
            self._process = None

    def _heard(self, answer: Answer) -> None:
        match answer:
            case Report():
                self.heard = asyncio.get_running_loop().time()
                self.reported(self, answer)
                self.report = answer
                self._answered("report", answer.number, answer)
            case Prepared():
                self._answered("prepared", answer.edition, answer)
            case Activated():
                self._answered("activated", answer.edition, answer)
            case Recalled():
                self._answered("recalled", answer.number, answer)
            case Comparison():
                self._answered("comparison", answer.number, answer)
            case Wanted():
                self.wanted(self, answer.issuer)

    def _answered(self, kind: str, number: int, answer: Answer) -> None:
        waiting = self._waiting.get((kind, number))
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    async def prepare(self, edition: Edition) -> None:
        """Have it build an edition; ConfigError where it cannot, Lost."""
        order = edition.order(self._programs)
        answer = await self._ask(order, ("prepared", edition.number), PREPARE_WITHIN)
        assert isinstance(answer, Prepared)
        if answer.problems:
            raise ConfigError(answer.problems)
        self._prepared = edition.number

    async def activate(self, edition: Edition, documents: Callable[[], dict[str, bytes]]) -> None:
        """Have it serve with an edition, and with the key sets of this moment.

        ConfigError where it cannot, Lost.
        """
        if self._prepared != edition.number:
            await self.prepare(edition)
        order = Activate(edition=edition.number, documents=documents())
        key = ("activated", edition.number)
        answer = await self._ask(order, key, ACTIVATE_WITHIN)
        assert isinstance(answer, Activated)
        self.revision, self.config_revision = answer.revision, answer.config_revision
        self._programs = edition.programs

    async def ask(self, kind: str, order: Callable[[int], Order], seconds: float) -> Answer:
        """Its answer of this kind to a numbered order; Lost."""
        self._numbers += 1
        return await self._ask(order(self._numbers), (kind, self._numbers), seconds)

    async def _ask(self, order: Order | bytes, key: tuple[str, int], seconds: float) -> Answer:
        if self.gone.is_set():
            raise Lost(f"worker {self.pid} has ended")
        waiting = self._waiting[key] = asyncio.get_running_loop().create_future()
        try:
            self.link.send(order) if isinstance(order, bytes) else self.link.order(order)
            async with asyncio.timeout(seconds):
                answer: Answer = await waiting
                return answer
        except TimeoutError:
            raise Lost(f"worker {self.pid} does not answer within {seconds:g} s") from None
        finally:
            del self._waiting[key]

    async def kill(self) -> None:
        """End it; returns when it is gone, and answers nobody any more."""
        self._signal()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DIES_WITHIN):
                await self.gone.wait()

    def _signal(self) -> None:
        """Kill the process, if it is there."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, signal.SIGKILL)
        elif not self.gone.is_set():
            # As long as the link is open the process is there, and its number is not another's.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def _process(pid: int) -> int | None:
    """A descriptor of a process, which stands for no other one (pidfd_open(2)); None without."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not on every system; it may have ended
        return None
