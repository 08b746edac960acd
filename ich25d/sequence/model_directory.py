"""The model directory of a sequence model: the one directory that prediction needs.

RUN/  model.json              dimensions, blend, calibration, series rules, thresholds, SHA-256 of every file
      config.toml             the resolved recipe
      statistics.safetensors  mean and spread of every encoder's embeddings
      foldK/                  weights.safetensors (all seeds), metrics.jsonl, oof.parquet, oof_series.parquet
      encoder/                a copy of the CNN's model directory, without what only training needs
      comparison.json         CNN alone, with smoothing, with the sequence model, on the same held-out patients
      features/               the feature store that was trained on; prediction doesn't need it
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from ich25d.config import SequenceConfig
from ich25d.errors import ModelError
from ich25d.files import inside, sha256_file
from ich25d.labels import N_LABELS
from ich25d.sequence.item import Runner, SeriesItem, logits_of_each
from ich25d.sequence.refinement import Refinement
from ich25d.sequence.standardisation import Standardisation
from ich25d.training.calibration import enforce_any, sigmoid
from ich25d.training.model_file import ENCODER_FOLDER, MODEL_FILE, SEQUENCE, checked_entries, read_model_file
from ich25d.training.operating_point import Thresholds, read_thresholds
from ich25d.training.smoothing import known_position_mm

if TYPE_CHECKING:
    import torch

STATISTICS_FILE = "statistics.safetensors"
FEATURES_FOLDER = "features"
_MAX_WIDTH, _MAX_LAYERS, _MAX_DIM, _MAX_SEEDS = 4096, 8, 65_536, 1000

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class SequencePrediction:
    """The probabilities of one series of n slices."""

    encoder_probability: Floats
    """Shape (n, 6): the encoders alone, folds and views averaged in logits, uncalibrated."""
    probability: Floats
    """Shape (n, 6), calibrated; `any` is at least the largest subtype."""
    series_probability: Floats
    """Shape (6,), of the whole series, calibrated; `any` is at least the largest subtype."""
    member_logit: Floats
    """The same in logits by each of M networks in each view, shape (M, 6): how far they differ says how sure to be."""


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedSequence:
    """A sequence run, ready to use.

    To predict a series: embed it with each encoder of `folds` (`load_encoder(encoder_folder, fold)`) in each of
    `views`, stack to (F, V, n, ...), and call `predict`.
    """

    folder: Path
    encoder_folder: Path | None
    """The encoders' model directory inside the run; None for a run that was trained on features alone."""
    folds: tuple[int, ...]
    """Encoders by fold, in the order in which `predict` takes them; (-1,) for features of one encoder."""
    views: tuple[str, ...]
    """Versions of every slab, in the order in which `predict` takes them: `plain`, `flip` (left to right)."""
    dim: int
    """Length E of an embedding."""
    models: tuple[tuple[Runner, ...], ...]
    """Sequence models by fold, of all seeds: each reads every encoder's embeddings, or its own (`paired`)."""
    paired: bool
    """The models of a fold read the embeddings of that fold's encoder alone: they were trained together."""
    standardisation: Standardisation
    base_logit: Floats
    """Log odds of the labels in the training data, shape (6,)."""
    gap_mm: float
    """Median slice gap of the training data."""
    refinement: Refinement
    thresholds: dict[str, Thresholds]
    """`slice` and `series`: thresholds by rule and label."""

    @property
    def prior(self) -> Floats:
        """Return the share of positive slices a label in the training data, shape (6,)."""
        return np.asarray(1 / (1 + np.exp(-self.base_logit)))

    def predict(
        self,
        embedding: Sequence[npt.NDArray[np.floating[Any]]] | npt.NDArray[np.floating[Any]],
        encoder_logit: Sequence[npt.NDArray[np.floating[Any]]] | npt.NDArray[np.floating[Any]] | None,
        slice_position_mm: npt.NDArray[np.float64],
    ) -> SequencePrediction:
        """Predict one series.

        Args:
            embedding: Shape (F, V, n, E): F encoders in the order of `folds`, V views in the order of `views`,
                n slices in scan order.
            encoder_logit: Shape (F, V, n, 6), the encoders' own; None for encoders without.
            slice_position_mm: Shape (n,), mm, never falling; NaN where unknown.

        Raises:
            ModelError: The arrays don't have these shapes, or hold NaN.
        """
        position = np.asarray(slice_position_mm, dtype=np.float64)
        n_slices = len(position)
        shape = (len(self.folds), len(self.views), n_slices)
        wide = np.stack([np.asarray(part, dtype=np.float32) for part in embedding])
        if encoder_logit is None:
            logit: Floats = np.broadcast_to(self.base_logit, (*shape, N_LABELS))
        else:
            logit = np.stack([np.asarray(part, dtype=np.float64) for part in encoder_logit])
        if wide.shape != (*shape, self.dim) or logit.shape != (*shape, N_LABELS) or n_slices == 0:
            raise ModelError(
                f"a series must come as embeddings of shape {(*shape, self.dim)} and logits of shape "
                f"{(*shape, N_LABELS)} (got {wide.shape} and {logit.shape}) for {self.folder}"
            )
        if not (np.isfinite(wide).all() and np.isfinite(logit).all()):
            raise ModelError(f"embeddings and logits must be finite (got NaN or infinity) for {self.folder}")
        items = [
            SeriesItem(
                embedding=self.standardisation.apply(wide[number, view], encoder_key(fold)),
                logit=logit[number, view].astype(np.float32),
                position_mm=known_position_mm(position).astype(np.float32),
                target=np.full((n_slices, N_LABELS), np.nan, np.float32),
            )
            for number, fold in enumerate(self.folds)
            for view in range(len(self.views))
        ]
        encoder_mean = logit.mean(axis=(0, 1))
        sequence_logit, head_logit = self._refine(items, position)
        slice_logit, whole = self._whole(encoder_mean, sequence_logit.mean(axis=0), head_logit.mean(axis=1), position)
        members = [
            self._whole(own, sequence_logit[number], head_logit[:, number], position)[1]
            for number, own in enumerate(logit.reshape(-1, n_slices, N_LABELS))
        ]
        return SequencePrediction(
            encoder_probability=sigmoid(encoder_mean),
            probability=enforce_any(sigmoid(slice_logit)),
            series_probability=enforce_any(sigmoid(whole)),
            member_logit=np.stack(members),
        )

    def _whole(
        self, encoder_logit: Floats, sequence_logit: Floats, head_logit: Floats, position: Floats
    ) -> tuple[Floats, Floats]:
        """Return calibrated logits of slices, (n, 6), and of the series, (6,), from those of both networks.

        Args:
            encoder_logit: Shape (n, 6).
            sequence_logit: Shape (n, 6).
            head_logit: Shape (strides, 6), of each of the interleaved series: the series rule counts slices, so that
                each is rated by itself.
            position: Shape (n,), mm.
        """
        slice_logit = self.refinement.slice_logit(encoder_logit, sequence_logit, position)
        whole = [
            self.refinement.series_logit(slice_logit[first :: len(head_logit)], head)
            for first, head in enumerate(head_logit)
        ]
        return slice_logit, np.mean(whole, axis=0)

    def _refine(self, items: list[SeriesItem], position: Floats) -> tuple[Floats, Floats]:
        """Run the sequence models; a thin series is read as several interleaved ones of a usual gap.

        Returns:
            Logits of slices, (M, n, 6), and of the interleaved series, (strides, M, 6), of each of M items.
        """
        n_strides = thin_strides(position, self.gap_mm)
        slices = np.zeros((len(items), len(position), N_LABELS))
        heads = []
        for first in range(n_strides):
            rows = np.arange(first, len(position), n_strides)
            slices[:, rows], head = self._refine_series([item.take(rows) for item in items])
            heads.append(head)
        return slices, np.stack(heads)

    def _refine_series(self, items: list[SeriesItem]) -> tuple[Floats, Floats]:
        """Average all models for each version, or each fold's for the versions of its own encoder."""
        if not self.paired:
            return logits_of_each([model for fold in self.models for model in fold], items)
        n_views = len(self.views)
        found = [
            logits_of_each(models, items[number * n_views : (number + 1) * n_views])
            for number, models in enumerate(self.models)
        ]
        return np.concatenate([slices for slices, _ in found]), np.concatenate([head for _, head in found])


def thin_strides(slice_position_mm: Floats, gap_mm: float) -> int:
    """Return into how many interleaved series a thin one is divided, so that each has about the training's gap.

    A network that was trained at 5 mm counts slices: at 0.6 mm it would read eight times the head.

    Args:
        slice_position_mm: Shape (n,), mm, never falling; NaN where unknown.
        gap_mm: Usual gap of the training data.
    """
    if len(slice_position_mm) < 3 or not np.isfinite(slice_position_mm).all():
        return 1
    gap = (slice_position_mm[-1] - slice_position_mm[0]) / (len(slice_position_mm) - 1)
    # Below half the usual gap: training drops every second slice, and so knows wider gaps but no narrower ones.
    return max(1, min(len(slice_position_mm), int(gap_mm / gap + 0.1))) if gap > 0 else 1


def encoder_key(fold: int) -> str:
    """Return an encoder's key in a feature store: its fold, or "" for the only one, whose fold is negative."""
    return str(fold) if fold >= 0 else ""


def load_sequence(run_dir: Path, device: "torch.device | str" = "cpu", *, fold: int | None = None) -> LoadedSequence:
    """Load a sequence run: nothing in it is executed, and every file has the SHA-256 that `model.json` names.

    Args:
        run_dir: A model directory that `train-rnn` wrote.
        device: Where to put the models.
        fold: Only what held this fold out: its encoder and its sequence models.

    Raises:
        ModelError: The directory is unfinished, damaged, or of another kind, format or labels.
    """
    from ich25d.sequence.model import load_models

    content = read_model_file(run_dir, SEQUENCE)
    with checked_entries(run_dir):
        config = TypeAdapter(SequenceConfig).validate_python(content["sequence"])
        entries = content["folds"] if fold is None else {fold: content["folds"][str(fold)]}
        weights = [(inside(run_dir, str(item["weights"])), str(item["sha256"])) for item in entries.values()]
        dim, n_seeds = int(content["dim"]), int(content["n_seeds"])
        # A foreign file could name sizes that no memory holds.
        sound = max(config.project, config.hidden) <= _MAX_WIDTH and config.layers <= _MAX_LAYERS
        sound = sound and (not content.get("paired") or list(map(str, content["encoders"])) == list(content["folds"]))
        if not (sound and 1 <= dim <= _MAX_DIM and 1 <= n_seeds <= _MAX_SEEDS and weights):
            raise ValueError("a number out of range")
    return dataclasses.replace(
        sequence_of(content, run_dir, fold), models=load_models(dim, config, weights, n_seeds, device)
    )


def sequence_of(content: Mapping[str, Any], folder: Path, fold: int | None = None) -> LoadedSequence:
    """Read all of a sequence run but its networks.

    Args:
        content: Its `model.json`.
        folder: Where its files are.
        fold: Only the encoder that held this fold out; None takes all.

    Returns:
        Without `models`.

    Raises:
        ModelError: An entry is absent or unfit, or the embeddings' statistics aren't those that it names.
    """
    with checked_entries(folder):
        dim, views = int(content["dim"]), tuple(str(view) for view in content["views"])
        folds = tuple(number for number in map(int, content["encoders"]) if fold is None or number == fold)
        base_logit = np.array([float(value) for value in content["base_logit"]])
        gap_mm, has_encoder = float(content["gap_mm"]), bool(content["has_encoder"])
        paired = bool(content.get("paired", False))
        statistics = content["statistics"]
        path = inside(folder, str(statistics["file"]))
        thresholds = {level: read_thresholds(content["thresholds"][level]) for level in ("slice", "series")}
        sound = 1 <= dim <= _MAX_DIM and views and folds and gap_mm > 0
        if not sound or base_logit.shape != (N_LABELS,) or not np.isfinite(base_logit).all() or math.isinf(gap_mm):
            raise ValueError("a number out of range")
    if not path.is_file() or sha256_file(path) != statistics.get("sha256"):
        raise ModelError(f"the embeddings' statistics must be the file of {MODEL_FILE} (got another) in {path}")
    standardisation = Standardisation.load(path, dim)
    if absent := [fold for fold in folds if encoder_key(fold) not in standardisation.mean]:
        raise ModelError(f"every encoder must have its statistics (got none of fold {absent[0]}) in {path}")
    refinement = Refinement.from_dict(content.get("refinement"), str(folder / MODEL_FILE))
    return LoadedSequence(
        folder=folder, encoder_folder=folder / ENCODER_FOLDER if has_encoder else None, folds=folds, views=views,
        dim=dim, models=(), paired=paired, standardisation=standardisation, base_logit=base_logit, gap_mm=gap_mm,
        refinement=refinement, thresholds=thresholds,
    )  # fmt: skip
