"""Functions that remember their answers, up to a size: requests choose what is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_Answer = TypeVar("_Answer")
_Key = TypeVarTuple("_Key")


def remembered(
    most: int, weigh: Callable[[_Answer, *_Key], int]
) -> Callable[[Callable[[*_Key], _Answer]], Callable[[*_Key], _Answer]]:
    """Remember answers of `most` bytes in all, as `weigh` estimates them.

    All are forgotten when there is no room for another, so that an answer that is known costs no
    more than its look-up; what takes a quarter of the room by itself is never kept.
    """

    def decorate(make: Callable[[*_Key], _Answer]) -> Callable[[*_Key], _Answer]:
        known: dict[tuple[*_Key], _Answer] = {}
        left = most

        def look(*key: *_Key) -> _Answer:
            nonlocal left
            try:
                return known[key]
            except KeyError:
                pass
            made = make(*key)
            weight = weigh(made, *key)
            if weight <= most // 4:
                if weight > left:
                    known.clear()
                    left = most
                left -= weight
                known[key] = made
            return made

        return look

    return decorate
