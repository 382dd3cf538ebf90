"""What a supervisor sends its workers."""

import os
import pickle

import pytest

from gateway.jose.sign import generate
from gateway.serve.edition import Edition, share
from gateway.snapshot import build, read
from tests.support.gateway import policy_for, write

KEY = generate("ES256")


@pytest.fixture
def candidate(tmp_path):
    config = {
        "limits": {"connections": 1001},
        "upstreams": {"service": {"max_connections": 5, "max_pending": 0}},
        "routes": [
            {"id": "named", "paths": ["/a"], "upstream": "service"},
            {"id": "by-url", "paths": ["/b"], "upstream": "http://127.0.0.1:7"},
        ],
    }
    return read(write(tmp_path, KEY, "http://127.0.0.1:1", config=config), os.environ)


def test_each_worker_has_its_share(candidate):
    config = share(candidate.loaded.config, 4)
    assert config.limits.connections == 251
    named, by_url = config.upstreams["service"], config.upstreams["http://127.0.0.1:7"]
    assert (named.max_connections, named.max_pending) == (2, 0)
    assert named.retries.budget_per_second == 3
    assert (by_url.max_connections, by_url.max_pending) == (64, 256)


def test_a_worker_builds_the_same_without_compiling(candidate, monkeypatch):
    snapshot = build(candidate, now=0.0)
    edition = Edition(1, candidate, snapshot, workers=2)
    order = pickle.loads(edition.order(frozenset()))
    programs = {digest: pickle.loads(pickled) for digest, pickled in order.programs.items()}
    monkeypatch.setattr("gateway.policy_sets.compile_all", None)
    made = build(order.candidate, now=0.0, programs=programs)
    assert made.revision == snapshot.revision
    assert made.config_revision == snapshot.config_revision
    assert made.named == snapshot.named
    assert made.programs == snapshot.programs
    assert {one.max_connections for one in made.forwarder.upstreams} == {3, 128}


def test_a_program_is_sent_once(candidate, tmp_path):
    first = build(candidate, now=0.0)
    (tmp_path / "policies" / "data.json").write_text('{"a": 1}')
    other = read(tmp_path / "gateway.yaml", os.environ)
    second = build(other, now=0.0, previous=first)
    edition = Edition(2, other, second, workers=2)
    assert pickle.loads(edition.order(frozenset(first.programs))).programs == {}
    assert pickle.loads(edition.order(frozenset())).programs.keys() == first.programs.keys()
    (tmp_path / "policies" / "authz.rego").write_text(policy_for("writer"))
    third = read(tmp_path / "gateway.yaml", os.environ)
    built = build(third, now=0.0, previous=second)
    order = pickle.loads(Edition(3, third, built, workers=2).order(frozenset(first.programs)))
    assert order.programs.keys() == built.programs.keys() != first.programs.keys()
