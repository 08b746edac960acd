"""The networks of a model directory in torch: the reference that every other engine is compared with."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from ich25d.encoder.loaded import LoadedEncoder, load_encoder
from ich25d.engine.described import Described
from ich25d.engine.engine import Engine
from ich25d.features.embedded import Embedded
from ich25d.features.extract import AtOnce, embed_series
from ich25d.sequence.model_directory import load_sequence


@dataclass(frozen=True, slots=True)
class TorchEncoders:
    """Encoders of all folds."""

    encoders: tuple[LoadedEncoder, ...]
    views: tuple[str, ...]
    at_once: AtOnce = field(default_factory=AtOnce)

    def embed(
        self,
        hu: npt.NDArray[np.int16],
        slice_position_mm: npt.NDArray[np.float64],
        window: npt.NDArray[np.float32] | None,
        brain_hu: float,
    ) -> list[Embedded]:
        """Embed a series by every encoder."""
        return [
            embed_series(
                encoder, hu, slice_position_mm, window, views=self.views, brain_hu=brain_hu, at_once=self.at_once
            )
            for encoder in self.encoders
        ]


def torch_engine(model: Described, device: torch.device) -> Engine:
    """Load a model's networks.

    Args:
        model: Of a model directory.
        device: Where they compute.

    Raises:
        ModelError: Weights are absent, others, or don't fit.
    """
    encoders = torch_encoders(model, device)
    models = () if model.sequence is None else load_sequence(model.folder, device, fold=model.fold).models
    precision, where = encoders.encoders[0].precision.name, "" if device.type == "cpu" else f" on {device.type}"
    version = torch.__version__.partition("+")[0]
    return Engine(
        name="torch", label=f"torch {version}{where}" + ("" if precision == "fp32" else f", {precision}"),
        on_cpu=device.type == "cpu", embed=encoders.embed, refine=model.refine_with(models),
        encoders=encoders.encoders,
    )  # fmt: skip


def torch_encoders(model: Described, device: torch.device) -> TorchEncoders:
    """Load a model's encoders.

    Raises:
        ModelError: As `torch_engine`.
    """
    return TorchEncoders(tuple(load_encoder(model.encoder_folder, fold, device) for fold in model.folds), model.views)
