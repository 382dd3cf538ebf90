"""Granian's listeners: the same sockets as Hypercorn's, and certificates that it can read."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.errors import ConfigError, Problem
from gateway.serve import hypercorn
from gateway.serve.hypercorn.listener import certificate_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.config.model import Listener, Tls
    from gateway.serve.asgi import App
    from gateway.serve.hypercorn import BoundListener

TRIAL = str(Path(__file__).with_name("trial.py"))
TRIAL_TIMEOUT = 30.0


class Pair(NamedTuple):
    """What was in the files when they were last found to be a pair."""

    certificate: bytes
    key: bytes

    @contextlib.contextmanager
    def files(self) -> Iterator[tuple[str, str]]:
        """The paths of the certificate and the key, for as long as the context lasts.

        They are in memory, so that what is used is what was checked, whatever becomes of the files.
        """
        numbers: list[int] = []
        try:
            for name, content in zip(self._fields, self, strict=True):
                numbers.append(os.memfd_create(name))
                os.write(numbers[-1], content)
            yield f"/proc/self/fd/{numbers[0]}", f"/proc/self/fd/{numbers[1]}"
        finally:
            for number in numbers:
                os.close(number)


class Certificate:
    """A listener's certificate; `load` reads the files' new content.

    To set `context` to it is to use it for new connections: `changed` is called.
    """

    def __init__(self, tls: Tls, *, key: str = "tls") -> None:
        self._tls = tls
        self._key = key
        self._context = self.load()
        self.changed: Callable[[], object] = lambda: None

    @property
    def context(self) -> Pair:
        """What new connections are shown."""
        return self._context

    @context.setter
    def context(self, pair: Pair) -> None:
        if pair != self._context:
            self._context = pair
            self.changed()

    def load(self) -> Pair:
        """What the files hold now, to become `context`; ConfigError where they are no pair."""
        try:
            pair = Pair(self._tls.certificate.read_bytes(), self._tls.key.read_bytes())
            with pair.files() as paths:
                # An encrypted key fails with the empty password, instead of asking the terminal.
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*paths, password="")
        except OSError as error:  # SSLError is one
            raise certificate_problem(self._tls, error, self._key) from None
        self._try(pair)
        return pair

    def _try(self, pair: Pair) -> None:
        """Raise ConfigError where Granian's TLS (rustls) takes less than OpenSSL does."""
        with pair.files() as paths:
            numbers = [int(path.rpartition("/")[2]) for path in paths]
            tried = subprocess.run(  # noqa: S603  our own file and descriptors
                [sys.executable, "-I", TRIAL, *paths],
                pass_fds=numbers, capture_output=True, check=False, timeout=TRIAL_TIMEOUT,
            )  # fmt: skip
        if tried.returncode:
            said = re.search(rb"`Err` value: (.*)", tried.stderr)
            why = said[1].decode(errors="replace") if said else "it cannot be used"
            message = f"Granian does not take the certificate or its key: {why}"
            file = str(self._tls.certificate)
            remedy = "issue an X.509 v3 certificate, or use server: hypercorn"
            raise ConfigError((Problem(message, file=file, key=self._key, remedy=remedy),))


def bind(
    listener: Listener, app: App, *, capped: bool = True, key: str = "listeners"
) -> BoundListener:
    """Listen on the listener's address as Hypercorn's `bind` does.

    What is not `capped`, the operators' listener, is Hypercorn's.
    """
    if not capped:
        return hypercorn.bind(listener, app, capped=False, key=key)
    if listener.address.startswith("unix:"):
        message = f"Granian cannot listen on {listener.address}: it takes TCP addresses only"
        raise ConfigError((Problem(message, key=f"{key}.address"),))
    certificate = _certificate(listener, key)
    return replace(hypercorn.bind(_plain(listener), app, key=key), certificate=certificate)


def adopt(
    listener: Listener,
    app: App,
    *,
    address: str,
    descriptors: Sequence[int],
    key: str = "listeners",
) -> BoundListener:
    """What another process has bound, as Hypercorn's `adopt`."""
    plain = hypercorn.adopt(
        _plain(listener), app, address=address, descriptors=descriptors, key=key
    )
    return replace(plain, certificate=_certificate(listener, key))


def _plain(listener: Listener) -> Listener:
    return listener.model_copy(update={"tls": None})


def _certificate(listener: Listener, key: str) -> Any:
    return Certificate(listener.tls, key=f"{key}.tls") if listener.tls else None
