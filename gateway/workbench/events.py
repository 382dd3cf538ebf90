"""Decision logs as events: ours and OPA's, one JSON object a line or in arrays, packed or not."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, cast

import orjson

from gateway.jose.strict_json import loads
from gateway.record.encode import MAX_DEPTH
from gateway.rego.values import RegoSet

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_EVENT: Final = 16 * 1024**2
"""Longest event in bytes; our own have 512 KiB at most."""
MAX_MEMBERS: Final = 250_000
"""Most members of an event, which take some hundred bytes each."""
MAX_SKIPPED: Final = 1024**3
"""A line that is still longer ends the reading of its log."""
MAX_NAME: Final = 256
"""So much of an entrypoint's name, and of a decision's id, is told apart."""
MAX_CODES: Final = 8
MAX_CODE: Final = 128
"""So many codes of a decision's reasons are told apart, and so much of each."""
SMALL: Final = 64 * 1024
SHALLOW: Final = 64
"""Most bytes and brackets of an event that is within the engine's limits for an input."""

GZIP: Final = b"\x1f\x8b"
"""How gzip begins (RFC 1952 §2.3.1)."""

_CHUNK: Final = 64 * 1024
_SPREAD: Final = re.compile(rb"\s*(?:\[|\{\s*\n)")
# A string to its end (a lone quote is one whose end is still to come), and objects' brackets.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["{}]', re.DOTALL)
_BETWEEN: Final = b" \t\r\n,[]"
_OUTCOME: Final = frozenset(("/result", "/result/allow", "/result/allowed"))
_OWN_DENIALS: Final = frozenset(
    ("policy-denied", "undefined", "eval-error", "work-limit", "decision-shape")
)


class Read(NamedTuple):
    """An event and where it begins, or why there is none: `fault` is empty, or `event` is.

    `small` vouches that its input is within the engine's limits; `cut` tells that nothing behind
    a fault was read.
    """

    name: str
    line: int
    event: dict[str, Any]
    fault: str = ""
    small: bool = False
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a decision came to: whether it allows, and the codes of its reasons or failure."""

    allow: bool
    codes: tuple[str, ...] = ()


def read_events(file: BinaryIO, name: str) -> Iterator[Read]:
    """Read a log in constant memory; what is no event is told in its place.

    An object a line, arrays of objects as OPA uploads them, or objects over several lines; plain
    or gzip. `name` is the log's name for people.
    """
    try:
        plain = unpacked(file)
        spread = _SPREAD.match(plain.peek(_CHUNK))
        yield from _spread(plain, name) if spread else _lines(plain, name)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield Read(name, 0, {}, f"the compressed log is damaged or cut off: {error}", cut=True)


def unpacked(file: BinaryIO) -> io.BufferedReader:
    """The file's bytes, out of gzip where they are in it."""
    plain = file if isinstance(file, io.BufferedReader) else io.BufferedReader(cast("Any", file))
    if plain.peek(2)[:2] != GZIP:
        return plain
    return io.BufferedReader(cast("Any", gzip.GzipFile(fileobj=plain)))


def parse(text: bytes) -> Any:
    """The value of a JSON text, exact; ValueError.

    orjson rounds long numbers and keeps the last of duplicate names. Where it writes again what
    it has read, it has done neither; otherwise the strict parser reads, which is slower.
    """
    # Before anything is built, as the strict parser does; marks in strings count here.
    if len(text) <= MAX_MEMBERS or sum(map(text.count, (b",", b"[", b"{"))) <= MAX_MEMBERS:
        try:
            value = orjson.loads(text)
            if orjson.dumps(value) == text:
                return value
        except (ValueError, TypeError):
            pass  # the strict parser says what is wrong
    return loads(text, max_depth=MAX_DEPTH + 2, max_members=MAX_MEMBERS)


def read_line(line: bytes, name: str, number: int) -> Iterator[Read]:
    """The event in a line, or those in an array; a line of blanks has none."""
    text = line.strip()
    if not text:
        return
    try:
        value = parse(text)
    except ValueError as error:
        yield Read(name, number, {}, f"not JSON: {error}")
        return
    small = len(text) <= SMALL and text.count(b"{") + text.count(b"[") <= SHALLOW
    for event in value if isinstance(value, list) else (value,):
        if isinstance(event, dict):
            yield Read(name, number, event, "", small)
        else:
            yield Read(name, number, {}, "not a JSON object")


def _lines(file: BinaryIO, name: str) -> Iterator[Read]:
    number = 0
    while line := file.readline(MAX_EVENT):
        number += 1
        if len(line) == MAX_EVENT and not line.endswith(b"\n"):
            skipped = len(line)
            while line and not line.endswith(b"\n") and skipped < MAX_SKIPPED:
                line = file.readline(_CHUNK)
                skipped += len(line)
            if skipped >= MAX_SKIPPED:
                why = f"longer than {MAX_SKIPPED} bytes; the rest is not read"
                yield Read(name, number, {}, why, cut=True)
                return
            yield Read(name, number, {}, f"longer than {MAX_EVENT} bytes")
            continue
        yield from read_line(line, name, number)


def _spread(file: BinaryIO, name: str) -> Iterator[Read]:
    """Every outermost object, whatever arrays they stand in."""
    splitter, size = _Splitter(), _CHUNK
    while chunk := file.read(size):
        before = len(splitter.held)
        for line, text in splitter.pieces(chunk):
            yield from read_line(text, name, line)
        if len(splitter.held) > MAX_EVENT:
            why = f"longer than {MAX_EVENT} bytes; the rest is not read"
            yield Read(name, splitter.line, {}, why, cut=True)
            return
        # A long event is looked through again and again: in ever larger pieces.
        size = size * 2 if len(splitter.held) > before else _CHUNK
    yield from read_line(splitter.held.strip(_BETWEEN), name, splitter.line)
    if splitter.arrays + _arrays(splitter.held) > 0:
        yield Read(name, splitter.line, {}, "the log is cut off: an array has no end", cut=True)


def _arrays(text: bytes) -> int:
    return text.count(b"[") - text.count(b"]")


class _Splitter:
    """Cuts a text that comes in chunks into its outermost objects and what stands between."""

    def __init__(self) -> None:
        self.held = b""
        self.line = 1
        self.arrays = 0  # that have begun before, around the objects
        self._at = 0  # up to here the text held is counted into the depth
        self._depth = 0

    def pieces(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        """The pieces that end in this chunk, and the lines that they begin in."""
        held = self.held + chunk
        done, at = 0, self._at
        for found in _TOKEN.finditer(held, at):
            token = found[0]
            if token == b'"':
                break
            at = found.end()
            end = done
            if token == b"{":
                end = done if self._depth else found.start()
                self._depth += 1
            elif token == b"}" and self._depth:
                self._depth -= 1
                end = done if self._depth else at
            if end > done:
                text = held[done:end]
                if token == b"{":
                    self.arrays += _arrays(text)
                if piece := text.strip(_BETWEEN):
                    yield self.line, piece
                self.line += text.count(b"\n")
                done = end
        else:
            at = len(held)
        self.held, self._at = held[done:], at - done


def entrypoint_of(event: dict[str, Any]) -> str:
    """The rule that was asked, as `package/path/rule`; empty where none is named.

    OPA writes the path that it was asked for: with slashes, or as a reference with dots.
    """
    path = event.get("path")
    if not isinstance(path, str):
        return ""
    name = path.strip("/")
    if "/" not in name and "." in name:
        name = name.replace(".", "/")
    return name.removeprefix("data/")


def time_of(event: dict[str, Any]) -> float | None:
    """The event's time in Unix seconds; None where it has none that can be read."""
    text = event.get("timestamp")
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def allows(result: Any) -> bool:
    """Whether a policy's value allows, in any dialect: true, or an object that says so."""
    if result.__class__ is dict:
        return result.get("allow", result.get("allowed")) is True
    return result is True


def codes_of(result: Any) -> tuple[str, ...]:
    """The codes of a value's reasons, in order."""
    reasons = result.get("reasons") if result.__class__ is dict else None
    if isinstance(reasons, RegoSet):
        reasons = list(reasons.values())
    if not isinstance(reasons, list):
        return ()
    named = (each.get("code") if isinstance(each, dict) else each for each in reasons)
    found = sorted({shortened(each, MAX_CODE) for each in named if isinstance(each, str)})
    return (*found[:MAX_CODES], MORE) if len(found) > MAX_CODES else tuple(found)


MORE: Final = "…"
"""Stands for what is left out, so that it is not taken for what is like the rest."""


def shortened(text: str, length: int) -> str:
    """A text of at most `length` characters, and a mark if it had more."""
    return text if len(text) <= length else text[:length] + MORE


def recorded(event: dict[str, Any], gone: tuple[str, ...] = ()) -> Outcome | None:
    """What the event says that was decided; None where that is gone and nothing else tells.

    `gone` are the JSON pointers to what was erased or masked.
    """
    code = failure_of(event)
    told = _told(event, code)
    if gone and not _OUTCOME.isdisjoint(gone):
        if told is None:
            return None
        return Outcome(told, codes_of(event) if told or code == "policy-denied" else (code,))
    if "result" not in event:
        return Outcome(False, (code or "undefined",))
    result = event["result"]
    return Outcome(allows(result) if told is None else told, codes_of(result))


def _told(event: dict[str, Any], code: str) -> bool | None:
    """What the gateway did with its policy's result, whatever dialect that is in; None of OPA."""
    outcome = event.get("outcome")
    if outcome in ("forwarded", "failed"):
        return True
    return False if outcome == "refused" and code in _OWN_DENIALS else None


def failure_of(event: dict[str, Any]) -> str:
    """The code that a request ended with, or of OPA's error; empty without."""
    error = event.get("error")
    code = event.get("code") or (error.get("code") if isinstance(error, dict) else error)
    return shortened(code, MAX_CODE) if isinstance(code, str) else ""


def hidden(event: dict[str, Any]) -> tuple[str, ...]:
    """The JSON pointers to what was erased or masked; ValueError where those are none."""
    found: list[Any] = []
    if "erased" not in event and "masked" not in event:
        return ()
    for name in ("erased", "masked"):
        listed = event.get(name)
        if listed is None:
            continue
        if listed.__class__ is not list:
            raise ValueError(f"{name} is no array of JSON pointers")
        found += listed
    if not all(each.__class__ is str and each.startswith("/") for each in found):
        raise ValueError("what was erased or masked is told by no JSON pointer")
    return tuple(found)


def parts(pointer: str) -> list[str]:
    """The members that a JSON pointer goes through (RFC 6901 §3)."""
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]


def text_at(event: dict[str, Any], name: str) -> str:
    """A member that is text, else nothing."""
    value = event.get(name)
    return value if isinstance(value, str) else ""
