"""Keeps the bundles that come from URLs fresh: verified, then stored, then told of.

What is stored is read like any other archive on disk, so that a server that is away, hangs or
serves something else changes nothing, at the start neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import random
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.bundle.reader import read_bundle
from gateway.bundle.root import fetched_archive
from gateway.bundle.trust import trust_of
from gateway.config.model import public_url
from gateway.config.secrets import bundle_token
from gateway.errors import ConfigError
from gateway.files import read_own_file, replace_own_file
from gateway.serve.fetch import FetchError, get

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from gateway.config.model import Bundle, Policy
    from gateway.serve.fetch import Answer

log = logging.getLogger("gateway.bundles")

FIRST_RETRY = 1.0
"""Seconds until the first retry after a failure; it doubles up to the interval."""
_TAG = re.compile(r"[!-~]{0,1024}")
"""An entity tag that can be sent back (RFC 9110 §8.8.3)."""
ACCEPT = "application/gzip, application/octet-stream;q=0.9, */*;q=0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """What a URL gave: an archive that was verified, its entity tag and what it says of itself.

    `data` is None where the archive that was asked about is current.
    """

    data: bytes | None
    etag: str = ""
    revision: str = ""
    signed_by: str = ""


async def download(bundle: Bundle, etag: str = "") -> Download:
    """Fetch an archive, unless it is the one with `etag`, and verify it.

    Raises FetchError or ConfigError.
    """
    assert bundle.url is not None
    token = await asyncio.to_thread(bundle_token, bundle)
    headers = {"accept": ACCEPT}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    if etag:
        headers["if-none-match"] = etag
    answer = await get(
        bundle.url,
        seconds=bundle.timeout,
        headers=headers,
        max_bytes=bundle.max_size,
        allow_private=bundle.allow_private_addresses,
        insecure_http=bundle.insecure_http,
    )
    return await asyncio.to_thread(_verified, bundle, answer)


def _verified(bundle: Bundle, answer: Answer) -> Download:
    if answer.body is None:
        return Download(data=None)
    where = public_url(bundle.url or "")
    found = read_bundle(answer.body, where, trust_of(bundle.verification), time.time())
    return Download(
        data=answer.body,
        etag=answer.etag if _TAG.fullmatch(answer.etag) else "",
        revision=found.manifest.revision,
        signed_by=found.signed.key_id,
    )


class RemoteBundle:
    """One bundle that comes from a URL; runs in one event loop.

    `changed` is called after another archive was stored. Times are Unix seconds.
    """

    def __init__(self, name: str, bundle: Bundle, state: Path, changed: Callable[[], None]) -> None:
        self.name = name
        self.bundle = bundle
        self.changed = changed
        self.path = fetched_archive(state, name, bundle.url or "")
        self.etag = ""
        self.checked_at: float | None = None
        self.last_error = ""
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self._first = asyncio.Event()
        self._woken = asyncio.Event()

    def start(self) -> None:
        """Ask now and, from then on, at each interval."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def ask(self) -> None:
        """Ask now, whenever the next time would be."""
        self._woken.set()

    def ask_again(self) -> None:
        """Ask now, if that was done before."""
        if self._first.is_set():
            self.ask()

    async def asked(self) -> None:
        """Wait until the server was asked once, whatever came of it."""
        await self._first.wait()

    async def close(self) -> None:
        """Stop asking; what is stored stays."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def refresh(self) -> None:
        """Ask once; a failure is noted and logged."""
        try:
            known = await asyncio.to_thread(_stored, self.path)
            found = await download(self.bundle, known.etag)
            self.etag, is_other = known.etag, False
            if found.data is not None:
                is_other = await asyncio.to_thread(_store, self.path, found, known)
                self.etag = found.etag
        except (FetchError, ConfigError, OSError) as error:
            self._failed(str(error))
            return
        except Exception as error:  # a fault of ours must not end the asking
            log.exception("bundle %s could not be fetched", self.name)
            self._failed(f"{type(error).__name__}: {error}")
            return
        self._failures, self.last_error, self.checked_at = 0, "", time.time()
        if is_other:
            by = f", signed by {found.signed_by}" if found.signed_by else ""
            log.info("bundle %s: revision %r fetched%s", self.name, found.revision, by)
            self.changed()

    async def _run(self) -> None:
        while True:
            await self.refresh()
            self._first.set()
            longest = self.bundle.interval
            delay = longest
            if self._failures:
                delay = min(FIRST_RETRY * 2.0 ** min(self._failures - 1, 16), longest)
            # Spread over instances that started together.
            delay *= random.uniform(0.8, 1.2)  # noqa: S311  not a secret
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._woken.wait()
            self._woken.clear()

    def _failed(self, reason: str) -> None:
        self._failures += 1
        if reason != self.last_error:
            log.warning("bundle %s: %s (what is stored stays)", self.name, reason)
        self.last_error = reason


class BundleService:
    """The bundles that come from URLs, of the active configuration and of one being tried.

    `changed` is called after another archive was stored.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.changed = changed
        self.remote: dict[Path, RemoteBundle] = {}

    async def take_up(self, policy: Policy) -> None:
        """Begin to ask for these bundles, besides those that are asked for already."""
        assert policy.state is not None
        for path, name, bundle in remote_bundles(policy):
            known = self.remote.get(path)
            if known is not None and known.bundle == bundle:
                continue
            if known is not None:
                await known.close()
            self.remote[path] = RemoteBundle(name, bundle, policy.state, self.changed)
            self.remote[path].start()

    async def ensure(self, policy: Policy) -> None:
        """Take these bundles up, and wait for the first answer where nothing is stored yet."""
        await self.take_up(policy)
        for path, *_ in remote_bundles(policy):
            if not await asyncio.to_thread(_is_there, path):
                # What kept it from coming may be what was just edited.
                self.remote[path].ask_again()
                await self.remote[path].asked()

    def ask(self) -> None:
        """Ask for all now."""
        for remote in self.remote.values():
            remote.ask()

    async def keep(self, policy: Policy) -> None:
        """Let go of all but these bundles."""
        wanted = {path for path, *_ in remote_bundles(policy)}
        for path in self.remote.keys() - wanted:
            await self.remote.pop(path).close()

    async def close(self) -> None:
        """Stop asking."""
        for remote in self.remote.values():
            await remote.close()


async def pull(policy: Policy) -> None:
    """Ask for each bundle once, all at a time; failures are logged."""
    assert policy.state is not None
    state = policy.state
    await asyncio.gather(
        *(
            RemoteBundle(name, bundle, state, lambda: None).refresh()
            for _, name, bundle in remote_bundles(policy)
        )
    )


def remote_bundles(policy: Policy) -> Iterable[tuple[Path, str, Bundle]]:
    """The bundles with a URL: where the archive is stored, the name, the configuration."""
    assert policy.state is not None
    for name, bundle in policy.bundles.items():
        if bundle.url is not None:
            yield fetched_archive(policy.state, name, bundle.url), name, bundle


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """The archive on disk: its entity tag and its hash, empty where there is none."""

    etag: str = ""
    sha256: str = ""


def _tag_file(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.etag.json")


def _stored(archive: Path) -> _Stored:
    """What is stored; a tag counts only for exactly the archive that it came with."""
    sha256 = etag = ""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        sha256 = hashlib.sha256(read_own_file(archive)).hexdigest()
        noted = json.loads(read_own_file(_tag_file(archive)))
        if noted["sha256"] == sha256:
            etag = str(noted["etag"])
    return _Stored(etag=etag, sha256=sha256)


def _store(archive: Path, found: Download, known: _Stored) -> bool:
    """Keep a verified archive and its tag, owner-only; whether it is another one. OSError."""
    assert found.data is not None
    sha256 = hashlib.sha256(found.data).hexdigest()
    archive.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    archive.parent.mkdir(mode=0o700, exist_ok=True)
    # In this order: the tag of another archive is none.
    if sha256 != known.sha256:
        replace_own_file(archive, found.data)
    if (sha256, found.etag) != (known.sha256, known.etag):
        noted = {"etag": found.etag, "sha256": sha256}
        replace_own_file(_tag_file(archive), json.dumps(noted).encode())
    return sha256 != known.sha256
