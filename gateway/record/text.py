"""Text that strangers wrote, as it may be shown."""

from __future__ import annotations

import re

_COMMAND = re.compile(r"\A( *):(?=:)|#(?=#\[)")
_PLAIN = re.compile(r"[ -\[\]-~]*")
_UNSAFE = re.compile(r"[^ -\[\]-~]")


def escape(text: str | bytes) -> str:
    r"""Text or bytes as printable ASCII: `\xNN`, `\uNNNN`, a backslash doubled.

    Quotes stay: JSON escapes them.
    """
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    return text if _PLAIN.fullmatch(text) else _UNSAFE.sub(_escaped, text)


def readable(text: str) -> str:
    r"""Text on one line that a terminal shows as it is: only what is unprintable is escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _code(char) for char in text)


def one_line(text: str) -> str:
    """Text of a policy, scenario or request on a line of its own, for terminals and CI systems.

    What is unprintable is escaped, and what GitHub would take for a workflow command.
    """
    return _COMMAND.sub(
        lambda found: "\\x23" if found[1] is None else f"{found[1]}\\x3a", readable(text)
    )


def _escaped(found: re.Match[str]) -> str:
    return r"\\" if found[0] == "\\" else _code(found[0])


def _code(char: str) -> str:
    point = ord(char)
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}"
