"""What a claim becomes in a header can be read in one way, and injects nothing."""

import re
from dataclasses import replace
from decimal import Decimal
from urllib.parse import unquote

from hypothesis import given, strategies as st

from gateway.config.model import IdentityHeader
from gateway.errors import Code, ForwardError
from gateway.forward.identity import WRITERS, identity_lines
from gateway.jose import base64url
from gateway.jose.strict_json import loads
from tests.support.stages import ALICE

FIELD = re.compile(rb"[!-~](?:[ -~]*[!-~])?")
TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(',%\r\n\0 \t"\\'))
NUMBERS = st.integers() | st.decimals(allow_nan=False, allow_infinity=False, places=3)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXT, inner, max_size=6),
    max_leaves=12,
)
HOW = st.sampled_from(sorted(WRITERS, key=str))
LISTS = st.sampled_from(sorted(how for how in WRITERS if how[1]))


def written(how, claim):
    """The lines of a claim; None where it is refused."""
    encoding, lists = how
    header = IdentityHeader(value="claims.c", encoding=encoding, lists=lists)
    try:
        found = identity_lines({"x-a": header})(replace(ALICE, claims={"c": claim}))
    except ForwardError as error:
        assert error.code in (Code.IDENTITY_UNSENDABLE, Code.IDENTITY_TOO_LARGE)
        return None
    assert {name for name, _ in found} <= {b"x-a"}
    return [value for _, value in found]


@given(HOW, JSON)
def test_every_line_is_a_field_value_and_no_more(how, claim):
    for line in written(how, claim) or []:
        assert FIELD.fullmatch(line)
        assert how[0] == "plain" or b" " not in line


@given(JSON)
def test_json_comes_back_as_it_was(claim):
    (line,) = written(("base64url-json", None), claim)
    assert same(loads(base64url.decode(line)), claim)


def same(one, other):
    """Whether two JSON values are equal, true and 1 told apart."""
    if isinstance(other, list):
        return isinstance(one, list) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in other)
    if isinstance(other, bool | None | str):
        return one is other if not isinstance(other, str) else one == other
    return not isinstance(one, bool) and Decimal(str(one)) == Decimal(str(other))


@given(TEXT)
def test_text_comes_back_as_it_was(text):
    percent = written(("percent", None), text)
    assert [unquote(line.decode()) for line in percent] == ([text] if text else [])
    plain = written(("plain", None), text)
    assert plain is None or [line.decode() for line in plain] == ([text] if text else [])
    assert (plain is not None) is (not text or bool(FIELD.fullmatch(text.encode())))


@given(LISTS, st.lists(TEXT.filter(bool), max_size=8))
def test_a_list_comes_back_as_it_was(how, items):
    lines = written(how, items)
    if lines is None:
        assert how[0] == "plain"
        return
    # As RFC 9110 §5.6.1 has it, whatever an intermediary makes of the lines.
    found = [each for each in b",".join(lines).decode().split(",") if each]
    assert [unquote(each) if how[0] == "percent" else each for each in found] == items


@given(LISTS, TEXT.filter(bool), st.lists(TEXT.filter(bool), min_size=2, max_size=4))
def test_no_text_looks_like_a_list(how, text, items):
    one, several = written(how, text), written(how, items)
    assert one is None or several is None or b",".join(one) != b",".join(several)
