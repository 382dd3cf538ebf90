"""One short text line for each request, made from the masked event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.record.secrets import without_tokens
from gateway.record.text import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_FIELD = 2048

FIELDS = (
    "timestamp", "requested_by", "method", "target", "status", "code", "bytes_out",
    "milliseconds", "route", "subject", "decision_id",
)  # fmt: skip


def line(event: Mapping[str, Any]) -> bytes:
    r"""The event's access line without its end: FIELDS in order, one space between, `-` for none.

    Fields are printable ASCII without blanks; everything else is `\\xNN` or `\\uNNNN`.
    """
    get = event.get
    timers = get("metrics")
    milliseconds = timers["timer_server_handler_ns"] / 1e6 if isinstance(timers, dict) else 0.0
    text = (
        f"{get('timestamp')} {_field(get('requested_by'))} {_field(get('method'))}"
        f" {_blankless(get('target'))} {get('status', 0)} {get('code', '-')}"
        f" {get('bytes_out', 0)} {milliseconds:.3f} {_field(get('route'))}"
        f" {_field(get('subject'))} {_field(get('decision_id'))}"
    )
    return without_tokens(text).encode("ascii", "backslashreplace")


def _field(value: str | None) -> str:
    return _blankless(escape(value)) if value else "-"


def _blankless(text: str | None) -> str:
    # The target comes escaped already.
    if not text:
        return "-"
    text = text.replace(" ", "\\x20").replace('"', "\\x22")
    return text if len(text) <= MAX_FIELD else text[:MAX_FIELD] + "..."
