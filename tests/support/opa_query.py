"""Whole answers of OPA to queries, in a child process: see opa.py."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def opa_answers(
    queries: Sequence[str], modules: Mapping[str, str], data: Any, document: Any
) -> list[Any]:
    """What `opa eval` has below `result` for each query; None where there is nothing.

    A text says why a query has no answer.
    """
    asked = {"queries": queries, "modules": dict(modules), "data": data, "input": document}
    made = subprocess.run(
        [sys.executable, "-P", __file__],
        input=json.dumps(asked),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    answers: list[Any] = json.loads(made.stdout)
    return answers


def _answer(asked: dict[str, Any], query: str) -> Any:
    from opa_bindings import OpaEngine
    from opa_bindings.engine import OpaError

    with OpaEngine() as engine:
        for name, text in asked["modules"].items():
            engine.add_policy(name, text)
        engine.add_data(asked["data"])
        document = b"" if asked["input"] is None else json.dumps(asked["input"]).encode()
        try:
            made = engine._call(engine._lib.OpaEvalQuery, query.encode(), document, 0, 0)
        except OpaError as error:
            return str(error)
    return made["result"]


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    json.dump([_answer(asked, query) for query in asked["queries"]], sys.stdout)
