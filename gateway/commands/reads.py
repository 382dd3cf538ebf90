"""What `gateway policy check` tells of the rules that decide: what they read, what is indexed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from gateway.decide.fields import misread
from gateway.errors import Problem
from gateway.rego.index import places
from gateway.snapshot import DEFAULT_ENTRYPOINTS, default_entrypoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.config.model import Config
    from gateway.rego import Footprint, Program

NATIVE = frozenset(("native",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A rule that decides: the dialects in which routes ask it, and what it reads of the input."""

    dialects: frozenset[str]
    footprint: Footprint


def entrypoints(config: Config | None, program: Program) -> dict[str, frozenset[str]]:
    """Return the rules that the routes of a configuration ask, and in which dialects.

    Without a configuration: the one that a gateway asks by default.
    """
    if config is None:
        found = next(filter(program.defines, DEFAULT_ENTRYPOINTS), None)
        return {} if found is None else {found: NATIVE}
    default = default_entrypoint(config, program)
    asked: dict[str, frozenset[str]] = {}
    for route in config.routes:
        name = (route.entrypoint or default).strip("/")
        if program.defines(name):
            asked[name] = asked.get(name, frozenset()) | {route.dialect}
    return asked


def deciding(config: Config | None, program: Program, named: str | None) -> str:
    """The rule that an option names, or the first that decides; ClickException without one."""
    name = (named or next(iter(entrypoints(config, program)), "")).strip("/")
    if not program.defines(name):
        what = f"the policies define no {name}" if name else "no rule is known that decides"
        raise click.ClickException(f"{what}; name one with --entrypoint")
    return name


def warnings(asked: Mapping[str, Asked]) -> list[Problem]:
    """Return a warning for each field that a rule reads, and that no request has."""
    found = [
        Problem(
            f"no request has {dotted(path)}, so it is always undefined",
            file=site.file,
            line=site.row,
            column=site.col,
            remedy=remedy,
        )
        for each in asked.values()
        if each.dialects == NATIVE
        for path, site in each.footprint.places.items()
        if (remedy := misread(path)) is not None
    ]
    return list(dict.fromkeys(found))


def dotted(path: tuple[str | int, ...]) -> str:
    """Return a path below `input` as Rego writes it."""
    return "input" + "".join(
        f".{name}"
        if isinstance(name, str) and name.isidentifier() and name.isascii()
        else f"[{json.dumps(name)}]"
        for name in path
    )


def indexes(program: Program) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Return for each rule with an index the number of its bodies, and what it is picked by."""
    names = {number: path for path, (number, _) in program.rules.items()}
    return {
        ".".join(("data", *names[number])): (
            count,
            tuple(
                sorted({_argument(position) + dotted(path)[5:] for position, path in places(test)})
            ),
        )
        for number, (test, count) in program.indexes.items()
        if number in names
    }


def _argument(position: int) -> str:
    return ("input", "data")[position] if position < 2 else f"argument {position - 1}"


def as_json(asked: Mapping[str, Asked], program: Program) -> dict[str, Any]:
    """Return all of it as JSON."""
    return {
        "entrypoints": {
            name: {
                "dialects": sorted(each.dialects),
                "reads": [
                    {"input": list(path), "file": site.file, "line": site.row}
                    for path, site in each.footprint.places.items()
                ],
                "impure": sorted(each.footprint.impure),
            }
            for name, each in asked.items()
        },
        "indexes": {
            name: {"bodies": count, "by": list(by)}
            for name, (count, by) in indexes(program).items()
        },
    }


def as_text(asked: Mapping[str, Asked], program: Program) -> Iterator[str]:
    """Yield all of it, line by line."""
    for name, each in asked.items():
        yield f"{name} ({', '.join(sorted(each.dialects))}) reads"
        for path, site in each.footprint.places.items():
            place = f"  {site.file}:{site.row}" if site.row else ""
            yield f"  {dotted(path)}{place}"
        if not each.footprint.places:
            yield "  nothing of the input"
        if each.footprint.impure:
            yield f"  and calls {', '.join(sorted(each.footprint.impure))}"
    for name, (count, by) in indexes(program).items():
        yield f"{name}: {count} bodies, picked by {', '.join(by)}"
