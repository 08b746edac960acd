"""`ich25d predict`: sources and a model in, the competition's CSV and its tables out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ich25d.predict.finished_series import Part, Parts, kept_parts
from ich25d.predict.gather import gather
from ich25d.predict.jobs import Job, Read, fingerprint
from ich25d.predict.network import Network
from ich25d.predict.output import Written, write_outputs
from ich25d.predict.output_folder import check_out
from ich25d.predict.pipeline import predict_jobs
from ich25d.predict.submission import read_sample
from ich25d.progress import bar, many, remark
from ich25d.studies.no_usable_input import nothing_used
from ich25d.studies.qc import QcRow, count_refused, settled


class Watcher(Protocol):
    """What looks on while series are predicted: it gets their pixels in the same pass."""

    def start(self, qc: Sequence[QcRow]) -> None:
        """Take what the headers gave rise to, before the first series."""

    def series(self, network: Network, job: Job, read: Read, part: Part) -> None:
        """Take one predicted series; those of an unfinished run don't come again."""

    def finish(
        self, network: Network, jobs: Sequence[Job], done: Sequence[tuple[Job, Part]], qc: Sequence[QcRow]
    ) -> None:
        """Take all series, those that were predicted, and all refusals and remarks."""


@dataclass(frozen=True, slots=True)
class PredictSummary:
    """What was predicted."""

    out: Path
    n_series: int
    n_slices: int
    n_answered: int
    """Images in the CSV."""
    n_by_prior: int
    """Images of the sample that no network saw."""
    n_resumed: int
    """Series that an earlier, unfinished run had predicted."""
    n_not_wanted: int
    """Series none of whose images the sample asks for."""
    refusals: dict[str, int]
    """Rows of `qc.csv` that refuse something, by code."""

    @property
    def exit_code(self) -> int:
        """0, or 1 when something was refused or answered by the prior."""
        return 1 if self.refusals or self.n_by_prior else 0

    def lines(self) -> list[str]:
        """Say it for people."""
        lines = [f"{self.out}: {many(self.n_answered, 'image')}, {6 * self.n_answered:,} rows; {self.n_series} series"]
        if self.n_by_prior:
            n = many(self.n_by_prior, "image")
            lines.append(f"{n} of the sample without a prediction, answered by the training data's shares")
        if self.n_resumed:
            lines.append(f"{self.n_resumed} series were there from an unfinished run")
        if self.n_not_wanted:
            lines.append(f"{self.n_not_wanted} series hold no image of the sample and were left out")
        if self.refusals:
            codes = ", ".join(f"{code} {count}" for code, count in self.refusals.items())
            lines.append(f"refused: {codes}; {self.out.with_name('qc.csv')} says which")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Say it for machines."""
        return {
            "out": str(self.out),
            "n_series": self.n_series,
            "n_slices": self.n_slices,
            "n_answered": self.n_answered,
            "n_by_prior": self.n_by_prior,
            "n_resumed": self.n_resumed,
            "n_not_wanted": self.n_not_wanted,
            "refusals": self.refusals,
        }


def predict(
    sources: Sequence[Path],
    model: Path,
    out: Path,
    *,
    only: Sequence[str] = (),
    sample: Path | None = None,
    images: Sequence[Path] = (),
    device: str = "auto",
    workers: int = 0,
    watcher: Watcher | None = None,
) -> PredictSummary:
    """Predict every slice and every series into a Kaggle CSV.

    Beside the CSV stand `predictions.parquet`, `studies.csv` and `qc.csv`. A killed run is gone on with by the same
    call; the CSV takes the place of an old one only when all is done and it is sound.

    Args:
        sources: Folders, DICOM files, zip archives and study stores, in any mix.
        model: A model directory of `train-rnn` or `train-cnn`.
        out: The CSV.
        only: Globs that files and archive members must match, any of them.
        sample: A sample submission: its ids are answered, all of them, in its order, and no other; series without one
            of them aren't read. Ids without a readable image get the shares of the training data.
        images: Tables of images, as further sources.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        workers: Processes that read; 0 chooses.
        watcher: Gets every series with its pixels, as a report does.

    Raises:
        UsageError: Options or sources that don't fit together, or nothing to predict; nothing is written.
        ModelError: The model directory is damaged, unfinished or foreign.
        SubmissionError: The sample can't be read as one.
        StoreError: A study store is of another size or crop than the model's.
    """
    check_out(out, [*sources, *images, *([] if sample is None else [sample])])
    wanted = None if sample is None else read_sample(sample)
    network, jobs, qc, n_seen = gather(sources, model, only=only, images=images, device=device, workers=workers)
    asked = None if wanted is None else set(wanted)
    chosen = [job for job in jobs if asked is None or not asked.isdisjoint(job.image_ids)]
    if not chosen:
        raise nothing_used(n_seen, qc, f"series with images of the sample beside {len(jobs)} of others")
    with kept_parts(out, network.stamp) as parts:
        done, more, n_resumed = predict_all(chosen, network, parts, workers, qc, watcher)
        qc = settled([*qc, *more])
        if not done and wanted is None:
            raise nothing_used(n_seen, qc, "readable series")
        if watcher is not None:
            watcher.finish(network, chosen, done, qc)
        written = write_outputs(out, done, qc, network.prior, sample, wanted)
    return _summary(out, done, written, n_resumed, len(jobs) - len(chosen))


def predict_all(
    jobs: Sequence[Job],
    network: Network,
    parts: Parts,
    workers: int,
    qc: Sequence[QcRow] = (),
    watcher: Watcher | None = None,
) -> tuple[list[tuple[Job, Part]], list[QcRow], int]:
    """Predict what isn't there yet; return all series and parts in the jobs' order, rows, and how many were there."""
    key = {job: fingerprint(job) for job in jobs}
    there = {job: part for job in jobs if (part := parts.load(key[job])) is not None}
    n_resumed = len(there)
    todo = [job for job in jobs if job not in there]
    if n_resumed:
        remark(f"{n_resumed} of {len(jobs)} series were predicted by an unfinished run")
    lost: list[QcRow] = []
    see = None if watcher is None else watcher.series
    if watcher is not None:
        watcher.start(qc)
    with bar("predict", sum(len(job) for job in todo), "slices") as advance:
        for job, result in predict_jobs(todo, network, workers=workers, see=see):
            if isinstance(result, Part):
                parts.save(key[job], result)
                there[job] = result
            else:
                lost += result
            advance(len(job))
    done = [(job, there[job]) for job in jobs if job in there]
    return done, [row for _, part in done for row in part.qc] + lost, n_resumed


def _summary(
    out: Path, done: Sequence[tuple[Job, Part]], written: Written, n_resumed: int, n_not_wanted: int
) -> PredictSummary:
    refused = count_refused(written.qc)
    return PredictSummary(
        out=out,
        n_series=len(done),
        n_slices=sum(len(part.image_ids) for _, part in done),
        n_answered=written.n_images,
        n_by_prior=written.n_by_prior,
        n_resumed=n_resumed,
        n_not_wanted=n_not_wanted,
        refusals=dict(sorted(refused.items())),
    )
