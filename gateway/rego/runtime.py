"""What generated code calls while it decides, and the state of one decision."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from gateway.rego.builtins import BUILTINS
from gateway.rego.builtins.operands import COMPARED_A_STEP, charge_sort, charge_value
from gateway.rego.errors import ConflictError, EvalError, InputLimitError, StepLimitExceeded
from gateway.rego.values import (
    UNDEFINED,
    RegoSet,
    Undefined,
    Value,
    equal,
    from_key_form,
    key_form,
    sorted_items,
    sorted_members,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

Rule = tuple["Callable[..., Value]", int]
"""A rule or function, and the number of its parameters."""
Rules = dict[str, "Rules | Rule"]
"""What is defined below a place in the data document, by name."""

COLLECTIONS: Final[frozenset[type]] = frozenset((list, dict, RegoSet))
MAX_INPUT_DEPTH: Final = 100
MAX_INPUT_SIZE: Final = 200_000


NOTHING: Final[Mapping[Any, Any]] = MappingProxyType({})


class State:
    """The state of one decision; never shared between decisions or threads.

    `rules` holds the values of rules that were evaluated, `replaced` the paths of data and the
    functions that `with` replaced, `memo` is for builtins whose answer is constant within a
    decision, `output` receives what `print` wrote, `observer` what observed code tells.
    """

    __slots__ = (
        "limit",
        "memo",
        "now",
        "observer",
        "output",
        "replaced",
        "rules",
        "steps",
        "strict",
    )

    def __init__(
        self, now: float, steps: int, *, strict: bool, output: list[str] | None = None
    ) -> None:
        self.limit = steps
        self.steps = steps
        self.now = now
        self.strict = strict
        self.rules: dict[int, Any] = {}
        self.replaced: Mapping[tuple[str, ...] | str, Value] = NOTHING
        self.memo: dict[Any, Any] = {}
        self.output = output
        self.observer: Any = None

    @property
    def now_ns(self) -> int:
        """The time of the decision in nanoseconds."""
        return round(self.now * 1e9)

    def charge(self, count: int) -> None:
        """Take `count` steps, or raise StepLimitExceeded."""
        self.steps -= count
        if self.steps < 0:
            self.exceeded()

    def exceeded(self) -> NoReturn:
        """Raise StepLimitExceeded."""
        raise StepLimitExceeded(f"the policy takes more than {self.limit} steps")

    def print(self, text: str) -> None:
        """Keep what a policy prints, if anybody wants it."""
        if self.output is not None:
            self.output.append(text)


def check_size(document: Value) -> None:
    """Raise InputLimitError for a document that is nested too deeply or too large."""
    level: list[Any] = [document]
    left = MAX_INPUT_SIZE
    for _ in range(MAX_INPUT_DEPTH):
        below: list[Any] = []
        for value in level:
            kind = value.__class__
            if kind is not list and kind is not dict and kind is not RegoSet:
                continue
            items = value if kind is list else value.values()
            left -= len(items)
            for item in items:  # a comprehension costs more for the few members that most have
                if item.__class__ in COLLECTIONS:
                    below.append(item)  # noqa: PERF401
        if left < 0:
            raise InputLimitError(f"the input has more than {MAX_INPUT_SIZE} members")
        if not below:
            return
        level = below
    raise InputLimitError(f"the input is nested more than {MAX_INPUT_DEPTH} deep")


def lookup(state: State, source: Value, key: Value) -> Value:
    """Return the member of `source` at `key`, or UNDEFINED."""
    kind = source.__class__
    if kind is dict:
        return source.get(key if key.__class__ is str else form(state, key), UNDEFINED)
    if kind is list:
        if key.__class__ is not int:
            key = key_form(key)
            if key.__class__ is float and key.is_integer():
                key = int(key)
            if key.__class__ is not int:
                return UNDEFINED
        return source[key] if 0 <= key < len(source) else UNDEFINED
    if kind is RegoSet:
        return source.get(form(state, key), UNDEFINED)
    return UNDEFINED


def members(source: Value) -> Collection[Value] | None:
    """Return the members of a collection in any order; None for a scalar."""
    kind = source.__class__
    if kind is list:
        return source  # type: ignore[no-any-return]
    if kind is dict or kind is RegoSet:
        return source.values()  # type: ignore[no-any-return]
    return None


def ordered_members(state: State, source: Value) -> Collection[Value] | None:
    """Return the members of a collection in Rego order; None for a scalar."""
    kind = source.__class__
    if kind is list:
        return source  # type: ignore[no-any-return]
    if kind is dict:
        return [value for _, value in sorted_items(_charged_keys(state, source))]
    return sorted_members(_charged_keys(state, source)) if kind is RegoSet else None


def _charged_keys(state: State, source: Any) -> Any:
    """Charge for sorting keys; in those that are no strings, each comparison may visit all."""
    charge_sort(state, source)
    for key in source:
        if key.__class__ is tuple:
            _charge_inside(state, from_key_form(key))
    return source


def _charge_inside(state: State, value: Value) -> None:
    """Charge for comparing or sorting all that is inside a value: 5 steps for each."""
    before = state.steps
    charge_value(state, value)
    state.charge(4 * (before - state.steps))


def pairs(source: Value) -> Iterable[tuple[Value, Value]] | None:
    """Return the (key, member) pairs of a collection in any order; None for a scalar."""
    kind = source.__class__
    if kind is list:
        return enumerate(source)
    if kind is dict:
        return [
            (key if key.__class__ is str else from_key_form(key), value)
            for key, value in source.items()
        ]
    return [(value, value) for value in source.values()] if kind is RegoSet else None


def ordered_pairs(state: State, source: Value) -> Iterable[tuple[Value, Value]] | None:
    """Return the (key, member) pairs of a collection in Rego order; None for a scalar."""
    kind = source.__class__
    if kind is list:
        return enumerate(source)
    if kind is dict:
        return sorted_items(_charged_keys(state, source))
    if kind is RegoSet:
        return [(value, value) for value in sorted_members(_charged_keys(state, source))]
    return None


def same(state: State, left: Value, right: Value) -> bool:
    """Tell whether two values are equal, charging for what is inside them."""
    kind = left.__class__
    if kind in COLLECTIONS and right.__class__ is kind:
        if len(left) != len(right):
            return False
        _charge_inside(state, left)
    elif kind is str and right.__class__ is str and len(left) == len(right):
        state.charge(len(left) // COMPARED_A_STEP)
    return equal(left, right)


def form(state: State, value: Value) -> Any:
    """Return the key form of a value, charging for what is inside it."""
    if value.__class__ in COLLECTIONS:
        _charge_inside(state, value)
    return key_form(value)


def patch(state: State, document: Value, path: tuple[str, ...], value: Value) -> Value:
    """Return a copy of `document` with `value` at `path`; what is in the way gives way."""
    if not path:
        return value
    made = dict(document) if document.__class__ is dict else {}
    state.charge(1 + len(made) // 8)
    made[path[0]] = patch(state, made.get(path[0], UNDEFINED), path[1:], value)
    return made


def merge(state: State, left: Value, right: Value) -> Value:
    """Return the deep union of two values; where they differ, `left` wins."""
    if left.__class__ is RegoSet and right.__class__ is RegoSet:
        state.charge(1 + len(left) + len(right))
        return RegoSet({**right, **left})
    if left.__class__ is not dict or right.__class__ is not dict:
        return left
    state.charge(1 + len(left) + len(right))
    made = dict(right)
    for key, value in left.items():
        other = made.get(key, UNDEFINED)
        made[key] = value if other is UNDEFINED else merge(state, value, other)
    return made


def own_object(value: Value) -> dict[Any, Any]:
    """Return a copy of an object that the caller may change."""
    if value.__class__ is not dict:
        raise ConflictError("object keys must be unique")
    return dict(value)


def insert_once(state: State, target: dict[Any, Any], key: Value, value: Value) -> None:
    """Put `value` at `key`, where nothing else may be already."""
    at = key if key.__class__ is str else form(state, key)
    other = target.get(at, UNDEFINED)
    if other is UNDEFINED:
        target[at] = value
    elif not same(state, other, value):
        raise ConflictError("object keys must be unique")


def agree(state: State, old: Value | Undefined, new: Value) -> Value:
    """Return `new` as the result of a rule whose result so far is `old`."""
    if old is not UNDEFINED and not same(state, old, new):
        raise ConflictError("complete rules must not produce multiple outputs")
    return new


def agree_function(state: State, old: Value | Undefined, new: Value) -> Value:
    """Return `new` as the result of a function whose result so far is `old`."""
    if old is not UNDEFINED and not same(state, old, new):
        raise ConflictError("functions must not produce multiple outputs for same inputs")
    return new


def call_dynamic(
    state: State, rules: Rules, path: tuple[Value, ...], arguments: tuple[Value, ...]
) -> Value:
    """Return the value at a path that starts with "data".

    The path leads to a rule, whose value the rest is looked up in, or to an object of the rules
    below, or into the data document.
    """
    value = arguments[1]
    for depth, name in enumerate(path[1:], 2):
        value = lookup(state, value, name)
        below = rules.get(name) if isinstance(name, str) else None
        if below is None:
            return _descend(state, value, path[depth:])
        if isinstance(below, tuple):
            return _descend(state, _document(state, below, value, arguments), path[depth:])
        rules = below
    return _document(state, rules, value, arguments)


def hideable(
    function: Callable[..., Value], path: tuple[str, ...], above: frozenset[tuple[str, ...]]
) -> Callable[..., Value]:
    """Return a rule that gives way to what `with` puts in the place of one of those `above` it."""

    def rule(state: State, given: Value, data: Value) -> Value:
        if state.replaced and not above.isdisjoint(state.replaced):
            return _descend(state, data, path)
        return function(state, given, data)

    return rule


class StandIn:
    """The function that is called in place of one that `with` replaced."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Value]) -> None:
        self.function = function


def mockable(function: Callable[..., Value], name: str) -> Callable[..., Value]:
    """Return a function that gives way to what `with` puts in its place."""

    def mocked(state: State, given: Value, data: Value, *arguments: Value) -> Value:
        mock = state.replaced.get(name, UNDEFINED)
        if mock is UNDEFINED:
            return function(state, given, data, *arguments)
        if mock.__class__ is not StandIn:
            return mock
        before = state.replaced, state.rules
        # What stands in for a function sees the functions as they are.
        state.replaced = {at: value for at, value in before[0].items() if isinstance(at, tuple)}
        state.rules = {}
        try:
            return mock.function(state, given, data, *arguments)
        finally:
            state.replaced, state.rules = before

    return mocked


def alone(name: str) -> Callable[..., Value]:
    """Return a builtin that takes what functions of a policy take; one that is none fails."""
    known = BUILTINS.get(name)

    def builtin(state: State, _given: Value, _data: Value, *arguments: Value) -> Value:
        if known is None:
            raise EvalError(f"the builtin {name} is not supported, and is replaced by nothing here")
        return (
            known.function(state, *arguments) if known.needs_state else known.function(*arguments)
        )

    return builtin


def _document(
    state: State, below: Rules | Rule, data: Value, arguments: tuple[Value, ...]
) -> Value:
    """Return the value of a rule, or of all rules below a place, together with the data there.

    There is data in the place of a rule only where `with` put it, instead of the rule.
    """
    if isinstance(below, tuple):
        function, parameters = below
        if data is not UNDEFINED or parameters > len(arguments):
            return data
        return function(state, *arguments[:parameters])
    if data is not UNDEFINED and data.__class__ is not dict:
        return data
    made: dict[Any, Any] = data if isinstance(data, dict) else {}
    state.charge(1 + len(made) // 8 + len(below))
    made = dict(made)
    for name, rules in below.items():
        value = _document(state, rules, made.get(name, UNDEFINED), arguments)
        if value is not UNDEFINED:
            made[name] = value
    return made


def _descend(state: State, value: Value, path: tuple[Value, ...]) -> Value:
    for key in path:
        value = lookup(state, value, key)
    return value
