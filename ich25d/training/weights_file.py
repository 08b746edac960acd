"""The weights of a network as safetensors, written and read with nothing in them trusted."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from ich25d.errors import ModelError
from ich25d.files import sha256_file, write_bytes
from ich25d.training.model_file import MODEL_FILE

WEIGHTS_FILE = "weights.safetensors"


def write_weights(weights: Mapping[str, torch.Tensor], path: Path) -> str:
    """Write tensors by name as safetensors and return the file's SHA-256; equal tensors make equal files."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    # One entry only: safetensors writes several in an order that differs from call to call.
    write_bytes(path, save(tensors, metadata={"format": "pt"}))
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
