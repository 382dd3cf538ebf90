"""Messages to a service manager, on real datagram sockets."""

import logging
import os
import socket

import pytest

from gateway.serve import notify
from gateway.serve.notify import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def listening(request, tmp_path):
    """A manager's socket, and how NOTIFY_SOCKET names it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@gateway-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name[1:] if name.startswith("@") else name)
        sock.settimeout(5)
        yield sock, name


def received(sock):
    return sock.recv(4096).decode().split("\n")


def test_what_is_said(listening):
    sock, name = listening
    manager = ServiceManager(name)
    manager.ready("Serving policy revision 1")
    assert received(sock) == ["READY=1", "STATUS=Serving policy revision 1"]
    manager.reloading()
    reloading, moment = received(sock)
    assert reloading == "RELOADING=1"
    assert int(moment.removeprefix("MONOTONIC_USEC=")) > 0
    manager.ready("Serving policy revision 1")
    assert received(sock) == ["READY=1", "STATUS=Serving policy revision 1"]
    manager.stopping(62.5, "Draining")
    assert received(sock) == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=62500000", "STATUS=Draining"]


def test_what_was_said_is_not_said_again(listening):
    sock, name = listening
    manager = ServiceManager(name)
    for status in ("one", "one", "two"):
        manager.ready(status)
    assert received(sock)[1] == "STATUS=one"
    assert received(sock)[1] == "STATUS=two"


def test_the_environment_of_children_does_not_name_it(listening):
    sock, name = listening
    environ = {notify.SOCKET: name, "HOME": "/"}
    ServiceManager.asking(environ).ready("")
    assert environ == {"HOME": "/"}
    assert received(sock)[0] == "READY=1"


def test_where_nobody_asks_nothing_is_sent(monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    ServiceManager.asking({}).ready("")


@pytest.mark.parametrize("address", ["/nowhere/notify", "vsock:2:1", "notify", "/" + "x" * 200])
def test_a_manager_that_does_not_listen_is_told_of_once(address, caplog):
    manager = ServiceManager(address)
    with caplog.at_level(logging.WARNING, "gateway"):
        manager.ready("one")
        manager.reloading()
    assert caplog.text.count(f"the service manager at {address} does not listen") == 1


def test_a_message_that_was_lost_is_sent_again(tmp_path):
    name = str(tmp_path / "notify")
    manager = ServiceManager(name)
    manager.ready("one")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name)
        sock.settimeout(5)
        manager.ready("one")
        assert received(sock)[1] == "STATUS=one"


def test_a_manager_that_is_behind_holds_nobody_up(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(notify, "WAIT", 0.01)
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name)
        manager = ServiceManager(name)
        with caplog.at_level(logging.WARNING, "gateway"):
            for number in range(100_000):
                manager.ready(str(number))
                if caplog.records:
                    break
    assert "does not listen: timed out" in caplog.text
