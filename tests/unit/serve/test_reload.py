"""What is kept of a good candidate, and when it is used."""

import json

import pytest

from gateway.errors import ConfigError
from gateway.jose.sign import generate
from gateway.serve.reload import keep, last_good, start
from gateway.snapshot import read
from tests.support.gateway import POLICY, policy_for, write

BROKEN = POLICY + "\nbroken := \n"


@pytest.fixture
def kept(tmp_path):
    """A configuration that was kept for writers and is broken now; the file that keeps it."""
    path = write(tmp_path, generate("ES256"), "http://127.0.0.1:1", policy=policy_for("writer"))
    keep(read(path, {}))
    (tmp_path / "policies" / "authz.rego").write_text(BROKEN)
    return last_good(tmp_path / ".gateway", path)


def begun(kept):
    return start(kept.parent.parent / "gateway.yaml", {})


def refused(kept):
    with pytest.raises(ConfigError, match=r"authz\.rego:9"):
        begun(kept)


def test_a_broken_candidate_is_replaced(kept):
    found = begun(kept)
    assert found.problems[0].line == 9
    assert found.kept_at > 0
    assert "writer" in next(iter(found.snapshot.policies.modules.values()))
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700


def test_another_configuration_is_not_started(kept):
    other = kept.parent.parent / "other.yaml"
    other.write_bytes((kept.parent.parent / "gateway.yaml").read_bytes())
    with pytest.raises(ConfigError):
        start(other, {})
    last_good(kept.parent, other).write_bytes(kept.read_bytes())
    last_good(kept.parent, other).chmod(0o600)
    with pytest.raises(ConfigError):
        start(other, {})


def test_what_others_may_have_written_is_not_used(kept, caplog):
    kept.chmod(0o620)
    refused(kept)
    assert "others may have written it" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        lambda _: [],
        lambda _: {},
        lambda kept: {**kept, "files": ["a"]},
        lambda kept: {**kept, "files": {"0:authz.rego": 1}},
        lambda kept: {**kept, "config": None},
        lambda kept: {**kept, "config": "routes: 1"},
        lambda kept: {**kept, "kept_at": "now"},
        lambda kept: {**kept, "files": {"7:authz.rego": POLICY}},
        lambda kept: {**kept, "files": {"authz.rego": POLICY}},
        lambda kept: {**kept, "files": {"0:authz.rego": BROKEN}},
    ],
)
def test_what_is_damaged_is_not_used(kept, change, caplog):
    kept.write_text(json.dumps(change(json.loads(kept.read_text()))))
    refused(kept)
    assert "cannot be used" in caplog.text


def test_a_state_folder_that_cannot_be_made_is_no_fault(tmp_path, caplog):
    (tmp_path / "state").write_text("a file")
    config = {"policy": {"state": "state"}}
    path = write(tmp_path, generate("ES256"), "http://127.0.0.1:1", config=config)
    keep(start(path, {}).candidate)
    assert "cannot be kept" in caplog.text
