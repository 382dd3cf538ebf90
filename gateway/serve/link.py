"""What a supervisor and its workers say to each other, over a pair of sockets.

Each message is a length and so many bytes. Those of the supervisor are pickled dataclasses, for a
worker trusts it; those of a worker, which has seen what clients send, are JSON and checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from gateway.errors import Problem  # noqa: TC001  pydantic reads it
from gateway.identify.revoked import Change, Denial, Key
from gateway.record.metrics import (
    IntrospectionGauges,
    RateLimitGauges,
    SessionGauges,
    TokenGauges,
    UpstreamGauges,
)
from gateway.serve.session.store import KEY_SIZE, MAX_TAGS, MAX_VALUE, OWNER_SIZE, Stored

if TYPE_CHECKING:
    import socket

    from gateway.config.model import Config
    from gateway.snapshot import Candidate

LENGTH: Final = struct.Struct("!I")
MAX_REPORT: Final = 64 * 1024**2
"""Bytes of a worker's message."""
BUFFER: Final = 1024**2
MAX_COUNT: Final = 2**53
"""Most that a worker can have counted: whatever is made of sums of it is still a float."""
MAX_SINKS: Final = 16
MAX_LOGINS: Final = 10_000


# The supervisor's


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all workers of a supervisor share; the descriptors are inherited.

    `config` is the one of the start, with this worker's share of the limits. `listeners` are
    addresses with the descriptors of their sockets, `board` and `turns` those of balance.Board
    and shared.sharing, `counts` that of the table of rate limits.
    """

    config: Config
    listeners: tuple[tuple[str, tuple[int, ...]], ...]
    board: int
    places: int
    turns: int
    counts: int
    verbose: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """Build a snapshot; `programs` are pickled, by the digest of their modules.

    A program that the worker has is left out.
    """

    edition: int
    candidate: Candidate
    programs: dict[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Activate:
    """Serve with what was prepared, and with these key sets of remote issuers."""

    edition: int
    documents: dict[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKeys:
    """An issuer's new key set, for those who serve with this edition."""

    edition: int
    issuer: str
    document: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """Whoever waits for keys of an issuer has got what there is."""

    issuer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deny:
    """Take a change of the deny lists; its entries in columns, which are read faster."""

    source: str
    put: tuple[list[str | float], ...]
    drop: tuple[list[str], ...]
    unsure: str | None

    @classmethod
    def of(cls, change: Change) -> Deny:
        """The order to take a change."""
        entries = ((*key, *denial) for key, denial in change.put.items())
        return cls(
            source=change.source,
            put=tuple(map(list, zip(*entries, strict=True))),
            drop=tuple(map(list, zip(*change.drop, strict=True))),
            unsure=change.unsure,
        )

    def change(self) -> Change:
        """The change."""
        keys, denials = self.put[:3], self.put[3:]
        return Change(
            source=self.source,
            put=dict(
                zip(
                    map(Key._make, zip(*keys, strict=True)),
                    map(Denial._make, zip(*denials, strict=True)),
                    strict=True,
                )
            ),
            drop=tuple(map(Key._make, zip(*self.drop, strict=True))),
            unsure=self.unsure,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """Take connections, in a place of the board."""

    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Report, and name this number."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Give the newest decision events, or that of `decision`, and name this number."""

    number: int
    limit: int = 0
    decision: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """Give the report of the shadow, and name this number."""

    number: int


@dataclass(frozen=True, slots=True)
class Reopen:
    """Open the logs anew."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Say that no more requests are wanted, then stop to listen, end what is under way."""


@dataclass(frozen=True, slots=True)
class End:
    """End at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the store of sessions answered to the question of this number, or that it failed."""

    number: int
    answer: Stored | bytes | bool | int | None = None
    failed: str = ""


Order = (
    Prepare
    | Activate
    | NewKeys
    | Fetched
    | Deny
    | Serve
    | Count
    | Recall
    | Compare
    | Told
    | Reopen
    | Drain
    | End
)


# A worker's


def _counted(gauges: UpstreamGauges) -> UpstreamGauges:
    targets = gauges.targets.values()
    addresses = [each for target in targets for each in target.addresses.values()]
    numbers = (
        gauges.over_budget,
        *gauges.retries.values(),
        *(target.ejections for target in targets),
        *(number for each in addresses for number in (each.in_use, each.idle, each.waiting)),
    )
    if not all(0 <= number <= MAX_COUNT for number in numbers):
        raise ValueError("not numbers that were counted")
    return gauges


def _stored(gauges: RateLimitGauges) -> RateLimitGauges:
    if not 0 <= gauges.evicted <= MAX_COUNT:
        raise ValueError("not a number that was counted")
    return gauges


def _held(gauges: SessionGauges) -> SessionGauges:
    if not 0 <= gauges.evicted <= MAX_COUNT or not 0 <= (gauges.sessions or 0) <= MAX_COUNT:
        raise ValueError("not numbers that were counted")
    if gauges.storage not in ("memory", "redis") or len(gauges.providers) > MAX_LOGINS:
        raise ValueError("not what a configuration can have")
    return gauges


def _kept(gauges: TokenGauges) -> TokenGauges:
    if not 0 <= gauges.tokens <= MAX_COUNT:
        raise ValueError("not a number that was counted")
    return gauges


def _asked(gauges: IntrospectionGauges) -> IntrospectionGauges:
    if not all(0 <= number <= MAX_COUNT for number in (gauges.answers, gauges.waiting)):
        raise ValueError("not numbers that were counted")
    return gauges


Number = Annotated[int, Field(ge=0, le=MAX_COUNT)]


class Said(BaseModel):
    """A message of a worker."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Prepared(Said):
    """The snapshot is built; `problems` say why it could not be."""

    kind: Literal["prepared"] = "prepared"
    edition: int
    problems: tuple[Problem, ...] = ()


class Activated(Said):
    """Every request that comes from now on is decided with this edition."""

    kind: Literal["activated"] = "activated"
    edition: int
    revision: str
    config_revision: str


class Wanted(Said):
    """A request found no key of this issuer."""

    kind: Literal["wanted"] = "wanted"
    issuer: str


class Report(Said):
    """What was counted since the last report, and what is now.

    `counts` are those of record.counts. `logs` has written, dropped and failed since the last
    report and what is queued now, by sink; `upstreams` are by name, and their counters grow.
    """

    kind: Literal["report"] = "report"
    number: int = 0
    counts: list[tuple[list[str | int], Annotated[float, Field(ge=0, le=MAX_COUNT)]]] = []
    in_flight: Number = 0
    connections: Number = 0
    logs: Annotated[
        dict[str, tuple[Number, Number, Number, Number]], Field(max_length=MAX_SINKS)
    ] = {}
    upstreams: dict[str, Annotated[UpstreamGauges, AfterValidator(_counted)]] = {}
    rate_limits: Annotated[RateLimitGauges, AfterValidator(_stored)] = RateLimitGauges(
        storage="memory"
    )
    sessions: Annotated[SessionGauges, AfterValidator(_held)] = SessionGauges(storage="memory")
    tokens: dict[str, Annotated[TokenGauges, AfterValidator(_kept)]] = {}
    introspection: dict[str, Annotated[IntrospectionGauges, AfterValidator(_asked)]] = {}
    shadow_queued: Number = 0
    keyrings: dict[str, str] = {}


class Recalled(Said):
    """Decision events by their ids, newest first."""

    kind: Literal["recalled"] = "recalled"
    number: int
    events: list[tuple[str, str]]


class Difference(Said):
    """How often requests differed in one way, as of record.shadow."""

    route: str
    outcome: str
    enforced: str | None
    shadow: str | None
    count: Number
    examples: list[str]


class Outcome(Said):
    """How often requests of a route had an outcome."""

    route: str
    outcome: str
    count: Number


class Comparison(Said):
    """The report of one worker's shadow; without one that works, it is of no revision."""

    kind: Literal["comparison"] = "comparison"
    number: int
    revision: str = ""
    shadow: str = ""
    since: str = ""
    counts: list[Outcome] = []
    differences: list[Difference] = []


Digest = Annotated[bytes, Field(min_length=KEY_SIZE, max_length=KEY_SIZE)]
Seconds = Annotated[float, Field(ge=0.001, le=1e9)]


class Asked(Said):
    """An operation of the store of sessions (serve.session.store), with what it takes."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    kind: Literal["asked"] = "asked"
    number: Number
    operation: Literal[
        "secret", "create", "get", "save", "delete", "delete_tagged",
        "acquire", "extend", "release", "claim",
    ]  # fmt: skip
    key: Digest = bytes(KEY_SIZE)
    value: Annotated[bytes, Field(max_length=MAX_VALUE)] = b""
    tags: Annotated[tuple[Digest, ...], Field(max_length=MAX_TAGS)] = ()
    idle: Seconds = 1.0
    lifetime: Seconds = 1.0
    version: Number = 0
    owner: Annotated[bytes, Field(min_length=OWNER_SIZE, max_length=OWNER_SIZE)] = bytes(OWNER_SIZE)
    seconds: Seconds = 1.0


Answer = Prepared | Activated | Wanted | Report | Recalled | Comparison | Asked
_ANSWERS: Final[TypeAdapter[Answer]] = TypeAdapter(Annotated[Answer, Field(discriminator="kind")])


def pickled(message: Order) -> bytes:
    """What a supervisor sends as that order."""
    return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)


class Link:
    """One end; for one event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, sock: socket.socket) -> Link:
        """The end that this socket is."""
        return cls(*await asyncio.open_unix_connection(sock=sock, limit=BUFFER))

    def order(self, message: Order) -> None:
        """Send what a supervisor says."""
        self.send(pickled(message))

    async def ordered(self) -> Order | None:
        """What the supervisor says next; None once it is gone."""
        received = await self._receive(None)
        order: Order | None = pickle.loads(received) if received else None  # noqa: S301  a parent
        return order

    def answer(self, message: Answer) -> None:
        """Send what a worker says."""
        self.send(message.model_dump_json().encode())

    async def answered(self) -> Answer | None:
        """What the worker says next; None once it is gone, ValueError if it makes no sense."""
        received = await self._receive(MAX_REPORT)
        return _ANSWERS.validate_json(received) if received else None

    @property
    def behind(self) -> bool:
        """Whether the other end has not read all that was sent."""
        transport: Any = self._writer.transport
        return bool(transport.get_write_buffer_size())

    def send(self, message: bytes) -> None:
        """Send bytes; what the other end can no longer take is lost."""
        if not self._writer.is_closing():
            self._writer.writelines((LENGTH.pack(len(message)), message))

    async def heard(self) -> None:
        """Wait until the other end has read enough of what was sent, or is gone."""
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    def close(self) -> None:
        """Close this end."""
        self._writer.close()

    async def finish(self) -> None:
        """Close this end once all is sent, or the other one is closed."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _receive(self, limit: int | None) -> bytes | None:
        try:
            (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
            if limit is not None and length > limit:
                raise ValueError(f"a message of {length} bytes")
            return await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
