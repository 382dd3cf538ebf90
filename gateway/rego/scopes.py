"""What each variable of a module is: a local of which body, a parameter, a rule or an import.

The compiler mistakes a local for a rule, an import or a package of that name, so it gets those
locals under other names. It takes declarations that contradict one another, too.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.rego.tokens import KEYWORDS, RESERVED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gateway.rego.tree import Literal, Module, Node, Rule


class Fault(NamedTuple):
    """What is wrong with a variable: where, and what to say."""

    at: int
    code: str
    message: str
    remedy: str


@dataclass(slots=True)
class Local:
    """A variable of a body; `how` it came to be: argument, declared, matched, assigned or used.

    `positive` tells that it stands outside of negations, too, `unified` that it is a side of `=`,
    `shared` that another one in the rule has its name. `uses` are its nodes but for the
    declaration. `place` tells it from others of its name.
    """

    name: str
    how: str
    node: Node
    uses: list[Node] = field(default_factory=list)
    positive: bool = False
    unified: bool = False
    shared: bool = False
    place: int = -1


@dataclass(slots=True)
class _Scope:
    """A body: the names that it declares and mentions anywhere, and the locals that it has so far.

    `negated` tells that what is read of it stands in a negation.
    """

    declares: frozenset[str]
    mentions: frozenset[str] = frozenset()
    locals: dict[str, Local] = field(default_factory=dict)
    negated: bool = False


_USED_TWICE: Final = {
    "argument": "`{}` is a parameter, and cannot be declared again",
    "declared": "`{}` is declared twice in one body",
    "matched": "`{}` is declared twice in one body",
    "assigned": "`{}` is declared twice in one body",
    "used": "`{}` is used above its declaration",
}
_UNDECLARED: Final = ("used", "inner")
_OTHER_NAME: Final = "use another name, or `==` to compare"


class Scopes:
    """The variables of one module.

    `globals_` are the names of its package's rules and imports, `is_function` tells whether a term
    that is no call names a function.
    """

    def __init__(
        self, module: Module, globals_: frozenset[str], is_function: Callable[[Node], object]
    ) -> None:
        self._is_function = is_function
        self.globals = globals_ | RESERVED
        self.locals: list[Local] = []
        self.faults: list[Fault] = []
        self.of: dict[int, Local] = {}
        """The local that the variable at an offset is."""
        self.named: list[Node] = []
        """The variables that are no locals."""
        self.functions: set[int] = set()
        """Where a function is named that `with` puts in the place of another one."""
        self.called: list[Node] = []
        """The names of functions in calls."""
        self._given: set[int] = set()
        self._start = 0
        self._scopes: list[_Scope] = []
        for rule in module.rules:
            self._rule(rule)

    # --- rules

    def _rule(self, rule: Rule) -> None:
        arguments = _Scope(frozenset())
        self._scopes = []
        self._start = rule.start
        for argument in rule.arguments or ():
            self._argument(argument)
            for node in pattern_variables(argument):
                if node.text in RESERVED:
                    self._shadowed(node)
                elif node.text != "_" and node.text not in arguments.locals:
                    self._add(arguments, Local(node.text, "argument", node, positive=True))
                elif node.text != "_":
                    self.of[node.start] = arguments.locals[node.text]
        for branch in rule.branches:
            terms = [*rule.head.parts[1:], rule.member, branch.value]
            for body in branch.bodies or [[]]:
                # The parameters are in the scope of the body: it cannot declare them again.
                given = [term for term in terms if term is not None]
                scope = self._scope(body, (), given)
                scope.locals.update(arguments.locals)
                first = len(self.locals)
                self._read(scope, body, (), given)
                self._tell_apart(first, arguments.locals)

    def _tell_apart(self, first: int, arguments: Iterable[str]) -> None:
        """Mark the locals of one body, and of those in it, that share a name."""
        found = Counter(iter(arguments))
        found.update(local.name for local in self.locals[first:])
        for local in self.locals[first:]:
            local.shared = found[local.name] > 1

    def _argument(self, node: Node) -> None:
        """Find what is no pattern in a parameter."""
        if node.kind in ("ref", "call", "infix", "minus", "set", "comprehension"):
            message = "a parameter is a variable, a constant, or an array or object of those"
            remedy = "compare in the body: `name(x) if { x == … }`"
            self._fault(node, "parameter", message, remedy)
        elif node.kind != "template":
            for part in node.parts:
                self._argument(part)

    def _scope(
        self, body: Sequence[Literal], names: Sequence[Node], terms: Sequence[Node]
    ) -> _Scope:
        declares = declared_in(body) | {node.text for node in names}
        return _Scope(declares, frozenset(_mentioned(body, terms)) - self.globals - {"_"})

    def _inner(self, body: Sequence[Literal], names: Sequence[Node], terms: Sequence[Node]) -> None:
        """Read a body within another one, with the names that come before it."""
        self._read(self._scope(body, names, terms), body, names, terms)

    def _read(
        self,
        scope: _Scope,
        body: Sequence[Literal],
        names: Sequence[Node],
        terms: Sequence[Node],
    ) -> None:
        self._scopes.append(scope)
        for node in names:
            self._declare(node, "declared", positive=True)
            if node.start in self.of:
                self._given.add(id(self.of[node.start]))
        for literal in body:
            self._literal(literal)
        for term in terms:
            self._term(term)
        self._scopes.pop()
        for local in scope.locals.values():
            if local.how == "declared" and not local.uses:
                self._unused(local)
            elif local.how in ("declared", *_UNDECLARED) and local.uses and not local.positive:
                self._unsafe(local.uses[0])

    def _literal(self, literal: Literal) -> None:
        match literal.kind:
            case "some":
                for node in literal.terms:
                    self._declare(node, "declared")
            case "in":
                self._term(literal.terms[-1])
                self._matched(literal)
            case "every":
                self._term(literal.terms[-1])
                self._inner(literal.body, literal.terms[:-1], ())
            case "assign":
                self._term(literal.terms[1])
                self._assigned(literal)
            case _:
                self._expression(literal)
        for _, value in literal.replaced:
            self._replacement(value)

    def _expression(self, literal: Literal) -> None:
        self._scopes[-1].negated = literal.negated
        for term in literal.terms:
            self._term(term)
            for node in pattern_variables(term) if literal.kind == "unify" else ():
                if node.start in self.of:
                    self.of[node.start].unified = True
        self._scopes[-1].negated = False
        if literal.kind == "unify":
            self._enclosed(literal)

    def _replacement(self, value: Node) -> None:
        """Read what `with` puts in a place, which may be the name of a function."""
        name = value.parts[0].text if value.kind == "ref" else value.text
        local = any(name in scope.locals or name in scope.declares for scope in self._scopes)
        if local or not self._is_function(value):
            self._term(value)
        else:
            self.functions.add(value.start)

    def _matched(self, literal: Literal) -> None:
        """Declare the variables of `some … in`; one may come twice."""
        found: set[str] = set()
        for pattern in literal.terms[:-1]:
            for node in pattern_variables(pattern):
                if node.text in found:
                    self._use(node)
                else:
                    self._declare(node, "matched", positive=True)
                    if node is pattern and node.start in self.of:
                        self._given.add(id(self.of[node.start]))
                found.add(node.text)
            self._keys(pattern)

    def _assigned(self, literal: Literal) -> None:
        if literal.negated:
            message = "nothing can be assigned inside of `not`"
            self._fault(literal.terms[0], "assigned-value", message, "write `==` to compare")
        for node in _leaves(literal.terms[0]):
            if node.kind != "var":
                message = "this is no variable to assign"
                self._fault(node, "assigned-value", message, "write `==` or `=` to compare")
            else:
                self._declare(node, "assigned", positive=True)
                if node is literal.terms[0] and node.start in self.of:
                    self._given.add(id(self.of[node.start]))

    def _enclosed(self, literal: Literal) -> None:
        """Find variables that `=` gives a value and a body in it reads: for OPA, any value."""
        inner = [node for term in literal.terms for node in _comprehensions(term)]
        for node in (each for term in literal.terms for each in pattern_variables(term)):
            local = self.of.get(node.start) if inner else None
            if local is None or local.how not in _UNDECLARED or local.node.start < literal.start:
                continue
            read = (each for each in local.uses for body in inner if _is_in(each, body))
            found = next(read, None)
            if found is not None:
                message = f"`{node.text}` gets its value from the `=` that this stands in"
                remedy = f"assign it before: `{node.text} := …`"
                self._fault(found, "unsafe-variable", message, remedy)

    # --- variables

    def _declare(self, node: Node, how: str, *, positive: bool = False) -> None:
        scope = self._scopes[-1]
        known = scope.locals.get(node.text)
        if node.text in RESERVED:
            self._shadowed(node)
        elif node.text == "_":
            return
        elif known is not None:
            message = _USED_TWICE[known.how].format(node.text)
            self._fault(node, "declared-twice", message, _OTHER_NAME)
        else:
            self._add(scope, Local(node.text, how, node, positive=positive))

    def _add(self, scope: _Scope, local: Local) -> None:
        scope.locals[local.name] = local
        # Several bodies share a head.
        local.place = local.node.start if len(self._scopes) > 1 else self._start
        self.of[local.node.start] = local
        self.locals.append(local)

    def _use(self, node: Node) -> None:
        name = node.text
        if name == "_":
            if self._scopes[-1].negated:
                self._unsafe(node)
            return
        depth = self._depth(name)
        if depth is None:
            self.named.append(node)
            return
        scope = self._scopes[depth]
        own = depth == len(self._scopes) - 1
        if name in KEYWORDS - {"contains"}:
            message = f"`{name}` is a word of Rego, and no variable"
            self._fault(node, "unsafe-variable", message, "put a blank behind it")
        if name not in scope.locals:  # it is declared below, or nowhere
            self._add(scope, Local(name, "used" if own else "inner", node))
        local = self.of[node.start] = scope.locals[name]
        if own and local.how == "inner":
            local.how = "used"
        local.uses.append(node)
        local.positive |= not any(inner.negated for inner in self._scopes[depth:])

    def _depth(self, name: str) -> int | None:
        """Return the number of the body whose local a name is.

        Bodies inside of others see what those have declared before.
        """
        last = len(self._scopes) - 1
        for depth in range(last, -1, -1):
            scope = self._scopes[depth]
            known = scope.locals.get(name)
            if depth == last and name in scope.declares:
                return depth
            if known is not None and known.how not in _UNDECLARED:
                return depth
        if name in self.globals:
            return None
        mentioned = (
            depth
            for depth, scope in enumerate(self._scopes)
            if name in scope.mentions and name not in scope.declares
        )
        return next(mentioned, last)

    def _term(self, node: Node) -> None:
        match node.kind:
            case "var":
                self._use(node)
            case "comprehension":
                self._inner(node.body, (), node.parts)
            case "call":
                self._called(node.parts[0])
                for part in node.parts[1:]:
                    self._term(part)
            case _:
                for part in node.parts:
                    self._term(part)
        if node.kind == "template":
            for part in node.parts:
                self._inserted(part)
        elif node.kind == "ref" and node.parts[0].text == "data" and node.parts[2:]:
            self._package(node.parts[1])

    def _package(self, key: Node) -> None:
        """Find a variable in the place of a package that is not assigned by itself before.

        The compiler does not survive it.
        """
        local = self.of.get(key.start) if key.kind == "var" else None
        given = local is not None and id(local) in self._given
        parts = key.parts[key.kind == "call" :]
        iterates = any(part.kind == "var" and part.start in self.of for part in parts) or any(
            each.text == "_" or self._is_free(each) for each in _direct(parts)
        )
        if (local is not None and not given) or key.text == "_" or iterates:
            message = "this may be any package, and nothing names those that are meant"
            remedy = 'assign it before: `some name in ["a", "b"]` or `name := …`, then `data[name]`'
            self._fault(key, "variable-package", message, remedy)

    def _is_free(self, node: Node) -> bool:
        local = self.of.get(node.start)
        return local is not None and local.how in (*_UNDECLARED, "declared")

    def _inserted(self, node: Node) -> None:
        """Find what iterates in a template string: it is one text."""
        if node.kind == "var" and node.text == "_":
            message, remedy = "a template string iterates over nothing", "assign `x := …[_]` before"
            self._fault(node, "unsafe-variable", message, remedy)
        elif node.kind != "comprehension":
            for part in node.parts:
                self._inserted(part)

    def _called(self, operator: Node) -> None:
        """Read the name of a function: it is above the declaration of a local that has it."""
        name = operator if operator.kind == "var" else operator.parts[0]
        scope = self._scopes[-1]
        if name.text in scope.declares and name.text not in scope.locals:
            self._add(scope, Local(name.text, "used", name, positive=True))
        self.called.append(operator)
        for part in operator.parts[1:]:
            self._term(part)

    def _keys(self, pattern: Node) -> None:
        """Read the keys of objects in a pattern."""
        if pattern.kind == "object":
            for key in pattern.parts[::2]:
                if key.kind != "var":
                    self._term(key)
        for part in pattern.parts:
            self._keys(part)

    # --- faults

    def _unsafe(self, node: Node) -> None:
        message = f"`{node.text}` inside of `not` is never bound"
        remedy = "put what is negated into a rule of its own, and negate that"
        self._fault(node, "unsafe-variable", message, remedy)

    def _fault(self, node: Node, code: str, message: str, remedy: str) -> None:
        self.faults.append(Fault(node.start, code, message, remedy))

    def _shadowed(self, node: Node) -> None:
        message = f"`{node.text}` is a document and cannot be redefined"
        self._fault(node, "shadowed", message, "rename it")

    def _unused(self, local: Local) -> None:
        message = f"`{local.name}` is declared and never used"
        self._fault(local.node, "unused-variable", message, "write `_` for it, or leave it out")


def declared_in(body: Iterable[Literal]) -> frozenset[str]:
    """Return the names that a body declares, those of bodies in it not among them."""
    return frozenset(
        node.text
        for literal in body
        for node in _declarations(literal)
        if node.text != "_" and node.text not in RESERVED
    )


def _declarations(literal: Literal) -> Iterator[Node]:
    match literal.kind:
        case "some":
            yield from literal.terms
        case "in":
            for pattern in literal.terms[:-1]:
                yield from pattern_variables(pattern)
        case "assign":
            yield from (node for node in _leaves(literal.terms[0]) if node.kind == "var")


def pattern_variables(node: Node) -> Iterator[Node]:
    """Yield the variables that a pattern binds."""
    match node.kind:
        case "var":
            yield node
        case "array":
            for part in node.parts:
                yield from pattern_variables(part)
        case "object":
            for part in node.parts[1::2]:
                yield from pattern_variables(part)


def _leaves(node: Node) -> Iterator[Node]:
    """Yield what a pattern of an assignment ends in."""
    if node.kind == "array":
        for part in node.parts:
            yield from _leaves(part)
    elif node.kind == "object":
        for part in node.parts[1::2]:
            yield from _leaves(part)
    else:
        yield node


def _comprehensions(node: Node) -> Iterator[Node]:
    """Yield the comprehensions in a term that are in no other one."""
    if node.kind == "comprehension":
        yield node
    else:
        for part in node.parts:
            yield from _comprehensions(part)


def _is_in(node: Node, other: Node) -> bool:
    return other.start <= node.start < other.end


def _mentioned(body: Iterable[Literal], terms: Iterable[Node]) -> Iterator[str]:
    """Yield the names of the variables of a body that are in no body inside of it."""
    for literal in body:
        matched = literal.kind in ("in", "every")
        given = literal.terms[-1:] if matched else literal.terms
        yield from (node.text for node in _direct(given))
        yield from (node.text for node in _direct(value for _, value in literal.replaced))
    yield from (node.text for node in _direct(terms))


def variables_of(body: Sequence[Literal]) -> frozenset[str]:
    """Return the names that a body binds or reads, but for what is in bodies inside of it."""
    return (declared_in(body) | frozenset(_mentioned(body, ()))) - RESERVED - {"_"}


def direct_variables(literal: Literal) -> Iterator[Node]:
    """Yield the variables of a statement that are in no body inside of it."""
    terms = literal.terms[-1:] if literal.kind == "every" else literal.terms
    return _direct(() if literal.kind == "some" else terms)


def _direct(terms: Iterable[Node]) -> Iterator[Node]:
    pending = [*terms]
    while pending:
        node = pending.pop()
        if node.kind == "var":
            yield node
        elif node.kind == "call":
            pending += node.parts[0].parts[1:]
            pending += node.parts[1:]
        elif node.kind != "comprehension":
            pending += node.parts
