"""The run that sequence models go on from: read, checked, and described for the card of their child.

Each fold starts from the sequence models of the parent's fold whose encoder its own encoder is, or started from. Those
models have learnt from the patients of that encoder and no others, so that the CNN's column `seen` tells of both.
"""

import dataclasses
from pathlib import Path
from typing import Any

import torch

from ich25d.encoder.model_directory import read_run
from ich25d.encoder.parent import FoldStart, Parent, read_parent, refuse_other_network
from ich25d.features.store import FeatureStore
from ich25d.files import sha256_file
from ich25d.recipes import read_recipe
from ich25d.sequence.beforehand import came_from
from ich25d.sequence.model import SequenceModel, module_of
from ich25d.sequence.model_directory import LoadedSequence, load_sequence
from ich25d.sequence.standardisation import Standardisation
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.model_file import CONFIG_FILE, MODEL_FILE, SEQUENCE, read_model_file


@dataclasses.dataclass(frozen=True, slots=True)
class SequenceStart:
    """What the sequence models of one fold start from."""

    models: tuple[SequenceModel, ...]
    """The parent's, of all seeds, in evaluation mode."""
    encoder: FoldStart
    """The encoder that they were trained with, and what both have learnt from."""


@dataclasses.dataclass(frozen=True, slots=True)
class SequenceParent:
    """A finished run of encoders and sequence models that others may go on from."""

    run: LoadedSequence
    encoders: Parent
    from_fold: dict[int, int]
    """By number of the new CNN's network: the parent's encoder that it is, or started from."""

    def start_of(self, encoder: str) -> SequenceStart:
        """Return what sequence models start from whose held-out series an encoder has embedded.

        Args:
            encoder: Its key in the feature store.

        Raises:
            ModelError: The parent doesn't say which images it was trained on.
        """
        number = self.from_fold[int(encoder)]
        runners = self.run.models[self.run.folds.index(number)]
        return SequenceStart(tuple(map(module_of, runners)), self.encoders.start_of(number))

    def standardisation(self, store: FeatureStore) -> Standardisation:
        """Return the parent's statistics, each under the key of the encoder that came from its own.

        The sequence models know embeddings by these; their child learns what has moved since.
        """
        used = {store.encoder_of(series_id) for series_id in store.series.index}
        return self.run.standardisation.renamed({key: str(self.from_fold[int(key)]) for key in sorted(used)})

    def describe(self) -> dict[str, Any]:
        """Return what the child's `model.json` and card say of it: name, hashes, counts and terms; no ids."""
        content = read_model_file(self.run.folder, SEQUENCE)
        of_encoders = self.encoders.describe()
        return {
            **of_encoders,
            "model_sha256": sha256_file(self.run.folder / MODEL_FILE),
            "networks": {str(fold): str(entry["sha256"]) for fold, entry in content["folds"].items()},
            "attribution": content.get("attribution") or of_encoders["attribution"],
            "parent": content.get("parent") or of_encoders["parent"],
        }


def read_sequence_parent(
    folder: Path, cnn: Path, store: StudyStore, old: StudyStore | None, device: torch.device
) -> SequenceParent:
    """Read a run to go on from, and check that it sees scans as the CNN does.

    Args:
        folder: A run of `train-rnn` or `train-joint`.
        cnn: The CNN's run, whose networks are the run's own or came from them (`came_from`).
        store: The study store that the CNN was trained on.
        old: A store of old scans.
        device: Where the sequence models are put.

    Raises:
        UsageError: Other encoders, or stores of another kind.
        ModelError: The run is damaged.
    """
    from_fold, encoders, own = came_from(cnn, folder), read_parent(folder), read_run(cnn)
    recipe = dataclasses.replace(read_recipe(cnn / CONFIG_FILE), encoder=own.encoder, slab=own.slab, pixels=own.pixels)
    for one in (store, old):
        if one is not None:
            refuse_other_network(encoders, recipe, one)
    return SequenceParent(load_sequence(folder, device), encoders, from_fold)
