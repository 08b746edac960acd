"""What closes a training of sequence models: blend and calibration on held-out series, comparison, model.json, card."""

import dataclasses
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ich25d
from ich25d.config import Recipe
from ich25d.encoder.change import Change, change_lines, read_changes
from ich25d.files import sha256_file, write_json, write_text
from ich25d.labels import LABELS
from ich25d.sequence.card import write_rnn_card
from ich25d.sequence.comparison import FULL, Probabilities, compare, comparison_lines, cross_fitted
from ich25d.sequence.dataset import SequenceReader
from ich25d.sequence.division import Division
from ich25d.sequence.model_directory import STATISTICS_FILE
from ich25d.sequence.refinement import HeldOutSeries, fit_refinement, matching
from ich25d.summary import as_json
from ich25d.training.model_file import FORMAT, MODEL_FILE, SEQUENCE
from ich25d.training.series_target import series_target
from ich25d.training.smoothing import USUAL_GAP_MM
from ich25d.training.threshold_choice import choose_points


@dataclasses.dataclass(frozen=True, slots=True)
class RnnSummary:
    """What a training left behind."""

    out: Path
    scopes: dict[str, dict[str, Any]]
    """What `compare` returned, by the series that it was measured on."""
    exit_code: int = 0
    changes: dict[str, Change] = dataclasses.field(default_factory=dict)
    """What changed against the run that it goes on from, by part; empty without one."""

    def lines(self) -> list[str]:
        """Return the comparison as tables for people."""
        lines = []
        for scope, content in self.scopes.items():
            lines += [*comparison_lines(scope, content), ""]
        return [*lines, *change_lines(self.changes), f"{FULL} is what predict uses: {self.out}"]

    def to_dict(self) -> dict[str, Any]:
        """Return the same for machines."""
        changes = {"changes": as_json(self.changes)} if self.changes else {}
        return {"out": str(self.out), "comparison": as_json(self.scopes), **changes}


@dataclasses.dataclass(frozen=True, slots=True)
class Trained:
    """Sequence models of all folds, and what they were made of."""

    command: str
    """`train-rnn`, or `train-joint`: then each fold's sequence model reads its own encoder's embeddings alone."""
    series: list[HeldOutSeries]
    entries: dict[str, Any]
    """The folds' entries in `model.json`."""
    n_seeds: int
    """Sequence models a fold."""
    digest: str
    """Hash of the features that they learnt from."""
    division: Division
    studies: Path | None
    """The study store; None where features alone were given."""
    cnn: Path | None
    """The encoders' model directory, likewise."""
    begun: float
    """`time.monotonic()` at the beginning of this call."""
    parent: dict[str, Any] | None = None
    """What `model.json` says of the run whose sequence models these went on from."""
    series_labels: dict[str, Any] | None = None
    """What it says of the labels of whole series that taught; None where there were none."""

    @property
    def is_joint(self) -> bool:
        """Whether encoder and sequence model of a fold were trained together."""
        return self.command == "train-joint"


def conclude(trained: Trained, reader: SequenceReader, recipe: Recipe, out: Path) -> RnnSummary:
    """Fit blend, calibration and thresholds on held-out series, compare systems, and write the model directory.

    Args:
        trained: What was trained.
        reader: Reads the features.
        recipe: The recipe.
        out: The model directory; folds' weights, and the encoders in `encoder/`, are in it.

    Raises:
        UsageError: No held-out series matches `calibration.fit_on`.
    """
    series, store = trained.series, reader.store
    refinement = fit_refinement(series, recipe.calibration)
    predicted = cross_fitted(series, recipe.calibration)
    scopes = {"all held-out series": compare(series, predicted)}
    chosen = matching(series, recipe.calibration.fit_on)
    if len(chosen) < len(series):
        scopes[f"held-out series that match {', '.join(recipe.calibration.fit_on)}"] = compare(chosen, predicted)
    write_json(out / "comparison.json", as_json(scopes))
    descent = {} if trained.parent is None else {"parent": trained.parent}
    changes = read_changes(out, {"folds": trained.entries, **descent})
    summary = RnnSummary(out, scopes, changes=changes)
    write_text(out / "comparison.txt", "\n".join(summary.lines()) + "\n")
    reader.standardisation.save(out / STATISTICS_FILE)
    model = {
        "format": FORMAT,
        "kind": SEQUENCE,
        "labels": list(LABELS),
        "dim": store.dim,
        "views": list(store.views),
        # An encoder whose held-out series its parent knew has embedded none: its embeddings' statistics aren't known.
        "encoders": [int(key) if key else -1 for key in store.encoder if key in reader.standardisation.mean],
        "has_encoder": trained.cnn is not None,
        "paired": trained.is_joint,
        "sequence": dataclasses.asdict(recipe.sequence),
        "n_seeds": trained.n_seeds,
        "folds": trained.entries,
        "statistics": {"file": STATISTICS_FILE, "sha256": sha256_file(out / STATISTICS_FILE)},
        "base_logit": reader.base_logit.tolist(),
        "gap_mm": _usual_gap_mm(series),
        "refinement": refinement.to_dict(),
        "calibration": dataclasses.asdict(recipe.calibration),
        **_points(series, predicted[FULL]),
        "versions": {"ich25d": ich25d.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "data": {
            "n_series": len(series),
            "n_patients": len({item.patient_id for item in series}),
            "n_slices": sum(len(item.target) for item in series),
            "n_train_only": trained.division.n_copies,
            "features_digest": trained.digest,
            **({} if trained.series_labels is None else {"series_labels": trained.series_labels}),
        },
        **descent,
    }
    write_json(out / MODEL_FILE, model)
    write_rnn_card(
        out, model, scopes, recipe, studies=trained.studies, cnn=trained.cnn,
        seconds=time.monotonic() - trained.begun, command=trained.command, changes=changes,
    )  # fmt: skip
    return summary


def _points(series: list[HeldOutSeries], predicted: Mapping[str, Probabilities]) -> dict[str, Any]:
    """Choose operating points on the cross-fitted probabilities of held-out slices and series."""
    return choose_points(
        np.concatenate([item.target for item in series]),
        np.concatenate([predicted[item.series_id].slices for item in series]),
        np.repeat(np.arange(len(series)), [len(item.target) for item in series]),
        np.stack([series_target(item.target) for item in series]),
        np.stack([predicted[item.series_id].series for item in series]),
    )


def _usual_gap_mm(series: list[HeldOutSeries]) -> float:
    gaps = np.concatenate([np.diff(item.slice_position_mm) for item in series])
    gaps = gaps[np.isfinite(gaps) & (gaps > 0)]
    return float(np.median(gaps)) if len(gaps) else USUAL_GAP_MM
