"""What is kept of a good candidate, and when it is used."""

import json

import pytest

from gateway.errors import ConfigError
from gateway.jose.sign import generate
from gateway.serve.reload import start
from gateway.serve.revisions import MAX_LINE, Pin, Store, check_places
from gateway.snapshot import build, candidate_of, read
from tests.support.gateway import POLICY, configured, policy_for, write

BROKEN = POLICY + "\nbroken := \n"


@pytest.fixture
def kept(tmp_path):
    """A configuration that was kept for writers and is broken now; the file that keeps it."""
    path = write(tmp_path, generate("ES256"), "http://127.0.0.1:1", policy=policy_for("writer"))
    keep(path)
    (tmp_path / "policies" / "authz.rego").write_text(BROKEN)
    (file,) = (tmp_path / ".gateway" / "gateway.yaml.revisions").iterdir()
    return file


def keep(path, now=1_790_000_000.0):
    """Keep what is on disk; its revision."""
    candidate = read(path, {})
    revision = build(candidate, now=now).revision
    Store.of(candidate.loaded).keep(candidate, revision, now=now)
    return revision


def begun(kept):
    return start(kept.parents[2] / "gateway.yaml", {})


def refused(kept):
    with pytest.raises(ConfigError, match=r"authz\.rego:9"):
        begun(kept)


def test_a_broken_candidate_is_replaced(kept):
    found = begun(kept)
    assert found.problems[0].line == 9
    assert found.kept_at > 0
    assert "writer" in next(iter(found.snapshot.policies.modules.values()))
    assert kept.stat().st_mode & 0o777 == 0o600
    for folder in kept.parents[:2]:
        assert folder.stat().st_mode & 0o777 == 0o700


def test_another_configuration_is_not_started(kept, caplog):
    folder = kept.parents[2]
    other = folder / "other.yaml"
    other.write_bytes((folder / "gateway.yaml").read_bytes())
    with pytest.raises(ConfigError):
        start(other, {})
    kept.parent.rename(kept.parents[1] / "other.yaml.revisions")
    with pytest.raises(ConfigError):
        start(other, {})
    assert "another configuration's" in caplog.text


def test_what_others_may_have_written_is_not_used(kept, caplog):
    kept.chmod(0o620)
    refused(kept)
    assert "others may have written it" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        lambda first, second: ([], second),
        lambda first, second: ({}, second),
        lambda first, second: ({**first, "kept_at": "now"}, second),
        lambda first, second: (first, {}),
        lambda first, second: (first, {**second, "files": ["a"]}),
        lambda first, second: (first, {**second, "files": {"0:authz.rego": 1}}),
        lambda first, second: (first, {**second, "files": {"0:authz.rego": POLICY}}),
        lambda first, second: (first, {**second, "config": None}),
        lambda first, second: (first, {**second, "config": "routes: 1"}),
    ],
)
def test_what_is_damaged_is_not_used(kept, change, caplog):
    changed = change(*map(json.loads, kept.read_text().split("\n")))
    kept.write_text("\n".join(map(json.dumps, changed)))
    refused(kept)
    assert "cannot be used" in caplog.text


@pytest.mark.parametrize("name", ["7:authz.rego", "authz.rego"])
def test_files_of_paths_that_are_not_named_are_not_used(tmp_path, name):
    path = write(tmp_path, generate("ES256"), "http://127.0.0.1:1")
    loaded = read(path, {}).loaded
    with pytest.raises(ConfigError, match=r"gateway\.yaml:\d+.*policy\.paths: .*other paths"):
        check_places({name: b""}, loaded)


def test_a_state_folder_that_cannot_be_made_is_no_fault(tmp_path, caplog):
    (tmp_path / "state").write_text("a file")
    config = {"policy": {"state": "state"}}
    path = write(tmp_path, generate("ES256"), "http://127.0.0.1:1", config=config)
    keep(path)
    assert "cannot be kept" in caplog.text


@pytest.fixture
def three(tmp_path):
    """A configuration, and the revisions of three policies that served one after the other."""
    path = write(tmp_path, generate("ES256"), "http://127.0.0.1:1")
    made = []
    for number, role in enumerate(("a", "b", "c")):
        (tmp_path / "policies" / "authz.rego").write_text(policy_for(role))
        made.append(keep(path, now=100.0 + number))
    return path, made


def store_of(path):
    return Store.of(read(path, {}).loaded)


def test_revisions_are_kept_the_newest_first(three):
    path, (a, b, c) = three
    store = store_of(path)
    assert [(each.revision, each.kept_at) for each in store.history()] == [
        (c, 102.0), (b, 101.0), (a, 100.0),
    ]  # fmt: skip
    assert policy_for("a").encode() in store.policy_files(a).values()
    with pytest.raises(ConfigError, match="is not kept"):
        store.policy_files("0" * 16)


def test_what_serves_again_without_a_change_of_files_is_not_new(three):
    path, (a, b, c) = three
    store, candidate = store_of(path), read(path, {})
    store.keep(candidate, c, now=200.0)  # a change of the configuration
    files = store.policy_files(a)
    rolled_back = candidate_of(candidate.loaded, candidate.config_text, files)
    store.keep(rolled_back, a, now=201.0, fresh=False)
    assert [each.revision for each in store.history()] == [c, b, a]
    assert store.last_good({})[1] == 201.0
    store.keep(candidate, c, now=202.0)  # unpinned: what is on disk comes again
    assert [(each.revision, each.kept_at) for each in store.history()][0] == (c, 202.0)


def test_a_revision_tells_what_its_bundles_named(three):
    path, (a, b, c) = three
    store, candidate = store_of(path), read(path, {})
    store.keep(candidate, c, now=200.0, bundles={"authz": "v7", "long": "r" * 5000})
    kept = store.history()
    assert [each.bundles for each in kept] == [{"authz": "v7", "long": "r" * 64}, {}, {}]
    store.keep(
        candidate, c, now=201.0, bundles={f"bundle-{n}": "\U0001f600" * 64 for n in range(9)}
    )
    assert [(each.revision, each.bundles) for each in store.history()] == [
        (c, {}),
        (b, {}),
        (a, {}),
    ]


@pytest.mark.parametrize("bundles", ["", [], 1, None])
def test_a_revision_with_damaged_bundles_is_not_used(three, bundles, caplog):
    path, (a, b, c) = three
    file = store_of(path).folder / f"{c}.json"
    first, _, second = file.read_bytes().partition(b"\n")
    file.write_bytes(
        json.dumps({**json.loads(first), "bundles": bundles}).encode() + b"\n" + second
    )
    assert [each.revision for each in store_of(path).history()] == [b, a]
    assert "is damaged" in caplog.text


def test_the_oldest_revisions_go(three):
    path, (a, b, c) = three
    store, candidate = store_of(path), read(path, {})
    files = store.policy_files(a)
    path.write_text(configured(path.read_text(), {"policy": {"history": 2}}))
    loaded = read(path, {}).loaded
    store.keep(candidate_of(loaded, b"", files), a, now=300.0, fresh=False)
    # What serves stays, however old it is.
    assert [each.revision for each in store.history()] == [c, a]


def test_all_kept_revisions_together_are_bounded(three, monkeypatch):
    path, (_, _, c) = three
    monkeypatch.setattr("gateway.serve.revisions.MAX_KEPT", 1)
    store = store_of(path)
    store.keep(read(path, {}), c, now=300.0)
    assert [each.revision for each in store.history()] == [c]


def test_a_pin_outlives_the_process(three):
    path, (a, _, c) = three
    pin = Pin(revision=a, since=5.0, by="admin token from 127.0.0.1")
    store_of(path).pin(pin)
    assert store_of(path).pin_file.stat().st_mode & 0o777 == 0o600
    begun = start(path, {})
    assert (begun.pin, begun.snapshot.revision) == (pin, a)
    (path.parent / "policies" / "authz.rego").write_text(BROKEN)
    assert start(path, {}).snapshot.revision == a  # nobody asks what is on disk
    store_of(path).unpin()
    store_of(path).unpin()
    begun = start(path, {})
    assert (begun.pin, begun.snapshot.revision) == (None, c)
    assert begun.problems  # the last good set


def test_a_pin_with_a_broken_configuration(three):
    path, (a, _, c) = three
    store_of(path).pin(Pin(revision=a, since=5.0, by="me"))
    path.write_text(path.read_text() + "nonsense: 1\n")
    begun = start(path, {})  # with the last good one
    assert (begun.snapshot.revision, begun.problems[0].key) == (a, "nonsense")
    assert begun.pin.revision == a


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("{}", 0o600, "the pin is damaged"),
        ("[]", 0o600, "the pin is damaged"),
        ("", 0o600, "the pin is damaged"),
        (None, 0o620, "others may have written it"),
        ("x" * (MAX_LINE + 1), 0o600, "larger than"),
    ],
)
def test_a_pin_that_cannot_be_read_lets_nothing_serve(three, text, mode, said):
    path, (a, _, _) = three
    store = store_of(path)
    store.pin(Pin(revision=a, since=5.0, by="me"))
    if text is not None:
        store.pin_file.write_text(text)
    store.pin_file.chmod(mode)
    with pytest.raises(ConfigError, match=said) as caught:
        start(path, {})
    assert str(store.pin_file) in caught.value.problems[0].remedy


def test_a_pinned_revision_that_is_gone_lets_nothing_serve(three):
    path, (a, _, _) = three
    store = store_of(path)
    store.pin(Pin(revision=a, since=5.0, by="me"))
    for file in store.folder.iterdir():
        file.unlink()
    with pytest.raises(ConfigError, match=f"revision {a} is not kept"):
        start(path, {})
