"""Which images a fold's network has learnt from, and which it has never seen: hashes of their pixels, no ids.

A run that goes on from another one recognises by them what may not validate it.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from ich25d.errors import ModelError
from ich25d.files import inside, sha256_file, write_bytes
from ich25d.studies.store_dir.store import StudyStore

IMAGES_FILE = "images.safetensors"

Hashes = npt.NDArray[np.int64]


def image_hashes(store: StudyStore) -> Hashes:
    """Return the hash of every slice of a store (`pixel_hash`), shape (slices,); 0 where nothing but air is seen.

    A store of a form without these hashes gives zeros, by which nothing is recognised.
    """
    if "pixel_hash" not in store.slices:
        return np.zeros(len(store.slices), np.int64)
    return np.asarray(store.slices["pixel_hash"], dtype=np.int64)


@dataclasses.dataclass(frozen=True, slots=True)
class LearntImages:
    """Hashes of the images that one network and the networks before it were trained on, and held out."""

    trained: Hashes
    """Sorted, without 0."""
    held_out: Hashes
    """Sorted, without 0; none of them is in `trained`."""

    @classmethod
    def of(cls, trained: Hashes, held_out: Hashes, parent: "LearntImages | None") -> "LearntImages":
        """Add a fold's own images to those of the network that it started from."""
        before = parent or cls(np.zeros(0, np.int64), np.zeros(0, np.int64))
        learnt = _unique(np.concatenate([trained, before.trained]))
        unseen = _unique(np.concatenate([held_out, before.held_out]))
        return cls(learnt, unseen[~np.isin(unseen, learnt)])

    def write(self, path: Path) -> dict[str, Any]:
        """Write the file; return its entry in `model.json`."""
        write_bytes(path, save({"trained": self.trained, "held_out": self.held_out}))
        return {"file": f"{path.parent.name}/{path.name}", "sha256": sha256_file(path), "n_trained": len(self.trained)}

    @classmethod
    def read(cls, folder: Path, entry: dict[str, Any]) -> "LearntImages":
        """Read a fold's hashes.

        Args:
            folder: The model directory.
            entry: The fold's entry in `model.json`.

        Raises:
            ModelError: The fold names no such file, or it is damaged or another one.
        """
        named = entry.get("images")
        if not isinstance(named, dict) or not named.get("n_trained"):
            raise ModelError(
                f"a run to go on from must say which images it was trained on (got no {IMAGES_FILE} with hashes) in "
                f"{folder}; train it again with this version, on a store that it has built"
            )
        path = inside(folder, str(named.get("file")))
        if not path.is_file() or sha256_file(path) != named.get("sha256"):
            raise ModelError(
                f"the hashes of a run's images must be the file that model.json names (got another) {path}"
            )
        try:
            found = load_file(path)
            trained, held_out = found["trained"], found["held_out"]
        except (SafetensorError, OSError, KeyError) as error:
            raise ModelError(f"the hashes of a run's images must be readable (got {error}) in {path}") from error
        if any(part.ndim != 1 or part.dtype != np.int64 for part in (trained, held_out)):
            raise ModelError(f"the hashes of a run's images must be rows of int64 (got others) in {path}")
        return cls(trained, held_out)

    def seen(self, store: StudyStore) -> npt.NDArray[np.bool_]:
        """Say which slices of a store are of patients of whom the network has learnt an image, bool (slices,)."""
        known = np.isin(image_hashes(store), self.trained)
        unit = store.slices["split_unit"]
        return np.asarray(unit.isin(set(unit[known])), dtype=bool)

    def unseen(self, store: StudyStore) -> npt.NDArray[np.bool_]:
        """Say which slices of a store the network held out, bool (slices,)."""
        return np.asarray(np.isin(image_hashes(store), self.held_out))


def _unique(hashes: Hashes) -> Hashes:
    found = np.unique(hashes)
    return np.asarray(found[found != 0])
