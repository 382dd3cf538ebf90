"""What `gateway demo` prints, on terminals of any width and for programs."""

import io
import json

import pytest
from rich.console import Console

from gateway.bundle.folder import parse_files, read_files
from gateway.commands.demo import EDIT, EDITED, OPPOSED, replace_all
from gateway.commands.demo_rows import Row, Seen, rows
from gateway.commands.demo_show import Edited, Show
from gateway.jose.sign import generate

KEY = generate("ES256")
ROWS = rows("https://demo.invalid", KEY, KEY)
ALICE = {"headers": {"x-auth-subject": "alice", "x-auth-roles": "reader"}}


def as_stated(row):
    document = {"headers": {"x-auth-subject": row.subject} if row.subject else {}}
    return Seen(status=row.status, code=row.code, upstream=document if row.status == 200 else None)


def printed(width, print_with, *, terminal=False):
    show = Show(json_lines=False)
    show.console = Console(
        file=io.StringIO(), width=width, force_terminal=terminal, _environ={}, highlight=False
    )
    show.rows_done()
    show.console.file = io.StringIO()
    print_with(show)
    show.rows_done()
    return show.console.file.getvalue()


def everything(show):
    for row in ROWS:
        show.row(row, as_stated(row))
    show.rows_done()
    show.editing(EDITED, EDIT, OPPOSED)
    show.edited(Edited(before="0" * 16, after="1" * 16, seconds=0.4))
    show.end(ok=True)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_it_fits_the_terminal(width):
    text = printed(width, everything)
    assert max(map(len, text.splitlines())) <= width
    for row in ROWS:
        (line,) = [line for line in text.splitlines() if line.startswith(f"{row.name} ")]
        assert line.split()[-1] == "ok"
        assert row.code in line
    assert "\n    allow if {\n" in text
    assert "400 ms" in text


def test_colour_is_for_terminals():
    assert "\x1b[" not in printed(80, everything)
    assert "\x1b[" in printed(80, everything, terminal=True)


@pytest.mark.parametrize(
    ("row", "seen", "expected"),
    [
        (
            Row(name="a", status=200, subject="alice"),
            Seen(status=403, code="policy-denied"),
            ["expected", "200", "alice"],
        ),
        (
            Row(name="a", status=403, code="policy-denied"),
            Seen(status=200, code="", upstream=ALICE),
            ["expected", "403", "policy-denied", "nothing"],
        ),
        (
            Row(name="a", status=200),
            Seen(status=200, code="", upstream=ALICE),
            ["expected", "200", "anonymous"],
        ),
    ],
)
def test_a_row_that_failed_says_what_was_expected(row, seen, expected):
    lines = printed(60, lambda show: show.row(row, seen)).splitlines()
    assert lines[1].split()[-1] == "FAILED"
    assert lines[2].split() == expected


def test_json_has_no_prose(capsys):
    show = Show(json_lines=True)
    everything(show)
    show.row(Row(name="a", status=200), Seen(status=403, code="policy-denied"))
    told = capsys.readouterr()
    lines = [json.loads(line) for line in told.out.splitlines()]
    assert [line["ok"] for line in lines] == [True] * len(ROWS) + [False]
    assert lines[-1]["expected"] == {"status": 200, "code": "", "subject": ""}
    assert "Every row came out as stated." in told.err


def test_an_edit_that_was_refused_says_why():
    refused = Edited(before="0", after="0", seconds=10, problems=("authz.rego:3: bad",))
    assert "did not take effect:\n  authz.rego:3: bad\n" in printed(60, lambda s: s.edited(refused))


def test_an_edit_is_renamed_into_place_and_its_revision_known(tmp_path):
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "a.rego").write_text("package a\n")
    before = (policies / "a.rego").stat().st_ino
    changes = {policies / "b_test.rego": "package b_test\n", policies / "a.rego": "package b\n"}
    revision = replace_all(changes, tmp_path)
    sources = parse_files(read_files((policies,)), (policies,))
    assert revision == sources.revision
    assert list(sources.modules.values()) == ["package b\n"]
    assert (policies / "a.rego").stat().st_ino != before
    assert [file.name for file in tmp_path.iterdir()] == ["policies"]


@pytest.mark.parametrize(
    ("status", "headers", "fits"),
    [
        (200, {"x-auth-subject": "alice"}, True),
        (200, {"x-auth-subject": "bob"}, False),
        (200, {"x-auth-subject": "alice", "x-forwarded-for": "root"}, False),
        (403, None, False),
    ],
)
def test_what_fits_a_row(status, headers, fits):
    row = Row(name="a", status=200, subject="alice")
    upstream = None if headers is None else {"headers": headers}
    assert Seen(status=status, code="", upstream=upstream).fits(row) is fits
