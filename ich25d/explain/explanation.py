"""The explanation of one predicted series: heat maps, and what is found where.

`load_model(run).explain(path)` explains whatever `predict` takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ich25d.bleeds.anatomy import find_anatomy
from ich25d.errors import UsageError
from ich25d.explain.finding import LAYER_CAM, PIXEL_HEAD, SURE, Finding, density, describe, find_lesion, usual_gap_mm
from ich25d.explain.heat import series_heat, sharpened, slice_weight
from ich25d.labels import LABELS
from ich25d.predict.finished_series import FinishedSeries
from ich25d.predict.network import Network
from ich25d.predict.series import SeriesPixels
from ich25d.slabs.spacing import store_spacing_mm
from ich25d.training.operating_point import OperatingPoint

HEAT_RULE = "f1"
"""Rule whose thresholds of slices the heat is scaled to. The operating point won't do: it is chosen to miss little, so
that many clean slices lie over it (at .95 sensitivity nearly all of a scan would glow), while the balanced threshold is
where a slice's odds turn. Heat, drawing and interval were measured with this one."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """What the model sees where in one series of n slices of h x w px."""

    heat: npt.NDArray[np.float16]
    """Shape (n, 6, h, w), 0 to 1, labels in the order of `LABELS`; 0 for labels that weren't wanted. A slice's hottest
    px is at most a number that depends on its odds against the threshold of `heat_rule`: 0.5 at the threshold, towards
    1 far above."""
    findings: tuple[Finding, ...]
    """One a wanted label that has heat anywhere, in the order of `LABELS`."""
    masks: dict[str, npt.NDArray[np.bool_]]
    """By label of a finding: the voxels drawn as the bleed, shape (n, h, w)."""
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
    """Decides which labels count as found."""
    heat_rule: str = HEAT_RULE
    """Rule of the thresholds that the heat is scaled to."""
    series_id: str = ""
    image_ids: tuple[str, ...] = ()


def explain_series(
    network: Network,
    pixels: SeriesPixels,
    finished: FinishedSeries,
    *,
    labels: Sequence[str] | None = None,
    point: OperatingPoint | None = None,
) -> Explanation:
    """Explain one series: heat maps of its labels, and what is found where.

    Args:
        network: The model.
        pixels: The series, n slices. Where its positions are unknown, 5 mm between slices are assumed; where its
            orientation is, the usual display, with the patient's right on the left.
        finished: Its probabilities (`predict_pixels`).
        labels: Labels that get heat and a finding; None is those that reach the operating point as a series.
        point: The operating point; None is the model's default, `read_points`.

    Raises:
        UsageError: Unknown labels.
        ModelError: The model's thresholds can't be read.
    """
    if unknown := sorted(set(labels or ()) - set(LABELS)):
        raise UsageError(f"labels must be of {', '.join(LABELS)} (got {', '.join(unknown)})")
    hu, position, pixel_mm = pixels.hu, pixels.slice_position_mm, pixels.pixel_mm
    point = point or network.point
    wanted = point.over(finished.series_probability) if labels is None else labels
    numbers = [number for number, label in enumerate(LABELS) if label in wanted]
    weight = slice_weight(finished.probability, heat_thresholds(network))
    heat = series_heat(network, pixels, weight, labels=numbers, maps=finished.pixel)
    known = {
        "pixel size": pixel_mm is not None,
        "slice positions": bool(np.isfinite(position).all()),
        "orientation": bool(pixels.orientation),
    }
    assumed = tuple(name for name, is_known in known.items() if not is_known)
    placed = position if known["slice positions"] else np.arange(len(position), dtype=np.float64) * 5.0
    spacing = store_spacing_mm(hu, usual_gap_mm(placed), float("nan") if pixel_mm is None else pixel_mm, 1.0)
    findings: list[Finding] = []
    masks: dict[str, npt.NDArray[np.bool_]] = {}
    if heat.any():
        anatomy = find_anatomy(hu, spacing, slice_position_mm=placed)
        dense = density(hu, anatomy)
        drawing = LAYER_CAM if finished.pixel is None else PIXEL_HEAD
        for number in numbers:
            lesion = find_lesion(heat[:, number], dense, anatomy, drawing)
            if lesion.mask.any():
                masks[LABELS[number]] = lesion.mask
                findings.append(describe(
                    LABELS[number], float(finished.series_probability[number]), lesion, anatomy,
                    left_is_right=pixels.orientation[:1] != "R", is_sure=float(heat[:, number].max()) >= SURE,
                    assumed=assumed, drawing=drawing,
                ))  # fmt: skip
        if finished.pixel is not None:
            heat[:, numbers] = sharpened(heat[:, numbers], dense)
    return Explanation(
        heat=heat, findings=tuple(findings), masks=masks, probability=finished.probability,
        encoder_probability=finished.encoder_probability, series_probability=finished.series_probability,
        pixel_mm=spacing[2], slice_position_mm=position, point=point, image_ids=finished.image_ids,
    )  # fmt: skip


def heat_thresholds(network: Network) -> Floats:
    """Return the thresholds of slices that the heat is scaled to, shape (6,).

    A label without one (it had no positive on validation) gets even odds, or ten times its prior where that is less.
    """
    by_label = next((point.of_slice for point in network.points if point.rule == HEAT_RULE), {})
    spare = np.minimum(0.5, 10 * network.prior)
    return np.array([by_label.get(label, spare[number]) for number, label in enumerate(LABELS)])
