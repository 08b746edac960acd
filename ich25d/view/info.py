"""`ich25d info`: what a store or a model directory holds, or what is installed and what is missing for what."""

import contextlib
import dataclasses
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ich25d.errors import ModelError, UsageError
from ich25d.labels import LABELS
from ich25d.training.operating_point import read_points
from ich25d.training.ownership import JOINT, owner_of
from ich25d.view.installation import describe_installation


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
    """Describe the store or model directory at `path`, or what is installed and what is missing for what.

    Args:
        path: A study store, a model directory, or None for the installation.
        verify: Read all files and check them against their hashes.

    Raises:
        UsageError: There is neither a store nor a model directory at `path`.
    """
    parts: dict[str, dict[str, Any]] = {}
    damage: list[str] = []
    if path is None:
        if verify:
            raise UsageError("--verify needs a study store or a model directory (got none)")
        parts = describe_installation(Path())
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
        command = "train-cnn with --resume"
        if (path / "features").is_dir() or (path / "encoder").is_dir():
            command = "train-joint" if owner_of(path) == JOINT else "train-rnn"
        facts["to go on"] = f"the same {command}"
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
    with contextlib.suppress(ModelError):  # of another form
        for point in read_points(path):
            if point.measured is not None:
                facts[f"flagging series, {point.rule}"] = point.described
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


def _short(value: Any) -> str:  # noqa: ANN401  # any fact
    text = "none" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 110 else text[:107] + "..."
