"""Which engine computes a model: the fastest that is installed and gives torch's numbers, unless one is named.

What an engine needs is made once for a model and kept: the exported form, what OpenVINO compiled, and what the check of
parity found on this machine. It stands in `.engine/` beside the model, or in the user's cache folder where that can't
be written, as with the model in the box.
"""

import ctypes
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import ich25d
from ich25d.engine.compiled import COMPILED_ENGINES, is_installed, label_of
from ich25d.engine.described import Described, describe_model
from ich25d.engine.engine import ENGINES, Engine
from ich25d.engine.export import CHECK_FILE, write_export
from ich25d.engine.exported_engine import exported_engine
from ich25d.engine.parity import ALLOWED, Check, Difference, difference
from ich25d.errors import ModelError, UsageError
from ich25d.files import locked, write_json
from ich25d.progress import remark
from ich25d.training.machine import keep_freed_memory, leave_cores_to_network

if TYPE_CHECKING:
    import torch

VARIABLE = "ICH25D_ENGINE"
"""Environment variable that says what `auto` means, where that is possible."""

_BESIDE, _EXPORTED, _COMPILED, _FAILED = ".engine", "exported", "compiled", "failed.json"
_LAYOUT = 1
"""Changes with the form of what is kept."""


def open_engine(model: Described, device: str = "auto", engine: str = "auto") -> Engine:
    """Choose and load what computes a model.

    Args:
        model: The model.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        engine: One of `ENGINES`, or `auto`: torch on a GPU, and on a CPU the fastest engine that is installed and gives
            torch's numbers.

    Raises:
        UsageError: Unknown or impossible options, or an engine that isn't installed.
        ModelError: The model is damaged, or the engine that was named doesn't give torch's numbers.
    """
    if engine == "auto":
        engine = _preferred(model, device)
    if engine not in ("auto", *ENGINES):
        raise UsageError(f"--engine must be auto, {', '.join(ENGINES[:-1])} or {ENGINES[-1]} (got {engine!r})")
    if engine in COMPILED_ENGINES and not is_installed(engine):
        raise UsageError(f"--engine {engine} must be installed (it isn't); pip install 'ich25d[engine]'")
    if engine in COMPILED_ENGINES and device not in ("auto", "cpu"):
        raise UsageError(f"--engine {engine} computes on a CPU (got --device {device}); use --engine torch")
    if model.is_exported and (engine == "torch" or device not in ("auto", "cpu")):
        raise UsageError(
            f"an exported model computes on a CPU, by openvino or onnx (got --engine {engine}, --device {device}); "
            "give the model directory that it was made of"
        )
    if engine == "torch" or device not in ("auto", "cpu"):
        return _torch(model, device)
    if engine == "auto" and device == "auto" and not model.is_exported and _may_have_gpu():
        found = _device(device)
        if found.type != "cpu":
            return _torch(model, device)
    leave_cores_to_network()
    keep_freed_memory()
    return _compiled(model, engine)


def _preferred(model: Described, device: str) -> str:
    """Return what `auto` means by the environment, where that can compute this model on this device."""
    engine = os.environ.get(VARIABLE) or "auto"
    on_cpu = device in ("auto", "cpu")
    is_impossible = model.is_exported if engine == "torch" else engine in COMPILED_ENGINES and not on_cpu
    return "auto" if is_impossible else engine


def _torch(model: Described, device: str) -> Engine:
    where = _device(device)
    from ich25d.engine.torch_engine import torch_engine

    return torch_engine(model, where)


def _device(device: str) -> "torch.device":
    if importlib.util.find_spec("torch") is None:
        raise UsageError(
            "torch must be installed to compute with it (it isn't); pip install torch timm, or predict with a folder "
            "that `ich25d export` made"
        )
    from ich25d.training.device import choose_device

    return choose_device(device)


def _may_have_gpu() -> bool:
    """Return whether torch must be asked for a GPU; it takes seconds to import."""
    if importlib.util.find_spec("torch") is None:
        return False
    if Path("/dev/kfd").exists():  # AMD
        return True
    try:
        ctypes.CDLL({"win32": "nvcuda.dll"}.get(sys.platform, "libcuda.so.1"))
    except OSError:
        return False
    return True


def _compiled(model: Described, engine: str) -> Engine:
    """Return the engine that was named, or the first that serves, else torch."""
    names = [engine] if engine != "auto" else [name for name in COMPILED_ENGINES if is_installed(name)]
    reasons = []
    for name in names:
        try:
            cache = _cache_folder(model)
            exported = model if model.is_exported else _exported(model, cache / _EXPORTED)
            return _checked(exported, model, name, cache)
        except _AbsentError:
            break  # not an error: without the exporter, torch computes
        except (ModelError, OSError) as error:
            if engine != "auto":
                raise
            reasons.append(str(error))
    if model.is_exported:
        raise ModelError(
            "; ".join(reasons)
            or f"an exported model needs openvino or onnxruntime (got neither) for {model.folder}; pip install openvino"
        )
    for reason in reasons:
        remark(f"torch computes: {reason}")
    if engine != "auto":
        raise UsageError(
            f"--engine {engine} needs the model's exported form, which torch, onnx and onnxscript make (got not all of "
            "them); pip install 'ich25d[engine]'"
        )
    return _torch(model, "cpu")


class _AbsentError(Exception):
    """What makes the exported form isn't installed."""


def _exported(model: Described, folder: Path) -> Described:
    """Return a model's exported form; it is made where it isn't there yet."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent / "lock", f"prepares an engine in {folder.parent}"):
        try:
            return describe_model(folder)
        except ModelError:
            pass  # not there, or damaged
        if any(importlib.util.find_spec(name) is None for name in ("torch", "onnx", "onnxscript")):
            raise _AbsentError
        failed = folder.parent / _FAILED
        if failed.is_file():
            raise ModelError(json.loads(failed.read_text(encoding="utf-8"))["reason"])
        remark(f"preparing {model.about.name.split('.')[0]} for a faster engine, once: some 20 seconds")
        part = Path(tempfile.mkdtemp(prefix=".part.", dir=folder.parent))
        try:
            write_export(model, part)
            shutil.rmtree(folder, ignore_errors=True)
            part.rename(folder)
        except ModelError as error:
            write_json(failed, {"reason": str(error)})
            raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return describe_model(folder)


def _checked(exported: Described, model: Described, engine: str, cache: Path) -> Engine:
    """Compile an exported model; the first time on this machine compare it with torch's answer, and say so."""
    ready = exported_engine(exported, engine, cache / _COMPILED)
    # Names and outputs are those of the model itself.
    key = hashlib.sha256(f"{ready.label} {_machine()} {exported.content}".encode()).hexdigest()[:16]
    verdict = cache / f"parity-{key}.json"
    try:
        kept = json.loads(verdict.read_text(encoding="utf-8"))
        found = Difference(float(kept["logit"]), float(kept["probability"]))
    except (OSError, ValueError, KeyError, TypeError):
        found = difference(ready, Check.load(exported.folder / CHECK_FILE))
        said = f"{label_of(engine)} and torch on a phantom series: {found.text} (allowed {ALLOWED:g})"
        remark(f"{said}; kept in {cache}" if found.is_parity else said)
        if found.is_parity:
            cache.mkdir(parents=True, exist_ok=True)
            write_json(verdict, {"engine": ready.label, "model": model.stamp, **asdict(found)})
    if not found.is_parity:
        raise ModelError(f"an engine must give torch's numbers to {ALLOWED:g} ({ready.label}: {found.text})")
    return ready


def _machine() -> str:
    """Return what decides which instructions an engine uses."""
    facts = [platform.machine(), platform.processor(), platform.system()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return " ".join(facts)
    found = {line.partition(":")[0].strip(): line for line in lines}
    return " ".join([*facts, *(found.get(name, "") for name in ("model name", "flags", "Features"))])


def _cache_folder(model: Described) -> Path:
    """Return where what a model's engines need is kept."""
    key = hashlib.sha256(f"{_LAYOUT} {ich25d.__version__} {model.stamp}".encode()).hexdigest()[:16]
    folder = model.folder.resolve()
    is_ours = folder.is_relative_to(Path(__file__).resolve().parents[1])  # an installation isn't changed
    if not is_ours and os.access(folder, os.W_OK):
        return folder / _BESIDE / key
    return _user_cache() / "ich25d" / key


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
