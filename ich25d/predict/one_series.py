"""One series, once its pixels are read: predicted, and finished, wherever that is done."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from ich25d.bleeds.scan_measures import measure_scan
from ich25d.predict.finished_series import FinishedFolder, FinishedSeries, without_maps
from ich25d.predict.network import Network
from ich25d.predict.series import SeriesPixels, UnreadSeries
from ich25d.studies.qc import QcRow


class _Result(Protocol):
    @property
    def qc(self) -> tuple[QcRow, ...]: ...


Result = TypeVar("Result", bound=_Result)
Made_co = TypeVar("Made_co", covariant=True)


class Finish(Protocol[Made_co]):
    """Makes what is wanted of a predicted series, while its pixels are in memory; its files are whole or not there."""

    def __call__(
        self,
        network: Network,
        series: UnreadSeries,
        pixels: SeriesPixels,
        finished: FinishedSeries,
        remarks: tuple[QcRow, ...],
        /,
    ) -> Made_co:
        """Take a series and what its headers gave rise to."""


def predict_pixels(network: Network, pixels: SeriesPixels) -> FinishedSeries:
    """Predict a series that was read and has slices."""
    predicted, maps = network.predict(pixels.hu, pixels.slice_position_mm, pixels.window, pixels.brain_hu)
    return FinishedSeries(
        predicted.encoder_probability, predicted.probability, predicted.series_probability, predicted.member_logit,
        measure_scan(pixels.hu, pixels.slice_position_mm), pixels.slice_position_mm, pixels.image_ids, pixels.qc, maps,
    )  # fmt: skip


def finish_predicted(
    network: Network,
    series: UnreadSeries,
    pixels: SeriesPixels,
    finished: FinishedSeries,
    remarks: tuple[QcRow, ...],
    *,
    folder: FinishedFolder,
    watchers: Sequence[Finish[Sequence[QcRow]]],
) -> FinishedSeries:
    """Keep a predicted series on disk, once the watchers have had it; return it without the maps of its pixels."""
    rows = [row for each in watchers for row in each(network, series, pixels, finished, remarks)]
    noted = replace(finished, qc=(*finished.qc, *rows))
    folder.save(series, noted)
    return without_maps(noted)
