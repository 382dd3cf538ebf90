"""Messages on standard error: one line each, whatever is in them."""

import logging

from gateway.serve.stderr import messages_on_stderr


def test_a_message_is_one_line_without_controls(capfd):
    forged = "GET /\n2026-01-01 INFO gateway: all is well \x1b[2J \u202e \x9b"
    with messages_on_stderr(verbose=False):
        logging.getLogger("gateway.x").warning("refused: %s", forged)
        logging.getLogger("gateway.x").debug("not shown")
        logging.getLogger("hpack").info("not shown")
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith(
        "WARNING gateway.x: refused: GET /\\u000a2026-01-01 INFO gateway: all is well "
        "\\u001b[2J \\u202e \\u009b"
    )


def test_a_traceback_is_indented(capfd):
    with messages_on_stderr(verbose=True):
        try:
            raise ValueError("a\n2026-01-01 INFO gateway: all is well")
        except ValueError:
            logging.getLogger("gateway").exception("failed")
        logging.getLogger("gateway").debug("shown")
    first, *traceback, last = capfd.readouterr().err.splitlines()
    assert first.endswith("ERROR gateway: failed")
    assert all(line.startswith("    ") for line in traceback)
    assert last.endswith("DEBUG gateway: shown")


def test_a_message_that_cannot_be_formatted_fails_nobody(capfd, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with messages_on_stderr(verbose=False):
        logging.getLogger("gateway").warning("%d", "no number")
        logging.getLogger("gateway").warning("after")
    assert capfd.readouterr().err.endswith("after\n")
