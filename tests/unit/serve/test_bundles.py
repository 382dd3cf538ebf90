"""What is stored of a bundle that was fetched, and when its entity tag counts."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.config.model import Bundle
from gateway.serve import bundles
from gateway.serve.bundles import Download, RemoteBundle, _store, _stored
from gateway.serve.fetch import FetchError, get
from tests.support.server import live
from tests.support.upstream import upstream

ONE = Download(data=b"one", etag='"1"')
OTHER = Download(data=b"other", etag='"2"')


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "bundles" / "b-12345678.tar.gz"


def test_an_archive_and_its_tag(path):
    assert _stored(path) == bundles._Stored()
    assert _store(path, ONE, _stored(path))
    assert _stored(path).etag == '"1"'
    assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}
    assert not _store(path, ONE, _stored(path))
    assert not _store(path, Download(data=b"one", etag='"1b"'), _stored(path))
    assert _stored(path).etag == '"1b"'
    assert _store(path, OTHER, _stored(path))
    assert (path.read_bytes(), _stored(path).etag) == (b"other", '"2"')
    assert len(list(path.parent.iterdir())) == 2


def test_a_tag_is_that_of_its_archive_only(path):
    _store(path, ONE, _stored(path))
    path.write_bytes(b"changed")
    assert _stored(path).etag == ""
    assert _stored(path).sha256
    # As after a crash between the two: the tag of the archive before.
    path.write_bytes(b"one")
    assert _stored(path).etag == '"1"'
    path.chmod(0o644)
    assert _stored(path) == bundles._Stored()


@pytest.mark.parametrize("noted", ["", "[]", "{}", '{"sha256": 1}', "\xff"])
def test_a_damaged_note_is_no_tag(path, noted):
    _store(path, ONE, _stored(path))
    (tag,) = (each for each in path.parent.iterdir() if each != path)
    tag.write_text(noted, encoding="latin-1")
    assert _stored(path).etag == ""
    assert not _store(path, ONE, _stored(path))
    assert _stored(path).etag == '"1"'


def test_what_a_killed_process_left_goes_away(path):
    _store(path, ONE, _stored(path))
    (path.parent / f"{path.name}.abcdef.new").write_text("half")
    _store(path, OTHER, _stored(path))
    assert not list(path.parent.glob("*.new"))


async def raw(answer, etag=""):
    """What comes of asking a server that sends these bytes."""

    async def script(peer):
        await peer.request()
        peer.send(answer)

    async with upstream(script) as service:
        headers = {"if-none-match": etag} if etag else {}
        return await get(service.url, seconds=10, headers=headers, max_bytes=10)


NOT_MODIFIED = b'HTTP/1.1 304 Not Modified\r\netag: "1"\r\n\r\n'


@live
async def test_304_is_an_answer_only_to_a_tag():
    assert (await raw(NOT_MODIFIED, '"1"')).body is None
    with pytest.raises(FetchError, match="answered 304"):
        await raw(NOT_MODIFIED)


@pytest.mark.parametrize(
    ("etag", "kept"),
    [('"1"', '"1"'), ('W/"1"', 'W/"1"'), ("", ""), ("x" * 1025, ""), ("a b", ""), ("\xff", "")],
)
def test_only_tags_that_can_be_sent_back_are_kept(monkeypatch, etag, kept):
    from gateway.serve.fetch import Answer
    from tests.support.bundles import archive

    asked = Bundle(url="https://bundles.example/b", insecure_unsigned=True)
    answer = Answer(body=archive({"a.rego": "package a\n"}), etag=etag)
    assert bundles._verified(asked, answer).etag == kept


def test_a_fault_of_ours_does_not_end_the_asking(tmp_path, monkeypatch, caplog):
    async def broken(*_):
        raise KeyError("x")

    monkeypatch.setattr(bundles, "download", broken)
    asked = Bundle(url="https://bundles.example/b", insecure_unsigned=True)

    async def run():
        remote = RemoteBundle("b", asked, tmp_path, lambda: None)
        remote.start()
        await remote.asked()
        remote.ask()
        while remote._failures < 2:
            await asyncio.sleep(0)
        await remote.close()
        return remote

    remote = asyncio.run(run())
    assert remote.last_error == "KeyError: 'x'"
    assert remote.checked_at is None
    assert "could not be fetched" in caplog.text
