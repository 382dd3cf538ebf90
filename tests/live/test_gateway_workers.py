"""Several workers in processes of their own, which are one gateway to everybody outside."""

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import ssl

import pytest

from gateway.bundle.folder import digest, read_files
from gateway.jose.sign import generate
from gateway.serve import member, supervisor
from gateway.serve.link import LENGTH, Report
from tests.support import http1, http2
from tests.support.certificates import Authority
from tests.support.gateway import (
    POLICY, bearer, echo, live, policy_for, running, tls, token, until, write,
)  # fmt: skip
from tests.support.issuer import KEY as issuer_key, Issuer, issued, jwks
from tests.support.process import serving, started
from tests.support.upstream import answers, ok, upstream

KEY = generate("ES256")
PROCESS = {"log": {"decisions": {"sink": "stdout"}}, "limits": {"drain_timeout": "20s"}}


def policy(number):
    """A policy that writes its number, and that of its data, into the response."""
    return f"""package gateway.authz

numbers := sprintf("%d-%d", [{number}, data.number])

decision := {{
	"allow": true,
	"response_headers": {{"x-numbers": numbers}},
}} if "reader" in input.identity.roles
"""


class Machine:
    """What the admin listener tells of a gateway."""

    def __init__(self, admin_port):
        self.port = admin_port

    async def ask(self, target):
        async with http1.connect(self.port) as client:
            return await client.request("GET", target, (("Host", "localhost"),))

    async def status(self):
        return (await self.ask("/status")).json()

    async def workers(self, state="serving"):
        return [each for each in (await self.status())["workers"] if each["state"] == state]

    async def pids(self, state="serving"):
        return {each["pid"] for each in await self.workers(state)}

    async def total(self, name):
        """The sum of a metric over all labels."""
        text = (await self.ask("/metrics")).body.decode()
        return sum(float(found) for found in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.M))

    async def full(self, workers=2):
        """Wait until all workers serve, and there is a spare one."""
        async with asyncio.timeout(20):
            while len(await self.workers()) != workers or not await self.pids("spare"):
                await asyncio.sleep(0.02)


def machine(gateway):
    return Machine(gateway.admin_port)


async def ready(gateway, workers=2):
    """Wait until the workers serve; they are still starting when the gateway runs."""
    await gateway.settled()
    await machine(gateway).full(workers)


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:  # dead, but its parent has not looked yet
        return file.read().rpartition(")")[2].split()[0] != "Z"


@live
async def test_two_workers_are_one_machine(tmp_path):
    async with running(tmp_path, workers=2) as gateway, contextlib.AsyncExitStack() as stack:
        await ready(gateway)
        clients = [await stack.enter_async_context(http1.connect(gateway.port)) for _ in range(4)]
        for client in clients:
            answer = await client.request("GET", "/items", bearer(gateway.token()))
            assert answer.status == 200
        refused = [await client.request("GET", "/items") for client in clients]
        whole = machine(gateway)
        status = await whole.status()
        serving, spare = await whole.workers(), await whole.workers("spare")
        assert sum(each["connections"] for each in serving) == 4
        assert sum(each["requests"] for each in serving) == 8
        assert (len(spare), spare[0]["requests"]) == (1, 0)
        for each in (*serving, *spare):
            assert each["revision"] == status["revision"] == gateway.revision
            assert each["config_revision"] == gateway.gateway.reloader.snapshot.config_revision
            assert each["keyrings"] == {"corp": status["issuers"]["corp"]["revision"]}
        assert len({each["pid"] for each in (*serving, *spare)}) == 3
        assert await whole.total("gateway_requests_total") == 8
        assert await whole.total("gateway_request_duration_seconds_count") == 8
        ids = [answer.json()["decision_id"] for answer in refused]
        for decision in ids:
            event = (await whole.ask(f"/decisions/{decision}")).json()
            assert event["decision_id"] == decision
        recent = (await whole.ask("/decisions?limit=4")).json()["decisions"]
        # Ids have milliseconds: of two in the same one, on two workers, either may be the later.
        assert [event["decision_id"] for event in recent] == sorted(ids, reverse=True)
        assert (await whole.ask("/decisions/01M8BAY0PRFGVRRMBPMGFC98MH")).status == 404
        assert (await whole.ask("/health/ready")).status == 200


class Storm:
    """Clients that fail for an answer older than what was announced before they asked."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.announced = (0, 0)
        self.answers = 0
        self.over = asyncio.Event()

    def note(self, announced, status, numbers):
        assert status == 200
        assert tuple(map(int, numbers.split("-"))) >= announced
        self.answers += 1

    async def kept_alive(self, lines):
        async with http1.connect(self.gateway.port) as client:
            while not self.over.is_set():
                announced = self.announced
                answer = await client.request("GET", "/items", lines)
                self.note(announced, answer.status, answer.header("x-numbers"))

    async def fresh(self, lines):
        while not self.over.is_set():
            async with http1.connect(self.gateway.port) as client:
                announced = self.announced
                answer = await client.request("GET", "/items", lines)
                self.note(announced, answer.status, answer.header("x-numbers"))

    async def multiplexed(self, lines):
        lower = [(name.lower(), value) for name, value in lines]
        async with http2.connect(self.gateway.port) as client:
            while not self.over.is_set():
                announced = self.announced
                streams = [client.open(http2.head("GET", "/items", lower)) for _ in range(3)]
                for stream_id in streams:
                    stream = await client.finished(stream_id)
                    self.note(announced, stream.status, stream.headers["x-numbers"])

    async def swap(self, rule, number):
        """Edit the files and wait until the edit is announced."""
        policies = self.gateway.folder / "policies"
        if number == 0:  # first, for a set of one half may be active, too
            (policies / "new").write_text(policy(rule))
            (policies / "new").replace(policies / "authz.rego")
        (policies / "new").write_text(f'{{"number": {number}}}')
        (policies / "new").replace(policies / "data.json")
        revision = digest(read_files((policies,)))[:16]
        await until(lambda: self.gateway.revision == revision)
        self.announced = (rule, number)


@live
async def test_no_request_is_decided_by_an_older_revision_than_what_was_announced(tmp_path):
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "data.json").write_text('{"number": 0}')
    config = {"reload": {"debounce": "5ms"}, "limits": {"drain_timeout": "10s"}}
    async with running(tmp_path, policy=policy(0), config=config, workers=2) as gateway:
        await ready(gateway)
        storm, lines = Storm(gateway), bearer(gateway.token())
        async with asyncio.TaskGroup() as clients:
            for _ in range(2):
                clients.create_task(storm.kept_alive(lines))
                clients.create_task(storm.fresh(lines))
            clients.create_task(storm.multiplexed(lines))
            for number in range(1, 19):
                await storm.swap(number // 5, number % 5)
                for each in (await machine(gateway).status())["workers"]:
                    assert each["revision"] == gateway.revision
            storm.over.set()
    assert storm.answers > 100


@live
async def test_a_killed_worker_is_replaced_and_only_what_it_did_fails(tmp_path):
    kills, clients = 6, 4
    async with running(tmp_path, workers=2) as gateway:
        await ready(gateway)
        over, failed, answered = asyncio.Event(), [], 0

        async def load():
            nonlocal answered
            while not over.is_set():
                async with http1.connect(gateway.port) as client:  # nobody is ever refused
                    try:
                        while not over.is_set():
                            assert (await client.request("GET", "/open/x")).status == 200
                            answered += 1
                    except (ConnectionError, asyncio.IncompleteReadError, AssertionError) as error:
                        failed.append(error)

        whole = machine(gateway)
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(load())
            for _ in range(kills):
                victim = random.choice(sorted(await whole.pids()))
                os.kill(victim, signal.SIGKILL)
                await until(lambda: not is_there(victim))
                before = answered
                await until(lambda: answered > before + 20)
                await whole.full()
                assert victim not in await whole.pids()
                for each in await whole.workers():
                    assert each["revision"] == gateway.revision
            over.set()
        assert len(failed) <= kills * clients
        status = await whole.workers()
        assert sum(each["restarts"] for each in status) == kills
        counted = await whole.total("gateway_requests_total")
        # What a worker had counted since its last report is lost with it, and nothing else.
        assert 0 < counted <= answered + len(failed)


@live
async def test_counters_never_go_back(tmp_path):
    async with running(tmp_path, workers=2) as gateway:
        await ready(gateway)
        whole, last = machine(gateway), 0
        for _ in range(3):
            await asyncio.gather(*(gateway.ask("/open/x") for _ in range(20)))
            counted = await whole.total("gateway_requests_total")
            assert counted == last + 20
            os.kill((await whole.workers())[0]["pid"], signal.SIGKILL)
            await whole.full()
            last = await whole.total("gateway_requests_total")
            assert last == counted


@live
async def test_a_broken_candidate_is_refused_by_all(tmp_path):
    async with running(tmp_path, workers=2) as gateway:
        await ready(gateway)
        before, rego = gateway.revision, tmp_path / "policies" / "authz.rego"
        rego.write_text(POLICY + "\nbroken := \n")
        await until(lambda: gateway.problems)
        for _ in range(4):
            await gateway.admits_still("reader")
        status = await machine(gateway).status()
        assert {each["revision"] for each in status["workers"]} == {status["revision"]} == {before}
        rego.write_text(policy_for("writer"))
        await gateway.admits("writer")
        for _ in range(4):
            assert (await gateway.ask(token=gateway.token())).status == 403


@live
async def test_what_one_worker_cannot_prepare_is_refused_by_all(tmp_path, monkeypatch):
    async with running(tmp_path, workers=2) as gateway:
        await ready(gateway)
        workers, before = gateway.gateway.workers, gateway.revision
        (spare,) = [each for each in workers.members if each.place is None]
        prepare = spare.prepare

        async def dies(edition):
            os.kill(spare.pid, signal.SIGKILL)
            await prepare(edition)

        spare.prepare = dies
        (tmp_path / "policies" / "authz.rego").write_text(policy_for("writer"))
        await until(lambda: gateway.problems)
        assert "has ended while it prepares this" in gateway.problems[0]
        await gateway.admits_still("reader")
        await machine(gateway).full()
        assert {each["revision"] for each in await machine(gateway).workers()} == {before}
        gateway.gateway.hangup()
        await gateway.admits("writer")


@pytest.mark.parametrize("moment", ["prepare", "activate"])
@live
async def test_a_worker_that_hangs_is_not_left_behind(tmp_path, monkeypatch, moment):
    monkeypatch.setattr(member, f"{moment.upper()}_WITHIN", 4.0)
    async with running(tmp_path, workers=2) as gateway:
        await ready(gateway)
        workers = gateway.gateway.workers
        hung = next(each for each in workers.members if each.place == 1)
        do = getattr(hung, moment)

        async def hangs(*arguments):
            os.kill(hung.pid, signal.SIGSTOP)
            await do(*arguments)

        setattr(hung, moment, hangs)
        before = gateway.revision
        (tmp_path / "policies" / "authz.rego").write_text(policy_for("writer"))
        await until(lambda: gateway.revision != before)
        assert not is_there(hung.pid)
        for _ in range(4):
            assert (await gateway.ask(token=gateway.token())).status == 403
        await machine(gateway).full()
        assert hung.pid not in await machine(gateway).pids()


@live
async def test_a_worker_that_says_nothing_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "SILENCE", 5.0)
    async with running(tmp_path, workers=2) as gateway:
        await ready(gateway)
        (hung, *_) = await machine(gateway).pids()
        os.kill(hung, signal.SIGSTOP)
        await until(lambda: not is_there(hung))
        await machine(gateway).full()


@live
async def test_a_worker_that_talks_nonsense_is_killed(tmp_path):
    async with running(tmp_path, workers=2) as gateway:
        await ready(gateway)
        said = gateway.gateway.workers.members[0]
        said._heard(Report(counts=[(["below", "x"], 1.0)]))
        assert gateway.gateway.workers.metrics.below == {"x": 1}
        said.link._reader.feed_data(LENGTH.pack(2) + b"{}")
        await until(lambda: not is_there(said.pid))
        await machine(gateway).full()


@live
async def test_a_worker_that_closes_its_link_cannot_go_on(tmp_path):
    async with running(tmp_path, workers=2) as gateway:
        await ready(gateway)
        said = gateway.gateway.workers.members[0]
        os.kill(said.pid, signal.SIGSTOP)  # it does not end by itself
        said.link._reader.feed_eof()
        await until(lambda: not is_there(said.pid))
        await machine(gateway).full()


@live
async def test_workers_import_nothing_from_the_working_folder(tmp_path):
    for name in ("gateway", "orjson", "uvloop"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported')")
    async with upstream(answers(ok())) as service:
        write(tmp_path, KEY, service.url, config=PROCESS)
        async with serving(tmp_path, "--workers", "2") as process:
            assert (await process.ask("/open/x")).status == 200
            process.child.terminate()
            assert await process.ended() == 0
        assert "imported" not in process.errors


@live
async def test_the_fork_server_is_replaced_too(tmp_path):
    async with running(tmp_path, workers=2) as gateway:
        await ready(gateway)
        gateway.gateway.workers._forks._process.kill()
        for pid in await machine(gateway).pids():
            os.kill(pid, signal.SIGKILL)
        await machine(gateway).full()
        assert (await gateway.ask("/open/x")).status == 200


@live
async def test_keys_are_fetched_once_for_all_workers(tmp_path):
    issuer, new = Issuer(jwks(issuer_key)), generate("ES256")
    async with issued(tmp_path, issuer, cooldown="1h", workers=2) as gateway:
        await ready(gateway)
        await until(lambda: not gateway.gateway.ready())
        assert issuer.fetches == 1
        issuer.answers["/jwks"] = jwks(issuer_key, new)
        bearers = [gateway.token(new if number else None) for number in range(20)]
        answers = await asyncio.gather(*(gateway.ask(token=each) for each in bearers))
        assert {answer.status for answer in answers} == {200}
        assert issuer.fetches == 2
        strangers = [gateway.token(generate("ES256")) for _ in range(20)]
        answers = await asyncio.gather(*(gateway.ask(token=each) for each in strangers))
        assert {answer.code for answer in answers} == {"key-unknown"}
        assert issuer.fetches == 2  # within the cool-down of the whole machine
        whole = machine(gateway)
        for pid in await whole.pids():
            os.kill(pid, signal.SIGKILL)
        await whole.full()
        answers = await asyncio.gather(*(gateway.ask(token=each) for each in bearers))
        assert {answer.status for answer in answers} == {200}
        assert issuer.fetches == 2
        assert {each["keyrings"]["corp"] for each in await whole.workers()} == {
            (await whole.status())["issuers"]["corp"]["revision"]
        }


@live
async def test_a_stop_drains_all_workers(tmp_path):
    release = asyncio.Event()

    async def slow(peer):
        while await peer.request() is not None:
            peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha")
            await release.wait()
            peer.send(b"lf")

    limits = {"limits": {"drain_timeout": "20s", "drain_delay": "1s"}}
    async with upstream(slow) as service:
        write(tmp_path, KEY, service.url, config=PROCESS | limits)
        async with serving(tmp_path, "--workers", "2") as process, contextlib.AsyncExitStack() as s:
            whole = Machine(process.port("admin"))
            busy = [await s.enter_async_context(http1.connect(process.port())) for _ in range(4)]
            for client in busy:
                await client.send(http1.request("GET", "/open/x"))
                await client.head()
            process.child.send_signal(signal.SIGTERM)
            await until(lambda: "draining" in process.errors)
            not_ready = await whole.ask("/health/ready")
            assert not_ready.status == 503
            async with http1.connect(process.port()) as late:  # the listeners are still open
                answer = await late.request("GET", "/.well-known/gateway/ready")
                assert answer.status in {200, 503}  # the workers hear of it a moment later
            await refused(process.port())
            assert (await whole.ask("/health/ready")).status == 503
            release.set()
            for client in busy:
                assert await client.reader.readexactly(4) == b"half"
                assert await client.ended() == b""
            assert await process.ended() == 0
        events = [json.loads(line) for line in process.output.splitlines()]
        assert [(event["status"], event["bytes_out"]) for event in events] == [(200, 4)] * 4
        assert "Traceback" not in process.errors


async def refused(number):
    """Wait until nobody listens any more."""
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", number)
            except ConnectionError:
                return
            writer.close()
            await asyncio.sleep(0.01)


@live
async def test_a_second_signal_ends_at_once(tmp_path):
    async def silent(peer):
        if await peer.request() is not None:
            await peer.closed()

    async with upstream(silent) as service:
        write(tmp_path, KEY, service.url, config=PROCESS)
        async with serving(tmp_path, "--workers", "2") as process:
            pids = await Machine(process.port("admin")).pids()
            async with http1.connect(process.port()) as client:
                await client.send(http1.request("GET", "/open/x"))
                await until(lambda: service.requests)
                process.child.terminate()
                await until(lambda: "draining" in process.errors)
                await asyncio.sleep(1.1)  # what comes at once is one signal
                process.child.terminate()
                assert await process.ended() == 0
            assert not any(is_there(pid) for pid in pids)
        (event,) = [json.loads(line) for line in process.output.splitlines()]
        assert event["target"] == "/open/x"


@live
async def test_signals_to_the_whole_group_are_for_the_supervisor(tmp_path):
    async with upstream(answers(ok())) as service:
        write(tmp_path, KEY, service.url, config=PROCESS)
        async with serving(tmp_path, "--workers", "2") as process:
            pids = await Machine(process.port("admin")).pids()
            for pid in pids:
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    os.kill(pid, number)
            assert (await process.ask("/open/x")).status == 200
            assert await Machine(process.port("admin")).pids() == pids
            process.child.send_signal(signal.SIGINT)
            assert await process.ended() == 0


@live
async def test_workers_do_not_outlive_their_supervisor(tmp_path):
    async with upstream(answers(ok())) as service:
        write(tmp_path, KEY, service.url, config=PROCESS)
        async with serving(tmp_path, "--workers", "2") as process:
            whole = Machine(process.port("admin"))
            pids = await whole.pids() | await whole.pids("spare")
            assert (await process.ask("/open/x")).status == 200
            process.child.kill()
            await until(lambda: not any(is_there(pid) for pid in pids))
            await refused(process.port())
        assert json.loads(process.output)["status"] == 200
        assert process.errors.count("the supervisor is gone: draining") == 2


@live
async def test_hangup_reads_all_files_and_opens_all_logs_anew(tmp_path):
    log = tmp_path / "decisions.log"
    config = {
        "log": {"decisions": {"sink": "file", "path": "decisions.log"}},
        "reload": {"watch": False, "rescan": "1h"},
    }
    async with upstream(echo) as service:
        write(tmp_path, KEY, service.url, config=config)
        async with serving(tmp_path, "--workers", "2") as process:
            await asyncio.gather(*(process.ask("/open/x") for _ in range(20)))
            await until(lambda: len(log.read_text().splitlines()) == 20)
            log.rename(tmp_path / "old.log")
            (tmp_path / "policies" / "authz.rego").write_text(policy_for("writer"))
            process.child.send_signal(signal.SIGHUP)
            await until(lambda: "reloaded: policy revision" in process.errors)
            bearers = [token(KEY, roles=[role]) for role in ("reader", "writer")] * 5
            answers = await asyncio.gather(*(process.ask(token=each) for each in bearers))
            assert [answer.status for answer in answers] == [403, 200] * 5
            process.child.terminate()
            assert await process.ended() == 0
    assert len((tmp_path / "old.log").read_text().splitlines()) == 20
    assert len(log.read_text().splitlines()) == 10


@live
async def test_lines_of_several_workers_are_whole(tmp_path):
    """On a pipe, where nothing but their turns keeps long lines apart."""
    async with upstream(echo) as service:
        write(tmp_path, KEY, service.url, config=PROCESS)
        async with serving(tmp_path, "--workers", "2") as process:

            async def load(number):
                async with http1.connect(process.port()) as client:
                    for count in range(100):
                        target = f"/open/{number}-{count}?{'x' * 3000}"
                        assert (await client.request("GET", target)).status == 200

            await asyncio.gather(*(load(number) for number in range(6)))
            process.child.terminate()
            assert await process.ended() == 0
        events = [json.loads(line) for line in process.output.splitlines()]
    targets = {event["target"].partition("?")[0] for event in events}
    assert len(events) == 600
    assert targets == {f"/open/{one}-{two}" for one in range(6) for two in range(100)}


@live
async def test_what_cannot_start_says_why(tmp_path):
    config = {"log": {"decisions": {"sink": "file", "path": "absent/decisions.log"}}}
    write(tmp_path, KEY, "http://127.0.0.1:1", config=config)
    async with started("serve", "--workers", "2", folder=tmp_path) as process:
        assert await process.ended() == 1
    assert "log.decisions.path" in process.errors
    assert "Traceback" not in process.errors


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@live
async def test_all_workers_show_the_renewed_certificate(tmp_path, authority):
    config = tls(authority, tmp_path)
    path = tmp_path / "socket"
    config["listeners"].append({"address": f"unix:{path}"})
    async with running(tmp_path, config=config, workers=2) as gateway:
        await ready(gateway)
        context = ssl.create_default_context(cafile=authority.root)
        whole = machine(gateway)

        async def shown():
            """The certificates of many new connections."""
            found = set()
            for _ in range(8):
                async with http1.connect(gateway.port, context=context) as client:
                    assert (await client.request("GET", "/open/x")).status == 200
                    peer = client.writer.get_extra_info("ssl_object")
                    found.add(peer.getpeercert(binary_form=True))
            return found

        first = await shown()
        assert len(first) == 1
        tls(authority, tmp_path)
        (second,) = {ssl.PEM_cert_to_DER_cert((tmp_path / "tls.crt").read_text())}
        reloads = gateway.gateway.workers.metrics.reloads
        await until(lambda: reloads["success"] and not gateway.problems)
        assert await shown() == {second}
        for pid in await whole.pids():
            os.kill(pid, signal.SIGKILL)
        await whole.full()
        assert await shown() == {second}
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(http1.request("GET", "/open/x"))
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
    assert not path.exists()


@live
async def test_while_a_file_is_broken_the_spare_worker_is_the_last(tmp_path):
    async with running(tmp_path, workers=2) as gateway:
        await ready(gateway)
        keys, whole = tmp_path / "jwks.json", machine(gateway)
        good, before = keys.read_text(), await whole.pids() | await whole.pids("spare")
        keys.write_text("[]")
        await until(lambda: gateway.problems)
        os.kill((await whole.workers())[0]["pid"], signal.SIGKILL)
        await until(lambda: len(gateway.gateway.workers.members) < 3)
        serving = await whole.pids()
        assert len(serving) == 2
        assert serving < before
        for _ in range(4):
            await gateway.admits_still("reader")
        assert await whole.pids("spare") == set()
        keys.write_text(good)
        await whole.full()
        await until(lambda: not gateway.problems)


@live
async def test_workers_that_end_at_once_cost_the_others_nothing(tmp_path, caplog):
    async with running(tmp_path, workers=2) as gateway:
        await ready(gateway)
        whole, workers = machine(gateway), gateway.gateway.workers
        before = await whole.pids()
        async with asyncio.timeout(60):
            while "workers end soon after their start" not in caplog.text:
                for each in workers.members:
                    if each.place is None and each.active:
                        os.kill(each.pid, signal.SIGKILL)
                        await each.gone.wait()
                await asyncio.sleep(0.01)
        assert await whole.pids() == before
        assert (await gateway.ask("/open/x")).status == 200
        await whole.full()
        assert await whole.pids() == before


@live
async def test_two_workers_on_granian_decide_reload_and_drain(tmp_path):
    pytest.importorskip("granian")
    async with running(tmp_path, workers=2, config={"server": "granian"}) as gateway:
        await ready(gateway)
        asked = "GET", "/items", bearer(gateway.token())
        for _ in range(4):
            async with http1.connect(gateway.port) as client:
                assert (await client.request(*asked)).status == 200
        before = gateway.revision
        (tmp_path / "policies" / "authz.rego").write_text(policy_for("nobody"))
        await until(lambda: gateway.revision != before)
        for _ in range(4):
            async with http1.connect(gateway.port) as client:
                assert (await client.request(*asked)).status == 403
        whole = machine(gateway)
        assert {each["revision"] for each in await whole.workers()} == {gateway.revision}
        assert await whole.total("gateway_requests_total") == 8
        workers = await whole.pids() | await whole.pids("spare")
    assert not any(is_there(pid) for pid in workers)
