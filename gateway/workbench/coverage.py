"""Which lines of the policies the tests and scenarios have reached."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

from gateway.record.text import one_line
from gateway.rego.coverage import FileCoverage, coverage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from gateway.rego import Program


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """The lines of each policy file with something to evaluate: those reached, and the others."""

    files: Mapping[str, FileCoverage]

    @classmethod
    def of(cls, runs: Iterable[tuple[Program, Collection[int]]], files: Collection[str]) -> Self:
        """What programs compiled for coverage have reached together, in `files` only."""
        covered: dict[str, set[int]] = {name: set() for name in files}
        lines: dict[str, set[int]] = {name: set() for name in files}
        for program, reached in runs:
            for name, found in coverage(program, reached).items():
                if name in lines:
                    covered[name].update(found.covered)
                    lines[name].update(found.covered, found.not_covered)
        return cls(
            files={
                name: FileCoverage(
                    covered=tuple(sorted(covered[name])),
                    not_covered=tuple(sorted(lines[name] - covered[name])),
                )
                for name in sorted(files)
            }
        )

    @property
    def total(self) -> FileCoverage:
        """All files as one; line numbers have no meaning in it."""
        return FileCoverage(
            covered=tuple(row for found in self.files.values() for row in found.covered),
            not_covered=tuple(row for found in self.files.values() for row in found.not_covered),
        )

    def as_opa(self) -> dict[str, Any]:
        """In the shape of `opa test --coverage`."""
        return {
            "files": {
                name: {"covered": _ranges(found.covered), "not_covered": _ranges(found.not_covered)}
                | _numbers(found)
                for name, found in self.files.items()
            }
        } | _numbers(self.total)

    def as_lines(self) -> Iterator[str]:
        """For people: the part of each file, and the lines that nothing reached."""
        width = max(map(len, self.files), default=0)
        for name, found in self.files.items():
            missed = ", ".join(
                f"{start}-{end}" if end > start else str(start)
                for start, end in _spans(found.not_covered)
            )
            line = f"{name:<{width}} {found.percent:6.1f} %" + (f"  not {missed}" if missed else "")
            yield one_line(line)
        total = self.total
        lines = len(total.covered) + len(total.not_covered)
        yield f"{'all':<{width}} {total.percent:6.1f} %  {len(total.covered)} of {lines} lines"


def _numbers(found: FileCoverage) -> dict[str, Any]:
    return {
        "covered_lines": len(found.covered),
        "not_covered_lines": len(found.not_covered),
        "coverage": round(found.percent, 2),
    }


def _ranges(rows: tuple[int, ...]) -> list[dict[str, Any]]:
    return [{"start": {"row": start}, "end": {"row": end}} for start, end in _spans(rows)]


def _spans(rows: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return runs of consecutive rows, each as its first and last."""
    if not rows:
        return []
    breaks = [index for index, (one, two) in enumerate(pairwise(rows), 1) if two != one + 1]
    starts, ends = [0, *breaks], [*breaks, len(rows)]
    return [(rows[start], rows[end - 1]) for start, end in zip(starts, ends, strict=True)]
