"""Where in a policy an error arose: looked up in the generated code once there is one."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Final

from gateway.rego.codegen.writer import NOTE

if TYPE_CHECKING:
    from types import TracebackType

    from gateway.rego.errors import EvalError
    from gateway.rego.program import Program

FILE: Final = "<policy>"
"""The name that generated code is compiled under."""

_FUNCTION: Final = re.compile(r"f([0-9]+)(?:_[0-9]+)?")
_NOTE: Final = re.compile(rf"{re.escape(NOTE)}([0-9]+)$")


class Places:
    """The places of one program's code."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def tell(self, error: EvalError) -> None:
        """Write into an error which rule was evaluated, and where."""
        name, line = _innermost((error.__cause__ or error).__traceback__)
        function = _FUNCTION.match(name)
        if function is None:
            return
        path = self._rules.get(int(function[1]))
        if path is not None:
            error.rule = ".".join(("data", *path))
            error.file, error.row = self._program.places.get(path, ("", 0))
        note = _NOTE.search(self._lines[line - 1])
        if note is not None:
            site = self._program.sites[int(note[1])]
            if site.row:
                error.file, error.row = site.file, site.row

    @cached_property
    def _rules(self) -> dict[int, tuple[str, ...]]:
        return {number: path for path, (number, _) in self._program.rules.items()}

    @cached_property
    def _lines(self) -> list[str]:
        return self._program.source.split("\n")


def _innermost(traceback: TracebackType | None) -> tuple[str, int]:
    """Return the name and line of the last generated function in a traceback."""
    found = "", 0
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename == FILE:
            found = code.co_qualname, traceback.tb_lineno
        traceback = traceback.tb_next
    return found
