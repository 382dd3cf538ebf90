"""Every store of sessions, beside a model that is too simple to be wrong."""

import asyncio
import contextlib
from dataclasses import dataclass

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.redis import redis_server
from tests.support.stores import KINDS

KEYS = st.sampled_from([bytes([n]) * 32 for n in range(3)])
TAGS = st.sampled_from([bytes([100 + n]) * 32 for n in range(2)])
OWNERS = st.sampled_from([b"a" * 16, b"b" * 16])
VALUES = st.binary(max_size=40)
# Time passes in thousands of seconds; what ends does so between them, however slow the machine is.
LASTS = st.integers(0, 4).map(lambda thousands: thousands * 1000.0 + 500)


@dataclass
class Session:
    value: bytes
    version: int
    tags: frozenset
    idle: float
    used: float
    ends: float
    owner: bytes = b""
    until: float = 0.0


class Model(RuleBasedStateMachine):
    """`url` is that of the Redis server."""

    url = ""
    kind = ""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.kept = {}
        self.claimed = {}
        self.runner = asyncio.Runner()
        self.exits = contextlib.AsyncExitStack()
        opened = self.exits.enter_async_context(KINDS[self.kind](self.url))
        self.store, self.clock = self.runner.run(opened)

    def teardown(self):
        self.runner.run(self.exits.aclose())
        self.runner.close()

    def ask(self, operation, *arguments, **named):
        return self.runner.run(getattr(self.store, operation)(*arguments, **named))

    def live(self, key):
        found = self.kept.get(key)
        return found if found and self.now < min(found.used + found.idle, found.ends) else None

    @rule(seconds=st.sampled_from([1000, 2000, 5000]))
    def time_passes(self, seconds):
        self.now += seconds
        self.runner.run(self.clock.passes(seconds))

    @rule(key=KEYS, value=VALUES, tags=st.sets(TAGS), idle=LASTS, lifetime=LASTS)
    def create(self, key, value, tags, idle, lifetime):
        self.ask("create", key, value, tags=tuple(tags), idle=idle, lifetime=lifetime)
        self.kept[key] = Session(value, 1, frozenset(tags), idle, self.now, self.now + lifetime)

    @rule(key=KEYS)
    def get(self, key):
        found, expected = self.ask("get", key), self.live(key)
        if expected is None:
            assert found is None
        else:
            assert (found.value, found.version) == (expected.value, expected.version)
            expected.used = self.now

    @rule(key=KEYS, value=VALUES, version=st.integers(1, 3))
    def save(self, key, value, version):
        expected = self.live(key)
        right = expected is not None and expected.version == version
        assert self.ask("save", key, value, version=version) is right
        if right:
            expected.value, expected.version = value, version + 1

    @rule(key=KEYS)
    def delete(self, key):
        assert self.ask("delete", key) is (self.live(key) is not None)
        self.kept.pop(key, None)

    @rule(tag=TAGS)
    def delete_tagged(self, tag):
        tagged = [key for key in self.kept if self.live(key) and tag in self.kept[key].tags]
        assert self.ask("delete_tagged", tag) == len(tagged)
        for key in tagged:
            del self.kept[key]

    @rule(key=KEYS, owner=OWNERS, seconds=LASTS)
    def acquire(self, key, owner, seconds):
        expected = self.live(key)
        free = expected and (expected.owner in (b"", owner) or self.now >= expected.until)
        assert self.ask("acquire", key, owner, seconds) is bool(free)
        if free:
            expected.owner, expected.until = owner, self.now + seconds

    @rule(key=KEYS, owner=OWNERS, seconds=LASTS)
    def extend(self, key, owner, seconds):
        expected = self.live(key)
        held = expected and expected.owner == owner and self.now < expected.until
        assert self.ask("extend", key, owner, seconds) is bool(held)
        if held:
            expected.until = self.now + seconds

    @rule(key=KEYS, owner=OWNERS)
    def release(self, key, owner):
        self.ask("release", key, owner)
        expected = self.live(key)
        if expected and expected.owner == owner:
            expected.owner = b""

    @rule(key=KEYS, seconds=LASTS)
    def claim(self, key, seconds):
        free = self.now >= self.claimed.get(key, 0.0)
        assert self.ask("claim", key, seconds) is free
        if free:
            self.claimed[key] = self.now + seconds

    @precondition(lambda self: self.kind == "memory")
    @invariant()
    def what_is_remembered_is_of_what_is_kept(self):
        entries = self.store._entries
        tagged = {(tag, key) for tag, keys in self.store._tagged.items() for key in keys}
        assert tagged == {(tag, key) for key, entry in entries.items() for tag in entry.tags}
        assert self.store._size == sum(entry.size for entry in entries.values())

    @precondition(lambda self: self.kind == "redis")
    @rule()
    def redis_keeps_nothing_that_has_no_end(self):
        client, prefix = self.clock.server.client, self.clock.server.config.prefix
        for key in self.runner.run(client.keys(f"{prefix}*")):
            assert self.runner.run(client.pttl(key)) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_does_what_the_model_does(kind, tmp_path):
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(redis_server(tmp_path)).url if kind == "redis" else ""
        machine = type("Model", (Model,), {"kind": kind, "url": url})
        machine.TestCase.settings = settings(machine.TestCase.settings, stateful_step_count=40)
        machine.TestCase().runTest()
