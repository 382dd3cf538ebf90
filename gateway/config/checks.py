"""What no section can check alone: names that must exist, values that must differ, files."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gateway.config.document import Fault, Key
from gateway.config.model import Config, Upstream, is_loopback_host
from gateway.config.secrets import admin_token, read_secret
from gateway.config.validate import did_you_mean, nearest
from gateway.config.walk import WRITTEN, files, leaves
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    Form = Callable[[str], tuple[str, str] | None]
    """Takes a value; gives what was expected and a remedy where it has another form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The names that other sections may refer to, those of faulty sections too."""

    issuers: frozenset[str]
    upstreams: frozenset[str]
    networks: frozenset[str]

    @classmethod
    def of(cls, config: Config, tree: Any) -> Names:
        """The names in the Config and in the tree that it was made from."""

        def names(section: str) -> frozenset[str]:
            written = tree.get(section) if isinstance(tree, dict) else None
            return frozenset(getattr(config, section)).union(
                written if isinstance(written, dict) else ()
            )

        return cls(
            issuers=names("issuers"), upstreams=names("upstreams"), networks=names("networks")
        )


def check(config: Config, names: Names) -> Iterator[Fault]:
    """Every fault between the sections; reads the files that the Config names."""
    for each in CHECKS:
        yield from each(config, names)


def warn(config: Config) -> Iterator[Fault]:
    """What works, but that an operator should know of."""
    for key, value in leaves(config):
        if value is True and str(key[-1]).startswith("insecure_"):
            yield Fault(key=key, message=f"{key[-1]} is switched on")
    for key, path in files(config):
        if key[-1] in OWNER_ONLY and _mode(path) & 0o077:
            yield Fault(
                key=key,
                message=f"{path} can be read by other users",
                remedy=f"chmod 600 {path.name}",
            )


OWNER_ONLY = ("token_file", "secret_file", "key")


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


def _listeners(config: Config, _: Names) -> Iterator[Fault]:
    bound: list[tuple[Key, str]] = [
        (("listeners", number, "address"), listener.address)
        for number, listener in enumerate(config.listeners)
    ]
    if config.admin.enabled:
        bound.append((("admin", "address"), config.admin.address))
    yield from _distinct(
        (pair for pair in bound if not pair[1].endswith(":0")), "another listener has this address"
    )


def _admin(config: Config, _: Names) -> Iterator[Fault]:
    try:
        token = admin_token(config)
    except ConfigError as error:
        key = ("admin", "token_file" if config.admin.token_file else "token")
        yield from _of(error, key)
        return
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
        yield from _unknown_names((*key, "issuers"), route.issuers, names.issuers, "issuer")
        if route.authentication == "anonymous":
            for name in ("issuers", "audience"):
                if getattr(route, name):
                    yield Fault(
                        key=(*key, name),
                        message="an anonymous route reads no token",
                        remedy="set authentication: optional, or remove this",
                    )
        elif not names.issuers:
            yield Fault(
                key=(*key, "authentication"),
                message=f"authentication is {route.authentication}, but there are no issuers",
                remedy="add issuers, or set authentication: anonymous",
            )


def _upstream(key: Key, upstream: str, names: Names) -> Iterator[Fault]:
    if upstream in names.upstreams:
        return
    if "://" not in upstream and not upstream.startswith("http+unix:"):
        remedy = did_you_mean(upstream, names.upstreams) or "name one in upstreams, or give a URL"
        yield Fault(key=key, message=f"there is no upstream {upstream!r}", remedy=remedy)
        return
    try:
        Upstream(url=upstream)
    except ValidationError as error:
        yield Fault(key=key, message=str(error.errors()[0]["ctx"]["error"]))


def _unknown_names(
    key: Key, given: Iterable[str], known: frozenset[str], noun: str
) -> Iterator[Fault]:
    for number, name in enumerate(given):
        if name not in known:
            yield Fault(
                key=(*key, number),
                message=f"there is no {noun} {name!r}",
                remedy=did_you_mean(name, known),
            )


def _trusted_proxies(config: Config, names: Names) -> Iterator[Fault]:
    for number, entry in enumerate(config.trusted_proxies):
        if entry in names.networks:
            continue
        try:
            ipaddress.ip_network(entry)
        except ValueError:
            yield Fault(
                key=("trusted_proxies", number),
                message=f"{entry!r} is neither a CIDR block nor the name of a network",
                remedy=did_you_mean(entry, names.networks),
            )


def _forms(config: Config, _: Names) -> Iterator[Fault]:
    """Values whose form a later stage reads again; here they get their place in the file."""
    for key, value in leaves(config):
        names = tuple(part for part in key if isinstance(part, str))
        form = FORMS.get(names[:-1] if "identity_headers" in names[:-1] else names)
        if form and isinstance(value, str) and (fault := form(value)):
            yield Fault(key=key, message=fault[0], remedy=fault[1])


def _matches(pattern: str, message: str, remedy: str = "") -> Form:
    compiled = re.compile(pattern)
    return lambda value: None if compiled.fullmatch(value) else (message, remedy)


def _entrypoint(value: str) -> tuple[str, str] | None:
    if value.startswith("data.") or (value.startswith("data/") or "/" not in value):
        path = re.sub(r"^data[./]", "", value).replace(".", "/")
        remedy = f"write {path}" if "/" in path else ""
        return "expected package/path/rule, such as gateway/authz/decision", remedy
    return None


def _identity_value(value: str) -> tuple[str, str] | None:
    if value in IDENTITY_VALUES or (value.startswith("claims.") and len(value) > len("claims.")):
        return None
    close = nearest(value, IDENTITY_VALUES)
    return (
        f"expected {', '.join(IDENTITY_VALUES)} or claims.PATH",
        f"did you mean {close!r}?" if close else "",
    )


_ORIGIN_FORM = (
    "expected an origin, such as https://app.example, lower-case and without a path",
    "",
)
IDENTITY_VALUES = (
    *(f"identity.{name}" for name in ("subject", "issuer", "scopes", "groups", "roles")),
    "token.expires_at",
)

_HOST = r"(?:[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\])"
_ORIGIN = r"[a-z][a-z0-9+.-]*://[^/?#@\s,;A-Z]+"
_POINTER = _matches(
    r"(?:/(?:[^~/]|~[01])*)+", "expected a JSON pointer, such as /input/claims/email"
)

FORMS: Mapping[tuple[str, ...], Form] = {
    ("routes", "hosts"): _matches(
        rf"(?:\*\.)?{_HOST}",
        "expected a host without port, such as api.example or *.example",
        "leave hosts out for any host",
    ),
    ("routes", "paths"): _matches(
        r"/[^?#\s]*", "expected a path that begins with a slash, such as /orders/{id}"
    ),
    ("routes", "host"): _matches(
        rf"pass|upstream|{_HOST}(?::[0-9]{{1,5}})?", "expected pass, upstream or HOST[:PORT]"
    ),
    ("routes", "entrypoint"): _entrypoint,
    ("policy", "entrypoint"): _entrypoint,
    ("identity_headers",): _identity_value,
    ("routes", "identity_headers"): _identity_value,
    ("log", "decisions", "mask"): _POINTER,
    ("cors", "origins"): _matches(rf"\*|{_ORIGIN}", *_ORIGIN_FORM),
    ("routes", "cors", "origins"): _matches(rf"\*|{_ORIGIN}", *_ORIGIN_FORM),
    ("routes", "websocket_origins"): _matches(_ORIGIN, *_ORIGIN_FORM),
}


def _files(config: Config, _: Names) -> Iterator[Fault]:
    for key, path in files(config):
        if key[:2] == ("policy", "paths"):
            if not _readable(path, os.R_OK):
                yield Fault(key=key, message=f"{path} does not exist or cannot be read")
        elif key[-1] in ("token_file", "secret_file"):
            yield from _secret(key, path)
        elif not (path.is_file() and _readable(path, os.R_OK)):
            yield Fault(key=key, message=f"{path} is not a file that can be read")
    for key, path in leaves(config.log, ("log",)):
        if key in WRITTEN and path is not None and not _readable(path.parent, os.W_OK | os.X_OK):
            yield Fault(key=key, message=f"{path.parent} is not a folder that can be written to")


def _secret(key: Key, path: Path) -> Iterator[Fault]:
    try:
        read_secret(path)
    except ConfigError as error:
        yield from _of(error, key)


def _readable(path: Path, how: int) -> bool:
    try:
        return os.access(path, how)
    except ValueError:  # a NUL in the name
        return False


def _certificates(config: Config, _: Names) -> Iterator[Fault]:
    for number, listener in enumerate(config.listeners):
        if listener.tls is not None:
            key: Key = ("listeners", number, "tls")
            yield from _pair(key, listener.tls.certificate, listener.tls.key)
    for name, upstream in config.upstreams.items():
        key = ("upstreams", name, "tls")
        tls = upstream.tls
        if tls.certificate is not None and tls.key is not None:
            yield from _pair(key, tls.certificate, tls.key)
        if tls.ca_file is not None and _readable(tls.ca_file, os.R_OK):
            try:
                ssl.create_default_context(cafile=tls.ca_file)
            except OSError as error:
                yield Fault(key=(*key, "ca_file"), message=f"no PEM certificates: {_ssl(error)}")


def _pair(key: Key, certificate: Path, private: Path) -> Iterator[Fault]:
    if not (_readable(certificate, os.R_OK) and _readable(private, os.R_OK)):
        return  # reported as missing
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, private, password=_no_password)
    except (OSError, ValueError) as error:
        yield Fault(
            key=(*key, "certificate"), message=f"certificate and key cannot be used: {_ssl(error)}"
        )


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _ssl(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return SSL_REASONS.get(reason or "", reason or str(error))


SSL_REASONS = {
    "KEY_VALUES_MISMATCH": "the key belongs to another certificate",
    "NO_START_LINE": "not PEM",
    "NO_CERTIFICATE_OR_CRL_FOUND": "not PEM",
}


def _distinct(pairs: Iterable[tuple[Key, str]], message: str) -> Iterator[Fault]:
    first: dict[str, Key] = {}
    for key, value in pairs:
        if first.setdefault(value, key) != key:
            yield Fault(key=key, message=f"{message}: {value}")


def _of(error: ConfigError, key: Key) -> Iterator[Fault]:
    for problem in error.problems:
        message = ": ".join(part for part in (problem.file, problem.message) if part)
        yield Fault(key=key, message=message, remedy=problem.remedy)


CHECKS = (_listeners, _admin, _issuers, _routes, _trusted_proxies, _forms, _files, _certificates)
