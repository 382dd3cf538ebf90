"""Which lines of the policies decisions have reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.rego.program import Program


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCoverage:
    """The lines of one module with something to evaluate: those reached, and the others."""

    covered: tuple[int, ...]
    not_covered: tuple[int, ...]

    @property
    def percent(self) -> float:
        """The part of the lines that was reached; 100 for a module without any."""
        lines = len(self.covered) + len(self.not_covered)
        return 100.0 * len(self.covered) / lines if lines else 100.0


def coverage(program: Program, reached: Collection[int]) -> dict[str, FileCoverage]:
    """Return the coverage of each module of a program that was compiled for it, by file name.

    `reached` are the numbers that decisions put into their observer. A line counts as reached if
    anything on it was.
    """
    rows: dict[str, dict[int, bool]] = {name: {} for name in program.files}
    for number, site in enumerate(program.sites):
        if site.file in rows and site.row:
            lines = rows[site.file]
            lines[site.row] = lines.get(site.row, False) or number in reached
    return {
        name: FileCoverage(
            covered=tuple(sorted(row for row, hit in lines.items() if hit)),
            not_covered=tuple(sorted(row for row, hit in lines.items() if not hit)),
        )
        for name, lines in rows.items()
    }
