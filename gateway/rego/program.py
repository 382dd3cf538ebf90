"""A compiled policy, and the deciding itself."""

from __future__ import annotations

import marshal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.rego.builtins import BUILTINS
from gateway.rego.checks import data_problems
from gateway.rego.errors import BuiltinError, CompileError, EvalError
from gateway.rego.index import Test, bind, select
from gateway.rego.places import Places
from gateway.rego.runtime import (
    Rule,
    Rules,
    StandIn,
    State,
    agree,
    agree_function,
    alone,
    call_dynamic,
    check_size,
    form,
    hideable,
    insert_once,
    lookup,
    members,
    merge,
    mockable,
    ordered_members,
    ordered_pairs,
    own_object,
    pairs,
    patch,
    same,
)
from gateway.rego.trace import Trace
from gateway.rego.values import UNDEFINED, RegoSet, Undefined, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType

    from gateway.rego.codegen import Observe
    from gateway.rego.footprint import Footprint
    from gateway.rego.trace import Site

DEFAULT_STEPS: Final = 1_000_000
"""Steps that a decision may take: 10 ms of plain scans, 0.1 s of the dearest code.

bench/steps.py measures both."""

SIZED: Final = frozenset((list, dict, RegoSet, str))


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Compiled modules: Python code and what it refers to. Holds no data; can be pickled.

    `source` is the code as text, `code` marshalled (for this Python only, never stored).
    `files` are the names of the modules. `rules` maps the path of each rule or function below
    `data` to (number of its Python function, number of its parameters), `entries` the named
    queries to theirs. `skeleton` is what the data document must hold at least: an empty object
    for each package. `impure` names the impure builtins called, `indexes` holds the rule index of
    a Python function and its number of bodies, `places` the (file, row) of each rule,
    `footprints` what each rule among `entrypoints` reads of the input. `hideable` are the rules,
    by the number of their Python function, at or below a path that some `with` replaces: their
    paths, and those; `mockable` the names of the functions that one replaces, `mocking` those of
    the builtins that one replaces or calls. `observe` tells what the
    code is observed for, `functions` names its Python functions and where they stand, `sites`
    are the places that the code gives numbers.
    """

    source: str = field(repr=False)
    code: bytes = field(repr=False)
    constants: tuple[Value, ...] = field(repr=False)
    builtins: tuple[str, ...]
    files: tuple[str, ...]
    rules: Mapping[tuple[str, ...], tuple[int, int]] = field(repr=False)
    entries: Mapping[str, int]
    entrypoints: tuple[str, ...]
    query: str | None
    skeleton: Mapping[str, Any] = field(repr=False)
    strict: bool
    impure: tuple[str, ...]
    indexes: Mapping[int, tuple[Test, int]] = field(repr=False)
    places: Mapping[tuple[str, ...], tuple[str, int]] = field(repr=False)
    footprints: Mapping[str, Footprint] = field(repr=False)
    hideable: Mapping[int, tuple[tuple[str, ...], frozenset[tuple[str, ...]]]] = field(
        default_factory=dict, repr=False
    )
    mockable: Mapping[int, str] = field(default_factory=dict, repr=False)
    mocking: tuple[str, ...] = ()
    observe: Observe = ""
    functions: tuple[tuple[str, Site], ...] = field(default=(), repr=False)
    sites: tuple[Site, ...] = field(default=(), repr=False)

    def defines(self, entrypoint: str) -> bool:
        """Tell whether `entrypoint`, such as `gateway/authz/allow`, can be decided."""
        found = self.rules.get(tuple(entrypoint.split("/")))
        return entrypoint in self.entries or (found is not None and found[1] == PARAMETERS_OF_RULE)


PARAMETERS_OF_RULE: Final = 2


class Policy:
    """A program with its data, ready to decide; several threads may use one at once."""

    __slots__ = ("_entries", "_places", "_rules", "data", "program")

    def __init__(self, program: Program, data: Value = None) -> None:
        """Load `program`; `data` is a JSON object, and is never changed.

        CompileError if data and a rule define the same.
        """
        code: CodeType = marshal.loads(program.code)  # noqa: S302  written by this package
        names = _names(program)
        exec(code, names)  # noqa: S102  the generator's output: see codegen
        for number, (node, count) in program.indexes.items():
            names[f"I{number}"] = bind(node, [names[f"f{number}_{body}"] for body in range(count)])
        for number, (path, above) in program.hideable.items():
            names[f"f{number}"] = hideable(names[f"f{number}"], path, above)
        for number, name in program.mockable.items():
            names[f"f{number}"] = mockable(names[f"f{number}"], name)
        names["RULES"] = _tree(program, names)
        self.program = program
        self.data = _document(program, {} if data is None else data)
        self._places = Places(program)
        self._rules: dict[str, Callable[..., Value]] = {
            "/".join(path): names[f"f{number}"]
            for path, (number, parameters) in program.rules.items()
            if parameters == PARAMETERS_OF_RULE
        }
        self._entries: dict[str, Callable[..., None]] = {
            name: names[f"e{number}"] for name, number in program.entries.items()
        }

    def with_data(self, data: Value) -> Policy:
        """Return the same policy over other data, or raise CompileError as for a new one."""
        made = object.__new__(Policy)
        made.program = self.program
        made.data = _document(self.program, data)
        made._rules = self._rules
        made._entries = self._entries
        made._places = self._places
        return made

    def trace(self) -> Trace:
        """Return an empty trace for one decision of a program that was compiled for it."""
        return Trace(self.program.functions, self.program.sites)

    def _observer(self, observer: set[int] | Trace | None) -> set[int] | Trace | None:
        if observer is None and self.program.observe:
            return set() if self.program.observe == "coverage" else self.trace()
        return observer

    def decide(
        self,
        entrypoint: str,
        input: Value,  # noqa: A002  Rego's own name for it
        *,
        now: float,
        steps: int = DEFAULT_STEPS,
        output: list[str] | None = None,
        bounded: bool = False,
        observer: set[int] | Trace | None = None,
    ) -> Value | Undefined:
        """Return the value of a rule or package, or UNDEFINED.

        `now` is Unix time in seconds, `output` receives what the policy prints. EvalError if it
        cannot decide: an error of a builtin, a conflict, too many steps, too large an input.
        `bounded` vouches that the input is not too large, so that it is not looked through.
        `observer` is a set for a program compiled for coverage, which receives the numbers of the
        `sites` that were reached, or a `trace()` for one compiled for that.
        """
        rule = self._rules.get(entrypoint)
        if rule is None:
            rows = self.run(
                entrypoint, input, now=now, steps=steps, output=output, observer=observer
            )
            return rows[0]["result"] if rows else UNDEFINED
        program = self.program
        state = State(now, steps, strict=program.strict, output=output)
        if observer is not None or program.observe:
            state.observer = self._observer(observer)
        try:
            if not bounded:
                check_size(input)
            return rule(state, input, self.data)
        except EvalError as error:
            self._places.tell(error)
            raise
        except Exception as error:
            raise self._failure(error) from error

    def run(
        self,
        entry: str,
        input: Value,  # noqa: A002
        *,
        now: float,
        steps: int = DEFAULT_STEPS,
        output: list[str] | None = None,
        observer: set[int] | Trace | None = None,
    ) -> list[Value]:
        """Return the rows of a named query, as the compiler laid them out."""
        query = self._entries.get(entry)
        if query is None:
            raise EvalError(f"unknown entrypoint {entry!a}")
        state = State(now, steps, strict=self.program.strict, output=output)
        state.observer = self._observer(observer)
        rows: list[Value] = []
        try:
            check_size(input)
            query(state, input, self.data, rows)
        except EvalError as error:
            self._places.tell(error)
            raise
        except Exception as error:
            raise self._failure(error) from error
        return rows

    def _failure(self, error: Exception) -> EvalError:
        """Return what a decision fails with where generated code goes wrong, and the place."""
        known = {RecursionError: "values are nested too deeply", MemoryError: "out of memory"}
        failure = EvalError(known.get(type(error), f"internal error: {type(error).__name__}"))
        failure.__cause__ = error
        self._places.tell(failure)
        return failure


def _tree(program: Program, names: Mapping[str, Any]) -> Rules:
    """Return the rules and functions by their path; the value of a rule holds those below it."""
    tree: Rules = {}
    for path, (number, parameters) in sorted(program.rules.items()):
        below: Rules | Rule = tree
        for name in path[:-1]:
            if isinstance(below, dict):
                below = below.setdefault(name, {})
        if isinstance(below, dict):
            below[path[-1]] = (names[f"f{number}"], parameters)
    return tree


def _names(program: Program) -> dict[str, Any]:
    """Return the globals of the generated code."""
    names: dict[str, Any] = {
        "__builtins__": {"BuiltinError": BuiltinError, "len": len, "list": list, "dict": dict}
        | {"str": str, "int": int},
        "RegoSet": RegoSet,
        "SIZED": SIZED,
        "U": UNDEFINED,
        **{function.__name__: function for function in _RUNTIME},
    }
    names.update((f"C{index}", value) for index, value in enumerate(program.constants))
    names.update(
        (f"b{index}", BUILTINS[name].function) for index, name in enumerate(program.builtins)
    )
    for index, name in enumerate(program.mocking):
        names[f"a{index}"] = alone(name)
        names[f"ma{index}"] = mockable(names[f"a{index}"], name)
    return names


_RUNTIME: Final[tuple[Callable[..., Any], ...]] = (
    StandIn,
    agree,
    agree_function,
    call_dynamic,
    form,
    insert_once,
    lookup,
    members,
    merge,
    ordered_members,
    ordered_pairs,
    own_object,
    pairs,
    patch,
    same,
    select,
)


def _document(program: Program, data: Value) -> Value:
    problems = data_problems(program.rules, data, program.places)
    if problems:
        raise CompileError(problems)
    return _with_skeleton(data, program.skeleton)


def _with_skeleton(data: dict[str, Any], skeleton: Mapping[str, Any]) -> dict[str, Any]:
    """Return `data` with an empty object wherever a package would stand and nothing does."""
    made = dict(data)
    for key, below in skeleton.items():
        made[key] = _with_skeleton(made.get(key, {}), below)
    return made
