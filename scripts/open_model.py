"""Train the model in the box, pack it into ich25d/open_model, and judge it on other data: see scripts/train_open_model.

Packed are the files that prediction needs, numbers as float16 (half the size), and the model card. Judged are study
stores with labels, of patients that the model was not trained on; what it reaches there is written into the card.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from scipy.special import logit

from ich25d.encoder.card import rewrite_decision
from ich25d.encoder.held_out import calibration_of, held_out_of, points_of, whole_series
from ich25d.encoder.model_directory import read_run, set_decision
from ich25d.encoder.train import train_cnn
from ich25d.errors import Ich25dError, UsageError
from ich25d.evaluate.judging_store import open_judge
from ich25d.evaluate.paired import MEASURES, measures_of, resampled, with_truth
from ich25d.files import write_json, write_text
from ich25d.labels import ANY_INDEX, LABELS
from ich25d.predict.answer import answer
from ich25d.predict.confidence_fit import fit_model_confidence
from ich25d.predict.found import find_series
from ich25d.predict.network import Network, load_network
from ich25d.predict.open_model import OPEN_MODEL
from ich25d.progress import remark
from ich25d.recipes import find_recipe, read_recipe
from ich25d.studies.build import build_studies
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.card import Cell, table, with_interval
from ich25d.training.model_file import CONFIG_FILE, MODEL_FILE
from ich25d.training.operating_point import read_points
from ich25d.training.series_target import series_target
from ich25d.training.weights_file import write_weights

NAME = "ich25d open model 2"
WEAK = "Weak for subarachnoid blood and small clots; judged on few scans"
FOLDS = 3
"""Networks: three of float16 fit into `MAX_BYTES`."""
MAX_BYTES = 25_000_000
ATTRIBUTION = (
    "Trained on CT-ICH: Hssayeni M. D. et al., Intracranial hemorrhage segmentation using a deep convolutional model, "
    "Data 2020, 5(1):14, https://doi.org/10.3390/data5010014; PhysioNet, CC BY 4.0. Bleeds and look-alikes were "
    "painted into its scans. Starting weights: EfficientNet-Lite0 on ImageNet-1k, Apache-2.0. Nothing of RSNA 2019, "
    "CQ500 or other non-commercial data took part."
)


def main(arguments: list[str] | None = None) -> int:
    """Train, pack and judge; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct_ich", type=Path, help="folder with metadata.csv and its pictures")
    parser.add_argument("--work", type=Path, default=Path("open-model"), help="folder of store and runs")
    parser.add_argument("--out", type=Path, default=OPEN_MODEL)
    parser.add_argument("--judge", action="append", default=[], metavar="NAME=STUDIES")
    parser.add_argument(
        "--decide",
        action="store_true",
        help="only calibrate the packed model anew, and choose thresholds and confidence, on held-out scans",
    )
    options = parser.parse_args(arguments)
    try:
        store = build(options.ct_ich, options.work)
        judges = [open_judge(word, store) for word in options.judge]
        if options.decide:
            decide(options.out, store)
            judge(options.out, judges)
            return 0
        run = train(store, options.work)
        pack(run, options.out)
        fit_model_confidence(options.out, store.root, torch.device("cpu"))
        judge(options.out, judges)
    except Ich25dError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{options.out}: {NAME}, {size / 1e6:.1f} MB")
    if size > MAX_BYTES:
        print(f"the model must be at most {MAX_BYTES} bytes (got {size})", file=sys.stderr)
        return 2
    return 0


def build(ct_ich: Path, work: Path) -> StudyStore:
    """Build the store of CT-ICH; what is finished is kept."""
    images = ct_ich / "metadata.csv"
    if not images.is_file():
        raise UsageError(f"CT_ICH_FOLDER must hold metadata.csv (got none in {ct_ich}); see docs/image-tables.md")
    build_studies((), work / "studies", images=(images,), folds=FOLDS)
    return StudyStore.open(work / "studies")


def train(store: StudyStore, work: Path) -> Path:
    """Train the networks; what is finished is kept.

    There is no sequence model: on the 82 series of CT-ICH, held out, it took .06 from the AUC of series and gave slices
    nothing (docs/measured.md).
    """
    recipe = read_recipe(find_recipe(Path("small-data")))
    summary = train_cnn(store.root, recipe, work / "cnn", resume=(work / "cnn").exists())
    if summary.interrupted:
        raise KeyboardInterrupt
    return work / "cnn"


def pack(run: Path, out: Path) -> None:
    """Copy what prediction needs, numbers as float16, with name and attribution; the folder is replaced whole."""
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    content = json.loads((run / MODEL_FILE).read_text(encoding="utf-8"))
    for entry in content["folds"].values():
        entry["sha256"] = _halved(run / entry["weights"], part / entry["weights"])
        shutil.copyfile(run / entry["images"]["file"], part / entry["images"]["file"])
    shutil.copyfile(run / CONFIG_FILE, part / CONFIG_FILE)
    write_json(part / MODEL_FILE, content | {"name": NAME, "weak": WEAK, "attribution": ATTRIBUTION})
    card = (run / "MODEL_CARD.md").read_text(encoding="utf-8")
    write_text(
        part / "MODEL_CARD.md", f"# {NAME}\n\n{WEAK}.\n\n{ATTRIBUTION}\n\n{card.replace('# Model', '## Model', 1)}"
    )
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)


def decide(model: Path, store: StudyStore) -> None:
    """Fit calibration, thresholds and confidence on the series that each packed network held out."""
    tables, folds = [], []
    for fold in read_run(model).folds:
        network = load_network(model, "cpu", fold=fold)
        for row in store.series[store.series["fold"] == fold].itertuples():
            own = store.slices[store.slices["series_id"] == row.series_id].sort_values("slice_index")
            position = own["slice_position_mm"].to_numpy(dtype=np.float64, na_value=np.nan)
            hu, brain_hu = store.hu(str(row.series_id)), float(np.float64(row.brain_hu))
            predicted, _ = network.predict(hu, position, None, brain_hu)
            table = pd.DataFrame(logit(predicted.encoder_probability), columns=list(LABELS))
            tables.append(table.assign(image_id=own["image_id"].to_numpy(), series_id=row.series_id))
            folds.append(np.full(len(own), fold))
    found = held_out_of(pd.concat(tables, ignore_index=True), np.concatenate(folds), store)
    calibration = calibration_of(found, read_recipe(model / CONFIG_FILE).calibration)
    set_decision(model, calibration, points_of(found, whole_series(found, None), calibration))
    fit_model_confidence(model, store.root, torch.device("cpu"))
    rewrite_decision(model)


def _halved(weights: Path, target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    tensors = load_file(weights)
    return write_weights({n: t.half() if t.dtype == torch.float32 else t for n, t in tensors.items()}, target)


def judge(model: Path, sets: list[tuple[str, StudyStore]]) -> None:
    """Predict study stores of other institutions and add to the card what the model reaches there."""
    if not sets:
        return
    network = load_network(model, "cpu", "torch")
    blocks = [
        "## On other data",
        "Patients, scanners and readers that the model has never seen; 95 % intervals over patients. Log loss: a share"
        " of the best constant answer's; at prevalence: with positives and negatives weighed to the recipe's shares.",
    ]
    for name, store in sets:
        blocks += _judged(network, name, store)
    card = (model / "MODEL_CARD.md").read_text(encoding="utf-8")
    before, heading, after = card.partition("## Performance")
    kept = before.partition(blocks[0])[0]
    write_text(model / "MODEL_CARD.md", kept + "\n\n".join(blocks) + "\n\n" + heading + after)


def _judged(network: Network, name: str, store: StudyStore) -> list[str]:
    found = answer(find_series([store.root], network), network, lambda _, __, ___, finished, ____: finished)
    if len(found.series) < len(store.series):
        raise UsageError(f"every series must be readable to judge by them (got {found.refusals}) in {store.root}")
    finished = [one for _, one in found.series]
    names = ("image_ids", "probability", "series_probability")
    series = with_truth(store, *([getattr(one, name) for one in finished] for name in names))
    recipe = read_recipe(network.folder / CONFIG_FILE)
    prevalence = np.array([recipe.calibration.prevalence.get(label, np.nan) for label in LABELS])
    found_measures = measures_of(resampled(series, prevalence))
    target = np.concatenate([one.target for one in series])
    whole = np.stack([series_target(one.target) for one in series])
    counts: list[list[Cell]] = [
        [label, int(np.nansum(target[:, column])), int(np.nansum(whole[:, column]))]
        for column, label in enumerate(LABELS)
    ]
    points: list[list[Cell]] = []
    bleeds = whole[:, ANY_INDEX] == 1
    for point in read_points(network.folder):
        over = np.array(["any" in point.over(one.whole) for one in series])
        points.append([point.name, f"{int(over[bleeds].sum())} of {int(bleeds.sum())}",
                       f"{int((~over[~bleeds]).sum())} of {int((~bleeds).sum())}"])  # fmt: skip
    remark(f"{name}: " + ", ".join(f"{key} {found_measures[key].value:.3f}" for key in MEASURES))
    return [
        f"**{name}**: {len(target):,} slices of {len(series)} series.",
        table(("label", "positive slices", "positive series"), counts),
        table(("measure", "value"), [[key, with_interval(*_ends(found_measures[key]))] for key in MEASURES]),
        "Series called `any` at the model's operating points:",
        table(("operating point", "bleeds found", "others spared"), points),
    ]


def _ends(measure: Any) -> tuple[float, float, float]:
    return measure.value, measure.low, measure.high


if __name__ == "__main__":
    sys.exit(main())
