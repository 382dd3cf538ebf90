"""A state that charges more: for work that costs several steps where others cost one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from gateway.rego.builtins.registry import State


@dataclass(frozen=True, slots=True)
class _Dear:
    state: State
    factor: int

    def charge(self, steps: int, /) -> None:
        self.state.charge(self.factor * steps)


def dear(state: State, factor: int) -> State:
    """Return what stands for a state where it is only charged, `factor` times as much."""
    return cast("State", _Dear(state, factor))
