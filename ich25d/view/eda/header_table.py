"""The technical attributes of a store's images: as the builder's notebook keeps them, or read again from the files."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ich25d.files import shown_name
from ich25d.studies.headers.notebook import NAME, kept_attributes
from ich25d.studies.headers.packed import Indexed, Privacy, shared_attributes
from ich25d.studies.headers.read_many import index_files
from ich25d.studies.pool.local_pool import ONE_PROCESS
from ich25d.studies.pool.pool import Pool
from ich25d.studies.sources.listing import list_entries
from ich25d.studies.sources.opened import Sources

ATTRIBUTES: tuple[str, ...] = (
    "transfer_syntax", "is_lossy", "photometric", "bits_allocated", "bits_stored", "high_bit", "is_signed", "slope",
    "intercept", "padding", "image_type", "directions", "kvp", "contrast", "kernel", "thickness_mm",
)  # fmt: skip
"""Attributes of `dicom.header.Header` that say how an image was made, and nothing of whom or when."""


def kept_headers(root: Path, slices: pd.DataFrame) -> pd.DataFrame | None:
    """Return the attributes of a store's series as its builder's notebook keeps them; no file of the source is opened.

    Args:
        root: The store's folder.
        slices: Its table of slices: `source` and `series_id`.

    Returns:
        A row a series that came from DICOM, indexed by `series_id`: `ATTRIBUTES`, each as most images have it, and
        `mixed`, the names of those that differ inside. None where there is no notebook, or one of another version.
    """
    of_source = kept_attributes(root / NAME)
    return None if of_source is None else _by_series(slices, of_source)


def read_headers(
    sources: Sequence[Path], slices: pd.DataFrame, *, only: Sequence[str] = (), pool: Pool = ONE_PROCESS
) -> pd.DataFrame:
    """Read the headers of a store's images again.

    Args:
        sources: What the store was built from: folders, files and archives.
        slices: The store's table of slices: `source` and `series_id`.
        only: Globs, as for `build-studies`.
        pool: Reads them.

    Returns:
        As `kept_headers`; empty where none of the files is among the sources.

    Raises:
        UsageError: A source doesn't exist.
    """
    wanted = {name for source in slices["source"] for name in (source, source.rpartition("#")[0])}
    entries = [entry for entry in list_entries(sources, only)[0] if shown_name(entry.source) in wanted]
    # Pseudonyms made here go nowhere: identifying attributes aren't among those that are kept.
    privacy = Privacy(b"0" * 16, 0.0)
    of_source: dict[str, dict[str, Any]] = {}
    for _, found, _ in index_files(entries, Sources(tuple(sources)), privacy, pool):
        for image in found:
            if isinstance(image, Indexed):
                of_source[shown_name(image.source)] = shared_attributes(image.shared)
    return _by_series(slices, of_source)


def _by_series(slices: pd.DataFrame, of_source: dict[str, dict[str, Any]]) -> pd.DataFrame:
    rows: dict[str, dict[str, object]] = {}
    for series_id, part in slices.groupby("series_id", sort=False)["source"]:
        found = [of_source[source] for source in part if source in of_source]
        if not found:
            continue
        # Headers that are alike are one object: most series have one or two.
        distinct = list(Counter(map(id, found)).items())
        headers = {id(header): header for header in found}
        row: dict[str, object] = {}
        mixed = []
        for name in ATTRIBUTES:
            counts: Counter[Any] = Counter()
            for number, count in distinct:
                counts[headers[number][name]] += count
            row[name] = counts.most_common(1)[0][0]
            if len(counts) > 1:
                mixed.append(name)
        rows[str(series_id)] = {**row, "mixed": ", ".join(mixed)}
    return pd.DataFrame.from_dict(rows, orient="index", columns=[*ATTRIBUTES, "mixed"]).rename_axis("series_id")
