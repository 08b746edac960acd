"""ONNX files compiled for this machine's CPU, by OpenVINO or by ONNX Runtime."""

import functools
import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.errors import ModelError

Arrays = Sequence[npt.NDArray[np.float32]]

Compiled = Callable[..., Arrays]
"""Takes the inputs of an ONNX file in its order, float32, and gives its outputs."""

_PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime"}
"""Package of each engine, the fastest first."""

COMPILED_ENGINES = tuple(_PACKAGES)


def is_installed(engine: str) -> bool:
    """Return whether an engine's package is there; nothing is imported."""
    return importlib.util.find_spec(_PACKAGES[engine]) is not None


def label_of(engine: str) -> str:
    """Return an engine's package and version."""
    return f"{_PACKAGES[engine]} {importlib.metadata.version(_PACKAGES[engine])}"


def compile_files(engine: str, files: Sequence[Path], cache: Path | None) -> list[Compiled]:
    """Compile ONNX files.

    Args:
        engine: Of `COMPILED_ENGINES`.
        files: The files.
        cache: Where OpenVINO keeps what it compiled; None keeps nothing.

    Raises:
        ModelError: The engine can't take a file.
    """
    compiler = _openvino(cache) if engine == "openvino" else _onnxruntime()
    compiled = []
    for file in files:
        try:
            compiled.append(compiler(file))
        except RuntimeError as error:  # of both engines, and of nothing else in there
            reason = str(error).strip().splitlines()[-1]
            raise ModelError(f"{label_of(engine)} must be able to take {file} (it says: {reason})") from error
    return compiled


@functools.cache
def _openvino_core() -> Any:  # noqa: ANN401 (openvino is untyped)
    """Return the process's one core of OpenVINO.

    Its CPU plugin gives the thread a stack for signals (sigaltstack) and, when it goes, sets the one that it had found.
    Where several come and go, that may be one that is no longer there: the next signal that Python handles, an
    interrupt or a child's end, would then crash the process.
    """
    import openvino

    return openvino.Core()


def _openvino(cache: Path | None) -> Callable[[Path], Compiled]:
    core = _openvino_core()
    # OpenVINO would take bf16 by itself on some CPUs, and fp16 on ARM.
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if cache is not None:
        settings["CACHE_DIR"] = str(cache)

    def compiler(file: Path) -> Compiled:
        network = core.compile_model(str(file), "CPU", settings)
        request = network.create_infer_request()

        def run(*inputs: npt.NDArray[np.float32]) -> Arrays:
            results = request.infer(dict(enumerate(map(np.ascontiguousarray, inputs))), share_inputs=True)
            return [np.array(results[number]) for number in range(len(network.outputs))]  # the next call reuses them

        return run

    return compiler


def _onnxruntime() -> Callable[[Path], Compiled]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Waiting threads would spin on the cores that read the next series.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3

    def compiler(file: Path) -> Compiled:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_inputs()]

        def run(*inputs: npt.NDArray[np.float32]) -> Arrays:
            found: Arrays = session.run(None, dict(zip(names, inputs, strict=True)))
            return found

        return run

    return compiler
