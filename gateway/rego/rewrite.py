"""What is rewritten for the compiler: valid Rego that it refuses or misreads."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.rego.iterations import Iterations
from gateway.rego.statements import CONTINUES, Statement
from gateway.rego.tokens import (
    CLOSING,
    OPENING,
    RESERVED,
    Token,
    after_bracket,
    end_of_reference,
    ends_term,
    too_deep,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.rego.source import Names, Source

WHOLE_INPUT: Final = "whole_input__"
"""Below `input`, stands for all of it in what the compiler gets."""

HIDDEN: Final[Mapping[str, str]] = {
    "parse_and_verify_certificates_with_options": "parse_and_verify_certificates_by_options"
}
"""Last names of builtins at which the compiler aborts, and what stands for them."""

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


def edits_of(source: Source, known: Names) -> Iterator[Edit]:
    """Yield what to change in a module's text."""
    text, found = source.text, source.tokens
    if text and not text.endswith("\n"):
        yield Edit(len(text), len(text), "\n")
    if too_deep(found) is not None:
        return  # it is refused, and each bracket would be followed to its end
    for index, token in enumerate(found):
        yield from _at(found, index, token, known)
    iterations = Iterations(text, found, known.rules)
    for statement in source.parts:
        if statement.comprehension:
            yield from _unrolled_some(found, statement)
        if statement.enclosing:
            yield from _compared_every(found, statement)
        yield from _lifted(iterations, statement)


def moved_imports(text: str, rows: Sequence[Sequence[Token]]) -> Iterator[Edit]:
    """Move imports behind a rule, in the statements of a module, to its package.

    Rego takes them anywhere at the top, the compiler only before the rules.
    """
    late = False
    for row in rows:
        path = [token.text for token in row[1 : end_of_reference(row, 1)]]
        if row[0].text not in ("package", "import"):
            late = True
        elif late and row[0].text == "import" and path and path[0] in RESERVED and len(row) > 2:
            name = [token.text for token in row[1 + len(path) :]]
            named = len(name) == 2 and name[0] == "as" and end_of_reference(row, len(row) - 1)
            if (name and named != len(row)) or _has_variable(path):
                continue  # it is malformed, and refused where it stands
            start, end = row[0].start, row[-1].end
            yield Edit(start, end, re.sub(r"[^\n]", " ", text[start:end]))
            yield Edit(
                rows[0][-1].end, rows[0][-1].end, f"\n{' '.join(('import', ''.join(path), *name))}"
            )


def _has_variable(path: Sequence[str]) -> bool:
    return any(left == "[" and right[0] not in '"`' for left, right in itertools.pairwise(path))


def _at(found: Sequence[Token], index: int, token: Token, known: Names) -> Iterator[Edit]:
    """Yield what to change because of one token."""
    after = found[index + 1].text if index + 1 < len(found) else ""
    match token.text:
        case "import" if after in ("rego", "future") and _starts_line(found, index):
            yield _blanked(found, index)
        case "import" if (
            after in RESERVED and _starts_line(found, index) and _ends(found, index + 2)
        ):
            yield _blanked(found, index)  # `import input` names what has that name already
        case "with" if not index or found[index - 1].text != ".":
            yield from _enclosed_value(found, index + 1, known)
            if [part.text for part in found[index + 1 : index + 3]] == _INPUT_AS:
                # The compiler aborts on a new input for a rule that calls a function, but
                # not on a new value inside it; the plan's reader makes this the whole.
                yield Edit(found[index + 1].end, found[index + 1].end, f".{WHOLE_INPUT}")
        case name if name in HIDDEN and found[index - 2].text == "x509":
            yield Edit(token.start, token.end, HIDDEN[name])
        case "[" | "{" if _opens_term(found, index):
            yield from _enclosed_head(found, index + 1)
        case "else" if after == "if":
            yield Edit(token.end, token.end, " := true")  # needed where no braces follow
        case "if" if after == "every":
            yield from _braced(found, index + 1, "every")
        case "if" if after != "{":
            yield from _braced(found, index + 1, "with")


def _blanked(found: Sequence[Token], index: int) -> Edit:
    """Take away `import rego.v1`: it changes nothing, but the compiler takes `v1` for a name."""
    end = index
    while end + 1 < len(found) and found[end + 1].kind != "newline":
        end += 1
    start, stop = found[index].start, found[end].end
    return Edit(start, stop, " " * (stop - start))


def _ends(found: Sequence[Token], index: int) -> bool:
    return index >= len(found) or found[index].kind == "newline"


def _starts_line(found: Sequence[Token], index: int) -> bool:
    return index == 0 or found[index - 1].kind == "newline"


def _compared_every(found: Sequence[Token], statement: Statement) -> Iterator[Edit]:
    """Rewrite `every k, v in xs { … }` as a comparison: all keys are those for which `…` holds.

    The compiler lets no comprehension, `not` or `every` inside of the body see its variables.
    """
    start = statement.start
    assert statement.every is not None
    opening = statement.every[0]
    places = range(start, min(start + 5, opening - 1))
    word = next((index for index in places if found[index].text == "in"), start)
    names = [t.text for t in found[start + 1 : word] if t.kind == "name"]
    if not names:
        return  # it is malformed
    *keys, value = names
    all_, each, any_key = (f"{name}__{start}__" for name in ("every", "each", "key"))
    key = keys[0] if keys and keys[0] != "_" else any_key
    bound = "" if value == "_" else f"{value} := {each}; "
    condition = (
        f"; every {each} in {all_} {{ true }}"  # undefined for what is no collection
        f"; {{{any_key} | {each} = {all_}[{any_key}]}} == {{{key} | {each} = {all_}[{key}]; {bound}"
    )
    # Behind the braces of a bare body, and what iterates in `xs`.
    yield Edit(found[start].start, found[word + 1].start, f"{all_} := ", 2)
    yield Edit(found[opening].start, found[opening].end, condition)


def _lifted(iterations: Iterations, statement: Statement) -> Iterator[Edit]:
    """Write iterations that stand inside of another expression as statements before it."""
    definitions, replaced = iterations.lifted(statement)
    if not definitions:
        return
    found = iterations.found
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
    if as_ == index or as_ >= len(found) or found[as_].text != "as":
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


def _unrolled_some(found: Sequence[Token], statement: Statement) -> Iterator[Edit]:
    """Rewrite `some k, v in xs` directly inside of a comprehension.

    The compiler takes the comma there for one between elements.
    """
    index = statement.start
    parts = found[index : index + 5]
    if [part.kind for part in parts] != ["name", "name", "mark", "name", "name"]:
        return
    some, key, comma, value, word = parts
    if (some.text, comma.text, word.text) != ("some", ",", "in") or statement.end <= index + 5:
        return
    collection = f"collection__{index}__"
    declared = "" if key.text == "_" else f"some {key.text}; "
    yield Edit(some.start, found[index + 5].start, f"{declared}{collection} := ")
    closing = (
        f"; {value.text} := {collection}[{key.text}]"
        if value.text != "_"
        else f"; {collection}[{key.text}] = _"
    )
    last = found[statement.end - 1]
    yield Edit(last.end, last.end, closing, -1 - some.start)


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
            rest = range(position, len(found))
            following = next((found[i] for i in rest if found[i].kind != "newline"), None)
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
