"""The systemd unit, as systemd itself reads it, and the configuration beside it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.commands import main
from gateway.config.load import load

FOLDER = Path(__file__).parents[3] / "deploy/systemd"
UNIT = FOLDER / "policy-gateway.service"
CONFIG = FOLDER / "gateway.yaml"
POLICIES = FOLDER.parents[1] / "gateway/commands/template/policies"
EXPOSURE = 15
"""Tenths: what `systemd-analyze security` may find at most; 0 is a service that can do nothing."""

analyze = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed (systemd)"
)


def settings(name):
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.M)


@pytest.fixture
def installed(tmp_path):
    """The unit where its program exists; systemd asks for that."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/policy-gateway/bin/gateway", "/bin/true"))
    return copy


def run(*command):
    done = subprocess.run(["systemd-analyze", *map(str, command)], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@analyze
@pytest.mark.parametrize("drop_in", [None, "low-ports.conf"])
def test_systemd_finds_no_fault(installed, drop_in):
    if drop_in:
        folder = installed.with_name(f"{installed.name}.d")
        folder.mkdir()
        shutil.copy(FOLDER / drop_in, folder)
    assert run("verify", "--man=no", installed) == (0, "")


@analyze
def test_systemd_calls_it_hardened(installed):
    code, said = run("security", "--offline=true", f"--threshold={EXPOSURE}", installed)
    assert code == 0, said


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """The configuration as it is installed, with what systemd hands to it."""
    credentials, state = tmp_path / "credentials", tmp_path / "state"
    for folder in (credentials, state):
        folder.mkdir()
    for line in settings("LoadCredential"):
        name, _, source = line.partition(":")
        assert source == f"/etc/policy-gateway/secrets/{name}"
        (credentials / name).write_text("s3cret\n")
        (credentials / name).chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    monkeypatch.setenv("STATE_DIRECTORY", str(state))
    shutil.copy(CONFIG, tmp_path)
    shutil.copytree(POLICIES, tmp_path / "policies")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", [["config", "check"], ["policy", "test"]])
def test_its_configuration_is_good(machine, command):
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert "warning" not in result.output


def test_a_drain_fits_into_the_time_that_systemd_gives(machine):
    limits = load(machine / "gateway.yaml", os.environ).config.limits
    (seconds,) = settings("TimeoutStopSec")
    assert limits.drain_delay + limits.drain_timeout + 15 <= float(seconds)
