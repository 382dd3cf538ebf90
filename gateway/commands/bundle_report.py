"""What is in a bundle, for people and programs; the members are those of `opa inspect`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateway.bundle import manifest, signature
from gateway.bundle.errors import BundleError
from gateway.bundle.folder import parse_files
from gateway.bundle.reader import DATA_FILES, sorted_out
from gateway.bundle.signature import Verified
from gateway.errors import ConfigError
from gateway.rego.annotations import package_path
from gateway.rego.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


def as_dict(files: Mapping[str, bytes], where: Path) -> dict[str, Any]:
    """Manifest, namespaces, files and signature of a bundle, and the revision of its policies."""
    found = sorted_out(files, Verified())
    try:
        keyed = {f"0:{name}": data for name, data in found.files.items()}
        sources = parse_files(keyed, (where,))
        revision, problems = sources.revision, []
    except ConfigError as error:
        revision, problems = None, [str(problem) for problem in error.problems]
    return {
        "manifest": json.loads(manifest.dump(found.manifest)),
        "policy_revision": revision,
        "namespaces": _namespaces(found.files),
        "files": {name: len(data) for name, data in files.items()},
        "ignored": list(found.others),
        "signature": _signature(files),
        "problems": problems,
    }


def _namespaces(files: Mapping[str, bytes]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in sorted(files):
        *folders, last = name.split("/")
        if last.endswith(".rego"):
            path = package_path(Source(name, files[name].decode("utf-8", "replace")))
        elif last in DATA_FILES:
            path = tuple(folders)
        else:
            continue
        found.setdefault(manifest.shown(path), []).append(f"/{name}")
    return dict(sorted(found.items()))


def _signature(files: Mapping[str, bytes]) -> dict[str, Any] | None:
    if signature.NAME not in files:
        return None
    try:
        found = signature.read(files[signature.NAME])
    except BundleError as error:
        return {"problem": error.message}
    others = {name: value for name, value in found.claims.items() if name != "files"}
    return {
        "alg": found.algorithm,
        "kid": found.key_id or None,
        "scope": found.scope or None,
        "files": len(found.hashes),
        "claims": json.loads(json.dumps(others, default=str)),
    }


def as_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The same for people."""
    told = found["manifest"]
    yield f"revision  {told['revision'] or '(none)'}"
    yield f"roots     {', '.join(root or '(everything)' for root in told['roots']) or '(none)'}"
    for name in ("rego_version", "metadata"):
        if name in told:
            value = json.dumps(told[name]) if isinstance(told[name], dict) else told[name]
            yield f"{name.replace('_version', ''):<9} {value}"
    yield f"policies  {found['policy_revision'] or '(cannot be read)'}"
    signed = found["signature"]
    if signed is None:
        yield "signature none"
    elif "problem" in signed:
        yield f"signature {signed['problem']}"
    else:
        parts = (
            signed["alg"],
            f"key {signed['kid']}" if signed["kid"] else "",
            f"scope {signed['scope']}" if signed["scope"] else "",
            f"{signed['files']} files; not verified",
        )
        yield f"signature {', '.join(filter(None, parts))}"
    for namespace, names in found["namespaces"].items():
        yield f"{namespace}"
        for name in names:
            yield f"  {name} ({found['files'][name[1:]]} bytes)"
    for name in found["ignored"]:
        yield f"ignored: /{name}"
    for problem in found["problems"]:
        yield f"problem: {problem}"
