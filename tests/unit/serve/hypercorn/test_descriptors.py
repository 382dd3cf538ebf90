from __future__ import annotations

import resource

import pytest

from gateway.serve.hypercorn.descriptors import raise_descriptor_limit

UNLIMITED = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "warned"),
    [
        (1024, 4096, 1000, False),
        (1024, 4096, 4096, True),
        (4096, 4096, 1000, False),
        (4096, 4096, 1793, True),
        (4096, 4096, 1792, False),
        (1024, UNLIMITED, 100_000, False),
    ],
)
def test_the_limit_is_raised_and_a_small_one_is_named(
    soft, hard, connections, warned, monkeypatch, caplog
):
    limits = [soft, hard]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.__setitem__(slice(None), new))
    raise_descriptor_limit(connections)
    assert limits == [hard, hard]
    assert bool(caplog.records) is warned
    if warned:
        assert f"limits.connections is {connections}" in caplog.text


def test_a_system_that_refuses_is_lived_with(monkeypatch, caplog):
    def refuse(_which, _new):
        raise ValueError("the system says no")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, UNLIMITED))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    raise_descriptor_limit(4096)
    assert "only 256 are allowed" in caplog.text
