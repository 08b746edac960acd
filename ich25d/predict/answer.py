"""How every command and the Python API answer sources: series are found, each once, predicted, and accounted for.

find_series(sources) -> FoundSeries;  answer(found, network) -> Answer: a result a series, and all rows of `qc.csv`
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Generic, NamedTuple, Protocol

from ich25d.predict.finished_series import FinishedSeries, finished_folder, without_maps
from ich25d.predict.network import Network
from ich25d.predict.on_nodes import finished_on_nodes
from ich25d.predict.one_series import Finish, Result, finish_predicted, predict_pixels
from ich25d.predict.series import FoundSeries, SeriesPixels, StoredSeries, UnreadSeries, read_pixels
from ich25d.progress import bar, remark
from ich25d.studies.no_usable_input import nothing_used
from ich25d.studies.pool.local_pool import ONE_A_CORE, ONE_PROCESS
from ich25d.studies.pool.pool import Pool
from ich25d.studies.qc import QcRow, count_refused, settled
from ich25d.studies.volumes.rescue import limit_s, lost_rows, rescue
from ich25d.training.prefetch import prefetch

AHEAD = 2
"""Series that are read before the network is ready for them."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[Result]):
    """What became of the sources."""

    series: list[tuple[UnreadSeries, Result]]
    """Every series that could be read, in the order of the sources, with its result."""
    qc: list[QcRow]
    """All refusals and remarks, of headers and pixels."""
    n_resumed: int
    """Series that an earlier run had finished."""

    @property
    def refusals(self) -> dict[str, int]:
        """Number of rows that refuse something, by code."""
        return dict(sorted(count_refused(self.qc).items()))


def answer(
    found: FoundSeries,
    network: Network,
    finish: Finish[Result],
    *,
    pool: Pool = ONE_A_CORE,
    earlier: Mapping[UnreadSeries, Result] | None = None,
    verb: str = "",
    may_be_empty: bool = False,
) -> Answer[Result]:
    """Predict the series that were found, and account for every one.

    Args:
        found: The series.
        network: The model.
        finish: Makes the result of a series, while its pixels are in memory; where other machines take part it pickles.
        pool: Reads; with other machines, does all of it.
        earlier: Results that an earlier run left; those series aren't read again.
        verb: What is done, `predict` or `explain`, for people; empty shows no progress.
        may_be_empty: Give an answer also where no series could be read.

    Raises:
        UsageError: No series could be read; it names what was refused.
    """
    done = dict(earlier or {})
    n_resumed = len(done)
    if n_resumed:
        remark(f"{n_resumed} of {len(found.series)} series were {verb}ed by an earlier run")
    unreadable: list[QcRow] = []
    todo = [series for series in found.series if series not in done]
    with bar(verb, sum(map(len, todo)), "slices") as advance:
        for series, result in _finished(todo, network, finish, pool, found.qc):
            if isinstance(result, list):
                unreadable += result
            else:
                done[series] = result
            advance(len(series))
    ordered = [(series, done[series]) for series in found.series if series in done]
    qc = settled([*found.qc, *(row for _, result in ordered for row in result.qc), *unreadable])
    if not ordered and not may_be_empty:
        raise nothing_used(found.n_seen, qc, "readable series")
    return Answer(ordered, qc, n_resumed)


def _finished(
    series: Sequence[UnreadSeries], network: Network, finish: Finish[Result], pool: Pool, qc: Sequence[QcRow]
) -> Iterator[tuple[UnreadSeries, Result | list[QcRow]]]:
    """Yield each series with its result, or with the rows that say why there is none."""
    remarks: defaultdict[str, list[QcRow]] = defaultdict(list)
    for row in qc:
        remarks[row.series_id].append(row)
    if pool.is_remote:
        yield from finished_on_nodes(series, network, finish, pool, remarks)
        return
    for one, result in predict_series(series, network, pool=pool):
        if isinstance(result, list):
            yield one, result
        else:
            yield one, finish(network, one, *result, tuple(remarks[one.series_id]))


class Watcher(Protocol):
    """Gets every series while its pixels are in memory, as the writer of a report's pages does."""

    @property
    def each(self) -> Finish[Sequence[QcRow]]:
        """Takes one predicted series, and returns what went wrong; pickles.

        Those that an earlier run had finished don't come.
        """

    def start(self, found: FoundSeries) -> None:
        """Take what was found, before the first series; a UsageError here refuses it all."""

    def finish(
        self,
        network: Network,
        found: FoundSeries,
        answer: Answer[FinishedSeries],
        kept: Callable[[UnreadSeries], FinishedSeries | None],
    ) -> None:
        """Take the whole answer; `kept` gives a series of it with the maps of its pixels."""


class Settled(NamedTuple):
    """What all series together change in each."""

    network: Network
    """The model as it is used then."""
    change: Callable[[FinishedSeries], FinishedSeries]


@contextmanager
def resumable_answer(
    found: FoundSeries,
    network: Network,
    out: Path,
    *,
    pool: Pool = ONE_A_CORE,
    watchers: Sequence[Watcher] = (),
    may_be_empty: bool = False,
    settle: Callable[[Answer[FinishedSeries]], Settled | None] | None = None,
) -> Iterator[Answer[FinishedSeries]]:
    """Predict series, keeping each on disk until the block has written the output that is made from all.

    Args:
        found: The series.
        network: The model.
        out: The output; a call that was killed is gone on with by another one for the same file.
        pool: Reads; with other machines, does all of it.
        watchers: Get every series with its pixels.
        may_be_empty: Give an answer also where no series could be read.
        settle: What all series together change in each, once all are predicted; watchers get them after that alone,
            with pixels that are read again.

    Raises:
        UsageError: No series could be read, or another process predicts into the same file.
    """
    with finished_folder(out, network.made_by) as folder:
        earlier = {one: without_maps(finished) for one in found.series if (finished := folder.load(one)) is not None}
        for watcher in watchers:
            watcher.start(found)
        at_once = () if settle is not None else tuple(watcher.each for watcher in watchers)
        finish = partial(finish_predicted, folder=folder, watchers=at_once)
        result = answer(found, network, finish, pool=pool, earlier=earlier, verb="predict", may_be_empty=may_be_empty)
        settled_as = None if settle is None else settle(result)
        if settled_as is None:
            for watcher in watchers:
                watcher.finish(network, found, result, folder.load)
            yield result
            return
        change = settled_as.change
        result = replace(result, series=[(one, change(finished)) for one, finished in result.series])

        def kept(one: UnreadSeries) -> FinishedSeries | None:
            before = folder.load(one)
            return None if before is None else change(before)

        for watcher in watchers:
            watcher.finish(settled_as.network, found, result, kept)
        yield result


def predict_series(
    series: Sequence[UnreadSeries], network: Network, *, pool: Pool = ONE_A_CORE
) -> Iterator[tuple[UnreadSeries, tuple[SeriesPixels, FinishedSeries] | list[QcRow]]]:
    """Predict series one after the other, while the next ones are read.

    Args:
        series: The series.
        network: The model.
        pool: Reads; one whose size is left open has a process a core beside a GPU, and on a CPU, whose cores the
            network needs, a thread of this process.

    Yields:
        Each series with its pixels and its probabilities, or with the rows that say why there are none; in the order
        of completion.
    """
    for one, result in _read(series, network, pool):
        if isinstance(result, list):
            yield one, result
        elif not len(result.hu):
            yield one, list(result.qc)
        else:
            yield one, (result, predict_pixels(network, result))


def _read(
    series: Sequence[UnreadSeries], network: Network, pool: Pool
) -> Iterator[tuple[UnreadSeries, SeriesPixels | list[QcRow]]]:
    """Read series ahead of the network; in processes where a codec might take its process down."""
    work = partial(read_pixels, crop=network.crop, size=network.size)
    native = all(isinstance(one, StoredSeries) or one.images.is_native for one in series)
    on_cpu = network.engine.on_cpu
    in_process = native and (pool.wanted == 1 or (pool.wanted == 0 and (on_cpu or len(series) == 1)))
    readers = ONE_PROCESS if pool.wanted == 0 and on_cpu else pool

    def results() -> Iterator[tuple[UnreadSeries, SeriesPixels | list[QcRow]]]:
        for one, result in readers.map(work, series, timeout_s=limit_s, in_process=in_process):
            if not isinstance(result, Exception):
                yield one, result
            elif isinstance(one, StoredSeries) or len(one) == 1:
                yield one, lost_rows(one, range(len(one)), result)
            else:
                rest, rows = rescue(one, lambda _: work, readers)
                yield one, replace(rest, qc=(*rows, *rest.qc)) if isinstance(rest, SeriesPixels) else rows

    return prefetch(results(), AHEAD)
