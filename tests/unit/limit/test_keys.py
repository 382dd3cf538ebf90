import pytest

from gateway.limit.keys import digest, network, seed
from gateway.model import Quota

QUOTA = Quota(requests=10, per=60.0, burst=10)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["ab", "c"], ["a", "bc"]),
        (["a", ""], ["a"]),
        (["1:a"], ["1", "a"]),
        (["\ud800"], ["?"]),
    ],
)
def test_no_two_lists_of_parts_have_one_key(one, other):
    assert digest(seed("x", QUOTA), one) != digest(seed("x", QUOTA), other)


def test_another_quota_begins_to_count_anew():
    other = Quota(requests=9, per=60.0, burst=10)
    assert digest(seed("x", QUOTA), ["a"]) != digest(seed("x", other), ["a"])


def test_another_limit_counts_apart():
    assert digest(seed("x", QUOTA), ["a"]) != digest(seed("y", QUOTA), ["a"])


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_addresses_are_counted_by_network(address, counted):
    assert network(address, 64) == counted
