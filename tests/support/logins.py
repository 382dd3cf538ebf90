"""What goes wrong with logins, by the code that it is refused with."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from gateway.errors import Code
from gateway.jose.sign import generate
from gateway.serve.session import StoreError
from tests.support import http1
from tests.support.gateway import Running
from tests.support.provider import OWN, Browser, Provider

LOGIN = f"{OWN}/login/web"


@dataclass(frozen=True, kw_only=True)
class LoginCase:
    """Something that a browser does, and the code of the last answer.

    With `lasting` the gateway is another one afterwards.
    """

    name: str
    code: Code
    act: Callable[[Running, Provider, Browser], Awaitable[http1.Response]]
    lasting: bool = False

    def __str__(self) -> str:
        return self.name


LOGIN_CASES: list[LoginCase] = []


def refused(code: Code, name: str, *, lasting: bool = False) -> Any:
    """Make a case of a function."""

    def made(act: Any) -> Any:
        LOGIN_CASES.append(LoginCase(name=name, code=code, act=act, lasting=lasting))
        return act

    return made


def with_query(place: str, **changes: str | None) -> str:
    """A URL with other parameters; None takes one away."""
    parts = urlsplit(place)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    query = {n: v for n, v in {**query, **changes}.items() if v is not None}
    return parts._replace(query=urlencode(query)).geturl()


# Where a login leads back to.

ELSEWHERE = (
    "https://evil.example/", "//evil.example/", "/\\evil.example", "\\\\evil.example", "evil.example",
    "/%2F/evil.example/%2e%2e", "/..//evil.example", "/.//evil.example", "///evil.example", "javascript:alert(1)",
    "/a\r\nset-cookie: a=b", "/a b", "/\t/evil.example", "/%09/evil.example", "/a#b", "", "/ä", "/a?b#c",
    "/;@evil.example", "http:/items", " /items", "/.well-known/gateway/login/web",
    "/.well-known/gateway/logout/web", "/%2ewell-known/gateway/login/web", "/.well-known/gateway", "/" + "a" * 2000,
)  # fmt: skip


def _elsewhere(place: str) -> Any:
    async def act(gateway: Running, provider: Provider, browser: Browser) -> http1.Response:
        return await browser.ask(f"{LOGIN}?{urlencode({'return_to': place})}")

    return act


for _place in ELSEWHERE:
    refused(Code.RETURN_REFUSED, f"back to {_place[:40]!r}")(_elsewhere(_place))


@refused(Code.RETURN_REFUSED, "back to two places")
async def _(gateway, provider, browser):
    return await browser.ask(f"{LOGIN}?return_to=/a&return_to=/b")


# The way there.


@refused(Code.LOGIN_INSECURE, "a login over http from another machine")
async def _(gateway, provider, browser):
    return await Browser(gateway, host="app.example").ask(LOGIN)


@refused(Code.LOGIN_INSECURE, "a scheme that no trusted proxy tells")
async def _(gateway, provider, browser):
    other = Browser(gateway, host="app.example")
    return await other.ask(LOGIN, headers=(("x-forwarded-proto", "https"),))


@refused(Code.LOGIN_UNAVAILABLE, "the provider is away", lasting=True)
async def _(gateway, provider, browser):
    provider.away = True
    return await browser.ask(LOGIN)


@refused(Code.LOGIN_UNAVAILABLE, "metadata of another issuer", lasting=True)
async def _(gateway, provider, browser):
    provider.metadata = {"issuer": "https://evil.example"}
    return await browser.ask(LOGIN)


@refused(Code.LOGIN_UNAVAILABLE, "a provider without PKCE", lasting=True)
async def _(gateway, provider, browser):
    provider.metadata = {"code_challenge_methods_supported": ["plain"]}
    return await browser.ask(LOGIN)


@refused(Code.LOGIN_LOOP, "logins that do not last")
async def _(gateway, provider, browser):
    for _ in range(5):
        await browser.login(provider)
        del browser.cookies["__Host-session-web"]
    looped = await browser.ask(LOGIN)
    # A person who tries again may.
    assert (await browser.ask(LOGIN)).status == 303
    return looped


# The way back.


@refused(Code.LOGIN_STATE, "an answer that nobody asked for: the attacker's own login")
async def _(gateway, provider, browser):
    attacker = Browser(gateway)
    return await browser.answer(provider.authorize(await attacker.begin()))


@refused(Code.LOGIN_STATE, "the attacker's answer for the victim's login under way")
async def _(gateway, provider, browser):
    attacker = Browser(gateway)
    theirs = provider.authorize(await attacker.begin())
    await browser.begin()
    return await browser.answer(theirs)


@refused(Code.LOGIN_STATE, "an answer that comes again")
async def _(gateway, provider, browser):
    place = provider.authorize(await browser.begin())
    cookies = dict(browser.cookies)
    assert (await browser.answer(place)).status == 303
    browser.cookies = cookies
    return await browser.answer(place)


@refused(Code.LOGIN_STATE, "a login under way whose cookie was changed")
async def _(gateway, provider, browser):
    place = provider.authorize(await browser.begin())
    ((name, value),) = browser.cookies.items()
    browser.cookies = {name: value[:-8] + "AAAAAAAA"}
    return await browser.answer(place)


@refused(Code.LOGIN_STATE, "no state")
async def _(gateway, provider, browser):
    return await browser.answer(with_query(provider.authorize(await browser.begin()), state=None))


@refused(Code.LOGIN_STATE, "a state that begins alike")
async def _(gateway, provider, browser):
    place = provider.authorize(await browser.begin())
    (state,) = parse_qs(urlsplit(place).query)["state"]
    return await browser.answer(with_query(place, state=state[:-1] + "~"))


def _strange(state: str) -> Any:
    async def act(gateway: Running, provider: Provider, browser: Browser) -> http1.Response:
        answer = await browser.ask(f"{OWN}/callback/web?{urlencode({'state': state, 'code': 'c'})}")
        set_cookies = [value for name, value in answer.headers if name == "set-cookie"]
        assert not set_cookies, "a cookie that the sender has named"
        return answer

    return act


for _state in ("", "a\r\nx: y", "a=b;path=/x", "a;b", "\x00", "ä", "\U0001f600", "a" * 9, "a" * 44):
    refused(Code.LOGIN_STATE, f"a state that is none: {_state!r}")(_strange(_state))


@refused(Code.LOGIN_STATE, "an answer on another host")
async def _(gateway, provider, browser):
    place = provider.authorize(await browser.begin())
    other = Browser(gateway, host="127.0.0.1")
    other.cookies = browser.cookies
    parts = urlsplit(place)
    return await other.ask(f"{parts.path}?{parts.query}")


@refused(Code.LOGIN_REFUSED, "a person who does not consent")
async def _(gateway, provider, browser):
    place = provider.authorize(await browser.begin())
    return await browser.answer(with_query(place, code=None, error="access_denied"))


# Another provider's answer (RFC 9207), and codes of others.


@refused(Code.LOGIN_FAILED, "the answer of another provider")
async def _(gateway, provider, browser):
    provider.response = {"iss": "https://evil.example"}
    return await browser.answer(provider.authorize(await browser.begin()))


@refused(Code.LOGIN_FAILED, "an error of another provider")
async def _(gateway, provider, browser):
    place = provider.authorize(await browser.begin())
    place = with_query(place, code=None, error="access_denied", iss="https://evil.example")
    return await browser.answer(place)


@refused(Code.LOGIN_FAILED, "an answer without its name, of a provider that has one")
async def _(gateway, provider, browser):
    provider.response = {}
    return await browser.answer(provider.authorize(await browser.begin()))


@refused(Code.LOGIN_FAILED, "no code")
async def _(gateway, provider, browser):
    return await browser.answer(with_query(provider.authorize(await browser.begin()), code=None))


@refused(Code.LOGIN_FAILED, "two codes")
async def _(gateway, provider, browser):
    return await browser.answer(provider.authorize(await browser.begin()) + "&code=other")


@refused(Code.LOGIN_FAILED, "a stolen code: its verifier is another")
async def _(gateway, provider, browser):
    victim = Browser(gateway)
    (code,) = parse_qs(urlsplit(provider.authorize(await victim.begin())).query)["code"]
    place = provider.authorize(await browser.begin())
    return await browser.answer(with_query(place, code=code))


# What the provider gives for the code.


def _given(code: Code, name: str, **members: Any) -> None:
    async def act(gateway: Running, provider: Provider, browser: Browser) -> http1.Response:
        for attribute, value in members.items():
            setattr(provider, attribute, value)
        return await browser.answer(provider.authorize(await browser.begin()))

    refused(code, name)(act)


for _name, _members in {
    "no ID token": {"answer": {"id_token": None}},
    "an ID token that is none": {"answer": {"id_token": "x.y.z"}},
    "an ID token without a signature": {"answer": {"id_token": "eyJhbGciOiJub25lIn0.e30."}},
    "an ID token for another client": {"claims": {"aud": "other"}},
    "an ID token for several clients": {"claims": {"aud": ["gateway", "other"]}},
    "an ID token that another client asked for": {"claims": {"azp": "other"}},
    "an ID token of another login": {"claims": {"nonce": "other"}},
    "an ID token of no login": {"claims": {"nonce": None}},
    "an ID token of another issuer": {"claims": {"iss": "https://evil.example"}},
    "an ID token of nobody": {"claims": {"sub": None}},
    "an ID token with an empty subject": {"claims": {"sub": ""}},
    "an ID token that has expired": {"claims": {"exp": 1}},
    "an ID token without an end": {"claims": {"exp": None}},
    "an ID token without a beginning": {"claims": {"iat": None}},
    "an ID token beside another access token": {"claims": {"at_hash": "x"}},
    "an ID token beside another code": {"claims": {"c_hash": "x"}},
    "no access token": {"answer": {"access_token": None}},
    "an access token of a type that is no bearer": {"answer": {"token_type": "DPoP"}},
    "an access token that cannot be verified": {"answer": {"access_token": "opaque"}, "claims": {"at_hash": None}},
    "an access token that has expired": {"lifetime": 0.0},
    "an access token with a line break": {"answer": {"access_token": "a\r\nb"}},
    "an access token that lasts for no time": {"answer": {"expires_in": -1}},
    "a list of tokens": {"answer": {"access_token": ["a"]}},
}.items():  # fmt: skip
    _given(Code.LOGIN_FAILED, _name, **_members)


@refused(Code.LOGIN_FAILED, "an ID token that another has signed", lasting=True)
async def _(gateway, provider, browser):
    place = provider.authorize(await browser.begin())
    await gateway.runtime.keys.newest("idp")
    provider.metadata = {"jwks_uri": f"{provider.issuer}/nothing"}
    provider.key = generate("ES256")
    return await browser.answer(place)


_given(Code.LOGIN_UNAVAILABLE, "a provider that fails", status=500)


# What keeps sessions.


def _away(*names: str) -> Any:
    async def fail(*_: Any, **__: Any) -> Any:
        raise StoreError("away")

    def make(gateway: Running) -> None:
        for name in names:
            setattr(gateway.runtime.sessions.store, name, fail)

    return make


@refused(Code.SESSION_UNAVAILABLE, "a store that is away", lasting=True)
async def _(gateway, provider, browser):
    await browser.login(provider)
    _away("get")(gateway)
    return await browser.ask("/items")


@refused(Code.SESSION_UNAVAILABLE, "a store that is away at the end of a login", lasting=True)
async def _(gateway, provider, browser):
    place = provider.authorize(await browser.begin())
    _away("create")(gateway)
    return await browser.answer(place)


@refused(
    Code.SESSION_UNAVAILABLE, "a store that cannot tell whether an answer is new", lasting=True
)
async def _(gateway, provider, browser):
    place = provider.authorize(await browser.begin())
    _away("claim")(gateway)
    return await browser.answer(place)


@refused(Code.LOGIN_UNAVAILABLE, "a token that has expired while the provider is away")
async def _(gateway, provider, browser):
    provider.lifetime = 1.5
    await browser.login(provider)
    provider.status = 500
    while (answer := await browser.ask("/items")).status == 200:
        pass
    return answer


# The way out.


@refused(Code.CSRF_REFUSED, "a logout that another site begins")
async def _(gateway, provider, browser):
    await browser.login(provider)
    origin = (("origin", "https://evil.example"), ("accept", "text/html"))
    answer = await browser.ask(f"{OWN}/logout/web", method="POST", headers=origin)
    assert browser.session
    assert (await browser.ask("/items")).status == 200
    return answer


def _logged_out(name: str, header: Any = None, *, key: Any = None, **changes: Any) -> None:
    async def act(gateway: Running, provider: Provider, browser: Browser) -> http1.Response:
        await browser.login(provider)
        answer = await browser.told_to_log_out(provider.logout_token(header, key=key, **changes))
        assert (await browser.ask("/items")).status == 200
        return answer

    refused(Code.LOGOUT_REFUSED, name)(act)


for _name, _changes in {
    "no event": {"events": None},
    "another event": {"events": {"http://schemas.openid.net/event/other": {}}},
    "an event that is no object": {"events": {"http://schemas.openid.net/event/backchannel-logout": 1}},
    "a nonce": {"nonce": "n"},
    "another client": {"aud": "other"},
    "another issuer": {"iss": "https://evil.example"},
    "nobody": {"sub": None, "sid": None},
    "a list of subjects": {"sub": ["alice"]},
    "no name": {"jti": None},
    "no time": {"iat": None},
    "a time long ago": {"iat": 1_700_000_000, "exp": 2_000_000_000},
    "an end in the past": {"exp": 1},
    "an access token's type": {"header": {"typ": "at+jwt"}},
    "another key": {"key": generate("ES256")},
}.items():  # fmt: skip
    _logged_out(f"a logout token with {_name}", **_changes)


@refused(Code.LOGOUT_REFUSED, "an ID token as a logout token")
async def _(gateway, provider, browser):
    await browser.login(provider)
    return await browser.told_to_log_out(provider.logout_token(events=None, nonce="n", jti=None))


@refused(Code.LOGOUT_REFUSED, "a logout token that comes again")
async def _(gateway, provider, browser):
    token = provider.logout_token()
    assert (await browser.told_to_log_out(token)).status == 200
    await browser.login(provider)
    answer = await browser.told_to_log_out(token)
    assert (await browser.ask("/items")).status == 200
    return answer


@refused(Code.LOGOUT_REFUSED, "two logout tokens")
async def _(gateway, provider, browser):
    token = provider.logout_token()
    return await browser.told_to_log_out(f"{token}&logout_token={token}")


@refused(Code.BODY_UNSUPPORTED, "a logout token as JSON")
async def _(gateway, provider, browser):
    return await browser.told_to_log_out("x", kind="application/json")


@refused(Code.BODY_TOO_LARGE, "a logout token without an end")
async def _(gateway, provider, browser):
    return await browser.told_to_log_out("x" * 70_000)


@refused(Code.BODY_MALFORMED, "a logout token that is no form")
async def _(gateway, provider, browser):
    return await browser.told_to_log_out("%zz")


@refused(Code.METHOD_NOT_ALLOWED, "a form to the login")
async def _(gateway, provider, browser):
    return await browser.ask(LOGIN, method="POST")


@refused(Code.METHOD_NOT_ALLOWED, "a HEAD, which would spend the code")
async def _(gateway, provider, browser):
    parts = urlsplit(provider.authorize(await browser.begin()))
    answer = await browser.ask(f"{parts.path}?{parts.query}", method="PUT")
    assert (await browser.ask(f"{parts.path}?{parts.query}", method="HEAD")).status == 405
    return answer


@refused(Code.ROUTE_UNKNOWN, "a login that there is not")
async def _(gateway, provider, browser):
    return await browser.ask(f"{OWN}/login/other")


def told(answer: http1.Response) -> str | None:
    """The code that an answer tells, as a page or as a problem document."""
    if (answer.header("content-type") or "").startswith("text/html"):
        return answer.body.decode().partition("<p>")[2].partition(" ")[0]
    return json.loads(answer.body)["code"]
