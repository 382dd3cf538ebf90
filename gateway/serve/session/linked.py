"""The sessions of one machine: the supervisor keeps them, and its workers ask for them."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Final, cast

from gateway.record.metrics import SessionGauges
from gateway.serve.link import Asked, Told
from gateway.serve.session.store import Stored, StoreError, checked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.serve.session.store import Store

WITHIN: Final = 2.0
"""Seconds to wait for the supervisor, which answers in less than a millisecond."""
MAX_WAITING: Final = 8192
"""Questions of a worker without an answer: of more, the supervisor is not well."""

OPERATIONS: Final[Mapping[str, Callable[[Store, Asked], Awaitable[Any]]]] = {
    "secret": lambda store, _: store.secret(),
    "create": lambda store, asked: store.create(
        asked.key, asked.value, tags=asked.tags, idle=asked.idle, lifetime=asked.lifetime
    ),
    "get": lambda store, asked: store.get(asked.key),
    "save": lambda store, asked: store.save(asked.key, asked.value, version=asked.version),
    "delete": lambda store, asked: store.delete(asked.key),
    "delete_tagged": lambda store, asked: store.delete_tagged(asked.key),
    "acquire": lambda store, asked: store.acquire(asked.key, asked.owner, asked.seconds),
    "extend": lambda store, asked: store.extend(asked.key, asked.owner, asked.seconds),
    "release": lambda store, asked: store.release(asked.key, asked.owner),
    "claim": lambda store, asked: store.claim(asked.key, asked.seconds),
}


async def answer(store: Store, asked: Asked) -> Told:
    """What the store of the supervisor has for a worker."""
    try:
        found = await OPERATIONS[asked.operation](store, asked)
    except StoreError as error:
        return Told(number=asked.number, failed=str(error))
    return Told(number=asked.number, answer=found)


class LinkedStore:
    """A Store that a supervisor keeps for this worker, too.

    `ask` sends a question, whose answer is brought to `told`.
    """

    def __init__(self, ask: Callable[[Asked], None], within: float = WITHIN) -> None:
        self.within = within
        self.last_error = ""
        self._ask = ask
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Told]] = {}
        self._closed = False

    def told(self, answer: Told) -> None:
        """The supervisor has answered; nobody may wait for it any more."""
        waiting = self._waiting.get(answer.number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    async def secret(self) -> bytes:
        """See Store."""
        return cast("bytes", await self._asked("secret"))

    async def create(
        self, key: bytes, value: bytes, *, tags: tuple[bytes, ...], idle: float, lifetime: float
    ) -> None:
        """See Store."""
        times = {"idle": idle, "lifetime": lifetime}
        await self._asked("create", key=key, value=checked(value), tags=tags, **times)

    async def get(self, key: bytes) -> Stored | None:
        """See Store."""
        return cast("Stored | None", await self._asked("get", key=key))

    async def save(self, key: bytes, value: bytes, *, version: int) -> bool:
        """See Store."""
        return bool(await self._asked("save", key=key, value=checked(value), version=version))

    async def delete(self, key: bytes) -> bool:
        """See Store."""
        return bool(await self._asked("delete", key=key))

    async def delete_tagged(self, tag: bytes) -> int:
        """See Store."""
        return cast("int", await self._asked("delete_tagged", key=tag))

    async def acquire(self, key: bytes, owner: bytes, seconds: float) -> bool:
        """See Store."""
        return bool(await self._asked("acquire", key=key, owner=owner, seconds=seconds))

    async def extend(self, key: bytes, owner: bytes, seconds: float) -> bool:
        """See Store."""
        return bool(await self._asked("extend", key=key, owner=owner, seconds=seconds))

    async def release(self, key: bytes, owner: bytes) -> None:
        """See Store."""
        await self._asked("release", key=key, owner=owner)

    async def claim(self, key: bytes, seconds: float) -> bool:
        """See Store."""
        return bool(await self._asked("claim", key=key, seconds=seconds))

    def status(self) -> SessionGauges:
        """See Store."""
        return SessionGauges(storage="memory", error=self.last_error)

    async def close(self) -> None:
        """See Store."""
        self.end("this worker ends")

    def end(self, reason: str) -> None:
        """Let all fail who wait, and whoever asks from now on."""
        self._closed, self.last_error = True, reason
        for number, waiting in self._waiting.items():
            if not waiting.done():
                waiting.set_result(Told(number=number, failed=reason))

    async def _asked(self, operation: str, **arguments: Any) -> Stored | bytes | bool | int | None:
        if self._closed:
            raise StoreError(self.last_error)
        if len(self._waiting) >= MAX_WAITING:
            raise StoreError("too many wait for the supervisor")
        asked = Asked.model_validate({
            "number": next(self._numbers), "operation": operation, **arguments,
        })  # fmt: skip
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[asked.number] = waiting
        try:
            self._ask(asked)
            async with asyncio.timeout(self.within):
                told: Told = await waiting
        except TimeoutError:
            self.last_error = f"the supervisor does not answer within {self.within:g} s"
            raise StoreError(self.last_error) from None
        finally:
            del self._waiting[asked.number]
        if told.failed:
            raise StoreError(told.failed)
        if not self._closed:
            self.last_error = ""
        return told.answer
