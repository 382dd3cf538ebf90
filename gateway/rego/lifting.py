"""What the compiler gets instead of parts of rules that it refuses or misreads, by their grammar.

Terms move into statements of their own before the one that they stand in, which is what they
mean: references that iterate inside of others (`startswith(input.xs[_], "a")`), and what a
negated call is about, so that `not f(input.x)` is undefined where `input.x` is.
"""

from __future__ import annotations

import bisect
import itertools
from typing import TYPE_CHECKING, Final

from gateway.rego.edits import Edit, enclosed
from gateway.rego.loops import EVERY
from gateway.rego.scopes import direct_variables, pattern_variables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.rego.replacements import Scope
    from gateway.rego.scopes import Scopes
    from gateway.rego.tree import Branch, Literal, Module, Node, Rule

_NAMED: Final = 50
"""The order of other names: behind all that is put before them."""

_COMPARISONS: Final = frozenset(("==", "!=", "<", "<=", ">", ">="))


class Lifting:
    """The edits of one module; `edits` are those that are made of its tokens.

    Locals that are named like one of `taken` get another name. `names` tells what rules and
    imports are called in full: the compiler looks a short name up in all that is around it.
    """

    def __init__(
        self,
        text: str,
        module: Module,
        scopes: Scopes,
        taken: frozenset[str],
        edits: Sequence[Edit],
        names: Scope,
    ) -> None:
        self._text = text
        self._module = module
        self._scopes = scopes
        renamed = {
            (start, start + len(local.name)): f"local__{local.name}__{local.place}__"
            for start, local in scopes.of.items()
            if local.name in taken or local.shared
        }
        renamed |= {(node.start, node.end): names.full(node) for node in scopes.named}
        renamed |= {(node.start, node.end): names.called(node) for node in scopes.called}
        named = [Edit(*span, name, _NAMED) for span, name in renamed.items() if name]
        self._given = sorted([*edits, *named], key=_place)
        self._starts = [edit.start for edit in self._given]
        self._made: list[Edit] = []
        self._around = self._whole = 0, len(text)
        # `import future.keywords.not` gives `not` the compiler's own meaning.
        self._exact_not = any(_is_future_not(each.path) for each in module.imports)

    def edits(self) -> Iterator[Edit]:
        """Yield all edits of the module, those of its tokens among them."""
        end = self._module.package.end
        for row in self._module.rows:
            if "\n" not in self._text[end : row.start]:
                yield Edit(row.start, row.start, "\n", -9)
            end = row.end
        first = 0
        for rule in self._module.rules:
            last = bisect.bisect_left(self._starts, rule.start)
            yield from self._given[first:last]
            first = bisect.bisect_right(self._starts, rule.end)
            self._made = self._given[last:first]
            self._rule(rule)
            yield from self._made
        yield from self._given[first:]

    # --- text

    def _within(self, start: int, end: int) -> tuple[int, int]:
        """Return the first and last of the edits at a range and at its borders."""
        first = bisect.bisect_left(self._made, start, key=_start)
        return first, bisect.bisect_right(self._made, end, first, key=_start)

    def rendered(self, start: int, end: int) -> str:
        """Return what the compiler gets for a range."""
        first, last = self._within(start, end)
        parts: list[str] = []
        cursor = start
        for edit in self._made[first:last]:
            if start <= edit.span[0] and edit.span[1] <= end:
                parts += (self._text[cursor : edit.start], edit.text)
                cursor = edit.end
        return "".join((*parts, self._text[cursor:end]))

    def replace(
        self, start: int, end: int, text: str, order: int = 0, around: tuple[int, int] | None = None
    ) -> None:
        """Put text instead of a range, and of what was changed in it."""
        first, last = self._within(start, end)
        self._made[first:last] = [
            edit
            for edit in self._made[first:last]
            if not (start <= edit.span[0] and edit.span[1] <= end)
        ]
        self._add(Edit(start, end, text, order, around))

    def _add(self, edit: Edit) -> None:
        bisect.insort(self._made, edit, key=_place)

    def _insert(self, at: int, text: str, order: int, span: tuple[int, int]) -> None:
        self._add(Edit(at, at, text, order, span))

    # --- rules

    def _rule(self, rule: Rule) -> None:
        for branch in rule.branches:
            for body in branch.bodies:
                self._body(body)
            for term in (*rule.head.parts[1:], rule.member, branch.value):
                if term is not None:
                    self._inside(term)
        for argument in rule.arguments or ():
            self._inside(argument)
        only = rule.branches[0]
        if len(rule.branches) == 1 and not rule.default:
            self._head(rule, only)
        for branch in rule.branches if len(rule.branches) > 1 else ():
            self._value(branch)
        for start, body in zip(only.starts[1:], only.bodies[1:], strict=True):
            head = self.rendered(rule.start, only.condition).rstrip()
            self._insert(start, f"\n{head} if ", -8, (rule.start, body[-1].end))

    def _value(self, branch: Branch) -> None:
        """Move a value of several to the end of its body, where it can fail or iterates."""
        value = branch.value
        if value is None:
            return
        late = self._comes_late(value, branch.bodies)
        if not late and not _has_relation(value):
            return
        lift = _Lift(self, "")
        lift.head(value, whole=late)
        needed = "; ".join(lift.definitions)
        lift.replace()
        if not branch.bodies:
            self._insert(value.end, f" if {{ {needed} }}", 9, (branch.start, value.end))
        for body in branch.bodies:
            self._append(body[-1], needed, (branch.start, body[-1].end))

    def _append(self, last: Literal, needed: str, span: tuple[int, int]) -> None:
        """Add statements to the end of a body."""
        self._insert(last.end, f"; {needed}", 7, span)
        if last.bare:
            self._insert(last.start, "{ ", -4, span)
            self._insert(last.end, " }", 8, span)

    def _comes_late(self, head: Node, bodies: Sequence[Sequence[Literal]]) -> bool:
        """Whether a head can fail before a body is through that iterates: see order.py."""
        return _can_fail(head) and any(
            literal.kind == "in" or any(map(self._iterates, literal.terms))
            for body in bodies
            for literal in body
        )

    def _iterates(self, node: Node) -> bool:
        return (node.kind == "ref" and any(map(self.is_free, node.parts[1:]))) or any(
            map(self._iterates, node.parts)
        )

    def _head(self, rule: Rule, branch: Branch) -> None:
        """Move what iterates in a head to the end of its bodies."""
        terms = [*rule.head.parts[1:], rule.member, branch.value]
        lift = _Lift(self, "")
        lift.repeated(rule.arguments or ())
        for term in terms:
            if term is None:
                continue
            if self._comes_late(term, branch.bodies):
                lift.head(term, whole=True)
            else:
                lift.iterating(term, inside=term is not branch.value)
        if rule.member is not None and rule.member.kind == "paren":  # `contains (x)` is no call
            for edit in enclosed(rule.member.start, rule.member.end, "[", "][0]"):
                self._add(edit)
        if not lift.definitions:
            return
        needed = "; ".join(lift.definitions)
        lift.replace()
        if not branch.bodies:
            self._insert(rule.end, f" if {{ {needed} }}", 9, (rule.start, rule.end))
        for body in branch.bodies:
            self._append(body[-1], needed, (rule.start, rule.end))

    # --- bodies

    def _body(self, body: Sequence[Literal], *, compressed: bool = False) -> None:
        for literal in body:
            for term in (*literal.terms, *(value for _, value in literal.replaced)):
                self._inside(term)
            every = literal.kind == "every"
            if literal.body:
                around, self._around = self._around, (literal.start, literal.end)
                self._body(literal.body, compressed=every)
                self._around = around
            if every:
                self._looped(literal)
            elif literal.kind == "none":
                span = literal.start, literal.end
                self._add(Edit(literal.start, literal.body_start + 1, "[true | ", 0, span))
                self._add(Edit(literal.body_end - 1, literal.body_end, "] == []", 0, span))
            elif literal.kind == "in" and compressed and len(literal.terms) == 3:
                self._unrolled(literal)
            self._literal(literal)
        self._ordered(body)
        for before, literal in itertools.pairwise(body):
            if (
                self._first(literal.start) in "[({-."
                and ";" not in self._text[before.end : literal.start]
            ):
                # The compiler takes it for a part of the line before.
                self._insert(before.end, ";", 9, (before.start, before.end + 1))

    def _first(self, start: int) -> str:
        """Return the first character that the compiler gets at a place."""
        at, _ = self._within(start, start)
        put = (each.text[0] for each in self._made[at:] if each.start == start and each.text)
        return next(put, self._text[start])

    def _ordered(self, body: Sequence[Literal]) -> None:
        """Move statements behind those that bind what the bodies in them read of this one.

        The compiler takes them in the order in which they stand.
        """
        if len(body) == 1 or not any(map(_encloses, body)):
            return
        bound: dict[int, int] = {}
        for number, literal in enumerate(body):
            for node in () if literal.negated else direct_variables(literal):
                if node.start in self._scopes.of:
                    bound.setdefault(id(self._scopes.of[node.start]), number)
        for number, literal in enumerate(body):
            inner = (self._scopes.of.get(node.start) for node in _enclosed_variables(literal))
            last = max((bound.get(id(local), 0) for local in inner if local), default=0)
            if last > number:
                moved = self.rendered(literal.start, literal.end)
                span = body[0].start, body[-1].end
                self.replace(literal.start, literal.end, "true")
                self._insert(body[last].end, f"; {moved}", 5, span)

    def _inside(self, node: Node) -> None:
        """Write the bodies in a term, and what the compiler has no sign for."""
        around = self._around
        if node.kind == "comprehension":
            self._around = node.start, node.end
        for part in node.parts:
            self._inside(part)
        for part in _unread(node):
            signs = ("[", "][0]") if node.kind == "ref" else ("(", ")")
            for edit in enclosed(part.start, part.end, *signs):
                self._add(edit)
        if node.kind == "comprehension":
            self._body(node.body, compressed=True)
            lift = _Lift(self, "")
            for part in node.parts:
                lift.captured(part)
            self._around = around
            for part in node.parts:
                late = self._comes_late(part, [node.body])
                lift.head(part, whole=late or self._is_outer(part, node))
            if lift.definitions:
                lift.replace()
                needed = f"; {'; '.join(lift.definitions)}"
                self._insert(node.body[-1].end, needed, 7, (node.start, node.end))
        else:
            self._operator(node)

    def _operator(self, node: Node) -> None:
        if node.kind == "minus":
            self._add(Edit(node.start, node.start + 1, "(0 - ", 0, (node.start, node.end)))
            self._insert(node.end, ")", -1 - node.start, (node.start, node.end))
            return
        if node.kind != "infix":
            return
        # In brackets the compiler takes a comma in `k, v in xs` for one between elements, and it
        # has levels of its own for the operators of sets: OPA's are `-` before `&` before `|`.
        mixed = [
            part
            for part in node.parts
            if part.kind == "infix" and {part.text, node.text} & {"&", "|"}
        ]
        for part in (node,) if len(node.parts) == 3 else mixed:
            for edit in enclosed(part.start, part.end, "(", ")"):
                self._add(edit)

    def _literal(self, literal: Literal) -> None:
        lift = _Lift(self, self._replacements(literal))
        if self.is_inner:
            for term in (*literal.terms, *(value for _, value in literal.replaced)):
                lift.captured(term, pattern=literal.kind == "unify")
        if literal.negated and literal.terms[0].kind in ("set", "object"):
            term = literal.terms[0]  # the compiler takes it for a body
            for edit in enclosed(term.start, term.end, "[", "][0]"):
                self._add(edit)
        if literal.negated and not self._exact_not:
            lift.negated(literal)
        elif not literal.negated:
            lift.literal(literal)
        span = literal.start, literal.end
        if lift.definitions:
            lift.replace()
            before = "".join(f"{definition}; " for definition in lift.definitions)
            self._insert(literal.start, before, -2, span)
        if literal.bare and (
            lift.definitions
            or literal.replaced
            or literal.kind == "every"
            or self._text[literal.start] == "{"
        ):
            self._insert(literal.start, "{ ", -3, span)
            self._insert(literal.end, " }", 6, span)

    @property
    def is_inner(self) -> bool:
        """Whether the body that is written stands within another one."""
        return self._around != self._whole

    def _replacements(self, literal: Literal) -> str:
        """Return the `with … as …` of a literal."""
        if not literal.replaced:
            return ""
        first, last = literal.replaced[0][0], literal.replaced[-1][1]
        return f" with {self.rendered(first.start, last.end).lstrip()}"

    def _looped(self, literal: Literal) -> None:
        """Rewrite `every k, v in xs { … }` as a call that loops.py reads.

        The compiler lets no comprehension, `not` or `every` inside of the body see its variables,
        and with a variable it renames the fields of that name.
        """
        start = literal.start
        *variables, domain = literal.terms
        all_, each, key, holds = (
            f"{name}__{start}__" for name in ("every", "each", "key", "holds")
        )
        bound = "".join(
            f"{self.rendered(node.start, node.end)} := {element}; "
            for node, element in zip(reversed(variables), (each, key), strict=False)
            if node.text != "_"
        )
        span = literal.start, literal.end
        self.replace(start, domain.start, f"{all_} := ", 2, span)
        opened, closed = literal.body_start, literal.body_end
        call = (
            f"{self._replacements(literal)}; {EVERY}({all_}, [{holds} | "
            f"{each} = {all_}[{key}]; {holds} := [true | seen__{start}__ := {each}; {bound}"
        )
        self._add(Edit(opened, opened + 1, call, 0, span))
        self._add(Edit(closed - 1, closed, "]])", 0, span))

    def _unrolled(self, literal: Literal) -> None:
        """Rewrite `some k, v in xs` directly inside of a comprehension.

        The compiler takes the comma there for one between elements.
        """
        key, value, domain = literal.terms
        if key.kind in ("array", "object"):
            return
        name = f"collection__{literal.start}__"
        at, shown = (self.rendered(node.start, node.end) for node in (key, value))
        declared = [at] if key.kind == "var" and key.text != "_" else []
        sign = ":=" if value.kind == "var" and value.text != "_" else "="
        if sign == "=":
            declared += [
                self.rendered(node.start, node.end)
                for node in pattern_variables(value)
                if node.text != "_"
            ]
        before = f"some {', '.join(declared)}; " if declared else ""
        last = literal.end
        span = literal.start, literal.end
        self.replace(literal.start, domain.start, f"{before}{name} := ", 0, span)
        self._insert(last, f"; {shown} {sign} {name}[{at}]", -1 - literal.start, span)

    def _is_outer(self, head: Node, comprehension: Node) -> bool:
        """Whether a head needs locals of outer bodies that its own body does not name.

        The compiler makes such a comprehension before those have a value.
        """
        start, end = comprehension.start, comprehension.end
        for node in _all_variables(head):
            local = self._scopes.of.get(node.start)
            if local is not None and local.how != "argument":
                places = [local.node.start, *(use.start for use in local.uses)]
                named = any(head.end <= place < end for place in places)
                if not named and any(not start <= place < end for place in places):
                    return True
        return False

    def compared(self, left: Node, right: Node) -> bool:
        """Write `==` for `=` between what has a value: the compiler makes new variables of it."""
        found = [*pattern_variables(left), *pattern_variables(right)]
        outer = any(map(self.is_of_outer, (left, right))) and all(map(self.is_of_outer, found))
        if outer:
            self.replace(left.end, right.start, " == ")
        return outer

    def is_of_outer(self, node: Node) -> bool:
        """Whether a variable is a local of a body around the one that is written."""
        local = self._scopes.of.get(node.start) if node.kind == "var" else None
        if local is None:
            return False
        start, end = self._around
        return any(not start <= each.start < end for each in (local.node, *local.uses))

    def needs_outer(self, key: Node) -> bool:
        """Whether a key is a local of bodies around the one that is written, or a call of some."""
        if key.kind not in ("call", "infix"):
            return self.is_of_outer(key)
        found = [node for node in _all_variables(key) if node.start in self._scopes.of]
        return bool(found) and all(map(self.is_of_outer, found)) and not _has_body(key)

    def is_free(self, key: Node) -> bool:
        """Whether a key of a reference is bound by nothing but references."""
        if key.kind != "var":
            return False
        local = self._scopes.of.get(key.start)
        return key.text == "_" or (
            local is not None and local.how in ("declared", "used", "inner") and not local.unified
        )

    def is_global(self, node: Node) -> bool:
        """Whether a variable is no local: it names a rule or an import, or input or data."""
        return node.kind == "var" and node.text != "_" and node.start not in self._scopes.of


class _Lift:
    """What moves out of one statement: definitions, and the ranges that names replace."""

    def __init__(self, module: Lifting, replacements: str) -> None:
        self._module = module
        self._replacements = replacements
        self.definitions: list[str] = []
        self._replaced: list[tuple[int, int, str]] = []

    def replace(self) -> None:
        for start, end, name in self._replaced:
            self._module.replace(start, end, name)

    def _define(self, node: Node, sign: str = ":=") -> None:
        name = f"each__{node.start}_{node.end}__"
        text = self._module.rendered(node.start, node.end)
        self.definitions.append(f"{name} {sign} {text}{self._replacements}")
        self._replaced.append((node.start, node.end, name))

    def captured(self, node: Node, *, pattern: bool = False) -> None:
        """Name again what keys and patterns take from bodies around this one.

        The compiler binds those anew, and iterates.
        """
        if node.kind == "comprehension":
            return
        keys = node.parts[1:] if node.kind == "ref" else []
        if pattern:
            keys = [*keys, *(each for each in pattern_variables(node) if each is not node)]
        for key in filter(self._module.needs_outer, keys):
            name = f"outer__{key.start}__"
            self.definitions.append(f"{name} := {self._module.rendered(key.start, key.end)}")
            self._module.replace(key.start, key.end, name)
        for part in node.parts:
            self.captured(part)

    # --- iterations

    def literal(self, literal: Literal) -> None:
        """Move what iterates inside of other terms."""
        replaced = bool(literal.replaced)
        match literal.kind, literal.terms:
            case "term", [term]:
                if term.kind == "infix" and term.text in _COMPARISONS:
                    left, right = term.parts
                    named = any(key.text != "_" for key in self._free_keys(left))
                    self.iterating(left, inside=replaced or named)
                    self.iterating(right, inside=True)
                else:
                    self.iterating(term, inside=replaced)
            case "unify", [left, right]:
                compared = self._module.compared(left, right)
                for side in (left, right):
                    given = not compared and self._module.is_of_outer(side)
                    if given or self._module.is_global(side):
                        self._define(side)  # the compiler may take it for a new variable
                if self._module.is_inner:
                    self._sides(left)
                    self._sides(right)
                else:
                    self.iterating(left, inside=True)
                    self.iterating(right, inside=replaced)
            case "assign", [_, right]:
                self.iterating(right, inside=True)
            case (("in" | "every"), [*_, domain]):
                self.iterating(domain, inside=replaced)
        replacements, self._replacements = self._replacements, ""
        for _, value in literal.replaced:
            self.iterating(value, inside=True)
        self._replacements = replacements

    def _free_keys(self, node: Node) -> list[Node]:
        return (
            [part for part in node.parts[1:] if self._module.is_free(part)]
            if (node.kind == "ref")
            else []
        )

    def iterating(self, node: Node, *, inside: bool) -> None:
        """Move the iterating references of a term, itself if it is `inside` of something."""
        if node.kind == "comprehension":
            return
        if node.kind == "call":
            before = len(self._replaced)
            for part in node.parts[1:]:
                self.iterating(part, inside=True)
            if _is_relation(node):
                self._nested(node, before)
            return
        mine = inside and self._free_keys(node)
        before = len(self._replaced)
        for part in node.parts:
            self.iterating(part, inside=True)
        if mine:
            self._nested(node, before)

    def _nested(self, node: Node, before: int, sign: str = "=") -> None:
        """Define a term of which parts may have moved already."""
        inner, self._replaced[before:] = self._replaced[before:], []
        for start, end, name in inner:
            self._module.replace(start, end, name)
        self._define(node, sign)

    def head(self, head: Node, *, whole: bool) -> None:
        """Move what iterates in the head of a comprehension, and `whole` what is left of it."""
        before = len(self._replaced)
        self.iterating(head, inside=True)
        self._comprehensions(head)
        place = head.start, head.end
        if whole and not any((start, end) == place for start, end, _ in self._replaced[before:]):
            self._nested(head, before, ":=")

    def _sides(self, side: Node) -> None:
        """Move what is computed in a side of `=`: in bodies within others the compiler drops it."""
        is_object = side.kind == "object"
        keys = side.parts[::2] if is_object else []
        computed = any(map(self._module.needs_outer, keys)) and all(
            map(self._module.is_of_outer, pattern_variables(side))
        )
        if computed or side.kind not in ("array", "object"):
            self.head(side, whole=side.kind not in ("var", "scalar", "comprehension"))
            return
        for key in keys:
            self.iterating(key, inside=True)
        for value in side.parts[is_object :: 1 + is_object]:
            self._sides(value)

    def _comprehensions(self, node: Node) -> None:
        """Move comprehensions, of which the compiler misses what they need in a head."""
        if node.kind == "comprehension":
            self._define(node)
            return
        for part in node.parts:
            self._comprehensions(part)

    def repeated(self, arguments: Sequence[Node]) -> None:
        """Give a parameter that comes twice a name each time; both are equal."""
        found: set[str] = set()
        for argument in arguments:
            for node in pattern_variables(argument):
                if node.text in found and node.text != "_":
                    name = f"again__{node.start}__"
                    shown = self._module.rendered(node.start, node.end)
                    self.definitions.append(f"{shown} == {name}")
                    self._replaced.append((node.start, node.end, name))
                found.add(node.text)

    # --- negations

    def negated(self, literal: Literal) -> None:
        """Move what must be defined for a negated statement to be so, and what iterates."""
        for term in literal.terms:
            self._relations(term)
        self.replace()
        self._replaced.clear()
        if literal.kind == "unify":
            for term in literal.terms:
                self._side(term)
            return
        term = _plain(literal.terms[0])
        match term.kind, term.text:
            case "infix", "==":
                for side in term.parts:
                    self._side(side)
            case "infix", _:
                for part in term.parts:
                    self._needed(part)
            case "call", _ if not _is_relation(term):
                for part in term.parts[1:]:
                    self._needed(part)
            case _:
                self._side(term)

    def _relations(self, node: Node) -> None:
        if node.kind == "comprehension":
            return
        before = len(self._replaced)
        for part in node.parts:
            self._relations(part)
        if _is_relation(node):
            self._nested(node, before)

    def _side(self, node: Node) -> None:
        """Move the keys of a reference, which itself may be undefined; all of anything else."""
        node = _plain(node)
        if node.kind != "ref":
            if not self._module.is_global(node):
                self._needed(node)
            return
        head, *keys = node.parts
        for part in (head, *keys) if head.kind != "var" else keys:
            self._needed(part)

    def _needed(self, node: Node) -> None:
        node = _plain(node)
        match node.kind:
            case "array" | "object" | "set":
                for part in node.parts:
                    self._needed(part)
            case "ref":
                self._define(node, "=")
            case "call" | "infix" | "minus" if not _is_relation(node):  # that is moved already
                self._define(node)
            case "var" if self._module.is_global(node):
                self._define(node)


def _start(edit: Edit) -> int:
    return edit.start


def _place(edit: Edit) -> tuple[int, int]:
    return edit.start, edit.order


def _plain(node: Node) -> Node:
    """Return what stands in parentheses."""
    while node.kind == "paren":
        node = node.parts[0]
    return node


def _encloses(literal: Literal) -> bool:
    """Whether a statement is negated, or holds a body."""
    return (
        literal.negated
        or bool(literal.body)
        or any(map(_has_body, (*literal.terms, *(value for _, value in literal.replaced))))
    )


def _can_fail(node: Node) -> bool:
    return node.kind in ("call", "infix", "minus") or any(map(_can_fail, node.parts))


def _unread(node: Node) -> list[Node]:
    """Return the parts of a term that the compiler takes only with something around them."""
    match node.kind:
        case "ref":
            keys = node.parts[1:]
            return [k for k in keys if k.kind == "template" or k.text[:1] == "`"]
        case "array" | "set" if len(node.parts) > 1:
            sets = (part for part in node.parts if part.kind == "set" and len(part.parts) > 1)
            return [each for each in sets if any(part.kind == "set" for part in each.parts)]
        case _:
            return []


def _is_relation(node: Node) -> bool:
    """Whether a call has several results, each of them a value."""
    return node.kind == "call" and node.parts[0].text == "walk" and len(node.parts) == 2


def _has_relation(node: Node) -> bool:
    return _is_relation(node) or any(map(_has_relation, node.parts))


def _has_body(node: Node) -> bool:
    return bool(node.body) or any(map(_has_body, node.parts))


def _enclosed_variables(literal: Literal) -> Iterator[Node]:
    """Yield the variables in the bodies that a statement holds, and in what they make."""
    pending = [*literal.terms, *(value for _, value in literal.replaced)]
    inside = [*literal.body]
    while pending:
        node = pending.pop()
        if node.kind == "comprehension":
            inside += node.body
            for part in node.parts:
                yield from _all_variables(part)
        else:
            pending += node.parts
    for statement in inside:
        for term in (*statement.terms, *(value for _, value in statement.replaced)):
            yield from _all_variables(term)
        yield from _enclosed_variables(statement)


def _all_variables(node: Node) -> Iterator[Node]:
    if node.kind == "var":
        yield node
    for part in node.parts:
        yield from _all_variables(part)


def _is_future_not(path: Node) -> bool:
    names = [part.text for part in path.parts]
    return names in (["future", "keywords"], ["future", "keywords", "not"])
