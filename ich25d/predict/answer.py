"""How every command and the Python API answer sources: series are found, each once, predicted, and accounted for.

find_series(sources) -> FoundSeries;  answer(found, network) -> Answer: a result a series, and all rows of `qc.csv`
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from ich25d.errors import UsageError
from ich25d.predict.finished_series import FinishedSeries, finished_folder
from ich25d.predict.network import Network
from ich25d.predict.series import FoundSeries, SeriesPixels, StoredSeries, UnreadSeries, list_series, read_pixels
from ich25d.progress import bar, remark
from ich25d.studies.no_usable_input import nothing_used
from ich25d.studies.pool import map_series, n_workers
from ich25d.studies.qc import QcRow, count_refused, is_refused, settled
from ich25d.studies.series.own_series import free_name
from ich25d.studies.series.series_plan import SeriesPlan, without
from ich25d.studies.volumes.rescue import limit_s, lost_rows, rescue
from ich25d.training.prefetch import prefetch

AHEAD = 2
"""Series that are read before the network is ready for them."""


class _Result(Protocol):
    @property
    def qc(self) -> tuple[QcRow, ...]: ...


Result = TypeVar("Result", bound=_Result)


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


def find_series(
    sources: Sequence[Path],
    network: Network,
    *,
    only: Sequence[str] = (),
    images: Sequence[Path] = (),
    accept: Collection[str] = (),
    workers: int = 0,
) -> FoundSeries:
    """Find the series that a model is to predict, each once.

    Args:
        sources: Folders, DICOM files, zip archives and study stores, in any mix.
        network: The model; its size and crop are those that a study store must have.
        only: Globs that files and archive members must match, any of them.
        images: Tables of images, as further sources.
        accept: Codes of refused series to use nevertheless, of `codes.ACCEPTABLE`.
        workers: Processes that read headers; 0 chooses.

    Raises:
        UsageError: Options or sources that don't fit together, or no series; it names what was refused instead.
        StoreError: A study store is of another size or crop than the model's.
    """
    return each_once(
        list_series(
            sources, only=only, images=images, accept=accept, size=network.size, crop=network.crop, workers=workers
        )
    )


def each_once(found: FoundSeries) -> FoundSeries:
    """Leave out images that an earlier source holds as well, as a store and the files it was made from.

    Of a series that is in an earlier source in part, the other images stay, except those that a store has refused;
    where both parts have one name, the later one gets a name of its own.

    Raises:
        UsageError: No series is left; or series without a common image have one name.
    """
    seen: set[str] = set()
    names: set[str] = set()
    refused = {row.image_id for row in found.qc if is_refused(row) and row.code != "DUP_UID_SAME"}
    kept, qc = [], list(found.qc)
    for series in found.series:
        one = series
        if n_known := len(seen.intersection(series.image_ids)):
            detail = f"{n_known} of its images are in another source as well; the first source is used"
            qc.append(QcRow("", "", series.series_id, "series", "DUP_UID_SAME", detail))
            known = {n for n, image in enumerate(series.image_ids) if image in seen or image in refused}
            if len(known) == len(series):
                continue
            one = _other_images(series, known, free_name(series.series_id, names))
        elif series.series_id in names:
            raise UsageError(
                f"a series must have a name of its own among all sources (got {series.series_id!r} twice, with "
                "different images); predict the sources one by one"
            )
        names.add(one.series_id)
        seen.update(one.image_ids)
        kept.append(one)
    if not kept:
        raise nothing_used(found.n_seen, qc)
    return FoundSeries(kept, qc, found.n_seen)


def _other_images(series: UnreadSeries, known: Collection[int], name: str) -> UnreadSeries:
    if isinstance(series, SeriesPlan):
        return replace(without(series, known), series_id=name)
    others = tuple(image for number, image in enumerate(series.image_ids) if number not in known)
    return replace(series, series_id=name, image_ids=others, stored_id=series.series_id)


def with_images(found: FoundSeries, wanted: set[str]) -> FoundSeries:
    """Leave out series that hold none of the wanted images.

    Raises:
        UsageError: No series is left.
    """
    chosen = [series for series in found.series if not wanted.isdisjoint(series.image_ids)]
    if not chosen:
        what = f"series with images of the sample beside {len(found.series)} of others"
        raise nothing_used(found.n_seen, found.qc, what)
    return replace(found, series=chosen)


def answer(
    found: FoundSeries,
    network: Network,
    finish: Callable[[UnreadSeries, SeriesPixels, FinishedSeries], Result],
    *,
    earlier: Mapping[UnreadSeries, Result] | None = None,
    verb: str = "",
    workers: int = 0,
    may_be_empty: bool = False,
) -> Answer[Result]:
    """Predict the series that were found, and account for every one.

    Args:
        found: The series.
        network: The model.
        finish: Makes the result of a series, while its pixels are in memory.
        earlier: Results that an earlier run left; those series aren't read again.
        verb: What is done, `predict` or `explain`, for people; empty shows no progress.
        workers: Processes that read; 0 chooses.
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
        for series, result in predict_series(todo, network, workers=workers):
            if isinstance(result, tuple):
                done[series] = finish(series, *result)
            else:
                unreadable += result
            advance(len(series))
    ordered = [(series, done[series]) for series in found.series if series in done]
    qc = settled([*found.qc, *(row for _, result in ordered for row in result.qc), *unreadable])
    if not ordered and not may_be_empty:
        raise nothing_used(found.n_seen, qc, "readable series")
    return Answer(ordered, qc, n_resumed)


class Watcher(Protocol):
    """Gets every series while its pixels are in memory, as the writer of a report's pages does."""

    def start(self, found: FoundSeries) -> None:
        """Take what was found, before the first series; a UsageError here refuses it all."""

    def series(
        self, network: Network, series: UnreadSeries, pixels: SeriesPixels, finished: FinishedSeries
    ) -> Sequence[QcRow]:
        """Take one predicted series, and return what went wrong; those that an earlier run had finished don't come."""

    def finish(self, network: Network, found: FoundSeries, answer: Answer[FinishedSeries]) -> None:
        """Take the whole answer."""


@contextmanager
def resumable_answer(
    found: FoundSeries,
    network: Network,
    out: Path,
    *,
    watchers: Sequence[Watcher] = (),
    workers: int = 0,
    may_be_empty: bool = False,
) -> Iterator[Answer[FinishedSeries]]:
    """Predict series, keeping each on disk until the block has written the output that is made from all.

    Args:
        found: The series.
        network: The model.
        out: The output; a call that was killed is gone on with by another one for the same file.
        watchers: Get every series with its pixels.
        workers: Processes that read; 0 chooses.
        may_be_empty: Give an answer also where no series could be read.

    Raises:
        UsageError: No series could be read, or another process predicts into the same file.
    """
    with finished_folder(out, network.stamp) as folder:
        earlier = {one: finished for one in found.series if (finished := folder.load(one)) is not None}
        for watcher in watchers:
            watcher.start(found)

        def finish(series: UnreadSeries, pixels: SeriesPixels, finished: FinishedSeries) -> FinishedSeries:
            rows = [row for watcher in watchers for row in watcher.series(network, series, pixels, finished)]
            noted = replace(finished, qc=(*finished.qc, *rows))
            folder.save(series, noted)
            return noted

        result = answer(
            found, network, finish, earlier=earlier, verb="predict", workers=workers, may_be_empty=may_be_empty
        )
        for watcher in watchers:
            watcher.finish(network, found, result)
        yield result


def predict_series(
    series: Sequence[UnreadSeries], network: Network, *, workers: int = 0
) -> Iterator[tuple[UnreadSeries, tuple[SeriesPixels, FinishedSeries] | list[QcRow]]]:
    """Predict series one after the other, while the next ones are read.

    Args:
        series: The series.
        network: The model.
        workers: Processes that read; 0 chooses: one a core beside a GPU, and on a CPU, whose cores the network
            needs, a thread of this process.

    Yields:
        Each series with its pixels and its probabilities, or with the rows that say why there are none; in the order
        of completion.
    """
    for one, result in _read(series, network, workers):
        if isinstance(result, list):
            yield one, result
        elif not len(result.hu):
            yield one, list(result.qc)
        else:
            yield one, (result, predict_pixels(network, result))


def predict_pixels(network: Network, pixels: SeriesPixels) -> FinishedSeries:
    """Predict a series that was read and has slices."""
    predicted, maps = network.predict(pixels.hu, pixels.slice_position_mm, pixels.window, pixels.brain_hu)
    return FinishedSeries(
        predicted.encoder_probability, predicted.probability, predicted.series_probability, pixels.slice_position_mm,
        pixels.image_ids, pixels.qc, maps,
    )  # fmt: skip


def _read(
    series: Sequence[UnreadSeries], network: Network, workers: int
) -> Iterator[tuple[UnreadSeries, SeriesPixels | list[QcRow]]]:
    """Read series ahead of the network; in processes where a codec might take its process down."""
    work = partial(read_pixels, crop=network.crop, size=network.size)
    native = all(isinstance(one, StoredSeries) or one.images.is_native for one in series)
    on_cpu = network.device.type == "cpu"
    in_process = native and (workers == 1 or (workers == 0 and (on_cpu or len(series) == 1)))
    n_processes = 1 if workers == 0 and on_cpu else min(n_workers(workers), max(1, len(series)))

    def results() -> Iterator[tuple[UnreadSeries, SeriesPixels | list[QcRow]]]:
        for one, result in map_series(work, series, n_processes, timeout_s=limit_s, in_process=in_process):
            if not isinstance(result, Exception):
                yield one, result
            elif isinstance(one, StoredSeries) or len(one) == 1:
                yield one, lost_rows(one, range(len(one)), result)
            else:
                rest, rows = rescue(one, work, n_processes)
                yield one, replace(rest, qc=(*rows, *rest.qc)) if isinstance(rest, SeriesPixels) else rows

    return prefetch(results(), AHEAD)
