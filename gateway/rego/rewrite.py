"""What is rewritten for the compiler: valid Rego that it refuses or misreads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.rego.edits import Edit
from gateway.rego.grammar import template_parts
from gateway.rego.replacements import replacements

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from gateway.rego.replacements import Scope
    from gateway.rego.tokens import Token
    from gateway.rego.tree import Module


def edits_of(
    text: str, found: Sequence[Token], module: Module, scope: Scope, functions: Collection[int]
) -> Iterator[Edit]:
    """Yield what to change in a module's text because of its tokens.

    `scope` tells what names are; at `functions` stand those that `with` puts in a place.
    """
    if not text.endswith("\n"):
        yield Edit(len(text), len(text), "\n", 99)
    found = [token for token in found if token.kind != "newline"]
    whole: set[int] = set()
    for target, value in replacements(module):
        made = list(scope.edits(target, value, functions))
        whole.update(*(range(edit.start, edit.end) for edit in made))
        yield from made
    for index, token in enumerate(found):
        if token.start not in whole:
            yield from _at(found, index, token)
        dotted = index > 0 and found[index - 1].text == "."
        if token.text in ("with", "as") and not dotted and index + 1 < len(found):
            gap = text[token.end : found[index + 1].start]
            imported = (each.start <= token.start < each.end for each in module.imports)
            if "\n" in gap and not any(imported):
                yield Edit(token.end, found[index + 1].start, " ")
    yield from _entrance(text, found, module)


def _entrance(text: str, found: Sequence[Token], module: Module) -> Iterator[Edit]:
    """Change the package, in which the compiler takes no new line, and leave the imports out.

    The names that they give are written in full.
    """
    package = module.package
    start = found[0].start
    if "\n" in text[start : package.end]:
        yield Edit(start, package.end, f"package {text[package.start : package.end]}")
    for each in module.imports:
        yield Edit(each.start, each.end, re.sub(r"[^\n]", " ", text[each.start : each.end]))


def _at(found: Sequence[Token], index: int, token: Token) -> Iterator[Edit]:
    """Yield what to change because of one token."""
    after = found[index + 1].text if index + 1 < len(found) else ""
    match token.text:
        case "." if _is_fraction(found, index):
            yield Edit(token.start, token.start, "0")
        case text if text[0] == '"' and "\t" in text:
            yield Edit(token.start, token.end, text.replace("\t", "\\t"))
        case text if text.startswith("$`") and "\\" in text:
            yield from _escaped(token)
        case "[" | "{" if after == ",":  # skipped, before an element
            yield Edit(found[index + 1].start, found[index + 1].end, "")
        case "else" if after == "if":
            yield Edit(token.end, token.end, " := true")  # needed where no braces follow


def _escaped(token: Token) -> Iterator[Edit]:
    """Write a raw template string with escapes: the compiler takes no backslash in one."""
    start = token.start + 1
    for first, last in [*template_parts(token), (token.end, token.end)]:
        end = first - (first < token.end)  # the brace stays
        text = token.text[start - token.start : end - token.start]
        shown = _RAW.sub(lambda found: _ESCAPES.get(found[0], found[0]), text)
        yield Edit(start, end, shown)
        start = last


_RAW: Final = re.compile(r'\\[{}]|[\\"`\n\r\t]')
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "`": '"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


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
