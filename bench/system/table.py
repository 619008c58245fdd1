"""What was measured, as rows of one table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median


@dataclass(frozen=True, slots=True)
class Measured:
    """One number of one scene: the median of its runs."""

    scene: str
    case: str
    """Which database, how many slots and workers, how large a table."""
    measure: str
    values: tuple[float, ...]
    unit: str

    @property
    def median(self) -> float:
        """Of all runs."""
        return median(self.values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    return sorted(values)[max(ceil(share * len(values)) - 1, 0)]


def rendered(rows: Iterable[Measured]) -> str:
    """As Markdown, with the least and the greatest of several runs."""
    lines = ["| scene | case | measure | median | runs |", "|---|---|---|---|---|"]
    for row in rows:
        runs = f"{len(row.values)}"
        if len(row.values) > 1:
            runs += f": {_number(min(row.values))} to {_number(max(row.values))}"
        lines.append(f"| {row.scene} | {row.case} | {row.measure} | {_number(row.median)} {row.unit} | {runs} |")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits say enough
