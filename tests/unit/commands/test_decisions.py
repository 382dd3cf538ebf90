"""`gateway decisions`: lines, filters, one event in full, counts; from logs and over HTTP."""

import contextlib
import fcntl
import gzip
import itertools
import json
import os
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.commands import decisions as module, logs, main
from gateway.commands.logs import followed
from gateway.workbench.decisions import Filter, Latency, Stats, as_line

ROOT = Path(__file__).parents[3]

ULID = "01K5MHV5P0ABCDEFGHJKMN"


def event(number, **more):
    made = {
        "decision_id": f"{ULID}{number:04}",
        "timestamp": f"2026-09-21T14:13:{number:02}.250000Z",
        "method": "GET",
        "target": "/orders/42",
        "status": 200,
        "outcome": "forwarded",
        "route": "orders",
        "subject": "alice",
        "metrics": {"timer_server_handler_ns": 1_000_000 * number, "timer_plan_ns": 40_000},
        "path": "gateway/authz/decision",
        "result": {"allow": True},
        "input": {"request": {"path": "/orders/42"}},
    }
    return made | more


REFUSED = {"outcome": "refused", "status": 403, "code": "policy-denied", "subject": "bob"}
EVENTS = [
    event(1),
    event(
        2,
        **REFUSED,
        method="DELETE",
        reasons=[{"code": "role-missing", "message": "no"}],
        result={"allow": False, "reasons": ["role-missing"]},
    ),
    event(3, outcome="refused", status=401, code="token-expired", target="/admin/\x1b]0;x\x07",
          partial=True, subject=None, route="admin"),
    event(4, outcome="failed", status=502, code="upstream-down"),
    # OPA's own
    {"decision_id": "4ca636c1-55e4-417a-b1d8-4aceb67960d1", "timestamp": "2026-09-21T14:14:00Z",
     "path": "http/authz/allow", "result": True},
]  # fmt: skip
LINES = """\
14:13:01 JKMN0001 200 GET    /orders/42  forwarded  alice
14:13:02 JKMN0002 403 DELETE /orders/42  policy-denied, role-missing  bob
14:13:03 JKMN0003 401 GET    /admin/\\x1b]0;x\\x07  token-expired
14:13:04 JKMN0004 502 GET    /orders/42  upstream-down  alice
14:14:00 b67960d1   -        http/authz/allow  allowed
""".splitlines(keepends=True)


def text(events):
    return "".join(json.dumps(each) + "\n" for each in events)


@pytest.fixture(autouse=True)
def log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "POLL", 0.01)
    path = tmp_path / "log.jsonl"
    path.write_text(text(EVENTS))
    (tmp_path / "token").write_text("s3cret\n")
    return path


def run(*arguments, **options):
    return CliRunner().invoke(main, ["decisions", *arguments], **options)


def test_one_line_a_decision():
    result = run("tail", "log.jsonl")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "".join(LINES), "")


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (("-n", "2"), [4, 5]),
        (("-n", "0"), []),
        (("--route", "admin"), [3]),
        (("--route", "admin", "--route", "orders", "-n", "2"), [3, 4]),
        (("--code", "policy-denied"), [2]),
        (("--code", "role-missing"), [2]),
        (("--outcome", "failed"), [4]),
        (("--outcome", "allowed"), [5]),
        (("--subject", "bob"), [2]),
        (("-X", "DELETE"), [2]),
        (("--path", "/orders"), [1, 2, 4]),
        (("--since", "2026-09-21T14:13:04Z"), [4, 5]),
        (("--until", "2026-09-21T14:13:02.25"), [1]),
        (("--since", "1s"), []),
        (("--until", "1s"), [1, 2, 3, 4, 5]),
        (("--subject", "alice", "--outcome", "failed"), [4]),
    ],
)
def test_filters(options, numbers, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    result = run("tail", "log.jsonl", *options)
    assert result.stdout == "".join(LINES[number - 1] for number in numbers), result.stderr


def test_lines_fit_a_terminal():
    long = event(1, target="/a" * 100, code="policy-denied", outcome="refused")
    line = as_line(long, 80)
    assert len(line) == 80
    assert line.endswith("…  policy-denied  alice")
    assert len(as_line(long | {"subject": "s" * 100}, 80)) == 80
    assert as_line(long) == f"14:13:01 JKMN0001 200 GET    {'/a' * 100}  policy-denied  alice"


def test_json_is_an_event_a_line_that_controls_no_terminal():
    result = run("tail", "log.jsonl", "--format", "json", "--code", "token-expired")
    assert json.loads(result.stdout) == EVENTS[2]
    assert "\x1b" not in result.stdout
    assert result.stdout.count("\n") == 1


def test_packed_logs_standard_input_and_bad_lines(tmp_path):
    (tmp_path / "old.gz").write_bytes(gzip.compress(text(EVENTS[:2]).encode()))
    result = run("tail", "old.gz", "-", input="nothing\n" + text(EVENTS[2:]))
    assert result.stdout == "".join(LINES)
    assert result.stderr == "1 line could not be read\n"


def test_one_decision_in_full():
    result = run("show", "JKMN0002", "log.jsonl")
    assert (
        result.stdout
        == """\
decision_id     01K5MHV5P0ABCDEFGHJKMN0002
timestamp       2026-09-21T14:13:02.250000Z
method          DELETE
target          /orders/42
status          403
outcome         refused
code            policy-denied
route           orders
subject         bob
path            gateway/authz/decision
server_handler  2.000 ms
plan            0.040 ms

reasons:
  [
    {
      "code": "role-missing",
      "message": "no"
    }
  ]

result:
  {
    "allow": false,
    "reasons": [
      "role-missing"
    ]
  }

input:
  {
    "request": {
      "path": "/orders/42"
    }
  }
"""
    )
    assert (
        json.loads(run("show", EVENTS[4]["decision_id"], "log.jsonl", "--format", "json").stdout)
        == EVENTS[4]
    )
    shown = run("show", "JKMN0003", "log.jsonl").stdout
    assert "target          /admin/\\x1b]0;x\\x07\n" in shown
    assert "partial         yes\n" in shown


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("nothing-like-it", "no decision 'nothing-like-it'"),
        ("0001", "no decision '0001'; an end of one has 8 characters or more"),
        ("JKMN0001", "2 decision ids end in 'JKMN0001': give one whole"),
    ],
)
def test_what_cannot_be_shown(word, said, log):
    log.write_text(text([*EVENTS, event(1, decision_id=f"x{ULID}0001")]))
    result = run("show", word, "log.jsonl")
    assert (result.exit_code, result.stderr) == (1, f"error: {said}\n")


def test_counts_and_latencies():
    result = run("stats", "log.jsonl", "--top", "1")
    assert (
        result.stdout
        == """\
5 events, 2026-09-21T14:13:01 to 2026-09-21T14:14:00, p50 2 ms, p95 4.02 ms, p99 4.02 ms

outcome
          2  refused
          3  (others)

route
          3  orders
          2  (others)

code
          1  policy-denied
          2  (others)

reason
          1  role-missing

subject
          2  -
          3  (others)
"""
    )
    found = json.loads(run("stats", "log.jsonl", "--subject", "alice", "--format", "json").stdout)
    assert (found["events"], found["outcome"]) == (2, {"failed": 1, "forwarded": 1})
    assert found["latency_ms"]["p99"] == pytest.approx(4, rel=0.0051)
    assert json.loads(run("stats", "log.jsonl", "--route", "x", "--format", "json").stdout) == {
        "events": 0, "first": "", "last": "", "latency_ms": {},
        "outcome": {}, "route": {}, "code": {}, "reason": {}, "subject": {},
    }  # fmt: skip


def test_quantiles_are_right_to_a_percent():
    latency = Latency()
    for number in range(1, 1001):
        latency.add(number / 1000)
    for part in (0.5, 0.95, 0.99):
        assert latency.quantile(part) == pytest.approx(part, rel=0.0051)
    latency.add(0.0)
    assert latency.quantile(0.0) >= 0
    assert len(latency.steps) < 700


def test_names_that_a_client_makes_up_take_bounded_memory(monkeypatch):
    monkeypatch.setattr("gateway.workbench.decisions.MAX_NAMES", 3)
    stats = Stats()
    for number in range(9):
        stats.add(event(1, subject=f"s{number}\n"))
    rows = [(name, count) for kind, name, count in stats.rows(2) if kind == "subject"]
    assert rows == [("s0\\x0a", 1), ("s1\\x0a", 1), ("(others)", 7)]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("tail",), 64, "name either LOGS or --admin"),
        (("tail", "log.jsonl", "--admin", "http://127.0.0.1:1"), 64, "name either LOGS or --admin"),
        (("tail", "log.jsonl", "--token-file", "t"), 64, "--token-file is for --admin"),
        (("tail", "other"), 1, "other: No such file or directory"),
        (("tail", "other", "-f"), 1, "other: No such file or directory"),
        (("tail", "old.gz", "-f"), 1, "old.gz: compressed; --follow reads a plain log"),
        (("stats", "."), 1, ".: Is a directory"),
        (("tail", "log.jsonl", "log.jsonl", "-f"), 64, "--follow takes one log file, or --admin"),
        (("tail", "-", "-f"), 64, "--follow takes one log file, or --admin"),
        (("stats", "log.jsonl", "-f"), 64, "--follow changes a table on a terminal"),
        (("tail", "log.jsonl", "--since", "soon"), 64, "or a duration such as 1h, got 'soon'"),
        (("tail", "--admin", "localhost:9090"), 64, "expected a URL such as http://127.0.0.1:9090"),
        (("tail", "--admin", "http://[::1"), 64, "expected a URL such as http://127.0.0.1:9090"),
        (("tail", "--admin", "http://127.0.0.1:1"), 1, "http://127.0.0.1:1: nobody listens there"),
        (("tail", "--admin", "http://192.0.2.1:9", "--token-file", "token"), 1, "in the clear"),
    ],
)
def test_what_cannot_be_done(arguments, code, said, tmp_path):
    (tmp_path / "old.gz").write_bytes(gzip.compress(b"{}"))
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert said in result.stderr


def collect(reads):
    """What a followed log gives until it has no more for now."""
    made = []
    for read in reads:
        if read is None:
            return made
        made.append(read.event.get("n") if not read.fault else read.fault)
    return made


def test_a_log_is_followed_across_rotation_and_truncation(log):
    log.write_text('{"n":1}\n{"n":')
    reads = followed(log)
    assert collect(reads) == [1]
    with log.open("a") as writer:
        writer.write("2}\n")
        writer.flush()
        assert collect(reads) == [2]
        log.rename(log.with_suffix(".1"))
        assert collect(reads) == []
        writer.write('{"n":3}\n')
        writer.flush()
        log.write_text('{"n":4}\nbad\n')
        assert collect(reads) == [3, 4, "not JSON: Expecting value at line 1, column 1"]
    log.write_text("")
    assert collect(reads) == []
    log.write_text('{"n":5}\n')
    assert collect(reads) == [5]
    reads.close()


def test_of_a_line_that_is_too_long_no_part_is_an_event(log, monkeypatch):
    """A client that can make a text long could put an event of its own making into it."""
    monkeypatch.setattr(logs, "MAX_EVENT", 100)
    forged = '{"n":"forged"}'
    text = '{"n":"' + "x" * 94 + forged + "x" * 86 + forged + '"}\n{"n":1}\n'  # at each 100 bytes
    log.write_text(text)
    reads = followed(log)
    assert collect(reads) == ["longer than 100 bytes", 1]
    reads.close()


@contextlib.contextmanager
def answering(*pieces, endless=()):
    """A listener that answers with these bytes, and then with others for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                for piece in pieces:
                    connection.sendall(piece)
                for piece in itertools.cycle(endless):
                    connection.sendall(piece)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            thread.join()


def answered(body, status="200 OK"):
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


OK_HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("pieces", "endless"),
    [
        ((), (b"HTTP/1.1 100 Continue\r\n\r\n",)),
        ((OK_HEAD, b"x: "), (b"a",)),
        ((OK_HEAD, b"Content-Length: 9000000000\r\n\r\n"), (b" ",)),
    ],
)
def test_a_listener_cannot_keep_one_waiting(pieces, endless, monkeypatch):
    monkeypatch.setattr("gateway.commands.admin_client.TIMEOUT", 0.3)
    monkeypatch.setattr("gateway.commands.admin_client.MAX_ANSWER", 10**8)
    monkeypatch.setattr("http.client._MAXLINE", 10**9)
    with answering(*pieces, endless=endless) as url:
        result = run("tail", "--admin", url)
    assert (result.exit_code, result.stderr) == (1, f"error: {url}: no answer within 0.3 s\n")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"\x00\x1b[31mSSH-2.0\r\n\r\n", r"\x00\x1b[31mSSH-2.0\x0d"),
        (answered(b"{}", "302 Found\r\nLocation: http://127.0.0.1:1/"), "302 no decisions"),
        (answered(b'{"code":"\\u001b[31m"}', "500 x"), r"500 \x1b[31m"),
        (answered(b'{"code":' + b"9" * 4000 + b"}", "500 x"), "500 no decisions\n"),
        (answered(b'{"code":"' + b"9" * 4000 + b'"}', "500 x"), f"500 {'9' * 200}\n"),
        (
            answered(b'{"decisions":[' + b"[]," * 10**6 + b"[]]}"),
            "no answer of a gateway: more than",
        ),
        (answered(b'{"decisions":7}'), "200 no decisions"),
        (answered(b'{"a":1,"a":2}'), "no answer of a gateway: the name 'a' occurs twice"),
    ],
)
def test_what_is_no_answer(answer, said, monkeypatch):
    monkeypatch.setattr("gateway.commands.admin_client.MAX_MEMBERS", 10**5)
    with answering(answer) as url:
        result = run("tail", "--admin", url)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {url}: {said}")


@pytest.mark.parametrize("time", [10**400, -1, True, 1.5, "1", None])
def test_a_time_that_is_none_is_left_out(time, log):
    log.write_text(json.dumps({"metrics": {"timer_server_handler_ns": time}}) + "\n")
    assert json.loads(run("stats", "log.jsonl", "--format", "json").stdout)["latency_ms"] == {}
    log.write_text(json.dumps({"decision_id": "12345678", "metrics": {"timer_x_ns": time}}))
    result = run("show", "12345678", "log.jsonl")
    assert (result.exit_code, "ms" in result.stdout) == (0, False)


@contextlib.contextmanager
def admin(answers, token=None):
    """An admin listener that keeps the events in `answers`, newest first."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            if token and self.headers["Authorization"] != f"Bearer {token}":
                return self.answer(401, {"code": "admin-token"})
            name = self.path.removeprefix("/decisions").lstrip("/")
            if name.startswith("?limit="):
                return self.answer(200, {"decisions": answers[: int(name[7:])]})
            found = next((each for each in answers if each["decision_id"] == name), None)
            if found is None:
                return self.answer(404, {"code": "decision-unknown"})
            return self.answer(200, found)

        def answer(self, status, value):
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    seen = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join()


def test_a_token_that_is_none_is_not_sent_and_not_shown(tmp_path):
    (tmp_path / "token").write_text("s3cret\nx: y\n")
    result = run("tail", "--admin", "http://127.0.0.1:1", "--token-file", "token")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: --token-file: expected a token")
    assert "s3cret" not in result.output


def on_terminal(*arguments):
    """What a command shows on a terminal of 60 columns."""
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm"}
    command = [sys.executable, str(ROOT / "cli.py"), *arguments]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment) as child:
        os.close(its)
        shown = b""
        with contextlib.suppress(OSError):  # EIO once the other end is closed
            while piece := os.read(ours, 65536):
                shown += piece
    os.close(ours)
    return child.returncode, shown.decode()


def test_a_terminal_has_colours_and_whole_lines():
    code, shown = on_terminal("decisions", "tail", "log.jsonl", "-n", "4")
    assert code == 0
    assert (
        "14:13:02 JKMN0002 \x1b[31m403\x1b[0m DELETE /orders…  policy-denied, role-…\r\n" in shown
    )
    assert (
        "14:13:04 JKMN0004 \x1b[33m502\x1b[0m GET    /orders/…  upstream-down  alice\r\n" in shown
    )
    assert "\x1b]0" not in shown


def test_a_terminal_shows_a_replay(tmp_path):
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "a.rego").write_text("package gateway.authz\n\ndecision := input.x")
    code, shown = on_terminal("policy", "replay", "log.jsonl")
    assert code == 2
    assert "allow → deny: 2\r\n" in shown


def test_the_table_that_changes(capsys):
    stats = Stats()
    module._live(
        stats, iter([event(1), None, event(2, **REFUSED), None]), Filter(subject=("bob",)), 3
    )
    assert stats.events == 1
    shown = capsys.readouterr().out
    assert shown.startswith("1 events, 2026-09-21T14:13:02")
    assert "outcome          1  refused" in shown


def test_a_running_gateway_is_asked(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with admin(EVENTS[::-1], "s3cret") as (url, _):
        result = run("tail", "--admin", url, "--token-file", "token")
        assert result.stdout == "".join(LINES), result.stderr
        for word in (EVENTS[0]["decision_id"], "JKMN0001"):
            result = run("show", word, "--admin", url, "--token-file", "token", "--format", "json")
            assert json.loads(result.stdout) == EVENTS[0]
        result = run("tail", "--admin", url)
        assert result.exit_code == 1
        assert result.stderr == f"error: {url}: 401 admin-token; name its token with --token-file\n"


def test_a_running_gateway_is_followed_with_little_asking(monkeypatch):
    monkeypatch.setattr(module, "FEW", 2)
    answers = EVENTS[1::-1]
    with admin(answers) as (url, seen):
        source = module.polled(module.Admin(url), follow=True)

        def more():
            return [each["decision_id"][-1] for each in iter(lambda: next(source), None)]

        assert more() == ["1", "2"]
        assert more() == []
        answers.insert(0, event(3))
        assert more() == ["3"]
        assert seen[-1] == "/decisions?limit=2"
        answers[:0] = [event(6), event(5), event(4)]
        assert more() == ["4", "5", "6"]
        assert seen[-2:] == ["/decisions?limit=2", "/decisions?limit=1000"]


def test_events_that_were_missed_are_told(capsys):
    answers = [event(1)]
    with admin(answers) as (url, _):
        source = module.polled(module.Admin(url), follow=True)
        assert [next(source) is None for _ in range(2)] == [False, True]
        answers[:] = [event(3), event(2)]
        assert next(source)["decision_id"].endswith("2")
    assert capsys.readouterr().err == "more decisions were made than are kept: some are missing\n"


REPORTED = event(
    5,
    enforced=False,
    would={"code": "policy-denied", "status": 403},
    reasons=[{"code": "role-missing", "message": "no"}],
    result={"allow": False, "reasons": ["role-missing"]},
)


def test_a_refusal_that_was_not_enforced_is_told_and_found():
    line = as_line(REPORTED)
    assert line.endswith("/orders/42  not enforced: policy-denied, role-missing  alice")
    assert Filter(code=("policy-denied",)).fits(REPORTED)
    assert not Filter(code=("policy-denied",)).fits(event(6))
    stats = Stats()
    stats.add(REPORTED)
    assert stats.as_dict(5)["code"] == {"policy-denied": 1}


def test_lines_about_a_shadow_are_left_out(tmp_path):
    log = tmp_path / "decisions.jsonl"
    shadow = event(1, type="gateway/shadow_decisions", difference="allow_to_deny")
    log.write_text("\n".join(json.dumps(each) for each in (event(1), shadow)))
    result = CliRunner().invoke(main, ["decisions", "stats", str(log), "--format", "json"])
    assert json.loads(result.stdout)["events"] == 1
