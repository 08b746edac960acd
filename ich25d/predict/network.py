"""A model directory of either kind, loaded: a series' HU in, its probabilities out.

The networks are called through the functions that training calls; size, crop, windows and views are the model's own.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit

from ich25d.encoder.model_directory import LoadedEncoder, Run, load_encoder, read_run
from ich25d.errors import ModelError
from ich25d.features.extract import AtOnce, embed_series
from ich25d.labels import ANY_INDEX, N_LABELS
from ich25d.recipes import read_recipe
from ich25d.sequence.model_directory import LoadedSequence, SequencePrediction, load_sequence
from ich25d.training.calibration import Calibration
from ich25d.training.confidence import Confidence, read_confidence
from ich25d.training.model_file import CONFIG_FILE, MODEL_FILE, SEQUENCE, About, about_model, read_predictor
from ich25d.training.operating_point import OperatingPoint, read_points

Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class Network:
    """Encoders of all folds, and what refines and calibrates their logits."""

    folder: Path
    """The model directory."""
    about: About
    """What outputs say of it."""
    encoders: tuple[LoadedEncoder, ...]
    """One a fold."""
    views: tuple[str, ...]
    """`plain` or `flip` each: a slice is seen in all, and their logits are averaged."""
    refine: Callable[[npt.NDArray[np.float32], Floats, Floats], SequencePrediction]
    """From embeddings (F, V, n, E), logits (F, V, n, 6) and positions (n,) to probabilities."""
    run: Run
    """The encoders' model directory."""
    prior: Floats
    """Share of positive slices a label in the training data, shape (6,)."""
    stamp: str
    """Hash that changes with the model."""
    device: torch.device
    confidence: Confidence | None
    """What it judges scans by; None for a model without."""
    point: OperatingPoint
    """Its default operating point."""
    at_once: AtOnce = field(default_factory=AtOnce)

    @property
    def batch_size(self) -> int:
        """Slabs that the encoders take at once."""
        return self.at_once.n

    @property
    def size(self) -> int:
        """Side in px of the slices that it was trained on."""
        return self.run.store_size

    @property
    def crop(self) -> str:
        """How those were cropped, `head` or `none`."""
        return self.run.crop

    def predict(
        self,
        hu: npt.NDArray[np.int16],
        slice_position_mm: npt.NDArray[np.float64],
        window: npt.NDArray[np.float32] | None,
        brain_hu: float = float("nan"),
    ) -> tuple[SequencePrediction, npt.NDArray[np.float16] | None]:
        """Predict one series.

        Args:
            hu: Shape (n, size, size), int16, in scan order, cropped as the model's own store.
            slice_position_mm: Shape (n,), mm; NaN where unknown.
            window: The files' own level and width, shape (n, 2); NaN or None where they name none.
            brain_hu: HU of the series' brain tissue; NaN where unknown.

        Returns:
            The probabilities; and those of the pixel heads, as in `Embedded`, the mean of the encoders: None without.

        Raises:
            ModelError: The networks gave numbers that aren't finite, or one slab is too much for the device's memory.
        """
        parts = [
            embed_series(
                encoder, hu, slice_position_mm, window, views=self.views, brain_hu=brain_hu, at_once=self.at_once
            )
            for encoder in self.encoders
        ]
        logit = np.stack([part.logit for part in parts]).astype(np.float64)
        predicted = self.refine(np.stack([part.embedding for part in parts]), logit, slice_position_mm)
        numbers = (predicted.encoder_probability, predicted.probability, predicted.series_probability)
        if not all(np.isfinite(number).all() for number in numbers):
            raise ModelError(f"probabilities must be finite (got NaN from {self.folder}); are its weights whole?")
        maps = [part.pixel for part in parts if part.pixel is not None]
        return predicted, np.stack(maps).mean(axis=0, dtype=np.float32).astype(np.float16) if maps else None


def load_network(folder: Path, device: torch.device, *, fold: int | None = None) -> Network:
    """Load a model directory of `train-rnn` or of `train-cnn`.

    Args:
        folder: The model directory.
        device: Where the networks compute.
        fold: Only the networks that held this fold out; None takes all.

    Raises:
        ModelError: It's absent, unfinished, damaged, foreign, or made from features without an encoder.
    """
    found = read_predictor(folder)
    load = _sequence_network if found.kind == SEQUENCE else _encoder_network
    return load(folder, about_model(folder, found.content), device, fold)


def _sequence_network(folder: Path, about: About, device: torch.device, fold: int | None) -> Network:
    sequence: LoadedSequence = load_sequence(folder, device, fold=fold)
    assert sequence.encoder_folder is not None  # read_predictor has refused such a run
    encoders = tuple(load_encoder(sequence.encoder_folder, number, device) for number in sequence.folds)
    stamp = _stamp(folder / MODEL_FILE, sequence.encoder_folder / MODEL_FILE)
    return Network(
        folder=folder, about=about, encoders=encoders, views=sequence.views, refine=sequence.predict,
        run=encoders[0].run, prior=sequence.prior, stamp=stamp, device=device, confidence=read_confidence(folder),
        point=read_points(folder)[0],
    )  # fmt: skip


def _encoder_network(folder: Path, about: About, device: torch.device, fold: int | None) -> Network:
    run = read_run(folder)
    calibration = Calibration.from_dict(run.content.get("calibration"))
    config = folder / CONFIG_FILE
    views = read_recipe(config).features.views if config.is_file() else ("plain", "flip")
    encoders = tuple(load_encoder(folder, number, device) for number in (sorted(run.folds) if fold is None else [fold]))

    def refine(_: npt.NDArray[np.float32], logit: Floats, slice_position_mm: Floats) -> SequencePrediction:
        mean = logit.mean(axis=(0, 1))
        probability = calibration.probability(mean, slice_position_mm)
        members = calibration.apply(logit, slice_position_mm).max(axis=2).reshape(-1, N_LABELS)
        members[:, ANY_INDEX] = members.max(axis=1)
        return SequencePrediction(np.asarray(expit(mean)), probability, probability.max(axis=0), members)

    return Network(
        folder=folder, about=about, encoders=encoders, views=tuple(views), refine=refine, run=run,
        prior=_prior(run), stamp=_stamp(folder / MODEL_FILE), device=device, confidence=read_confidence(folder),
        point=read_points(folder)[0],
    )  # fmt: skip


def _prior(run: Run) -> Floats:
    prior = np.asarray(run.content.get("prior"), dtype=np.float64)
    if prior.shape != (6,) or not ((prior > 0) & (prior < 1)).all():
        raise ModelError(f"a model's prior must be six shares between 0 and 1 (got {prior.tolist()}) in {run.folder}")
    return prior


def _stamp(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())  # it names the SHA-256 of all weights, which were checked
    return digest.hexdigest()
