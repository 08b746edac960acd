"""The model directory of a CNN: written fold by fold, read with nothing in it trusted.

RUN/  model.json            all that prediction needs to know, and the weights' SHA-256
      config.toml           the resolved recipe
      parent.json           of a run that goes on from another one: what it goes on from
      foldK/                weights.safetensors, metrics.jsonl, oof.parquet, last.pt (to resume), images.safetensors
                            (hashes of what its network has learnt from), change.parquet (before and after, of a child)
      .anatomies/           while folds are trained: what painting needs of every series, to be found once
"""

import dataclasses
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ich25d.config import EncoderConfig, PixelsConfig, SlabConfig
from ich25d.files import locked, write_json
from ich25d.training.calibration import Calibration
from ich25d.training.model_file import CNN, MODEL_FILE, checked_entries, read_model_file

_WRITES = "writes {}/model.json"


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """What `model.json` says, checked."""

    folder: Path
    encoder: EncoderConfig
    slab: SlabConfig
    pixels: PixelsConfig
    mean: tuple[float, ...]
    """Mean of every channel that the encoder subtracts, of grey values 0 to 1."""
    std: tuple[float, ...]
    folds: dict[int, dict[str, Any]]
    """By number, the folds that are finished: weights, sha256, epoch, score, prior."""
    content: dict[str, Any]
    """All of the file."""

    @property
    def store_size(self) -> int:
        """Return the side in px of the store's slices that the model was trained on."""
        return int(self.content["store"]["size"])

    @property
    def crop(self) -> str:
        """Return how the store was cropped, `head` or `none`."""
        return str(self.content["store"]["crop"])


def read_run(folder: Path) -> Run:
    """Read and check `model.json`.

    Raises:
        ModelError: It is absent, damaged, of another kind or format, or has other labels.
    """
    content = read_model_file(folder, CNN)
    with checked_entries(folder):
        numbers = content["normalisation"]
        run = Run(
            folder=folder,
            encoder=TypeAdapter(EncoderConfig).validate_python(content["encoder"]),
            slab=TypeAdapter(SlabConfig).validate_python(content["slab"]),
            pixels=TypeAdapter(PixelsConfig).validate_python(content.get("pixels", {})),  # older runs have none
            mean=tuple(float(value) for value in numbers["mean"]),
            std=tuple(float(value) for value in numbers["std"]),
            folds={int(number): dict(entry) for number, entry in content["folds"].items()},
            content=content,
        )
        _ = (run.store_size, run.crop)
    return run


def add_fold(folder: Path, common: dict[str, Any], fold: int, entry: dict[str, Any]) -> None:
    """Enter a finished fold in `model.json`; folds trained at the same time don't lose each other's entries.

    Args:
        folder: The model directory.
        common: All of the file but its folds.
        fold: Number of the fold.
        entry: What is to be known of it.
    """
    with locked(folder / ".lock", _WRITES.format(folder)):
        folds = dict(read_run(folder).content["folds"]) if (folder / MODEL_FILE).exists() else {}
        folds[str(fold)] = entry
        ordered = {number: folds[number] for number in sorted(folds, key=int)}
        write_json(folder / MODEL_FILE, {**common, "folds": ordered})


def set_decision(folder: Path, calibration: Calibration, points: dict[str, Any]) -> None:
    """Enter calibration and operating points in `model.json`.

    Args:
        folder: The model directory.
        calibration: Fitted on held-out slices.
        points: `thresholds` and `operating_points`, by level (`slice`, `series`), rule and label.
    """
    with locked(folder / ".lock", _WRITES.format(folder)):
        content = read_run(folder).content
        write_json(folder / MODEL_FILE, {**content, "calibration": calibration.to_dict(), **points})
