"""What logins and sessions are refused for, on a whole gateway."""

import pytest

from tests.support.gateway import live
from tests.support.logins import LOGIN_CASES, told
from tests.support.provider import Browser, Provider, logins


async def refused(case, gateway, provider, browser):
    answer = await case.act(gateway, provider, browser)
    assert (told(answer), answer.status) == (case.code.text, case.code.status)
    assert answer.header("cache-control") == "no-store"
    assert not [v for n, v in answer.headers if n == "set-cookie" and "session-web=" in v]


@live
async def test_what_leaves_the_gateway_as_it_was(tmp_path):
    faults = {}
    provider = Provider()
    async with logins(tmp_path, provider) as (gateway, _):
        for case in LOGIN_CASES:
            if not case.lasting:
                provider.reset()
                try:
                    await refused(case, gateway, provider, Browser(gateway))
                except AssertionError as error:
                    faults[str(case)] = str(error)
    assert not faults


@pytest.mark.parametrize("case", [case for case in LOGIN_CASES if case.lasting], ids=str)
def test_what_does_not(case, tmp_path):
    @live
    async def scenario():
        provider = Provider()
        async with logins(tmp_path, provider) as (gateway, browser):
            await refused(case, gateway, provider, browser)

    scenario()
