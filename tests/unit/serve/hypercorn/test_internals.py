"""The subclasses know the insides of these modules: a change has to be looked at."""

from __future__ import annotations

import hashlib
import inspect
from importlib import import_module
from importlib.metadata import version

import h2.connection
import h11
import pytest
from h11._receivebuffer import ReceiveBuffer

from gateway.serve.hypercorn.http2 import FlowBuffer

DIGESTS = {
    "hypercorn.config": "a10e8c834fefe6bc",
    "hypercorn.events": "d62b2f03f0ed7f78",
    "hypercorn.logging": "7947f4d8c23963f9",
    "hypercorn.utils": "e359430514f0de83",
    "hypercorn.asyncio.worker_context": "b1f2929943535272",
    "hypercorn.protocol.events": "d22d1846c7821b3f",
    "hypercorn.protocol.h11": "5d2cfe635578adc6",
    "hypercorn.protocol.h2": "4023f69abd2239e5",
    "hypercorn.protocol.http_stream": "b28bb59de67f2f28",
    "hypercorn.protocol.ws_stream": "5eb34e4ac40b06f5",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_source_is_the_one_that_was_adapted(name: str) -> None:
    source = inspect.getsource(import_module(name))
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    assert digest == DIGESTS[name], (
        f"{name} of Hypercorn {version('hypercorn')} has changed: compare it with "
        "gateway/serve/hypercorn and docs/servers.md, then write the new digest here"
    )


def test_private_names_that_are_used_exist() -> None:
    connection = h11.Connection(h11.SERVER)
    assert len(connection._receive_buffer) == 0
    assert {"maybe_extract_lines", "maybe_extract_next_line"} <= vars(ReceiveBuffer).keys()
    assert callable(connection._process_error)
    assert connection.client_is_waiting_for_100_continue is False
    assert {"buffer", "_complete", "_paused", "_is_empty"} <= set(
        FlowBuffer.__mro__[1].__init__.__code__.co_names
    )
    assert h2.connection.H2Connection().decoder.max_header_list_size == 65536
