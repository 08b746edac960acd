"""The counts that `build-studies` ends with."""

from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ich25d.dicom.codes import CODES
from ich25d.progress import many

RSNA_SLICES = 752_803
"""Slices of the RSNA 2019 training set, for the projection of a store's size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSummary:
    """Counts of a finished build: seen = used + refused + not DICOM."""

    out: Path
    n_seen: int
    """Files, archive members and table rows looked at."""
    n_used: int
    """Slices in the store."""
    n_refused: int
    """Images refused; qc.csv says why."""
    n_not_dicom: int
    """Files that are no DICOM at all."""
    n_series: int
    n_series_read: int
    """Series that were read this time, also those that nothing came of."""
    n_unchanged: int
    """Series in the store that weren't read this time."""
    n_labelled: int
    n_patients: int
    n_bytes: int
    """Of all volumes."""
    size: int
    crop: str
    refusals: Counter[str]
    """Rows of qc.csv by code, of refusals."""
    remarks: Counter[str]
    """Rows of qc.csv by code, of remarks."""

    @property
    def exit_code(self) -> int:
        """0, or 1 when something was refused; files that are no DICOM don't count."""
        return 1 if self.refusals or self.n_refused else 0

    @property
    def bytes_per_slice(self) -> float:
        """Compressed bytes a slice."""
        return self.n_bytes / self.n_used if self.n_used else 0.0

    @property
    def projected_gb(self) -> float:
        """Size in GB of a store of the whole RSNA training set at this size and crop."""
        return self.bytes_per_slice * RSNA_SLICES / 1e9

    def lines(self) -> list[str]:
        """Return the command's report."""
        lines = [
            f"{self.out}: {many(self.n_used, 'slice')} of {self.n_series:,} series and "
            f"{many(self.n_patients, 'patient')} at {self.size} px (crop {self.crop}), "
            f"{many(self.n_labelled, 'slice')} with labels",
            f"seen {self.n_seen:,} = used {self.n_used:,} + refused {self.n_refused:,} + "
            f"no DICOM {self.n_not_dicom:,}; series read {self.n_series_read:,}, unchanged {self.n_unchanged:,}",
            f"{self.bytes_per_slice:,.0f} bytes a slice; {RSNA_SLICES:,} slices would take {self.projected_gb:.1f} GB",
        ]
        for title, codes in (("refused", self.refusals), ("remarks", self.remarks)):
            if codes:
                lines.append(f"{title} (qc.csv):")
                lines += [f"  {n:>7,}  {code:<18} {CODES[code].meaning}" for code, n in codes.most_common()]
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the command's report for `--json`."""
        counts = {field.name.removeprefix("n_"): getattr(self, field.name) for field in fields(self)}
        return {
            **counts, "out": str(self.out), "bytes_per_slice": round(self.bytes_per_slice, 1),
            "projected_gb": round(self.projected_gb, 2),
        }  # fmt: skip
