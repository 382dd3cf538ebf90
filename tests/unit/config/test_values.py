"""Sizes, durations and counts, and what is told of others."""

from decimal import Decimal

from fractions import Fraction

import pytest

from gateway.config import values
from gateway.config.values import Malformed, described


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("0", 0), ("64KiB", 65536), (" 10 mib ", 10485760), ("1GiB", 2**30), (7, 7)],
)
def test_sizes(text, bytes_):
    assert values.size(text) == bytes_


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("64k", "write 64KiB"), ("64kb", "write 64KiB"), ("1MB", "write 1MiB"),
        ("1Gi", "write 1GiB"), ("1.5MiB", "write 1536KiB"), ("0.5GiB", "write 512MiB"),
        ("1.5MB", "write a whole number"), ("10XB", ""), ("big", ""), ("", ""), ("1.5", ""),
        ("9" * 5000, ""),
    ],
)  # fmt: skip
def test_other_sizes(text, remedy):
    with pytest.raises(Malformed, match="expected a size in bytes") as caught:
        values.size(text)
    assert caught.value.remedy == remedy


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("500ms", 0.5),
        ("1.5m", 90.0),
        ("1d", 86400.0),
        (2.5, 2.5),
        (Decimal("0.1"), Decimal("0.1")),
    ],
)
def test_durations(text, seconds):
    assert values.duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("5min", "write 5m"), ("30 sec", "write 30s"), ("5S", "write 5s"), ("2 hours", "write 2h"),
        ("100 msec", "write 100ms"), ("1h30m", "write 5400s"), ("1m 30s", "write 90s"),
        ("5x", ""), ("soon", ""), ("", ""), ("PT5M", ""), ("5 minutes or so", ""), ("1h5x", ""),
    ],
)  # fmt: skip
def test_other_durations(text, remedy):
    with pytest.raises(Malformed, match="expected seconds, or a duration with a unit") as caught:
        values.duration(text)
    assert caught.value.remedy == remedy


@pytest.mark.parametrize(
    ("read", "value", "most"),
    [
        (values.size, 2**50, "1024GiB"), (values.size, "9" * 30 + "GiB", "1024GiB"),
        (values.duration, 1e300, "36500d"), (values.duration, "9" * 30 + "d", "36500d"),
        (values.count, 10**30, "2147483647"), (values.count, 1e99, "2147483647"),
        (values.count, Decimal("1.000000000000000000000001e300"), "2147483647"),
    ],
)  # fmt: skip
def test_more_than_anybody_means(read, value, most):
    with pytest.raises(Malformed, match=f"expected at most {most}"):
        read(value)


@pytest.mark.parametrize("read", [values.size, values.duration, values.count])
def test_true_is_no_number(read):
    with pytest.raises(Malformed, match="expected a number, got true or false"):
        read(True)


@pytest.mark.parametrize("given", [None, ["1"], {"a": 1}])
def test_other_kinds_of_value(given):
    for read in (
        (values.size, values.duration, values.many)
        if not isinstance(given, list)
        else (values.size,)
    ):
        with pytest.raises(Malformed, match=f"got {described(given)}"):
            read(given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "nothing"), (True, "true"), (3, "a number"), (10**400, "a number"), (2.5, "a fraction"),
        (Decimal("1.5e2"), "a number"), ("s3cret", "text"), ("", "empty text"),
        ({}, "a mapping"), ([], "a list"), (object(), "something else"),
    ],
)  # fmt: skip
def test_how_values_are_spoken_of(given, said):
    assert described(given) == said


@pytest.mark.parametrize(
    ("text", "part"),
    [("0%", 0), ("100%", 1), ("5%", Fraction(1, 20)), (" 0.5 % ", Fraction(1, 200)), ("012.5%", Fraction(1, 8))],
)  # fmt: skip
def test_shares(text, part):
    assert values.fraction(values.share(text)) == part


@pytest.mark.parametrize(
    "given", [5, 0.05, "5", "-1%", "101%", "100.1%", "1e1%", "5 %%", "", "%", True, None, ["5%"]]
)
def test_what_is_no_share(given):
    """A number alone could be a part of 1 or of 100."""
    with pytest.raises(Malformed, match="share in percent"):
        values.share(given)
