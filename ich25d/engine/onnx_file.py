"""torch modules as ONNX files: one graph, written once for each set of weights."""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ich25d.encoder.model import SlabEncoder
from ich25d.errors import ModelError
from ich25d.files import replacing, sha256_file
from ich25d.sequence.model import SequenceModel


class _Encoder(nn.Module):
    """An encoder whose outputs are a tuple: embedding, logit and, with a pixel head, maps."""

    def __init__(self, of: SlabEncoder) -> None:
        super().__init__()
        self.of = of

    def forward(self, slab: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(part for part in self.of(slab) if part is not None)


class _Sequence(nn.Module):
    """A sequence model of series of one length."""

    def __init__(self, of: SequenceModel) -> None:
        super().__init__()
        self.of = of

    def forward(
        self, embedding: torch.Tensor, logit: torch.Tensor, position_mm: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        found: tuple[torch.Tensor, torch.Tensor] = self.of(embedding, logit, position_mm)
        return found


def write_encoders(models: Sequence[SlabEncoder], channels: int, size: int, paths: Sequence[Path]) -> list[str]:
    """Write encoders of one architecture as ONNX; return the files' SHA-256.

    Args:
        models: In evaluation mode, on the CPU.
        channels: Channels C of a slab.
        size: Its side in px.
        paths: A file a model.

    Raises:
        ModelError: torch can't write this architecture as ONNX.
    """
    outputs = ["embedding", "logit", *(["pixel"] if models[0].pixels is not None else [])]
    slab = torch.rand(2, channels, size, size)
    shapes = {"slab": {0: torch.export.Dim("n")}}
    return _write([_Encoder(model) for model in models], {"slab": slab}, outputs, shapes, paths)


def write_sequence_models(models: Sequence[SequenceModel], dim: int, paths: Sequence[Path]) -> list[str]:
    """Write sequence models of one architecture as ONNX; return the files' SHA-256.

    Args:
        models: In evaluation mode, on the CPU.
        dim: Length E of an embedding.
        paths: A file a model.

    Raises:
        ModelError: torch can't write this architecture as ONNX.
    """
    axes = {0: torch.export.Dim("versions"), 1: torch.export.Dim("n", min=2)}
    inputs = {"embedding": torch.rand(2, 5, dim), "logit": torch.rand(2, 5, 6), "position_mm": torch.rand(2, 5)}
    outputs = ["slice_logit", "series_logit"]
    return _write([_Sequence(model) for model in models], inputs, outputs, dict.fromkeys(inputs, axes), paths)


def _write(
    modules: Sequence[nn.Module],
    inputs: Mapping[str, torch.Tensor],
    outputs: Sequence[str],
    shapes: Mapping[str, Any],
    paths: Sequence[Path],
) -> list[str]:
    import onnx_ir
    from onnxscript import optimizer

    try:
        with _silence(), torch.no_grad():
            program = torch.onnx.export(
                modules[0].eval(), tuple(inputs.values()), dynamo=True, optimize=False, verbose=False,
                input_names=list(inputs), output_names=list(outputs), dynamic_shapes=dict(shapes),
            )  # fmt: skip
    # A kind of layer without an ONNX form ends in any of them.
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, NotImplementedError) as error:
        raise ModelError(
            f"an encoder must be one that torch can write as ONNX (torch says: {str(error).splitlines()[0]}); predict "
            "with --engine torch"
        ) from error
    assert program is not None
    hashes = []
    for module, path in zip(modules, paths, strict=True):
        weights = {**module.state_dict(), **dict(module.named_buffers())}
        for name, value in program.model.graph.initializers.items():
            if name in weights:
                value.const_value = onnx_ir.tensor(weights[name].detach().cpu().contiguous().numpy(), name=name)
        model = copy.deepcopy(onnx_ir.to_proto(program.model))
        written = onnx_ir.from_proto(model)
        with _silence():
            optimizer.optimize(written)
        with replacing(path) as part:
            onnx_ir.save(written, part)
        hashes.append(sha256_file(path))
    return hashes


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's progress and its remarks on its own future from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
