"""`gateway echo` as a process: a service to try a gateway with."""

import re
import signal

from tests.support import http1
from tests.support.gateway import live, until
from tests.support.process import started

URL = re.compile(r"sample service on http://127\.0\.0\.1:(\d+);")


@live
async def test_it_answers_with_what_it_received_until_it_is_stopped(tmp_path):
    async with started("echo", "--port", "0", folder=tmp_path) as process:
        await until(lambda: URL.search(process.errors))
        port = int(URL.search(process.errors)[1])
        async with http1.connect(port) as client:
            host = (("Host", "x"), ("X-Auth-Subject", "alice"), ("X-Group", "a"), ("X-Group", "b"))
            answer = (await client.request("GET", "/orders/42?a=b", host)).json()
        assert answer["path"].startswith("/orders/42")
        assert answer["headers"]["x-auth-subject"] == "alice"
        assert answer["headers"]["x-group"] == ["a", "b"]
        async with started("echo", "--port", str(port), folder=tmp_path) as second:
            assert await second.ended() == 1
        assert second.errors.startswith(f"error: cannot listen on 127.0.0.1:{port}: ")
        assert "choose another with --port" in second.errors
        async with started("demo", "--once", "--port", str(port), folder=tmp_path) as third:
            assert await third.ended() == 1
        assert third.errors.startswith(f"error: cannot listen on 127.0.0.1:{port}: ")
        process.child.send_signal(signal.SIGINT)
        assert await process.ended() == 0
    assert "Traceback" not in process.errors + second.errors
