"""Progress: items pass through, and only a terminal sees it."""

import pytest

from gateway.commands.progress import progress


@pytest.mark.parametrize("terminal", [False, True])
def test_progress(monkeypatch, capsys, terminal):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    with progress() as shown:
        assert list(shown(iter(range(60)))) == list(range(60))
    assert capsys.readouterr().out == ""
