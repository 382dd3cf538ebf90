"""What the functions that are generated from one plan share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.rego.plan import At, Plan
    from gateway.rego.values import Value


class Shared:
    """Constants, builtins, and the numbers of the plan's functions.

    Unless `strict`, an error of a builtin makes its expression undefined.
    """

    def __init__(self, plan: Plan, *, strict: bool) -> None:
        self.plan = plan
        self.strict = strict
        self.constants: list[Value] = []
        self.builtins: dict[str, int] = {}
        self.mocking: dict[str, int] = {}
        self.numbers = {item.name: index for index, item in enumerate(plan.functions)}
        self.places: dict[At, int] = {}

    def constant(self, value: Value) -> str:
        """Return the name of a constant that is too large for a literal."""
        self.constants.append(value)
        return f"C{len(self.constants) - 1}"

    def place(self, at: At) -> int:
        """Return the number that stands for a place in the source."""
        return self.places.setdefault(at, len(self.places))

    def builtin(self, name: str) -> str:
        """Return the name that a builtin has in the generated code."""
        return f"b{self.builtins.setdefault(name, len(self.builtins))}"

    def alone(self, name: str) -> str:
        """Return the name of a builtin that `with` replaces, or that stands in for a function."""
        return f"a{self.mocking.setdefault(name, len(self.mocking))}"
