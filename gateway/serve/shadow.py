"""The shadow's decisions: in a thread of their own, after the answer, at a bounded cost.

The thread takes copies of nothing and changes nothing: what it is given is frozen, and what it
finds goes back to the event loop as values.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.decide.compare import Verdict, compare
from gateway.model import Refuse
from gateway.record.shadow import Judged, Report, line_of

if TYPE_CHECKING:
    from gateway.decide.variants import Shadow
    from gateway.model import Head, Trail
    from gateway.record.event import Recorded
    from gateway.record.metrics import Metrics
    from gateway.record.recorder import Recorder

log = logging.getLogger("gateway.shadow")

LINGER: Final = 0.02
"""Seconds that the first request waits for others: each wake-up costs the serving thread, too."""
BURST: Final = 0.001
"""Seconds of processor time that are spent at once; then the thread rests as long as it must."""
MAX_WEIGHT: Final = 64 * 1024**2
"""Most memory that waiting requests take, in bytes as estimated."""
WEIGHT: Final = 32 * 1024
"""A request's weight besides what its client sent."""
FIELDS: Final = 28
PARSED: Final = 56
"""Weights of a header section and of a query or a body, as multiples of their bytes: what many
cookies of two letters, or parameters of one, take as Python's objects."""
CLOSE_WITHIN: Final = 5.0
SWITCH: Final = 0.001
"""Seconds that the thread may keep the interpreter while a request waits for it: a shadow that was
always at work held each one up by 6 ms at the default of 5, and by 1 with this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request that waits for its shadow decision."""

    shadow: Shadow
    trail: Trail
    enforced: Verdict
    recorder: Recorder
    weight: int


Answer = tuple[Question, Judged | None, bytes]
"""What was found, and the line of a difference; None where the comparison itself failed."""


class Shadowing:
    """The queue and the thread of one event loop; `report` is about the shadow that is active."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.shadow: Shadow | None = None
        self.report: Report | None = None
        self.weight = 0
        self._queue: deque[Question] = deque()
        self._filled = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._switch = sys.getswitchinterval()
        self._loop: asyncio.AbstractEventLoop | None = None

    def activate(self, shadow: Shadow | None, revision: str) -> None:
        """Report on this shadow from now on, beside the enforced revision."""
        self.shadow = shadow
        if shadow is None:
            self.report = None
        elif self.report is None or (self.report.revision, self.report.shadow) != (
            revision,
            shadow.revision,
        ):
            self.report = Report(revision, shadow.revision, time.time())

    def offer(self, shadow: Shadow, outcome: Recorded, recorder: Recorder, body: int) -> None:
        """Let a shadow decide a request that has ended; never waits.

        What the canary decided is left out: it is not what the shadow is to replace. `body` is how
        much of its content the policy saw, in bytes.
        """
        trail = outcome.trail
        if trail.match is None or trail.document is None or trail.canary:
            return
        if not shadow.samples(trail.head.id):
            return
        weight = weight_of(trail.head, body)
        full = len(self._queue) >= shadow.queue or self.weight + weight > MAX_WEIGHT
        if full or self._closing.is_set():
            self._count(trail, "dropped")
            return
        question = Question(
            shadow=shadow,
            trail=trail,
            enforced=enforced(outcome),
            recorder=recorder,
            weight=weight,
        )
        self.weight += weight
        self._queue.append(question)
        if not self._filled.is_set():
            self._filled.set()
            self._start()

    def queued(self) -> int:
        """How many requests wait."""
        return len(self._queue)

    async def close(self) -> None:
        """End the thread; what waits is dropped."""
        self._closing.set()
        self._filled.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, CLOSE_WITHIN)
            sys.setswitchinterval(self._switch)
        for question in self._queue:
            self._count(question.trail, "dropped")
        self._queue.clear()

    def _start(self) -> None:
        if self._thread is None and not self._closing.is_set():
            sys.setswitchinterval(min(SWITCH, sys.getswitchinterval()))
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
            self._thread.start()

    def _count(self, trail: Trail, outcome: str) -> None:
        assert trail.match is not None
        route = trail.match.route.id
        self.metrics.shadowed(route, outcome)
        if self.report is not None:
            self.report.count(route, outcome)

    def _take(self, answers: list[Answer], cpu: float) -> None:
        """Count what the thread found, and write it; in the event loop."""
        self.metrics.shadow_cpu += cpu
        for question, judged, line in answers:
            self.weight -= question.weight
            if judged is None:
                self._count(question.trail, "error")
                continue
            assert judged.trail.match is not None
            self.metrics.shadowed(judged.trail.match.route.id, judged.difference)
            report = self.report
            if report is not None and (report.revision, report.shadow) == (
                question.trail.revision,
                judged.revision,
            ):
                report.add(judged)
            if line and question.recorder.decisions:
                question.recorder.decisions(line)

    # --- in the thread

    def _run(self) -> None:
        while True:
            self._filled.wait()
            self._closing.wait(LINGER)
            self._filled.clear()
            while self._queue and not self._closing.is_set():
                self._burst()
            if self._closing.is_set():
                return

    def _burst(self) -> None:
        """Decide for a little while, hand over what was found, and rest."""
        began = time.thread_time()
        answers: list[Answer] = []
        spent, cpu = 0.0, 1.0
        while self._queue and spent < BURST and not self._closing.is_set():
            question = self._queue.popleft()
            answers.append(answer(question))
            cpu = question.shadow.cpu
            spent = time.thread_time() - began
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._take, answers, spent)
        except RuntimeError:
            return  # the loop closed meanwhile
        self._closing.wait(spent / cpu - spent)


def weight_of(head: Head, body: int) -> int:
    """Most memory that a request's document may take, in bytes, `body` being its content's."""
    fields = sum(len(name) + len(value) for name, value in head.headers)
    return WEIGHT + FIELDS * fields + PARSED * (len(head.query_string) + body)


def enforced(outcome: Recorded) -> Verdict:
    """What the policy said of a request for which it was asked."""
    trail = outcome.trail
    if trail.decision is not None:
        return Verdict(decision=trail.decision, code=trail.decision.code)
    code = trail.unenforced or (outcome.code if isinstance(outcome, Refuse) else None)
    return Verdict(decision=None, code=code, detail=trail.detail)


def answer(question: Question) -> Answer:
    """Ask the shadow, and compare; never raises."""
    trail, shadow, recorder = question.trail, question.shadow, question.recorder
    assert trail.match is not None
    assert trail.document is not None
    reasons = not recorder.mask.hides_reasons
    try:
        verdict = Verdict.of(shadow.decider, trail.document, trail.match, trail.now)
        judged = Judged(
            trail=trail,
            enforced=question.enforced,
            shadow=verdict,
            difference=compare(question.enforced, verdict),
            revision=shadow.revision,
            told=(question.enforced.told(reasons=reasons), verdict.told(reasons=reasons)),
        )
        if judged.difference == "same" or recorder.decisions is None:
            return question, judged, b""
        line = line_of(
            judged,
            labels=recorder.labels,
            entrypoint=recorder.entrypoints.get(trail.match.route.id, ""),
            shadow_entrypoint=shadow.decider.entrypoints[trail.match.route.id],
            mask=recorder.mask,
        )
    except Exception:
        log.exception("a shadow decision could not be compared")
        return question, None, b""
    return question, judged, line
