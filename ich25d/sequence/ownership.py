"""What a sequence run is held to: one recipe, one CNN and one feature store; and nobody else's folder."""

import hashlib
import json
from pathlib import Path

from ich25d.config import Recipe
from ich25d.encoder.model_directory import read_run
from ich25d.errors import UsageError
from ich25d.features.store import FeatureStore
from ich25d.files import sha256_file
from ich25d.sequence.beforehand import check_begun
from ich25d.sequence.series_labels import SeriesLabels
from ich25d.training.model_file import ENCODER_FOLDER, MODEL_FILE, SEQUENCE, read_model_file


def check_run(out: Path, recipe: Recipe, cnn: Path | None, labels: SeriesLabels | None = None) -> None:
    """Check that `out` is new, or holds a sequence run of this recipe and these encoders, which may go on.

    Args:
        out: The model directory.
        recipe: The recipe now.
        cnn: The CNN's model directory; None where features alone are given.
        labels: The labels of whole series that it keeps.

    Raises:
        UsageError: It is somebody else's, or the run is of other settings, weights or labels of whole series.
    """
    if not check_begun(out, recipe, has_cnn=cnn is not None) or not (out / MODEL_FILE).exists():
        return
    own = out / ENCODER_FOLDER
    before, now = _encoders(own if (own / MODEL_FILE).exists() else None), _encoders(cnn)
    if before != now:
        raise UsageError(
            f"a model directory holds what was made of one CNN (got other weights, of fold(s) {sorted(now)} for "
            f"{sorted(before)}) in {out}; choose another --out, or give the --cnn that it was made of"
        )
    kept = read_model_file(out, SEQUENCE)["data"].get("series_labels", {}).get("sha256")
    if kept != (None if labels is None else labels.digest):
        names = ["none" if labels is None else f"those of {len(labels.table)} series", "others" if kept else "none"]
        raise UsageError(
            f"a model directory holds what was made with one table of labels of whole series (got {names[0]} for "
            f"{names[1]}, of {cnn}) in {out}; choose another --out, or give the --cnn that it was made of"
        )


def _encoders(run: Path | None) -> dict[int, str]:
    """Return the SHA-256 of a CNN's weights by fold; nothing of no CNN."""
    return {} if run is None else {fold: str(entry["sha256"]) for fold, entry in read_run(run).folds.items()}


def features_digest(store: FeatureStore, *, with_content: bool) -> str:
    """Hash what a run learns from: the table and the encoders, and the features where no encoder stands for them."""
    digest = hashlib.sha256(json.dumps([store.dim, store.views, store.encoder]).encode())
    digest.update(store.slices.to_csv(index=False).encode())
    for series_id in sorted(store.series.index) if with_content else ():
        digest.update(sha256_file(store.file_of(series_id)).encode())
    return digest.hexdigest()


def refuse_other_features(out: Path, store: FeatureStore, digest: str) -> None:
    """Hold a finished run to the features that it was trained on.

    Args:
        out: The model directory.
        store: The features now.
        digest: Their hash (`features_digest`).

    Raises:
        UsageError: These are others: other labels, folds or series, or other embeddings.
    """
    if (out / MODEL_FILE).exists() and read_model_file(out, SEQUENCE)["data"].get("features_digest", digest) != digest:
        raise UsageError(
            f"a model directory holds what was made of one feature store (got one with other series, labels, folds or "
            f"embeddings, {store.path}) in {out}; choose another --out, or give the store that it was made of"
        )
