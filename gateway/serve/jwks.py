"""Keeps the keyrings of remote issuers fresh: one fetch for all who wait, last good kept."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.config.model import Issuer, is_loopback_host, public_url
from gateway.identify.discovery import discovery_url, parse as parse_discovery
from gateway.identify.keyring import Keyring
from gateway.serve.fetch import FetchError, fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger("gateway.keys")

FIRST_RETRY = 1.0
"""Seconds until the first retry after a failed fetch; it doubles up to the interval."""


class RemoteKeys:
    """One issuer's key set; runs in one event loop.

    `changed` is called with each keyring that differs from the one before. `document` is the
    key set that it was read from.
    """

    def __init__(self, name: str, issuer: Issuer, changed: Callable[[str, Keyring], None]) -> None:
        self.name = name
        self.issuer = issuer
        self.changed = changed
        self.keyring = Keyring.unloaded()
        self.document = b""
        self.fetched_at: float | None = None
        self.last_error = ""
        self._fetching: asyncio.Task[None] | None = None
        self._missed_at = float("-inf")
        self._due: asyncio.TimerHandle | None = None
        self._failures = 0

    async def newest(self) -> Keyring:
        """The keyring for a request that found no key: waits for at most one fetch.

        Within the cool-down it is the one at hand, and a fetch follows at the cool-down's end.
        """
        if self._fetching is None:
            now = asyncio.get_running_loop().time()
            wait = self._missed_at + self.issuer.key_source.cooldown - now
            if wait > 0:
                self._schedule(wait)
                return self.keyring
            self._missed_at = now
            self.refresh()
        assert self._fetching is not None
        # One waiter's disconnect must not end the fetch of the others, and a reload that ends the
        # fetch must not end the requests: they go on with what is at hand.
        await asyncio.wait((self._fetching,))
        return self.keyring

    def refresh(self) -> None:
        """Start a fetch, unless one is under way."""
        if self._fetching is None:
            self._fetching = asyncio.get_running_loop().create_task(self._refresh())

    def close(self) -> None:
        """Stop all fetches; the keyring stays."""
        if self._due is not None:
            self._due.cancel()
        if self._fetching is not None:
            self._fetching.cancel()

    async def _refresh(self) -> None:
        keys = self.issuer.key_source
        try:
            document = await fetch_key_set(self.issuer)
            # The document is somebody else's, and may be long.
            keyring = await asyncio.to_thread(Keyring.from_jwks, document)
        except (FetchError, ValueError) as error:
            delay = self._failed(str(error))
        except Exception as error:  # a fault of ours must not end the refreshing
            log.exception("keys of issuer %s could not be fetched", self.name)
            delay = self._failed(f"{type(error).__name__}: {error}")
        else:
            self._failures = 0
            self.last_error = ""
            self.fetched_at = time.time()
            delay = keys.interval
            if keyring.revision != self.keyring.revision:
                self.keyring, self.document = keyring, document
                log.info("keys of issuer %s: %d keys loaded", self.name, len(keyring.keys))
                for problem in keyring.problems:
                    log.warning("keys of issuer %s: %s", self.name, problem)
                self.changed(self.name, keyring)
        finally:
            self._fetching = None
        # Spread over instances that started together.
        self._schedule(delay * random.uniform(0.9, 1.1))  # noqa: S311  not a secret

    def _failed(self, reason: str) -> float:
        """Note a failure; the seconds until the next attempt."""
        self._failures += 1
        self.last_error = reason
        at_hand = "last good set kept" if self.keyring.loaded else "there are none yet"
        log.warning("keys of issuer %s: %s (%s)", self.name, reason, at_hand)
        longest = self.issuer.key_source.interval
        return min(FIRST_RETRY * 2.0 ** min(self._failures - 1, 16), longest)

    def _schedule(self, delay: float) -> None:
        loop = asyncio.get_running_loop()
        when = loop.time() + delay
        if self._due is not None and not self._due.cancelled() and self._due.when() > loop.time():
            if self._due.when() <= when:
                return
            self._due.cancel()
        self._due = loop.call_at(when, self.refresh)


class KeyService:
    """The remote issuers of the active configuration, by name."""

    def __init__(self, changed: Callable[[str, Keyring], None]) -> None:
        self.changed = changed
        self.remote: dict[str, RemoteKeys] = {}

    def configure(self, issuers: Mapping[str, Issuer]) -> None:
        """Take over a new configuration; unchanged issuers keep their keys and schedule."""
        before = self.remote
        self.remote = {}
        for name, issuer in issuers.items():
            if issuer.keys is None or not issuer.keys.remote:
                continue
            known = before.pop(name, None)
            if known is not None and issuer.has_keys_of(known.issuer):
                known.issuer = issuer
                self.remote[name] = known
                continue
            if known is not None:
                known.close()
            self.remote[name] = RemoteKeys(name, issuer, self.changed)
            self.remote[name].refresh()
        for gone in before.values():
            gone.close()

    def keyrings(self) -> dict[str, Keyring]:
        """The keyrings at hand, by issuer."""
        return {name: keys.keyring for name, keys in self.remote.items()}

    def documents(self) -> dict[str, bytes]:
        """The key sets that they were read from; empty where there is none yet."""
        return {name: keys.document for name, keys in self.remote.items()}

    async def newest(self, name: str) -> Keyring:
        """See RemoteKeys.newest; an issuer that a reload removed has no keys."""
        keys = self.remote.get(name)
        return await keys.newest() if keys is not None else Keyring.unloaded()

    def close(self) -> None:
        """Stop all fetches."""
        for keys in self.remote.values():
            keys.close()


async def fetch_key_set(issuer: Issuer) -> bytes:
    """Fetch discovery, where configured, and the key set; raises FetchError or ValueError."""
    keys = issuer.key_source
    deadline = asyncio.get_running_loop().time() + keys.timeout

    async def get(url: str) -> bytes:
        left = deadline - asyncio.get_running_loop().time()
        return await fetch(
            url,
            seconds=max(left, 0.01),
            allow_private=keys.allow_private_addresses,
            insecure_http=keys.insecure_http,
        )

    url = keys.jwks_url
    if url is None:
        source = discovery_url(issuer)
        url = await asyncio.to_thread(  # the document is somebody else's, and may be long
            parse_discovery, await get(source), issuer.issuer, insecure_http=keys.insecure_http
        )
        if _loopback(url) and not (_loopback(source) or keys.allow_private_addresses):
            raise FetchError(f"{public_url(source)} points to a loopback address for its keys")
    return await get(url)


def _loopback(url: str) -> bool:
    return is_loopback_host(urlsplit(url).hostname or "")
