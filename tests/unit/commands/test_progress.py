"""Progress: a bar for whoever waits at a terminal, and nothing else."""

import io
import threading

import pytest

from gateway.commands import progress as module
from gateway.commands.progress import counted, progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def on_terminal(monkeypatch, use, *, at_once=True):
    """What `use` leaves on a terminal; the bar is there at once, or not before the end."""
    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", terminal)
        patch.setenv("TERM", "xterm")
        patch.setattr(module, "DELAY", 60)
        if at_once:
            patch.setattr(threading.Timer, "start", lambda timer: timer.function())
            patch.setattr(threading.Timer, "join", lambda _: None)
        use()
    return terminal.getvalue()


def run(total):
    with progress("tests", total) as tell:
        assert list(counted(iter(range(60)), tell, 10)) == list(range(60))


@pytest.mark.parametrize("total", [60, None])
def test_nobody_else_sees_it(capsys, monkeypatch, total):
    monkeypatch.setattr(module, "DELAY", 0)
    run(total)
    assert capsys.readouterr() == ("", "")


def test_a_short_run_shows_none(monkeypatch):
    assert on_terminal(monkeypatch, lambda: run(60), at_once=False).strip() == ""


@pytest.mark.parametrize(("total", "said"), [(60, "50 of 60 tests"), (None, "50 tests")])
def test_a_bar_on_a_terminal(monkeypatch, total, said):
    shown = on_terminal(monkeypatch, lambda: run(total))
    assert said in shown
    assert "━" in shown


def test_a_bar_in_other_units(monkeypatch):
    def use():
        with progress("events", 1000) as tell:
            tell(7, 500)

    shown = on_terminal(monkeypatch, use)
    assert "7 events" in shown
    assert "of 1,000" not in shown
