"""OPA itself, in a child process: what the engine is compared with.

The package that holds it (opa-golib-python-bindings) declares a newer Python than it needs, so
it is installed apart: see .ci/run. Tests that ask OPA skip where it is not there.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from gateway.rego.values import number_from_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ABSENT = importlib.util.find_spec("opa_bindings") is None

needs_opa = pytest.mark.skipif(ABSENT, reason="OPA (opa-golib-python-bindings) is not installed")


class Said(NamedTuple):
    """What OPA answers: `kind` is value, undefined, refused (when loaded) or error (in deciding).

    `value` is JSON, sets as sorted arrays; `text` is OPA's message.
    """

    kind: str
    value: Any = None
    text: str = ""


class Opa:
    """A child process that asks OPA."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(
        self,
        modules: Mapping[str, str],
        asks: Sequence[tuple[str, Any]],
        data: Any = None,
    ) -> list[Said]:
        """Load modules and data, then answer each (dotted path below data, input).

        An input of None stands for no input. Errors of builtins are errors.
        """
        assert self._process.stdin
        assert self._process.stdout
        asked = {"modules": dict(modules), "data": data, "asks": asks}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"OPA stopped over {modules}"
        answers = json.loads(line, parse_float=number_from_text)
        return [Said(*answer) for answer in answers]


@contextmanager
def opa() -> Iterator[Opa]:
    """Start OPA."""
    with subprocess.Popen(
        [sys.executable, "-P", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield Opa(process)
        finally:
            process.kill()


def _answers(asked: dict[str, Any]) -> list[tuple[Any, ...]]:
    from opa_bindings import OpaEngine
    from opa_bindings.engine import OpaError, OpaUndefinedError

    answers: list[tuple[Any, ...]] = []
    with OpaEngine() as engine:
        try:
            for name, text in asked["modules"].items():
                engine.add_policy(name, text)
            if asked["data"]:
                engine.add_data(asked["data"])
        except OpaError as error:
            return [("refused", None, str(error))] * len(asked["asks"])
        for path, document in asked["asks"]:
            try:
                answers.append(("value", engine.eval_document(path, document)))
            except OpaUndefinedError:
                answers.append(("undefined",))
            except OpaError as error:
                if error.code not in ("eval_error", "panic"):  # found before any is answered
                    return [("refused", None, str(error))] * len(asked["asks"])
                kind = "error" if error.code == "eval_error" else "refused"
                answers.append((kind, None, str(error)))
    return answers


def _serve() -> None:
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_answers(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
