"""Policies that past decisions are decided again with: by entrypoint, with what each reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.rego import CompileError, EvalError, Policy, compile as compile_rego
from gateway.rego.trace import Evaluation
from gateway.workbench.events import MAX_NAME, allows, parts
from gateway.workbench.observed import Observed, observed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.bundle.folder import PolicySources
    from gateway.rego import Footprint, Value

MAX_REMEMBERED: Final = 1024
"""So many unknown entrypoints, and lists of what was erased, are remembered."""

MAX_POINTERS: Final = 4096
"""Longer lists of what was erased are not remembered."""

BY_CHANCE: Final = frozenset(
    ("io.jwt.encode_sign", "io.jwt.encode_sign_raw", "rand.intn", "uuid.rfc4122")
)
"""Impure builtins that answer differently each time; the others depend on the time only."""


Reads = frozenset[tuple[str, ...]]
"""Paths of the input, as of a Footprint."""


class Rule(NamedTuple):
    """What decides: a rule, and where its body stands; without one its default does."""

    name: str
    file: str
    line: int
    default: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All that it may be called."""
        return (self.name, self.file, f"{self.file}:{self.line}")


class Entry:
    """An entrypoint of the candidate."""

    def __init__(self, name: str, policy: Policy, footprint: Footprint | None) -> None:
        self.name = name
        self.policy = policy
        self.reads = read_by(footprint)
        self.chance = tuple(sorted(BY_CHANCE & footprint.impure)) if footprint else ()
        self._hidden: dict[tuple[str, ...], tuple[str, ...]] = {}

    def hidden(self, pointers: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the JSON pointers into an event that lead to what is read of the input."""
        found = self._hidden.get(pointers)
        if found is None:
            found = tuple(pointer for pointer in pointers if is_read(pointer, self.reads))
            if sum(map(len, pointers)) <= MAX_POINTERS:
                if len(self._hidden) >= MAX_REMEMBERED:
                    self._hidden.clear()
                self._hidden[pointers] = found
        return found


def read_by(footprint: Footprint | None) -> Reads:
    """The paths that are read of the input; the whole where that is not known."""
    return frozenset(((),)) if footprint is None else footprint.paths


def is_read(pointer: str, reads: Reads) -> bool:
    """Whether a JSON pointer into an event leads to what is read of the input."""
    top, *below = parts(pointer)
    if top != "input":
        return False
    path = tuple(below)
    return any(read[: len(path)] == path or path[: len(read)] == read for read in reads)


class Candidate:
    """A policy set; `steps` is the work limit of each decision. CompileError if it is bad."""

    def __init__(self, sources: PolicySources, steps: int) -> None:
        self.sources = sources
        self.steps = steps
        self._program = compile_rego(sources.modules)
        Policy(self._program, sources.data)  # which says where data and rules disagree
        self._entries: dict[str, Entry | None] = {}
        self._traced: Observed | None = None

    def entry(self, name: str) -> Entry | None:
        """The entrypoint of this name; None where the policies do not define it."""
        if len(name) > MAX_NAME:
            return None
        if name in self._entries:
            return self._entries[name]
        found = self._made(name) if self._has(name) else None
        if found is not None or len(self._entries) < MAX_REMEMBERED:
            self._entries[name] = found
        return found

    def _has(self, name: str) -> bool:
        """Whether it is a rule, or a package with rules."""
        path = tuple(name.split("/"))
        return self._program.defines(name) or any(
            len(rule) > len(path) and rule[: len(path)] == path for rule in self._program.rules
        )

    def _made(self, name: str) -> Entry | None:
        try:
            program = compile_rego(self.sources.modules, (name,))
        except CompileError:
            return None  # the modules are good: it is the entrypoint that is none
        return Entry(name, Policy(program, self.sources.data), program.footprints.get(name))

    def rule(self, name: str, document: Value, now: float, *, allow: bool) -> Rule | None:
        """Decide once more, and tell which rule it was; None where none is told of."""
        if self._traced is None:
            self._traced = observed(self.sources, "trace")
        trace = self._traced.trace()
        try:
            self._traced.decide(name, document, now=now, steps=self.steps, observer=trace)
        except EvalError as error:
            return Rule(error.rule, error.file, error.row) if error.rule else None
        if not trace.roots:
            return None
        root = trace.roots[0]
        if trace.dropped:  # the body that decides may be among what was not kept
            return Rule(root.name, root.site.file, root.site.row)
        return _deciding(root, allow)


def _deciding(found: Evaluation, allow: bool) -> Rule:
    """The body that gave a value; of an object, that of the boolean rule which it is built on."""
    body = next((body for body in found.bodies if body.held), None)
    if body is not None and found.value.__class__ is dict and allows(found.value) is allow:
        used = [step for step in body.steps if isinstance(step, Evaluation)]
        rule = next((step for step in used if step.value is allow), None)
        if rule is not None:
            return _deciding(_evaluated(rule, found), allow)
    site = found.site if body is None else body.site
    return Rule(found.name, site.file, site.row, body is None)


def _evaluated(step: Evaluation, within: Evaluation) -> Evaluation:
    """Where a value that was known already was found."""
    if not step.again:
        return step
    first = (each for each in _below(within) if each.name == step.name and not each.again)
    return next(first, step)


def _below(found: Evaluation) -> Iterator[Evaluation]:
    for body in found.bodies:
        for step in body.steps:
            if isinstance(step, Evaluation):
                yield step
                yield from _below(step)
