"""The compiler's child process: Rego source to plan JSON, by regopy.

regopy parses untrusted text in C++, so it runs here: with limits, in an empty folder (its working
directory), and with nothing to say but JSON. A line of JSON on standard input asks

    {"modules": [text, …], "skeleton": {…}, "entrypoints": [name, …], "query": text or null}

and a line on standard output answers `{"plan": text}`, or `{"faults": [[module or -1, text],
…]}` with what regopy says, where module is an index. Nothing but the standard library and
regopy is imported, and nothing else in this package imports regopy.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
from pathlib import Path
from typing import Any, TextIO

from regopy import Interpreter, LogLevel, RegoError  # type: ignore[import-untyped]

MEMORY = 2 << 30
FILE_SIZE = 256 << 20
OPEN_FILES = 64


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

    def __init__(self, folder: Path) -> None:
        path = folder / "said"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(self._file, 1)
        os.dup2(self._file, 2)

    def take(self) -> str:
        """Return what was printed since the last call."""
        length = os.lseek(self._file, 0, os.SEEK_END)
        text = os.pread(self._file, min(length, 1 << 16), 0).decode(errors="replace")
        os.ftruncate(self._file, 0)
        return text


def compile_modules(request: dict[str, Any], said: Said, folder: Path) -> dict[str, Any]:
    """Return the answer to one request."""
    interpreter = Interpreter()
    interpreter.log_level = LogLevel.NONE
    interpreter.add_data_json(json.dumps(request["skeleton"]))
    faults: list[tuple[int, str]] = []
    for index, text in enumerate(request["modules"]):
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
    target = folder / "bundle"
    try:
        interpreter.save_bundle(str(target), bundle)
        return {"plan": (target / "plan.json").read_text(encoding="utf-8")}
    finally:
        shutil.rmtree(target, ignore_errors=True)


def main(answers: TextIO, folder: Path) -> None:
    """Answer requests until there are no more."""
    said = Said(folder)
    for line in sys.stdin:
        answer = compile_modules(json.loads(line), said, folder)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    Interpreter()
    limit(int(sys.argv[1]))
    main(os.fdopen(os.dup(1), "w", encoding="utf-8"), Path.cwd())
