"""`.manifest`: what a bundle says of itself, and the part of `data` that it owns."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.bundle.errors import BundleError, Reason
from gateway.jose.strict_json import JsonError, loads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAME: Final = ".manifest"
MAX_BYTES = 1024**2

Path = tuple[str, ...]
"""Names below `data`."""

_MEMBERS = ("revision", "roots", "wasm", "rego_version", "file_rego_versions", "metadata")
"""In the order in which OPA writes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A bundle's revision, the roots that it owns, and whatever its makers noted.

    The root `()` is all of `data`. Modules are read as Rego v1 whatever `rego_version` says: what
    is a module in both versions means the same.
    """

    revision: str = ""
    roots: tuple[Path, ...] = ((),)
    rego_version: int | None = None
    file_rego_versions: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def owns(self, path: Path) -> bool:
        """Whether what is at `path` below `data` belongs to the bundle."""
        return any(path[: len(root)] == root for root in self.roots)

    def strays(self, path: Path, value: object) -> Iterator[Path]:
        """The outermost places of a data document at `path` that lie outside of the roots."""
        if self.owns(path):
            return
        above = any(root[: len(path)] == path for root in self.roots)
        if not above or not isinstance(value, dict):
            yield path
            return
        for name, below in value.items():
            yield from self.strays((*path, name), below)


def parse(data: bytes) -> Manifest:
    """Read a `.manifest`; BundleError."""
    if len(data) > MAX_BYTES:
        raise _wrong(f"more than {MAX_BYTES} bytes")
    try:
        document = loads(data)
    except JsonError as error:
        raise _wrong(str(error)) from None
    if not isinstance(document, dict):
        raise _wrong("expected a JSON object")
    for name in document:
        # OPA would take them for the members (Go's JSON decoder does not mind the case).
        if name not in _MEMBERS and name.lower() in _MEMBERS:
            raise _wrong(f"the member {name!r} is written {name.lower()!r}")
    if document.get("wasm"):
        message = "it decides with WebAssembly, which the gateway does not run"
        raise BundleError(
            Reason.CONTENT_REFUSED, message, name=NAME, remedy="build it with --target rego"
        )
    versions = _object(document, "file_rego_versions")
    return Manifest(
        revision=_text(document, "revision"),
        roots=_roots(document.get("roots")),
        rego_version=_version("rego_version", document.get("rego_version")),
        file_rego_versions={name: _version(name, versions[name]) or 0 for name in versions},
        metadata=_object(document, "metadata"),
    )


def dump(manifest: Manifest) -> bytes:
    """The `.manifest` as OPA writes it: its members in OPA's order, on one line."""
    document: dict[str, Any] = {
        "revision": manifest.revision,
        "roots": ["/".join(root) for root in manifest.roots],
    }
    for name in ("rego_version", "file_rego_versions", "metadata"):
        value = getattr(manifest, name)
        if value not in (None, {}):
            document[name] = value
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=float)
    return text.encode() + b"\n"


def root_of(text: str) -> Path:
    """A root as it is written, `a/b`, as a path; slashes at its ends do not count."""
    bare = text.strip("/")
    return tuple(bare.split("/")) if bare else ()


def overlap(one: Path, other: Path) -> bool:
    """Whether one of two roots lies in the other."""
    length = min(len(one), len(other))
    return one[:length] == other[:length]


def holds(document: object, path: Path, root: Path) -> bool:
    """Whether a data document at `path` has a value in `root`."""
    if path[: len(root)] == root:
        return True
    if root[: len(path)] != path:
        return False
    for name in root[len(path) :]:
        if not isinstance(document, dict) or name not in document:
            return False
        document = document[name]
    return True


def shown(root: Path) -> str:
    """A path below `data` for people."""
    return ".".join(("data", *root))


def _roots(value: object) -> tuple[Path, ...]:
    if value is None:
        return ((),)
    if not isinstance(value, list) or not all(isinstance(root, str) for root in value):
        raise _wrong("roots: expected a list of paths such as gateway/authz")
    roots = tuple(root_of(root) for root in value)
    for number, root in enumerate(roots):
        if any(not name for name in root):
            raise _wrong(f"roots: {value[number]!r} has an empty name")
        for other in roots[:number]:
            if overlap(root, other):
                raise _wrong(
                    f"roots: {shown(other)} and {shown(root)} overlap",
                    "name only the outer one",
                )
    return roots


def _version(name: str, value: object) -> int | None:
    if value is not None and (isinstance(value, bool) or value not in (0, 1)):
        raise _wrong(f"{name}: expected 0 or 1 as Rego's version")
    return None if value is None else int(str(value))


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name) or ""
    if not isinstance(value, str) or len(value) > 1024 or not (value == "" or value.isprintable()):
        raise _wrong(f"{name}: expected printable text of at most 1024 characters")
    return value


def _object(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(f"{name}: expected an object")
    return value


def _wrong(message: str, remedy: str = "") -> BundleError:
    return BundleError(Reason.MANIFEST_MALFORMED, message, name=NAME, remedy=remedy)
