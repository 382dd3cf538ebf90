"""`gateway policy test --watch`: what a change runs again, and when."""

import asyncio
import time

import pytest
from click.testing import CliRunner

from gateway.bundle.folder import parse_files, read_files
from gateway.commands import EXIT_USAGE, main
from gateway.commands.policy_watch import follow
from gateway.workbench.session import Session

FILES = {
    "a.rego": "package a\nx := 1\n",
    "a_test.rego": "package a_test\nimport data.a\ntest_x if a.x == 1\n",
    "b.rego": "package b\ny := 1\n",
    "b_test.rego": "package b_test\nimport data.b\ntest_y if b.y == 1\n",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_only_what_a_change_affects_runs_again(folder):
    memory = {}

    def outcomes():
        sources = parse_files(read_files((folder,)), (folder,))
        checks = list(Session(sources=sources, memory=memory).run())
        return {check.name: check for check in checks}

    first = outcomes()
    assert [check.outcome for check in first.values()] == ["pass", "pass"]
    again = outcomes()
    assert all(again[name] is first[name] for name in first)
    (folder / "b.rego").write_text("package b\ny := 2\n")
    changed = outcomes()
    assert changed["test_x"] is first["test_x"]
    assert changed["test_y"].outcome == "fail"
    (folder / "data.json").write_text('{"z": 1}')
    assert outcomes()["test_x"] is not first["test_x"]


def test_a_change_is_followed_within_a_second(folder):
    runs = []

    async def script():
        following = asyncio.create_task(
            follow([folder], lambda names: runs.append((time.monotonic(), names)))
        )
        while not runs:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)  # it watches by now
        (folder / "a.rego").write_text("package a\nx := 3\n")
        changed = time.monotonic()
        async with asyncio.timeout(10):
            while len(runs) < 2:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        following.cancel()
        return changed

    changed = asyncio.run(script())
    assert len(runs) == 2
    assert runs[0][1] == []
    assert runs[1][1] == [str(folder / "a.rego")]
    assert runs[1][0] - changed < 1


def test_what_does_not_go_with_it(folder):
    result = CliRunner().invoke(main, ["policy", "test", "--watch", "-f", "json", str(folder)])
    assert result.exit_code == EXIT_USAGE
    assert "is not for --watch" in result.stderr
