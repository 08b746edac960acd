"""`build-studies`: sources in, a finished study store out; killed at any byte, the next call goes on."""

import hashlib
import importlib.metadata
import json
import shutil
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from ich25d.dicom.codes import check_accepted, is_refusal
from ich25d.dicom.interpret import RENAMED, own_name
from ich25d.errors import StoreError, UsageError
from ich25d.files import check_there, replacing, sha256_file, write_json
from ich25d.progress import bar, remark
from ich25d.studies.build_summary import BuildSummary
from ich25d.studies.headers.notebook import Done, Notebook
from ich25d.studies.labelfile import read_labels
from ich25d.studies.lock import claimed, opened_notebook, unwritable
from ich25d.studies.no_usable_input import nothing_used
from ich25d.studies.plan import Plan, make_plan
from ich25d.studies.pool.pool import Pool, opened_pool
from ich25d.studies.qc import QcRow, count_refused, settled, write_qc
from ich25d.studies.series.series_plan import SeriesPlan
from ich25d.studies.store_dir.store import FORMAT, VERSION, read_marker, seal
from ich25d.studies.store_dir.volume_place import volume_path
from ich25d.studies.tables import Tables, check_match, make_tables
from ich25d.studies.volumes.read_many import BYTES_PER_PX, build_all
from ich25d.studies.volumes.volume import Crop

COMMIT_S = 5.0
"""Seconds of work at most that are done again after a kill."""

MOSTLY = 0.5
"""A call that would drop more than this share of a store's series is taken for a mistake."""


def build_studies(
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
    folds: int = 5,
    seed: int = 0,
    workers: int = 0,
    cluster: str | None = None,
) -> BuildSummary:
    """Make a study store, or go on with one.

    The finished store holds what this call names, no more. Series whose files haven't changed aren't read again.
    A store that would hold no slice isn't made, and one that is there stays as it was.

    Args:
        sources: Folders, DICOM and NIfTI files and zip archives, read in place; named in the order of the last call, so
            that nothing is read again.
        out: The store's folder.
        only: Globs that files and archive members must match, any of them.
        labels: Label table.
        images: Tables of images, as further sources.
        masks: Masks of scans, in NIfTI, and the labels of their values, as `PATH=any` or `PATH=1:epidural,2:subdural`.
        accept: Codes of refused series to use nevertheless, of `codes.ACCEPTABLE`.
        crop: `head` or `none`.
        size: Side of the stored slices in px.
        folds: Number of folds, by patient.
        seed: Seed of the folds.
        workers: Processes; 0 is one a core.
        cluster: A Ray cluster that reads instead, as `opened_pool` takes it.

    Raises:
        UsageError: Options or sources that don't fit together, or nothing that can be used; nothing is written.
        LabelError: The label table can't be read, or is of other images.
        ClusterError: There is no such cluster, or a node can't see sources and store.
        StoreError: `out` holds a store of another size, crop or version, or another process is building it.
    """
    check_request(sources, labels=labels, images=images, accept=accept, crop=crop)  # before a folder is made
    table, label_qc = read_labels(labels) if labels else (None, [])
    parameters = {"size": size, "crop": crop}
    reads = (*sources, *images)
    with (
        opened_pool(workers, cluster, reads=reads, out=out) as pool,
        claimed(out),
        opened_notebook(out, parameters) as notebook,
    ):
        plan = make_plan(sources, only, images, masks=masks, accept=accept, pool=pool, notebook=notebook)
        if not plan.series:
            raise nothing_used(plan.n_seen, plan.qc)
        if table is not None and labels is not None:
            table = matched(plan, table, labels)
        try:
            return _Build(out, plan, notebook, parameters, sorted(set(accept)), pool).run(
                table, label_qc, labels, folds, seed
            )
        except OSError as error:
            raise unwritable(out, error) from error


def check_request(
    sources: Sequence[Path], *, labels: Path | None, images: Sequence[Path], accept: Sequence[str], crop: str
) -> None:
    """Check what `build_studies` is asked for, before anything is read or made; its arguments.

    Raises:
        UsageError: There is nothing to read, a path isn't there, or a crop or a code is none.
    """
    if not sources and not images:
        raise UsageError("there must be something to read; name folders, files, archives or --images")
    if crop not in get_args(Crop):
        raise UsageError(f"--crop must be one of {', '.join(get_args(Crop))} (got {crop!r})")
    check_accepted(accept)
    check_there(sources=sources, images=images, labels=labels)


def matched(plan: Plan, table: pd.DataFrame, labels: Path) -> pd.DataFrame:
    """Return a label table with the names that the plan's images have.

    Args:
        plan: The series.
        table: What `labels` holds.
        labels: Its file, for messages.

    Raises:
        LabelError: Hardly any image is in both.
    """
    ids = [image_id for series in plan.series if not series.labels for image_id in series.image_ids]
    if any(image_id.startswith(RENAMED) for image_id in ids):
        table = table.rename(index=own_name)
    check_match(ids, table, labels.name)
    return table


class _Build:
    """One call of `build_studies`, once the plan is made."""

    def __init__(
        self,
        out: Path,
        plan: Plan,
        notebook: Notebook,
        parameters: Mapping[str, Any],
        accept: Sequence[str],
        pool: Pool,
    ) -> None:
        self.out = out
        self.plan = plan
        self.notebook = notebook
        self.parameters = parameters
        self.accept = list(accept)
        self.pool = pool
        self.known = notebook.known()
        self.lost: dict[str, Done] = {}

    def run(
        self, table: pd.DataFrame | None, label_qc: list[QcRow], labels: Path | None, folds: int, seed: int
    ) -> BuildSummary:
        """Read what is new, write the tables and return the counts; `table` and `label_qc` are those of `labels`."""
        wanted = {series.series_id: series.source_hash() for series in self.plan.series}
        gone = sorted(set(self.known) - set(wanted))
        if len(gone) > MOSTLY * len(self.known) and (lost := self._lost(gone)) > MOSTLY * len(self.known):
            raise UsageError(
                f"a store holds what one call names; this one would drop {lost} of its {len(self.known)} series "
                f"in {self.out}; name all sources in one call, or choose another --out"
            )
        todo = [series for series in self.plan.series if not self._is_current(series, wanted[series.series_id])]
        self._check_space(todo)
        own = [series.labels for series in self.plan.series if series.labels]
        rows = sorted(map(astuple, (*self.plan.qc, *label_qc)))
        inputs = _digest(
            [
                *(self.parameters, sorted(wanted.items()), folds, seed, labels and sha256_file(labels), rows, own),
                *self.accept,
            ]
        )
        marker = read_marker(self.out)
        is_unchanged = not todo and not gone and marker is not None and marker.get("inputs") == inputs
        if not is_unchanged:
            # From here on the tables and the volumes disagree, until store.json is written again.
            (self.out / "store.json").unlink(missing_ok=True)
        self._read(todo, wanted)
        refused = {row.image_id for row in label_qc if is_refusal(row.code)}  # nor are they taken from elsewhere
        own_labels = {
            image_id: values
            for series in self.plan.series
            for image_id, values in zip(series.image_ids, series.labels, strict=False)
            if values is not None and image_id not in refused
        }
        tables = make_tables(
            (self.lost.get(series_id) or self.notebook.done(series_id) or Done(None, {}, []) for series_id in wanted),
            labels=table, own_labels=own_labels, n_folds=folds, seed=seed,
        )  # fmt: skip
        qc = settled([*self.plan.qc, *label_qc, *tables.qc])
        if tables.slices.empty:
            if marker is not None:  # nothing was written, so that the tables and the volumes still agree
                write_json(self.out / "store.json", marker)
            raise nothing_used(self.plan.n_seen, qc)
        self._drop(gone, set(wanted) - set(tables.series["series_id"]))
        if not is_unchanged:
            self._write(tables, qc, inputs, folds, seed)
        return self._summary(tables, qc, {series.series_id for series in todo})

    def _lost(self, gone: Sequence[str]) -> int:
        """Count the series that are gone; those whose files now have another name aren't.

        A NIfTI file is called otherwise once there are others of its name.
        """
        new = [series for series in self.plan.series if series.series_id not in self.known]
        sources = {series.images.source(index) for series in new for index in range(len(series))}
        done = (self.notebook.done(series_id) for series_id in gone)
        n_kept = sum(one is not None and not sources.isdisjoint(one.slices.get("source", ())) for one in done)
        return len(gone) - min(n_kept, len(new))

    def _is_current(self, series: SeriesPlan, source_hash: str) -> bool:
        """Say whether a series was done from the same files and still has its volume."""
        known, n_bytes = self.known.get(series.series_id, ("", None))
        if known != source_hash:
            return False
        path = volume_path(self.out, series.series_id)
        return n_bytes is None or (path.is_file() and path.stat().st_size == n_bytes)

    def _check_space(self, todo: Sequence[SeriesPlan]) -> None:
        per_slice = int(BYTES_PER_PX[self.parameters["crop"]] * self.parameters["size"] ** 2)
        need = per_slice * sum(len(series) for series in todo)
        free = shutil.disk_usage(self.out).free
        if need > free:
            raise StoreError(f"the disk must have {need / 1e9:.1f} GB free (got {free / 1e9:.1f} GB) in {self.out}")

    def _read(self, todo: Sequence[SeriesPlan], wanted: Mapping[str, str]) -> None:
        committed = time.monotonic()
        with bar("series", sum(len(series) for series in todo), "slices") as advance:
            for series, done, is_final in build_all(todo, self.out, pool=self.pool, **self.parameters):
                if is_final:
                    self.notebook.note_done(series.series_id, wanted[series.series_id], done)
                else:
                    # Not noted: the next call tries again.
                    self.lost[series.series_id] = done
                if time.monotonic() - committed > COMMIT_S:
                    self.notebook.commit()
                    committed = time.monotonic()
                advance(len(series))
        self.notebook.commit()

    def _drop(self, gone: Sequence[str], refused: Collection[str]) -> None:
        """Remove the volumes of series that aren't named any more, or of which nothing is used any more."""
        for series_id in (*gone, *refused):
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
            **({"accept": self.accept} if self.accept else {}),
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

    def _summary(self, tables: Tables, qc: Sequence[QcRow], read: Collection[str]) -> BuildSummary:
        n_planned = sum(len(series) for series in self.plan.series)
        return BuildSummary(
            out=self.out,
            n_seen=self.plan.n_seen,
            n_used=len(tables.slices),
            n_refused=self.plan.n_refused + n_planned - len(tables.slices),
            n_not_dicom=self.plan.n_not_dicom,
            n_series=len(tables.series),
            n_series_read=len(read),
            n_unchanged=int((~tables.series["series_id"].isin(read)).sum()),
            n_labelled=int(tables.slices["any"].notna().sum()),
            n_patients=int(tables.series["split_unit"].nunique()),
            n_bytes=int(tables.series["n_bytes"].sum()),
            size=self.parameters["size"],
            crop=self.parameters["crop"],
            refusals=count_refused(qc),
            remarks=Counter(row.code for row in qc if not is_refusal(row.code)),
        )


def _digest(content: Any) -> str:  # noqa: ANN401  # whatever JSON holds
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
