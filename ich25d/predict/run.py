"""`ich25d predict`: sources and a model in, the competition's CSV and its tables out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ich25d.predict.answer import Answer, Settled, Watcher, resumable_answer
from ich25d.predict.beforehand import check_predict
from ich25d.predict.finished_series import FinishedSeries
from ich25d.predict.found import find_series, with_images
from ich25d.predict.judgement import by_series, judge
from ich25d.predict.network import network_for
from ich25d.predict.output import write_outputs
from ich25d.predict.site import at_site, estimated_site, finished_at, shares_of, stated_site, told
from ich25d.predict.submission import read_sample
from ich25d.progress import many
from ich25d.studies.pool.pool import opened_pool
from ich25d.summary import Summary
from ich25d.training.confidence import STATES
from ich25d.training.operating_point import OperatingPoint
from ich25d.training.prevalence import EM, Site, read_words


@dataclass(frozen=True, slots=True)
class PredictSummary(Summary):
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
    model: str
    """What the model says of itself."""
    operating_point: str = "none"
    """Rule of the model's default operating point; `none` where it has no thresholds."""
    n_flagged: int = 0
    """Series with a label over its threshold there."""
    confidence: Mapping[str, int] = field(default_factory=dict)
    """Series by state of confidence; empty for a model without states."""
    remarks: tuple[str, ...] = ()
    """What the point reached on validation, and where it flags nearly everything."""

    @property
    def exit_code(self) -> int:
        """0, or 1 when something was refused or answered by the prior."""
        return 1 if self.refusals or self.n_by_prior else 0

    def lines(self) -> list[str]:
        """Return the lines that the command prints."""
        lines = [
            f"{self.out}: {many(self.n_answered, 'image')}, {6 * self.n_answered:,} rows; {self.n_series} series",
            self.model,
        ]
        if self.n_by_prior:
            n = many(self.n_by_prior, "image")
            lines.append(f"{n} of the sample without a prediction, answered by the training data's shares")
        if self.n_resumed:
            lines.append(f"{self.n_resumed} series were predicted by an earlier, unfinished run")
        if self.n_not_wanted:
            lines.append(f"{self.n_not_wanted} series hold no image of the sample and were left out")
        lines += self.remarks
        if self.confidence:
            lines.append("confidence: " + ", ".join(f"{state} {n}" for state, n in self.confidence.items()))
        if self.refusals:
            codes = ", ".join(f"{code} {count}" for code, count in self.refusals.items())
            lines.append(f"refused: {codes}; {self.out.with_name('qc.csv')} says which")
        return lines


def predict(
    sources: Sequence[Path],
    model: Path,
    out: Path,
    *,
    only: Sequence[str] = (),
    sample: Path | None = None,
    images: Sequence[Path] = (),
    accept: Sequence[str] = (),
    device: str = "auto",
    engine: str = "auto",
    workers: int = 0,
    cluster: str | None = None,
    prevalence: Sequence[str] = (),
    watchers: Sequence[Watcher] = (),
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
        accept: Codes of refused series to use nevertheless, of `codes.ACCEPTABLE`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        engine: `auto`, `torch`, `openvino` or `onnx`.
        workers: Processes that read; 0 chooses.
        cluster: A Ray cluster that reads and predicts instead, as `opened_pool` takes it.
        prevalence: `em`, or `label=share` each: how common bleeds are here, as shares of series
            (`training/prevalence.py`).
        watchers: Get every series with its pixels, as the writer of a report does.

    Raises:
        UsageError: Options or sources that don't fit together, or nothing to predict; nothing is written.
        ModelError: The model directory is damaged, unfinished or foreign.
        SubmissionError: The sample can't be read as one.
        ClusterError: There is no such cluster, or a node can't see the files.
        StoreError: A study store is of another size or crop than the model's.
    """
    check_predict(sources, model, out, sample=sample, images=images, accept=accept, device=device)
    wanted = None if sample is None else read_sample(sample)
    words = read_words(prevalence) if prevalence else None
    with opened_pool(workers, cluster, reads=(*sources, *images, model), out=out, device=device) as pool:
        network = network_for(pool, model, device, engine)
        site: Site | str | None = stated_site(network, words) if isinstance(words, dict) else None
        if words == EM:
            shares_of(network)  # a model that can't tell is refused before anything is predicted

        def settle(answer: Answer[FinishedSeries]) -> Settled | None:
            nonlocal network, site
            site = estimated_site(network, answer) if site is None else site
            if isinstance(site, str):
                return None
            network = at_site(network, site)
            return Settled(network, partial(finished_at, site))

        every = find_series(sources, network, only=only, images=images, accept=accept, pool=pool)
        found = every if wanted is None else with_images(every, set(wanted))
        with resumable_answer(
            found, network, out, pool=pool, watchers=watchers, may_be_empty=wanted is not None,
            settle=None if words is None else settle,
        ) as answer:  # fmt: skip
            n_answered, n_by_prior = write_outputs(out, answer, network, sample, wanted)
    rows_of = by_series(answer.qc)
    states = Counter(
        judge(network, finished, rows_of.get(series.series_id, ())).state for series, finished in answer.series
    )
    point = network.point
    n_flagged = sum(bool(point.over(finished.series_probability)) for _, finished in answer.series)
    n_slices = sum(len(finished.image_ids) for _, finished in answer.series)
    return PredictSummary(
        out, len(answer.series), n_slices, n_answered, n_by_prior, answer.n_resumed,
        n_not_wanted=len(every.series) - len(found.series), refusals=answer.refusals,
        model=network.line,
        operating_point=point.rule, n_flagged=n_flagged,
        confidence={state: states[state] for state in STATES} if network.confidence else {},
        remarks=(*(() if site is None else (told(site),)), *_remarks(point, n_flagged, len(answer.series))),
    )  # fmt: skip


def _remarks(point: OperatingPoint, n_flagged: int, n_series: int) -> tuple[str, ...]:
    if not point.of_series:
        return ()
    flagged = f"{n_flagged} of {n_series} series are flagged at the operating point {point.described}"
    return (flagged, *filter(None, (point.caution, point.doubt(n_flagged, n_series))))
