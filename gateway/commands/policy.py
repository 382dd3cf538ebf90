"""`gateway policy`: test and check policies."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from gateway.bundle.folder import PolicySources, parse_files, read_files
from gateway.commands.options import config_file
from gateway.commands.token import offline_keyrings
from gateway.errors import ConfigError, Problem
from gateway.model import Facts, Forward, Head, Need, Refuse
from gateway.pipeline import plan
from gateway.record.encode import encode
from gateway.rego import CompileError, Policy
from gateway.rego.compiler import Unit, all_good, compile_all
from gateway.rego.testing import TestResult, run_tests, suites
from gateway.snapshot import Snapshot, as_config_error, load

EXIT_TESTS = 2


@click.group()
def policy() -> None:
    """Test and check policies."""


@policy.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True))
@config_file
@click.option("--run", "pattern", default="", help="Only tests whose full name fits this regex.")
@click.option("--verbose", "-v", is_flag=True, help="Show passed tests and printed output, too.")
@click.option(
    "--token", type=click.File("r"), help="Send a request with the token in FILE (- is stdin)."
)
@click.option("--anonymous", is_flag=True, help="Send a request without a token.")
@click.option("--method", "-X", default="GET", show_default=True, help="The request's method.")
@click.option("--path", "target", default="/", show_default=True, help="Its path and query.")
@click.option("--header", "-H", multiple=True, metavar="NAME: VALUE", help="A header.")
@click.option("--body", help="The body as text, or @FILE.")
@click.option("--host", default="localhost", show_default=True, help="The Host.")
@click.option("--address", default="127.0.0.1", show_default=True, help="The client's address.")
@click.option(
    "--jwks", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Keys for issuers that fetch their own.",
)  # fmt: skip
@click.option("--format", "shape", type=click.Choice(["pretty", "json"]), default="pretty")
def test(
    paths: tuple[Path, ...],
    path: Path,
    pattern: str,
    token: Any,
    method: str,
    target: str,
    header: tuple[str, ...],
    body: str | None,
    host: str,
    address: str,
    jwks: Path | None,
    shape: str,
    *,
    verbose: bool,
    anonymous: bool,
) -> None:
    """Run the `test_` rules below PATH (policy.paths of gateway.yaml, or policies/, by default).

    With --token or --anonymous one request goes through the whole pipeline of gateway.yaml
    instead: its decision, reasons and headers are printed.

    Exit codes: 0 all passed, or the request is allowed; 2 a test failed, or the request is
    refused; 1 something could not be run.

    Examples: gateway policy test; gateway policy test --token alice.jwt -X POST --path /orders
    """
    if token is not None or anonymous:
        head = _head(
            token.read().strip() if token is not None else None, method, target, header, host,
            address, load(path, os.environ), body,
        )  # fmt: skip
        _send(*head, jwks, shape)
        return
    sources = _sources(paths, path)
    results = _run(sources, pattern)
    _report(results, shape, verbose=verbose)
    if not results and not pattern:
        click.echo("no tests found", err=True)
    if any(result.outcome in ("fail", "error") for result in results):
        raise click.exceptions.Exit(EXIT_TESTS)


@policy.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True))
@config_file
@click.option("--emit", type=click.Choice(["python"]), help="Print the generated code.")
@click.option("--format", "shape", type=click.Choice(["pretty", "json"]), default="pretty")
def check(paths: tuple[Path, ...], path: Path, emit: str | None, shape: str) -> None:
    """Compile the policies below PATH and report every fault with its place.

    Exit codes: 0 no fault, 1 faults.

    Example: gateway policy check policies
    """
    try:
        sources = _sources(paths, path)
        if not sources.modules:
            raise ConfigError((Problem("no .rego file", file=str(paths[0] if paths else path)),))
        tests = suites(sources.modules, sources.tests)
        units = [
            Unit(modules=modules) for modules in (sources.modules, *(s.modules for s in tests))
        ]
        program = all_good(compile_all(units))[0]
        Policy(program, sources.data)
    except (ConfigError, CompileError) as error:
        found = as_config_error(error) if isinstance(error, CompileError) else error
        if shape == "json":
            click.echo(json.dumps({"problems": [_problem(one) for one in found.problems]}))
            raise click.exceptions.Exit(1) from None
        raise found from None
    if emit:
        click.echo(program.source)
    elif shape == "json":
        click.echo(json.dumps({"problems": [], "revision": sources.revision}))
    else:
        click.echo(f"{len(sources.modules)} modules, no fault; revision {sources.revision}")


def _sources(paths: tuple[Path, ...], config: Path) -> PolicySources:
    if not paths:
        paths = (Path("policies"),)
        if config.exists():
            from gateway.config.load import load as load_config  # noqa: PLC0415

            paths = load_config(config, os.environ).config.policy.paths
    absolute = tuple(path.absolute() for path in paths)
    return parse_files(read_files(absolute), absolute)


def _run(sources: PolicySources, pattern: str) -> list[TestResult]:
    try:
        selected = re.compile(pattern)
    except re.error as error:
        raise click.BadParameter(f"--run: {error}") from None
    found = suites(sources.modules, sources.tests)
    programs = all_good(compile_all([Unit(modules=suite.modules) for suite in found]))
    results = [
        result
        for suite, program in zip(found, programs, strict=True)
        for result in run_tests(
            program,
            suite.tests,
            sources.data,
            now=time.time(),
            selected=lambda name: bool(selected.search(name)),
        )
    ]
    return sorted(results, key=lambda result: (result.file, result.row))


def _report(results: list[TestResult], shape: str, *, verbose: bool) -> None:
    if shape == "json":
        click.echo(json.dumps([_as_opa(result) for result in results], indent=2))
        return
    for result in results:
        if result.outcome != "pass" or verbose:
            mark = result.outcome.upper()
            click.echo(f"{result.file}:{result.row}: {result.full_name}: {mark}")
            if result.message:
                click.echo(f"  {result.message}")
            for line in result.output:
                click.echo(f"  | {line}")
    counts = {kind: sum(r.outcome == kind for r in results) for kind in ("pass", "fail", "error")}
    skipped = sum(result.outcome == "skip" for result in results)
    said = [f"PASS: {counts['pass']}/{len(results)}"]
    said += [
        f"{kind.upper()}: {count}" for kind, count in counts.items() if kind != "pass" and count
    ]
    click.echo("  ".join([*said, *([f"SKIPPED: {skipped}"] if skipped else [])]))


def _as_opa(result: TestResult) -> dict[str, Any]:
    """A result in the shape of `opa test --format json`."""
    made: dict[str, Any] = {
        "location": {"file": result.file, "row": result.row, "col": 1},
        "package": result.package,
        "name": result.name,
    }
    if result.output:
        made["output"] = "\n".join(result.output)
    return made | {result.outcome: True} if result.outcome != "pass" else made


def _problem(problem: Problem) -> dict[str, Any]:
    return {name: getattr(problem, name) for name in Problem.__slots__}


def _head(
    token: str | None,
    method: str,
    target: str,
    lines: tuple[str, ...],
    host: str,
    address: str,
    snapshot: Snapshot,
    body: str | None,
) -> tuple[Head, bytes, Snapshot]:
    content = Path(body[1:]).read_bytes() if body and body[0] == "@" else (body or "").encode()
    headers = [(b"host", host.encode())]
    if token is not None:
        credential = snapshot.config.credentials.header.encode()
        headers.append((credential, b"Bearer " + token.encode("utf-8", "replace")))
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise click.BadParameter(f"expected NAME: VALUE, got {line!r}")
        headers.append((name.strip().lower().encode(), value.strip().encode()))
    if content:
        headers.append((b"content-length", b"%d" % len(content)))
    path, _, query = target.encode().partition(b"?")
    head = Head(
        id="dry-run",
        method=method.upper(),
        scheme="https",
        authority=host.encode(),
        raw_path=path,
        query_string=query,
        headers=tuple(headers),
        http_version="1.1",
        peer=address,
    )
    return head, content, snapshot


def _send(head: Head, content: bytes, snapshot: Snapshot, jwks: Path | None, shape: str) -> None:
    facts = Facts(keyrings=offline_keyrings(snapshot, jwks))
    outcome = plan(head, facts, snapshot, time.time())
    if isinstance(outcome, Need) and outcome.kind == "body":
        outcome = plan(head, replace(facts, body=content), snapshot, time.time())
    if isinstance(outcome, Need):
        raise click.ClickException(f"needs {outcome.kind} of {outcome.issuer!r}: give --jwks FILE")
    trail = outcome.trail
    decision = trail.decision
    result: dict[str, Any] = {
        "outcome": "forwarded" if isinstance(outcome, Forward) else "answered",
        "status": 200 if isinstance(outcome, Forward) else outcome.status,
        "route": trail.match.route.id if trail.match else None,
        "subject": trail.principal.subject if trail.principal else None,
        "reasons": [
            {"code": reason.code, "message": reason.message}
            for reason in (decision.reasons if decision else ())
        ],
        "decision": decision.result if decision else None,
        "headers": [
            f"{name.decode('latin-1')}: {value.decode('latin-1')}"
            for name, value in outcome.headers
        ],
        "revision": trail.revision,
    }
    if isinstance(outcome, Refuse):
        result |= {"outcome": "refused", "code": outcome.code.text, "detail": trail.detail}
    if isinstance(outcome, Forward):
        result["target"] = outcome.target.decode()
        result["upstream"] = outcome.upstream.url
    _print(result, shape)
    if isinstance(outcome, Refuse):
        raise click.exceptions.Exit(EXIT_TESTS)


def _print(result: dict[str, Any], shape: str) -> None:
    if shape == "json":
        sys.stdout.write(encode(result).decode() + "\n")
        return
    for name, value in result.items():
        if name == "headers":
            click.echo("headers:")
            for line in value:
                click.echo(f"  {line}")
        elif name == "reasons":
            for reason in value:
                click.echo(f"reason: {reason['code']}: {reason['message']}")
        elif value not in (None, ""):
            text = value if isinstance(value, str | int) else encode(value).decode()
            click.echo(f"{name}: {text}")
