"""Events a second of `gateway policy replay`: a log from the real pipeline, decided again.

Run: python -m bench.replay
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.plan import NO_FACTS, NOW, POLICIES, request, sample
from gateway.bundle.folder import parse_files, read_files
from gateway.model import Forward, Refuse
from gateway.pipeline import plan
from gateway.record.event import Exchange, build
from gateway.record.mask import Mask, sealed
from gateway.rego.program import DEFAULT_STEPS
from gateway.workbench.candidate import Candidate
from gateway.workbench.events import read_events
from gateway.workbench.replay import Replay

if TYPE_CHECKING:
    from gateway.snapshot import Snapshot

EVENTS = 100_000
PATHS = (b"/orders/42", b"/orders", b"/customers/alice/orders", b"/admin/users/7")
CHANGED = ('"customer-orders"', '"nobodys-orders"')
"""An edit that changes the decisions on one of the four paths."""


def write_log(path: Path, snapshot: Snapshot, token: str) -> None:
    """Write what the gateway would log of browsers' requests to each path in turn."""
    mask = Mask()
    entrypoint = snapshot.decider.entrypoints["orders"]
    with path.open("wb") as file:
        for number in range(EVENTS):
            now = NOW + number / 1000
            outcome = plan(request(token, PATHS[number % 4]), NO_FACTS, snapshot, now)
            assert isinstance(outcome, Forward | Refuse), outcome
            status = 200 if isinstance(outcome, Forward) else outcome.status
            exchange = Exchange(
                started=now, duration=0.0012, status=status, timings={"plan": 0.00005}
            )
            event = build(outcome, exchange, labels={}, entrypoint=entrypoint)
            file.write(sealed(mask.apply(event)) + b"\n")


def measure(path: Path, candidate: Candidate) -> tuple[float, Replay]:
    """The events a second of one replay, and what it found."""
    replay = Replay(candidate)
    started = time.process_time()
    with path.open("rb") as file:
        for read in read_events(file, path.name):
            replay.add(read)
    return replay.events / (time.process_time() - started), replay


def main() -> None:
    """Print the rates."""
    sources = parse_files(read_files((POLICIES,)), (POLICIES,))
    texts = {name: text.replace(*CHANGED) for name, text in sources.modules.items()}
    changed = replace(sources, modules=texts)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "decisions.jsonl"
        write_log(log, *sample(Path(folder)))
        size = log.stat().st_size
        print(f"{EVENTS:,} events of {size // EVENTS:,} bytes, on one core")
        for title, policies in (("the same policies", sources), ("every fourth changes", changed)):
            candidate = Candidate(policies, DEFAULT_STEPS)
            rate, replay = max(
                (measure(log, candidate) for _ in range(3)), key=lambda pair: pair[0]
            )
            told = f"{replay.replayed:,} replayed, {replay.replayed - replay.unchanged:,} changed"
            print(f"{title:22}{rate:10,.0f} events a second   {told}")


if __name__ == "__main__":
    main()
