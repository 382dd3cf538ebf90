import pytest

from gateway.errors import Code, IdentityError
from gateway.identify.credential import read
from tests.support.tokens import head

A = b"authorization"
C = b"cookie"


def outcome(*lines, header=A, cookie=b"session"):
    try:
        return read(head(*lines), header, cookie)
    except IdentityError as error:
        return error.code


CASES = {
    "none": ([], None),
    "bearer": ([(A, b"Bearer abc.def.ghi")], b"abc.def.ghi"),
    "any case": ([(A, b"bEARER abc")], b"abc"),
    "cookie": ([(C, b"a=1; session=abc; b=2")], b"abc"),
    "cookie without blanks": ([(C, b"a=1;session=abc")], b"abc"),
    "cookie on its own line": ([(C, b"a=1"), (C, b"session=abc")], b"abc"),
    "other cookies": ([(C, b"a=1; xsession=2; sessionx=3; Session=4; b=session")], None),
    "header beside other cookies": ([(A, b"Bearer abc"), (C, b"a=1")], b"abc"),
    "other headers": ([(b"x-authorization", b"Bearer abc"), (b"proxy-authorization", b"Bearer abc")], None),
    # several
    "two lines": ([(A, b"Bearer abc"), (A, b"Bearer abc")], Code.CREDENTIAL_AMBIGUOUS),
    "two lines, one empty": ([(A, b"Bearer abc"), (A, b"")], Code.CREDENTIAL_AMBIGUOUS),
    "two lines, two schemes": ([(A, b"Basic YTpi"), (A, b"Bearer abc")], Code.CREDENTIAL_AMBIGUOUS),
    "header and cookie": ([(A, b"Bearer abc"), (C, b"session=abc")], Code.CREDENTIAL_AMBIGUOUS),
    "header and empty cookie": ([(A, b"Bearer abc"), (C, b"session=")], Code.CREDENTIAL_AMBIGUOUS),
    "other scheme and cookie": ([(A, b"Basic YTpi"), (C, b"session=abc")], Code.CREDENTIAL_AMBIGUOUS),
    "two cookies": ([(C, b"session=abc; session=def")], Code.CREDENTIAL_AMBIGUOUS),
    "two cookies, one odd": ([(C, b"session=abc; session =def")], Code.CREDENTIAL_AMBIGUOUS),
    "two cookie lines": ([(C, b"session=abc"), (C, b"session=abc")], Code.CREDENTIAL_AMBIGUOUS),
    "joined": ([(A, b"Bearer abc, Bearer def")], Code.CREDENTIAL_AMBIGUOUS),
    "joined without a blank": ([(A, b"Bearer abc,Bearer def")], Code.CREDENTIAL_AMBIGUOUS),
    "joined with another scheme": ([(A, b"Bearer abc, Basic YTpi")], Code.CREDENTIAL_AMBIGUOUS),
    # malformed
    "empty": ([(A, b"")], Code.CREDENTIAL_MALFORMED),
    "scheme only": ([(A, b"Bearer")], Code.CREDENTIAL_MALFORMED),
    "scheme and blank": ([(A, b"Bearer ")], Code.CREDENTIAL_MALFORMED),
    "two blanks": ([(A, b"Bearer  abc")], Code.CREDENTIAL_MALFORMED),
    "tab": ([(A, b"Bearer\tabc")], Code.CREDENTIAL_MALFORMED),
    "blank before": ([(A, b" Bearer abc")], Code.CREDENTIAL_MALFORMED),
    "blank after": ([(A, b"Bearer abc ")], Code.CREDENTIAL_MALFORMED),
    "blank within": ([(A, b"Bearer abc def")], Code.CREDENTIAL_MALFORMED),
    "no scheme": ([(A, b"abc.def.ghi")], Code.CREDENTIAL_MALFORMED),
    "other scheme": ([(A, b"Basic YTpi")], Code.CREDENTIAL_MALFORMED),
    "DPoP": ([(A, b"DPoP abc")], Code.CREDENTIAL_MALFORMED),
    "other scheme with a list": ([(A, b'Digest a="b", c="d"')], Code.CREDENTIAL_MALFORMED),
    "no-break space": ([(A, "Bearer\u00a0abc".encode())], Code.CREDENTIAL_MALFORMED),
    "empty cookie": ([(C, b"session=")], Code.CREDENTIAL_MALFORMED),
    "cookie without value": ([(C, b"session")], Code.CREDENTIAL_MALFORMED),
    "cookie with a blank in its name": ([(C, b"session =abc")], Code.CREDENTIAL_MALFORMED),
    "cookie with a blank in its value": ([(C, b"session=abc def")], Code.CREDENTIAL_MALFORMED),
    "cookie with a blank before its value": ([(C, b"session= abc")], Code.CREDENTIAL_MALFORMED),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "expected"), CASES.values(), ids=CASES)
def test_read(lines, expected):
    assert outcome(*lines) == expected


def test_no_cookie_is_configured():
    assert outcome((C, b"session=abc"), cookie=None) is None
    assert outcome((C, b"session=abc"), (A, b"Bearer x"), cookie=None) == b"x"


def test_another_header():
    assert outcome((b"x-token", b"Bearer abc"), (A, b"Basic YTpi"), header=b"x-token") == b"abc"


def test_ambiguous_is_400_and_malformed_401():
    assert Code.CREDENTIAL_AMBIGUOUS.status == 400
    assert Code.CREDENTIAL_MALFORMED.status == 401
