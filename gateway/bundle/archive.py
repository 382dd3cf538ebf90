"""Gzipped tar archives with one reading only, and the same bytes for the same files.

The headers are those of POSIX ustar and pax (IEEE 1003.1-2017, pax) and of GNU tar.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.bundle.errors import BundleError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_PACKED = 64 * 1024**2
MAX_UNPACKED = 160 * 1024**2
"""The whole tar, in bytes."""
MAX_RATIO = 200
"""Unpacked bytes for each packed one; policies reach 10, repetitive data 50."""
FREE_UNPACKED = 4 * 1024**2
"""So much is unpacked whatever the ratio."""
MAX_FILE = 32 * 1024**2
MAX_FILES = 10_000
MAX_ENTRIES = 4 * MAX_FILES
"""Folders and extended headers, too."""
MAX_NAME = 1024
MAX_DEPTH = 32

BLOCK: Final = 512
_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_POSIX, _GNU = b"ustar\x0000", b"ustar  \x00"
_OCTAL = re.compile(rb" *([0-7]{1,11})[ \x00]*")
_RECORD = re.compile(rb"([1-9][0-9]{0,6}) ([^=\n]+)=")
_HARMLESS = re.compile(
    r"(?:[acm]time|[ug]id|[ug]name|comment|SCHILY\.(?:dev|ino|nlink)|LIBARCHIVE\.creationtime)"
)
"""Pax records that say nothing of a file's name, size or contents."""
_GZIP = b"\x1f\x8b\x08\x00" + bytes(4) + b"\x02\xff"
"""RFC 1952 §2.3: no name, no time, best compression, of no known system."""

_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a pipe",
    b"S": "a sparse file",
}


class _Header(NamedTuple):
    """The fields of a block that are read."""

    name: bytes
    size: int
    kind: bytes


@dataclass
class _Pax:
    """The name that goes before that of the next header."""

    name: bytes | None = None


def read(data: bytes) -> dict[str, bytes]:
    """The regular files of a .tar.gz, by name without a leading `/` or `./`; BundleError.

    Whatever `data` is, the work and the memory are bounded by the limits above.
    """
    files: dict[str, bytes] = {}
    for header, name, content in _entries(_unpacked(data)):
        if header.kind == b"5":
            if name.strip(b"/") not in (b"", b"."):
                _checked(name.rstrip(b"/"))
            continue
        checked = _checked(name)
        if checked in files:
            raise BundleError(Reason.NAME_TWICE, f"{checked} is in it twice")
        if len(content) > MAX_FILE:
            _too_large(f"{checked} has more than {MAX_FILE} bytes")
        files[checked] = bytes(content)
        if len(files) > MAX_FILES:
            _too_large(f"more than {MAX_FILES} files")
    return files


def write(files: Mapping[str, bytes]) -> bytes:
    """A .tar.gz of the files, named `/NAME` as OPA names them, sorted, without times and owners."""
    tar = bytearray()
    for name in sorted(files):
        tar += _written(f"/{name}".encode(), files[name])
    tar += bytes(2 * BLOCK)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9)
    body = packer.compress(bytes(tar)) + packer.flush()
    return _GZIP + body + struct.pack("<II", zlib.crc32(tar), len(tar))


# --- reading


def _unpacked(data: bytes) -> bytes:
    if len(data) > MAX_PACKED:
        _too_large(f"the archive has more than {MAX_PACKED} bytes")
    limit = min(MAX_UNPACKED, max(FREE_UNPACKED, MAX_RATIO * len(data)))
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        tar = unpacker.decompress(data, limit + 1)
    except zlib.error:
        raise _malformed("not a gzip file, or a damaged one") from None
    if len(tar) > limit:
        _too_large(f"{len(data)} bytes unpack to more than {limit}")
    if not unpacker.eof:
        raise _malformed("cut short")
    if unpacker.unused_data:
        # A second member or padding: not every reader goes on after the first.
        raise _malformed("something follows the end of the gzip member")
    return tar


def _entries(tar: bytes) -> Iterator[tuple[_Header, bytes, memoryview]]:
    """Yield each file and folder: its header, its whole name, its contents."""
    whole = memoryview(tar)
    position, count, pax = 0, 0, _Pax()
    while True:
        count += 1
        if count > MAX_ENTRIES:
            _too_large(f"more than {MAX_ENTRIES} entries")
        block = tar[position : position + BLOCK]
        if len(block) < BLOCK:
            raise _malformed("the end of the archive is missing")
        if not any(block):
            break
        header = _header(block)
        position += BLOCK
        content = whole[position : position + header.size]
        if len(content) < header.size:
            raise _malformed("cut short within a file")
        position += -(-header.size // BLOCK) * BLOCK
        if header.kind in (b"x", b"g", b"L"):
            _extend(pax, header, bytes(content))
            continue
        name = header.name if pax.name is None else pax.name
        pax = _Pax()
        _check_kind(header, name)
        yield header, name, content
    if pax.name is not None:
        raise _malformed("a long name without a file")
    rest = len(tar) - position
    if tar.count(0, position) != rest or rest < 2 * BLOCK:
        raise _malformed("something follows the end of the archive, or it is incomplete")


def _header(block: bytes) -> _Header:
    name, _, _, _, size, _, checksum, kind, _, magic, *_, prefix = _HEADER.unpack(block)
    if magic not in (_POSIX, _GNU):
        raise _malformed("a header that is neither POSIX's nor GNU's")
    if any(block[500:]) or (magic == _GNU and any(prefix)):
        # GNU's times and star's mark: some readers take a prefix of another length there.
        raise _malformed("a header with something after its prefix, or where GNU has none")
    blanked = block[:148] + b" " * 8 + block[156:]
    if _number(checksum) != sum(blanked):
        raise _malformed("a header with a wrong checksum")
    whole = _text(name)
    if magic == _POSIX and _text(prefix):
        whole = _text(prefix) + b"/" + whole
    return _Header(whole, _number(size), b"0" if kind == b"\x00" else kind)


def _text(field: bytes) -> bytes:
    """A field's text; what follows its NUL must be NULs."""
    text, _, rest = field.partition(b"\x00")
    if any(rest):
        raise _malformed("a header with something after the end of a name")
    return text


def _number(field: bytes) -> int:
    found = _OCTAL.fullmatch(field)
    if not found:
        raise _malformed("a header with a number that is not octal")
    return int(found[1], 8)


def _extend(pax: _Pax, header: _Header, content: bytes) -> None:
    """Take over what an extended header says of the next entry."""
    if len(content) > BLOCK * 16:
        raise _malformed("an extended header that is too long")
    if header.kind == b"g" and pax.name is not None:
        raise _malformed("a global header between a long name and its file")
    name: bytes | None = None
    if header.kind == b"L":
        name = _text(content)
    else:
        for keyword, value in _records(content):
            if keyword == "path" and header.kind == b"x":
                name = value
            elif not _HARMLESS.fullmatch(keyword):
                raise BundleError(Reason.ENTRY_REFUSED, f"an extended header with {keyword}")
    if name is not None:
        if pax.name is not None:
            raise BundleError(Reason.NAME_REFUSED, "two long names for one file")
        pax.name = name


def _records(content: bytes) -> Iterator[tuple[str, bytes]]:
    position, seen = 0, set[bytes]()
    while position < len(content):
        found = _RECORD.match(content, position)
        end = position + int(found[1]) if found else 0
        if not found or end <= found.end() or content[end - 1 : end] != b"\n":
            raise _malformed("an extended header that is malformed")
        if found[2] in seen:
            raise _malformed("an extended header that says something twice")
        seen.add(found[2])
        yield found[2].decode("utf-8", "replace"), content[found.end() : end - 1]
        position = end


def _check_kind(header: _Header, name: bytes) -> None:
    shown = ascii(name.decode("utf-8", "replace"))
    if header.kind not in (b"0", b"5"):
        kind = _KINDS.get(header.kind, f"an entry of type {header.kind.decode('latin-1')!a}")
        raise BundleError(Reason.ENTRY_REFUSED, f"{shown} is {kind}")
    if header.kind == b"5" and header.size:
        raise BundleError(Reason.ENTRY_REFUSED, f"the folder {shown} has contents")


def _checked(name: bytes) -> str:
    """A name in its one form, relative to the bundle."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        raise BundleError(Reason.NAME_REFUSED, f"{ascii(name)[1:]} is not UTF-8") from None
    shown = ascii(text[:200])
    bare = text.removeprefix("./") if text.startswith("./") else text.removeprefix("/")
    parts = bare.split("/")
    if len(name) > MAX_NAME or len(parts) > MAX_DEPTH:
        raise BundleError(
            Reason.NAME_REFUSED, f"{shown} is longer than {MAX_NAME} bytes or {MAX_DEPTH} folders"
        )
    if any(part in ("", ".", "..") for part in parts):
        raise BundleError(
            Reason.NAME_REFUSED, f"{shown} leads elsewhere, or can be written shorter"
        )
    if "\\" in bare or not bare.isprintable():
        raise BundleError(Reason.NAME_REFUSED, f"{shown} holds a backslash or a control character")
    return bare


def _malformed(message: str) -> BundleError:
    return BundleError(Reason.ARCHIVE_MALFORMED, message)


def _too_large(message: str) -> None:
    raise BundleError(Reason.ARCHIVE_TOO_LARGE, message)


# --- writing


def _written(name: bytes, content: bytes) -> bytes:
    """The blocks of one file."""
    prefix, short = _split(name)
    extended = b""
    if short is None:
        record = _record(b"path", name)
        extended = _block(b"", b"PaxHeaders/0", len(record), b"x") + _padded(record)
        prefix, short = b"", name[:100]
    return extended + _block(prefix, short, len(content), b"0") + _padded(content)


def _split(name: bytes) -> tuple[bytes, bytes | None]:
    """The prefix and the name in a header; no name where it takes an extended one."""
    if not name.isascii():
        return b"", None
    if len(name) <= 100:
        return b"", name
    cut = name.rfind(b"/", 1, 156)
    if cut > 0 and 0 < len(name) - cut - 1 <= 100:
        return name[:cut], name[cut + 1 :]
    return b"", None


def _record(keyword: bytes, value: bytes) -> bytes:
    """A pax record, whose length counts itself."""
    rest = b" " + keyword + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length += 1
    return str(length).encode() + rest


def _block(prefix: bytes, name: bytes, size: int, kind: bytes) -> bytes:
    zero = b"0000000\x00"
    fields = [
        name, b"0000600\x00", zero, zero, b"%011o\x00" % size, b"%011o\x00" % 0, b" " * 8, kind,
        b"", _POSIX, b"", b"", zero, zero, prefix,
    ]  # fmt: skip
    block = _HEADER.pack(*fields)
    return block[:148] + b"%06o\x00 " % sum(block) + block[156:]


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)
