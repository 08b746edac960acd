"""Explanation of a series from Python: heat maps, and what is found where.

`explain_series` takes arrays, `explain_read` a series that `ich25d.predict` read; `load_model(run).explain(path)` takes
whatever `predict` takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ich25d.bleeds.anatomy import Anatomy, find_anatomy
from ich25d.errors import UsageError
from ich25d.explain.finding import Finding
from ich25d.explain.heat import series_heat, slice_weight
from ich25d.explain.lesion import Lesion, density, find_lesion
from ich25d.explain.size import SURE, describe
from ich25d.labels import LABELS
from ich25d.predict.finished_series import FinishedSeries
from ich25d.predict.network import Network
from ich25d.predict.series import SeriesPixels
from ich25d.slabs.painting import store_spacing_mm
from ich25d.training.operating_point import OperatingPoint, find_thresholds, read_points

HEAT_RULE = "f1"
"""Rule whose thresholds of slices the heat is scaled to. It isn't the operating point's, which decides what is found:
that one is chosen to miss little, so that many a clean slice lies over it (with .95 of the bleeds caught from .01 on,
nearly all of a scan would glow), while the balanced threshold is where a slice's odds turn. All that was measured of
heat, drawing and interval was measured with it."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Where the model sees what in one series of n slices, h x w px as the model sees them."""

    heat: npt.NDArray[np.float16]
    """Shape (n, 6, h, w), 0 to 1, labels in the order of `LABELS`; 0 for labels that weren't asked for. A slice's
    hottest px is at most its odds' share against the threshold of `heat_rule`: 0.5 there, near 1 far above."""
    findings: tuple[Finding, ...]
    """One a label whose heat was wanted and isn't cold everywhere, in the order of `LABELS`."""
    masks: dict[str, npt.NDArray[np.bool_]]
    """By label of a finding: the voxels taken for the bleed, shape (n, h, w)."""
    probability: Floats
    """Shape (n, 6), final."""
    encoder_probability: Floats
    """Shape (n, 6)."""
    series_probability: Floats
    """Shape (6,)."""
    pixel_mm: float
    """Side of a px; estimated from the head's width where the files don't say."""
    slice_position_mm: Floats
    """Shape (n,), mm; NaN where unknown."""
    point: OperatingPoint
    """Its rule's name and thresholds: what reaches it counts as found."""
    heat_rule: str = HEAT_RULE
    """Rule of the thresholds that the heat is scaled to."""
    series_id: str = ""
    image_ids: tuple[str, ...] = ()


def explain_read(
    network: Network,
    pixels: SeriesPixels,
    finished: FinishedSeries | None = None,
    *,
    labels: Sequence[str] | None = None,
    point: OperatingPoint | None = None,
) -> Explanation:
    """Explain a series that was read, and perhaps predicted; otherwise as `explain_series`."""
    known = None
    if finished is not None:
        known = (finished.encoder_probability, finished.probability, finished.series_probability)
    return explain_series(
        network,
        pixels.hu,
        pixels.slice_position_mm,
        window=pixels.window,
        pixel_mm=pixels.pixel_mm,
        orientation=pixels.orientation,
        labels=labels,
        probabilities=known,
        point=point,
    )


def explain_series(
    network: Network,
    hu: npt.NDArray[np.int16],
    slice_position_mm: npt.ArrayLike,
    *,
    window: npt.NDArray[np.float32] | None = None,
    pixel_mm: float | None = None,
    orientation: str = "",
    labels: Sequence[str] | None = None,
    probabilities: tuple[Floats, Floats, Floats] | None = None,
    point: OperatingPoint | None = None,
) -> Explanation:
    """Explain one series: heat maps of its labels, and what is found where.

    Args:
        network: The model, `load_network(folder, device)` (of a `Model`, `model.network`).
        hu: Shape (n, size, size), int16, in scan order, cropped and scaled as the model's own store.
        slice_position_mm: Shape (n,), mm; NaN where unknown: 5 mm apart is assumed.
        window: The files' own level and width, shape (n, 2); NaN or None where they name none.
        pixel_mm: Side of a px of `hu`; None estimates it from the head's width.
        orientation: Where rows and columns run in the patient, as `LP`; empty where unknown: the usual display is
            assumed, the patient's right on the left.
        labels: Whose heat and finding is wanted; None is those that reach the operating point as a series.
        probabilities: Encoder's (n, 6), final (n, 6), series' (6,), where they are known; None predicts.
        point: The operating point; None is the model's default, `read_points`.

    Raises:
        UsageError: Unknown labels, or arrays whose shapes don't fit.
        ModelError: The model's thresholds can't be read.
    """
    position = np.asarray(slice_position_mm, dtype=np.float64)
    if hu.ndim != 3 or len(hu) == 0 or position.shape != (len(hu),):
        raise UsageError(
            f"a series must be HU of shape (n, size, size) and n positions (got {hu.shape}, {position.shape})"
        )
    if unknown := sorted(set(labels or ()) - set(LABELS)):
        raise UsageError(f"labels must be of {', '.join(LABELS)} (got {', '.join(unknown)})")
    if probabilities is None:
        predicted = network.predict(hu, position, window)
        probabilities = (predicted.encoder_probability, predicted.probability, predicted.series_probability)
    encoder_probability, probability, series_probability = probabilities
    if point is None:
        point = read_points(network.folder)[0]
    named = point.over(series_probability) if labels is None else labels
    wanted = [number for number, label in enumerate(LABELS) if label in named]
    weight = slice_weight(probability, heat_thresholds(network))
    heat = series_heat(network, hu, position, window, weight, labels=wanted)
    placed, assumed = _placed(position, pixel_mm, orientation)
    spacing = store_spacing_mm(hu, _gap(placed), float("nan") if pixel_mm is None else pixel_mm, 1.0)
    findings: list[Finding] = []
    masks: dict[str, npt.NDArray[np.bool_]] = {}
    if heat.any():
        anatomy: Anatomy = find_anatomy(hu, spacing, slice_position_mm=placed)
        dense = density(hu, anatomy)
        for label in wanted:
            lesion: Lesion = find_lesion(heat[:, label], dense, anatomy)
            if not lesion.mask.any():
                continue
            findings.append(
                describe(
                    LABELS[label], float(series_probability[label]), lesion, anatomy,
                    left_is_right=orientation[:1] != "R",
                    is_sure=float(heat[:, label].max()) >= SURE, assumed=assumed,
                )
            )  # fmt: skip
            masks[LABELS[label]] = lesion.mask
    return Explanation(
        heat=heat,
        findings=tuple(findings),
        masks=masks,
        probability=probability,
        encoder_probability=encoder_probability,
        series_probability=series_probability,
        pixel_mm=spacing[2],
        slice_position_mm=position,
        point=point,
    )


def heat_thresholds(network: Network) -> Floats:
    """Return the thresholds of slices that the heat is scaled to, shape (6,).

    A label without one (it had no positive on validation) gets even odds, or ten times its prior where that is less.
    """
    by_label = find_thresholds(network.folder).get("slice", {}).get(HEAT_RULE, {})
    spare = np.minimum(0.5, 10 * network.prior)
    return np.array([by_label.get(label, spare[number]) for number, label in enumerate(LABELS)])


def _placed(position: Floats, pixel_mm: float | None, orientation: str) -> tuple[Floats, tuple[str, ...]]:
    """Return usable positions, and what had to be assumed."""
    known = bool(np.isfinite(position).all())
    assumed = [
        name
        for name, is_known in (
            ("pixel size", pixel_mm is not None),
            ("slice positions", known),
            ("orientation", bool(orientation)),
        )
        if not is_known
    ]
    return (position if known else np.arange(len(position), dtype=np.float64) * 5.0), tuple(assumed)


def _gap(position: Floats) -> float:
    gaps = np.diff(position)
    positive = gaps[gaps > 0]
    return float(np.median(positive)) if len(positive) else 5.0
