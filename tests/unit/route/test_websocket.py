import pytest

from gateway.errors import Code, RouteError
from gateway.route.websocket import check_websocket
from tests.support.stages import head, route

LISTED = {"websocket": True, "websocket_origins": ["https://app.example"]}


@pytest.mark.parametrize(
    ("given", "origins", "code"),
    [
        ({}, [], Code.UPGRADE_REFUSED),
        ({"websocket": True}, [], None),
        ({"websocket": True}, ["https://evil.example"], None),
        (LISTED, ["https://app.example"], None),
        (LISTED, [], Code.ORIGIN_REFUSED),
        (LISTED, ["https://evil.example"], Code.ORIGIN_REFUSED),
        (LISTED, ["https://app.example.evil.example"], Code.ORIGIN_REFUSED),
        (LISTED, ["http://app.example"], Code.ORIGIN_REFUSED),
        (LISTED, ["null"], Code.ORIGIN_REFUSED),
        (LISTED, ["https://app.example", "https://app.example"], Code.ORIGIN_REFUSED),
        (LISTED, [b"\xff"], Code.ORIGIN_REFUSED),
    ],
)
def test_handshakes(given, origins, code):
    asked = head("/", *(("origin", origin) for origin in origins), websocket=True)
    if code is None:
        check_websocket(asked, route(**given))
    else:
        with pytest.raises(RouteError) as refusal:
            check_websocket(asked, route(**given))
        assert refusal.value.code is code
        assert "b'" not in refusal.value.detail


def test_ordinary_requests_are_not_checked():
    check_websocket(head("/"), route())
