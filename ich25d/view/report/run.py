"""`ich25d report`: sources and a model in, a page a study and a worklist out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ich25d.predict.answer import resumable_answer
from ich25d.predict.found import find_series
from ich25d.predict.network import network_for
from ich25d.progress import many
from ich25d.studies.pool.pool import opened_pool
from ich25d.summary import Summary
from ich25d.view.report.beforehand import check_report
from ich25d.view.report.writer import ReportWriter


@dataclass(frozen=True, slots=True)
class ReportSummary(Summary):
    """What was written."""

    index: Path
    n_pages: int
    n_flagged: int
    n_refused: int
    """Series without a page."""
    refusals: dict[str, int]
    """Rows of `qc.csv` that refuse something, by code."""
    model: str
    """What the model says of itself."""

    def lines(self) -> list[str]:
        """Return the lines that the command prints."""
        lines = [f"{self.index}: {many(self.n_pages, 'study', 'studies')}, {self.n_flagged} flagged", self.model]
        if self.refusals:
            codes = ", ".join(f"{code} {count}" for code, count in self.refusals.items())
            lines.append(f"refused: {codes}; {self.n_refused} series have no page; the index says why")
        return lines


def report(
    sources: Sequence[Path],
    model: Path,
    out: Path,
    *,
    only: Sequence[str] = (),
    images: Sequence[Path] = (),
    accept: Sequence[str] = (),
    device: str = "auto",
    engine: str = "auto",
    workers: int = 0,
    cluster: str | None = None,
    heat: bool = True,
) -> ReportSummary:
    """Predict every series and write its page, and an index of all.

    `out` gets `index.html`, `worklist.csv`, `qc.csv` and `studies/` with a page a series. A killed run leaves whole
    pages only; the same call resumes it.

    Args:
        sources: Folders, DICOM files, zip archives and study stores, in any mix.
        model: A model directory of `train-rnn` or `train-cnn`.
        out: The folder to write.
        only: Globs that files and archive members must match, any of them.
        images: Tables of images, as further sources.
        accept: Codes of refused series to use nevertheless, of `codes.ACCEPTABLE`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        engine: `auto`, `torch`, `openvino` or `onnx`.
        workers: Processes that read; 0 chooses.
        cluster: A Ray cluster that does all instead, as `opened_pool` takes it.
        heat: Explain the series that are flagged: heat maps, places and sizes; it takes longer than predicting.

    Raises:
        UsageError: Options or sources that don't fit together, or no CT at all; nothing is written.
        ModelError: The model directory is damaged, unfinished or foreign.
        ClusterError: There is no such cluster, or a node can't see the files.
        StoreError: A study store is of another size or crop than the model's.
    """
    check_report(sources, model, out, images=images, accept=accept, device=device)
    writer = ReportWriter(out, model, heat=heat)
    with opened_pool(workers, cluster, reads=(*sources, *images, model), out=out, device=device) as pool:
        network = network_for(pool, model, device, engine)
        found = find_series(sources, network, only=only, images=images, accept=accept, pool=pool)
        with resumable_answer(found, network, writer.index, pool=pool, watchers=(writer,), may_be_empty=True) as answer:
            return ReportSummary(
                writer.index, writer.n_pages, writer.n_flagged, writer.n_refused, answer.refusals, network.line
            )
