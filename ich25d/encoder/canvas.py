"""Canvases (`--canvas`): further scans, of the user's own scanners, that are painted into.

Of an unlabelled canvas nothing is known but what was painted in. It is shown twice side by side, painted and as it was
scanned, and learns one thing: what was painted in must make its label more likely than it was. What both share, the
scanner and what the scan holds of itself, cancels out; "all scans of this scanner bleed" can't be learnt from it. The
less an original needs to be negative, the less it counts: by the network's own probability that it has the label.

Slices whose labels are all 0, by their store or by the series' report (`--series-labels`), are negatives as any others.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch.nn import functional

from ich25d.config import Recipe
from ich25d.encoder.fold_rows import data_digest
from ich25d.encoder.learnt_images import image_hashes
from ich25d.encoder.parent import count_rsna
from ich25d.encoder.teaching import Teaching, teaching_of
from ich25d.errors import UsageError
from ich25d.files import replacing
from ich25d.labels import LABEL_WEIGHTS, N_LABELS
from ich25d.progress import remark
from ich25d.slabs.canvas import CanvasReader
from ich25d.slabs.dataset import SlabBatch, SlabReader
from ich25d.slabs.painting import Painter
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.device import to_device
from ich25d.training.processes import Processes

CANVAS_SHARE = 0.25
"""Slices of unlabelled canvases, painted and plain together, that an epoch shows at most, as a share of all others;
each epoch draws anew."""

ZEROS_FILE, TOLD_FILE = ".canvas-zeros.npy", ".canvas-told.npy"
"""In a fold's folder while it is trained: targets of 0, which painters need, and what is known of the canvases."""

Rows = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """A store of canvases, ready to be painted into."""

    store: StudyStore
    target: npt.NDArray[np.float32]
    """What slices are taught without paint, shape (M, 6): 0 where they are known to have no bleed, else NaN."""
    unknown: npt.NDArray[np.bool_]
    """Slices of which nothing is known but paint, shape (M,)."""
    negatives: Painter | None
    """Paints into shares of the negatives; None paints nothing."""
    always: Painter
    """Paints into everything that it is given."""

    @property
    def n_slices(self) -> int:
        """Slices of the store, M."""
        return len(self.target)

    @property
    def is_told(self) -> npt.NDArray[np.bool_]:
        """Slices that are taught something without paint, shape (M,)."""
        return np.asarray(~np.isnan(self.target).all(axis=1))

    def told(self, target: npt.NDArray[np.float32]) -> "Canvas":
        """Return the same with other targets, shape (M, 6); slices that have one aren't unknown any more."""
        changed = dataclasses.replace(self, target=target)
        return dataclasses.replace(changed, unknown=self.unknown & ~changed.is_told)

    def rows(self, store: StudyStore, held_out: Rows) -> tuple[Rows, Rows]:
        """Return told and unlabelled slices that a fold may use: none of a patient whom it holds out.

        Patients are recognised by their ids and by equal pixels.

        Args:
            store: The study store that is trained on.
            held_out: Rows of it that the fold holds out.
        """
        own, theirs = store.slices.iloc[held_out], self.store.slices
        known = np.isin(image_hashes(self.store), np.setdiff1d(image_hashes(store)[held_out], [0]))
        same = known | theirs["split_unit"].isin(set(own["split_unit"])).to_numpy()
        clean = ~theirs["split_unit"].isin(set(theirs["split_unit"][same])).to_numpy()
        return np.flatnonzero(self.is_told & clean), np.flatnonzero(self.unknown & clean)

    def reader(self, own: SlabReader, recipe: Recipe, folder: Path, processes: Processes) -> CanvasReader:
        """Return a reader of the store's slabs and of the canvases'.

        Args:
            own: Reads the store's.
            recipe: [slab] is used.
            folder: `foldK/`, where `ZEROS_FILE` and `TOLD_FILE` are written.
            processes: This process among several; the first one writes.
        """
        files = {TOLD_FILE: self.target, ZEROS_FILE: np.zeros_like(self.target)}
        if processes.is_first:
            for name, target in files.items():
                with replacing(folder / name) as part, part.open("wb") as file:
                    np.save(file, target)
        processes.wait()
        told, painted = (
            SlabReader(self.store, recipe.slab, painter, folder / name)
            for painter, name in zip((self.negatives, self.always), files, strict=True)
        )
        return CanvasReader(own, told, painted)

    def describe(self) -> dict[str, Any]:
        """Return what `model.json` says of it: counts and a hash, no ids."""
        return {
            "digest": data_digest(self.store),
            "n_patients": int(self.store.series["split_unit"].nunique()),
            "n_series": len(self.store.series),
            "n_slices": len(self.store.slices),
            "n_rsna": count_rsna(self.store),
            "n_negative_slices": int((self.target == 0).all(axis=1).sum()),
            "n_unlabelled_slices": int(self.unknown.sum()),
        }


def open_canvas(
    canvas: StudyStore,
    recipe: Recipe,
    store: StudyStore,
    *,
    labels: pd.DataFrame | None,
    anatomies: Path,
    memory_bytes: int,
) -> Canvas:
    """Make a store one of canvases.

    Args:
        canvas: The store.
        recipe: [augment] and [train] are used.
        store: The study store that is trained on.
        labels: Labels of whole series, which may be of canvases too.
        anatomies: The folder that keeps what painting needs of every series.
        memory_bytes: Memory for that, of each of the two painters.

    Raises:
        UsageError: It has slices of another size or crop, none that can be used, or the recipe paints nothing.
    """
    path = canvas.root
    kinds = [(one.size, str(one.marker["crop"])) for one in (canvas, store)]
    if kinds[0] != kinds[1]:
        raise UsageError(
            f"--canvas must be of the size and crop of the store that is trained on (got {kinds[0]} for {kinds[1]}) in "
            f"{path}; build it with the same --size and --crop"
        )
    if canvas.root.resolve() == store.root.resolve():
        raise UsageError(
            f"--canvas must be another store than the one that is trained on (got {path} for both): there, series "
            "without labels teach nothing; build a store of them alone"
        )
    teaching = teaching_of(canvas, labels)
    negative = np.asarray((teaching.target == 0).all(axis=1))
    unknown = np.asarray(np.isnan(teaching.target).all(axis=1))
    painted, train = recipe.augment.painted, recipe.train
    if not (negative | unknown).any():
        raise UsageError(f"--canvas must hold slices without labels or without bleeds (got none) in {path}")
    if unknown.any() and not painted:
        raise UsageError(
            "--canvas needs augment.painted above 0: of scans without labels nothing but paint is known (got 0); set "
            "it in the recipe or with --set"
        )
    if unknown.any() and train.batch_size % 2:
        raise UsageError(
            f"--canvas shows painted slices beside their originals and needs an even train.batch_size (got "
            f"{train.batch_size})"
        )
    if n_positive := int((teaching.target == 1).any(axis=1).sum()):
        remark(f"{n_positive} slices of {path} have a bleed by their labels; canvases teach by paint: they aren't used")
    common: dict[str, Any] = {"folder": anatomies, "memory_bytes": memory_bytes}
    decoys = recipe.augment.decoys
    negatives = Painter(canvas, painted, train.seed, decoys=decoys, **common) if painted + decoys else None
    target = np.where(negative[:, None], np.float32(0), np.float32(np.nan)) * np.ones(N_LABELS, np.float32)
    return Canvas(canvas, target, unknown, negatives, Painter(canvas, 1.0, train.seed, **common))


def with_canvas(teaching: Teaching, canvas: Canvas) -> Teaching:
    """Append the rows of `CanvasReader` to what a store's slices are taught: what is told, then nothing twice."""
    m = canvas.n_slices
    empty = np.full((3 * m, N_LABELS), np.nan, np.float32)
    taught = empty.copy()
    taught[:m] = canvas.target
    return dataclasses.replace(
        teaching,
        truth=np.concatenate([teaching.truth, empty]),
        target=np.concatenate([teaching.target, taught]),
        is_open=np.concatenate([teaching.is_open, np.zeros_like(empty, dtype=bool)]),
        whose=np.concatenate([teaching.whose, np.full(3 * m, len(teaching.series_id))]),
        series_target=np.concatenate([teaching.series_target, np.full((1, N_LABELS), np.nan, np.float32)]),
        series_id=[*teaching.series_id, ""],
    )


def pair_loss(logit: torch.Tensor, batch: SlabBatch, n_own: int, n_canvas: int) -> torch.Tensor:
    """Return the loss of painted canvases against their originals.

    For each label painted in: log(1 + exp(original - painted)), times the probability that the original has it not (a
    constant to the gradient); the mean over a slice's labels, weighted as in the score; summed over the slices and
    divided by the batch, so that a pair counts as one slice.

    Args:
        logit: Of the batch, shape (B, 6), float32.
        batch: From `CanvasReader`.
        n_own: Slices of the store that is trained on.
        n_canvas: Slices of the canvases.
    """
    place = {number: index for index, number in enumerate(batch.row.tolist()) if number >= n_own + n_canvas}
    pairs = [(index, place[number + n_canvas]) for number, index in place.items() if number + n_canvas in place]
    if not pairs:
        return logit.new_zeros(())
    painted, plain = (logit[torch.tensor(side, device=logit.device)] for side in zip(*pairs, strict=True))
    has = to_device(batch.target[[pair[0] for pair in pairs]] == 1, logit.device)
    weight = to_device(torch.tensor(LABEL_WEIGHTS, dtype=logit.dtype), logit.device) * has
    each = functional.softplus(plain - painted) * (1 - plain.detach().sigmoid())
    of_slice = (each * weight).sum(1) / weight.sum(1).clamp(min=1.0)
    return of_slice.sum() / len(batch)
