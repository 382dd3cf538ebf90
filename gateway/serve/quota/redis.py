"""Counts in Redis, for several machines: one script takes all charges of a request, or none."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, Final

from gateway.config.secrets import redis_password
from gateway.errors import ConfigError, Problem
from gateway.model import Standing, Taken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.config.model import Redis
    from gateway.model import Charge

FIRST_PAUSE: Final = 0.25
"""Seconds for which a server that failed is left alone; each failure doubles it."""
LONGEST_PAUSE: Final = 4.0
CONNECTIONS: Final = 64

SCRIPT: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) - 1790000000 + tonumber(time[2]) / 1000000
local TICK, ERROR = 1e-6, 1e-9

local function floor(requests)
    return math.max(math.floor(requests + ERROR), 0)
end

local function gcra(state, q, cost)
    local interval = q.per / q.requests
    local whole = interval * q.burst
    local owed = math.max(state[1] - now, 0)
    local after = owed + interval * cost
    local late = after - whole
    if late > TICK then
        return nil, math.floor((whole - owed + TICK) / interval), owed, late
    end
    return {now + after, 0, 0}, math.floor((whole - after + TICK) / interval), after, 0, after
end

local function fixed(state, q, cost)
    local window = math.floor(now / q.per)
    local spent = state[1] == window and state[2] or 0
    local left = (window + 1) * q.per - now
    if spent + cost > q.requests then
        return nil, q.requests - spent, left, left
    end
    return {window, spent + cost, 0}, q.requests - spent - cost, left, 0, left
end

local function sliding(state, q, cost)
    local window = math.floor(now / q.per)
    local spent, before = 0, 0
    if state[1] == window then
        spent, before = state[2], state[3]
    elseif state[1] == window - 1 then
        before = state[2]
    end
    local elapsed = now - window * q.per
    local free = q.requests - spent - before * (1 - elapsed / q.per)
    if cost > free + ERROR then
        local room, wait = q.requests - cost, 0
        if spent <= room then
            wait = math.max(q.per * (1 - (room - spent) / before) - elapsed, 0)
        else
            wait = q.per - elapsed + q.per * (1 - math.max(room, 0) / spent)
        end
        local reset = (spent > 0 and 2 or 1) * q.per - elapsed
        return nil, floor(free), reset, wait
    end
    local left = 2 * q.per - elapsed
    return {window, spent + cost, before}, floor(free - cost), left, 0, left
end

local step = {gcra = gcra, fixed = fixed, sliding = sliding}
local changes, taken = {}, true

local function charge(number, free)
    local at, state = (number - 1) * 5, {0, 0, 0}
    local index, kept = 0, redis.call('GET', KEYS[number])
    for piece in string.gmatch(kept or '', '%S+') do
        index = index + 1
        state[index] = tonumber(piece)
    end
    local q = {requests = tonumber(ARGV[at + 2]), per = tonumber(ARGV[at + 3]),
               burst = tonumber(ARGV[at + 4])}
    local cost = free and 0 or tonumber(ARGV[at + 5])
    local after, remaining, reset, wait, left = step[ARGV[at + 1]](state, q, cost)
    if after then
        changes[KEYS[number]] = {after, left}
    else
        taken = false
    end
    return {after and 1 or 0, string.format('%.17g', remaining),
            string.format('%.17g', reset), string.format('%.17g', wait)}
end

local answers = {}
for number = 1, #KEYS do
    answers[number] = charge(number, false)
end
if taken then
    for key, change in pairs(changes) do
        local text = string.format('%.17g %.17g %.17g', unpack(change[1]))
        redis.call('SET', key, text, 'PX', math.max(math.ceil(change[2] * 1000), 1))
    end
else  -- those that would have been taken stand as they stood
    for number = 1, #KEYS do
        if answers[number][1] == 1 then
            answers[number] = charge(number, true)
        end
    end
end
return answers
"""
"""As gateway.limit.algorithm, on the server's clock, which all gateways share; it counts from a
day of late, so that floats hold more of a second."""


class RedisCounts:
    """The counts on one Redis server; ConfigError where the client is not installed.

    Never raises, and waits at most `timeout`: after a failure the server is left alone for a
    while, and one request tries whether it is back.
    """

    def __init__(self, config: Redis) -> None:
        self.config = config
        self.timeout = config.timeout
        self.prefix = f"{config.prefix}{{limits}}:".encode()  # one slot of a cluster
        self.last_error = ""
        self.failures = 0
        self._retry_at = 0.0
        self._trying = False
        self._client, self._errors = client(config)
        self._script = self._client.register_script(SCRIPT)

    async def take(self, charges: Sequence[Charge]) -> Taken:
        """Charge all or none."""
        charges = tuple(charges)
        clock = asyncio.get_running_loop().time
        if self.failures and (self._trying or clock() < self._retry_at):
            return Taken(charges=charges, error=f"Redis is away: {self.last_error}")
        trying = self._trying = bool(self.failures)
        try:
            async with asyncio.timeout(self.timeout):
                answers = await self._script(
                    keys=[self.prefix + charge.key.hex().encode() for charge in charges],
                    args=[word for charge in charges for word in _words(charge)],
                )
            standings = tuple(map(_standing, charges, answers))
        except (OSError, ValueError, TypeError, self._errors) as error:
            if clock() >= self._retry_at:  # requests that fail together are one failure
                self.failures = min(self.failures + 1, 16)
                pause = min(FIRST_PAUSE * 2 ** (self.failures - 1), LONGEST_PAUSE)
                self._retry_at = clock() + pause
            late = f"no answer within {self.timeout:g} s"
            self.last_error = late if isinstance(error, TimeoutError) else _told(error)
            return Taken(charges=charges, error=f"Redis is away: {self.last_error}")
        finally:
            if trying:
                self._trying = False
        self.failures, self.last_error = 0, ""
        return Taken(charges=charges, standings=standings)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()
        await self._client.connection_pool.disconnect()


def client(config: Redis) -> tuple[Any, type[Exception]]:
    """A client of a server, and what its errors are; ConfigError where none is installed."""
    try:
        from redis import asyncio as library  # noqa: PLC0415  an extra
    except ImportError:
        message = "the client of Redis is not installed"
        remedy = "pip install 'policy-gateway[redis]'"
        raise ConfigError((Problem(message, key="redis", remedy=remedy),)) from None
    return library.Redis(connection_pool=_pool(config, library)), library.RedisError


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def _words(charge: Charge) -> tuple[str, int, float, int, int]:
    quota = charge.quota
    return quota.algorithm, quota.requests, quota.per, quota.burst, charge.cost


def _standing(charge: Charge, answer: list[Any]) -> Standing:
    allowed, remaining, reset, wait = answer
    return Standing(
        charge=charge,
        allowed=allowed == 1,
        remaining=int(float(remaining)),
        reset=float(reset),
        retry_after=float(wait),
    )


def _pool(config: Redis, library: Any) -> Any:
    password = redis_password(config)
    common: dict[str, Any] = {
        "username": config.username,
        "password": password,
        "max_connections": CONNECTIONS,
        "timeout": config.timeout,
        "retry_on_timeout": False,
        "retry_on_error": [],
        "socket_connect_timeout": config.timeout,
    }
    if config.url.startswith("unix:"):
        kind = library.UnixDomainSocketConnection
        path = config.url.removeprefix("unix:")
        return library.BlockingConnectionPool(connection_class=kind, path=path, **common)
    if config.url.startswith("rediss:"):
        common |= {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
        if config.ca_file is not None:
            common["ssl_ca_certs"] = str(config.ca_file)
    return library.BlockingConnectionPool.from_url(config.url, **common)
