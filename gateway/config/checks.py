"""What no section can check alone: names that must exist, values that must differ."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pydantic import ValidationError

from gateway.config import addresses, disk, forms
from gateway.config.addresses import cidr_meant
from gateway.config.document import Fault, Key
from gateway.config.model import (
    Config,
    Issuer,
    Upstream,
    is_loopback_host,
    is_secure_url,
    public_url,
)
from gateway.config.secrets import admin_token
from gateway.config.validate import Draft, did_you_mean
from gateway.config.values import Malformed
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.config.model import Route


NAMED_IN: Final = {"issuer": "issuers", "limit": "rate_limits.limits", "login": "logins"}
"""The section of each thing that a name may stand for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The names that other sections may refer to, those of faulty sections too.

    None where a whole section is faulty, so that its names cannot be known.
    """

    issuers: frozenset[str] | None
    upstreams: frozenset[str] | None
    networks: frozenset[str] | None
    logins: frozenset[str] | None = None

    @classmethod
    def of(cls, draft: Draft) -> Names:
        """The names that the document holds."""

        def names(section: str) -> frozenset[str] | None:
            written = draft.written(section)
            if written is None or isinstance(written, dict):
                return frozenset(written or ())
            return None

        return cls(
            issuers=names("issuers"),
            upstreams=names("upstreams"),
            networks=names("networks"),
            logins=names("logins"),
        )


def check(config: Config, names: Names) -> Iterator[Fault]:
    """Every fault that the model does not see; reads the files that the Config names."""
    for each in CHECKS:
        yield from each(config, names)
    yield from forms.check(config)
    yield from disk.check(config)


EVERY = ("0.0.0.0", "[::]")  # noqa: S104  nothing is bound here
"""All addresses of IPv4, and of IPv6."""


def _listeners(config: Config, _: Names) -> Iterator[Fault]:
    bound: list[tuple[Key, str]] = [
        (("listeners", number, "address"), listener.address)
        for number, listener in enumerate(config.listeners)
    ]
    if config.admin.enabled:
        bound.append((("admin", "address"), config.admin.address))
    fixed = [pair for pair in bound if not pair[1].endswith(":0")]
    yield from _distinct(fixed, "another listener has this address")
    taken = {address for _, address in fixed}
    for key, address in fixed:
        host, _colon, port = address.rpartition(":")
        every = f"{EVERY[host.startswith('[')]}:{port}"
        if address != every and every in taken:
            yield Fault(
                key=key,
                message=f"the listener on {every} takes this address, too: {address}",
                remedy="give one of them another port",
            )


def _admin(config: Config, _: Names) -> Iterator[Fault]:
    try:
        token = admin_token(config)
    except ConfigError as error:
        key = ("admin", "token_file" if config.admin.token_file else "token")
        yield from disk.faults_of(error, key)
        return
    if config.admin.actions and token is None:
        yield Fault(
            key=("admin", "actions"),
            message="actions need a token, on every address",
            remedy="set admin.token_file",
        )
    if config.admin.enabled and token is None and not _is_loopback(config.admin.address):
        yield Fault(
            key=("admin", "address"),
            message="an admin listener that is not on loopback needs a token",
            remedy="set admin.token_file, or listen on 127.0.0.1",
        )


def _is_loopback(address: str) -> bool:
    return address.startswith("unix:") or is_loopback_host(address.rpartition(":")[0].strip("[]"))


def _issuers(config: Config, _: Names) -> Iterator[Fault]:
    yield from _distinct(
        ((("issuers", name, "issuer"), issuer.issuer) for name, issuer in config.issuers.items()),
        "another issuer has the same iss; its tokens would have two sets of keys",
        shown=public_url,
    )
    for name, issuer in config.issuers.items():
        for given, any_will_do in (
            ("audience", "insecure_any_audience"),
            ("algorithms", "insecure_any_algorithm"),
        ):
            if getattr(issuer, given) and getattr(issuer, any_will_do):
                yield Fault(
                    key=("issuers", name, given),
                    message=f"has no effect beside {any_will_do}",
                    remedy="remove one of the two",
                )
        if issuer.keys is None and issuer.types != Issuer.model_fields["types"].default:
            yield Fault(
                key=("issuers", name, "types"),
                message="has no effect without keys",
                remedy="answers have introspection.token_types",
            )
        both = sorted(set(issuer.forbidden_claims).intersection(issuer.required_claims))
        if both:
            yield Fault(
                key=("issuers", name, "forbidden_claims"),
                message=f"the claim {both[0]} is required and forbidden",
            )


def _routes(config: Config, names: Names) -> Iterator[Fault]:
    yield from _distinct(
        ((("routes", number, "id"), route.id) for number, route in enumerate(config.routes)),
        "another route has this id",
    )
    for number, route in enumerate(config.routes):
        key: Key = ("routes", number)
        yield from _upstream((*key, "upstream"), route.upstream, names)
        yield from _upstream_host((*key, "host"), route, config)
        yield from _unknown_names((*key, "issuers"), route.issuers, names.issuers, "issuer")
        limits = frozenset(config.rate_limits.limits)
        yield from _unknown_names((*key, "rate_limits"), route.rate_limits or (), limits, "limit")
        yield from _login((*key, "login"), route, config, names)
        yield from _upstream_token((*key, "upstream_token"), route, config)
        yield from _one_asked((*key, "issuers"), route, config)
        if route.authentication == "anonymous":
            for name in ("issuers", "audience", "login"):
                if getattr(route, name):
                    yield Fault(
                        key=(*key, name),
                        message="an anonymous route reads no token",
                        remedy="set authentication: optional, or remove this",
                    )
        elif names.issuers == frozenset():
            yield Fault(
                key=(*key, "authentication"),
                message=f"authentication is {route.authentication}, but there are no issuers",
                remedy="add issuers, or set authentication: anonymous",
            )


def _upstream_token(key: Key, route: Route, config: Config) -> Iterator[Fault]:
    section = route.upstream_token
    if section is None:
        return
    known = config.token_endpoints
    if section.endpoint not in known:
        yield Fault(
            key=(*key, "endpoint"),
            message=f"there is no token endpoint {section.endpoint!r}",
            remedy=did_you_mean(section.endpoint, known) or "name one in token_endpoints",
        )
    if route.forward_token:
        yield Fault(
            key=(*key[:-1], "forward_token"),
            message="the upstream gets one token: the client's, or that of upstream_token",
            remedy="remove one of the two",
        )
    if section.grant == "token_exchange" and route.authentication == "anonymous":
        yield Fault(
            key=(*key, "grant"),
            message="an anonymous route has no token to exchange",
            remedy="set grant: client_credentials, or authentication: required",
        )


def _one_asked(key: Key, route: Route, config: Config) -> Iterator[Fault]:
    """Nothing in an opaque token tells whose it is: who sends it to several gives it away."""
    asked = [
        name
        for name, issuer in config.issuers.items()
        if issuer.introspection and (not route.issuers or name in route.issuers)
    ]
    if len(asked) > 1 and route.authentication != "anonymous":
        yield Fault(
            key=key,
            message=f"an opaque token could be of several issuers: {', '.join(asked)}",
            remedy="name the issuers of the route, of which one is asked at most",
        )


def _upstream(key: Key, upstream: str, names: Names) -> Iterator[Fault]:
    if names.upstreams is None or upstream in names.upstreams:
        return
    if "://" not in upstream and not upstream.startswith(("http+unix:", "unix:")):
        remedy = did_you_mean(upstream, names.upstreams) or "name one in upstreams, or give a URL"
        yield Fault(key=key, message=f"there is no upstream {upstream!r}", remedy=remedy)
        return
    try:
        Upstream(url=upstream)
    except ValidationError as error:
        fault = error.errors()[0]["ctx"]["error"]
        yield Fault(key=key, message=str(fault), remedy=getattr(fault, "remedy", ""))


def _upstream_host(key: Key, route: Route, config: Config) -> Iterator[Fault]:
    """A Host header that depends on the target, which is chosen only when the request is sent."""
    upstream = config.upstreams.get(route.upstream)
    if upstream is None or route.host != "upstream":
        return
    hosts = [urlsplit(url).netloc for url in upstream.urls]
    if len(set(hosts)) > 1:
        yield Fault(
            key=key,
            message=f"{route.upstream} has several targets, with different hosts",
            remedy=f"write the one that all of them take, such as {hosts[0]}",
        )


def _unknown_names(
    key: Key, given: Iterable[str] | Mapping[str, str], known: frozenset[str] | None, noun: str
) -> Iterator[Fault]:
    """The names that are not known; `given` are those of a list, or by their own key."""
    places = given.items() if isinstance(given, Mapping) else enumerate(given)
    for place, name in places:
        if known is not None and name not in known:
            yield Fault(
                key=(*key, place),
                message=f"there is no {noun} {name!r}",
                remedy=did_you_mean(name, known) or f"name one in {NAMED_IN[noun]}",
            )


def _login(key: Key, route: Route, config: Config, names: Names) -> Iterator[Fault]:
    """The login of a route."""
    if route.login is None:
        return
    yield from _unknown_names(key[:-1], {"login": route.login}, names.logins, "login")
    login = config.logins.get(route.login)
    if login and route.issuers and login.issuer not in route.issuers:
        yield Fault(
            key=key,
            message=f"the route takes no tokens of its issuer {login.issuer}",
            remedy="add it to the route's issuers",
        )


def _logins(config: Config, names: Names) -> Iterator[Fault]:
    for name, login in config.logins.items():
        key: Key = ("logins", name)
        yield from _unknown_names(key, {"issuer": login.issuer}, names.issuers, "issuer")
        issuer = config.issuers.get(login.issuer)
        if issuer is None:
            continue
        if issuer.keys is None or issuer.keys.symmetric:
            yield Fault(
                key=(*key, "issuer"),
                message=f"{login.issuer} has no public keys, which ID tokens are verified with",
                remedy="write keys: {discovery: true} for the issuer",
            )
            continue
        insecure = issuer.keys.insecure_http
        if login.discovery is None and not _is_url(issuer.issuer):
            yield Fault(
                key=(*key, "discovery"),
                message=f"{login.issuer} has no URL as its issuer",
                remedy="give the URL of the discovery document",
            )
        elif not (insecure or is_secure_url(login.discovery or issuer.issuer)):
            yield Fault(
                key=(*key, "discovery"),
                message="discovery over plain http on an address that is not loopback",
                remedy=f"use https, or set insecure_http: true in the keys of {login.issuer}",
            )
        if not any(route.login == name for route in config.routes):
            yield Fault(key=key, message="no route uses it", remedy=f"write login: {name}")
    if config.sessions.storage == "redis" and config.redis is None:
        yield _no_redis(("sessions", "storage"))


def _is_url(text: str) -> bool:
    try:
        addresses.http_url(text)
    except Malformed:
        return False
    return True


def _no_redis(key: Key) -> Fault:
    return Fault(
        key=key,
        message="redis is not configured",
        remedy="add redis: {url: redis://HOST:PORT/0} to the file",
    )


def _rate_limits(config: Config, _: Names) -> Iterator[Fault]:
    section = config.rate_limits
    names = frozenset(section.limits)
    yield from _unknown_names(("rate_limits", "default"), section.default, names, "limit")
    if "policy" in names:
        yield Fault(
            key=("rate_limits", "limits", "policy"),
            message="the name is taken: by the limits that policies give themselves",
            remedy="take another one",
        )
    if section.storage == "redis" and config.redis is None:
        yield _no_redis(("rate_limits", "storage"))
    if config.revocation.storage == "redis" and config.redis is None:
        yield _no_redis(("revocation", "storage"))
    users = (section, config.sessions, config.revocation)
    if config.redis is not None and all(each.storage != "redis" for each in users):
        yield Fault(
            key=("redis",),
            message="nothing uses it",
            remedy="set storage: redis in rate_limits, sessions or revocation",
        )


def _trusted_proxies(config: Config, names: Names) -> Iterator[Fault]:
    for number, entry in enumerate(config.trusted_proxies):
        if names.networks is None or entry in names.networks:
            continue
        try:
            ipaddress.ip_network(entry)
        except ValueError:
            yield Fault(
                key=("trusted_proxies", number),
                message=f"{entry!r} is neither a CIDR block nor the name of a network",
                remedy=_proxy_meant(entry, names.networks),
            )


def _proxy_meant(entry: str, networks: Iterable[str]) -> str:
    if entry in ("*", "any", "all"):
        return "name the proxies: everybody could claim any address, and be believed"
    return cidr_meant(entry) or did_you_mean(entry, networks)


def _distinct(
    pairs: Iterable[tuple[Key, str]], message: str, shown: Callable[[str], str] = str
) -> Iterator[Fault]:
    first: dict[str, Key] = {}
    for key, value in pairs:
        if first.setdefault(value, key) != key:
            yield Fault(key=key, message=f"{message}: {shown(value)}")


CHECKS = (_listeners, _admin, _issuers, _routes, _logins, _rate_limits, _trusted_proxies)
