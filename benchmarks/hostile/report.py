"""The results: a line as soon as a row is done, and a table of all at the end."""

from __future__ import annotations

from dataclasses import dataclass

from .table import Row


@dataclass(frozen=True)
class Result:
    """What one attack on one host came to."""

    row: Row
    host: str
    measure: dict[str, float]
    failure: str
    seconds: float

    @property
    def over(self) -> bool:
        """Whether the row is over its bound."""
        return bool(self.failure) or any(self.measure[unit] > bound for unit, bound in self.row.bounds.items())

    def cells(self) -> list[str]:
        """Return the row of the table."""
        bounds = self.row.bounds
        measured = [f"{self.measure[unit]:,.10g} {unit}" for unit in bounds if unit in self.measure]
        allowed = [f"{bound:,.10g} {unit}" for unit, bound in bounds.items()]
        figures = self.failure[:60] or ", ".join(measured)
        return [self.row.name, self.host, figures, ", ".join(allowed), "OVER" if self.over else "ok"]


HEAD = ["attack", "host", "measured", "bound", ""]
WIDTHS = [20, 28, 34, 34, 4]


def line(result: Result) -> str:
    """Return the line that is printed when a row is done."""
    cells = "  ".join(cell.ljust(width) for cell, width in zip(result.cells(), WIDTHS, strict=True))
    return f"{cells}  {result.seconds:5.1f} s"


def table(results: list[Result]) -> str:
    """Return everything as a simple table of reStructuredText."""
    rows = [HEAD[:-1] + ["within"], *(result.cells() for result in results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule, ""])
