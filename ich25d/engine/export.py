"""`ich25d export`: a model directory in, a folder of ONNX and JSON out that predicts without torch.

DIR/  model.json              all that prediction needs to know; SHA-256 of every file; parity of every engine
      encoderK.onnx           slab to embedding, six logits and, with a pixel head, maps
      sequenceK.onnx          embeddings, logits and positions of a series to refined logits
      statistics.safetensors  mean and spread of the encoders' embeddings
      check.npz               a phantom series and torch's answer, which every engine is compared with before its use
      predict_series.py       the same in NumPy and onnxruntime alone, to read and to start from
"""

import dataclasses
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ich25d
from ich25d.engine.compiled import COMPILED_ENGINES, is_installed
from ich25d.engine.described import Described, describe_model
from ich25d.engine.exported_engine import exported_engine
from ich25d.engine.parity import ALLOWED, Check, Difference, difference, make_check
from ich25d.errors import ModelError, UsageError
from ich25d.files import sha256_file, write_bytes, write_json
from ich25d.labels import LABELS
from ich25d.slabs.grey_values import resolve_windows
from ich25d.summary import Summary
from ich25d.training.model_file import EXPORTED, FORMAT, MODEL_FILE
from ich25d.windows import FILE_WINDOW

CHECK_FILE, EXAMPLE_FILE = "check.npz", "predict_series.py"
_STATISTICS_FILE = "statistics.safetensors"
_KEPT = ("thresholds", "operating_points", "confidence", "prevalence")
_OF_SEQUENCE = ("dim", "views", "encoders", "base_logit", "gap_mm", "has_encoder", "refinement", "thresholds")


@dataclass(frozen=True, slots=True)
class ExportSummary(Summary):
    """What was exported."""

    out: Path
    n_encoders: int
    n_sequence_models: int
    n_bytes: int
    parity: dict[str, Difference]
    """By engine and version."""
    model: str
    """What the model says of itself."""

    def lines(self) -> list[str]:
        """Return the lines that the command prints."""
        networks = f"{self.n_encoders} encoders, {self.n_sequence_models} sequence models"
        return [
            f"{self.out}: {networks}, {self.n_bytes / 1e6:.1f} MB",
            self.model,
            *(f"{engine}: {found.text} (allowed {ALLOWED:g})" for engine, found in self.parity.items()),
        ]


def export(folder: Path, out: Path) -> ExportSummary:
    """Export a model directory, and check that every engine that is installed gives torch's numbers.

    Args:
        folder: A model directory of `train-rnn` or `train-cnn`.
        out: The folder to make.

    Raises:
        UsageError: It is exported already, `out` holds something else, or a package is absent.
        ModelError: The model is damaged, can't be written as ONNX, or no engine gives torch's numbers.
    """
    engines = [engine for engine in COMPILED_ENGINES if is_installed(engine)]
    if not engines:
        raise UsageError("export needs OpenVINO or ONNX Runtime to check what it wrote; pip install 'ich25d[engine]'")
    model = describe_model(folder)
    if model.is_exported:
        raise UsageError(f"--model must be a model directory of train-rnn or train-cnn (got an exported one, {folder})")
    _check_out(out)
    content = write_export(model, out)
    parity = dict(compare(out, engine) for engine in engines)
    if not any(found.is_parity for found in parity.values()):
        (out / MODEL_FILE).unlink()
        texts = "; ".join(f"{engine}: {found.text}" for engine, found in parity.items())
        raise ModelError(f"an engine must give torch's numbers to {ALLOWED:g} (got {texts}) for {folder}")
    write_json(out / MODEL_FILE, {**content, "parity": {name: dataclasses.asdict(one) for name, one in parity.items()}})
    n_bytes = sum(path.stat().st_size for path in out.iterdir() if path.is_file())
    return ExportSummary(
        out, len(content["encoders"]), len(content["sequence_models"]), n_bytes, parity, model.about.line
    )


def compare(out: Path, engine: str) -> tuple[str, Difference]:
    """Compare an engine with torch's answer that stands in an exported folder; return its name and version too.

    Raises:
        ModelError: The folder is damaged, or the engine can't take its files.
    """
    ready = exported_engine(describe_model(out), engine, None)
    return ready.label, difference(ready, Check.load(out / CHECK_FILE))


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out must be a folder (got the file {out})")
    if not out.is_dir() or not any(out.iterdir()):
        return
    try:
        if describe_model(out).is_exported:
            return
    except ModelError:
        pass
    raise UsageError(f"--out must be a new folder or an exported model's (got {out}, with other files); name another")


def write_export(model: Described, out: Path) -> dict[str, Any]:
    """Write an exported folder, `model.json` last; return what that says.

    Raises:
        UsageError: A package is absent.
        ModelError: Weights are damaged, or can't be written as ONNX.
    """
    try:
        import onnxscript  # noqa: F401  # torch's exporter says it's absent only after seconds
        import torch

        from ich25d.engine.onnx_file import write_encoders, write_sequence_models
        from ich25d.engine.torch_engine import torch_encoders, torch_engine
        from ich25d.sequence.model import module_of
        from ich25d.sequence.model_directory import load_sequence
    except ImportError as error:
        raise UsageError(
            f"to export a model, torch and the packages of its ONNX exporter must be installed (got no {error.name}); "
            "pip install 'ich25d[engine]'"
        ) from error
    out.mkdir(parents=True, exist_ok=True)
    (out / MODEL_FILE).unlink(missing_ok=True)  # unfinished until it is written again
    device = torch.device("cpu")
    encoders = torch_encoders(model, device).encoders
    run = encoders[0].run
    files = [out / f"encoder{number}.onnx" for number in range(len(encoders))]
    hashes = write_encoders([encoder.model for encoder in encoders], len(run.mean), run.slab.size, files)
    sequence: dict[str, Any] | None = None
    sequence_models: list[dict[str, Any]] = []
    if model.sequence is not None:
        folds = load_sequence(model.folder, device).models
        modules = [(number, module_of(runner)) for number, fold in enumerate(folds) for runner in fold]
        names = [out / f"sequence{number}.onnx" for number in range(len(modules))]
        written = write_sequence_models([module for _, module in modules], model.sequence.dim, names)
        sequence_models = [
            {"fold": number, **entry} for (number, _), entry in zip(modules, _entries(names, written), strict=True)
        ]
        statistics = model.content["statistics"]
        shutil.copyfile(model.folder / statistics["file"], out / _STATISTICS_FILE)
        sequence = {**{name: model.content[name] for name in _OF_SEQUENCE}, "paired": model.sequence.paired}
        sequence["statistics"] = {"file": _STATISTICS_FILE, "sha256": statistics["sha256"]}
    make_check(model, torch_engine(model, device)).save(out / CHECK_FILE)
    write_bytes(out / EXAMPLE_FILE, (Path(__file__).with_name(EXAMPLE_FILE)).read_bytes())
    content = {
        "format": FORMAT,
        "kind": EXPORTED,
        "name": model.about.name,
        "weak": model.about.weak,
        "labels": list(LABELS),
        "stamp": model.stamp,
        "slab": dataclasses.asdict(model.slab),
        "windows": [FILE_WINDOW if one is None else list(one) for one in resolve_windows(model.slab)],
        "store": {"size": model.size, "crop": model.crop},
        "views": list(model.views),
        "prior": model.prior.tolist(),
        "calibration": None if sequence else model.calibration.to_dict(),
        "sequence": sequence,
        "encoders": [
            {"fold": encoder.fold, **entry, "weights_sha256": encoder.sha256}
            for encoder, entry in zip(encoders, _entries(files, hashes), strict=True)
        ],
        "sequence_models": sequence_models,
        "check": {"file": CHECK_FILE, "sha256": sha256_file(out / CHECK_FILE)},
        **{name: model.content[name] for name in _KEPT if name in model.content},
        "versions": {"ich25d": ich25d.__version__, "torch": torch.__version__},
    }
    write_json(out / MODEL_FILE, content)
    return content


def _entries(files: Sequence[Path], hashes: Sequence[str]) -> list[dict[str, Any]]:
    return [{"file": file.name, "sha256": sha256} for file, sha256 in zip(files, hashes, strict=True)]
