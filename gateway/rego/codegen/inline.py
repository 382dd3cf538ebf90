"""Builtins written in place, for the types that policies use most; the call does the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from gateway.rego.codegen.lines import compared
from gateway.rego.values import RegoSet

if TYPE_CHECKING:
    from gateway.rego.codegen.lines import Term

Inline = Callable[["list[Term]", str], "str | None"]
"""From the arguments, and the call as text, to the text that stands for it; None for the call."""


def _integers(operator: str) -> Inline:
    def inline(arguments: list[Term], call: str) -> str | None:
        unknown = [argument for argument in arguments if not argument.constant]
        if not unknown or any(a.constant and a.value.__class__ is not int for a in arguments):
            return None
        left, right = arguments
        test = " and ".join(f"{argument.text}.__class__ is int" for argument in unknown)
        return f"{left.text} {operator} {right.text} if {test} else {call}"

    return inline


def _unequal(arguments: list[Term], _call: str) -> str | None:
    left, right = arguments
    return None if left.constant and right.constant else compared(left, right, equal_=False)


def _affix(method: str) -> Inline:
    def inline(arguments: list[Term], call: str) -> str | None:
        text, part = arguments
        if not part.is_text or text.constant:
            return None
        return f"{text.text}.{method}({part.text}) if {text.text}.__class__ is str else {call}"

    return inline


def _count(arguments: list[Term], call: str) -> str:
    (value,) = arguments
    return f"len({value.text}) if {value.dotted}.__class__ in SIZED else {call}"


MEMBERS, LETTERS = 8, 256
"""Looking for a text among that many, not longer than that, costs no more than its expression."""


def _member(arguments: list[Term], call: str) -> str | None:
    value, collection = arguments
    if collection.value.__class__ is RegoSet:
        text = value.text
        return (
            f"({text} if {value.dotted}.__class__ is str else form(s, {text})) in {collection.text}"
        )
    if collection.constant or (value.constant and not value.is_text):
        return None
    text, among = value.text, collection.text
    test = f"{among}.__class__ is list and len({among}) < {MEMBERS}"
    if not value.constant:
        test += f" and {text}.__class__ is str and len({text}) < {LETTERS}"
    elif len(value.value) >= LETTERS:
        return None
    return f"{text} in {among} if {test} else {call}"


def _plain(_: list[Term], call: str) -> str:
    """Stand for a builtin that never answers but with a boolean."""
    return call


CONDITIONS: Final[Mapping[str, Inline]] = {
    "lt": _integers("<"),
    "lte": _integers("<="),
    "gt": _integers(">"),
    "gte": _integers(">="),
    "neq": _unequal,
    "startswith": _affix("startswith"),
    "endswith": _affix("endswith"),
    "internal.member_2": _member,
    "contains": _plain,
    "glob.match": _plain,
    "net.cidr_contains": _plain,
    "regex.match": _plain,
}

INLINE: Final[Mapping[str, Inline]] = {
    **CONDITIONS,
    "plus": _integers("+"),
    "minus": _integers("-"),
    "count": _count,
}
