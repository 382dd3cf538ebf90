"""Annotations: `# METADATA` comments, and the values that `rego.metadata.*` have by them.

The plan knows nothing of comments, so each call is replaced by its value before compilation: it
is constant for the rule that it stands in.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.rego.builtins.unsupported import ANNOTATIONS
from gateway.rego.edits import Edit
from gateway.rego.metadata import MetadataError, read_metadata
from gateway.rego.tokens import CLOSING, OPENING, Token
from gateway.rego.values import dumps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.rego.errors import RegoProblem
    from gateway.rego.source import Source
    from gateway.rego.values import Value

MAX_INSERTED: Final = 4 << 20
"""Most characters that all values together have in one module."""

_WORD: Final = "METADATA"
_CALLS: Final = frozenset(tuple(name.split(".")) for name in ANNOTATIONS)
_SCOPES: Final = ("rule", "document", "package", "subpackages")
_SPACE: Final = re.compile(r"\s*")

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Block:
    """The annotations of one comment block and the statement that they are about."""

    source: Source
    comment: Token
    fields: dict[str, Value]
    statement: list[Token]

    @property
    def scope(self) -> str:
        return str(self.fields["scope"])

    @property
    def path(self) -> Path:
        package = package_path(self.source)
        return (
            package if self.statement[0].text == "package" else package + head_path(self.statement)
        )


@dataclass(slots=True)
class _Annotations:
    """The annotations of all modules by what they are about."""

    rules: dict[int, list[_Block]] = field(default_factory=dict)
    documents: dict[Path, _Block] = field(default_factory=dict)
    packages: dict[Path, _Block] = field(default_factory=dict)
    subpackages: dict[Path, _Block] = field(default_factory=dict)

    def add(self, block: _Block) -> _Block | None:
        """Add a block, or return the one that is about the same already."""
        if block.scope == "rule":
            self.rules.setdefault(id(block.statement), []).append(block)
            return None
        kept = {
            "document": self.documents,
            "package": self.packages,
            "subpackages": self.subpackages,
        }[block.scope]
        first = kept.setdefault(block.path, block)
        return None if first is block else first

    def rule(self, blocks: Sequence[_Block]) -> Value:
        """Return the value of `rego.metadata.rule()` for a rule with such blocks of its own."""
        return blocks[0].fields if blocks else {}

    def chain(self, source: Source, statement: list[Token], blocks: Sequence[_Block]) -> Value:
        """Return the value of `rego.metadata.chain()`: from the rule outward."""
        package = package_path(source)
        path = package + head_path(statement)
        around = (
            self.documents.get(path),
            self.packages.get(package),
            *(self.subpackages.get(package[:length]) for length in range(len(package), 0, -1)),
        )
        links = [*reversed(blocks), *(block for block in around if block is not None)]
        made: list[Value] = [
            {"path": list(block.path), "annotations": block.fields} for block in links
        ]
        return made if blocks else [{"path": list(path)}, *made]


def valued_calls(sources: Sequence[Source]) -> list[tuple[list[Edit], list[RegoProblem]]]:
    """Return for each module the values of its calls of `rego.metadata.*`, and what is wrong.

    Annotations are read only where there is such a call in any of them, as OPA does.
    """
    if not any("rego.metadata." in source.text for source in sources):
        return [([], [])] * len(sources)
    named = {source.package for source in sources if _is_named(source)}
    calls = [[] if source.package in named else list(_calls(source)) for source in sources]
    problems = [list(_misused(source)) for source in sources]
    if not any(calls):
        return [([], wrong) for wrong in problems]
    known = _Annotations()
    for source, wrong in zip(sources, problems, strict=True):
        for block in _blocks(source, wrong):
            first = known.add(block)
            if first is not None:
                row, _ = first.source.place(first.comment.start)
                message = f"the {block.scope} has annotations already, in {first.source.name}:{row}"
                wrong.append(_problem(source, block.comment, message, "unite the two"))
    return [
        (list(_valued(source, found, known, wrong)), wrong)
        for source, found, wrong in zip(sources, calls, problems, strict=True)
    ]


def _valued(
    source: Source, calls: Iterable[_Call], known: _Annotations, wrong: list[RegoProblem]
) -> Iterator[Edit]:
    texts: dict[tuple[int, bool, str], str] = {}
    elses: dict[int, float] = {}
    inserted = 0
    for call in calls:
        statement = source.statement_at(call.first.start)
        if id(statement) not in elses:
            elses[id(statement)] = _else_of(statement)
        otherwise = call.first.start > elses[id(statement)]
        key = (id(statement), otherwise, call.name)
        if key not in texts:
            blocks = [] if otherwise else known.rules.get(id(statement), [])
            value = (
                known.rule(blocks)
                if call.name == "rule"
                else known.chain(source, statement, blocks)
            )
            texts[key] = f"[{dumps(value)}][0]"
        inserted += len(texts[key])
        if inserted > MAX_INSERTED:
            message = f"the values of `rego.metadata` are longer than {MAX_INSERTED} characters"
            wrong.append(_problem(source, call.first, message, "call it in fewer places"))
            return
        yield Edit(call.first.start, call.end, texts[key])


# --- calls


@dataclass(frozen=True, slots=True)
class _Call:
    """A call `rego.metadata.name()`: its first token, and the offset behind it."""

    first: Token
    end: int
    name: str


def _named(found: Sequence[Token], index: int) -> str:
    """Return `rule` or `chain` where such a name starts, written without a gap; else nothing."""
    row = found[index : index + 5]
    is_name = tuple(token.text for token in row[::2]) in _CALLS and (
        not index or found[index - 1].text != "."
    )
    gapless = all(left.end == right.start for left, right in itertools.pairwise(row))
    return row[4].text if is_name and gapless else ""


def _is_named(source: Source) -> bool:
    """Whether a rule, an import or a variable is named `rego`, so that nothing is sure a call."""
    heads = {id(_head(statement)[0]) for statement in source.statements}
    imported = {id(each[-1]) for each in source.statements if each[0].text == "import"}
    for token, after in zip(source.tokens, [*source.tokens[1:], None], strict=True):
        if token.text == "rego" and (
            id(token) in heads | imported or after is None or after.text not in (".", "[")
        ):
            return True
    return False


def _calls(source: Source) -> Iterator[_Call]:
    """Yield the calls in a module; in any other form they are left, and refused later."""
    found = source.tokens
    for index, token in enumerate(found):
        name = _named(found, index) if token.text == "rego" else ""
        if not name or found[index + 5 : index + 6] == []:
            continue
        opening = found[index + 5]
        if opening.text != "(" or opening.start != found[index + 4].end:
            continue
        gap = _SPACE.match(source.text, opening.end)
        assert gap is not None
        if source.text[gap.end() : gap.end() + 1] == ")":
            yield _Call(token, gap.end() + 1, name)


def _misused(source: Source) -> Iterator[RegoProblem]:
    """Yield where a call is negated by itself, or where its function is replaced."""
    found = source.tokens
    for index, token in enumerate(found):
        if token.text != "rego" or not _named(found, index):
            continue
        before = index - 1
        while before > 0 and found[before].text == "(":
            before -= 1
        shown = "".join(part.text for part in found[index : index + 5])
        if index and found[index - 1].text == "with":
            message = f"`{shown}` cannot be replaced"
            yield source.problem_at(token, "with-target", message, "leave the `with` out")
        elif before >= 0 and found[before].text == "not" and _ends_operand(found, index + 7):
            # OPA takes it for true.
            message = f"`not {shown}()` has no meaning: the value is never false"
            yield _problem(source, token, message, "negate what is in it, or leave it out")


def _ends_operand(found: Sequence[Token], index: int) -> bool:
    """Whether nothing takes a part of a term, or compares it, from the token at `index` on."""
    while index < len(found) and found[index].text == ")":
        index += 1
    following = found[index] if index < len(found) else None
    return (
        following is None
        or following.kind == "newline"
        or following.text in ("}", "]", ";", "with", "else")
    )


def _else_of(statement: Sequence[Token]) -> float:
    """Return the offset of a rule's first `else`: from there on it has no annotations."""
    depth = 0
    for before, token in itertools.pairwise(statement):
        if token.kind == "mark":
            depth += (token.text in OPENING) - (token.text in CLOSING)
        elif depth == 0 and token.text == "else" and before.text != ".":
            return token.start
    return math.inf


# --- what annotations are about


def package_path(source: Source) -> Path:
    """Return the path of a module's package."""
    return head_path(source.statements[0][1:]) if source.package else ()


def head_path(statement: Sequence[Token]) -> Path:
    """Return the constant part of a rule's reference, keys that are no strings as their text."""
    statement = _head(statement)
    path = [statement[0].text]
    index = 1
    while index + 1 < len(statement):
        mark, key = statement[index], statement[index + 1]
        if mark.text == "." and mark.kind == "mark" and key.kind == "name":
            path.append(key.text)
            index += 2
        elif (
            mark.text == "["
            and mark.start == statement[index - 1].end
            and statement[index + 2 : index + 3]
            and statement[index + 2].text == "]"
        ):
            text = _constant(key)
            if text is None:
                break
            path.append(text)
            index += 3
        else:
            break
    return tuple(path)


def _head(statement: Sequence[Token]) -> Sequence[Token]:
    """Return a rule from its name on."""
    is_default = statement[0].text == "default" and len(statement) > 1 and statement[1].text != "."
    return statement[1:] if is_default else statement


def _constant(token: Token) -> str | None:
    if token.kind == "string":
        return _string(token.text)
    constant = token.kind == "number" or token.text in ("true", "false", "null")
    return token.text if constant else None


def _string(text: str) -> str | None:
    if text[0] == "`":
        return text[1:-1]
    try:
        return str(json.loads(text, strict=False))
    except ValueError:  # a template, or a string that is refused as such
        return None


# --- comment blocks


def _blocks(source: Source, wrong: list[RegoProblem]) -> Iterator[_Block]:
    """Yield a module's annotations; what is wrong with others is added to `wrong`."""
    for comments in _comment_blocks(source):
        comment = comments[0]
        text = "".join(f"{each.text[1:].removeprefix(' ')}\n" for each in comments[1:])
        try:
            fields = read_metadata(text)
        except MetadataError as error:
            at = comments[min(error.line, len(comments) - 1)]
            wrong.append(_problem(source, at, str(error), error.remedy))
            continue
        statement = source.statement_below(comment.start)
        fault = _scoped(fields, statement)
        if fault:
            remedy = f"the scopes are {', '.join(_SCOPES)}; put the comment above what it is about"
            wrong.append(_problem(source, comment, fault, remedy))
            continue
        yield _Block(source, comment, fields, statement)


def _comment_blocks(source: Source) -> Iterator[list[Token]]:
    """Yield the comments that stand together in the first column, from METADATA on."""
    block: list[Token] = []
    last = 0
    for comment in source.comments:
        row, col = source.place(comment.start)
        starts = comment.text[1:].strip().startswith(_WORD)
        if block and (starts or col != 1 or row != last + 1):
            yield block
            block = []
        if col == 1 and (block or starts):
            block.append(comment)
        last = row
    if block:
        yield block


def _scoped(fields: dict[str, Value], statement: Sequence[Token]) -> str:
    """Give annotations the scope that they have by default, or say what is wrong with it."""
    kind = statement[0].text if statement else ""
    kind = kind if kind in ("package", "import", "") else "rule"
    entrypoint = "entrypoint" in fields
    scope = str(fields.pop("scope", ""))
    if not scope:
        scope = "document" if entrypoint and kind == "rule" else kind
    fields["scope"] = scope
    if not kind or kind == "import":
        return "annotations stand above a package or a rule"
    if scope not in _SCOPES:
        return f"`{scope[:40]}` is no scope of annotations"
    if kind != ("rule" if scope in ("rule", "document") else "package"):
        return f"annotations with the scope `{scope}` cannot be about a {kind}"
    if entrypoint and scope not in ("document", "package"):
        return f"an entrypoint cannot have the scope `{scope}`"
    return ""


def _problem(source: Source, token: Token, message: str, remedy: str) -> RegoProblem:
    return source.problem_at(token, "annotation", message, remedy)
