"""What a command would do with sources, before a pixel is read: found, grouped, refused and why. Nothing is written."""

import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from ich25d.dicom.codes import CODES
from ich25d.errors import StoreError
from ich25d.progress import many
from ich25d.studies.build import check_request, matched
from ich25d.studies.labelfile import read_labels
from ich25d.studies.no_usable_input import nothing_used
from ich25d.studies.plan import make_plan
from ich25d.studies.pool.local_pool import LocalPool
from ich25d.studies.qc import NO_DICOM, QcRow, is_refused, safe_cell, settled
from ich25d.studies.store_dir.store import read_marker
from ich25d.studies.volumes.read_many import BYTES_PER_PX
from ich25d.studies.volumes.volume import Crop
from ich25d.summary import Summary

_SERIES = 40
"""Series that people are shown; `--json` has all."""
_LONGEST = 60
"""Letters of an id or a path that a line shows, from its end."""


KINDS = REFUSED, NO_IMAGE, REMARKS = "refused", "no DICOM", "remarks"
"""What rows of `qc.csv` say of an image: not used, none at all, used."""


class Groups(Protocol):
    """A series that was found: of files or of a study store."""

    @property
    def series_id(self) -> str:
        """SeriesInstanceUID."""

    @property
    def study_id(self) -> str:
        """StudyInstanceUID."""

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class DrySeries:
    """A series that would be read."""

    series_id: str
    study_id: str
    n_slices: int
    slice_spacing_mm: float | None
    rows: int
    """0 where only the pixels, or a study store, tell."""
    columns: int
    remarks: tuple[str, ...]
    """Codes."""


@dataclass(frozen=True, slots=True)
class DryReason:
    """What shares a code among refusals, or among remarks."""

    code: str
    n: int
    kind: str
    """One of `KINDS`."""
    meaning: str
    example: str
    """The file, image or series of one of them, and its detail."""


@dataclass(frozen=True, slots=True)
class DryRun(Summary):
    """What a command would do; pixels may still refuse slices that headers don't."""

    n_seen: int
    """Files, archive members, table rows and stored slices looked at."""
    series: tuple[DrySeries, ...]
    reasons: tuple[DryReason, ...]
    """By kind, the commonest first."""
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0, or 1 when something would be refused, as of the command itself."""
        return 1 if any(one.kind == REFUSED for one in self.reasons) else 0

    def lines(self) -> list[str]:
        """Return the lines that the command prints."""
        n_slices = sum(one.n_slices for one in self.series)
        n_studies = len({one.study_id for one in self.series})
        lines = [
            f"dry run, nothing is written: {many(self.n_seen, 'file or image', 'files and images')} looked at, "
            f"{many(n_slices, 'slice')} in {self.n_series:,} series of {many(n_studies, 'study', 'studies')} would be "
            "read"
        ]
        for one in self.series[:_SERIES]:
            gap = "" if one.slice_spacing_mm is None else f"  {one.slice_spacing_mm:.2f} mm apart"
            size = f"  {one.rows} x {one.columns} px" if one.rows else ""
            said = f"  {' '.join(one.remarks)}" if one.remarks else ""
            lines.append(f"  {_shown(one.series_id)}  {many(one.n_slices, 'slice')}{gap}{size}{said}")
        if len(self.series) > _SERIES:
            lines.append(f"  and {len(self.series) - _SERIES:,} more (--json has all)")
        for kind in KINDS:
            of_kind = [one for one in self.reasons if one.kind == kind]
            if of_kind:
                lines.append(f"{kind}:")
            for reason in of_kind:
                lines.append(f"  {reason.n:>7,}  {reason.code:<18} {reason.meaning}")
                lines.append(f"  {'':>7}  {'':<18} as {reason.example}")
        return [*lines, *self.notes]

    @property
    def n_series(self) -> int:
        """Series that would be read."""
        return len(self.series)


def dry_build(
    sources: Sequence[Path],
    out: Path,
    *,
    only: Sequence[str] = (),
    labels: Path | None = None,
    images: Sequence[Path] = (),
    masks: Sequence[str] = (),
    accept: Sequence[str] = (),
    crop: str = "head",
    size: int = 256,
    workers: int = 0,
) -> DryRun:
    """Say what `build_studies` would do; the arguments are its own.

    Raises:
        UsageError: As `build_studies`: options or sources that don't fit together, or nothing that can be used.
        LabelError: The label table can't be read, or is of other images.
        StoreError: `out` holds a store of another size, crop or version.
    """
    check_request(sources, labels=labels, images=images, accept=accept, crop=crop)
    marker = read_marker(out)
    if marker is not None and (marker["size"], marker["crop"]) != (size, crop):
        raise StoreError(
            f"a store keeps the size and crop it was made with (made with --size {marker['size']} --crop "
            f"{marker['crop']}) in {out}; give the same, or another --out"
        )
    table, label_qc = read_labels(labels) if labels else (None, [])
    plan = make_plan(sources, only, images, masks=masks, accept=accept, pool=LocalPool(workers))
    if not plan.series:
        raise nothing_used(plan.n_seen, plan.qc)
    notes = []
    if table is not None and labels is not None:
        known = set(matched(plan, table, labels).index)
        n_known = sum(image_id in known for series in plan.series for image_id in series.image_ids)
        notes.append(f"labels: {many(n_known, 'slice')} of {sum(map(len, plan.series)):,} are in {labels}")
    need = BYTES_PER_PX[cast(Crop, crop)] * size**2 * sum(map(len, plan.series))
    place = next(folder for folder in (out, *out.resolve().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    notes.append(f"{out} would take at most about {need / 1e6:,.0f} MB ({free / 1e9:.1f} GB are free)")
    return dry_run(plan.series, [*plan.qc, *label_qc], plan.n_seen, notes)


def dry_run(series: Iterable[Groups], qc: Iterable[QcRow], n_seen: int, notes: Sequence[str] = ()) -> DryRun:
    """Return what was found as a summary, for any command that reads series.

    Args:
        series: The series that would be read.
        qc: All refusals and remarks that headers gave rise to.
        n_seen: Files and images looked at.
        notes: Further lines for people.
    """
    rows = settled(qc)
    codes: dict[str, set[str]] = {}
    for row in rows:
        if row.series_id and not is_refused(row):
            codes.setdefault(row.series_id, set()).add(row.code)
    found = tuple(_dry_series(one, codes.get(one.series_id, ())) for one in series)
    counts = Counter(row.code for row in rows)
    first = {row.code: row for row in sorted(rows, reverse=True)}
    reasons = [
        DryReason(code, n, _kind(first[code]), CODES[code].meaning, _example(first[code])) for code, n in counts.items()
    ]
    reasons.sort(key=lambda one: (KINDS.index(one.kind), -one.n, one.code))
    return DryRun(n_seen, found, tuple(reasons), tuple(notes))


def _dry_series(series: Any, codes: Collection[str]) -> DrySeries:  # noqa: ANN401  # a plan, or a series of a store
    rows, columns = getattr(series, "shape", (0, 0))
    spacing = getattr(series, "slice_spacing_mm", None)
    return DrySeries(
        series.series_id, series.study_id, len(series), spacing, int(rows), int(columns), tuple(sorted(codes))
    )


def _kind(row: QcRow) -> str:
    if row.code in NO_DICOM:
        return NO_IMAGE
    return REFUSED if is_refused(row) else REMARKS


def _example(row: QcRow) -> str:
    place = _shown(row.source or row.image_id or row.series_id)
    return f"{place}: {safe_cell(row.detail)}" if row.detail else place


def _shown(text: str) -> str:
    return safe_cell(text if len(text) <= _LONGEST else f"...{text[-_LONGEST:]}")
