"""The series of sources that a model is to predict, each once; found without a network.

find_series(sources) -> FoundSeries
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from ich25d.errors import UsageError
from ich25d.predict.series import FoundSeries, UnreadSeries, list_series
from ich25d.studies.no_usable_input import nothing_used
from ich25d.studies.pool.local_pool import ONE_A_CORE
from ich25d.studies.pool.pool import Pool
from ich25d.studies.qc import QcRow, is_refused
from ich25d.studies.series.own_series import free_name
from ich25d.studies.series.series_plan import SeriesPlan, without


class TakesSlices(Protocol):
    """A loaded network, or what `model.json` says of one."""

    @property
    def size(self) -> int:
        """Side in px of the slices that it was trained on."""

    @property
    def crop(self) -> str:
        """How those were cropped, `head` or `none`."""


def find_series(
    sources: Sequence[Path],
    model: TakesSlices,
    *,
    only: Sequence[str] = (),
    images: Sequence[Path] = (),
    accept: Collection[str] = (),
    pool: Pool = ONE_A_CORE,
) -> FoundSeries:
    """Find the series that a model is to predict, each once.

    Args:
        sources: Folders, DICOM files, zip archives and study stores, in any mix.
        model: The model; its size and crop are those that a study store must have.
        only: Globs that files and archive members must match, any of them.
        images: Tables of images, as further sources.
        accept: Codes of refused series to use nevertheless, of `codes.ACCEPTABLE`.
        pool: Reads headers.

    Raises:
        UsageError: Options or sources that don't fit together, or no series; it names what was refused instead.
        StoreError: A study store is of another size or crop than the model's.
    """
    return each_once(
        list_series(sources, only=only, images=images, accept=accept, size=model.size, crop=model.crop, pool=pool)
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
