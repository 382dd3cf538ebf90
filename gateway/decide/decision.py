"""The policy's value as a decision; whatever is not exactly right refuses (docs/policies.md)."""

from __future__ import annotations

import difflib
import re
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from gateway import wire
from gateway.errors import Code, DecisionError
from gateway.model import Chosen, Decision, Quota, Reason
from gateway.rego.builtins.operands import COLLECTIONS, TYPE_NAMES
from gateway.rego.values import UNDEFINED, RegoSet, dumps, from_key_form, to_json

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

KEYS: Final = frozenset((
    "allow", "reasons", "status", "headers", "remove_headers", "response_headers", "body",
    "rate_limit",
))  # fmt: skip
MAX_REASONS: Final = 64
MAX_KEYS: Final = 12
MAX_KEY: Final = 40
"""How many keys an outline shows, and how much of each."""
MAX_RESULT_VALUES: Final = 200_000
MAX_RESULT_TEXT: Final = 4 << 20
"""What a result may hold, in values and in characters of text: no more is copied and logged."""

MAX_REMEMBERED: Final = 64
"""Longest name of a header that is remembered as checked."""

ALLOWED: Final = Decision(allow=True, result=True)
DENIED: Final = Decision(allow=False, code=Code.POLICY_DENIED, result=False)
NONE_MADE: Final = Decision(allow=False, code=Code.UNDEFINED)

_NOTHING: Final[Mapping[str, Any]] = {}
_NONE: Final[list[Any]] = []
_CODE: Final = re.compile(r"[!-~]{1,128}")


def read_decision(value: Any, reserved: frozenset[bytes]) -> Decision:
    """Read an entrypoint's value; `reserved` are spelled field names that no policy may set.

    Raises DecisionError `decision-shape` for anything but true, false and an object as
    documented. Undefined is a refusal with the code `undefined`.
    """
    plain = read_boolean(value)
    if plain is not None:
        return plain
    if not value.keys() <= KEYS:
        unknown = next(key for key in value if key not in KEYS)
        raise shape(f"unknown key {dumps(from_key_form(unknown))[:MAX_KEY]}{_meant(unknown)}")
    allow = read_flag(value, "allow")
    get = value.get
    headers, answered = get("headers", _NOTHING), get("response_headers", _NOTHING)
    lines = header_lines(headers, "headers", reserved)
    removed = header_names(get("remove_headers", _NONE), "remove_headers", reserved)
    # A header that the policy gives no line is set to nothing: the client's must not stand for it.
    removed += tuple([name.lower() for name in headers if headers[name] == []])
    return Decision(
        allow=allow,
        code=None if allow else Code.POLICY_DENIED,
        status=_status(get("status", Code.POLICY_DENIED.status)),
        reasons=_reasons(get("reasons", _NONE)),
        headers=lines,
        remove_headers=removed,
        response_headers=header_lines(answered, "response_headers", reserved),
        body=(result := to_json(value)).get("body"),
        has_body="body" in value,
        rate_limit=_rate_limit(get("rate_limit")) if allow else None,
        result=result,
    )


def check_size(value: Any) -> None:
    """Raise DecisionError `decision-shape` for a result of too many values or too much text.

    Values that are shared count each time: they are written, and copied, each time.
    """
    left, text = MAX_RESULT_VALUES, MAX_RESULT_TEXT
    pending: list[Collection[Any]] = [[value]]
    while pending:
        values = pending.pop()
        left -= len(values)
        if left < 0:
            raise shape(f"the result has more than {MAX_RESULT_VALUES} values")
        for item in values:
            if item.__class__ is str:
                text -= len(item)
            elif item.__class__ in COLLECTIONS:
                pending += _inside(item)
        if text < 0:
            raise shape(f"the result has more than {MAX_RESULT_TEXT} characters of text")


def _inside(collection: Any) -> Iterator[Collection[Any]]:
    """Yield the members of a collection, and the keys of an object."""
    if collection.__class__ is dict:
        yield list(map(from_key_form, collection))
    yield collection if collection.__class__ is list else collection.values()


def read_boolean(value: Any) -> Decision | None:
    """The decision of true, false and undefined; None for an object, which says more.

    Raises DecisionError `decision-shape` for every other value.
    """
    if value is True:
        return ALLOWED
    if value is False:
        return DENIED
    if value is UNDEFINED:
        return NONE_MADE
    if value.__class__ is not dict:
        raise shape("expected true, false or an object")
    return None


def read_flag(value: Mapping[Any, Any], key: str) -> bool:
    """The boolean that an object must hold at `key`."""
    flag = value.get(key)
    if flag.__class__ is not bool:
        raise shape(f"{key} must be true or false")
    return flag is True


def shape(detail: str) -> DecisionError:
    """The error for a value that is not as documented."""
    return DecisionError(Code.DECISION_SHAPE, detail)


def _meant(key: Any) -> str:
    if key.__class__ is not str or len(key) > MAX_KEY:
        return ""
    close = difflib.get_close_matches(key, KEYS, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def outline(value: Any) -> str:
    """The types in a value and the keys of an object, for a log: no text of the policy's making.

    Keys are cut, and so is their number.
    """
    if value.__class__ is not dict or not value:
        return f"the result is {_typed(value)}"
    pairs = [
        f"{dumps(from_key_form(key))[:MAX_KEY]}: {_typed(member)}"
        for key, member in islice(value.items(), MAX_KEYS)
    ]
    more = ", …" if len(value) > MAX_KEYS else ""
    return f"the result is {{{', '.join(pairs)}{more}}}"


def _typed(value: Any) -> str:
    """A boolean as it is; else the type, with the number of members."""
    if value.__class__ is bool:
        return "true" if value else "false"
    kind = TYPE_NAMES.get(value.__class__, "undefined")
    return f"{kind} of {len(value)}" if kind in ("array", "object", "set") else kind


def _status(value: Any) -> int:
    if value.__class__ is not int or not 400 <= value <= 499:
        raise shape("status must be an integer from 400 to 499")
    return int(value)


def _rate_limit(value: Any) -> Chosen | None:
    if value is None:
        return None
    if value.__class__ is not dict or value.keys() != {"key", "limit"}:
        raise shape("rate_limit must be an object of key and limit")
    key, limit = value["key"], value["limit"]
    if key.__class__ is not str or len(key) > MAX_RATE_KEY:
        raise shape(f"rate_limit.key must be a string of at most {MAX_RATE_KEY} characters")
    if limit.__class__ is str:
        return Chosen(key=key, limit=limit)
    if limit.__class__ is not dict or not {"requests"} <= limit.keys() <= QUOTA_KEYS:
        raise shape("rate_limit.limit must be a name, or an object of requests, per and burst")
    requests: Any = limit["requests"]
    per: Any = limit.get("per", 60)
    burst: Any = limit.get("burst", requests)
    for name, given in (("requests", requests), ("burst", burst)):
        if given.__class__ is not int or not 1 <= given <= MAX_REQUESTS:
            raise shape(f"rate_limit.limit.{name} must be an integer from 1 to {MAX_REQUESTS}")
    if per.__class__ not in (int, float) or not MIN_PER <= per <= MAX_PER:
        raise shape(f"rate_limit.limit.per must be seconds from {MIN_PER} to {MAX_PER}")
    return Chosen(key=key, limit=Quota(requests=requests, per=float(per), burst=burst))


QUOTA_KEYS: Final = frozenset(("requests", "per", "burst"))
MAX_RATE_KEY: Final = 1024
MAX_REQUESTS: Final = 10**9
MIN_PER, MAX_PER = 0.001, 86_400 * 366


def _members(value: Any, what: str) -> list[Any]:
    if value.__class__ is RegoSet:
        return list(value.values())
    if value.__class__ is list:
        return list(value)
    raise shape(f"{what} must be a set or an array")


def _reasons(value: Any) -> tuple[Reason, ...]:
    if value is _NONE:
        return ()
    members = _members(value, "reasons")
    if len(members) > MAX_REASONS:
        raise shape(f"more than {MAX_REASONS} reasons")
    # A set has no order of its own; people and tests want one.
    return tuple(sorted(map(_reason, members), key=lambda reason: (reason.code, reason.message)))


def _reason(value: Any) -> Reason:
    if value.__class__ is str:
        value = {"code": value}
    if value.__class__ is not dict or not {"code"} <= value.keys() <= {"code", "message"}:
        raise shape("a reason is a string or an object with code and message")
    code, message = value["code"], value.get("message", "")
    if code.__class__ is not str or not _CODE.fullmatch(code) or message.__class__ is not str:
        raise shape("a reason's code is visible ASCII, its message a string")
    return Reason(code=code, message=message)


def _name(value: Any, reserved: frozenset[bytes]) -> str:
    if value.__class__ is str and len(value) <= MAX_REMEMBERED:
        return _remembered(value, reserved)
    return _checked(value, reserved)


def _checked(value: Any, reserved: frozenset[bytes]) -> str:
    if value.__class__ is not str or not wire.FIELD_NAME.fullmatch(value):
        raise shape(f"{dumps(value)[:MAX_KEY]} is not a field name")
    name: str = value.lower()
    if name.encode().translate(wire.SPELLING) in reserved:
        raise shape(f"the header {name} is not the policy's to set or remove")
    return name


_remembered = lru_cache(maxsize=wire.NAMES_REMEMBERED)(_checked)


def header_names(value: Any, what: str, reserved: frozenset[bytes]) -> tuple[str, ...]:
    """The lower-case names of a set or an array, each one a policy's to change."""
    if value is _NONE:
        return ()
    return tuple(_name(name, reserved) for name in _members(value, what))


def header_lines(value: Any, what: str, reserved: frozenset[bytes]) -> tuple[tuple[str, str], ...]:
    """The lines of an object: name to string, or to an array of strings.

    A name must not come in two spellings that an upstream may take for one.
    """
    if value is _NOTHING:
        return ()
    if value.__class__ is not dict:
        raise shape(f"{what} must be an object")
    lines = []
    seen: set[bytes] = set()
    for key, given in value.items():
        name = _name(key, reserved)
        seen.add(name.encode().translate(wire.SPELLING))
        for one in given if given.__class__ is list else [given]:
            if one.__class__ is not str or not wire.FIELD_VALUE.fullmatch(one):
                raise shape(f"{what}: the value of {name} is not a field value")
            lines.append((name, one))
    if len(seen) < len(value):
        raise shape(f"{what}: a name is given twice")
    return tuple(lines)
