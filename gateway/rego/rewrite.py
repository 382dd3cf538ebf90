"""What is rewritten for the compiler: valid Rego that it refuses or misreads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.rego.edits import Edit
from gateway.rego.tokens import RESERVED, Token, end_of_reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.rego.source import Names
    from gateway.rego.tree import Module

WHOLE_INPUT: Final = "whole_input__"
"""Below `input`, stands for all of it in what the compiler gets."""

HIDDEN: Final[Mapping[str, str]] = {
    "parse_and_verify_certificates_with_options": "parse_and_verify_certificates_by_options"
}
"""Last names of builtins at which the compiler aborts, and what stands for them."""

_INPUT_AS: Final = ["input", "as"]


def edits_of(text: str, found: Sequence[Token], module: Module, known: Names) -> Iterator[Edit]:
    """Yield what to change in a module's text because of its tokens."""
    if not text.endswith("\n"):
        yield Edit(len(text), len(text), "\n", 99)
    found = [token for token in found if token.kind != "newline"]
    package = text[module.package.start : module.package.end]
    own = known.globals_of(tuple(part.text.strip('"`') for part in module.package.parts))
    for index, token in enumerate(found):
        yield from _at(found, index, token, known)
        if token.text == "with" and [each.text for each in found[index + 2 : index + 3]] == ["."]:
            first = found[index + 1]
            if first.text in own:  # the compiler looks for a function below a rule's name only so
                yield Edit(first.start, first.start, f"data.{package}.", 1)
        dotted = index > 0 and found[index - 1].text == "."
        if token.text in ("with", "as") and not dotted and index + 1 < len(found):
            gap = text[token.end : found[index + 1].start]
            imported = (each.start <= token.start < each.end for each in module.imports)
            if "\n" in gap and not any(imported):
                yield Edit(token.end, found[index + 1].start, " ")
    yield from _entrance(text, found, module)


def _entrance(text: str, found: Sequence[Token], module: Module) -> Iterator[Edit]:
    """Change the package and the imports.

    Rego takes imports anywhere at the top, the compiler only before the rules; and it takes no
    new line in them. `import rego.v1` changes nothing, but the compiler takes `v1` for a name.
    """
    package = module.package
    start = found[0].start
    if "\n" in text[start : package.end]:
        yield Edit(start, package.end, f"package {text[package.start : package.end]}")
    rules = min((rule.start for rule in module.rules), default=len(text))
    for each in module.imports:
        shown = text[each.start : each.end]
        path = each.path
        whole = each.name == path.parts[0].text  # `import input` names what has that name already
        if path.parts[0].text not in RESERVED or whole:
            yield Edit(each.start, each.end, re.sub(r"[^\n]", " ", shown))
        elif each.start > rules or "\n" in shown:
            yield Edit(each.start, each.end, re.sub(r"[^\n]", " ", shown))
            named = f" as {each.name}" if each.end > path.end else ""
            line = f"\nimport {text[path.start : path.end]}{named}"
            yield Edit(package.end, package.end, line)


def _at(found: Sequence[Token], index: int, token: Token, known: Names) -> Iterator[Edit]:
    """Yield what to change because of one token."""
    after = found[index + 1].text if index + 1 < len(found) else ""
    match token.text:
        case "." if _is_fraction(found, index):
            yield Edit(token.start, token.start, "0")
        case text if text[0] == '"' and "\t" in text:
            yield Edit(token.start, token.end, text.replace("\t", "\\t"))
        case "[" | "{" if after == ",":  # skipped, before an element
            yield Edit(found[index + 1].start, found[index + 1].end, "")
        case "with" if not index or found[index - 1].text != ".":
            yield from _enclosed_value(found, index + 1, known)
            if [part.text for part in found[index + 1 : index + 3]] == _INPUT_AS:
                # The compiler aborts on a new input for a rule that calls a function, but
                # not on a new value inside it; the plan's reader makes this the whole.
                yield Edit(found[index + 1].end, found[index + 1].end, f".{WHOLE_INPUT}")
        case name if name in HIDDEN and found[index - 2].text == "x509":
            yield Edit(token.start, token.end, HIDDEN[name])
        case "else" if after == "if":
            yield Edit(token.end, token.end, " := true")  # needed where no braces follow


def _is_fraction(found: Sequence[Token], index: int) -> bool:
    """Whether a number starts with the dot at `index`."""
    following = found[index + 1] if index + 1 < len(found) else None
    return (
        following is not None
        and following.kind == "number"
        and following.start == found[index].end
        and not (
            index and found[index - 1].end == found[index].start and found[index - 1].kind == "name"
        )
    )


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
    first, last = found[as_ + 1].start, found[end - 1].end
    around = found[as_].end, last  # it stays where the reference moves
    yield Edit(first, first, "[", 0, around)
    yield Edit(last, last, "][0]", -1 - first, around)
