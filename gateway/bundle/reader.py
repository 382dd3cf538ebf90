"""A bundle as a whole: archive, signature and manifest, in this order."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.bundle import archive, manifest, signature
from gateway.bundle.errors import BundleError, Reason
from gateway.bundle.signature import Verified

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.bundle.manifest import Manifest
    from gateway.bundle.signature import Trust

DATA_FILES: Final = ("data.json", "data.yaml", "data.yml")
SUFFIXES = (".tar.gz", ".tgz")
"""What the names of archives end with."""
FOREVER: Final = 1e18
"""A time by which whatever ends has ended."""

_REFUSED: Mapping[str, tuple[str, str]] = {
    "policy.wasm": ("WebAssembly is not run", "build it with --target rego"),
    "plan.json": ("plans are not run", "build it with --target rego"),
    "patch.json": ("delta bundles are not taken: nothing signs them", "publish the whole bundle"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle's manifest and the files that count, `.manifest` among them.

    `signed` tells whose signature was verified; `others` are the names of files
    that mean nothing.
    """

    manifest: Manifest
    files: Mapping[str, bytes]
    signed: Verified = field(default_factory=Verified)
    others: tuple[str, ...] = ()


def read_bundle(data: bytes, where: str, trust: Trust | None, now: float) -> Bundle:
    """Read an archive and verify it; BundleError, which names it `where`.

    Without `trust` no signature is looked at. `now` in Unix seconds.
    """
    try:
        bundle = _opened(data, trust)
        bundle.signed.check(now)
    except BundleError as error:
        raise error.of(where) from None
    return bundle


_good: dict[tuple[object, ...], Bundle] = {}
_lock = threading.Lock()
MAX_GOOD = 8
MAX_GOOD_BYTES = 256 * 1024**2
"""So much is known again: each look at the disk reads all bundles."""


def _opened(data: bytes, trust: Trust | None) -> Bundle:
    key = (hashlib.sha256(data).digest(), None if trust is None else trust.marks)
    with _lock:
        known = _good.pop(key, None)
        if known is not None:
            _good[key] = known
            return known
    files = archive.read(data)
    signed = signature.verify(files, trust) if trust is not None else Verified()
    bundle = sorted_out(files, signed)
    with _lock:
        _good[key] = bundle
        while len(_good) > 1 and (len(_good) > MAX_GOOD or _known_bytes() > MAX_GOOD_BYTES):
            del _good[next(iter(_good))]
    return bundle


def _known_bytes() -> int:
    return sum(len(data) for bundle in _good.values() for data in bundle.files.values())


def sorted_out(files: Mapping[str, bytes], signed: Verified) -> Bundle:
    """The bundle that files make; BundleError for what another reader would find more in."""
    kept: dict[str, bytes] = {manifest.NAME: b"{}\n"}
    others: list[str] = []
    for name in sorted(files):
        last = name.rpartition("/")[2]
        if last in _REFUSED:
            message, remedy = _REFUSED[last]
            raise BundleError(Reason.CONTENT_REFUSED, message, name=name, remedy=remedy)
        if name in (manifest.NAME, signature.NAME):
            if name == manifest.NAME:
                kept[name] = files[name]
        elif last.endswith((".manifest", "signatures.json")):
            # OPA goes by the end of the name, and the last one counts.
            raise BundleError(Reason.CONTENT_REFUSED, "only the one at the top counts", name=name)
        elif name.endswith(".rego") or last in DATA_FILES:
            if any(part.startswith(".") for part in name.split("/")):
                remedy = "leave it out; on macOS, pack with COPYFILE_DISABLE=1"
                raise BundleError(Reason.CONTENT_REFUSED, "is hidden", name=name, remedy=remedy)
            kept[name] = files[name]
        else:
            others.append(name)
    return Bundle(
        manifest=manifest.parse(kept[manifest.NAME]),
        files=kept,
        signed=signed,
        others=tuple(others),
    )
