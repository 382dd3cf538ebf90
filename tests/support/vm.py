"""regopy's own virtual machine, in a child process: another one to compare the engine with.

It crashes and hangs over some policies, so a child that does not answer in time is ended and
another takes its place. Only JSON comes back.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SECONDS = 2.0


class Vm:
    """A child process that asks the virtual machine."""

    def __init__(self) -> None:
        self._process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(
        self, modules: Mapping[str, str], asks: Sequence[tuple[str, Any]], data: Any
    ) -> list[tuple[str, Any]] | None:
        """Answer each (dotted path below data, input) as (value or undefined or error, value).

        None if it refuses the modules, crashes or takes too long.
        """
        assert self._process.stdin
        assert self._process.stdout
        asked = {"modules": dict(modules), "data": data, "asks": asks}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], SECONDS)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            self.close()
            self._process = self._start()
            return None
        answers = json.loads(line)
        return answers and [tuple(answer) for answer in answers]

    def close(self) -> None:
        """End the child."""
        self._process.kill()
        with self._process:
            pass


@contextmanager
def vm() -> Iterator[Vm]:
    """Start the virtual machine."""
    made = Vm()
    try:
        yield made
    finally:
        made.close()


def _answers(asked: dict[str, Any]) -> list[tuple[str, Any]] | None:
    from regopy import Interpreter, LogLevel, RegoError

    interpreter = Interpreter()
    interpreter.log_level = LogLevel.NONE
    interpreter.strict_built_in_errors = True
    try:
        for name, text in asked["modules"].items():
            interpreter.add_module(name, text)
        interpreter.add_data_json(json.dumps(asked["data"]))
    except RegoError:
        return None
    answers: list[tuple[str, Any]] = []
    for path, document in asked["asks"]:
        interpreter.set_input_term(json.dumps(document))
        try:
            said = str(interpreter.query(f"answer := data.{path}"))
        except RegoError:
            answers.append(("error", None))
            continue
        if said.startswith("{"):
            answers.append(("value", json.loads(said)["bindings"]["answer"]))
        else:
            answers.append(("undefined" if said == "undefined" else "error", None))
    return answers


def _serve() -> None:
    import os

    answers_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the virtual machine prints
    for line in sys.stdin:
        answers_to.write(json.dumps(_answers(json.loads(line))) + "\n")
        answers_to.flush()


if __name__ == "__main__":
    _serve()
