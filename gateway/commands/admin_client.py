"""What a gateway that runs says on its admin listener, and what it is told to do."""

from __future__ import annotations

import http.client
import json
import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Timer
from typing import Any
from urllib.parse import quote, urlsplit

import click

from gateway.config.model import is_loopback_host
from gateway.errors import Problem
from gateway.jose.strict_json import loads
from gateway.record.encode import MAX_DEPTH
from gateway.record.text import readable
from gateway.workbench.events import text_at

TIMEOUT = 10.0
"""Seconds that an answer may take as a whole, however slowly it comes."""
MOST = 1000
"""So many events the listener gives at once."""
MAX_ANSWER = 64 * 1024**2
MAX_MEMBERS = 4_000_000
MAX_SAID = 200
"""So much is shown of why an answer is none."""
ACTION_TIMEOUT = 180.0
HINTS = {
    "admin-token": "; name its token with --token-file",
    "actions-off": "; set admin.actions: true and a token in its gateway.yaml",
    "revocation-unknown": "; gateway token revoked shows those that there are",
    "revision-unknown": "; gateway policy history shows those that are kept",
}


@dataclass(frozen=True, slots=True)
class Admin:
    """An admin listener: its URL, and the token that it asks for."""

    url: str
    token: str | None = None

    def recent(self, limit: int) -> list[dict[str, Any]]:
        """The newest events that it keeps, oldest first."""
        status, answer = self._ask("GET", f"/decisions?limit={limit}")
        events = answer.get("decisions")
        if status != http.client.OK or not isinstance(events, list):
            raise self._refusal(status, answer)
        return [each for each in reversed(events) if isinstance(each, dict)]

    def find(self, decision_id: str) -> dict[str, Any] | None:
        """The event of a decision; None where it keeps none."""
        status, answer = self._ask("GET", f"/decisions/{quote(decision_id, safe='')}")
        if status == http.client.NOT_FOUND and answer.get("code") == "decision-unknown":
            return None
        if status != http.client.OK:
            raise self._refusal(status, answer)
        return answer

    def read(self, target: str) -> dict[str, Any]:
        """What it shows at a path."""
        status, answer = self._ask("GET", target)
        if status != http.client.OK:
            raise self._refusal(status, answer)
        return answer

    def act(
        self, target: str, *, method: str = "POST", entry: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """What it answers to an action; building policies takes its time."""
        body = None if entry is None else json.dumps(entry)
        status, answer = self._ask(method, target, ACTION_TIMEOUT, body)
        if status != http.client.OK:
            raise self._refusal(status, answer)
        return answer

    def _refusal(self, status: int, answer: dict[str, Any]) -> click.ClickException:
        given = answer.get("code") or answer.get("title")
        code = given[:MAX_SAID] if isinstance(given, str) else "no decisions"
        hint = HINTS.get(code, "")
        lines = [f"{self.url}: {status} {code}{hint}"]
        lines += [f"  {each}" for each in problem_texts(answer)]
        return click.ClickException("\n".join(map(readable, lines)))

    def _ask(
        self, method: str, target: str, timeout: float | None = None, body: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON object of an answer; nothing stands between, whatever proxies are set."""
        timeout = timeout or TIMEOUT
        parts = urlsplit(self.url)
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        connection = kinds[parts.scheme](parts.netloc, timeout=timeout)
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        late = Event()
        timer = Timer(timeout, _end, (connection, late))
        try:
            connection.connect()
            timer.start()
            connection.request(method, parts.path.rstrip("/") + target, body, headers)
            response = connection.getresponse()
            data = response.read(MAX_ANSWER)
            if late.is_set():
                raise TimeoutError
            found = loads(data, max_depth=MAX_DEPTH + 4, max_members=MAX_MEMBERS)
        except (OSError, http.client.HTTPException) as error:
            timed = late.is_set() or isinstance(error, TimeoutError)
            said = f"no answer within {timeout:g} s" if timed else str(error)[:MAX_SAID]
            if isinstance(error, ConnectionRefusedError):
                said = "nobody listens there; name a running gateway's admin listener with --admin"
            raise click.ClickException(f"{self.url}: {said}") from None
        except ValueError as error:
            raise click.ClickException(f"{self.url}: no answer of a gateway: {error}") from None
        finally:
            timer.cancel()
            connection.close()
        return response.status, found if isinstance(found, dict) else {}


def _end(connection: http.client.HTTPConnection, late: Event) -> None:
    """End the answer that another thread waits for."""
    late.set()
    with suppress(OSError):  # it may have ended just now
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)


def problem_texts(answer: Any) -> list[str]:
    """The problems in an answer, each on one line as the gateway's log has it."""
    problems = answer.get("problems") if isinstance(answer, dict) else None
    return [_problem_text(each) for each in problems or () if isinstance(each, dict)]


def _problem_text(problem: dict[str, Any]) -> str:
    line, column = (each if isinstance(each, int) else 0 for each in map(problem.get, _PLACE))
    return str(
        Problem(
            text_at(problem, "message"),
            file=text_at(problem, "file"),
            line=line,
            column=column,
            key=text_at(problem, "key"),
            remedy=text_at(problem, "remedy"),
        )
    )


_PLACE = ("line", "column")


def checked(admin: Admin) -> Admin:
    """The client, unless it would send its token in the clear to another machine, or cannot."""
    if admin.token and not re.fullmatch(r"[!-~]+", admin.token):
        raise click.ClickException("--token-file: expected a token: one word of printable ASCII")
    parts = urlsplit(admin.url)
    if admin.token and parts.scheme == "http" and not is_loopback_host(parts.hostname or ""):
        raise click.ClickException(
            f"{admin.url}: the token would go over the network in the clear; use https, or a "
            "tunnel to a loopback address"
        )
    return admin


def admin_url(_: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """An option that names an admin listener."""
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise click.BadParameter(
            f"expected a URL such as http://127.0.0.1:9090, got {json.dumps(value)}",
            param=parameter,
        )
    return value
