"""What the results of several peers have in common."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from gateway.decide.decision import shape

if TYPE_CHECKING:
    from collections.abc import Mapping

# A refusal is no success: 2xx would tell the client that its request was carried out.
_STATUSES: Final = frozenset(status.value for status in HTTPStatus if status.value >= 300)


def status(value: Mapping[Any, Any], key: str) -> int:
    """The status of a refusal, 403 by default; a registered one from 300 on."""
    found = value.get(key, 403)
    if found.__class__ is not int or found not in _STATUSES:
        raise shape(f"{key}: expected a registered status from 300 to 599")
    return int(found)
