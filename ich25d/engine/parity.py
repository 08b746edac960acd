"""Parity: whether an engine gives torch's numbers, on a phantom series whose answer by torch was kept at the export."""

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ich25d.engine.described import Described
from ich25d.engine.engine import Engine
from ich25d.errors import ModelError
from ich25d.files import replacing

ALLOWED = 1e-3
"""Largest difference to torch: of a logit of any encoder, and of a final probability."""

N_SLICES = 8
_SEED = 18

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Check:
    """A series of n slices and torch's answer, in float32 on a CPU."""

    hu: npt.NDArray[np.int16]
    """Shape (n, size, size)."""
    slice_position_mm: Floats
    """Shape (n,)."""
    brain_hu: Floats
    """Shape ()."""
    logit: npt.NDArray[np.float32]
    """Of every encoder in every view, shape (F, V, n, 6)."""
    probability: Floats
    """Shape (n, 6), final."""
    series_probability: Floats
    """Shape (6,)."""

    def save(self, path: Path) -> None:
        """Write it as npz."""
        with replacing(path) as part, part.open("wb") as file:
            np.savez_compressed(file, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> "Check":
        """Read it.

        Raises:
            ModelError: The file is absent, damaged or of another form.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                check = cls(**{field.name: arrays[field.name] for field in fields(cls)})
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ModelError(
                f"an exported model must hold the series that its engine is checked on (got {error}) in {path}; export "
                "it again"
            ) from error
        n = len(check.slice_position_mm)
        if (
            check.hu.ndim != 3
            or check.logit.shape[2:] != (n, 6)
            or check.probability.shape != (n, 6)
            or n != len(check.hu)
        ):
            raise ModelError(f"the series of a check must be whole (got {check.hu.shape}) in {path}; export it again")
        return check


@dataclass(frozen=True, slots=True)
class Difference:
    """Largest differences of an engine's answer to torch's."""

    logit: float
    probability: float

    @property
    def is_parity(self) -> bool:
        """Whether the engine may take torch's place; false where a number isn't finite."""
        return self.logit < ALLOWED and self.probability < ALLOWED

    @property
    def text(self) -> str:
        """Both, for people."""
        return f"logits differ from torch's by at most {self.logit:.1g}, probabilities by {self.probability:.1g}"


def make_check(model: Described, reference: Engine) -> Check:
    """Let torch answer a phantom series.

    Args:
        model: The model.
        reference: It in torch, on a CPU.
    """
    import cv2

    from ich25d.bleeds.brain_hu import find_brain_hu
    from ich25d.phantom.head import make_head

    head = make_head(np.random.default_rng(_SEED), labels=("intraparenchymal", "subdural"))
    rows = np.linspace(0, len(head.hu) - 1, min(N_SLICES, len(head.hu))).round().astype(int)
    side = (model.size, model.size)
    hu = np.stack([cv2.resize(head.hu[row], side, interpolation=cv2.INTER_AREA) for row in rows])
    position: Floats = np.arange(len(rows), dtype=np.float64) * 5.0
    found = find_brain_hu(hu)
    brain_hu = float("nan") if found is None else found
    logit, probability, series_probability = _answer(reference, hu, position, brain_hu)
    return Check(hu, position, np.asarray(brain_hu), logit, probability, series_probability)


def difference(engine: Engine, check: Check) -> Difference:
    """Compare an engine's answer to a series with torch's."""
    logit, probability, whole = _answer(engine, check.hu, check.slice_position_mm, float(check.brain_hu))
    if logit.shape != check.logit.shape:
        return Difference(float("inf"), float("inf"))
    of_slices, of_series = np.abs(probability - check.probability), np.abs(whole - check.series_probability)
    return Difference(float(np.abs(logit - check.logit).max()), float(max(of_slices.max(), of_series.max())))


def _answer(
    engine: Engine, hu: npt.NDArray[np.int16], slice_position_mm: Floats, brain_hu: float
) -> tuple[npt.NDArray[np.float32], Floats, Floats]:
    parts = engine.embed(hu, slice_position_mm, None, brain_hu)
    logit = np.stack([part.logit for part in parts])
    found = engine.refine(np.stack([part.embedding for part in parts]), logit.astype(np.float64), slice_position_mm)
    return logit, found.probability, found.series_probability
