"""`model.json` of a model directory of either kind, read with nothing in it trusted, and without torch."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ich25d.errors import Ich25dError, ModelError
from ich25d.labels import LABELS

MODEL_FILE, CONFIG_FILE = "model.json", "config.toml"

REPORT_FILE = "report.html"
"""The curves of a training, while it runs and afterwards."""

PARENT_FILE = "parent.json"
"""Beside the recipe of a run that has a parent: what it goes on from."""

SERIES_LABELS_FILE = "series_labels.parquet"
"""Likewise, of a run that learns from labels of whole series: these labels, as they met the store."""

CANVAS_FILE = "canvas.json"
"""Likewise, of a run that paints into further scans: their counts and hash."""

PSEUDO_FILE = "pseudo.json"
"""Likewise, of a run that learns from pseudo-labels: their teacher, thresholds and counts."""

ENCODER_FOLDER = "encoder"
"""Inside a sequence model's directory: a copy of its CNN's."""

FORMAT = 1
CNN, SEQUENCE, EXPORTED = "encoder", "sequence", "exported"
"""Kinds of model directories, as `train-cnn`, `train-rnn` and `export` make them."""

_NAMES = {CNN: "a CNN's", SEQUENCE: "a sequence model's", EXPORTED: "an exported model's"}
_MAX_JSON_BYTES = 16 * 1024**2


def read_kind(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Read `model.json`; return the kind that it names, and all of it.

    Raises:
        ModelError: It is absent, too large or no JSON object.
    """
    path = folder / MODEL_FILE
    try:
        if (size := path.stat().st_size) > _MAX_JSON_BYTES:
            raise ModelError(f"{MODEL_FILE} must be at most {_MAX_JSON_BYTES} bytes (got {size}) in {folder}")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"a model directory must hold a readable {MODEL_FILE} (got {error.strerror}) in {folder}; "
            "it is written when the training has finished"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{MODEL_FILE} must be JSON (got {type(error).__name__}: {error}) in {folder}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{MODEL_FILE} must hold a JSON object (got {type(content).__name__}) in {folder}")
    return content.get("kind"), content


@dataclass(frozen=True, slots=True)
class Predictor:
    """A model directory that can predict scans."""

    folder: Path
    kind: str
    """`CNN`, `SEQUENCE` or `EXPORTED`."""
    content: Mapping[str, Any]
    """Its `model.json`."""
    size: int
    """Side in px of the slices that it was trained on."""
    crop: str
    """How those were cropped, `head` or `none`."""


def read_predictor(folder: Path) -> Predictor:
    """Check that a model directory can predict scans, as far as its `model.json` says.

    Args:
        folder: A model directory of `train-rnn` or of `train-cnn`, or what `export` made of one.

    Raises:
        ModelError: It's absent, unfinished, damaged, foreign, or made from features without an encoder.
    """
    kind, content = read_kind(folder)
    if not isinstance(kind, str) or kind not in _NAMES:
        kinds = f"{SEQUENCE!r}, {CNN!r} or {EXPORTED!r}"
        raise ModelError(f"a model directory must be of kind {kinds} (got {kind!r}) in {folder}")
    content = of_encoder = read_model_file(folder, kind)
    if kind == SEQUENCE:
        if not content.get("has_encoder"):
            raise ModelError(f"a run made from features alone has no encoder that could read images (got {folder})")
        of_encoder = read_model_file(folder / ENCODER_FOLDER, CNN)
    with checked_entries(folder):
        size, crop, folds = (
            int(of_encoder["store"]["size"]), str(of_encoder["store"]["crop"]),
            of_encoder["encoders" if kind == EXPORTED else "folds"],
        )  # fmt: skip
    if not folds:
        raise ModelError(f"a model directory must hold a finished fold (got none) in {folder}; go on with train-cnn")
    return Predictor(folder, kind, content, size, crop)


@dataclass(frozen=True, slots=True)
class About:
    """What every output says of the model that made it."""

    name: str
    """Its own, or its folder's."""
    weak: str = ""
    """Where it is known to fail, one sentence; empty where nobody has said so."""

    @property
    def text(self) -> str:
        """Both in one line."""
        return f"{self.name}. {self.weak.rstrip('.')}." if self.weak else self.name

    @property
    def line(self) -> str:
        """The line that commands print."""
        return f"model: {self.text.rstrip('.')}. Research software, not for diagnosis"


def about_model(folder: Path, content: Mapping[str, Any]) -> About:
    """Return what a model directory says of itself.

    Args:
        folder: The model directory.
        content: Its `model.json`, of `read_kind`.
    """
    return About(str(content.get("name") or folder.resolve().name), str(content.get("weak") or ""))


def read_model_file(folder: Path, kind: str) -> dict[str, Any]:
    """Read the `model.json` of one kind of model directory.

    Args:
        folder: The model directory.
        kind: `CNN` or `SEQUENCE`.

    Raises:
        ModelError: It is absent, damaged, of another kind or format, or has other labels.
    """
    found, content = read_kind(folder)
    if (found, content.get("format")) != (kind, FORMAT):
        raise ModelError(
            f"{_NAMES[kind]} {MODEL_FILE} must say kind {kind!r}, format {FORMAT} (got {found!r}, "
            f"{content.get('format')!r}) in {folder}; was it made by another version?"
        )
    if content.get("labels") != list(LABELS):
        raise ModelError(
            f"a model's labels must be {list(LABELS)}, in this order (got {content.get('labels')}) in {folder}"
        )
    return content


@contextmanager
def checked_entries(folder: Path) -> Iterator[None]:
    """Turn what a missing or unfit entry of `model.json` raises in the block into a ModelError that names the folder.

    Raises:
        ModelError: An entry is absent, of another type, or out of range.
    """
    try:
        yield
    except ModelError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, ValidationError, Ich25dError) as error:
        raise ModelError(f"{MODEL_FILE} must be whole (got {type(error).__name__}: {error}) in {folder}") from error
