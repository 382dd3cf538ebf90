"""Archives: every shape that bundles come in, and everything that could be read in two ways."""

import gzip
import io
import os
import struct
import subprocess
import tarfile
import zlib

import pytest

from gateway.bundle import archive
from gateway.bundle.errors import BundleError
from tests.support.bundles import archive as opa_archive, entry, packed, with_tar

FILES = {
    "data.json": b'{"a": 1}',
    "gateway/authz.rego": b"package gateway.authz\n",
    "empty.rego": b"",
    "x" * 60 + "/" + "y" * 80 + "/b.rego": b"z" * 1000,
    "é/ü.rego": b"package p\n",
    "q" * 101 + ".rego": b"package q\n",
    "d/" * 20 + "l" * 150: b"1",
}
SHORT = {name: data for name, data in FILES.items() if len(name) < 100 and name.isascii()}


def test_what_opa_writes_is_read():
    assert archive.read(opa_archive(SHORT)) == SHORT


@pytest.mark.parametrize("prefix", ["./", "/", ""])
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_what_tar_programs_write_is_read(prefix, form):
    assert archive.read(with_tar(FILES, prefix=prefix, form=form)) == FILES


def test_what_is_written_is_read_by_others():
    with tarfile.open(fileobj=io.BytesIO(archive.write(FILES))) as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar}
    assert found == {f"/{name}": data for name, data in FILES.items()}
    assert list(found) == sorted(found)


def test_the_tar_program_reads_it_too(tmp_path):
    (tmp_path / "b.tar.gz").write_bytes(archive.write(FILES))
    listed = subprocess.run(
        ["tar", "-tPzf", str(tmp_path / "b.tar.gz")], capture_output=True, check=True
    ).stdout
    names = [name.encode().decode("unicode_escape") for name in listed.decode().splitlines()]
    assert sorted(name.encode("latin-1").decode() for name in names) == sorted(
        f"/{name}" for name in FILES
    )


def test_the_same_files_are_the_same_bytes():
    made = archive.write(FILES)
    assert archive.write(dict(reversed(FILES.items()))) == made
    # RFC 1952: deflate, no name, no time, of no known system.
    assert made[:10] == bytes.fromhex("1f8b08000000000002ff")
    tar = gzip.decompress(made)
    assert made[-8:] == struct.pack("<II", zlib.crc32(tar), len(tar))
    with tarfile.open(fileobj=io.BytesIO(made)) as read:
        facts = {(m.mode, m.uid, m.gid, m.mtime, m.uname, m.gname) for m in read}
    assert facts == {(0o600, 0, 0, 0, "", "")}


PAX = b"30 mtime=1350244992.023960108\n"


def pax(*records, kind=b"x"):
    return entry("PaxHeaders/0", b"".join(records), kind=kind)


def record(keyword, value):
    rest = b" " + keyword + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length += 1
    return b"%d" % length + rest


@pytest.mark.parametrize(
    "entries",
    [
        [pax(PAX), entry("a.rego")],
        [pax(record(b"comment", b"a commit"), kind=b"g"), entry("a.rego")],
        [pax(record(b"path", b"a.rego")), entry("b.rego")],
        [entry("././@LongLink", b"a.rego\0", kind=b"L"), entry("b.rego", magic=b"ustar  \0")],
        [entry("./", kind=b"5"), entry("sub/", kind=b"5"), entry("a.rego")],
        [entry("a.rego", kind=b"\0")],
    ],
)
def test_what_says_nothing_of_contents_is_taken(entries):
    assert archive.read(packed(*entries)) == {"a.rego": b""}


def with_size(field):
    return changed(124, field)


def with_mark(field):
    return changed(508, field)


def changed(at, field):
    block = bytearray(entry("b"))
    block[at : at + len(field)], block[148:156] = field, b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


REFUSED = {
    # entries
    "a hard link": ([entry("a"), entry("b", kind=b"1", link=b"a")], "entry-refused"),
    "a symbolic link": ([entry("b", kind=b"2", link=b"/etc/passwd")], "entry-refused"),
    "a character device": ([entry("b", kind=b"3")], "entry-refused"),
    "a block device": ([entry("b", kind=b"4")], "entry-refused"),
    "a pipe": ([entry("b", kind=b"6")], "entry-refused"),
    "a contiguous file, which OPA does not see": ([entry("b", kind=b"7")], "entry-refused"),
    "a sparse file": ([entry("b", kind=b"S")], "entry-refused"),
    "a GNU multi-volume part": ([entry("b", kind=b"M")], "entry-refused"),
    "a GNU long link": ([entry("l", b"a\0", kind=b"K"), entry("b")], "entry-refused"),
    "a folder with contents": ([entry("b/", b"x", kind=b"5")], "entry-refused"),
    "another size in pax": ([pax(record(b"size", b"0")), entry("b", b"x")], "entry-refused"),
    "a link in pax": ([pax(record(b"linkpath", b"a")), entry("b")], "entry-refused"),
    "a sparse file in pax": ([pax(record(b"GNU.sparse.major", b"1")), entry("b")], "entry-refused"),
    "another character set": ([pax(record(b"hdrcharset", b"BINARY")), entry("b")], "entry-refused"),
    "a name for all": ([pax(record(b"path", b"a"), kind=b"g"), entry("b")], "entry-refused"),
    # names
    "up and out": ([entry("../b")], "name-refused"),
    "up in the middle": ([entry("a/../../b")], "name-refused"),
    "up at the end": ([entry("a/..")], "name-refused"),
    "up by pax": ([pax(record(b"path", b"../b")), entry("b")], "name-refused"),
    "up by a long name": ([entry("L", b"../b\0", kind=b"L"), entry("b")], "name-refused"),
    "up by a folder": ([entry("../", kind=b"5")], "name-refused"),
    "two slashes": ([entry("//b")], "name-refused"),
    "two slashes within": ([entry("a//b")], "name-refused"),
    "a dot within": ([entry("a/./b")], "name-refused"),
    "two dots and slashes": ([entry("././b")], "name-refused"),
    "a slash at the end": ([entry("b/")], "name-refused"),
    "no name": ([entry("")], "name-refused"),
    "a backslash": ([entry("a\\b")], "name-refused"),
    "a new line": ([entry("a\nb")], "name-refused"),
    "a NUL by pax": ([pax(record(b"path", b"a\0b")), entry("b")], "name-refused"),
    "not UTF-8": ([entry(b"\xff")], "name-refused"),
    "too long": ([pax(record(b"path", b"a" * 1025)), entry("b")], "name-refused"),
    "too deep": ([entry("a/" * 32 + "b")], "name-refused"),
    "two long names": (
        [pax(record(b"path", b"a")), entry("L", b"b\0", kind=b"L"), entry("c")],
        "name-refused",
    ),
    # twice
    "one name twice": ([entry("b", b"1"), entry("b", b"2")], "name-twice"),
    "one name in two spellings": ([entry("b", b"1"), entry("./b", b"2")], "name-twice"),
    "one name with a slash": ([entry("/b", b"1"), entry("b", b"2")], "name-twice"),
    # headers
    "a prefix where GNU has none": (
        [entry("b", prefix=b"a", magic=b"ustar  \0")],
        "archive-malformed",
    ),
    "star's mark after the prefix": ([with_mark(b"tar\0")], "archive-malformed"),
    "a global header before its file's name is used": (
        [pax(record(b"path", b"a")), pax(record(b"comment", b"c"), kind=b"g"), entry("b")],
        "archive-malformed",
    ),
    "a wrong checksum": ([entry("b")[:-1] + b"\1"], "archive-malformed"),
    "no magic": ([entry("b", magic=b"\0" * 8)], "archive-malformed"),
    "a binary size": ([with_size(b"\x80" + bytes(11))], "archive-malformed"),
    "a size in decimal": ([with_size(b"00000000008\0")], "archive-malformed"),
    "a negative size": ([with_size(b"-0000000001\0")], "archive-malformed"),
    "something after a name": ([entry(b"b\0c")], "archive-malformed"),
    "a pax record without an end": ([pax(b"9 path=b"), entry("b")], "archive-malformed"),
    "a pax record that lies": ([pax(b"99 path=b\n"), entry("b")], "archive-malformed"),
    "a pax record twice": (
        [pax(record(b"path", b"a"), record(b"path", b"c")), entry("b")],
        "archive-malformed",
    ),
    "a name without a file": ([pax(record(b"path", b"a"))], "archive-malformed"),
    "a file that ends early": ([entry("b", size=9999)], "archive-malformed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_two_readings_is_refused(name):
    entries, code = REFUSED[name]
    with pytest.raises(BundleError) as refused:
        archive.read(packed(*entries))
    assert refused.value.reason.code == code


GOOD = opa_archive({"a.rego": "package a\n"})


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "archive-malformed"),
        (b"package a\n", "archive-malformed"),
        (gzip.decompress(GOOD), "archive-malformed"),
        (GOOD[:-9], "archive-malformed"),
        (GOOD[:-1], "archive-malformed"),
        (GOOD[:-8] + bytes(8), "archive-malformed"),
        (GOOD + b"\0", "archive-malformed"),
        (GOOD + GOOD, "archive-malformed"),
        (packed(entry("a"), end=b""), "archive-malformed"),
        (packed(entry("a"), end=bytes(512)), "archive-malformed"),
        (packed(entry("a"), end=bytes(1024) + entry("b")), "archive-malformed"),
        (packed(entry("a"), end=bytes(512) + entry("b") + bytes(1024)), "archive-malformed"),
        (packed(entry("a"), end=bytes(1023)), "archive-malformed"),
        (packed(*(entry(f"{n}/", kind=b"5") for n in range(9))) + b"x", "archive-malformed"),
    ],
)
def test_what_is_no_archive_is_refused(data, code):
    with pytest.raises(BundleError) as refused:
        archive.read(data)
    assert refused.value.reason.code == code
    assert refused.value.problems[0].remedy


def test_padding_to_a_whole_record_is_taken():
    assert archive.read(packed(entry("a"), end=bytes(10_240 - 512))) == {"a": b""}


def test_a_bomb_is_not_unpacked():
    bomb = gzip.compress(entry("a", bytes(64 * 1024**2)) + bytes(1024))
    with pytest.raises(BundleError, match=r"unpack to more than \d+ \[archive-too-large\]"):
        archive.read(bomb)


@pytest.mark.parametrize(
    ("limit", "data"),
    [
        ("MAX_PACKED", GOOD),
        ("MAX_FILES", packed(entry("a"), entry("b"), entry("c"))),
        ("MAX_ENTRIES", packed(*(entry(f"{n}/", kind=b"5") for n in range(9)))),
        ("MAX_FILE", packed(entry("a", b"12345"))),
    ],
)
def test_limits(monkeypatch, limit, data):
    archive.read(data)
    monkeypatch.setattr(archive, limit, 2)
    with pytest.raises(BundleError) as refused:
        archive.read(data)
    assert refused.value.reason.code == "archive-too-large"


@pytest.mark.parametrize("form", ["gnu", "posix", "ustar", "oldgnu"])
def test_what_the_tar_program_writes_is_read(tmp_path, form):
    short = {name: data for name, data in FILES.items() if form != "ustar" or len(name) < 100}
    for name, data in short.items():
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    made = ["tar", f"--format={form}", "-czf", str(tmp_path / "b.tar.gz"), "-C", tmp_path / "files"]
    subprocess.run([*made, "."], check=True, env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]})
    assert archive.read((tmp_path / "b.tar.gz").read_bytes()) == short


def test_a_link_that_the_tar_program_packs_is_refused(tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.rego").write_text("package a\n")
    (tmp_path / "files" / "b.rego").hardlink_to(tmp_path / "files" / "a.rego")
    made = ["tar", "-czf", str(tmp_path / "b.tar.gz"), "-C", str(tmp_path / "files"), "."]
    subprocess.run(made, check=True)
    with pytest.raises(BundleError, match=r"is a hard link \[entry-refused\]"):
        archive.read((tmp_path / "b.tar.gz").read_bytes())
