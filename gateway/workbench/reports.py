"""Reports of tests and scenarios: for people, for programs, for CI systems."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote
from xml.etree import ElementTree as ET

from gateway.record.text import one_line, readable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from gateway.workbench.coverage import Coverage
    from gateway.workbench.results import Case, Check

KINDS: Final = {"pass": "passed", "fail": "failed", "error": "could not run", "skip": "skipped"}

SARIF_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_RULES: Final = {"fail": "test-failed", "error": "test-error"}


def counted(number: int, noun: str) -> str:
    """A number and its noun: `1 test`, `2 tests`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def summary(checks: Sequence[Check]) -> str:
    """How many there were, and what became of them."""
    counts = {
        said: count
        for kind, said in KINDS.items()
        if (count := sum(check.outcome == kind for check in checks))
    }
    parts = (f"{count} {said}" for said, count in counts.items())
    return ": ".join(filter(None, (counted(len(checks), "test"), ", ".join(parts))))


# --- pretty

MOST_LINES: Final = 40
"""So much of how a decision came about is shown of each test, unless all is asked for."""


def pretty(checks: Sequence[Check], *, verbose: bool) -> str:
    """For people: what did not pass, why, and what was printed; all of them if `verbose`."""
    lines: list[str] = []
    for check in checks:
        if check.outcome != "pass" or verbose:
            lines += map(one_line, _pretty(check, verbose=verbose))
    return "\n".join((*lines, summary(checks)))


def _pretty(check: Check, *, verbose: bool) -> Iterator[str]:
    name = check.full_name if check.is_rule else check.name
    yield f"{check.file}:{check.row}: {name}: {check.outcome.upper()}"
    yield from (f"  {line}" for line in check.lines)
    if verbose:
        yield from _pretty_cases(check.cases, "  ")
    yield from (f"  | {line}" for line in check.output)
    shown = check.explained if verbose else check.explained[:MOST_LINES]
    yield from (f"  {line}" for line in shown)
    if left := len(check.explained) - len(shown):
        yield f"  … {counted(left, 'line')} more with --verbose"


def _pretty_cases(cases: Iterable[Case], indent: str) -> Iterator[str]:
    for case in cases:
        yield f"{indent}{case.name}: {'PASS' if case.passed else 'FAIL'}"
        yield from _pretty_cases(case.cases, indent + "  ")


# --- JSON


def as_json(checks: Sequence[Check], coverage: Coverage | None) -> str:
    """In the shape of `opa test --format json`; with coverage, that report instead, as there."""
    if coverage is not None:
        return json.dumps(coverage.as_opa(), indent=2)
    return json.dumps([_as_opa(check) for check in checks], indent=2)


def _as_opa(check: Check) -> dict[str, Any]:
    made: dict[str, Any] = {
        "location": {"file": check.file, "row": check.row, "col": 1},
        "package": check.suite,
        "name": check.name,
        "duration": round(check.seconds * 1e9),
    }
    if check.outcome == "error":
        made["error"] = {"message": "; ".join(check.lines)}
    elif check.outcome != "pass":
        made[check.outcome] = True
        if check.lines:
            made["message"] = "; ".join(check.lines)
    if check.output:
        output = "".join(f"{line}\n" for line in check.output)
        made["output"] = base64.b64encode(output.encode(errors="replace")).decode()
    if check.cases:
        made["sub_results"] = _sub_results(check.cases)
    return made


def _sub_results(cases: Iterable[Case]) -> dict[str, Any]:
    return {
        case.name: {"name": case.name}
        | ({} if case.passed else {"fail": True})
        | ({"sub_results": _sub_results(case.cases)} if case.cases else {})
        for case in cases
    }


# --- JUnit


_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(checks: Sequence[Check], _coverage: Coverage | None) -> str:
    """As JUnit XML, the form that CI systems agree on."""
    root = ET.Element("testsuites")
    suites: dict[str, list[Check]] = {}
    for check in checks:
        suites.setdefault(check.suite, []).append(check)
    for name, members in suites.items():
        suite = ET.SubElement(
            root,
            "testsuite",
            name=_xml(readable(name)),
            tests=str(len(members)),
            failures=str(sum(check.outcome == "fail" for check in members)),
            errors=str(sum(check.outcome == "error" for check in members)),
            skipped=str(sum(check.outcome == "skip" for check in members)),
            time=f"{sum(check.seconds for check in members):.3f}",
        )
        for check in members:
            _test_case(suite, check)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True)


def _test_case(suite: ET.Element, check: Check) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        classname=_xml(readable(check.suite)),
        name=_xml(readable(check.name)),
        time=f"{check.seconds:.3f}",
    )
    lines = (f"{check.file}:{check.row}", *check.lines, *check.explained)
    text = _xml("\n".join(map(one_line, lines)))
    match check.outcome:
        case "fail":
            ET.SubElement(case, "failure", message=_first(check)).text = text
        case "error":
            ET.SubElement(case, "error", message=_first(check)).text = text
        case "skip":
            ET.SubElement(case, "skipped")
    if check.output:
        ET.SubElement(case, "system-out").text = _xml("\n".join(map(one_line, check.output)))


def _first(check: Check) -> str:
    return _xml(one_line(check.lines[0])) if check.lines else ""


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


# --- GitHub


def github(checks: Sequence[Check], _coverage: Coverage | None) -> str:
    """As workflow commands, which GitHub shows beside the lines that they are about."""
    lines = [
        f"::error file={_property(check.file)},line={check.row},title={_property(check.full_name)}"
        f"::{_data(chr(10).join(map(readable, check.lines)) or check.outcome)}"
        for check in checks
        if check.outcome in _RULES
    ]
    return "\n".join((*lines, summary(checks)))


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(readable(text)).replace(":", "%3A").replace(",", "%2C")


# --- SARIF


def sarif(checks: Sequence[Check], _coverage: Coverage | None) -> str:
    """As SARIF 2.1.0: one result for each that did not pass."""
    results = [
        {
            "ruleId": _RULES[check.outcome],
            "level": "error",
            "message": {"text": _message((check.full_name, *check.lines))},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": _uri(check.file)},
                        "region": {"startLine": max(check.row, 1)},
                    }
                }
            ],
        }
        for check in checks
        if check.outcome in _RULES
    ]
    rules = [
        {"id": "test-failed", "shortDescription": {"text": "A test or scenario failed."}},
        {"id": "test-error", "shortDescription": {"text": "A test or scenario could not be run."}},
    ]
    driver = {"name": "gateway policy test", "rules": rules}
    run = {"tool": {"driver": driver}, "results": results}
    return json.dumps({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _message(lines: Iterable[str]) -> str:
    """Lines as the text of a message, in which no `[text](place)` is a link (§3.11.6)."""
    return "\n".join(map(readable, lines)).replace("](", "\\](")


def _uri(file: str) -> str:
    return quote(file, errors="surrogateescape")


REPORTS: Final[Mapping[str, Callable[[Sequence[Check], Coverage | None], str]]] = {
    "json": as_json,
    "junit": junit,
    "github": github,
    "sarif": sarif,
}
"""The reports for programs, by format."""
