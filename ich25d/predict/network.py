"""A model directory of either kind, or an exported folder, loaded: a series' HU in, its probabilities out.

Size, crop, windows and views are the model's own; an engine computes its networks.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ich25d.config import SlabConfig
from ich25d.engine.choice import open_engine
from ich25d.engine.described import Described, describe_model
from ich25d.engine.engine import Engine
from ich25d.errors import ModelError, UsageError
from ich25d.sequence.model_directory import SequencePrediction
from ich25d.studies.pool.pool import Pool
from ich25d.training.confidence import Confidence
from ich25d.training.model_file import About
from ich25d.training.operating_point import OperatingPoint
from ich25d.training.prevalence import Site

if TYPE_CHECKING:
    from ich25d.encoder.loaded import LoadedEncoder

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Network:
    """Encoders of all folds, and what refines and calibrates their logits."""

    model: Described
    engine: Engine

    @property
    def folder(self) -> Path:
        """The model directory."""
        return self.model.folder

    @property
    def about(self) -> About:
        """What outputs say of it."""
        return self.model.about

    @property
    def prior(self) -> Floats:
        """Share of positive slices a label in the training data, shape (6,)."""
        return self.model.prior

    @property
    def confidence(self) -> Confidence | None:
        """What it judges scans by; None for a model without."""
        return self.model.confidence

    @property
    def points(self) -> tuple[OperatingPoint, ...]:
        """Its operating points, the default first."""
        return self.model.points

    @property
    def point(self) -> OperatingPoint:
        """Its default operating point."""
        return self.model.points[0]

    @property
    def site(self) -> Site | None:
        """Where it is used; None where nobody has said so."""
        return self.model.site

    @property
    def slab(self) -> SlabConfig:
        """What the encoders see of a scan."""
        return self.model.slab

    @property
    def size(self) -> int:
        """Side in px of the slices that it was trained on."""
        return self.model.size

    @property
    def crop(self) -> str:
        """How those were cropped, `head` or `none`."""
        return self.model.crop

    @property
    def stamp(self) -> str:
        """Hash that changes with the model; the same whatever computes it."""
        return self.model.stamp

    @property
    def made_by(self) -> str:
        """The model and the engine: what a finished series must have been made by to be gone on with."""
        return f"{self.stamp} {self.engine.label}"

    @property
    def named(self) -> str:
        """Name, hash and engine, as tables give them."""
        return f"{self.about.name} ({self.stamp[:12]}, {self.engine.label})"

    @property
    def line(self) -> str:
        """What commands print of the model and its engine."""
        return f"{self.about.line}; computed by {self.engine.label}"

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
        parts = self.engine.embed(hu, slice_position_mm, window, brain_hu)
        logit = np.stack([part.logit for part in parts]).astype(np.float64)
        predicted = self.engine.refine(np.stack([part.embedding for part in parts]), logit, slice_position_mm)
        numbers = (predicted.encoder_probability, predicted.probability, predicted.series_probability)
        if not all(np.isfinite(number).all() for number in numbers):
            raise ModelError(f"probabilities must be finite (got NaN from {self.folder}); are its weights whole?")
        maps = [part.pixel for part in parts if part.pixel is not None]
        return predicted, np.stack(maps).mean(axis=0, dtype=np.float32).astype(np.float16) if maps else None

    def torch_encoders(self) -> "tuple[LoadedEncoder, ...]":
        """Return the encoders in torch, for what asks their gradients; an engine without torch loads them.

        Raises:
            UsageError: The model is an exported one.
        """
        if self.engine.encoders is not None:
            return self.engine.encoders
        if self.model.is_exported:
            raise UsageError(
                f"heat maps of a model without a pixel head need torch and the model directory (got the exported "
                f"{self.folder}); give the one it was made of, or report with --no-heat"
            )
        import torch

        from ich25d.engine.torch_engine import torch_encoders

        return torch_encoders(self.model, torch.device("cpu")).encoders


def load_network(folder: Path, device: str = "auto", engine: str = "auto", *, fold: int | None = None) -> Network:
    """Load a model directory of `train-rnn` or of `train-cnn`, or what `export` made of one.

    Args:
        folder: The model directory or exported folder.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        engine: `auto`, `torch`, `openvino` or `onnx` (`open_engine`).
        fold: Only the networks that held this fold out, in torch; None takes all.

    Raises:
        ModelError: It's absent, unfinished, damaged, foreign, or made from features without an encoder.
        UsageError: There is no such device or engine.
    """
    model = describe_model(folder, fold)
    return Network(model, open_engine(model, device, engine if fold is None else "torch"))


def network_for(pool: Pool, folder: Path, device: str, engine: str) -> Network:
    """Load the model that this process, or a cluster's nodes, predict with.

    Nodes compute by torch, on their GPUs where they have any; this process then only speaks for them.

    Args:
        pool: What predicts.
        folder: The model directory or exported folder.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        engine: `auto`, `torch`, `openvino` or `onnx`.

    Raises:
        ModelError: As `load_network`.
        UsageError: As `load_network`; or another engine than torch on a cluster.
    """
    if not pool.is_remote:
        return load_network(folder, device, engine)
    if engine not in ("auto", "torch"):
        raise UsageError(f"a cluster computes by torch (got --engine {engine}); use --engine torch")
    network = load_network(folder, "cpu", "torch")
    if not pool.has_gpus:
        return network
    return replace(network, engine=replace(network.engine, label=f"{network.engine.label} on cuda"))
