"""What is to be embedded: series that their fold's encoder has never seen, and painted copies of them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ich25d.errors import ModelError, UsageError
from ich25d.files import read_parquet
from ich25d.progress import remark

PAINTED = "~painted"
"""Between a series' id and the number of a copy of it with painted bleeds."""


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """One series to embed, as it is or as a painted copy."""

    series_id: str
    fold: int
    copy: int
    """0 is the series itself."""
    made_from: str
    """Hash of all that the features depend on."""

    @property
    def name(self) -> str:
        """Return the id under which it stands in the feature store."""
        return f"{self.series_id}{PAINTED}{self.copy}" if self.copy else self.series_id


def without_seen(tasks: Sequence[Task], cnn_run: Path) -> list[Task]:
    """Leave out the series that a network knew from the run that it started from: its embeddings of them are in-sample.

    Args:
        tasks: What is to be embedded.
        cnn_run: The CNN's run.

    Raises:
        ModelError: A finished fold doesn't say what it held out.
    """
    seen: set[str] = set()
    for fold in {task.fold for task in tasks}:
        table = _held_out_table(cnn_run, fold)
        seen.update(table.loc[table["seen"], "series_id"].astype(str) if "seen" in table else ())
    kept = [task for task in tasks if task.series_id not in seen]
    if n_seen := len({task.series_id for task in tasks} & seen):
        remark(f"{n_seen} series are left out: their encoder knew them from the run that it started from")
    return kept


def _held_out_table(cnn_run: Path, fold: int) -> pd.DataFrame:
    path = cnn_run / f"fold{fold}" / "oof.parquet"
    try:
        table = read_parquet(path)
        return table[[name for name in ("series_id", "seen") if name == "series_id" or name in table]]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"a finished fold must say what it held out (got {type(error).__name__}) in {path}; train this fold again"
        ) from error


def check_held_out(tasks: Sequence[Task], cnn_run: Path, root: Path) -> None:
    """Refuse a store whose folds were dealt otherwise: an encoder would embed, as unseen, what it was trained on.

    Args:
        tasks: What is to be embedded.
        cnn_run: The CNN's run.
        root: The store, for the message.

    Raises:
        UsageError: A series wasn't held out by its fold's encoder.
        ModelError: A finished fold doesn't say what it held out.
    """
    held_out = {
        fold: set(_held_out_table(cnn_run, fold)["series_id"].astype(str)) for fold in {task.fold for task in tasks}
    }
    wrong = sorted({task.series_id for task in tasks if task.series_id not in held_out[task.fold]})
    if wrong:
        raise UsageError(
            f"every series must have been held out by its fold's encoder (got {len(wrong)} that weren't, e.g. "
            f"{wrong[0]}) in {root}; give the study store that {cnn_run} was trained on, with the same folds"
        )
