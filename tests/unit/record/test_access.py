from __future__ import annotations

import pytest

from gateway.errors import Code
from gateway.model import Principal
from gateway.record import access
from gateway.record.event import build
from gateway.record.mask import Mask
from tests.support.recording import early, exchange, forward, head, refuse

JWS = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


def line_of(outcome, mask=Mask(), **changes):
    return access.line(mask.apply(build(outcome, exchange(**changes), labels={}))).decode()


def test_forwarded():
    assert line_of(forward()) == (
        "2026-09-21T14:13:20.250000Z 10.0.0.7 GET /orders/42 200 - 7 12.500 native alice d-1"
    )


def test_refused():
    outcome = refuse(Code.TOKEN_EXPIRED, principal=None, document=None, decision=None)
    assert line_of(outcome, status=401) == (
        "2026-09-21T14:13:20.250000Z 10.0.0.7 GET /orders/42 401 token-expired 7 12.500"
        " native - d-1"
    )


@pytest.mark.parametrize(
    ("raw", "written"),
    [
        (b"/a b", r"/a\x20b"),
        (b'/"\r\n200 ok', r"/\x22\x0d\x0a200\x20ok"),
        (b"/\\x20", r"/\\x20"),
        (b"/\xc3\xa9\x9b", r"/\xc3\xa9\x9b"),
        (b"/" + b"x" * 5000, "/" + "x" * (access.MAX_FIELD - 1) + "..."),
        (b"", "-"),
        (f"/{JWS}".encode(), "/[erased]"),
    ],
)
def test_path_is_one_printable_field(raw, written):
    line = line_of(early(Code.BAD_PATH, head=head(raw_path=raw)), status=400)
    assert line.split(" ")[3] == written
    assert len(line.split(" ")) == len(access.FIELDS)


def test_subject_is_one_printable_field():
    principal = Principal(authenticated=True, issuer="corp", subject="a b\nc\u202e\ud800")
    fields = line_of(forward(principal=principal)).split(" ")
    assert fields[access.FIELDS.index("subject")] == r"a\x20b\x0ac\u202e\ud800"


def test_what_is_masked_in_the_event_is_not_in_the_line():
    line = line_of(forward(), mask=Mask(pointers=(("subject",), ("requested_by",), ("metrics",))))
    assert line == "2026-09-21T14:13:20.250000Z - GET /orders/42 200 - 7 0.000 native - d-1"
