"""What generated source is made of: lines, suites of lines, and operands as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.rego.values import UNDEFINED, Value

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(slots=True)
class Suite:
    """A line that ends in a colon, and what is indented below it."""

    header: str
    body: list[Line]


Line = str | Suite


def loop(suite: Suite) -> int:
    """1 for a loop or function, which counts as a nested block, else 0."""
    return 1 if suite.header.startswith(("while", "for", "def")) else 0


def nested_loops(body: Iterable[Line]) -> int:
    """Return how deeply loops are nested in `body`."""
    return max(
        (loop(line) + nested_loops(line.body) for line in body if isinstance(line, Suite)),
        default=0,
    )


def leaves(body: list[Line]) -> bool:
    """Whether the last line leaves the loop by itself."""
    return bool(body) and isinstance(body[-1], str) and body[-1].startswith(("break", "return "))


@dataclass(frozen=True, slots=True)
class Term:
    """An operand as source text. `value` is the constant it stands for, else UNDEFINED."""

    text: str
    defined: bool
    value: Value = UNDEFINED

    @property
    def constant(self) -> bool:
        """Whether the value is known now."""
        return self.value is not UNDEFINED

    @property
    def dotted(self) -> str:
        """The text as it must be before a point: `1.__class__` is no Python."""
        return f"({self.text})" if self.value.__class__ is int else self.text

    @property
    def is_text(self) -> bool:
        """Whether the value is known to be a string."""
        return self.value.__class__ is str


LONG_TEXT: Final = 4096
"""Characters from which on comparing two texts is charged for."""


def compared(left: Term, right: Term, *, equal_: bool) -> str:
    """Return the condition that two terms are equal, or are not."""
    for one, other in ((left, right), (right, left)):
        if one.is_text:
            return f"{other.text} {'==' if equal_ else '!='} {one.text}"
        if one.constant and (one.value is None or one.value.__class__ is bool):
            return f"{other.text} {'is' if equal_ else 'is not'} {one.text}"
    if left.constant:
        left, right = right, left
    kind = "int" if right.value.__class__ is int else "str"
    quick, call = ("==", "same") if equal_ else ("!=", "not same")
    a, b = left.text, right.text
    test = f"{left.dotted}.__class__ is {kind}"
    if kind == "str":
        test += f" and len({a}) < {LONG_TEXT}"
    return f"{a} {quick} {b} if {test} else {call}(s, {a}, {b})"
