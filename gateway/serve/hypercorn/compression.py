"""How an HTTP/2 response's head is compressed (RFC 7541): in a table that stays small."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpack import Encoder, NeverIndexedHeaderTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

LARGEST_TABLE = 4096
"""Bytes, RFC 7541's own default: hpack searches the table from its one end to the other for
every field, so that a client which allows more would only make its answers slow."""

SINGULAR = frozenset({
    b"age", b"content-length", b"content-range", b"etag", b"expires", b"last-modified",
    b"location", b"set-cookie", b"traceparent", b"x-correlation-id", b"x-decision-id",
    b"x-request-id",
})  # fmt: skip
"""Fields that hardly any two responses share: in the table they would only push out those that
repeat. (A Date is the same for a second.)"""


class BoundedEncoder(Encoder):
    """An encoder whose table has at most LARGEST_TABLE bytes, whatever the client allows."""

    @property
    def header_table_size(self) -> int:
        """Bytes that the table may have; a client's SETTINGS set it, at any time."""
        return self.header_table.maxsize

    @header_table_size.setter
    def header_table_size(self, value: int) -> None:
        size = min(value, LARGEST_TABLE)
        # hpack forgets to tell the client of a change if the same size is set once more.
        if size != self.header_table.maxsize:
            self.header_table.maxsize = size
            self.table_size_changes.append(size)


def compressible(lines: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The header lines, those that are SINGULAR marked as never to be indexed (§6.2.3)."""
    return [
        NeverIndexedHeaderTuple(*line) if line[0].lower() in SINGULAR else line for line in lines
    ]
