"""Source to program: the child processes, the plan cache, and what their answers mean.

1. A child without any of this package's code turns source into plan JSON (compile_worker).
2. The plan is read, checked and turned into Python: here, or for a large one in a second child
   of our own, so that a serving process keeps its interpreter for requests.
"""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import json
import marshal
import os
import pickle
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.rego.builtins import BUILTINS, UNSUPPORTED
from gateway.rego.checks import plan_problems, source_of
from gateway.rego.codegen import generate
from gateway.rego.errors import CompileError, RegoProblem
from gateway.rego.footprint import footprint
from gateway.rego.plan import At, PlanError, read_plan
from gateway.rego.program import Program
from gateway.rego.source import faults, hidden_builtins, read_modules

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.rego.plan import Plan
    from gateway.rego.source import Source

CPU_SECONDS: Final = 60
WALL_SECONDS: Final = 120
LARGE_PLAN: Final = 256 << 10
"""Plans longer than this (bytes) are turned into code in a child: 0.1 s and more."""

_NAMES: Final = frozenset((*BUILTINS, *UNSUPPORTED))
_WORKER: Final = Path(__file__).with_name("compile_worker.py")
_ROOT: Final = Path(__file__).parents[2]
_START_SECOND: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from gateway.rego.compiler import finish_in_child; finish_in_child()"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What is compiled together: sources by module name, and the names that can be asked."""

    modules: Mapping[str, str]
    entrypoints: tuple[str, ...]
    query: str | None
    strict: bool
    indexed: bool = True


def compile(  # noqa: A001  the engine's public verb and its options
    modules: Mapping[str, str],
    entrypoints: Sequence[str] = (),
    query: str | None = None,
    *,
    strict: bool = True,
    indexed: bool = True,
    cache_dir: Path | None = None,
) -> Program:
    """Compile modules (name to source) into a program; CompileError lists every fault found.

    `entrypoints` (`package/path/rule`, or a package) must exist; any other rule can be decided
    too. `query` is a Rego query that `Policy.run(program.query, …)` answers. Unless `strict`,
    an error of a builtin makes its expression undefined. `indexed` is whether rules with many
    bodies get an index, which changes no result. `cache_dir` keeps plans by content.
    Blocking: it runs child processes.
    """
    unit = Unit(
        modules=dict(modules),
        entrypoints=tuple(entrypoints),
        query=query,
        strict=strict,
        indexed=indexed,
    )
    sources = read_sources(unit)
    text = _cached(unit, cache_dir)
    if text is None:
        (answer,) = ask((request(unit, sources),))
        text = plan_text(answer, sources)
        _keep(unit, cache_dir, text)
    return finish(unit, text) if len(text) <= LARGE_PLAN else _finish_apart(unit, text)


def read_sources(unit: Unit) -> list[Source]:
    """Return the modules of a unit, or raise CompileError for faults that their text shows."""
    sources = read_modules(unit.modules, _NAMES)
    problems = [problem for source in sources for problem in faults(source)]
    problems += hidden_builtins(sources, _NAMES)
    if problems:
        raise CompileError(problems)
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
        "modules": [source.prepared for source in sources],
        "skeleton": skeleton(sources),
        "entrypoints": list(unit.entrypoints),
        "query": "true" if idle else unit.query,
    }


def ask(requests: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the child's answer to each request; one that it did not survive is a fault."""
    answers: list[Mapping[str, Any]] = []
    while len(answers) < len(requests):
        rest = requests[len(answers) :]
        made, failure = _run_child("".join(json.dumps(item) + "\n" for item in rest).encode())
        answers += made
        if len(made) < len(rest):
            answers.append({"crash": failure})
    return answers


def _run_child(asked: bytes) -> tuple[list[Mapping[str, Any]], str]:
    """Return the answers that a child gave, and why there are no more."""
    command = [sys.executable, "-I", str(_WORKER), str(CPU_SECONDS)]
    with tempfile.TemporaryDirectory(prefix="rego-") as folder:
        try:
            done = subprocess.run(  # noqa: S603  our own interpreter and file
                command,
                input=asked,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "TMPDIR": folder},
                timeout=WALL_SECONDS,
                check=False,
            )
            output, failure = done.stdout, f"the compiler stopped (status {done.returncode})"
        except subprocess.TimeoutExpired as error:
            output, failure = error.stdout or b"", "the compiler did not finish in time"
        except OSError as error:
            output, failure = b"", f"the compiler could not be started: {error.strerror}"
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
    if "crash" in answer:
        raise CompileError(_crash_problems(str(answer["crash"]), sources))
    problems: list[RegoProblem] = []
    for index, said in answer["faults"]:
        problems += _compiler_problems(index, said, sources)
    raise CompileError(problems)


def _crash_problems(reason: str, sources: Sequence[Source]) -> list[RegoProblem]:
    """Return which modules the compiler does not survive on their own, else that it stopped."""
    alone: list[RegoProblem] = []
    if len(sources) > 1:
        for source in sources:
            unit = Unit(modules={source.name: source.text}, entrypoints=(), query=None, strict=True)
            (answer,) = ask((request(unit, [source]),))
            if "crash" in answer:
                alone.append(source.problem((0, 0), "compiler-crash", str(answer["crash"])))
    return alone or [
        RegoProblem(
            file=sources[0].name if len(sources) == 1 else "",
            row=0,
            col=0,
            code="compiler-crash",
            message=reason,
            remedy="divide the expression that it is about",
        )
    ]


_TREE_FAULT: Final = re.compile(
    r"\(error(?: [0-9]+:m(?P<module>[0-9]+)\.rego)?(?:\|(?P<offset>[0-9]+)\|[0-9]+)?\s*"
    r"\(errormsg (?P<length>[0-9]+):",
)
_PRINTED_FAULT: Final = re.compile(
    r"^(?P<message>[^\n]+)\n-- (?:m(?P<module>[0-9]+)\.rego:(?P<row>[0-9]+):(?P<col>[0-9]+))?$",
    re.MULTILINE,
)


def _compiler_problems(index: int, said: str, sources: Sequence[Source]) -> Iterator[RegoProblem]:
    """Yield what regopy says, in two forms, as located problems."""
    found = False
    for fault in _TREE_FAULT.finditer(said):
        found = True
        message = said[fault.end() : fault.end() + int(fault["length"])]
        module = index if fault["module"] is None else int(fault["module"])
        if 0 <= module < len(sources):
            source = sources[module]
            offset = int(fault["offset"] or 0)
            at = source.byte_place(offset)
            if message == "this is unclosed" and offset == 0:
                continue  # the file as a whole, beside the bracket itself
            yield source.problem(at, "syntax", *_explained(message))
        else:
            yield _unplaced(message)
    if found:
        return
    for fault in _PRINTED_FAULT.finditer(said):
        message = fault["message"]
        if message == "wellformed_error" or message.startswith("~"):
            continue
        if fault["module"] is not None and int(fault["module"]) < len(sources):
            found = True
            source = sources[int(fault["module"])]
            at = source.place_prepared(int(fault["row"]), int(fault["col"]))
            yield source.problem(at, "compile", message)
        elif not found:
            found = True
            yield _unplaced(message)
    if not found:
        yield _unplaced("the modules do not compile")


_EXPLAINED: Final[Mapping[str, tuple[str, str]]] = {
    "this is unclosed": ("an opening bracket is never closed", ""),
    "Invalid collection": ("this array, set or object is malformed", ""),
    "Invalid file": ("the module is empty", "start it with `package …`"),
}


def _explained(message: str) -> tuple[str, str]:
    return _EXPLAINED.get(message, (message.replace("\n", " ")[:300], ""))


def _unplaced(message: str) -> RegoProblem:
    return RegoProblem(file="", row=0, col=0, code="compile", message=message[:300])


# --- plan to program


def finish(unit: Unit, text: str) -> Program:
    """Turn plan JSON into a program, or raise CompileError."""
    sources = read_modules(unit.modules, _NAMES)
    try:
        plan = read_plan(text)
        problems = plan_problems(plan, sources, unit.entrypoints)
        if problems:
            raise CompileError(problems)
        files = [source_of(plan, sources, At(number, 1, 1)) for number in range(len(plan.files))]
        names = ["" if source is None else source.name for source in files]
        made = generate(plan, files=names, strict=unit.strict, indexed=unit.indexed)
        code = builtins.compile(made.source, "<policy>", "exec", dont_inherit=True)
    except (PlanError, SyntaxError, RecursionError, MemoryError) as error:
        # SyntaxError and RecursionError: only by nesting beyond what Python can compile.
        message = str(error) if isinstance(error, PlanError) else "nested too deeply"
        raise CompileError((_unplaced(message),)) from error
    entries = {name: made.entries[name] for name in unit.entrypoints if name in made.entries}
    if unit.query is not None and plan.query is not None:
        entries[plan.query] = made.entries[plan.query]
    return Program(
        source=made.source,
        code=marshal.dumps(code),
        constants=made.constants,
        builtins=made.builtins,
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
            name: footprint(plan, tuple(name.split("/")))
            for name in unit.entrypoints
            if tuple(name.split("/")) in made.rules
        },
        impure=tuple(sorted(name for name in made.builtins if BUILTINS[name].impure)),
    )


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


def _finish_apart(unit: Unit, text: str) -> Program:
    """Turn plan JSON into a program in a child of ours."""
    try:
        done = subprocess.run(  # noqa: S603  our own interpreter and package
            [sys.executable, "-I", "-c", _START_SECOND, str(_ROOT)],
            input=pickle.dumps((unit, text)),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=WALL_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CompileError((_unplaced("the code generator stopped"),)) from error
    made: Program | CompileError = pickle.loads(done.stdout)  # noqa: S301  from our own child
    if isinstance(made, CompileError):
        raise made
    return made


def finish_in_child() -> None:
    """Be the second child: a pickled (unit, plan JSON) in, a program or CompileError out."""
    unit, text = pickle.load(sys.stdin.buffer)  # noqa: S301  from our own parent
    made: Program | CompileError
    try:
        made = finish(unit, text)
    except CompileError as error:
        made = error
    sys.stdout.buffer.write(pickle.dumps(made))


# --- plan cache


def _cache_file(unit: Unit, folder: Path) -> Path:
    asked = json.dumps(
        [
            metadata.version("regopy"),
            list(unit.modules.values()),
            unit.entrypoints,
            unit.query,
        ]
    )
    return folder / f"{hashlib.sha256(asked.encode()).hexdigest()}.plan.json"


def _cached(unit: Unit, folder: Path | None) -> str | None:
    """Return a plan kept before; only from a file that nobody else could have written."""
    if folder is None:
        return None
    try:
        file = os.open(_cache_file(unit, folder), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with open(file, encoding="utf-8") as stream:  # noqa: PTH123  a descriptor, checked below
        status = os.fstat(file)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            return None
        try:
            text = stream.read()
            read_plan(text)
        except (PlanError, ValueError):
            return None
        return text


def _keep(unit: Unit, folder: Path | None, text: str) -> None:
    """Keep a plan; a cache that cannot be written is no error."""
    if folder is None:
        return
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
        target = _cache_file(unit, folder)
        file, name = tempfile.mkstemp(dir=folder, suffix=".new")
        with open(file, "w", encoding="utf-8") as stream:  # noqa: PTH123  a descriptor
            stream.write(text)
        Path(name).replace(target)
