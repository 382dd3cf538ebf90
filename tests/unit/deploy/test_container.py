"""The container file and what it speaks of."""

import json
import re
import shutil
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gateway.commands import main

ROOT = Path(__file__).parents[3]
FILE = ROOT / "deploy/container/Containerfile"
LINES = re.sub(r"\\\n", " ", FILE.read_text()).splitlines()
STAGES = "\n".join(LINES).split("\nFROM ")[1:]


def values(name, lines):
    return [line.partition(" ")[2].strip() for line in lines if line.startswith(f"{name} ")]


def test_what_is_copied_exists_and_is_sent():
    (build, last) = (stage.splitlines() for stage in STAGES)
    sent = [
        line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line[:1] == "!"
    ]
    copied = [name for line in values("COPY", build) for name in line.split()[:-1]]
    assert sorted(copied) == sorted(sent)
    for name in sent:
        assert (ROOT / name).exists()
    (copy,) = values("COPY", last)
    assert copy.startswith("--from=build ")


def test_the_image_has_neither_root_nor_tools():
    last = STAGES[-1].splitlines()
    (user,) = values("USER", last)
    assert re.fullmatch(r"([1-9]\d*):\1", user)
    (run,) = values("RUN", last)
    assert not re.search(r"\b(pip|venv|gcc|g\+\+|build-essential|curl)\b", run)
    installed = re.search(r"install -d -m 700 -o (\d+) -g (\d+) (\S+)", run)
    assert f"{installed[1]}:{installed[2]}" == user
    assert values("VOLUME", last) == [installed[3]]


def test_its_extras_are_those_of_the_package():
    (extras,) = [line for line in values("ARG", LINES) if line.startswith("EXTRAS=")]
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras.removeprefix("EXTRAS=").split(",")) <= set(known)


def test_the_image_starts_a_command_that_there_is():
    (entry,), (words,) = values("ENTRYPOINT", LINES), values("CMD", LINES)
    command, *arguments = json.loads(words)
    assert json.loads(entry) == ["gateway"]
    assert command in main.list_commands(click.Context(main))
    assert arguments == ["--config", "/etc/policy-gateway/gateway.yaml"]


@pytest.mark.parametrize("command", [["config", "check"], ["policy", "test"]])
def test_its_configuration_is_good(tmp_path, monkeypatch, command):
    shutil.copy(ROOT / "deploy/container/gateway.yaml", tmp_path)
    shutil.copytree(ROOT / "gateway/commands/template/policies", tmp_path / "policies")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert "warning" not in result.output
