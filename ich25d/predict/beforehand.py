"""What predictions refuse before torch is loaded: sources, models and places that won't do."""

from collections.abc import Collection, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from ich25d.dicom.codes import check_accepted
from ich25d.errors import UsageError
from ich25d.files import check_there
from ich25d.studies.store_dir.store import is_store
from ich25d.training.device_name import check_device_name
from ich25d.training.model_file import Predictor, read_predictor
from ich25d.training.operating_point import read_points

SLICES_FILE, SERIES_FILE, QC_FILE = "predictions.parquet", "studies.csv", "qc.csv"

OWNER = b"ich25d.submission"
"""Key in the metadata of the table of slices: the name of the CSV that it belongs to."""


def check_request(
    sources: Sequence[Path],
    model: Path,
    *,
    images: Sequence[Path] = (),
    accept: Collection[str] = (),
    device: str = "auto",
) -> Predictor:
    """Check what every command that predicts is asked for, as far as neither headers nor weights are needed.

    Args:
        sources: Folders, DICOM files, zip archives and study stores, in any mix.
        model: A model directory of `train-rnn` or `train-cnn`.
        images: Tables of images, as further sources.
        accept: Codes of refused series to use nevertheless.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Returns:
        What the model's `model.json` says.

    Raises:
        UsageError: There is nothing to read, a path isn't there, or a code or a device's name is none.
        ModelError: The model directory is absent, unfinished, damaged or foreign.
    """
    if not sources and not images:
        raise UsageError("there must be something to read; name folders, files, archives, a study store or --images")
    check_there(sources=sources, images=images)
    check_accepted(accept)
    check_device_name(device)
    found = read_predictor(model)
    read_points(model)  # thresholds that can't be read are found now
    return found


def check_predict(
    sources: Sequence[Path],
    model: Path,
    out: Path,
    *,
    sample: Path | None = None,
    images: Sequence[Path] = (),
    accept: Collection[str] = (),
    device: str = "auto",
) -> Predictor:
    """Check what `predict` is asked for, as `check_request`, and its CSV and sample.

    Raises:
        UsageError: As `check_request`; or the sample isn't there, or the CSV can't be written where it is to be.
        ModelError: The model directory is absent, unfinished, damaged or foreign.
    """
    found = check_request(sources, model, images=images, accept=accept, device=device)
    check_there(sample=sample)
    check_out(out, [*sources, *images, *([] if sample is None else [sample])])
    return found


def check_out(out: Path, inputs: Sequence[Path]) -> None:
    """Check that a prediction may be written to a CSV and the tables beside it, which have fixed names.

    Args:
        out: The CSV.
        inputs: Files that the prediction reads.

    Raises:
        UsageError: It isn't a CSV's path, is an input, lies in a study store, or another prediction's tables or files
            of other origin have the names of its tables.
    """
    if out.is_dir() or out.suffix.lower() != ".csv":
        kind = "folder" if out.is_dir() else "path"
        raise UsageError(
            f"--out must name a CSV file (got the {kind} {out}); its tables stand beside it: name "
            f"{out / 'submission.csv'}"
        )
    if is_store(out.parent):
        raise UsageError(f"--out mustn't lie in a study store: its qc.csv would be replaced (got {out}); name another")
    if out.exists() and any(path.exists() and out.samefile(path) for path in inputs):
        raise UsageError(f"--out mustn't be what is read (got {out}); name another")
    tables = [name for name in (SLICES_FILE, SERIES_FILE, QC_FILE) if (out.parent / name).exists()]
    if out.name in (SERIES_FILE, QC_FILE):
        raise UsageError(f"--out mustn't have the name of a table beside it (got {out}); name another")
    owner = _owner(out.parent / SLICES_FILE)
    if tables and owner != out.name:
        origin = "of no prediction's" if owner is None else f"those of {owner}"
        raise UsageError(
            f"the tables beside a prediction must be its own (got {', '.join(tables)}, {origin}, in {out.parent}); "
            f"name a folder for this one, as {out.parent / out.stem / out.name}"
        )


def _owner(path: Path) -> str | None:
    """Return the name of the CSV that a table of slices belongs to; None where it isn't a prediction's."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, ValueError):
        return None
    return metadata[OWNER].decode("utf-8", "replace") if OWNER in metadata else None
