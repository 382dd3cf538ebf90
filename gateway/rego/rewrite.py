"""What is rewritten for the compiler: valid Rego that it refuses or misreads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.rego.iterations import Iterations
from gateway.rego.statements import CONTINUES, statements
from gateway.rego.tokens import (
    CLOSING,
    OPENING,
    Token,
    after_bracket,
    end_of_reference,
    ends_term,
    too_deep,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.rego.source import Names

WHOLE_INPUT: Final = "whole_input__"
"""Below `input`, stands for all of it in what the compiler gets."""

_INPUT_AS: Final = ["input", "as"]


@dataclass(frozen=True, slots=True)
class Edit:
    """A replacement of original text: `start` to `end` becomes `text`.

    Of edits at one place the one of lower `order` comes first.
    """

    start: int
    end: int
    text: str
    order: int = 0


def _enclosed(first: Token, last: Token, opening: str, closing: str) -> Iterator[Edit]:
    """Put text before and after a row of tokens; what was opened last closes first."""
    yield Edit(first.start, first.start, opening)
    yield Edit(last.end, last.end, closing, -1 - first.start)


def edits_of(text: str, found: Sequence[Token], known: Names) -> Iterator[Edit]:
    """Yield what to change in a module's text."""
    if text and not text.endswith("\n"):
        yield Edit(len(text), len(text), "\n")
    if too_deep(found) is not None:
        return  # it is refused, and each bracket would be followed to its end
    for index, token in enumerate(found):
        after = found[index + 1].text if index + 1 < len(found) else ""
        match token.text:
            case "with" if not index or found[index - 1].text != ".":
                yield from _enclosed_value(found, index + 1, known)
                if [part.text for part in found[index + 1 : index + 3]] == _INPUT_AS:
                    # The compiler aborts on a new input for a rule that calls a function, but
                    # not on a new value inside it; the plan's reader makes this the whole.
                    yield Edit(found[index + 1].end, found[index + 1].end, f".{WHOLE_INPUT}")
            case "[" | "{" if _opens_term(found, index):
                yield from _enclosed_head(found, index + 1)
            case "some":
                yield from _unrolled_some(found, index)
            case "if" if after == "every":
                yield from _braced(found, index + 1, "every")
            case "if" if after != "{":
                yield from _braced(found, index + 1, "with")
    yield from _lifted_iterations(text, found, known)


def _lifted_iterations(text: str, found: Sequence[Token], known: Names) -> Iterator[Edit]:
    """Write iterations that stand inside of another expression as statements before it."""
    iterations = Iterations(text, found, known.rules)
    for statement in statements(found):
        definitions, replaced = iterations.lifted(statement)
        if not definitions:
            continue
        first, last = found[statement.start], found[statement.end - 1]
        before = "".join(f"{definition}; " for definition in definitions)
        if not statement.bare:
            yield Edit(first.start, first.start, before, -1)
        elif first.text == "every":  # it gets its braces as such
            yield Edit(first.start, first.start, before, 1)
        else:
            yield Edit(first.start, first.start, "{ " + before, -1)
            yield Edit(last.end, last.end, " }")
        for (start, end), name in replaced:
            yield Edit(found[start].start, found[end - 1].end, name)


def _enclosed_value(found: Sequence[Token], index: int, known: Names) -> Iterator[Edit]:
    """Rewrite `with x as reference` to `with x as [reference][0]`.

    The compiler takes every reference for the name of a function, and where there is none of
    that name it leaves the `with` out or crashes. A function is replaced by a function or a rule
    as it stands, and a variable needs nothing.
    """
    as_ = end_of_reference(found, index)
    if as_ >= len(found) or found[as_].text != "as":
        return
    end = end_of_reference(found, as_ + 1)
    if end == as_ + 1 or (end < len(found) and found[end].text == "("):
        return
    value = [token.text for token in found[as_ + 1 : end]]
    target = [token.text for token in found[index:as_]]
    if known.is_function(value):
        return
    is_rule, is_single = value[-1] in known.rules, len(value) == 1
    if (is_rule or is_single) if known.is_function(target) else (is_single and not is_rule):
        return
    yield from _enclosed(found[as_ + 1], found[end - 1], "[", "][0]")


def _opens_term(found: Sequence[Token], index: int) -> bool:
    """Whether a bracket starts a collection: not a rule's body, nor a subscript."""
    before = found[index - 1] if index else None
    if before is None or before.kind == "newline" or before.text in ("if", "else", ";"):
        return False
    return not ends_term(before)


_INFIX: Final = frozenset(("+", "-", "*", "/", "%", "==", "!=", "<", ">", "<=", ">=", "&", "in"))


def _enclosed_head(found: Sequence[Token], index: int) -> Iterator[Edit]:
    """Put `x + 1` of `[x + 1 | …]` into parentheses, which the compiler refuses without."""
    start, infix = index, False
    edits: list[Edit] = []
    position = index
    while position < len(found):
        token = found[position]
        if token.kind == "mark" and token.text in OPENING:
            position = after_bracket(found, position)
            continue
        if token.kind == "mark" and token.text in (":", "|"):
            if infix and position > start:
                edits += _enclosed(found[start], found[position - 1], "(", ")")
            if token.text == "|":
                yield from edits
                return
            start, infix = position + 1, False
        elif token.text in ("]", "}", ")", ",", ";", ":=") or token.kind == "newline":
            return
        elif token.text in _INFIX and position > start:
            infix = True
        position += 1


def _unrolled_some(found: Sequence[Token], index: int) -> Iterator[Edit]:
    """Rewrite `some k, v in xs` directly inside `[…|…]` or `{…|…}`.

    The compiler takes the comma there for one between elements.
    """
    parts = found[index + 1 : index + 5]
    if [part.kind for part in parts] != ["name", "mark", "name", "name"]:
        return
    key, comma, value, word = parts
    if comma.text != "," or word.text != "in" or not _in_plain_comprehension(found, index):
        return
    end = _end_of_term(found, index + 5)
    if end is None:
        return
    collection = f"collection__{index}__"
    declared = "" if key.text == "_" else f"some {key.text}; "
    yield Edit(found[index].start, found[index + 5].start, f"{declared}{collection} := ")
    closing = (
        f"; {value.text} := {collection}[{key.text}]"
        if value.text != "_"
        else (f"; {collection}[{key.text}] = _")
    )
    yield Edit(found[end - 1].end, found[end - 1].end, closing)


def _in_plain_comprehension(found: Sequence[Token], index: int) -> bool:
    """Whether the token stands in the body of an array or set comprehension."""
    depth = 0
    bar = colon = False
    for token in reversed(found[:index]):
        if token.text in CLOSING:
            depth += 1
        elif token.text in OPENING:
            if depth == 0:
                return bar and token.text in "[{" and not (colon and token.text == "{")
            depth -= 1
        elif depth == 0 and token.text == "|":
            bar = True
        elif depth == 0 and bar and token.text == ":":
            colon = True
        elif depth == 0 and token.text in (":=", "if"):
            return False
    return False


def _end_of_term(found: Sequence[Token], index: int) -> int | None:
    """Return the index after the expression that starts at `index` inside a comprehension."""
    depth = 0
    for position in range(index, len(found)):
        token = found[position]
        if token.text in OPENING:
            depth += 1
        elif token.text in CLOSING:
            if depth == 0:
                return position if position > index else None
            depth -= 1
        elif depth == 0 and (token.kind == "newline" or token.text == ";"):
            return position if position > index else None
    return None


def _braced(found: Sequence[Token], index: int, needing: str) -> Iterator[Edit]:
    """Put braces round a body of one expression, if the word `needing` is in it.

    The compiler refuses most of `if … with …`, and `if every …`, without.
    """
    depth = 0
    last = index
    needed = False
    for position in range(index, len(found)):
        token = found[position]
        if token.text in OPENING:
            depth += 1
        elif token.text in CLOSING:
            depth -= 1
        elif depth == 0 and token.text == needing:
            needed = True
        if depth == 0 and token.kind == "newline":
            following = next((t for t in found[position:] if t.kind != "newline"), None)
            if found[last].text not in CONTINUES and (
                following is None or following.text not in ("with", "as")
            ):
                break
        elif depth == 0 and token.text in (";", "else"):
            break
        elif token.kind != "newline":
            last = position
    if needed:
        yield from _enclosed(found[index], found[last], "{ ", " }")
