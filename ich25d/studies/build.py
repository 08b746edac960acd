"""`build-studies`: sources in, a finished study store out; killed at any byte, it goes on where it was."""

import fcntl
import hashlib
import importlib.metadata
import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from ich25d.dicom.codes import is_refusal
from ich25d.errors import StoreError, UsageError
from ich25d.files import replacing, sha256_file, write_json
from ich25d.progress import bar, remark
from ich25d.studies.build_summary import BuildSummary
from ich25d.studies.labelfile import read_labels
from ich25d.studies.notebook import NAME as NOTEBOOK
from ich25d.studies.notebook import Done, Notebook
from ich25d.studies.plan import NO_DICOM, Plan, make_plan
from ich25d.studies.pool import TaskTimeoutError, WorkerLostError, map_series, n_workers
from ich25d.studies.qc import QcRow, write_qc
from ich25d.studies.series_plan import SeriesPlan
from ich25d.studies.store import FORMAT, VERSION, read_marker
from ich25d.studies.tables import SLICE_COLUMNS, Tables, check_match, make_tables
from ich25d.studies.verify import seal
from ich25d.studies.volume import Crop, read_series
from ich25d.studies.volume_file import volume_path, write_volume

COMMIT_S = 5.0
"""So much work at most is done twice after a kill."""

SLICE_SECONDS, SERIES_SECONDS = 2.0, 120.0
"""Time limit of a series: so much a slice and so much more; the slowest codec takes 0.03 s a slice."""

BYTES_PER_PX = 0.85
"""Compressed bytes a px, from the real scans with the head box, rounded up: for the check of free space."""

MOSTLY = 0.5
"""A call that would drop more than this share of a store is taken for a slip."""


def build_studies(
    sources: Sequence[Path],
    out: Path,
    *,
    only: Sequence[str] = (),
    labels: Path | None = None,
    images: Sequence[Path] = (),
    crop: str = "head",
    size: int = 256,
    folds: int = 5,
    seed: int = 0,
    workers: int = 0,
) -> BuildSummary:
    """Make a study store, or go on with one.

    The finished store holds what this call names, no more. Series whose files haven't changed aren't read again.

    Args:
        sources: Folders, DICOM files and zip archives, read in place.
        out: The store's folder.
        only: Globs that files and archive members must match, any of them.
        labels: Label table.
        images: Tables of images, as further sources.
        crop: `head` or `none`.
        size: Side of the stored slices in px.
        folds: Number of folds, by patient.
        seed: Seed of the folds.
        workers: Processes; 0 is one a core.

    Raises:
        UsageError: Options or sources that don't fit together; nothing is written.
        LabelError: The label table can't be read, or is of other images.
        StoreError: `out` holds a store of another size, crop or version, or another process is building it.
    """
    if not sources and not images:
        raise UsageError("there must be something to read; name folders, files, archives or --images")
    if crop not in get_args(Crop):
        raise UsageError(f"--crop must be one of {', '.join(get_args(Crop))} (got {crop!r})")
    for path in (*sources, *images, *([labels] if labels else [])):
        if not path.exists():
            raise UsageError(f"a source must exist (got {path})")
    table, label_qc = read_labels(labels) if labels else (None, [])
    parameters = {"size": size, "crop": crop}
    with _locked(out), _notebook(out, parameters) as notebook:
        plan = make_plan(sources, only, images, workers=workers, notebook=notebook)
        if not plan.series:
            raise UsageError(f"there must be a head CT series (got {plan.n_seen} files and none of use); see --only")
        if table is not None:
            ids = [image_id for series in plan.series if not series.labels for image_id in series.image_ids]
            check_match(ids, table, labels.name if labels else "")
        return _Build(out, plan, notebook, parameters, workers).run(table, label_qc, labels, folds, seed)


class _Build:
    """One call of `build_studies`, once the plan is made."""

    def __init__(self, out: Path, plan: Plan, notebook: Notebook, parameters: Mapping[str, Any], workers: int) -> None:
        self.out = out
        self.plan = plan
        self.notebook = notebook
        self.parameters = parameters
        self.workers = n_workers(workers)
        self.lost: dict[str, Done] = {}

    def run(
        self, table: pd.DataFrame | None, label_qc: list[QcRow], labels: Path | None, folds: int, seed: int
    ) -> BuildSummary:
        known = self.notebook.fingerprints()
        wanted = {series.series_id: series.fingerprint() for series in self.plan.series}
        gone = sorted(set(known) - set(wanted))
        if len(gone) > MOSTLY * len(known):
            raise UsageError(
                f"a store holds what one call names; this one would drop {len(gone)} of its {len(known)} series in "
                f"{self.out}; name all sources in one call, or choose another --out"
            )
        todo = [
            series
            for series in self.plan.series
            if known.get(series.series_id) != wanted[series.series_id] or not self._is_whole(series.series_id)
        ]
        self._check_space(todo)
        inputs = _digest([self.parameters, sorted(wanted.items()), folds, seed, labels and sha256_file(labels)])
        marker = read_marker(self.out)
        if todo or gone or marker is None or marker.get("inputs") != inputs:
            # From here on the tables and the volumes disagree, until store.json is written again.
            (self.out / "store.json").unlink(missing_ok=True)
        self._read(todo, wanted)
        self._drop(gone)
        order = [series.series_id for series in self.plan.series]
        own_labels = {
            image_id: values
            for series in self.plan.series
            for image_id, values in zip(series.image_ids, series.labels, strict=False)
            if values is not None
        }
        tables = make_tables(
            (self.lost.get(series_id) or self.notebook.done(series_id) or Done(None, {}, []) for series_id in order),
            labels=table, own_labels=own_labels, n_folds=folds, seed=seed,
        )  # fmt: skip
        qc = [*self.plan.qc, *label_qc, *tables.qc]
        if (self.out / "store.json").exists() and not self.lost:
            pass
        else:
            self._write(tables, qc, inputs, folds, seed)
        return self._summary(tables, qc, len(todo))

    def _is_whole(self, series_id: str) -> bool:
        """Say whether a series that is noted as done has its file still."""
        done = self.notebook.done(series_id)
        if done is None or done.series is None:
            return done is not None
        path = volume_path(self.out, series_id)
        return path.is_file() and path.stat().st_size == done.series["n_bytes"]

    def _check_space(self, todo: Sequence[SeriesPlan]) -> None:
        need = sum(len(series) for series in todo) * int(BYTES_PER_PX * self.parameters["size"] ** 2)
        free = shutil.disk_usage(self.out).free
        if need > free:
            raise StoreError(f"the disk must have {need / 1e9:.1f} GB free (got {free / 1e9:.1f} GB) in {self.out}")

    def _read(self, todo: Sequence[SeriesPlan], wanted: Mapping[str, str]) -> None:
        work = partial(_build_series, out=self.out, **self.parameters)
        in_process = self.workers == 1 and all(series.images.is_native for series in todo)
        workers = min(self.workers, max(1, len(todo)))
        committed = time.monotonic()
        with bar("series", sum(len(series) for series in todo), "slices") as advance:
            for series, result in map_series(work, todo, workers, timeout_s=_limit, in_process=in_process):
                if isinstance(result, OSError) and not isinstance(result, FileNotFoundError):
                    raise StoreError(f"the store must be writable (got {result.strerror}) in {self.out}") from result
                if isinstance(result, Exception):
                    # Not noted: the next call tries again.
                    self.lost[series.series_id] = _lost(series, result)
                else:
                    self.notebook.note_done(series.series_id, wanted[series.series_id], result)
                if time.monotonic() - committed > COMMIT_S:
                    self.notebook.commit()
                    committed = time.monotonic()
                advance(len(series))
        self.notebook.commit()

    def _drop(self, gone: Sequence[str]) -> None:
        for series_id in gone:
            volume_path(self.out, series_id).unlink(missing_ok=True)
        if gone:
            remark(f"{len(gone)} series are no longer in the sources and were dropped from the store")
        self.notebook.forget_done(gone)
        self.notebook.commit()

    def _write(self, tables: Tables, qc: Sequence[QcRow], inputs: str, folds: int, seed: int) -> None:
        for name, table in (("slices.parquet", tables.slices), ("series.parquet", tables.series)):
            with replacing(self.out / name) as part:
                table.to_parquet(part, index=False)
        write_qc(self.out / "qc.csv", list(qc))
        marker = {
            "format": FORMAT,
            "version": VERSION,
            **self.parameters,
            "n_series": len(tables.series),
            "n_slices": len(tables.slices),
            "n_bytes": int(tables.series["n_bytes"].sum()),
            "n_labelled": int(tables.slices["any"].notna().sum()),
            "folds": folds,
            "seed": seed,
            "software": {
                name: importlib.metadata.version(name)
                for name in ("blosc2", "numpy", "opencv-python-headless", "pandas", "pydicom")
            },
            "tables": {name: sha256_file(self.out / name) for name in ("slices.parquet", "series.parquet", "qc.csv")},
            "inputs": inputs,
        }
        write_json(self.out / "store.json", seal(marker))

    def _summary(self, tables: Tables, qc: Sequence[QcRow], n_read: int) -> BuildSummary:
        n_planned = sum(len(series) for series in self.plan.series)
        return BuildSummary(
            out=self.out,
            n_seen=self.plan.n_seen,
            n_used=len(tables.slices),
            n_refused=self.plan.n_refused + n_planned - len(tables.slices),
            n_not_dicom=self.plan.n_not_dicom,
            n_series=len(tables.series),
            n_series_read=n_read,
            n_labelled=int(tables.slices["any"].notna().sum()),
            n_patients=int(tables.series["patient_id"].nunique()),
            n_bytes=int(tables.series["n_bytes"].sum()),
            size=self.parameters["size"],
            crop=self.parameters["crop"],
            refusals=Counter(row.code for row in qc if is_refusal(row.code) and row.code not in NO_DICOM),
            remarks=Counter(row.code for row in qc if not is_refusal(row.code)),
        )


def _build_series(plan: SeriesPlan, *, out: Path, crop: Crop, size: int) -> Done:
    """Read one series and write its volume; what goes back to the caller is rows alone."""
    read = read_series(plan, crop=crop, size=size)
    if not read.slices:
        volume_path(out, plan.series_id).unlink(missing_ok=True)
        return Done(None, {}, read.qc)
    volume = write_volume(out, plan.series_id, read.hu)
    columns = {name: [row[name] for row in read.slices] for name in SLICE_COLUMNS if name not in read.series}
    return Done({**read.series, **volume._asdict()}, columns, read.qc)


def _limit(plan: SeriesPlan) -> float:
    return SERIES_SECONDS + SLICE_SECONDS * len(plan)


def _lost(plan: SeriesPlan, error: Exception) -> Done:
    """Account for every slice of a series whose reading didn't come back."""
    if isinstance(error, WorkerLostError):
        code, detail = "DECODER_CRASH", f"reading the series ended its process {error.exit_code}"
    elif isinstance(error, TaskTimeoutError):
        code, detail = "TIMEOUT", f"reading the series took more than {error.timeout_s:.0f} s"
    else:
        code, detail = "READ_FAILED", f"reading the series raised {type(error).__name__}"
    rows = [
        QcRow(plan.images.source(index), image_id, plan.series_id, "slice", code, detail)
        for index, image_id in enumerate(plan.image_ids)
    ]
    return Done(None, {}, rows)


def _digest(content: Any) -> str:  # noqa: ANN401  # whatever JSON holds
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the store's lock while it's built; a killed holder lets go by itself.

    A folder that was made for the lock and got nothing goes again.
    """
    is_new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    path = out / "build.lock"
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError(
                f"one process at a time builds a store (got a second one) in {out}; wait for the first"
            ) from None
        for part in [*out.glob(".*.part"), *out.glob("hu/*/.*.part")]:
            # Left by a builder that was killed while it wrote.
            part.unlink(missing_ok=True)
        try:
            yield
        except UsageError:
            if is_new:
                shutil.rmtree(out, ignore_errors=True)
            raise


@contextmanager
def _notebook(out: Path, parameters: Mapping[str, Any]) -> Iterator[Notebook]:
    """Open the builder's notebook, and refuse a store that was made otherwise."""
    marker = read_marker(out)
    if marker is not None and not (out / NOTEBOOK).exists():
        remark(f"{out} has no {NOTEBOOK}: everything is read again")
    notebook = Notebook(out / NOTEBOOK)
    try:
        before = notebook.setting("parameters") or (marker and {name: marker[name] for name in parameters})
        if before and before != parameters:
            made = " ".join(f"--{name} {value}" for name, value in before.items())
            raise StoreError(
                f"a store keeps the size and crop it was made with (made with {made}) in {out}; "
                "give the same, or another --out"
            )
        notebook.set("parameters", dict(parameters))
        notebook.commit()
        yield notebook
    finally:
        notebook.close()
