"""What can go wrong in the engine, at load and while deciding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class RegoProblem:
    """One fault in a policy source: where it is, what is wrong, what to write instead.

    `row` and `col` count from 1; 0 is unknown. `code` is a stable kebab-case word. `excerpt` is
    the source line with a caret under the column, or empty.
    """

    file: str
    row: int
    col: int
    code: str
    message: str
    remedy: str = ""
    excerpt: str = ""

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.file, self.row, self.col) if part)
        text = f"{where}: {self.message}" if where else self.message
        return f"{text} ({self.remedy})" if self.remedy else text


class CompileError(Exception):
    """The policies cannot be used; `problems` lists all that was found."""

    def __init__(self, problems: Sequence[RegoProblem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[type[CompileError], tuple[tuple[RegoProblem, ...]]]:
        return CompileError, (self.problems,)


class EvalError(Exception):
    """The policy could not decide; `code` is OPA's name of the kind of error.

    `rule` is the one that was evaluated (`data.…`), `file` and `row` the place in it; empty and 0
    where it was none.
    """

    code = "eval_internal_error"
    rule = ""
    file = ""
    row = 0

    @property
    def told(self) -> str:
        """The code, the message, and the rule and place."""
        place = f"{self.file}:{self.row}" if self.row else self.file
        where = ", ".join(part for part in (self.rule, place) if part)
        return f"{self.code}: {self}" + (f" (in {where})" if where else "")


class ConflictError(EvalError):
    """A complete rule, a function or an object key has two different values."""

    code = "eval_conflict_error"


class InputLimitError(EvalError):
    """The input is nested too deeply or too large to be evaluated."""

    code = "eval_input_limit"


class StepLimitExceeded(EvalError):  # noqa: N818  the engine's public vocabulary
    """The decision took more steps than it was given."""

    code = "eval_step_limit"


class BuiltinError(EvalError):
    """A builtin refused its arguments."""

    code = "eval_builtin_error"

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        if code:
            self.code = code
