"""`model.json` and the weights of a model directory of either kind, read with nothing in them trusted."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ich25d.errors import Ich25dError, ModelError
from ich25d.files import replacing, sha256_file
from ich25d.labels import LABELS

MODEL_FILE, CONFIG_FILE, WEIGHTS_FILE = "model.json", "config.toml", "weights.safetensors"

FORMAT = 1
CNN, SEQUENCE = "encoder", "sequence"
"""Kinds of model directories, as `train-cnn` and `train-rnn` make them."""

_NAMES = {CNN: "a CNN's", SEQUENCE: "a sequence model's"}
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


def about_model(folder: Path) -> About:
    """Return what a model directory says of itself.

    Raises:
        ModelError: Its `model.json` can't be read.
    """
    _, content = read_kind(folder)
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
    except (KeyError, TypeError, ValueError, AttributeError, ValidationError, Ich25dError) as error:
        raise ModelError(f"{MODEL_FILE} must be whole (got {type(error).__name__}: {error}) in {folder}") from error


def write_weights(weights: Mapping[str, torch.Tensor], path: Path) -> str:
    """Write tensors by name as safetensors and return the file's SHA-256; equal tensors make equal files."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with replacing(path) as part:
        # One entry only: safetensors writes several in an order that differs from call to call.
        save_file(tensors, part, metadata={"format": "pt"})
    return sha256_file(path)


def load_weights(model: nn.Module, path: Path, sha256: str | None) -> None:
    """Load weights into a model.

    Args:
        model: Takes them; every tensor must be in the file, and none besides.
        path: The safetensors file.
        sha256: What `model.json` says of the file; None for a file that it doesn't name.

    Raises:
        ModelError: The file is absent, another one, doesn't fit, or holds NaN or infinity.
    """
    if not path.is_file():
        raise ModelError(f"a model's weights must be there (got no file {path})")
    if sha256 is not None and (found := sha256_file(path)) != sha256:
        raise ModelError(
            f"weights must have the SHA-256 {sha256[:12]}... of {MODEL_FILE} (got {found[:12]}...) in {path}"
        )
    try:
        weights = load_file(path)
        model.load_state_dict(weights, strict=True)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise ModelError(f"weights must fit the model tensor for tensor (got {error}) in {path}") from error
    if bad := [name for name, tensor in weights.items() if not bool(tensor.isfinite().all())]:
        raise ModelError(f"weights must be finite (got NaN or infinity in {bad[:3]}) in {path}")
