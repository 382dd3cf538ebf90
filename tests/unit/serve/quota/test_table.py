import multiprocessing
import os
from itertools import count

from hypothesis import given, strategies as st

from gateway.limit.algorithm import step
from gateway.model import Charge, Quota
from gateway.serve.quota import Table
from gateway.serve.quota.table import PAUSE

NOW = 1000.0
QUOTA = Quota(requests=5, per=60.0, burst=5)


def charge(name, quota=QUOTA, cost=1):
    return Charge(limit=name, key=name.encode().ljust(16, b"."), quota=quota, cost=cost)


def allowed(table, *charges, now=NOW):
    return all(one.allowed for one in table.take(charges, now).standings)


def test_keys_are_counted_apart():
    table = Table.create(1024)
    assert [allowed(table, charge("a")) for _ in range(6)] == [True] * 5 + [False]
    assert allowed(table, charge("b"))


def test_all_charges_are_taken_or_none():
    table = Table.create(1024)
    small, large = charge("small", Quota(requests=1, per=60.0)), charge("large")
    assert allowed(table, small, large)
    taken = [table.take((small, large), NOW) for _ in range(20)]
    assert not any(one.allowed for each in taken for one in each.standings[:1])
    assert [allowed(table, large) for _ in range(5)] == [True] * 4 + [False]


def test_new_keys_of_one_request_have_a_place_each():
    table = Table.create(8)  # a single row
    charges = [charge(str(number)) for number in range(8)]
    table.take(charges, NOW)
    assert [one.remaining for one in table.take(charges, NOW).standings] == [3] * 8


def test_where_memory_is_full_the_one_goes_that_is_forgotten_soonest():
    table = Table.create(8)
    for number in range(8):
        for _ in range(number + 1 if number < 5 else 5):
            table.take([charge(str(number))], NOW)
    table.take([charge("new")], NOW)
    assert table.evicted == 1
    assert table.take([charge("7")], NOW).standings[0].remaining == 0
    assert table.take([charge("0")], NOW).standings[0].remaining == 4  # forgotten


def test_a_place_is_free_when_its_key_is_forgotten():
    table = Table.create(8)
    for number in range(80):
        table.take([charge(str(number))], NOW + 100 * number)
    assert table.evicted == 0


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0, 30)), max_size=80))
def test_a_table_counts_as_the_algorithm_does(requests):
    table, states, now = Table.create(4096), {}, NOW
    for name, gap in requests:
        now += gap
        state, *said = step(states.get(name, (0.0, 0.0, 0.0)), QUOTA, 1, now)
        states[name] = state
        (standing,) = table.take([charge(name)], now).standings
        assert (standing.allowed, standing.remaining, standing.reset) == tuple(said[:3])
    table.close()


def _spend(fd, results):
    table = Table(os.dup(fd), shared=True)
    results.put(sum(allowed(table, charge("a", Quota(requests=500, per=1e6, burst=500)))
                    for _ in range(400)))  # fmt: skip


def test_processes_that_share_a_table_give_no_more_than_one():
    context = multiprocessing.get_context("fork")
    table = Table.create(1024, shared=True)
    results = context.Queue()
    workers = [context.Process(target=_spend, args=(table.fd, results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    given_ = sum(results.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join()
    assert given_ == 500


def test_a_worker_that_dies_holding_the_table_does_not_stop_the_others():
    context = multiprocessing.get_context("fork")
    table = Table.create(1024, shared=True)

    def die():
        with table._lock():
            os._exit(9)

    worker = context.Process(target=die)
    worker.start()
    worker.join()
    assert allowed(table, charge("a"))


def test_a_table_that_stays_locked_is_an_error_within_its_deadline(monkeypatch):
    context = multiprocessing.get_context("fork")
    table = Table.create(1024, shared=True)
    held, release = context.Event(), context.Event()

    def hold():
        with table._lock():
            held.set()
            release.wait(60)

    worker = context.Process(target=hold)
    worker.start()
    try:
        assert held.wait(60)
        assert table.take([charge("a")], NOW).error
        # Nobody waits for it again and again, and it is asked again by and by.
        monkeypatch.setattr(table, "_lock", None)
        assert table.take([charge("a")], NOW + PAUSE / 2).error
        monkeypatch.undo()
        assert table.take([charge("a")], NOW + PAUSE).error
    finally:
        release.set()
        worker.join()
    assert allowed(table, charge("a"), now=NOW + 3 * PAUSE)


def test_nobody_knows_which_keys_share_a_row():
    one, other = Table.create(4096), Table.create(4096)
    keys = [charge(str(number)).key for number in range(200)]
    rows = [[table._find(key, ())[0] for key in keys] for table in (one, other)]
    assert rows[0] != rows[1]
    again = Table(os.dup(one.fd), shared=True)
    assert [again._find(key, ())[0] for key in keys] == rows[0]


def test_a_flood_of_keys_is_bounded():
    table = Table.create(64)
    for number in zip(count(), range(10_000), strict=False):
        table.take([charge(str(number[0]))], NOW)
    assert len(table._memory) == 64 * 48 + 16
