"""The networks of an exported folder on OpenVINO or ONNX Runtime, without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ich25d.config import SlabConfig
from ich25d.engine.compiled import Compiled, compile_files, label_of
from ich25d.engine.described import Described
from ich25d.engine.engine import Engine
from ich25d.engine.network_input import slab_batches
from ich25d.errors import ModelError
from ich25d.features.embedded import Embedded
from ich25d.files import inside, sha256_file
from ich25d.training.model_file import checked_entries

BATCH_SIZE = 4
"""Slabs at once. Of 1 to 32 at 256 px on two cores, 1 and 4 were alike in OpenVINO, and more were slower; with 4 the
process takes 0.5 GB with the model in the box, with 16 1.1."""


@dataclass(frozen=True, slots=True)
class CompiledEncoders:
    """Encoders of all folds."""

    encoders: Sequence[Compiled]
    slab: SlabConfig
    views: tuple[str, ...]

    def embed(
        self,
        hu: npt.NDArray[np.int16],
        slice_position_mm: npt.NDArray[np.float64],
        window: npt.NDArray[np.float32] | None,
        brain_hu: float,
    ) -> list[Embedded]:
        """Embed a series by every encoder."""
        found: list[list[Embedded]] = [[] for _ in self.encoders]
        for slabs in slab_batches(hu, slice_position_mm, window, self.slab, BATCH_SIZE, brain_hu=brain_hu):
            seen = {view: slabs if view == "plain" else np.ascontiguousarray(slabs[..., ::-1]) for view in self.views}
            for encoder, parts in zip(self.encoders, found, strict=True):
                parts.append(_views({view: encoder(seen[view]) for view in self.views}))
        return [_joined(parts) for parts in found]


def _views(outputs: dict[str, Sequence[npt.NDArray[np.float32]]]) -> Embedded:
    """Stack what one encoder says of one batch in all views."""
    maps = []
    for view, parts in outputs.items():
        if len(parts) > 2:
            probability = 1 / (1 + np.exp(-parts[2]))
            maps.append(probability if view == "plain" else probability[..., ::-1])
    pixel = np.mean(maps, axis=0).astype(np.float16) if maps else None
    return Embedded(
        np.stack([parts[0] for parts in outputs.values()]), np.stack([parts[1] for parts in outputs.values()]), pixel
    )


def _joined(batches: Sequence[Embedded]) -> Embedded:
    maps = [part.pixel for part in batches if part.pixel is not None]
    return Embedded(
        np.concatenate([part.embedding for part in batches], axis=1),
        np.concatenate([part.logit for part in batches], axis=1),
        np.concatenate(maps) if maps else None,
    )


def exported_engine(model: Described, engine: str, cache: Path | None) -> Engine:
    """Compile an exported model's networks.

    Args:
        model: Of an exported folder.
        engine: Of `COMPILED_ENGINES`.
        cache: Where OpenVINO keeps what it compiled; None keeps nothing.

    Raises:
        ModelError: A file is absent or another one, or the engine can't take it.
    """
    encoders = compile_files(engine, _files(model, "encoders"), cache)
    models: list[list[Compiled]] = []
    if model.sequence is not None:
        compiled = compile_files(engine, _files(model, "sequence_models"), cache)
        by_fold = [int(one["fold"]) for one in model.content["sequence_models"]]
        models = [
            [run for run, fold in zip(compiled, by_fold, strict=True) if fold == number]
            for number in range(max(by_fold) + 1)
        ]
        if not all(models) or (model.sequence.paired and len(models) != len(model.folds)):
            raise ModelError(f"an exported model must have sequence models of every fold (got {by_fold})")
    embed = CompiledEncoders(encoders, model.slab, model.views).embed
    return Engine(engine, label_of(engine), True, embed, model.refine_with(models))


def _files(model: Described, entry: str) -> list[Path]:
    """Return the ONNX files of one kind, checked."""
    with checked_entries(model.folder):
        named = [(inside(model.folder, str(one["file"])), str(one["sha256"])) for one in model.content[entry]]
        if not named:
            raise ValueError(f"no {entry}")
    for file, sha256 in named:
        if not file.is_file() or sha256_file(file) != sha256:
            raise ModelError(f"an exported network must be the file that model.json names (got another) in {file}")
    return [file for file, _ in named]
