"""A tree of plain values → a model such as Config, with every fault found and not only the first.

Pydantic stops at a section's first kind of fault, and the checks between sections need a whole
Config. So, as a compiler recovers from a syntax error, each faulty piece is taken out (or a
misspelt key put right) and the rest validated again, until it stands. Such a model is only
good for finding further faults.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

from pydantic import ValidationError

from gateway.config import hints
from gateway.config.document import Fault, Key
from gateway.config.model import KeySource, Section, Upstream
from gateway.config.values import described

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic_core import ErrorDetails

Model = TypeVar("Model", bound=Section)

MOST_LISTED = 24
"""So many known keys are listed for an unknown one that resembles none."""


def validate(
    tree: Any, model: type[Model], unreadable: Iterable[Key] = ()
) -> tuple[Model | None, Draft, tuple[Fault, ...]]:
    """Validate what a document holds, without the values that could not be read.

    The result is None when no usable rest remains, and incomplete when there are faults. The
    draft says where in the document a part of it was written.
    """
    draft = Draft(tree, unreadable, model)
    faults: list[Fault] = []
    while True:
        try:
            return model.model_validate(draft.rest()), draft, tuple(faults)
        except ValidationError as error:
            found = _merge(_read(detail, draft) for detail in error.errors(include_url=False))
            faults += [each.fault for each in found if not draft.explains(each)]
            if not draft.repair(found):
                return None, draft, tuple(faults)


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that `word` was probably meant to be, or the empty string."""
    spelt = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), spelt, n=1, cutoff=0.65)
    return spelt[close[0]] if close else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A remedy for an unknown word: its nearest neighbour, else the known ones if they are few."""
    names = sorted(known)
    if close := nearest(word, names):
        return f"did you mean {close!r}?"
    return f"known here: {', '.join(names)}" if 0 < len(names) <= MOST_LISTED else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A fault and the piece to take out for it; `missing` and `meant` name keys of that section."""

    fault: Fault
    piece: Key
    kind: str
    missing: str = ""
    meant: str = ""


class Draft:
    """The document's tree, less what was found faulty."""

    def __init__(self, tree: Any, removed: Iterable[Key], model: type[Section]) -> None:
        self.tree = tree
        self.model = model
        self._removed = set(removed)
        self._meant: dict[Key, str] = {}  # misspelt key → name
        self._spelt: dict[Key, str] = {}  # and back: section and right name → misspelt name
        self._kept: dict[Key, list[int]] = {}

    def rest(self) -> Any:
        """What is left of the tree."""
        return self._rest(self.tree, ())

    def original(self, key: Iterable[str | int]) -> Key:
        """Where the document holds `key` of the rest, as far down as it holds it."""
        node, found = self.tree, Key()
        for part in key:
            if isinstance(node, dict) and isinstance(part, str):
                name = self._spelt.get((*found, part), part)
                if name not in node:  # header names become lower-case
                    name = next((other for other in node if other.lower() == name), "")
                if name not in node:
                    break
                found, node = (*found, name), node[name]
            elif isinstance(node, list) and isinstance(part, int):
                kept = self._kept.get(found, [])
                if part >= len(kept):  # a default stands in for what was taken out
                    break
                number = kept[part]
                found, node = (*found, number), node[number]
            else:
                break
        return found

    def written(self, section: str) -> Any:
        """What the document holds as that top-level section, faulty or not; None if nothing."""
        key = self.original((section,))
        return self.tree[key[0]] if key else None

    def explains(self, finding: Finding) -> bool:
        """Whether the finding may only follow from an earlier removal."""
        if finding.kind == "missing":
            return (*finding.piece, finding.missing) in self._removed
        if finding.kind in ("value_error", "too_short"):
            return _below(finding.piece, self._removed)
        return False

    def repair(self, found: Iterable[Finding]) -> bool:
        """Take the faulty pieces out, or give misspelt keys their right names.

        False when the whole is faulty, or nothing changed.
        """
        before = len(self._removed), len(self._meant)
        for finding in found:
            if finding.meant:
                self._meant[finding.piece] = finding.meant
                self._spelt[*finding.piece[:-1], finding.meant] = str(finding.piece[-1])
            else:
                self._removed.add(finding.piece)
        return () not in self._removed and before != (len(self._removed), len(self._meant))

    def _rest(self, node: Any, key: Key) -> Any:
        if isinstance(node, dict):
            return {
                self._meant.get((*key, name), name): self._rest(value, (*key, name))
                for name, value in node.items()
                if (*key, name) not in self._removed
            }
        if isinstance(node, list):
            kept = [number for number in range(len(node)) if (*key, number) not in self._removed]
            self._kept[key] = kept
            return [self._rest(node[number], (*key, number)) for number in kept]
        return node


def _merge(found: Iterable[Finding]) -> list[Finding]:
    """One finding for each piece, less those that only follow from another."""
    merged: dict[tuple[Key, str], Finding] = {}
    for finding in found:
        first = merged.setdefault((finding.piece, finding.missing), finding)
        if first is not finding:  # the members of a union complain one by one
            head = first.fault.message.partition(", got ")[0]
            tail = finding.fault.message.removeprefix("expected ")
            fault = replace(first.fault, message=f"{head}, or {tail}")
            merged[finding.piece, finding.missing] = replace(first, fault=fault)
    respelt = {(*each.piece[:-1], each.meant) for each in merged.values() if each.meant}
    pieces = {each.piece for each in merged.values()}
    return [
        each
        for each in merged.values()
        if (*each.piece, each.missing) not in respelt
        and not (each.kind == "too_short" and _below(each.piece, pieces - {each.piece}))
    ]


def _below(key: Key, pieces: Iterable[Key]) -> bool:
    """Whether one of `pieces` is `key` or lies below it."""
    return any(piece[: len(key)] == key for piece in pieces)


def _read(detail: ErrorDetails, draft: Draft) -> Finding:
    kind, loc = detail["type"], detail["loc"]
    if kind == "missing":
        name, key = str(loc[-1]), draft.original(loc[:-1])
        return Finding(
            fault=Fault(
                key=key,
                message=f"{name} is missing",
                remedy=_purpose(draft.model, loc[:-1], name),
                at_name=True,
            ),
            piece=key,
            kind=kind,
            missing=name,
        )
    key = draft.original(loc)
    if kind == "extra_forbidden":
        return _unknown(key, loc, draft)
    message, remedy = _explain(detail, draft.model)
    key += getattr(detail.get("ctx", {}).get("error"), "key", ())
    at_name = loc[-1:] == ("[key]",)
    fault = Fault(key=key, message=message, remedy=remedy, at_name=at_name)
    return Finding(fault=fault, piece=key, kind=kind)


def _unknown(key: Key, loc: tuple[str | int, ...], draft: Draft) -> Finding:
    name, section = str(key[-1]), section_at(draft.model, loc[:-1])
    known = section.model_fields if section else {}
    meant = nearest(name, known)
    remedy = "" if meant else hints.of(name.lower(), known)
    remedy = remedy or did_you_mean(name, known)
    fault = Fault(key=key, message="unknown key", remedy=remedy, at_name=True)
    present = meant and draft.original((*loc[:-1], meant)) == (*key[:-1], meant)
    return Finding(fault=fault, piece=key, kind="extra_forbidden", meant="" if present else meant)


def _purpose(model: type[Section], loc: tuple[str | int, ...], name: str) -> str:
    """What a missing key is for."""
    section = section_at(model, loc)
    field = section.model_fields.get(name) if section else None
    return (field.description or "").rstrip(".") if field else ""


def section_at(model: type[Section], key: Iterable[str | int]) -> type[Section] | None:
    """The section that `key` leads to."""
    section = model
    parts = iter(key)
    for part in parts:
        field = section.model_fields.get(str(part))
        inner, container = inner_section(field.annotation) if field else (None, None)
        if inner is None:
            return None
        if container:
            next(parts, None)  # the position in the list or the name in the mapping
        section = inner
    return section


def inner_section(annotation: Any) -> tuple[type[Section] | None, type | None]:
    """The section within a field's type, and tuple or dict where the field holds several."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, None
    for inner in get_args(annotation):
        section, container = inner_section(inner)
        if section:
            origin = get_origin(annotation)
            return section, origin if origin in (tuple, dict) else container
    return None, None


def _explain(detail: ErrorDetails, model: type[Section]) -> tuple[str, str]:
    ctx = detail.get("ctx", {})
    given = detail["input"]
    match detail["type"]:
        case "value_error":
            return str(ctx["error"]), getattr(ctx["error"], "remedy", "")
        case "literal_error":
            wanted = ctx["expected"].replace("'", "")
            return f"expected {wanted}", _choice(given, re.findall(r"'([^']*)'", ctx["expected"]))
        case "too_short" | "string_too_short":
            return (
                "expected at least one entry"
                if isinstance(given, list | tuple)
                else "expected text that is not empty"
            ), ""
        case "greater_than_equal":
            return f"expected at least {ctx['ge']:g}", ""
        case "greater_than":
            return f"expected more than {ctx['gt']:g}", ""
        case "less_than_equal":
            return f"expected at most {ctx['le']}", ""
        case "string_type" | "path_type" as kind if isinstance(given, bool | int | float | Decimal):
            return f"expected {EXPECTED[kind]}, got {described(given)}", "put it in quotes"
        case kind:
            wanted = EXPECTED.get(kind, "another kind of value")
            return f"expected {wanted}, got {described(given)}", _way(
                kind, given, section_at(model, detail["loc"])
            )


def _choice(given: object, choices: list[str]) -> str:
    if isinstance(given, str) and (close := nearest(given, choices)):
        return f"did you mean {close!r}?"
    if isinstance(given, str) and given.startswith(("/", "./")) and "file" in choices:
        return f"write sink: file and path: {given}"
    if isinstance(given, str) and given.lower() == "none" and "RS256" in choices:
        return "unsigned tokens are never accepted"
    meant = hints.CHOICES.get(str(given).lower())
    return f"write {meant}" if meant in choices else ""


def _way(kind: str, given: object, section: type[Section] | None) -> str:
    """How to write a mapping or a list where something else was given."""
    if kind == "tuple_type" and isinstance(given, dict):
        return "begin each entry with '- '"
    if kind == "dict_type" and isinstance(given, list):
        return "write NAME: VALUE for each entry, without '- '"
    if kind != "model_type" or section is None:
        return ""
    *others, last = [
        name for name, field in section.model_fields.items() if field.is_required()
    ] or [""]
    if last:
        return f"it needs {', '.join(others)} and {last}" if others else f"it needs {last}"
    if section is Upstream:
        return "it needs url or targets"
    if (given is True or given is None) and section is not KeySource:
        return "write {} for its defaults"
    return f"known here: {', '.join(section.model_fields)}"


EXPECTED: Mapping[str, str] = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of ordinary size",
    "int_type": "a whole number",
    "model_type": "a mapping",
    "path_type": "a file name",
    "string_type": "text",
    "tuple_type": "a list",
}
"""What was expected, by pydantic's type of error."""
