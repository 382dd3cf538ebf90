"""A hundred reloads under constant load: no request fails, and each event names its revision."""

import asyncio
import json

from gateway.bundle.folder import digest, read_files
from tests.support import http1, http2
from tests.support.gateway import bearer, live, running, until

RELOADS = 100
REGO_EVERY = 7
"""One reload in so many changes a module, which is compiled; the others change data only."""

DEBOUNCE = {"reload": {"debounce": "5ms"}}
LOG = {"log": {"decisions": {"sink": "file", "path": "decisions.log"}}}
PATIENT = {"limits": {"drain_timeout": "10s"}}


def policy(number):
    """A policy that writes its number, and that of its data, into request and response."""
    return f"""package gateway.authz

numbers := sprintf("%d-%d", [{number}, data.number])

decision := {{
	"allow": true,
	"headers": {{"x-numbers": numbers}},
	"response_headers": {{"x-numbers": numbers}},
}} if "reader" in input.identity.roles
"""


class Storm:
    """What the clients saw: for each decision id the numbers, and the revisions at hand."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.active = [gateway.revision]  # one after the other
        self.numbers = {gateway.revision: "0-0"}  # by revision
        self.seen = {}  # by decision id
        self.over = asyncio.Event()
        reloader = gateway.gateway.reloader
        self._prepare, reloader.prepare = reloader.prepare, self._noted

    async def _noted(self, candidate, snapshot):
        activate = await self._prepare(candidate, snapshot)

        async def noted():
            await activate()
            self.active.append(snapshot.revision)

        return noted

    def note(self, started, status, headers, body):
        """Keep an answer to a request that began when `started` was the newest revision."""
        assert status == 200, (status, body)
        upstream = json.loads(body)["headers"]
        assert upstream["x-numbers"] == headers["x-numbers"]
        self.seen[upstream["x-decision-id"]] = (headers["x-numbers"], self.active[started:])

    @property
    def newest(self):
        """The place of the active revision."""
        return len(self.active) - 1

    async def http1(self, token):
        """Requests one after the other, on one connection."""
        async with http1.connect(self.gateway.port) as client:
            while not self.over.is_set():
                started = self.newest
                answer = await client.request("GET", "/items", bearer(token))
                self.note(started, answer.status, dict(answer.headers), answer.body)

    async def http2(self, token):
        """Four requests at a time, on one connection."""
        lines = [(name.lower(), value) for name, value in bearer(token)]
        async with http2.connect(self.gateway.port) as client:
            while not self.over.is_set():
                started = self.newest
                streams = [client.open(http2.head("GET", "/items", lines)) for _ in range(4)]
                for stream_id in streams:
                    stream = await client.finished(stream_id)
                    self.note(started, stream.status, stream.headers, stream.body)
            assert client.goaway is None

    async def reload(self, number, rule):
        """Edit the files and wait until the edit is active."""
        policies = self.gateway.folder / "policies"
        if number % REGO_EVERY == 0:
            (policies / "authz.rego").write_text(policy(rule))
        else:
            fresh = policies / "data.json.new"
            fresh.write_text(f'{{"number": {number}}}')
            fresh.replace(policies / "data.json")
        data = json.loads((policies / "data.json").read_text())["number"]
        revision = digest(read_files((policies,)))[:16]
        self.numbers[revision] = f"{rule}-{data}"
        await until(lambda: self.gateway.revision == revision)


@live
async def test_reload_storm(tmp_path):
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "data.json").write_text('{"number": 0}')
    config = DEBOUNCE | LOG | PATIENT
    async with running(tmp_path, policy=policy(0), config=config) as gateway:
        await gateway.settled()
        storm, token = Storm(gateway), gateway.token()
        async with asyncio.TaskGroup() as clients:
            for _ in range(3):
                clients.create_task(storm.http1(token))
            clients.create_task(storm.http2(token))
            for number in range(1, RELOADS + 1):
                await storm.reload(number, rule=number // REGO_EVERY)
            storm.over.set()
    assert storm.active == list(storm.numbers)
    assert len(storm.active) == RELOADS + 1
    events = [json.loads(line) for line in (tmp_path / "decisions.log").read_text().splitlines()]
    assert len(events) == len(storm.seen) > 5 * RELOADS
    for event in events:
        revision = event["bundles"]["policy"]["revision"]
        numbers, active = storm.seen[event["decision_id"]]
        assert revision in active
        assert numbers == storm.numbers[revision]
        assert event["result"]["headers"]["x-numbers"] == numbers
    decided = {event["bundles"]["policy"]["revision"] for event in events}
    assert len(decided) > RELOADS // 2
