"""Policy sets beside the enforced one: built with it, and never in its way."""

import pytest

from gateway import policy_sets
from gateway.errors import ConfigError
from gateway.jose.sign import generate
from gateway.rego.compiler import compile_all
from gateway.rego.errors import CompileError, RegoProblem
from gateway.snapshot import build, read
from tests.support.gateway import POLICY, configured, policy_for, write

BESIDE = {
    "policy": {"shadow": {"paths": ["beside"]}, "canary": {"paths": ["beside"], "share": "5%"}}
}
NAMES = ("canary", "shadow")


@pytest.fixture
def path(tmp_path):
    """A configuration with a canary and a shadow for writers, both of one folder."""
    made = write(tmp_path, generate("ES256"), "http://127.0.0.1:1", config=BESIDE)
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "authz.rego").write_text(policy_for("writer"))
    return made


def built(path, **options):
    return build(read(path, {}), now=0.0, **options)


def test_all_sets_are_built_at_once(path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        policy_sets, "compile_all",
        lambda units, **options: asked.append(len(units)) or compile_all(units, **options),
    )  # fmt: skip
    snapshot = built(path)
    assert asked == [3]
    assert snapshot.faults == {}
    assert snapshot.canary.revision == snapshot.shadow.revision != snapshot.revision
    # What does not change is not compiled again.
    again = built(path, previous=snapshot)
    assert asked == [3, 0]
    assert again.canary.decider.policy.program is snapshot.canary.decider.policy.program
    (path.parent / "beside" / "authz.rego").write_text(policy_for("auditor"))
    changed = built(path, previous=snapshot)
    assert asked == [3, 0, 2]
    assert (changed.revision, changed.canary.revision == snapshot.canary.revision) == (
        snapshot.revision, False,
    )  # fmt: skip


def test_every_set_changes_the_digest(path):
    before = read(path, {}).digest
    beside = path.parent / "beside" / "authz.rego"
    beside.write_text(policy_for("auditor"))
    after = read(path, {}).digest
    beside.unlink()
    beside.parent.rmdir()
    assert len({before, after, read(path, {}).digest}) == 3


def removed(folder):
    (folder / "authz.rego").unlink()
    folder.rmdir()


def emptied(folder):
    (folder / "authz.rego").unlink()


def text(content, name="authz.rego"):
    return lambda folder: (folder / name).write_text(content)


FAULTS = {
    "no folder": (removed, "beside"),
    "no module": (emptied, "no .rego file in policy.{name}.paths"),
    "no Rego": (text(POLICY + "\nbroken := \n"), "authz.rego:9"),
    "no UTF-8": (lambda folder: (folder / "authz.rego").write_bytes(b"\xff"), "not UTF-8"),
    "bad data": (text('{"a": 1, "a": 2}', "data.json"), "data.json"),
    "data where a rule is": (text('{"gateway": {"authz": {"decision": 1}}}', "data.json"), "decision"),
    "no entrypoint": (text("package other\n\na := 1\n"), "no policy defines gateway/authz/decision"),
    "a failing test": (text("package t\n\ntest_no if 1 == 2\n", "a_test.rego"), "test_no: fail"),
    "a test that is broken": (text("package t\n\ntest_no if nothing(1)\n", "a_test.rego"), "a_test.rego"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_set_is_told_and_hinders_nobody(path, fault):
    breaks, said = FAULTS[fault]
    breaks(path.parent / "beside")
    snapshot = built(path)
    assert (snapshot.canary, snapshot.shadow) == (None, None)
    assert set(snapshot.faults) == set(NAMES)
    for name in NAMES:
        told = " ".join(map(str, snapshot.faults[name]))
        assert f"{name}: " in told
        assert said.format(name=name) in told


def test_a_broken_enforced_set_is_refused_whatever_is_beside(path):
    (path.parent / "policies" / "authz.rego").write_text(POLICY + "\nbroken := \n")
    with pytest.raises(ConfigError, match=r"policies/authz\.rego:9") as caught:
        built(path)
    assert len(caught.value.problems) == 1
    removed(path.parent / "beside")
    with pytest.raises(ConfigError, match=r"policies/authz\.rego:9"):
        built(path)


def test_a_set_that_takes_the_compiler_down_takes_only_itself(path, monkeypatch):
    crash = CompileError(
        (RegoProblem(file="", row=0, col=0, code="compiler-crash", message="stopped", remedy=""),)
    )

    def crashing(units, **options):
        if len(units) > 1:
            return [crash] * len(units)
        return compile_all(units, **options)

    monkeypatch.setattr(policy_sets, "compile_all", crashing)
    snapshot = built(path)
    assert snapshot.decider.policy is not None
    assert set(snapshot.faults) == set(NAMES)


def test_a_fault_of_ours_in_a_set_hinders_nobody(path, monkeypatch, caplog):
    def failing(found, now):
        if "writer" in str(found.policies.modules):
            raise RuntimeError("a fault of ours")
        return {}

    monkeypatch.setattr(policy_sets.PolicySet, "tested", failing)
    snapshot = built(path)
    assert set(snapshot.faults) == set(NAMES)
    assert "the gateway failed" in str(snapshot.faults["canary"][0])
    assert "a fault of ours" in caplog.text


def test_the_shadow_has_a_work_limit_of_its_own(path):
    assert built(path).shadow.decider.steps == 1_000_000
    path.write_text(configured(path.read_text(), {"policy": {"shadow": {"steps": 5000}}}))
    snapshot = built(path)
    assert (snapshot.shadow.decider.steps, snapshot.decider.steps) == (5000, 1_000_000)
