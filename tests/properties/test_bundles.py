"""Bundles: what is written is read, and nothing that is not gets through as anything else."""

import gzip
import json
import zlib

from hypothesis import given, settings, strategies as st

from gateway.bundle import archive
from gateway.bundle.digest import file_digest
from gateway.bundle.errors import BundleError
from gateway.bundle.manifest import Manifest, dump, parse
from gateway.bundle.reader import read_bundle
from gateway.bundle.signature import Trust, TrustedKey, sign
from gateway.errors import ConfigError
from gateway.jose.jwk import from_jwk
from gateway.jose.sign import generate
from tests.support.bundles import entry, packed

KEY = generate("EdDSA")
TRUST = Trust(
    keys=(TrustedKey(id="k", algorithm="EdDSA", key=from_jwk(KEY.public_jwk())),),
)

part = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="/\\"),
    min_size=1,
    max_size=60,
).filter(lambda text: text not in (".", "..") and text.isprintable())
name = st.lists(part, min_size=1, max_size=6).map("/".join)
files = st.dictionaries(name, st.binary(max_size=1500), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(files)
def test_what_is_written_is_read(given_files):
    made = archive.write(given_files)
    assert archive.read(made) == given_files
    assert archive.write(archive.read(made)) == made


@given(st.binary(max_size=4000))
def test_garbage_is_no_archive(data):
    refused(data)


@given(st.binary(max_size=4000))
def test_garbage_in_gzip_is_no_archive(data):
    assert not any(refused(gzip.compress(data)) or ())


@given(files, st.data())
def test_a_changed_byte_is_a_refusal_or_changes_nothing(given_files, data):
    """In the packed form, whose sum tells; and in the tar, where only contents have none."""
    made = archive.write(given_files)
    at = data.draw(st.integers(0, len(made) - 1))
    changed = bytearray(made)
    changed[at] ^= data.draw(st.integers(1, 255))
    found = refused(bytes(changed))
    assert found is None or found == given_files


@settings(max_examples=200)
@given(files, st.data())
def test_a_changed_byte_of_a_signed_bundle(given_files, data):
    whole = given_files | {"a.rego": b"package a\n", "data.json": b'{"n": 1.50}'}
    whole.pop(".signatures.json", None)
    tar = bytearray(gzip.decompress(archive.write(whole | {".signatures.json": sign(whole, KEY)})))
    at = data.draw(st.integers(0, len(tar) - 1))
    tar[at] ^= data.draw(st.integers(1, 255))
    try:
        found = read_bundle(gzip.compress(bytes(tar)), "b", TRUST, 0.0)
    except ConfigError:
        return
    # Blanks in JSON and fields that say nothing of contents may differ.
    assert found.signed.key_id == "k"
    assert found.files["a.rego"] == whole["a.rego"]
    assert json.loads(found.files["data.json"]) == {"n": 1.5}


@given(st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=600)), max_size=5), st.data())
def test_entries_of_any_name_and_kind(entries, data):
    made = [
        entry(name, content, kind=data.draw(st.sampled_from([b"0", b"5", b"x", b"g", b"L", b"1"])))
        for name, content in entries
    ]
    found = refused(packed(*made))
    for name in found or ():
        assert not name.startswith("/")
        assert not {"", ".", ".."} & set(name.split("/"))


@given(values)
def test_the_digest_of_json_is_that_of_its_values(value):
    one = json.dumps(value, ensure_ascii=False).encode()
    other = json.dumps(value, indent=2, sort_keys=True).encode()
    try:
        first = file_digest("data.json", one, "SHA-256")
    except ValueError:
        return  # a number that is too long
    assert file_digest("data.json", other, "SHA-256") == first


@given(st.text(st.characters(codec="utf-8")).filter(str.isprintable), values)
def test_manifests_are_read_as_they_were_written(revision, value):
    given_manifest = Manifest(revision=revision[:1024], roots=(("a",), ("b", "c")), rego_version=1)
    assert parse(dump(given_manifest)) == given_manifest
    try:
        parse(json.dumps(value).encode())
    except BundleError:
        pass


@given(st.binary(max_size=300))
def test_signatures_that_are_garbage(data):
    made = archive.write({"a.rego": b"package a\n", ".signatures.json": data})
    try:
        read_bundle(made, "b", TRUST, 0.0)
    except BundleError as error:
        assert error.reason.code == "signature-malformed"
    else:
        raise AssertionError("it was taken")


def refused(data):
    """The files of an archive, None where it is refused; any other error is a fault."""
    try:
        return archive.read(data)
    except BundleError:
        return None


def test_a_sum_that_is_wrong_is_seen():
    made = bytearray(archive.write({"a": b"1"}))
    made[-8:-4] = zlib.crc32(b"else").to_bytes(4, "little")
    assert refused(bytes(made)) is None
