"""`ich25d explain`: sources and a model in, heat maps and a table of findings out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ich25d.explain.beforehand import FINDINGS_FILE, HEAT_FOLDER, PAGE_FILE, QC_FILE, check_explain, check_place
from ich25d.explain.explanation import explain_series
from ich25d.explain.output import Found, heat_path, load, save, write_findings
from ich25d.explain.page import PICTURES_FOLDER, write_page, write_pictures
from ich25d.files import claim_folder
from ich25d.labels import LABELS
from ich25d.predict.answer import answer
from ich25d.predict.finished_series import FinishedSeries
from ich25d.predict.found import find_series
from ich25d.predict.network import Network, network_for
from ich25d.predict.series import SeriesPixels, UnreadSeries, images_hash
from ich25d.progress import many
from ich25d.studies.pool.pool import opened_pool
from ich25d.studies.qc import QcRow, write_qc
from ich25d.summary import Summary
from ich25d.training.operating_point import OperatingPoint, choose_point, read_points


@dataclass(frozen=True, slots=True)
class ExplainSummary(Summary):
    """What was explained."""

    out: Path
    n_series: int
    n_resumed: int
    """Series that an earlier call had explained."""
    n_findings: int
    by_label: dict[str, int]
    refusals: dict[str, int]
    model: str
    """What the model says of itself."""
    operating_point: str = "none"
    """Rule of the thresholds that decide what is found; `none` where the model has no thresholds."""
    remarks: tuple[str, ...] = ()
    """What the point reached on validation, and where it flags nearly everything."""

    def lines(self) -> list[str]:
        """Return the lines that the command prints."""
        labels = ", ".join(f"{label} {count}" for label, count in self.by_label.items()) or "none"
        lines = [
            f"{self.out / FINDINGS_FILE}: {many(self.n_findings, 'finding')} in {self.n_series} series ({labels})",
            f"{self.out / PAGE_FILE} shows them; heat maps are in {self.out / HEAT_FOLDER}. Sizes are estimates.",
            self.model,
            f"operating point: {self.operating_point}"
            if self.operating_point != "none"
            else "the model has no thresholds, so that nothing counts as found: --label names what to explain",
        ]
        lines += self.remarks
        if self.n_resumed:
            lines.append(f"{self.n_resumed} series were explained by an earlier call")
        if self.refusals:
            codes = ", ".join(f"{code} {count}" for code, count in self.refusals.items())
            lines.append(f"refused: {codes}; {self.out / QC_FILE} says which")
        return lines


@dataclass(frozen=True, slots=True)
class _Finish:
    """Explains a series that is predicted, and writes its heat and pictures; pickles."""

    out: Path
    labels: tuple[str, ...] | None
    point: OperatingPoint

    def earlier(self, network: Network, series: UnreadSeries) -> Found | None:
        """Return what an earlier call made of a series with the same options."""
        return load(heat_path(self.out, series.series_id), self._made_from(network, series))

    def __call__(
        self,
        network: Network,
        series: UnreadSeries,
        pixels: SeriesPixels,
        finished: FinishedSeries,
        _: tuple[QcRow, ...],
    ) -> Found:
        claim_folder(self.out, "explain")  # before anything is written into it
        explanation = explain_series(network, pixels, finished, labels=self.labels, point=self.point)
        one = Found(series.series_id, series.study_id, finished.image_ids, explanation.findings, pixels.qc)
        write_pictures(self.out / PICTURES_FOLDER, pixels.hu, explanation, one)
        save(heat_path(self.out, series.series_id), explanation, one, self._made_from(network, series))
        return one

    def _made_from(self, network: Network, series: UnreadSeries) -> str:
        labels = "*" if self.labels is None else ",".join(sorted(self.labels))
        return f"{network.made_by} {images_hash(series)} {labels} {self.point.rule}"


def explain(
    sources: Sequence[Path],
    model: Path,
    out: Path,
    *,
    only: Sequence[str] = (),
    images: Sequence[Path] = (),
    accept: Sequence[str] = (),
    labels: Sequence[str] | None = None,
    point: str | None = None,
    device: str = "auto",
    engine: str = "auto",
    workers: int = 0,
    cluster: str | None = None,
) -> ExplainSummary:
    """Explain every series: heat maps, findings, and a page that shows both.

    The same call resumes one that was killed: series that have a heat map aren't explained again.

    Args:
        sources: Folders, DICOM files, zip archives and study stores, in any mix.
        model: A model directory of `train-rnn` or `train-cnn`.
        out: The folder to fill.
        only: Globs that files and archive members must match, any of them.
        images: Tables of images, as further sources.
        accept: Codes of refused series to use nevertheless, of `codes.ACCEPTABLE`.
        labels: Labels that get heat and findings; None is those that reach the operating point in a series.
        point: The operating point by its rule, as `f1`; None is the default, as in a report.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        engine: `auto`, `torch`, `openvino` or `onnx`.
        workers: Processes that read; 0 chooses.
        cluster: A Ray cluster that does all instead, as `opened_pool` takes it.

    Raises:
        UsageError: Options or sources that don't fit together, or nothing to explain.
        ModelError: The model directory is damaged, unfinished or foreign.
        ClusterError: There is no such cluster, or a node can't see the files.
        StoreError: A study store is of another size or crop than the model's.
    """
    check_explain(sources, model, out, images=images, accept=accept, labels=labels, point=point, device=device)
    chosen = choose_point(read_points(model), point)
    with opened_pool(workers, cluster, reads=(*sources, *images, model), out=out, device=device) as pool:
        network = network_for(pool, model, device, engine)
        found = find_series(sources, network, only=only, images=images, accept=accept, pool=pool)
        finish = _Finish(out, None if labels is None else tuple(labels), chosen)
        earlier = {series: kept for series in found.series if (kept := finish.earlier(network, series)) is not None}
        explained = answer(found, network, finish, pool=pool, earlier=earlier, verb="explain")
    ordered = [one for _, one in explained.series]
    check_place(out)  # another command may have filled it meanwhile
    claim_folder(out, "explain")
    write_findings(out / FINDINGS_FILE, ordered, chosen)
    write_qc(out / QC_FILE, explained.qc)
    n_flagged = sum(bool(one.findings) for one in ordered) if labels is None else 0
    doubts = tuple(filter(None, (chosen.caution, chosen.doubt(n_flagged, len(ordered)))))
    write_page(out / PAGE_FILE, ordered, out / PICTURES_FOLDER, chosen, labels, doubts, network.about)
    counts = Counter(finding.label for one in ordered for finding in one.findings)
    by_label = {label: counts[label] for label in LABELS if counts[label]}
    return ExplainSummary(
        out, len(ordered), explained.n_resumed, sum(counts.values()), by_label, explained.refusals, network.line,
        chosen.rule, remarks=(f"on validation: {chosen.described}", *doubts) if chosen.measured else doubts,
    )  # fmt: skip
