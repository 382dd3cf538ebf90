"""The files that a Config names: there, readable, and holding what they should; warnings."""

from __future__ import annotations

import ipaddress
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config import certificates
from gateway.config.document import Fault, Key
from gateway.config.secrets import bundle_token, read_secret
from gateway.config.walk import WRITTEN, files, is_beside, leaves, names_policies
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.config.model import Config

SECRET_FILES = ("token_file", "secret_file", "password_file")
OWNER_ONLY = (*SECRET_FILES, "key", "key_file")


def check(config: Config) -> Iterator[Fault]:
    """Every file that cannot be used."""
    yield from _files(config)
    yield from _bundles(config)
    yield from _logs(config)
    yield from _sockets(config)
    yield from certificates.check(config)


def warn(config: Config, now: datetime | None = None) -> Iterator[Fault]:
    """What works, but that an operator should know of; `now` is this moment by default."""
    for key, value in leaves(config):
        if value is True and str(key[-1]).startswith("insecure_"):
            yield Fault(key=key, message=f"{key[-1]} is switched on")
    yield from _believed(config)
    for number, route in enumerate(config.routes):
        if route.enforcement == "report":
            yield Fault(
                key=("routes", number, "enforcement"),
                message=f"the policy is not enforced on route {route.id}: what it refuses passes",
                remedy="set enforcement: enforce once the decision log shows no surprise",
            )
    for key, path in files(config):
        if key[-1] in OWNER_ONLY and _is_shown(path):
            yield Fault(
                key=key,
                message=f"{path} can be read by other users",
                remedy=f"chmod 600 {path.name}",
            )
    yield from certificates.warn(config, now or datetime.now(UTC))


def _believed(config: Config) -> Iterator[Fault]:
    """Proxies that could be anybody."""
    for number, entry in enumerate(config.trusted_proxies):
        blocks = config.networks.get(entry, (entry,))
        if any(ipaddress.ip_network(block).prefixlen == 0 for block in blocks):
            yield Fault(
                key=("trusted_proxies", number),
                message=f"{entry} holds every address: any client can claim to come from anywhere",
                remedy="name the proxies",
            )


def _is_shown(path: Path) -> bool:
    """Whether users can read or write it who need not.

    Root may have put it there for a group of ours to read, as Kubernetes does with `fsGroup`.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return False
    handed = status.st_uid == 0 != os.geteuid() and status.st_gid in (os.getegid(), *os.getgroups())
    return bool(status.st_mode & (0o037 if handed else 0o077))


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


def _is(kind: Callable[[int], bool], path: Path) -> bool:
    # Path's own methods raise where a folder on the way cannot be searched.
    return kind(_mode(path))


def _files(config: Config) -> Iterator[Fault]:
    for key, path in files(config):
        if is_beside(key):
            continue  # told where the set is read
        if names_policies(key):
            if not _readable(path, os.R_OK):
                yield Fault(key=key, message=f"{path} does not exist or cannot be read")
        elif key == ("admin", "token_file"):
            continue  # read where the token's form is checked
        elif key[-1] in SECRET_FILES:
            yield from _secret(key, path)
        elif not (_is(stat.S_ISREG, path) and _readable(path, os.R_OK)):
            yield Fault(key=key, message=f"{path} is not a file that can be read")


def _bundles(config: Config) -> Iterator[Fault]:
    for name, bundle in config.policy.bundles.items():
        try:
            bundle_token(bundle)
        except ConfigError as error:
            if bundle.token is not None or _is(stat.S_ISREG, bundle.token_file or Path()):
                source = "token" if bundle.token is not None else "token_file"
                yield from faults_of(error, ("policy", "bundles", name, source))
        if bundle.verification and bundle.file and _is(stat.S_ISDIR, bundle.file):
            yield Fault(
                key=("policy", "bundles", name, "verification"),
                message=f"{bundle.file} is a folder, which carries no signature",
                remedy="build an archive of it: gateway bundle build",
            )


def _logs(config: Config) -> Iterator[Fault]:
    for key, path in leaves(config.log, ("log",)):
        if key not in WRITTEN or path is None:
            continue
        if not _readable(path.parent, os.W_OK | os.X_OK):
            yield Fault(key=key, message=f"{path.parent} is not a folder that can be written to")
        elif _is(stat.S_ISDIR, path):
            yield Fault(key=key, message=f"{path} is a folder", remedy="name a file in it")


def _secret(key: Key, path: Path) -> Iterator[Fault]:
    try:
        read_secret(path)
    except ConfigError as error:
        yield from faults_of(error, key)


def _readable(path: Path, how: int) -> bool:
    try:
        return os.access(path, how)
    except ValueError:  # a NUL in the name
        return False


def _sockets(config: Config) -> Iterator[Fault]:
    """The Unix sockets that are to be made."""
    for number, listener in enumerate(config.listeners):
        yield from _socket(("listeners", number, "address"), listener.address)
    if config.admin.enabled:
        yield from _socket(("admin", "address"), config.admin.address)


def _socket(key: Key, address: str) -> Iterator[Fault]:
    if not address.startswith("unix:"):
        return
    path = Path(address.removeprefix("unix:"))
    if _is(stat.S_ISDIR, path):
        message, remedy = f"{path} is a folder", f"name a file in it: unix:{path}/gateway.sock"
    elif _mode(path) and not _is(stat.S_ISSOCK, path):
        message, remedy = f"{path} is there and is no socket", "remove it, or take another name"
    elif not _is(stat.S_ISDIR, path.parent):
        message, remedy = f"the folder {path.parent} does not exist", f"mkdir -p {path.parent}"
    elif not _readable(path.parent, os.W_OK | os.X_OK):
        message, remedy = f"{path.parent} is not a folder that can be written to", ""
    else:
        return
    yield Fault(key=key, message=message, remedy=remedy)


def faults_of(error: ConfigError, key: Key) -> Iterator[Fault]:
    """The problems of a file as faults of the key that names it."""
    for problem in error.problems:
        message = ": ".join(part for part in (problem.file, problem.message) if part)
        yield Fault(key=key, message=message, remedy=problem.remedy)
