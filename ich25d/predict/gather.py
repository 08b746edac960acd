"""How every command that predicts begins: the model loaded, and the series of its sources found, each once."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ich25d.errors import UsageError
from ich25d.predict.jobs import Job, Jobs, find_jobs
from ich25d.predict.network import Network, load_network
from ich25d.studies.no_usable_input import nothing_used
from ich25d.studies.qc import QcRow
from ich25d.training.precision import choose_device


class Gathered(NamedTuple):
    """What there is to work on, and what works on it."""

    network: Network
    jobs: list[Job]
    """At least one."""
    qc: list[QcRow]
    """Refusals of files and series, and remarks on series."""
    n_seen: int
    """Files, archive members and table rows looked at."""


def gather(
    sources: Sequence[Path],
    model: Path,
    *,
    only: Sequence[str] = (),
    images: Sequence[Path] = (),
    device: str = "auto",
    workers: int = 0,
) -> Gathered:
    """Load a model and find the series that it is to predict.

    Args:
        sources: Folders, DICOM files, zip archives and study stores, in any mix.
        model: A model directory of `train-rnn` or `train-cnn`.
        only: Globs that files and archive members must match, any of them.
        images: Tables of images, as further sources.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        workers: Processes that read headers; 0 chooses.

    Raises:
        UsageError: Options or sources that don't fit together, or no series; it names what was refused instead.
        ModelError: The model directory is damaged, unfinished or foreign.
        StoreError: A study store is of another size or crop than the model's.
    """
    network = load_network(model, choose_device(device))
    found = find_jobs(sources, only=only, images=images, size=network.size, crop=network.crop, workers=workers)
    jobs, qc = without_doubles(found)
    if not jobs:
        raise nothing_used(found.n_seen, qc)
    return Gathered(network, jobs, qc, found.n_seen)


def without_doubles(found: Jobs) -> tuple[list[Job], list[QcRow]]:
    """Leave out series whose images other sources hold as well, as a store and the files it was made from.

    Raises:
        UsageError: Two stores, or a store and files, call different series alike.
    """
    seen: set[str] = set()
    names: set[str] = set()
    jobs, qc = [], list(found.qc)
    for job in found.series:
        twice = seen.intersection(job.image_ids)
        if twice:
            detail = f"{len(twice)} of its images are in another source as well; the first source is used"
            qc.append(QcRow("", "", job.series_id, "series", "DUP_UID_SAME", detail))
            continue
        if job.series_id in names:
            raise UsageError(
                f"a series must have a name of its own among all sources (got {job.series_id!r} twice, with different "
                "images); predict the sources one by one"
            )
        names.add(job.series_id)
        seen.update(job.image_ids)
        jobs.append(job)
    return jobs, qc
