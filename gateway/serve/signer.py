"""Signs assertions, with keys that all processes of a gateway share in a file."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import time
from typing import TYPE_CHECKING, Final

from gateway.config.model import MIN_OVERLAP
from gateway.errors import ConfigError, Problem
from gateway.files import read_own_file, replace_own_file
from gateway.jose.jwk import JwkError
from gateway.jose.rotation import Terms
from gateway.jose.sign import sign_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.config.model import Assertion as Section
    from gateway.model import Assertion, Headers

log = logging.getLogger("gateway.keys")

FILE: Final = "assertion-keys.json"
MAX_FILE: Final = 1024**2


class Signer:
    """The keys of one configuration of assertions; ConfigError where they cannot be kept.

    All processes look at the file again and again, so that each publishes a key before any signs
    with it. Whoever finds one due makes it.
    """

    def __init__(self, section: Section, state: Path) -> None:
        self.section = section
        self.path = state / FILE
        try:
            self.terms = self._look()
        except (OSError, JwkError) as error:
            raise ConfigError((_problem(self.path, error),)) from None
        self._public = self.terms.public()

    def sign(self, assertion: Assertion) -> Headers:
        """The header line that carries an assertion."""
        key = self.terms.current(time.time())
        header = b'{"alg":"%s","kid":"%s","typ":"JWT"}' % (key.algorithm.encode(), key.id.encode())
        return ((assertion.header, sign_bytes(header, assertion.claims, key).encode()),)

    @property
    def jwks(self) -> bytes:
        """What verifies them."""
        return self._public

    async def refresh(self) -> None:
        """Look at the file again and again; a failure leaves the keys as they are."""
        while True:
            await asyncio.sleep(MIN_OVERLAP)
            try:
                self.terms = await asyncio.to_thread(self._look)
                self._public = self.terms.public()
            except (OSError, JwkError) as error:
                log.warning("assertion keys: %s", _problem(self.path, error))

    def _look(self) -> Terms:
        with _locked(self.path):
            try:
                kept = Terms.parse(read_own_file(self.path, MAX_FILE))
            except FileNotFoundError:
                kept = Terms()
            section = self.section
            terms = kept.rotated(
                time.time(),
                algorithm=section.algorithm,
                rotate=section.rotate,
                overlap=section.overlap,
            )
            if terms is not kept:
                replace_own_file(self.path, terms.dump())
                log.info("assertion keys: %s", ", ".join(term.key.id for term in terms.keys))
            return terms


class SignerService:
    """The signer of the active configuration, None where it asserts nothing."""

    def __init__(self) -> None:
        self.active: Signer | None = None
        self._task: asyncio.Task[None] | None = None

    def prepare(self, section: Section | None, state: Path | None) -> Signer | None:
        """The signer for assertions, the one at hand where nothing differs; ConfigError."""
        if section is None or self.active is None or self.active.section != section:
            return Signer(section, state) if section and state else None
        return self.active

    def activate(self, signer: Signer | None) -> None:
        """Sign with it from now on."""
        if signer is self.active:
            return
        self.close()
        self.active = signer
        if signer is not None:
            self._task = asyncio.get_running_loop().create_task(signer.refresh())

    def sign(self, assertion: Assertion | None) -> Headers:
        """The header line of an assertion, if there is one to make."""
        # Without a signer, a reload has ended assertions while the request was under way.
        if assertion is None or self.active is None:
            return ()
        return self.active.sign(assertion)

    def jwks(self) -> bytes | None:
        """What verifies the assertions; None where there are none."""
        return self.active.jwks if self.active else None

    def close(self) -> None:
        """Look at the file no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None


def _problem(path: Path, error: Exception) -> Problem:
    if isinstance(error, OSError):
        message = f"signing keys cannot be kept: {error.strerror or error}"
        remedy = "the state folder must be writable, and its files this user's only"
        return Problem(message, file=str(path), remedy=remedy)
    return Problem(str(error), file=str(path), remedy="remove it: new keys are made")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the kernel frees the lock of one that dies."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
