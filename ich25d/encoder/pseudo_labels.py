"""Pseudo-labels: what a trained run says of slices without labels, where it is sure, for another run to learn.

PSEUDO/  labels.parquet   image_id, network (number of the teacher's fold), six probabilities; NaN where it isn't sure
         pseudo.json      the teacher (name, hashes, terms), its thresholds, counts, the hash of the table
         networkK/        images.safetensors: hashes of what each of its networks was trained on

Every network speaks for itself, and only of patients of whom it has learnt no image. A fold of the run that learns
takes the networks that know the fewest of its held-out patients: with the same folds of the same scans, the one that
held out the same. Those whom even they know judge nothing there. Pseudo-labels never validate.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from ich25d.encoder.canvas import Canvas
from ich25d.encoder.learnt_images import LearntImages
from ich25d.encoder.loaded import load_encoder
from ich25d.encoder.parent import Parent, read_parent
from ich25d.encoder.teaching import Teaching, teaching_of
from ich25d.encoder.validate import predict_rows
from ich25d.errors import ModelError, UsageError, cause_of
from ich25d.files import check_folder, claim_folder, replacing, sha256_file, write_json
from ich25d.labels import ANY_INDEX, LABELS
from ich25d.progress import bar, remark
from ich25d.slabs.dataset import SlabReader
from ich25d.slabs.loading import SlabLoader
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.calibration import Calibration
from ich25d.training.device import choose_device
from ich25d.training.model_file import PSEUDO_FILE
from ich25d.training.smoothing import known_position_mm

LABELS_FILE = "labels.parquet"
POSITIVE_RULE, NEGATIVE_RULE = "specificity_90", "sensitivity_95"
"""A label is sure where the probability of a slice reaches the teacher's threshold of the first (and one half), or
stays below that of the second."""

_BATCH = 32

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class PseudoSummary:
    """What was written."""

    out: Path
    teacher: str
    n_slices: int
    """Slices without labels."""
    n_sure: int
    """Those with a sure label of some network."""
    positive: dict[str, int]
    """By label, slices surely positive by some network."""
    exit_code: int = 0

    def lines(self) -> list[str]:
        """Return it for people."""
        share = self.n_sure / max(1, self.n_slices)
        return [
            f"{self.teacher} is sure of {self.n_sure} of {self.n_slices} slices without labels ({share:.0%})",
            "surely positive: " + ", ".join(f"{name} {count}" for name, count in self.positive.items()),
            f"in {self.out}: for train-cnn --pseudo-labels; they never validate",
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return it for machines."""
        return {**dataclasses.asdict(self), "out": str(self.out)}


def make_pseudo_labels(path: Path, model: Path, out: Path, *, device: str = "auto") -> PseudoSummary:
    """Let a run label the slices of a store that have no label.

    Args:
        path: The study store.
        model: A model directory of `train-cnn`; of `train-rnn` its encoders are taken.
        out: The folder to make.
        device: Where to predict.

    Raises:
        UsageError: The store is of another size or crop, has no slice without labels, or every network knows all of its
            patients; or the folder is another's.
        ModelError: The run is damaged, has no thresholds, or doesn't say which images it was trained on.
    """
    check_folder(out, "pseudo-labels", (LABELS_FILE, PSEUDO_FILE))
    store, teacher = StudyStore.open(path), read_parent(model)
    run = teacher.run
    if (run.store_size, run.crop) != (store.size, str(store.marker["crop"])):
        raise UsageError(
            f"the study store must be of the kind that {teacher.name} was trained on (size {run.store_size}, crop "
            f"{run.crop}; got size {store.size}, crop {store.marker['crop']}) in {path}; build one of that kind"
        )
    bounds = _thresholds(teacher)
    rows = np.flatnonzero(~teaching_of(store).is_known)
    if not len(rows):
        raise UsageError(f"pseudo-labels are for slices without labels (got none among {len(store.slices)}) in {path}")
    place, tables = choose_device(device), []
    learnt = {fold: LearntImages.read(run.folder, entry) for fold, entry in sorted(run.folds.items())}
    for fold, images in learnt.items():
        wanted = rows[~images.seen(store)[rows]]
        if len(wanted):
            probability = _probability(teacher, fold, store, wanted, place)
            table = pd.DataFrame(sure(probability, *bounds), columns=list(LABELS), dtype="float32")
            table.insert(0, "image_id", store.slices["image_id"].iloc[wanted].to_numpy())
            tables.append(table.assign(network=np.int64(fold)))
    if not tables:
        raise UsageError(
            "a teacher labels patients whom it hasn't learnt from (got none for any network of "
            f"{teacher.name}) in {path}; give other scans or another teacher"
        )
    found = pd.concat(tables, ignore_index=True)
    found = found[found[list(LABELS)].notna().any(axis=1)].reset_index(drop=True)
    out.mkdir(parents=True, exist_ok=True)
    claim_folder(out, "pseudo-labels")
    with replacing(out / LABELS_FILE) as part:
        found.to_parquet(part, index=False)
    networks = {}
    for fold, images in learnt.items():
        (out / f"network{fold}").mkdir(exist_ok=True)
        networks[str(fold)] = images.write(out / f"network{fold}" / "images.safetensors")
    positive = {name: int(found.loc[found[name] >= 0.5, "image_id"].nunique()) for name in LABELS}
    summary = PseudoSummary(out, teacher.name, len(rows), int(found["image_id"].nunique()), positive)
    write_json(out / PSEUDO_FILE, {
        "teacher": teacher.describe(),
        "thresholds": {name: [None if not np.isfinite(end) else float(end) for end in ends]
                       for name, ends in zip(LABELS, zip(*bounds, strict=True), strict=True)},
        "n_slices": summary.n_slices,
        "n_sure": summary.n_sure,
        "positive_slices": positive,
        "labels_sha256": sha256_file(out / LABELS_FILE),
        "networks": networks,
    })  # fmt: skip
    return summary


def _thresholds(teacher: Parent) -> tuple[Floats, Floats]:
    """Return below and from which probability a label is sure, shape (6,) each; infinite where no threshold is known.

    Raises:
        ModelError: The teacher has none for `any`.
    """
    by_rule = (teacher.run.content.get("thresholds") or {}).get("slice", {})
    low = np.array([by_rule.get(NEGATIVE_RULE, {}).get(label, -np.inf) for label in LABELS], dtype=np.float64)
    high = np.array([by_rule.get(POSITIVE_RULE, {}).get(label, np.inf) for label in LABELS], dtype=np.float64)
    if not np.isfinite(low[ANY_INDEX]) or not np.isfinite(high[ANY_INDEX]):
        raise ModelError(
            f"a teacher must have thresholds of slices for any, from its validation (got none) in "
            f"{teacher.run.folder}; train one on slices with labels"
        )
    return low, np.maximum(high, 0.5)


def sure(probability: Floats, low: Floats, high: Floats) -> Floats:
    """Return the probabilities that are sure, shape (N, 6); NaN elsewhere.

    Where `any` is surely absent all six are, as none of them is more likely. A subtype that is surely there makes
    `any`.

    Args:
        probability: Calibrated, shape (N, 6).
        low: Below it a label is surely absent, shape (6,).
        high: From it on a label is surely there.
    """
    is_sure = (probability < low) | (probability >= high)
    is_sure |= probability[:, [ANY_INDEX]] < low[ANY_INDEX]
    is_sure[:, ANY_INDEX] |= (probability >= high)[:, :ANY_INDEX].any(axis=1)
    return np.where(is_sure, probability, np.nan)


def _probability(
    teacher: Parent, fold: int, store: StudyStore, rows: npt.NDArray[np.int64], device: torch.device
) -> Floats:
    """Return one network's calibrated probabilities, smoothed along the series that `rows` hold whole."""
    loaded = load_encoder(teacher.run.folder, fold, device)
    loader = SlabLoader(SlabReader(store, loaded.slab), device=device)
    with bar(f"network {fold}", len(rows), "slices") as advance:
        logit = predict_rows(loaded.model, loader, rows, loaded.slab, device, batch_size=_BATCH, advance=advance)
    calibration = Calibration.from_dict(teacher.run.content.get("calibration"))
    slices = store.slices.iloc[rows]
    found = np.empty_like(logit)
    for own in slices.groupby("series_id", sort=False).indices.values():
        position = known_position_mm(slices["slice_position_mm"].to_numpy(dtype=np.float64)[own])
        found[own] = calibration.probability(logit[own], position)
    return found


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class PseudoLabels:
    """A folder of `make_pseudo_labels`, read."""

    folder: Path
    content: dict[str, Any]
    """Its `pseudo.json`."""
    table: pd.DataFrame
    learnt: dict[int, LearntImages]
    """By network, what it was trained on."""

    def describe(self) -> dict[str, Any]:
        """Return what `model.json` says of them: the teacher, its terms, thresholds, counts and a hash; no ids."""
        return {name: value for name, value in self.content.items() if name != "networks"}

    def for_fold(
        self, store: StudyStore, teaching: Teaching, canvas: Canvas | None, held_out: npt.NDArray[np.int64]
    ) -> tuple[Teaching, Canvas | None, npt.NDArray[np.bool_]]:
        """Add the pseudo-labels to what a fold is taught, where nothing else is known.

        Args:
            store: The store that is trained on.
            teaching: What its slices are taught.
            canvas: Canvases, whose slices may have pseudo-labels too.
            held_out: Slices that the fold holds out, bool (slices,) or their rows.

        Returns:
            Both with pseudo-labels, and the slices of patients whom the teacher knows, bool (slices,): they judge
            nothing.
        """
        seen = {network: images.seen(store) for network, images in self.learnt.items()}
        known = {network: int(rows[held_out].sum()) for network, rows in seen.items()}
        networks = [network for network, count in known.items() if count == min(known.values())]
        own = self.table[self.table["network"].isin(networks)]
        mean = own.groupby("image_id")[list(LABELS)].mean()

        def soft(of: StudyStore) -> npt.NDArray[np.float32]:
            return mean.reindex(of.slices["image_id"].astype(str)).to_numpy(dtype=np.float32)

        free = np.isnan(teaching.target) & ~teaching.is_open
        taught = dataclasses.replace(teaching, target=np.where(free, soft(store), teaching.target))
        if canvas is not None:
            free = np.isnan(canvas.target) & canvas.unknown[:, None]
            canvas = canvas.told(np.where(free, soft(canvas.store), canvas.target))
        return taught, canvas, np.logical_or.reduce([seen[network] for network in networks])


def read_pseudo_labels(folder: Path, stores: list[StudyStore]) -> PseudoLabels:
    """Read a folder of pseudo-labels for some stores.

    Raises:
        UsageError: It is no such folder, was changed, or holds no image of the stores.
    """
    try:
        content: dict[str, Any] = json.loads((folder / PSEUDO_FILE).read_text(encoding="utf-8"))
        table = pd.read_parquet(folder / LABELS_FILE)[["image_id", "network", *LABELS]]
        is_whole = sha256_file(folder / LABELS_FILE) == content["labels_sha256"]
        entries = {int(number): {"images": entry} for number, entry in content["networks"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"--pseudo-labels must be a folder of `ich25d pseudo-labels` (got {cause_of(error)}) in {folder}; make one"
        ) from error
    value = table[list(LABELS)].to_numpy(dtype=np.float64)
    if not is_whole or ((value < 0) | (value > 1)).any():
        raise UsageError(
            f"pseudo-labels must be those that the teacher wrote (got a changed {LABELS_FILE}) in {folder}; make "
            "them again"
        )
    free = [store.slices["image_id"].astype(str)[~teaching_of(store).is_known] for store in stores]
    n_met = int(pd.concat(free).isin(set(table["image_id"])).sum())
    if not n_met:
        raise UsageError(
            f"pseudo-labels must be of slices without labels of the store or its canvases (got none of "
            f"{table['image_id'].nunique()} there) in {folder}; make them of the store that holds those, and give that "
            "store, or give it as --canvas"
        )
    remark(f"{n_met} slices without labels learn what {content['teacher']['name']} is sure of")
    return PseudoLabels(folder, content, table, {
        number: LearntImages.read(folder, entry) for number, entry in entries.items()
    })  # fmt: skip
