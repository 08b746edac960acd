"""Heat maps and findings against bleeds whose place is known, in held-out scans and phantoms; and on real ones.

    python scripts/benchmark_explain.py STUDIES --model runs/rnn [--painted 53] [--phantoms 10] [--real 41] [--seed 0]

A series of the store is explained by the one fold that didn't train on it; phantoms by one fold in turn. What is
painted is one bleed of one kind a scan, in turn; a bleed that the model doesn't see counts as missed in every line. The
baselines know the slices and are cut to the same head: its middle, the even head, and density alone.
"""

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.stats import rankdata

from ich25d.bleeds.anatomy import Anatomy, find_anatomy
from ich25d.bleeds.paint import paint, truth_masks
from ich25d.bleeds.plan import plan_bleeds
from ich25d.explain.explanation import Explanation, explain_series
from ich25d.explain.finding import density, side_of, slice_thickness_mm
from ich25d.labels import ANY_INDEX, LABELS, SUBTYPES
from ich25d.phantom.head import make_head
from ich25d.predict.answer import predict_pixels
from ich25d.predict.network import Network, load_network
from ich25d.predict.series import SeriesPixels, list_series, plan_array, read_pixels
from ich25d.slabs.spacing import store_spacing_mm
from ich25d.studies.store_dir.store import StudyStore
from ich25d.studies.volumes.headbox import Box
from ich25d.studies.volumes.volume import fit_box, fit_slice, read_series

NEAR_MM = 10.0


@dataclasses.dataclass
class Case:
    """A series with one bleed whose voxels are known."""

    name: str
    label: int
    truth: Any
    """bool (n, h, w)."""
    anatomy: Anatomy
    """Of the series as it was explained."""
    dense: Any
    """What `density` says of it, (n, h, w)."""
    explanation: Explanation


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--painted", type=int, default=1000)
    parser.add_argument("--phantoms", type=int, default=10)
    parser.add_argument("--real", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    network = load_network(options.model, options.device, "torch")
    store = StudyStore.open(options.studies)
    for title, cases in (
        ("painted into held-out scans", painted_cases(store, network, options.painted, options.seed)),
        ("phantoms", phantom_cases(network, options.phantoms, options.seed)),
    ):
        print_table(title, [score(case) for case in cases])
    print_real([score_real(*found) for found in real_series(store, network, options.real)])


def one_fold(network: Network, fold: int) -> Network:
    """Return a network of one fold's encoder and sequence models, in torch."""
    return load_network(network.folder, network.torch_encoders()[0].device.type, fold=fold)


def painted_cases(store: StudyStore, network: Network, n: int, seed: int) -> Iterator[Case]:
    """Paint a bleed into every negative series of the store, and explain it by the fold that never saw the patient."""
    counts = store.slices.groupby("series_id", sort=False)["any"].sum()
    found = list_series([store.root], size=network.size, crop=network.crop)
    by_id = {series.series_id: series for series in found.series}
    negative = [row for row in store.series.itertuples() if counts[row.series_id] == 0][:n]
    for number, row in enumerate(negative):
        read = read_pixels(by_id[row.series_id], crop=network.crop, size=network.size)
        spacing = store_spacing_mm(read.hu, row.slice_spacing_mm, read.pixel_mm or float("nan"), 1.0)
        before = find_anatomy(read.hu, spacing, slice_position_mm=read.slice_position_mm)
        label = (number + seed) % len(SUBTYPES)
        bleeds = plan_bleeds(before, np.random.default_rng([seed, number]), labels=[SUBTYPES[label]])
        if not bleeds:
            continue
        truth = truth_masks(bleeds)[label]
        if not truth.any():
            continue
        hu = paint(read.hu, range(len(read.hu)), bleeds).hu
        painted = dataclasses.replace(read, hu=hu, pixel_mm=spacing[2])
        explanation = explained(one_fold(network, int(row.fold)), painted, SUBTYPES[label])
        yield case_of(str(row.series_id), label, truth, hu, explanation)


def phantom_cases(network: Network, n: int, seed: int) -> Iterator[Case]:
    """Explain phantoms, each of one kind of bleed."""
    folds = list(network.model.folds)
    for number in range(n):
        label = number % len(SUBTYPES)
        head = make_head(np.random.default_rng([seed, number]), labels=[SUBTYPES[label]])
        spacing = (head.pixel_spacing_mm, head.pixel_spacing_mm)
        plan = plan_array(head.hu, head.slice_position_mm, pixel_spacing_mm=spacing)
        series = read_series(plan, crop=network.crop, size=network.size).series
        fit = fit_box(
            Box(*(series[f"box_{side}"] for side in ("top", "left", "bottom", "right"))), network.size, spacing
        )
        read = read_pixels(plan, crop=network.crop, size=network.size)
        truth = np.zeros(read.hu.shape, bool)
        for index, plane in enumerate(head.masks[label]):
            small = np.zeros(read.hu.shape[1:], np.int16)
            fit_slice((plane * 1000).astype(np.int16), fit, small)
            truth[index] = small > 500
        if truth.any():
            alone = one_fold(network, folds[number % len(folds)])
            explanation = explained(alone, dataclasses.replace(read, orientation="LP"), SUBTYPES[label])
            yield case_of(f"phantom {number}", label, truth, read.hu, explanation)


def explained(network: Network, pixels: SeriesPixels, label: str) -> Explanation:
    """Predict a series and explain one label of it."""
    return explain_series(network, pixels, predict_pixels(network, pixels), labels=[label])


def case_of(name: str, label: int, truth: Any, hu: Any, explanation: Explanation) -> Case:
    """Gather a case; anatomy is that of the scan with its bleed, as the explanation found it."""
    position = explanation.slice_position_mm
    gap = float(np.median(np.diff(position)))
    spacing = (gap, explanation.pixel_mm, explanation.pixel_mm)
    anatomy = find_anatomy(hu, spacing, slice_position_mm=position)
    return Case(name, label, truth, anatomy, density(hu, anatomy), explanation)


def score(case: Case) -> dict[str, float]:
    """Compare a case with its truth; of slices that show the bleed, means over them."""
    heat = case.explanation.heat[:, case.label].astype(np.float32)
    head = case.anatomy.depth > 0
    shows = np.flatnonzero((case.truth & head).any(axis=(1, 2)))
    if not len(shows):  # no skull was found around it
        shows = np.flatnonzero(case.truth.any(axis=(1, 2)))
    maps = {"heat": heat, "centre": _centre(head, case.anatomy), "even": head.astype(np.float32), "density": case.dense}
    line: dict[str, float] = {
        "label": case.label,
        "seen": float(heat.max() > 0),
        "warm": float(np.mean([heat[i].max() > 0 for i in shows])),
    }
    for name, volume in maps.items():
        parts = [
            score_slice(volume[index], case.truth[index], head[index], case.anatomy.spacing_mm[1]) for index in shows
        ]
        for measure in ("hit", "near", "auc", "inside", "iou"):
            line[f"{name} {measure}"] = float(np.nanmean([part[measure] for part in parts]))
    line["in head"] = float(heat[shows][head[shows]].sum() / heat[shows].sum()) if heat[shows].any() else np.nan
    thickness = slice_thickness_mm(case.anatomy.slice_position_mm)
    voxel_ml = thickness * case.anatomy.spacing_mm[1] * case.anatomy.spacing_mm[2] / 1000
    line["true ml"] = float((case.truth.sum(axis=(1, 2)) * voxel_ml).sum())
    alone = case.dense > 0.5
    line["density dice"] = _dice(alone, case.truth)
    found = [finding for finding in case.explanation.findings if finding.label == SUBTYPES[case.label]]
    if not found:
        line["dice"] = 0.0
        return line
    finding = found[0]
    line["dice"] = _dice(case.explanation.masks[finding.label], case.truth)
    line["ml"] = finding.volume_ml
    line["covered"] = float(finding.volume_low_ml <= line["true ml"] <= finding.volume_high_ml)
    line["width"] = finding.volume_high_ml / max(finding.volume_low_ml, 1e-3)
    true_side = side_of(case.truth, case.anatomy, left_is_right=True, weight=thickness)
    line["side"] = float(finding.side == true_side)
    line["first error mm"] = abs(finding.first_mm - float(case.anatomy.slice_position_mm[shows[0]]))
    line["last error mm"] = abs(finding.last_mm - float(case.anatomy.slice_position_mm[shows[-1]]))
    return line


def score_slice(volume: Any, truth: Any, head: Any, pixel_mm: float) -> dict[str, float]:
    """Compare one slice's map with the bleed on it: pointing, ranking and overlap."""
    if volume.max() <= 0:
        return {"hit": 0.0, "near": 0.0, "auc": 0.5, "inside": 0.0, "iou": 0.0}
    peaks = np.argwhere(volume == volume.max())  # an even map points everywhere alike
    distance = cv2.distanceTransform((~truth).astype(np.uint8), cv2.DIST_L2, 5) * pixel_mm
    far = distance[peaks[:, 0], peaks[:, 1]]
    hot = volume >= 0.5 * volume.max()
    inside = head & truth
    order = rankdata(volume[head])
    n_in, n_out = int(inside.sum()), int((head & ~truth).sum())
    ranked = (order[truth[head]].sum() - n_in * (n_in + 1) / 2) / (n_in * n_out) if n_in and n_out else np.nan
    return {
        "hit": float((far == 0).mean()),
        "near": float((far <= NEAR_MM).mean()),
        "auc": float(ranked),
        "inside": float(volume[truth].sum() / volume.sum()),
        "iou": float((hot & truth).sum() / (hot | truth).sum()),
    }


def _centre(head: Any, anatomy: Anatomy) -> Any:
    """Return a map that is highest in the middle of the head on each slice."""
    result = np.zeros(head.shape, np.float32)
    for index in np.flatnonzero(head.any(axis=(1, 2))):
        rows, columns = np.nonzero(head[index])
        y, x = np.ogrid[: head.shape[1], : head.shape[2]]
        square = ((y - rows.mean()) ** 2 + (x - columns.mean()) ** 2) * anatomy.spacing_mm[1] ** 2
        result[index] = np.exp(-square / (2 * 30.0**2))
    return result


def _dice(a: Any, b: Any) -> float:
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))


def real_series(store: StudyStore, network: Network, n: int) -> Iterator[tuple[Explanation, Any, Any]]:
    """Explain real positives by the fold that never saw them: explanation, labels (n, 6), HU."""
    counts = store.slices.groupby("series_id", sort=False)["any"].sum()
    found = list_series([store.root], size=network.size, crop=network.crop)
    by_id = {series.series_id: series for series in found.series}
    for row in [row for row in store.series.itertuples() if counts[row.series_id] > 0][:n]:
        read = read_pixels(by_id[row.series_id], crop=network.crop, size=network.size)
        of_series = store.slices["series_id"] == row.series_id
        labels = store.slices.loc[of_series, list(LABELS)].to_numpy(dtype=float, na_value=np.nan)
        explanation = explained(one_fold(network, int(row.fold)), read, "any")
        yield explanation, labels, read.hu


def score_real(explanation: Explanation, labels: Any, hu: Any) -> dict[str, float]:
    """Say where a real positive's heat of `any` is: inside the head, and on the slices that bleed."""
    heat = explanation.heat[:, ANY_INDEX].astype(np.float32)
    position = explanation.slice_position_mm
    gap = float(np.median(np.diff(position)))
    spacing = (gap, explanation.pixel_mm, explanation.pixel_mm)
    head = find_anatomy(hu, spacing, slice_position_mm=position).depth > 0
    bleeds = labels[:, ANY_INDEX] == 1
    total = float(heat.sum())
    on = heat[bleeds]
    return {
        "seen": float(on.max() > 0),
        "in head": float(on[head[bleeds]].sum() / on.sum()) if on.any() else np.nan,
        "head": float(head[bleeds].mean()),
        "on positive": float(on.sum() / total) if total else np.nan,
        "positive": float(bleeds.mean()),
    }


def print_table(title: str, lines: list[dict[str, float]]) -> None:
    """Print a table: a column a label and one of all."""
    print(f"\n{title}: {len(lines)} bleeds, one a scan")
    if not lines:
        return
    groups = {name: [line for line in lines if line["label"] == number] for number, name in enumerate(SUBTYPES)}
    groups["all"] = lines
    print(f"{'':34s}" + "".join(f"{name[:12]:>13s}" for name in groups))
    print(f"{'bleeds':34s}" + "".join(f"{len(group):13d}" for group in groups.values()))
    for measure in MEASURES:
        values = []
        for group in groups.values():
            known = [line[measure] for line in group if measure in line and np.isfinite(line[measure])]
            values.append(f"{np.mean(known):13.2f}" if known else f"{'':13s}")
        print(f"{measure:34s}" + "".join(values))
    for name, share in (("volume, median of ours / true", 50), ("  10th percentile", 10), ("  90th percentile", 90)):
        values = []
        for group in groups.values():
            ratio = [line["ml"] / line["true ml"] for line in group if "ml" in line]
            values.append(f"{np.percentile(ratio, share):13.2f}" if ratio else f"{'':13s}")
        print(f"{name:34s}" + "".join(values))


MEASURES = (
    "seen", "warm", "heat hit", "centre hit", "even hit", "density hit", "heat near", "centre near", "even near",
    "density near", "heat auc", "centre auc", "even auc", "density auc", "heat inside", "centre inside",
    "even inside", "density inside", "heat iou", "centre iou", "even iou", "density iou", "in head", "dice",
    "density dice", "side", "first error mm", "last error mm", "true ml", "ml", "covered", "width",
)  # fmt: skip


def print_real(lines: list[dict[str, float]]) -> None:
    """Print what real positives give."""
    if not lines:
        return
    mean = {name: float(np.nanmean([line[name] for line in lines])) for name in lines[0]}
    print(f"\nreal positives: {len(lines)} series, heat of `any` on their positive slices")
    print(f"  heat in {mean['seen']:.0%} of them; share of heat inside the skull {mean['in head']:.2f}")
    print(f"  (of the picture's area {mean['head']:.2f})")
    print(f"  share of a series' heat on its positive slices {mean['on positive']:.2f}")
    print(f"  (of its slices {mean['positive']:.2f})")


if __name__ == "__main__":
    main()
