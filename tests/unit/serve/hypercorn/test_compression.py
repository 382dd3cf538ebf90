"""The table that responses' heads are compressed with."""

from __future__ import annotations

import pytest
from hpack import Decoder

from gateway.serve.hypercorn.compression import (
    LARGEST_TABLE,
    SINGULAR,
    BoundedEncoder,
    compressible,
)


@pytest.mark.parametrize("sizes", [[2**32 - 1], [65536, 100, 2**31], [0, 0], [100, 100], [4096]])
def test_client_may_only_make_the_table_smaller(sizes: list[int]) -> None:
    encoder, decoder = BoundedEncoder(), Decoder()
    decoder.max_allowed_table_size = 2**32 - 1
    for size in sizes:
        encoder.header_table_size = size
    assert encoder.header_table_size == min(sizes[-1], LARGEST_TABLE)
    decoder.decode(encoder.encode([(b"a", b"b")]))
    assert decoder.header_table_size == encoder.header_table_size  # it was told
    for number in range(1000):
        lines = [(b"x-number", b"%d" % number)]
        assert decoder.decode(encoder.encode(lines), raw=True) == lines
    entries = encoder.header_table.dynamic_entries
    assert sum(32 + len(name) + len(value) for name, value in entries) <= LARGEST_TABLE


@pytest.mark.parametrize("name", sorted(SINGULAR) + [b"X-Decision-Id"])
def test_what_is_singular_enters_no_table(name: bytes) -> None:
    encoder = BoundedEncoder()
    block = encoder.encode(compressible([(name, b"1"), (b"vary", b"accept")]))
    assert list(encoder.header_table.dynamic_entries) == [(b"vary", b"accept")]
    assert not Decoder().decode(block)[0].indexable
