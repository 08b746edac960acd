"""An engine: what computes the networks of one model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ich25d.engine.described import Refine
from ich25d.features.embedded import Embedded

if TYPE_CHECKING:
    from ich25d.encoder.loaded import LoadedEncoder

Embed = Callable[
    [npt.NDArray[np.int16], npt.NDArray[np.float64], npt.NDArray[np.float32] | None, float], list[Embedded]
]
"""From HU (n, size, size), positions (n,), the files' windows (n, 2) or None, and HU of brain tissue, to what every
encoder says of the series."""

ENGINES = ("torch", "openvino", "onnx")
"""By name; `onnx` is ONNX Runtime."""


@dataclass(frozen=True, slots=True)
class Engine:
    """The networks of one model, ready to compute."""

    name: str
    """Of `ENGINES`."""
    label: str
    """With its version, and its number format where that isn't float32: `openvino 2026.4.1`. Outputs name it."""
    on_cpu: bool
    embed: Embed
    refine: Refine
    encoders: "tuple[LoadedEncoder, ...] | None" = None
    """In torch, one a fold; None on another engine."""
