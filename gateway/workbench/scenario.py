"""`*.scenario.yaml`: requests with tokens, and what must become of them.

    now: 2026-09-21T14:13:20Z
    tokens:
      alice: {claims: {roles: [reader]}}
    scenarios:
      - name: a reader reads orders
        token: alice
        request: GET /orders/42
        expect: forwarded
      - name: who may do what
        matrix: {role: [reader, writer], method: [GET, POST]}
        token: {claims: {roles: ["${role}"]}}
        request: ${method} /orders
        allow: [{method: GET}, {role: writer}]

The models below are the reference; docs/testing.md explains them.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003  pydantic reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from gateway.config.document import Fault, read_document
from gateway.config.model import Duration, HeaderName, Section
from gateway.config.validate import did_you_mean, validate
from gateway.config.values import Malformed, described
from gateway.errors import Code, ConfigError, Problem
from gateway.workbench.variables import Room, filled, is_among

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SUFFIX = ".scenario.yaml"
MOST_ALIKE = 32
"""Longest chain of tokens of which each is like the next."""
ANONYMOUS = "none"
"""The name of no token, for matrices."""

_NEARLY = re.compile(r"[._-]scenarios?\.ya?ml\Z", re.IGNORECASE)
_CODES = {code.text: code for code in Code}


def _moment(value: object) -> object:
    """Unix seconds, of a number or an RFC 3339 time."""
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            raise Malformed("expected a time such as 2026-09-21T14:13:20Z, or seconds") from None
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool):
        raise Malformed("expected a time such as 2026-09-21T14:13:20Z, or seconds")
    return value


def _code(value: str) -> str:
    if value not in _CODES:
        raise Malformed(f"{value!r} is no code", did_you_mean(value, _CODES))
    return value


class TokenRecipe(Section):
    """A token: claims that a test key of its issuer signs, or a file."""

    like: str | None = None
    """Name of another token, which has what is not given here; claims and header are joined."""
    claims: dict[str, Any] = Field(default_factory=dict)
    """Claims beside, or instead of, `iss`, `aud`, `sub` (the token's name), `iat` and `exp`; null
    leaves one out."""
    header: dict[str, Any] = Field(default_factory=dict)
    """Header parameters beside, or instead of, `alg`, `kid` and `typ`; null leaves one out."""
    issuer: str | None = None
    """Name of the issuer in gateway.yaml; its first one by default."""
    age: Duration = 0.0
    """How long ago it was issued."""
    lifetime: Duration = 300.0
    """Time from `iat` to `exp`."""
    signed_by: Literal["issuer", "stranger", "nobody"] = "issuer"
    """A key of the issuer, a key under the same id that is not the issuer's, or none at all."""
    introspection: dict[str, Any] | None = None
    """What the issuer answers where it is asked about the token (RFC 7662), beside or instead of
    `active`, `token_type` and the claims; null leaves one out. The token is opaque then, unless
    the issuer is asked about those that it signed."""
    file: Path | None = None
    """File with the token as it is sent; then `jwks` holds the keys, and nothing else is given."""
    jwks: Path | None = None
    """File with the issuer's JWK Set for `file`; those that gateway.yaml names by default."""

    @model_validator(mode="after")
    def _one_kind(self) -> TokenRecipe:
        if self.file is None and self.jwks is not None:
            raise Malformed("jwks verifies the token in a file", "give file, too", key=("jwks",))
        others = self.model_fields_set - {"file", "jwks", "issuer", "like", "introspection"}
        if self.file is not None and others:
            raise Malformed(f"file is the whole token; leave out {', '.join(sorted(others))}")
        return self


class RequestRecipe(Section):
    """A request."""

    method: str = "GET"
    """Its method."""
    path: str = "/"
    """Path and query, as they are sent."""
    host: str = "localhost"
    """Its Host."""
    scheme: Literal["http", "https"] | None = None
    """What the client speaks; that of the first listener by default."""
    address: str = "127.0.0.1"
    """The peer's address."""
    session: bool = False
    """Whether the token is that of a browser's session, which has ended where there is no token."""
    headers: dict[str, Any] = Field(default_factory=dict)
    """More headers: name to value, or to a list of values."""
    body: Any = None
    """A text as it is sent, or what is sent as JSON."""


class Expectation(Section):
    """What must become of a request; what is left out may be anything."""

    outcome: Literal["forwarded", "refused", "answered"] | None = None
    """Forwarded, refused, or answered by the gateway itself (CORS preflights)."""
    status: int | None = None
    """Status of a refusal or answer."""
    code: Annotated[str, AfterValidator(_code)] | None = None
    """Code of the refusal."""
    reasons: tuple[str, ...] | None = None
    """Codes of the policy's reasons, all of them, in any order."""
    decision: Any = None
    """The policy's whole result; null where it makes none."""
    route: str | None = None
    """Id of the route."""
    subject: str | None = None
    """Subject of the identity; empty text for an anonymous request."""
    upstream: str | None = None
    """URL of the upstream."""
    target: str | None = None
    """Path and query that the upstream gets."""
    headers: dict[HeaderName, Any] = Field(default_factory=dict)
    """Headers of what is sent to the upstream, or to the client; null for one that is not there."""
    response_headers: dict[HeaderName, Any] = Field(default_factory=dict)
    """Headers that are added to the upstream's response."""

    @model_validator(mode="after")
    def _says_something(self) -> Expectation:
        if not any(
            getattr(self, name) not in (None, {}) or name == "decision"
            for name in self.model_fields_set
        ):
            raise Malformed("expects nothing, so that it would always pass", "say what must come")
        return self


def _request(value: object) -> object:
    """`GET /orders` is short for its two parts."""
    if not isinstance(value, str):
        return value
    method, blank, path = value.partition(" ")
    if not blank:
        raise Malformed(f"expected METHOD PATH, such as GET /orders, got {value!r}")
    return {"method": method, "path": path.strip()}


def _expectation(value: object) -> object:
    """`forwarded`, `403`, `token-expired`, `403 policy-denied` are short for an expectation."""
    if isinstance(value, int) and not isinstance(value, bool):
        return {"status": value}
    if not isinstance(value, str):
        return value
    found: dict[str, Any] = {}
    for word in value.split():
        if word in ("forwarded", "refused", "answered"):
            found["outcome"] = word
        elif word.isascii() and word.isdigit():
            found["status"] = int(word)
        elif word in _CODES:
            found["code"] = word
        else:
            known = ("forwarded", "refused", "answered", *_CODES)
            remedy = did_you_mean(word, known)
            raise Malformed(f"{word!r} is no outcome, status or code", remedy)
    if not found:
        raise Malformed(f"expected an outcome, a status or a code, got {described(value)}")
    return found


def _token(value: object) -> object:
    """A token's name is short for one like it."""
    return {"like": value} if isinstance(value, str) else value


class ScenarioRecipe(Section):
    """One scenario, or one for each combination of a matrix."""

    name: str = Field(min_length=1)
    """What is claimed."""
    matrix: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(default_factory=dict)
    """Variables and their values: one scenario for each combination. `${variable}` stands for its
    value in tokens, requests and expectations."""
    token: Annotated[TokenRecipe | None, BeforeValidator(_token)] = None
    """Name of a token above, or a token; an anonymous request without."""
    request: Annotated[RequestRecipe, BeforeValidator(_request)]
    """METHOD PATH, or a mapping."""
    now: Annotated[float, BeforeValidator(_moment)] | None = None
    """The time of this request."""
    expect: Annotated[Expectation, BeforeValidator(_expectation)] | None = None
    """`forwarded`, a status, a code, `STATUS CODE`, or a mapping."""
    allow: tuple[dict[str, Any], ...] | None = None
    """Instead of `expect`: the combinations of the matrix that are forwarded. A variable that an
    entry leaves out may be anything; a list is a choice."""
    otherwise: Annotated[Expectation, BeforeValidator(_expectation)] = Expectation(
        outcome="refused", status=403, code="policy-denied"
    )
    """What becomes of the others."""

    @model_validator(mode="after")
    def _one_claim(self) -> ScenarioRecipe:
        if (self.expect is None) == (self.allow is None):
            raise Malformed("expected either expect or allow")
        for index, entry in enumerate(self.allow or ()):
            for name, value in entry.items():
                at = ("allow", str(index), name)
                if name not in self.matrix:
                    remedy = did_you_mean(name, self.matrix)
                    raise Malformed(f"the matrix has no {name}", remedy, key=at)
                for each in value if isinstance(value, list) else (value,):
                    if not is_among(each, self.matrix[name]):
                        raise Malformed(
                            f"no {name} of the matrix is {each!r}",
                            "write a value as the matrix has it",
                            key=at,
                        )
        return self


class ScenarioFile(Section):
    """A file of scenarios."""

    now: Annotated[float, BeforeValidator(_moment)] = 1_790_000_000.0
    """The time of all requests, for the token's claims and for the policy."""
    tokens: dict[str, TokenRecipe] = Field(default_factory=dict)
    """Tokens by name."""
    scenarios: tuple[ScenarioRecipe, ...] = Field(min_length=1)
    """The scenarios."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One request and what must become of it; `row` counts from 1.

    `token` is the name and recipe of a token, None for an anonymous request.
    """

    file: Path
    row: int
    name: str
    now: float
    token: tuple[str, TokenRecipe] | None
    request: RequestRecipe
    expect: Expectation

    @property
    def full_name(self) -> str:
        """The name that people select it by."""
        return f"{self.file}: {self.name}"


def read_scenarios(path: Path, data: bytes) -> list[Scenario]:
    """Read a file's scenarios; ConfigError with every fault in it."""
    document = read_document(data, None)
    problems = list(document.problems)
    found, draft, faults = validate(document.tree, ScenarioFile, document.unreadable)
    if document.readable:
        problems += map(document.problem, faults)
    made: list[Scenario] = []
    if found is not None and not problems:
        room = Room(found)
        for index, recipe in enumerate(found.scenarios):
            row = document.locate(f"scenarios.{index}.name").line
            try:
                room.take(recipe)
                made += _scenarios(path, row, found, recipe)
            except Malformed as error:
                key = draft.original(("scenarios", index, *error.key))
                fault = Fault(key=key, message=str(error), remedy=error.remedy)
                problems.append(document.problem(fault))
    if problems:
        ordered = sorted(problems, key=lambda each: (each.line, each.column))
        raise ConfigError(tuple(replace(each, file=str(path)) for each in ordered))
    return made


def _scenarios(
    path: Path, row: int, file: ScenarioFile, recipe: ScenarioRecipe
) -> Iterator[Scenario]:
    bases: dict[str, TokenRecipe] = {}
    for values in itertools.product(*recipe.matrix.values()):
        chosen = dict(zip(recipe.matrix, values, strict=True))
        expect = recipe.expect
        if expect is None:
            allowed = any(_covers(entry, chosen) for entry in recipe.allow or ())
            expect = Expectation(outcome="forwarded") if allowed else recipe.otherwise
        told = ", ".join(f"{name}={value}" for name, value in chosen.items())
        yield Scenario(
            file=path,
            row=row,
            name=f"{recipe.name} ({told})" if told else recipe.name,
            now=file.now if recipe.now is None else recipe.now,
            token=_chosen_token(path, file, recipe, chosen, bases),
            request=filled(recipe.request, chosen, "request"),
            expect=filled(expect, chosen, "expect"),
        )


def _covers(entry: Mapping[str, Any], chosen: Mapping[str, Any]) -> bool:
    return all(
        is_among(chosen[name], value if isinstance(value, list) else (value,))
        for name, value in entry.items()
    )


def _chosen_token(
    path: Path,
    file: ScenarioFile,
    recipe: ScenarioRecipe,
    chosen: Mapping[str, Any],
    bases: dict[str, TokenRecipe],
) -> tuple[str, TokenRecipe] | None:
    if recipe.token is None:
        return None
    given: TokenRecipe = filled(recipe.token, chosen, "token")
    if given.like == ANONYMOUS:
        return None
    name = given.like or "token"
    found = filled(_joined(file, given, bases), chosen, "token")
    files = {"file": found.file, "jwks": found.jwks}
    return name, found.model_copy(
        update={key: path.parent / value for key, value in files.items() if value is not None}
    )


def _joined(file: ScenarioFile, recipe: TokenRecipe, bases: dict[str, TokenRecipe]) -> TokenRecipe:
    """Return a token with all that it has from others; `bases` are those that are made already."""
    name = recipe.like
    if name is None:
        return recipe
    if name not in bases:
        bases[name] = _base(file, name)
    return _over(bases[name], recipe)


def _base(file: ScenarioFile, name: str) -> TokenRecipe:
    chain: list[str] = []
    following: str | None = name
    while following is not None:
        if following not in file.tokens:
            remedy = did_you_mean(following, file.tokens)
            raise Malformed(f"no token {following!r}", remedy, key=("token",))
        if following in chain:
            raise Malformed(f"the token {following!r} is like itself", key=("token",))
        if len(chain) == MOST_ALIKE:
            raise Malformed(f"more than {MOST_ALIKE} tokens, each like the next", key=("token",))
        chain.append(following)
        following = file.tokens[following].like
    made = file.tokens[chain.pop()]
    for each in reversed(chain):
        made = _over(made, file.tokens[each])
    return made


def _over(base: TokenRecipe, recipe: TokenRecipe) -> TokenRecipe:
    update = {each: getattr(recipe, each) for each in recipe.model_fields_set - {"like"}}
    update |= {"claims": base.claims | recipe.claims, "header": base.header | recipe.header}
    if base.introspection is not None and recipe.introspection is not None:
        update["introspection"] = base.introspection | recipe.introspection
    return base.model_copy(update=update)


def find_scenarios(paths: Iterable[Path]) -> list[Path]:
    """Return the scenario files among and below `paths`, but for hidden ones.

    ConfigError for files that are nearly named like some: nobody would miss them.
    """
    found: dict[Path, None] = {}
    problems: list[Problem] = []
    for root in paths:
        below = sorted(root.rglob("*")) if root.is_dir() else [root]
        for path in below:
            if any(part.startswith(".") for part in path.relative_to(root).parts):
                continue
            if path.name.endswith(SUFFIX):
                found[path] = None
            elif _NEARLY.search(path.name):
                message = "is no scenario file by its name"
                remedy = f"name it …{SUFFIX}"
                problems.append(Problem(message, file=str(path), remedy=remedy))
    if problems:
        raise ConfigError(tuple(problems))
    return list(found)
