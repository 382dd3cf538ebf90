"""The compiler's child process: Rego source to plan JSON, by regopy.

regopy parses untrusted text in C++, so it runs here: with limits, and with nothing to say but
JSON. A line of JSON on standard input asks

    {"modules": [[text, …], …], "skeleton": {…}, "entrypoints": [name, …], "query": text or null}

where a module is its pieces, and a line on standard output answers `{"plan": text}`, or
`{"faults": [[module or -1, text], …]}` with what regopy says, where module is an index. Nothing
but the standard library and regopy is imported, and nothing else in this package imports regopy.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any, TextIO

try:
    from regopy import Interpreter, LogLevel, RegoError  # type: ignore[import-untyped]
except OSError as error:
    # Small images of a system lack libraries that it is linked with (Debian's libatomic1).
    UNUSABLE = f"regopy, which compiles Rego, cannot be loaded: {error}"
else:
    UNUSABLE = ""

MEMORY = 2 << 30
FILE_SIZE = 256 << 20
OPEN_FILES = 64
MEMORY_FOLDER = "/dev/shm"  # noqa: S108  where a read-only machine has no other folder to write to


def limit(cpu_seconds: int) -> None:
    """Bound what this process may use.

    regopy's allocator reserves 256 GiB of addresses, so memory is bounded relative to that.
    """
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    size = Path("/proc/self/statm")
    if size.exists():
        reserved = int(size.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (reserved + MEMORY, reserved + MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Said:
    """What regopy prints: it names the faults of a build nowhere else."""

    def __init__(self) -> None:
        with tempfile.TemporaryFile(buffering=0) as file:
            self._file = os.dup(file.fileno())
        flags = fcntl.fcntl(self._file, fcntl.F_GETFL)
        fcntl.fcntl(self._file, fcntl.F_SETFL, flags | os.O_APPEND)
        os.dup2(self._file, 1)
        os.dup2(self._file, 2)

    def take(self) -> str:
        """Return what was printed since the last call."""
        length = os.lseek(self._file, 0, os.SEEK_END)
        text = os.pread(self._file, min(length, 1 << 16), 0).decode(errors="replace")
        os.ftruncate(self._file, 0)
        return text


def compile_modules(request: dict[str, Any], said: Said) -> dict[str, Any]:
    """Return the answer to one request."""
    interpreter = Interpreter()
    interpreter.log_level = LogLevel.NONE
    interpreter.add_data_json(json.dumps(request["skeleton"]))
    faults: list[tuple[int, str]] = []
    for index, pieces in enumerate(request["modules"]):
        for text in pieces:
            try:
                interpreter.add_module(f"m{index}.rego", text)
            except RegoError as error:
                faults.append((index, str(error)))
    if faults:
        return {"faults": faults}
    interpreter.log_level = LogLevel.ERROR
    said.take()
    try:
        bundle = interpreter.build(request["query"], request["entrypoints"])
    except RegoError as error:
        return {"faults": [(-1, f"{error}\n{said.take()}")]}
    if not bundle.ok():
        return {"faults": [(-1, said.take())]}
    # regopy gives a plan to a folder only; it stands no longer than it takes to read it.
    with tempfile.TemporaryDirectory(prefix="rego-") as folder:
        interpreter.save_bundle(folder, bundle)
        return {"plan": Path(folder, "plan.json").read_text(encoding="utf-8")}


def main(answers: TextIO) -> None:
    """Answer requests until there are no more."""
    if UNUSABLE:
        refuse(answers, UNUSABLE)
        return
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = MEMORY_FOLDER
    try:
        said = Said()
    except OSError as error:
        refuse(answers, f"no temporary file can be made: {error}; set TMPDIR to a folder for them")
        return
    for line in sys.stdin:
        answer = compile_modules(json.loads(line), said)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def refuse(answers: TextIO, why: str) -> None:
    """Answer every request with a fault that is none of the modules'."""
    answers.writelines(json.dumps({"faults": [(-1, f"{why}\n-- ")]}) + "\n" for _ in sys.stdin)


if __name__ == "__main__":
    if not UNUSABLE:
        Interpreter()
    limit(int(sys.argv[1]))
    main(os.fdopen(os.dup(1), "w", encoding="utf-8"))
