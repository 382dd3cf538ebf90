"""Scenarios through the pipeline, and what came of them beside what was expected."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.config.values import Malformed
from gateway.model import Need
from gateway.rego.values import equal
from gateway.workbench.request import as_dict, make_request, send

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.model import Answer, Forward, Refuse
    from gateway.snapshot import Snapshot
    from gateway.workbench.request import Request
    from gateway.workbench.scenario import RequestRecipe, Scenario
    from gateway.workbench.tokens import Mint


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A part of an outcome that is not as expected; both as JSON."""

    part: str
    expected: Any
    got: Any

    def __str__(self) -> str:
        return f"{self.part}: expected {_shown(self.expected)}, got {_shown(self.got)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A scenario that was run: its outcome and all differences, or why there is none."""

    scenario: Scenario
    outcome: Forward | Refuse | Answer | None
    differences: tuple[Difference, ...] = ()
    error: str = ""

    @property
    def passed(self) -> bool:
        """Whether everything is as expected."""
        return not (self.differences or self.error)


def run(scenario: Scenario, snapshot: Snapshot, mint: Mint) -> Ran:
    """Send a scenario's request through the pipeline of a configuration."""
    keyrings = mint.keyrings
    try:
        token, introspection = None, None
        if scenario.token is not None:
            token = mint.token(*scenario.token, scenario.now)
            introspection = mint.introspection(*scenario.token, scenario.now)
            recipe = scenario.token[1]
            if recipe.file is not None:
                keyrings = {**snapshot.keyrings, **mint.given_keyrings(recipe)}
        request = _request(token, introspection, scenario.request)
    except Malformed as error:
        said = f"{error}; {error.remedy}" if error.remedy else str(error)
        return Ran(scenario=scenario, outcome=None, error=said)
    outcome = send(request, snapshot.with_keyrings(keyrings), keyrings, scenario.now)
    if isinstance(outcome, Need):
        said = f"the issuer {outcome.issuer!r} is asked about the token: add introspection to it"
        if outcome.kind == "keys":
            said = f"the keys of issuer {outcome.issuer!r} come from the network: name them in jwks"
        return Ran(scenario=scenario, outcome=None, error=said)
    found = tuple(differences(scenario, as_dict(outcome)))
    return Ran(scenario=scenario, outcome=outcome, differences=found)


def _request(
    token: str | None, introspection: dict[str, Any] | None, recipe: RequestRecipe
) -> Request:
    headers = [
        (name, _text(one))
        for name, value in recipe.headers.items()
        for one in (value if isinstance(value, list) else [value])
    ]
    body = b""
    if isinstance(recipe.body, str):
        body = recipe.body.encode()
    elif recipe.body is not None:
        body = json.dumps(recipe.body, ensure_ascii=False, default=float).encode()
        if not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("content-type", "application/json"))
    return make_request(
        token=token,
        introspection=introspection,
        method=recipe.method,
        path=recipe.path,
        headers=headers,
        body=body,
        scheme=recipe.scheme,
        host=recipe.host,
        address=recipe.address,
        session=recipe.session,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=float)


def differences(scenario: Scenario, outcome: dict[str, Any]) -> Iterator[Difference]:
    """Yield where an outcome, as `as_dict` tells it, is not as a scenario expects."""
    expect = scenario.expect
    for part in sorted(expect.model_fields_set - {"headers", "response_headers", "reasons"}):
        expected = getattr(expect, part)
        given = expected is not None or part == "decision"
        if given and not equal(expected, outcome[part]):
            yield Difference(part=part, expected=expected, got=outcome[part])
    if expect.reasons is not None:
        codes = sorted(reason["code"] for reason in outcome["reasons"])
        if codes != sorted(expect.reasons):
            yield Difference(part="reasons", expected=sorted(expect.reasons), got=codes)
    for part in ("headers", "response_headers"):
        sent: dict[str, list[str]] = {}
        for line in outcome[part]:
            name, _, value = line.partition(": ")
            sent.setdefault(name, []).append(value)
        for name, value in getattr(expect, part).items():
            got = sent.get(name, [])
            wanted = [] if value is None else value if isinstance(value, list) else [value]
            if list(map(_text, wanted)) != got:
                one = got[0] if len(got) == 1 else got or None
                yield Difference(part=f"{part}.{name}", expected=value, got=one)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
