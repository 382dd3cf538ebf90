"""What the compiler says of source that it refuses, as problems with a place and a remedy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.rego.errors import RegoProblem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.rego.source import Source

_TREE_FAULT: Final = re.compile(
    r"\(error(?: [0-9]+:m(?P<module>[0-9]+)\.rego)?(?:\|(?P<offset>[0-9]+)\|[0-9]+)?\s*"
    r"\(errormsg (?P<length>[0-9]+):",
)
_PRINTED_FAULT: Final = re.compile(
    r"^(?P<message>[^\n]+)\n-- (?:m(?P<module>[0-9]+)\.rego:(?P<row>[0-9]+):(?P<col>[0-9]+))?$",
    re.MULTILINE,
)


def complaints(index: int, said: str, sources: Sequence[Source]) -> Iterator[RegoProblem]:
    """Yield what regopy says, in two forms, as located problems."""
    found = False
    for fault in _TREE_FAULT.finditer(said):
        found = True
        message = said[fault.end() : fault.end() + int(fault["length"])]
        module = index if fault["module"] is None else int(fault["module"])
        if 0 <= module < len(sources):
            source = sources[module]
            offset = int(fault["offset"] or 0)
            at = source.byte_place(offset) if fault["offset"] else (0, 0)
            if message == "this is unclosed" and offset == 0:
                continue  # the file as a whole, beside the bracket itself
            yield source.problem(at, "syntax", *_explained(message))
        else:
            yield unplaced(message)
    if found:
        return
    for fault in _PRINTED_FAULT.finditer(said):
        message = fault["message"]
        if message == "wellformed_error" or message.startswith("~"):
            continue
        if fault["module"] is not None and int(fault["module"]) < len(sources):
            found = True
            source = sources[int(fault["module"])]
            at = source.place_prepared(int(fault["row"]), int(fault["col"]))
            yield source.problem(at, "compile", *_explained(message))
        elif not found:
            found = True
            yield unplaced(message)
    if not found:
        yield unplaced("the modules do not compile")


_HEAD: Final = (
    "this is no head of a rule, or `if` is not where it belongs",
    "write `name := value if { … }`, `name contains value if { … }` or `name(x) := value`",
)
_SIDES: Final = "an operator has a value on each side: `left {} right`"
_ELSE: Final = (
    "a set or an object of rules has no `else`",
    "write another rule `… if { … }` for the other case",
)

_EXPLAINED: Final[Mapping[str, tuple[str, str]]] = {
    "this is unclosed": (
        "an opening bracket is never closed",
        "close it with the bracket of its kind",
    ),
    "Empty body": ("`else` follows no body", "write `name := value if { … } else := other`"),
    "Invalid assignment": ("the value of this `with` is missing", "write `with input.x as value`"),
    "Invalid assignment operator": ("nothing is assigned here", "write `name := value`"),
    "Invalid arithmetic operator": ("a side is missing", _SIDES.format("+")),
    "Invalid boolean operator": ("a side is missing", _SIDES.format("==")),
    "Invalid set operator": ("a side is missing", _SIDES.format("|")),
    "Invalid bracket argument": (
        "the compiler takes no iteration here",
        "assign it to a variable in a statement before: `x := …[_]`",
    ),
    "Invalid collection": (
        "this array, set or object is malformed",
        "write `[a, b]`, `{a, b}` or `{key: value}`, with a comma between elements",
    ),
    "Cannot form valid identifier from reference": (
        "this is no name of a rule",
        "write names, constants and variables: `name.part[key]`",
    ),
    "Invalid comprehension": (
        "this comprehension is malformed",
        "write `[value | conditions]`, `{value | conditions}` or `{key: value | conditions}`",
    ),
    "Invalid expression": (
        "this is no expression",
        "write one value, with operators only between values",
    ),
    "Invalid reference": ("this is no reference", "write `name.part`, or `name[key]`"),
    "Invalid reference argument": (
        "this is no key of a reference",
        "write `name.part`, or `name[key]` with one value as the key",
    ),
    "Invalid comma": (
        "a comma between conditions",
        "put each condition on a line of its own, or write `;` between them",
    ),
    "Invalid else in obj rule": _ELSE,
    "Invalid else in set rule": _ELSE,
    "only one body for dynamic keys": _ELSE,
    "Invalid else statement": ("this `else` is malformed", "write `else := value if { … }`"),
    "Invalid every expression": ("this `every` is malformed", "write `every x in xs { … }`"),
    "Invalid file": ("the module is empty", "start it with `package …`"),
    "Invalid import": ("this import is malformed", "write `import data.package as name`"),
    "Invalid import declaration": (
        "this import is malformed",
        "write `import data.package` or `import data.package as name`",
    ),
    "Invalid literal": (
        "this is no condition",
        "write one expression on each line, with an operator between its terms",
    ),
    "Invalid object item": (
        "a colon stands outside of an object",
        "write `{key: value}` for an object, `:=` to assign",
    ),
    "Invalid package declaration": (
        "this is no name of a package",
        "write names with letters, digits and `_`, and dots between: `package a.b`",
    ),
    "Invalid rule body for object rule": (
        "a rule of this name makes an object, another one does not",
        "rename one of them",
    ),
    "Invalid rule body for set rule": (
        "a rule of this name makes a set, another one does not",
        "rename one of them",
    ),
    "Invalid rule head": _HEAD,
    "Invalid rule reference": (
        "this is no name of a rule",
        "write names, constants and variables: `name.part[key]`",
    ),
    "Invalid sequence": ("a string is malformed", "write it in backquotes"),
    "Invalid some statement": ("this `some` is malformed", "write `some x in xs`"),
    "Invalid with reference": (
        "`with` replaces input, data, or a function",
        "write `with input.x as value`",
    ),
    "Invalid with statement": ("this `with` is malformed", "write `with input.x as value`"),
    "Invalid with term": (
        "`with` replaces input, data, or a function",
        "write `with input.x as value`",
    ),
    "Missing reference": ("a name is missing", "write it behind the word"),
    "Syntax error": (
        "this is no rule and no condition",
        "check the brackets, and the operators before this place",
    ),
    "Unable to unify due to cycle": (
        "variables here depend on one another, so none of them gets a value",
        "assign each with `:=` before it is used, and compare with `==`",
    ),
}


def _explained(message: str) -> tuple[str, str]:
    return _EXPLAINED.get(message, (message.replace("\n", " ")[:300], ""))


def unplaced(said: str) -> RegoProblem:
    """Return the problem that the compiler, or the code generator, gives no place."""
    message, remedy = _explained(said)
    return RegoProblem(file="", row=0, col=0, code="compile", message=message, remedy=remedy)
