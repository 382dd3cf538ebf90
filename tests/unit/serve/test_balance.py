import asyncio
import os
import time

import pytest

from gateway.serve import balance
from gateway.serve.balance import CLOSED, Board, Load, Share


@pytest.fixture
def board():
    made = Board.create(3)
    yield made
    made.close()


@pytest.fixture
def pauses(monkeypatch):
    """How often somebody has waited."""
    made = []

    async def sleep(seconds):
        made.append(seconds)

    monkeypatch.setattr(balance.asyncio, "sleep", sleep)
    return made


@pytest.mark.parametrize(
    ("mine", "others", "waits"),
    [
        (0, [0, 0], False),
        (1, [0, 0], True),
        (1, [1, 5], False),
        (1, [CLOSED, CLOSED], False),
        (1, [CLOSED, 0], True),
        (18, [16, 30], False),  # who has many may have some more
        (19, [16, 30], True),
    ],
)
def test_turns(board, pauses, mine, others, waits):
    share = Share(board, 1)
    share.count(mine)
    for place, connections in zip((0, 2), others, strict=True):
        board.write(place, connections)
    asyncio.run(share.turn())
    assert bool(pauses) is waits


def test_others_see_what_one_writes(board):
    other = Board(os.dup(board.descriptor), 3)
    assert board.fewest() == 0  # nobody is there
    Share(other, 2).count(7)
    assert board.fewest() == 7
    other.close()


def test_who_is_alone_never_waits(pauses):
    load = Load()
    load.count(9)
    asyncio.run(load.turn())
    assert (load.connections, pauses) == (9, [])
