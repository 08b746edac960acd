"""The owner of an output folder, and the checks that a model directory has one recipe and one study store."""

import contextlib
from pathlib import Path
from typing import Any

from ich25d.encoder.held_out import counts_of
from ich25d.encoder.model_directory import Run, read_run
from ich25d.errors import ModelError, TrainingError, UsageError, cause_of
from ich25d.files import read_parquet
from ich25d.labels import LABELS
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.learner import load_state
from ich25d.training.model_file import MODEL_FILE
from ich25d.training.ownership import read_parent_file


def refuse_other_store(out: Path, store: StudyStore, digest: str) -> None:
    """Check that a run goes on with the study store that its finished and unfinished folds are of.

    With other folds, networks would be tested on series that they were trained on, and a series could count twice; with
    other labels, calibration and thresholds would be fitted to labels that the networks never saw.

    Args:
        out: The model directory.
        store: The store of this call.
        digest: Its hash (`data_digest`).

    Raises:
        UsageError: The run is of another store.
    """
    run = read_run(out) if (out / MODEL_FILE).exists() else None
    if run is not None:
        is_other = run.content.get("data", {}).get("digest", "") not in ("", digest)
        # Older versions let two stores into one run: only the folds' tables name the first one.
        if is_other or any(_holds_others(out, store, number) for number in run.folds):
            raise _other_store(out, store, _difference(out, run, store))
    finished = set() if run is None else {f"fold{number}" for number in run.folds}
    for path in sorted(out.glob("fold*/last.pt")):
        if path.parent.name in finished:
            continue
        with contextlib.suppress(TrainingError):  # unreadable: an error when that fold is resumed
            if load_state(path).get("data", digest) != digest:
                raise _other_store(out, store, f"other series, images, labels or folds than {path.parent.name}'s")


def refuse_other_parent(out: Path, now: dict[str, Any] | None) -> None:
    """Check that a run goes on from the run that it was begun from.

    Args:
        out: The model directory.
        now: What `model.json` will say of the run to go on from; None without one.

    Raises:
        UsageError: It was begun from another one, or from none.
    """
    before = read_parent_file(out)
    networks = [None if one is None else one.get("networks") for one in (before, now)]
    if networks[0] != networks[1]:
        names = ["no run" if one is None else str(one.get("name")) for one in (now, before)]
        raise UsageError(
            f"a model directory goes on from one run (got {names[0]} for {names[1]}) in {out}; give the --from that it "
            "was begun with, or choose another --out"
        )


def _other_store(out: Path, store: StudyStore, difference: str) -> UsageError:
    return UsageError(
        f"all folds of a model directory must be of the same study store (got another one, with {difference}, in "
        f"{store.root}) in {out}; give the store that it was begun with, or choose another --out"
    )


def _difference(out: Path, run: Run, store: StudyStore) -> str:
    """Name the differences of a run's store and this one that `model.json` and the folds' tables show."""
    before, now = run.content.get("data", {}), counts_of(store)
    found = [
        f"{now[f'n_{name}']} {name} for {before[f'n_{name}']}"
        for name in ("patients", "series", "slices")
        if before.get(f"n_{name}", now[f"n_{name}"]) != now[f"n_{name}"]
    ]
    positive = {**now["positive_slices"], **before.get("positive_slices", {})}
    labels = [name for name in LABELS if now["positive_slices"][name] != positive[name]]
    if labels or now["n_labelled"] != before.get("n_labelled", now["n_labelled"]):
        found.append(f"other labels ({', '.join(labels) or 'known ones'})")
    folds = [number for number in run.folds if _holds_others(out, store, number)]
    if folds:
        found.append(f"other series in fold(s) {folds}")
    return ", ".join(found) or "other labels of single slices, images or positions"


def _holds_others(out: Path, store: StudyStore, fold: int) -> bool:
    """Return whether a fold's table is of other series than the store has in that fold."""
    path = out / f"fold{fold}" / "oof.parquet"
    if not path.is_file():
        return False
    try:
        before = read_parquet(path, columns=["series_id"])["series_id"].astype(str)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"a fold's held-out logits must be readable (got {cause_of(error)}) in {path}; move fold{fold} away and "
            "train it anew"
        ) from error
    return set(before) != set(store.series.loc[store.series["fold"] == fold, "series_id"].astype(str))
