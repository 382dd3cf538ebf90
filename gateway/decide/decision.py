"""The policy's value → Decision; whatever is not exactly right refuses (docs/policies.md)."""

from __future__ import annotations

import re
from typing import Any, Final

from gateway import wire
from gateway.errors import Code, DecisionError
from gateway.model import Decision, Reason
from gateway.rego.values import UNDEFINED, RegoSet, to_json


KEYS: Final = frozenset((
    "allow", "reasons", "status", "headers", "remove_headers", "response_headers", "body",
))  # fmt: skip
MAX_REASONS: Final = 64
_CODE: Final = re.compile(r"[!-~]{1,128}")


def read_decision(value: Any, reserved: frozenset[bytes]) -> Decision:
    """Read an entrypoint's value; `reserved` are spelled field names that no policy may set.

    Raises DecisionError `decision-shape` for anything but true, false and an object as
    documented. Undefined is a refusal with the code `undefined`.
    """
    if value is UNDEFINED:
        return Decision(allow=False, code=Code.UNDEFINED)
    if value is True:
        return Decision(allow=True, result=True)
    if value is False:
        return Decision(allow=False, code=Code.POLICY_DENIED, result=False)
    if value.__class__ is not dict:
        raise _shape("expected true, false or an object")
    unknown = [key for key in value if key not in KEYS]
    if unknown:
        raise _shape(f"unknown key {unknown[0]!r}")
    allow = value.get("allow")
    if allow.__class__ is not bool:
        raise _shape("allow must be true or false")
    return Decision(
        allow=allow,
        code=None if allow else Code.POLICY_DENIED,
        status=_status(value.get("status", Code.POLICY_DENIED.status)),
        reasons=_reasons(value.get("reasons", [])),
        headers=_headers(value.get("headers", {}), "headers", reserved),
        remove_headers=_names(value.get("remove_headers", []), reserved),
        response_headers=_headers(value.get("response_headers", {}), "response_headers", reserved),
        body=to_json(value.get("body")),
        has_body="body" in value,
        result=to_json(value),
    )


def _shape(detail: str) -> DecisionError:
    return DecisionError(Code.DECISION_SHAPE, detail)


def _status(value: Any) -> int:
    if value.__class__ is not int or not 400 <= value <= 499:
        raise _shape("status must be an integer from 400 to 499")
    return int(value)


def _members(value: Any, what: str) -> list[Any]:
    if value.__class__ is RegoSet:
        return list(value.values())
    if value.__class__ is list:
        return list(value)
    raise _shape(f"{what} must be a set or an array")


def _reasons(value: Any) -> tuple[Reason, ...]:
    members = _members(value, "reasons")
    if len(members) > MAX_REASONS:
        raise _shape(f"more than {MAX_REASONS} reasons")
    # A set has no order of its own; people and tests want one.
    return tuple(sorted(map(_reason, members), key=lambda reason: (reason.code, reason.message)))


def _reason(value: Any) -> Reason:
    if value.__class__ is str:
        value = {"code": value}
    if value.__class__ is not dict or not {"code"} <= value.keys() <= {"code", "message"}:
        raise _shape("a reason is a string or an object with code and message")
    code, message = value["code"], value.get("message", "")
    if code.__class__ is not str or not _CODE.fullmatch(code) or message.__class__ is not str:
        raise _shape("a reason's code is visible ASCII, its message a string")
    return Reason(code=code, message=message)


def _name(value: Any, reserved: frozenset[bytes]) -> str:
    if value.__class__ is not str or not wire.FIELD_NAME.fullmatch(value):
        raise _shape(f"{value!r} is not a field name")
    name: str = value.lower()
    if name.encode().translate(wire.SPELLING) in reserved:
        raise _shape(f"the header {name} is not the policy's to set or remove")
    return name


def _names(value: Any, reserved: frozenset[bytes]) -> tuple[str, ...]:
    return tuple(_name(name, reserved) for name in _members(value, "remove_headers"))


def _headers(value: Any, what: str, reserved: frozenset[bytes]) -> tuple[tuple[str, str], ...]:
    if value.__class__ is not dict:
        raise _shape(f"{what} must be an object")
    lines = []
    for key, given in value.items():
        name = _name(key, reserved)
        for one in given if given.__class__ is list else [given]:
            if one.__class__ is not str or not wire.FIELD_VALUE.fullmatch(one):
                raise _shape(f"{what}: the value of {name} is not a field value")
            lines.append((name, one))
    names = [key.lower() for key in value]
    if len(set(names)) < len(names):
        raise _shape(f"{what}: a name is given twice")
    return tuple(lines)


