"""Which slices of a store a fold trains on, and which it holds out."""

import dataclasses
import hashlib

import numpy as np
import numpy.typing as npt

from ich25d.config import matches
from ich25d.encoder.teaching import Teaching, teaching_of
from ich25d.errors import UsageError
from ich25d.labels import LABELS
from ich25d.slabs.dataset import SlabReader
from ich25d.studies.store_dir.store import StudyStore


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """Rows of the slice table that a fold uses."""

    train: npt.NDArray[np.int64]
    """Slices that are taught something, of series outside the fold: by a label, or with others of their series."""
    held_out: npt.NDArray[np.int64]
    """All slices of the fold's series."""
    validated: npt.NDArray[np.int64]
    """Those of them that count in the validation."""


def rows_of_fold(
    store: StudyStore,
    reader: SlabReader,
    fold: int,
    exclude: tuple[str, ...],
    seen: npt.NDArray[np.bool_] | None = None,
    teaching: Teaching | None = None,
) -> Rows:
    """Divide a store's slices for one fold.

    Series that `exclude` names are held out like all others, so that their out-of-fold logits are honest;
    they only don't count in the score by which epochs are compared. Nor do those that the network saw before.

    Args:
        store: The study store.
        reader: Reads its slabs.
        fold: Number of the fold to hold out.
        exclude: Glob patterns of series ids.
        seen: Slices of patients whom the network knew before, bool (slices,); None is nobody.
        teaching: What its slices are taught; None is the store's own labels.

    Raises:
        UsageError: There is nothing to train on.
    """
    teaching = teaching or teaching_of(store)
    series = store.series
    ids, folds = series["series_id"].astype(str).to_numpy(), series["fold"].to_numpy()
    taught = np.asarray(~np.isnan(teaching.target).all(axis=1)) | teaching.in_bag
    known = teaching.is_known
    train = reader.rows_of(list(ids[folds != fold]))
    held_out = reader.rows_of(list(ids[folds == fold]))
    counted = [name for name in ids[folds == fold] if not matches(name, exclude)]
    validated = reader.rows_of(counted)
    if seen is not None:
        validated = validated[~seen[validated]]
    labelled = train[taught[train]]
    if len(labelled) == 0:
        raise UsageError(
            f"training needs labelled slices outside fold {fold} (got {len(labelled)} of {len(train)}); "
            "build the store with --labels, or give --series-labels, and have at least 2 folds"
        )
    return Rows(labelled, held_out, validated[known[validated]])


def folds_of(store: StudyStore) -> list[int]:
    """Return the numbers of a store's folds.

    Raises:
        UsageError: There are fewer than two: nothing could be held out.
    """
    folds = sorted({int(number) for number in store.series["fold"].dropna()})
    if len(folds) < 2:
        raise UsageError(
            f"training holds one fold out and needs at least 2 (got {len(folds)}, of {len(store.series)} series); "
            "build the store with more patients or --folds"
        )
    return folds


def data_digest(store: StudyStore) -> str:
    """Return a hash of everything that training takes from a store's tables: images, their order, labels and folds."""
    digest = hashlib.sha256()
    columns = ["image_id", "series_id", "slice_position_mm", *LABELS]
    for table, names in ((store.slices, columns), (store.series, ["series_id", "fold", "content_hash"])):
        digest.update(table[names].to_csv(index=False).encode())
    return digest.hexdigest()
