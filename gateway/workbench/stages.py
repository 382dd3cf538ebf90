"""The stages of the pipeline for one request: what each found, or why it refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from gateway.model import Answer, Forward, Refuse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.model import Decision, Principal
    from gateway.snapshot import Snapshot

_LISTS: Final = ("scopes", "groups", "roles")

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


def recorded_stages(event: Mapping[str, Any], decided: tuple[str, ...]) -> list[Stage]:
    """Tell what the stages did with a request whose event was recorded, as far as it says so.

    `decided` are the lines of the policy's part, empty where it was not asked.
    """
    if "code" not in event and "outcome" not in event:  # OPA's, which knows of no stages
        return [Stage(name="decide", state="ok", lines=decided)]
    document = _Document(event.get("input"))
    passed = [
        ("route", "route" in event, (_routed(event, document),)),
        ("identify", "subject" in event or bool(decided), tuple(_identified(document))),
        ("decide", bool(decided), decided),
        ("forward", event.get("outcome") == "forwarded", (f"answered with {event.get('status')}",)),
    ]
    made: list[Stage] = []
    for name, is_passed, lines in passed:
        if is_passed:
            made.append(Stage(name=name, state="ok", lines=lines))
        elif all(stage.state == "ok" for stage in made) and (name != "forward" or not decided):
            error = _Document(event.get("error"))
            told = (event.get("status"), event.get("code"), error["message"])
            said = " ".join(str(each) for each in told if each)
            made.append(Stage(name=name, state="refused", lines=(said,)))
        else:
            made.append(Stage(name=name, state="not reached"))
    return made


class _Document(dict[str, Any]):
    """An object of a log, which anybody may have written: what is not there is None."""

    def __init__(self, value: Any) -> None:
        super().__init__(value if isinstance(value, dict) else {})

    def __missing__(self, key: str) -> None:
        return None


def _routed(event: Mapping[str, Any], document: _Document) -> str:
    params = _Document(_Document(document["route"])["params"])
    more = "".join(f", {name} = {value}" for name, value in params.items())
    return (
        f"{event['route']}: {_Document(document['request'])['path'] or event.get('target')}{more}"
    )


def _identified(document: _Document) -> Iterator[str]:
    identity = _Document(document["identity"])
    if identity["authenticated"] is not True:
        yield "anonymous"
        return
    yield f"{identity['subject']} (issuer {identity['issuer']})"
    for name in _LISTS:
        values = identity[name]
        if values and isinstance(values, list):
            yield f"{name}: {', '.join(map(str, values))}"


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
        found["forward"] = (f"to {outcome.upstream}{target}", *_token(outcome))
    return found


def _token(outcome: Forward) -> Iterator[str]:
    if outcome.token is not None:
        exchanged = outcome.token.subject_token
        what = "in exchange for the client's" if exchanged else "of the gateway's own"
        yield f"with a token {what}, from token endpoint {outcome.token.endpoint}"
        yield from (f"{name}: {value}" for name, value in outcome.token.fields)


def _identity(principal: Principal) -> Iterator[str]:
    if not principal.authenticated:
        yield "anonymous"
        return
    yield f"{principal.subject} (issuer {principal.issuer})"
    if not principal.token_header:
        yield "the issuer answers that the token is active"
    for name in _LISTS:
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
