"""What a run learns from beside the labels of its store's slices: kept in its directory, one for all of its folds."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ich25d.encoder.canvas import Canvas
from ich25d.encoder.pseudo_labels import PseudoLabels
from ich25d.encoder.teaching import Teaching
from ich25d.errors import ModelError, UsageError, cause_of
from ich25d.files import read_parquet, replacing, write_json
from ich25d.labels import LABELS
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.model_file import CANVAS_FILE, PSEUDO_FILE, SERIES_LABELS_FILE

BESIDE_FILES = (SERIES_LABELS_FILE, CANVAS_FILE, PSEUDO_FILE)
"""What it keeps in a model directory."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """Labels of whole series, canvases, and pseudo-labels; each may be absent."""

    series_labels: pd.DataFrame | None = None
    """From `teaching.checked_series_labels`."""
    canvas: Canvas | None = None
    pseudo: PseudoLabels | None = None

    @property
    def _parts(self) -> dict[str, tuple[str, dict[str, Any] | None]]:
        """Options by file: how users name them, and what the file holds."""
        return {
            CANVAS_FILE: ("--canvas", None if self.canvas is None else self.canvas.describe()),
            PSEUDO_FILE: ("--pseudo-labels", None if self.pseudo is None else self.pseudo.describe()),
        }

    def write(self, out: Path) -> None:
        """Keep them in a model directory, and remove those of a training that never began."""
        for name in BESIDE_FILES:
            (out / name).unlink(missing_ok=True)
        if self.series_labels is not None:
            with replacing(out / SERIES_LABELS_FILE) as part:
                self.series_labels.to_parquet(part, index=False)
        for name, (_, content) in self._parts.items():
            if content is not None:
                write_json(out / name, content)

    def for_fold(
        self, store: StudyStore, teaching: Teaching, fold: int
    ) -> tuple[Teaching, Canvas | None, npt.NDArray[np.bool_] | None]:
        """Return what a fold is taught, its canvases, and the slices that may not judge it, bool (slices,).

        Args:
            store: The store that is trained on.
            teaching: What its slices are taught in every fold.
            fold: Number of the fold.
        """
        if self.pseudo is None:
            return teaching, self.canvas, None
        of_fold = store.slices["series_id"].map(store.series.set_index("series_id")["fold"])
        return self.pseudo.for_fold(store, teaching, self.canvas, np.flatnonzero(of_fold == fold))

    def describe(self) -> dict[str, Any]:
        """Return what `model.json` says of them: counts and a hash, no ids."""
        labels = self.series_labels
        found: dict[str, Any] = {}
        if labels is not None:
            found["series_labels"] = {
                "n_series": len(labels),
                "positive_series": {name: int((labels[name] == 1).sum()) for name in LABELS},
                "known_series": {name: int(labels[name].notna().sum()) for name in LABELS},
            }
        found |= {Path(name).stem: content for name, (_, content) in self._parts.items() if content is not None}
        return found

    def refuse_other(self, out: Path) -> None:
        """Check that a run goes on with what it was begun with.

        Raises:
            UsageError: It was begun with others, or without.
        """
        before, labels = kept_series_labels(out), self.series_labels
        if (before is None) != (labels is None) or (
            before is not None and labels is not None and not before.reset_index(drop=True).equals(labels)
        ):
            names = ["none" if one is None else f"those of {len(one)} series" for one in (labels, before)]
            raise UsageError(
                f"all folds of a model directory must learn from the same --series-labels (got {names[0]} for "
                f"{names[1]}) in {out}; give the table that it was begun with, or choose another --out"
            )
        for name, (option, now) in self._parts.items():
            kept = _kept(out / name)
            if kept != now:
                names = ["none" if one is None else f"{one.get('n_slices')} slices" for one in (now, kept)]
                raise UsageError(
                    f"all folds of a model directory must learn from the same {option} (got {names[0]} for {names[1]}) "
                    f"in {out}; give what it was begun with, or choose another --out"
                )


def kept_series_labels(out: Path) -> pd.DataFrame | None:
    """Return the labels of whole series that a run was begun with; None where there were none.

    Raises:
        ModelError: The table is damaged.
    """
    path = out / SERIES_LABELS_FILE
    if not path.is_file():
        return None
    try:
        table = read_parquet(path)[["series_id", *LABELS]]
        values = table[list(LABELS)].to_numpy(dtype=np.float32, na_value=np.nan)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path.name} must be a readable table (got {cause_of(error)}) in {out}") from error
    if not (np.isnan(values) | np.isin(values, (0, 1))).all() or table["series_id"].duplicated().any():
        raise ModelError(f"{path.name} must hold a series once, and labels 0, 1 or none (got others) in {out}")
    return table


def _kept(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path.name} must be readable JSON (got {cause_of(error)}) in {path.parent}") from error
    return found
