"""The text of a deny list: a JSON object on each line, and a last line that says it is whole.

{"issuer": "corp", "jti": "9b2c", "until": "2026-12-01T00:00:00Z"}
{"issuer": "corp", "sub": "alice", "before": "2026-11-26T10:00:00Z"}
{"end": true}
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from gateway.config.validate import did_you_mean
from gateway.errors import ConfigError, Problem
from gateway.files import read_file
from gateway.identify.revoked import FOREVER, KINDS, Denial, Key
from gateway.jose.strict_json import JsonError, loads

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from gateway.identify.revoked import Kind, Table

MAX_ENTRIES: Final = 500_000
MAX_BYTES: Final = 128 * 1024**2
MAX_VALUE: Final = 1024
"""Longest value of a claim, in characters."""
MOST_TOLD: Final = 20
END: Final = '{"end": true}'
TIMES: Final = ("until", "before")
LATEST: Final = 253_402_300_800.0  # the year 10000


class EntryError(ValueError):
    """An entry cannot be used; `remedy` may be empty."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


Lines = dict[bytes, tuple[Key, Denial]]
"""Lines of a list that are known to be entries."""


def read_list(
    data: bytes,
    issuers: Collection[str] | None,
    now: float,
    *,
    file: str,
    known: Lines | None = None,
) -> Table:
    """The entries that still deny; ConfigError with every line that is none.

    With `issuers`, entries may name no other. A list without its last line is not whole. `known`
    are those of the list before, and become those of this one: most of its lines are the same.
    """
    known = {} if known is None else known
    found: Lines = {}
    lines = [
        (number, line)
        for number, line in enumerate(data.split(b"\n"), 1)
        if line.strip() and not line.startswith(b"#")
    ]
    problems: list[Problem] = []
    table: Table = {}
    if not lines or not _is_end(lines.pop()[1]):
        message, remedy = "the list is not whole", f"its last line is {END}"
        raise ConfigError((Problem(message, file=file, remedy=remedy),))
    for number, line in lines:
        entry = known.get(line)
        try:
            entry = found[line] = entry or read_entry(line, issuers)
        except EntryError as error:
            problems.append(Problem(str(error), file=file, line=number, remedy=error.remedy))
            continue
        key, denial = entry
        if now < denial.until:
            table[key] = _stricter(table[key], denial) if key in table else denial
    if len(table) > MAX_ENTRIES:
        problems.append(Problem(f"more than {MAX_ENTRIES} entries", file=file))
    if problems:
        raise ConfigError(tuple(problems[:MOST_TOLD]))
    known.clear()
    known.update(found)
    return table


def load_list(
    path: Path, issuers: Collection[str], now: float, known: Lines | None = None
) -> tuple[Table, bytes]:
    """The entries of a file and its text; ConfigError. Blocking."""
    try:
        data = read_file(path, MAX_BYTES)
    except OSError as error:
        problem = Problem(
            f"cannot be read: {error.strerror}",
            file=str(path),
            key="revocation.file",
            remedy=f"an empty list is one line: {END}",
        )
        raise ConfigError((problem,)) from None
    return read_list(data, issuers, now, file=str(path), known=known), data


def write_list(table: Mapping[Key, Denial]) -> bytes:
    """The text of a list."""
    lines = [json.dumps(as_dict(key, denial)) for key, denial in table.items()]
    return "\n".join([*lines, END, ""]).encode()


def read_entry(text: bytes | str, issuers: Collection[str] | None) -> tuple[Key, Denial]:
    """One entry; EntryError."""
    return entry_of(_object(text), issuers)


def entry_of(found: Mapping[str, Any], issuers: Collection[str] | None) -> tuple[Key, Denial]:
    """The entry that an object is; EntryError."""
    known = ("issuer", *KINDS, *TIMES)
    for name in found:
        if name not in known:
            raise EntryError(f"unknown key {name[:64]!r}", did_you_mean(name, known))
    issuer = found.get("issuer")
    if not isinstance(issuer, str):
        raise EntryError("issuer is missing", "the name of one in gateway.yaml")
    if issuers is not None and issuer not in issuers:
        raise EntryError(f"there is no issuer {issuer[:64]!r}", did_you_mean(issuer, issuers))
    kinds: list[Kind] = [kind for kind in KINDS if kind in found]
    if len(kinds) != 1:
        raise EntryError("expected exactly one of jti, sub, sid")
    (kind,) = kinds
    value = found[kind]
    if not isinstance(value, str) or not 0 < len(value) <= MAX_VALUE:
        raise EntryError(f"{kind}: expected text of at most {MAX_VALUE} characters")
    until, before = (_moment(found, name) for name in TIMES)
    if before != FOREVER and kind == "jti":
        raise EntryError("before is for sub and sid: a jti is of one token", "leave it out")
    return Key(issuer, kind, value), Denial(until, before)


def as_dict(key: Key, denial: Denial) -> dict[str, Any]:
    """An entry as JSON; a time that is for ever is left out."""
    made: dict[str, Any] = {"issuer": key.issuer, key.kind: key.value}
    for name, at in zip(TIMES, denial, strict=True):
        if at != FOREVER:
            made[name] = _text(at)
    return made


def _object(text: bytes | str) -> dict[str, Any]:
    try:
        found = loads(text, max_depth=4)
    except JsonError as error:
        raise EntryError(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise EntryError("expected a JSON object", '{"issuer": NAME, "jti": VALUE}')
    return found


def _is_end(line: bytes) -> bool:
    try:
        found = _object(line)
    except EntryError:
        return False
    return found.get("end") is True and len(found) == 1


def _moment(found: Mapping[str, Any], name: str) -> float:
    """Unix seconds, of a number or an RFC 3339 time; for ever where it is not there."""
    if name not in found:
        return FOREVER
    value = found[name]
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            value = moment.timestamp() if moment.tzinfo else None
        except (ValueError, OverflowError):
            value = None
    if type(value) not in (int, float) or not 0 <= value < LATEST:
        raise EntryError(
            f"{name}: expected a time with its zone", "write 2026-12-01T00:00:00Z, or Unix seconds"
        )
    return float(value)


def _text(at: float) -> str:
    moment = datetime.fromtimestamp(at, UTC).isoformat()
    return moment.replace("+00:00", "Z")


def _stricter(one: Denial, other: Denial) -> Denial:
    """What denies all that either of two entries does, and perhaps more."""
    return Denial(max(one.until, other.until), max(one.before, other.before))
