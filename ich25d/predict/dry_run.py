"""What `predict` would do with sources, found without a network. Nothing is written."""

from collections.abc import Sequence
from pathlib import Path

from ich25d.predict.beforehand import check_predict
from ich25d.predict.found import find_series, with_images
from ich25d.predict.submission import read_sample
from ich25d.progress import many
from ich25d.studies.dry_run import DryRun, dry_run
from ich25d.studies.pool.local_pool import LocalPool
from ich25d.training.model_file import about_model


def dry_predict(
    sources: Sequence[Path],
    model: Path,
    out: Path,
    *,
    only: Sequence[str] = (),
    sample: Path | None = None,
    images: Sequence[Path] = (),
    accept: Sequence[str] = (),
    device: str = "auto",
    workers: int = 0,
) -> DryRun:
    """Say what `predict` would do; the arguments are its own.

    Raises:
        UsageError: As `predict`: options or sources that don't fit together, or nothing to predict.
        ModelError: The model directory is absent, unfinished, damaged or foreign.
        SubmissionError: The sample can't be read as one.
        StoreError: A study store is of another size or crop than the model's.
    """
    predictor = check_predict(sources, model, out, sample=sample, images=images, accept=accept, device=device)
    found = find_series(sources, predictor, only=only, images=images, accept=accept, pool=LocalPool(workers))
    notes = [about_model(model, predictor.content).line]
    if sample is not None:
        wanted = set(read_sample(sample))
        every, found = found, with_images(found, wanted)
        n_absent = len(wanted.difference(*(series.image_ids for series in found.series)))
        notes.append(f"sample: {many(len(every.series) - len(found.series), 'series', 'series')} hold no image of it; "
                     f"{many(n_absent, 'image')} of it would be answered by the training data's shares")  # fmt: skip
    return dry_run(found.series, found.qc, found.n_seen, notes)
