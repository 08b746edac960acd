"""What prediction needs to know of a model beside its networks, from a model directory or an exported folder.

All of it is read without torch.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from ich25d.config import SlabConfig
from ich25d.encoder.model_directory import Run, read_run
from ich25d.errors import ModelError
from ich25d.labels import ANY_INDEX, N_LABELS
from ich25d.recipes import read_recipe
from ich25d.sequence.item import Runner
from ich25d.sequence.model_directory import LoadedSequence, SequencePrediction, sequence_of
from ich25d.training.calibration import Calibration, sigmoid
from ich25d.training.confidence import Confidence, read_confidence
from ich25d.training.model_file import (
    CNN,
    CONFIG_FILE,
    MODEL_FILE,
    SEQUENCE,
    About,
    Predictor,
    about_model,
    checked_entries,
    read_predictor,
)
from ich25d.training.operating_point import OperatingPoint, read_points
from ich25d.training.prevalence import Site

Floats = npt.NDArray[np.float64]

Refine = Callable[[npt.NDArray[np.float32], Floats, Floats], SequencePrediction]
"""From embeddings (F, V, n, E), logits (F, V, n, 6) and positions (n,) to probabilities."""


@dataclass(frozen=True, slots=True)
class Described:
    """A model without its networks."""

    folder: Path
    """The model directory or exported folder."""
    about: About
    """What outputs say of it."""
    slab: SlabConfig
    size: int
    """Side in px of the slices that it was trained on."""
    crop: str
    """How those were cropped, `head` or `none`."""
    views: tuple[str, ...]
    """`plain` or `flip` each: a slice is seen in all, and their logits are averaged."""
    prior: Floats
    """Share of positive slices a label in the training data, shape (6,)."""
    stamp: str
    """Hash that changes with the model; the same for what was exported of it."""
    is_exported: bool
    encoder_folder: Path
    """Where the encoders' weights are."""
    folds: tuple[int, ...]
    """The encoders, by fold."""
    fold: int | None
    """The only fold whose networks are meant; None for all."""
    calibration: Calibration
    """Of a model without a sequence model."""
    sequence: LoadedSequence | None
    """The sequence model, without its networks."""
    content: Mapping[str, Any]
    """All of `model.json`."""
    confidence: Confidence | None
    """What it judges scans by; None for a model without."""
    points: tuple[OperatingPoint, ...]
    """Its operating points, the default first."""
    site: Site | None = None
    """Where it is used; None where nobody has said so."""

    def refine_with(self, models: Sequence[Sequence[Runner]]) -> Refine:
        """Return what makes probabilities of the encoders' logits.

        Args:
            models: Of a sequence model, by fold; none of a model without.
        """
        if self.sequence is not None:
            return replace(self.sequence, models=tuple(map(tuple, models))).predict
        return self._calibrated

    def _calibrated(self, _: npt.NDArray[np.float32], logit: Floats, slice_position_mm: Floats) -> SequencePrediction:
        mean = logit.mean(axis=(0, 1))
        probability = self.calibration.probability(mean, slice_position_mm)
        whole = self.calibration.of_series.probability(mean, slice_position_mm).max(axis=0)
        members = self.calibration.of_series.apply(logit, slice_position_mm).max(axis=2).reshape(-1, N_LABELS)
        members[:, ANY_INDEX] = members.max(axis=1)
        return SequencePrediction(sigmoid(mean), probability, whole, members)


def describe_model(folder: Path, fold: int | None = None) -> Described:
    """Read a model directory of `train-rnn` or of `train-cnn`, or what `export` made of one.

    Args:
        folder: The model directory or exported folder.
        fold: Only the networks that held this fold out; None takes all.

    Raises:
        ModelError: It's absent, unfinished, damaged, foreign, or made from features without an encoder.
    """
    found = read_predictor(folder)
    if found.kind == SEQUENCE:
        return _of_sequence(found, fold)
    if found.kind == CNN:
        return _of_encoders(found, fold)
    if fold is not None:
        raise ModelError(f"an exported model has no networks that held a fold out (got fold {fold}) in {folder}")
    return _of_exported(found)


def _of_sequence(found: Predictor, fold: int | None) -> Described:
    folder, content = found.folder, found.content
    sequence = sequence_of(content, folder, fold)
    assert sequence.encoder_folder is not None  # read_predictor has refused such a run
    run = read_run(sequence.encoder_folder)
    return Described(
        folder=folder, about=about_model(folder, found.content), slab=run.slab, size=run.store_size, crop=run.crop,
        views=sequence.views, prior=sequence.prior, stamp=_stamp(folder / MODEL_FILE, run.folder / MODEL_FILE),
        is_exported=False, encoder_folder=run.folder, folds=sequence.folds, fold=fold, calibration=Calibration(),
        sequence=sequence, content=content, confidence=read_confidence(folder), points=read_points(folder),
    )  # fmt: skip


def _of_encoders(found: Predictor, fold: int | None) -> Described:
    folder = found.folder
    run = read_run(folder)
    config = folder / CONFIG_FILE
    views = read_recipe(config).features.views if config.is_file() else ("plain", "flip")
    return Described(
        folder=folder, about=about_model(folder, found.content), slab=run.slab, size=run.store_size, crop=run.crop,
        views=tuple(views), prior=_prior(run), stamp=_stamp(folder / MODEL_FILE), is_exported=False,
        encoder_folder=folder, folds=tuple(sorted(run.folds)) if fold is None else (fold,), fold=fold,
        calibration=Calibration.from_dict(run.content.get("calibration")), sequence=None, content=run.content,
        confidence=read_confidence(folder), points=read_points(folder),
    )  # fmt: skip


def _of_exported(found: Predictor) -> Described:
    folder, content = found.folder, found.content
    with checked_entries(folder):
        slab = TypeAdapter(SlabConfig).validate_python(content["slab"])
        views, folds = tuple(map(str, content["views"])), tuple(int(one["fold"]) for one in content["encoders"])
        prior, stamp = _checked_prior(content["prior"], folder), str(content["stamp"])
        if not views or not folds or set(views) - {"plain", "flip"} or len(stamp) < 12:
            raise ValueError("no views, encoders or stamp")
    sequence = None if content.get("sequence") is None else sequence_of(content["sequence"], folder)
    return Described(
        folder=folder, about=about_model(folder, found.content), slab=slab, size=found.size, crop=found.crop,
        views=views, prior=prior, stamp=stamp, is_exported=True, encoder_folder=folder, folds=folds, fold=None,
        calibration=Calibration.from_dict(content.get("calibration")), sequence=sequence, content=content,
        confidence=read_confidence(folder), points=read_points(folder),
    )  # fmt: skip


def _prior(run: Run) -> Floats:
    return _checked_prior(run.content.get("prior"), run.folder)


def _checked_prior(content: object, folder: Path) -> Floats:
    with checked_entries(folder):
        prior = np.asarray(content, dtype=np.float64)
    if prior.shape != (N_LABELS,) or not ((prior > 0) & (prior < 1)).all():
        raise ModelError(f"a model's prior must be six shares between 0 and 1 (got {prior.tolist()}) in {folder}")
    return prior


def _stamp(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())  # it names the SHA-256 of all weights
    return digest.hexdigest()
