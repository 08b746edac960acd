"""What a run learns from beside the labels of its store's slices: kept in its directory, one for all of its folds."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pandas as pd

from ich25d.encoder.canvas import Canvas
from ich25d.errors import ModelError, UsageError, cause_of
from ich25d.files import replacing, write_json
from ich25d.labels import LABELS
from ich25d.training.model_file import CANVAS_FILE, SERIES_LABELS_FILE


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """Labels of whole series, and canvases; each may be absent."""

    series_labels: pd.DataFrame | None = None
    """From `teaching.checked_series_labels`."""
    canvas: Canvas | None = None

    def write(self, out: Path) -> None:
        """Keep both in a model directory, and remove those of a training that never began."""
        for name in (SERIES_LABELS_FILE, CANVAS_FILE):
            (out / name).unlink(missing_ok=True)
        if self.series_labels is not None:
            with replacing(out / SERIES_LABELS_FILE) as part:
                self.series_labels.to_parquet(part, index=False)
        if self.canvas is not None:
            write_json(out / CANVAS_FILE, self.canvas.describe())

    def describe(self) -> dict[str, Any]:
        """Return what `model.json` says of them: counts and a hash, no ids."""
        labels, found = self.series_labels, {}
        if labels is not None:
            found["series_labels"] = {
                "n_series": len(labels),
                "positive_series": {name: int((labels[name] == 1).sum()) for name in LABELS},
                "known_series": {name: int(labels[name].notna().sum()) for name in LABELS},
            }
        return {**found, **({} if self.canvas is None else {"canvas": self.canvas.describe()})}

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
        kept = _kept_canvas(out)
        now = None if self.canvas is None else self.canvas.describe()
        if kept != now:
            names = ["none" if one is None else f"one of {one.get('n_slices')} slices" for one in (now, kept)]
            raise UsageError(
                f"all folds of a model directory must learn from the same --canvas (got {names[0]} for {names[1]}) in "
                f"{out}; give the store that it was begun with, or choose another --out"
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
        return pd.read_parquet(path)[["series_id", *LABELS]]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path.name} must be a readable table (got {cause_of(error)}) in {out}") from error


def _kept_canvas(out: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((out / CANVAS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ModelError(f"{CANVAS_FILE} must be readable JSON (got {cause_of(error)}) in {out}") from error
    return found
