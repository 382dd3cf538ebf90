"""The stages of the pipeline for one request: what each found, or why it refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gateway.model import Answer, Forward, Refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.model import Decision, Principal
    from gateway.snapshot import Snapshot

State = Literal["ok", "refused", "answered", "not reached"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage; `lines` say what it found or why it refused."""

    name: str
    state: State
    lines: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON."""
        return {"stage": self.name, "state": self.state, "found": list(self.lines)}


def stages(outcome: Forward | Refuse | Answer, snapshot: Snapshot) -> list[Stage]:
    """Tell what the stages did with a request, in their order."""
    found = _found(outcome, snapshot)
    made: list[Stage] = []
    for name in ("route", "identify", "decide", "forward"):
        if name in found:
            made.append(Stage(name=name, state="ok", lines=found[name]))
            continue
        ended = all(stage.state == "ok" for stage in made)
        if not ended:
            made.append(Stage(name=name, state="not reached"))
        elif isinstance(outcome, Answer):
            said = f"{outcome.status} by the gateway itself"
            made.append(Stage(name=name, state="answered", lines=(said,)))
        else:
            assert isinstance(outcome, Refuse)
            lines = tuple(_refusal(outcome)) if name != "decide" else tuple(_denial(outcome))
            made.append(Stage(name=name, state="refused", lines=lines))
    return made


def _found(outcome: Forward | Refuse | Answer, snapshot: Snapshot) -> dict[str, tuple[str, ...]]:
    """Return what the stages found, by name, as far as they were passed."""
    trail = outcome.trail
    found: dict[str, tuple[str, ...]] = {}
    if isinstance(outcome, Answer) or trail.match is None:
        return found
    params = "".join(f", {name} = {value}" for name, value in trail.match.params.items())
    found["route"] = (f"{trail.match.route.id}: {trail.match.path}{params}",)
    if trail.principal is None:
        return found
    found["identify"] = tuple(_identity(trail.principal))
    decided = snapshot.canary if trail.canary and snapshot.canary else snapshot
    asked = decided.decider.entrypoints[trail.match.route.id]
    if trail.unenforced is not None:
        told = f"{asked} refuses ({trail.unenforced.text}), but the route only reports"
        found["decide"] = (told, *_reasons(trail.decision))
    elif trail.decision is not None and trail.decision.allow:
        found["decide"] = (f"{asked} allows", *_reasons(trail.decision))
    else:
        return found
    if isinstance(outcome, Forward):
        target = outcome.target.decode("latin-1")
        found["forward"] = (f"to {outcome.upstream.url}{target}",)
    return found


def _identity(principal: Principal) -> Iterator[str]:
    if not principal.authenticated:
        yield "anonymous"
        return
    yield f"{principal.subject} (issuer {principal.issuer})"
    for name in ("scopes", "groups", "roles"):
        values = getattr(principal, name)
        if values:
            yield f"{name}: {', '.join(values)}"


def _refusal(outcome: Refuse) -> Iterator[str]:
    yield f"{outcome.status} {outcome.code.text}: {outcome.code.title}"
    if outcome.trail.detail:
        yield outcome.trail.detail


def _denial(outcome: Refuse) -> Iterator[str]:
    yield from _refusal(outcome)
    yield from _reasons(outcome.trail.decision)


def _reasons(decision: Decision | None) -> Iterator[str]:
    for reason in decision.reasons if decision else ():
        yield f"reason {reason.code}" + (f": {reason.message}" if reason.message else "")
