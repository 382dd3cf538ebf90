"""Source to program: what the child processes are asked, and what their answers mean.

1. A child without any of this package's code turns source into plan JSON (compile_worker).
2. The plan is read, checked and turned into Python: here, or for a large one in a second child
   of our own.
"""

from __future__ import annotations

import builtins
import gc
import json
import marshal
import math
import pickle
import re
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from itertools import starmap
from typing import TYPE_CHECKING, Any, Final

from gateway.rego import plan_cache
from gateway.rego.assigned import with_comparisons
from gateway.rego.builtins import ANNOTATIONS, BUILTINS, UNSUPPORTED
from gateway.rego.cases import GENERATED
from gateway.rego.checks import plan_problems, source_of
from gateway.rego.children import WALL_SECONDS, Children
from gateway.rego.codegen import generate, hideable_rules, mockable_functions
from gateway.rego.complaints import complaints, unplaced
from gateway.rego.conflicts import conflicts, partial_replacements
from gateway.rego.culprit import culprits
from gateway.rego.errors import CompileError, RegoProblem
from gateway.rego.faults import faults, hidden_builtins, hidden_operators, unbound_variables
from gateway.rego.footprint import footprint
from gateway.rego.loops import EVERY, with_loops
from gateway.rego.order import in_order
from gateway.rego.pieces import pieces
from gateway.rego.places import FILE
from gateway.rego.plan import At, PlanError, read_plan
from gateway.rego.program import Program
from gateway.rego.replacements import BUILTINS_, MARKS
from gateway.rego.source import read_modules
from gateway.rego.stand_ins import with_stand_ins
from gateway.rego.trace import Site

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from gateway.rego.codegen import Observe
    from gateway.rego.plan import Function, Plan
    from gateway.rego.source import Source

LARGE_PLAN: Final = 256 << 10
"""Plans longer than this (bytes) are turned into code in a child: 0.1 s and more."""

LARGE_SOURCE: Final = 24 << 10
"""Sources longer than this (characters) make such plans, so that child is started at once."""

MOST_FAILURES: Final = 8
"""How often the compiler may stop in one compilation; each time takes a new process."""

SEARCH_SECONDS: Final = 10.0
"""How long is searched for the rule that a fault without a place is about."""

_LATE: Final = "the compiler did not finish in time"

NAMES: Final = frozenset((*BUILTINS, *UNSUPPORTED, *ANNOTATIONS))
"""The names of all builtins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What is compiled together: sources by module name, and the names that can be asked.

    `entrypoints` (`package/path/rule`, or a package) must exist; any other rule can be decided
    too. `query` is a Rego query that `Policy.run(program.query, …)` answers. Unless `strict`,
    an error of a builtin makes its expression undefined. `indexed` is whether rules with many
    bodies get an index, which changes no result. `observe` makes code that tells an observer
    what happens in it: see `Policy.decide`.
    """

    modules: Mapping[str, str]
    entrypoints: tuple[str, ...] = ()
    query: str | None = None
    strict: bool = True
    indexed: bool = True
    observe: Observe = ""


def compile(  # noqa: A001  the engine's public verb and its options
    modules: Mapping[str, str],
    entrypoints: Sequence[str] = (),
    query: str | None = None,
    *,
    strict: bool = True,
    indexed: bool = True,
    observe: Observe = "",
    cache_dir: Path | None = None,
) -> Program:
    """Compile modules (name to source) into a program; CompileError lists every fault found.

    The options are those of a Unit. `cache_dir` keeps plans by content. Blocking: it runs child
    processes.
    """
    unit = Unit(
        modules=dict(modules),
        entrypoints=tuple(entrypoints),
        query=query,
        strict=strict,
        indexed=indexed,
        observe=observe,
    )
    (made,) = all_good(compile_all((unit,), cache_dir=cache_dir))
    return made


def compile_all(
    units: Sequence[Unit], *, cache_dir: Path | None = None, children: Children | None = None
) -> list[Program | CompileError]:
    """Compile each unit by itself, in one child process; an error stands in its unit's place.

    All of it takes WALL_SECONDS at most; units that are left then are errors.
    """
    if children is None:
        with closing(Children()) as own:
            return compile_all(units, cache_dir=cache_dir, children=own)
    until = time.monotonic() + WALL_SECONDS
    _prepare(units, children)
    made: dict[int, Program | CompileError] = {}
    texts: dict[int, str] = {}
    read: dict[int, list[Source]] = {}
    asked: dict[int, dict[str, Any]] = {}
    for number, unit in enumerate(units):
        try:
            read[number] = sources = read_sources(unit)
        except CompileError as error:
            made[number] = error
            continue
        question = request(unit, sources)
        text = plan_cache.find(question, cache_dir) if cache_dir else None
        if text is None:
            asked[number] = question
        else:
            texts[number] = text
    answers = ask(list(asked.values()), children, until) if asked else []
    searched = False
    for (number, question), answer in zip(asked.items(), answers, strict=True):
        try:
            texts[number] = plan_text(answer, read[number])
        except CompileError as error:
            made[number] = error
            if not searched and any(not problem.row for problem in error.problems):
                made[number] = _placed(error, read[number], children, until)
                searched = True  # one search tells enough, and takes its time
            continue
        if cache_dir:
            plan_cache.keep(question, cache_dir, texts[number])
    plans = [(units[number], text, read[number]) for number, text in texts.items()]
    apart = children.generate.ahead or sum(map(len, texts.values())) > LARGE_PLAN
    if plans and apart:
        finished = _finish_apart(plans, children, until)
    else:
        finished = list(starmap(_finished, plans))
    bound = map(_bound, finished, (read[number] for number in texts))
    made.update(zip(texts, bound, strict=True))
    return [made[number] for number in range(len(units))]


def _bound(program: Program | CompileError, sources: Sequence[Source]) -> Program | CompileError:
    """Return a program, or the variables without a value that its plan does not show."""
    if isinstance(program, CompileError):
        return program
    found = [problem for source in sources for problem in unbound_variables(source)]
    return CompileError(found) if found else program


def _prepare(units: Sequence[Unit], children: Children) -> None:
    """Start the second child where there will be work for it."""
    if sum(len(text) for unit in units for text in unit.modules.values()) > LARGE_SOURCE:
        children.generate.start()


def all_good(made: Sequence[Program | CompileError]) -> list[Program]:
    """Return the programs, or raise CompileError with the problems of all units, each once.

    Those of generated modules are told where they were copied from.
    """
    problems = [
        problem for one in made if isinstance(one, CompileError) for problem in one.problems
    ]
    problems = [each for each in problems if not each.file.endswith(GENERATED)] or problems
    if problems:
        raise CompileError(tuple(dict.fromkeys(problems)))
    return [one for one in made if isinstance(one, Program)]


def read_sources(unit: Unit) -> list[Source]:
    """Return the modules of a unit, or raise CompileError for faults that their text shows."""
    try:
        return _read_sources(unit)
    except RecursionError:
        raise CompileError((unplaced("an expression is too long; divide it"),)) from None


def _read_sources(unit: Unit) -> list[Source]:
    sources = read_modules(unit.modules, NAMES)
    problems = [problem for source in sources for problem in faults(source, NAMES)]
    if not any(problem.code == "no-rego" for problem in problems):
        problems += hidden_builtins(sources, NAMES)
        problems += hidden_operators(sources)
        problems += conflicts(sources)
        problems += partial_replacements(sources)
    if problems:
        raise CompileError(problems)
    for source in sources:
        _ = source.prepared  # found here, where what is wrong with it is told
    return sources


def skeleton(sources: Sequence[Source]) -> dict[str, Any]:
    """Return nested empty objects at the path of each package."""
    made: dict[str, Any] = {}
    for source in sources:
        below = made
        for name in source.package:
            below = below.setdefault(name, {})
    return made


# --- first child: source to plan


def request(unit: Unit, sources: Sequence[Source]) -> dict[str, Any]:
    """Return what the first child is asked for a unit."""
    idle = unit.query is None and not unit.entrypoints
    return {
        "modules": [*map(pieces, sources), *_stubs(sources, unit.query or "")],
        "skeleton": skeleton(sources),
        "entrypoints": list(unit.entrypoints),
        "query": "true" if idle else unit.query,
    }


def _stubs(sources: Sequence[Source], query: str = "") -> list[list[str]]:
    """Return a module of functions that stand for builtins in the other texts, if any do."""
    texts = (*(source.prepared for source in sources), query)
    found = {name for text in texts for name in _STUB.findall(text)}
    rules = (
        f"{name}({', '.join(f'x{n}' for n in range(_arity(name)))}) := 1\n"
        for name in sorted(found)
    )
    return [[f"package {BUILTINS_}\n{''.join(rules)}"]] if found else []


def _arity(stub: str) -> int:
    """Return the number of the arguments of a function that stands for a builtin or `every`."""
    if EVERY.endswith(f".{stub}"):
        return 2
    builtin = BUILTINS.get(bytes.fromhex(stub[1:]).decode())
    return 1 if builtin is None else builtin.arity


_STUB: Final = re.compile(rf"\bdata\.{BUILTINS_}\.(f[0-9a-f]+|loop)\b")


def ask(
    requests: Sequence[Mapping[str, Any]],
    children: Children | None = None,
    until: float = math.inf,
) -> list[Mapping[str, Any]]:
    """Return the child's answer to each request; one that it did not survive is a fault.

    `until` is the monotonic time at which the rest is given up.
    """
    children = children or Children()
    until = min(until, time.monotonic() + WALL_SECONDS)
    answers: list[Mapping[str, Any]] = []
    failures = 0
    while len(answers) < len(requests):
        left = until - time.monotonic()
        if left <= 0 or failures == MOST_FAILURES:
            why = _LATE if left <= 0 else "the compiler stopped too often for this one to be tried"
            return answers + [{"crash": why, "untried": True}] * (len(requests) - len(answers))
        rest = requests[len(answers) :]
        asked = "".join(json.dumps(item) + "\n" for item in rest).encode()
        made, failure = _answers(asked, children, left)
        answers += made
        if len(made) < len(rest):
            answers.append({"crash": failure})
            failures += 1
    return answers


def _answers(
    asked: bytes, children: Children, seconds: float
) -> tuple[list[Mapping[str, Any]], str]:
    """Return the answers that a child gave, and why there are no more."""
    try:
        output, status = children.compile.ask(asked, seconds)
    except OSError as error:
        return [], f"the compiler could not be started: {error.strerror}"
    failure = f"the compiler stopped (status {status})"
    if status is None:
        failure = _LATE
    answers: list[Mapping[str, Any]] = []
    for line in output.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        answer = _answer(line)
        if answer is None:
            failure = "the compiler gave no answer"
            break
        answers.append(answer)
    return answers, failure


def _answer(line: bytes) -> Mapping[str, Any] | None:
    """Read a line that the child wrote: a plan, or faults."""
    try:
        answer = json.loads(line)
        if isinstance(answer["plan"] if "plan" in answer else answer["faults"][0][1], str):
            return answer  # type: ignore[no-any-return]
    except (ValueError, RecursionError, TypeError, LookupError):
        pass
    return None


def plan_text(answer: Mapping[str, Any], sources: Sequence[Source]) -> str:
    """Return the plan in an answer, or raise CompileError with the faults in it."""
    if "plan" in answer:
        return str(answer["plan"])
    raise CompileError(_faults_of(answer, sources))


def _faults_of(answer: Mapping[str, Any], sources: Sequence[Source]) -> list[RegoProblem]:
    if "crash" in answer:
        return [_crash_problem(str(answer["crash"]), sources)]
    problems: list[RegoProblem] = []
    for index, said in answer.get("faults", ()):
        problems += complaints(index, said, sources)
    return list(dict.fromkeys(problems))


def _crash_problem(reason: str, sources: Sequence[Source]) -> RegoProblem:
    return RegoProblem(
        file=sources[0].name if len(sources) == 1 else "",
        row=0,
        col=0,
        code="compiler-crash",
        message=reason,
        remedy="divide the expression that it is about",
    )


def _placed(
    error: CompileError, sources: Sequence[Source], children: Children, until: float
) -> CompileError:
    """Find the rules that the faults without a place are about."""
    until = min(until, time.monotonic() + SEARCH_SECONDS)

    def tried(alone: Iterable[tuple[Source, str]]) -> Iterator[list[RegoProblem]]:
        asked = list(alone)
        requests = [
            request(Unit(modules={}), [source]) | {"modules": [[text], *_stubs([source])]}
            for source, text in asked
        ]
        for (source, _), answer in zip(asked, ask(requests, children, until), strict=True):
            if "untried" in answer:
                return
            yield _faults_of(answer, [source])

    return CompileError(culprits(error.problems, sources, until, tried))


# --- plan to program


def finish(unit: Unit, text: str, sources: Sequence[Source]) -> Program:
    """Turn plan JSON of `sources` into a program, or raise CompileError."""
    try:
        plan = read_plan(text)
        plan = in_order(with_comparisons(with_loops(plan) if EVERY in text else plan))
        if any(mark in text for mark in MARKS):
            plan = with_stand_ins(plan)
        problems = plan_problems(plan, sources, unit.entrypoints)
        if problems:
            raise CompileError(problems)
        files = [source_of(plan, sources, At(number, 1, 1)) for number in range(len(plan.files))]
        names = ["" if source is None else source.name for source in files]
        made = generate(
            plan, files=names, strict=unit.strict, indexed=unit.indexed, observe=unit.observe
        )
        code = builtins.compile(made.source, FILE, "exec", dont_inherit=True)
    except (PlanError, SyntaxError, RecursionError, MemoryError) as error:
        # SyntaxError and RecursionError: only by nesting beyond what Python can compile.
        message = str(error) if isinstance(error, PlanError) else "nested too deeply"
        raise CompileError((unplaced(message),)) from error
    entries = {name: made.entries[name] for name in unit.entrypoints if name in made.entries}
    if unit.query is not None and plan.query is not None:
        entries[plan.query] = made.entries[plan.query]
    return Program(
        source=made.source,
        code=marshal.dumps(code),
        constants=made.constants,
        builtins=made.builtins,
        mocking=made.mocking,
        files=tuple(unit.modules),
        rules=made.rules,
        entries=entries,
        entrypoints=unit.entrypoints,
        query=plan.query if unit.query is not None else None,
        skeleton=skeleton(sources),
        strict=unit.strict,
        indexes=made.indexes,
        places=_places(plan, sources),
        footprints={
            name: footprint(plan, tuple(name.split("/")), lambda at: _site(plan, sources, at))
            for name in unit.entrypoints
            if tuple(name.split("/")) in made.rules
        },
        impure=tuple(
            sorted(
                name
                for name in {*made.builtins, *made.mocking}
                if name in BUILTINS and BUILTINS[name].impure
            )
        ),
        hideable=hideable_rules(plan),
        mockable=mockable_functions(plan),
        observe=unit.observe,
        functions=tuple(_named(plan, sources, item) for item in plan.functions)
        if unit.observe
        else (),
        sites=tuple(_site(plan, sources, at) for at in made.sites),
    )


def _named(plan: Plan, sources: Sequence[Source], item: Function) -> tuple[str, Site]:
    return ".".join(("data", *item.path)), _site(plan, sources, item.at)


def _site(plan: Plan, sources: Sequence[Source], at: At | None) -> Site:
    source = source_of(plan, sources, at)
    if source is None or at is None:
        return Site("", 0, 0)
    return Site(source.name, *source.place_prepared(at.row, at.col))


def _places(plan: Plan, sources: Sequence[Source]) -> dict[tuple[str, ...], tuple[str, int]]:
    """Return the file and row of each rule and function."""
    places: dict[tuple[str, ...], tuple[str, int]] = {}
    for item in plan.functions:
        if item.generation != "g0":
            continue
        source = source_of(plan, sources, item.at)
        at = item.at
        if source is None or at is None:
            places[item.path] = ("", 0)
        else:
            places[item.path] = (source.name, source.place_prepared(at.row, at.col)[0])
    return places


def _finished(unit: Unit, text: str, sources: Sequence[Source]) -> Program | CompileError:
    try:
        return finish(unit, text, sources)
    except CompileError as error:
        return error


def _finish_apart(
    plans: Sequence[tuple[Unit, str, Sequence[Source]]], children: Children, until: float
) -> list[Program | CompileError]:
    """Turn plans into programs in a child of ours."""
    try:
        left = max(until - time.monotonic(), 1)
        output, status = children.generate.ask(pickle.dumps(plans), left)
    except OSError:
        output, status = b"", None
    if status != 0:
        return [CompileError((unplaced("the code generator stopped"),))] * len(plans)
    made: list[Program | CompileError] = pickle.loads(output)  # noqa: S301  from our own child
    return made


def finish_in_child() -> None:
    """Be the second child: pickled (unit, plan JSON, sources) in, programs or CompileErrors out."""
    gc.disable()  # there is little to collect before all is over, and much to look through
    plans = pickle.load(sys.stdin.buffer)  # noqa: S301  from our own parent
    sys.stdout.buffer.write(pickle.dumps(list(starmap(_finished, plans))))
