"""What a builtin is, and what it may ask of the decision that calls it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class State(Protocol):
    """The decision that a builtin works for.

    `now_ns` is Unix time in nanoseconds. `memo` keeps what must stay the same within one
    decision (random numbers, for example), keyed by (builtin, argument's key form).
    """

    @property
    def now_ns(self) -> int: ...

    memo: dict[Any, Any]

    def charge(self, steps: int, /) -> None:
        """Count work that is about to be done; raises StepLimitExceeded."""

    def print(self, text: str, /) -> None:
        """Keep a line that the policy printed."""


@dataclass(frozen=True, slots=True)
class Builtin:
    """One builtin function of Rego.

    `function` takes the arguments as values, after the State where `needs_state`. `arity` is
    the number of arguments. An `impure` one may answer differently for the same arguments, or
    has an effect.
    """

    name: str
    function: Callable[..., Any]
    arity: int
    impure: bool = False
    needs_state: bool = False


def pure(name: str, function: Callable[..., Any], arity: int, *, steps: int = 0) -> Builtin:
    """Declare a builtin whose work does not depend on its arguments' size.

    `steps` are what a call costs beside the step of its expression: one for each 100 ns.
    """
    if not steps:
        return Builtin(name, function, arity)
    return charged(name, lambda _, *arguments: function(*arguments), arity, steps=steps)


def charged(name: str, function: Callable[..., Any], arity: int, *, steps: int = 0) -> Builtin:
    """Declare a pure builtin that charges for its work: it takes the State first.

    `steps` are the fixed part of what a call costs, as for `pure`.
    """
    return Builtin(name, _priced(function, steps), arity, needs_state=True)


def impure(name: str, function: Callable[..., Any], arity: int, *, steps: int = 0) -> Builtin:
    """Declare a builtin whose answer or effect is not a function of its arguments."""
    return Builtin(name, _priced(function, steps), arity, impure=True, needs_state=True)


def _priced(function: Callable[..., Any], steps: int) -> Callable[..., Any]:
    if not steps:
        return function

    def priced(state: State, *arguments: Any) -> Any:
        state.charge(steps)
        return function(state, *arguments)

    return priced
