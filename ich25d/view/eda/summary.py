"""What `ich25d eda` says when it is done."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class EdaSummary:
    """What was found, and where it is."""

    page: Path
    n_images: int
    n_series: int
    """0 where series aren't known."""
    n_refused: int
    """Label rows or images that this call left out."""
    positives: dict[str, int]
    """Positive slices by label."""
    n_tables: int
    n_figures: int
    warnings: list[str]
    """What tells the label and isn't blood."""

    @property
    def exit_code(self) -> int:
        """1 when labels were refused."""
        return 1 if self.n_refused else 0

    def lines(self) -> list[str]:
        """Say it for people."""
        series = f" in {self.n_series:,} series" if self.n_series else ""
        counts = ", ".join(f"{label} {n:,}" for label, n in self.positives.items()) or "no labels"
        said = [f"{self.n_images:,} images{series}", f"positive slices: {counts}"]
        if self.n_refused:
            said.append(f"{self.n_refused:,} label rows or images left out; tables/label_oddities.csv names them")
        said += [f"mind: {warning}" for warning in self.warnings]
        return [
            *said,
            f"page    {self.page}",
            f"beside it {self.n_tables} tables (CSV) and {self.n_figures} figures (PNG)",
        ]

    def to_dict(self) -> dict[str, Any]:
        """Say it for machines."""
        return {**asdict(self), "page": str(self.page)}
