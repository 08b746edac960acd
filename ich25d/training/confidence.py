"""How sure a model may be of a scan: what it looks like beside the training scans, and how clear its answer is.

Three states. `not_for_this_model`: no head, or a scan far from all that the model was trained on. `unsure`: a scan that
differs from those, or an answer that the next network or view might turn round; somebody should look. `sure`: neither.
Ranges and limits are chosen on scans that weren't trained on, and stand in `model.json` under `confidence`.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ich25d.bleeds.scan_measures import MEASURES, Measure
from ich25d.errors import ModelError
from ich25d.labels import LABELS
from ich25d.training.model_file import read_kind
from ich25d.training.operating_point import OperatingPoint

CONFIDENCE = "confidence"
"""Its key in `model.json`."""

SURE, UNSURE, NOT_FOR = "sure", "unsure", "not_for_this_model"
WORDS = {SURE: "sure", UNSURE: "unsure: look", NOT_FOR: "not for this model"}
"""The states, in words for people."""
STATES = tuple(WORDS)
SENTENCES = {
    SURE: "The scan looks like the training scans, and the answer is clear.",
    UNSURE: "Somebody should look: ",
    NOT_FOR: "The model can't be trusted on this scan: ",
}
"""What a state means; reasons follow."""

NO_HEAD = ("NOT_HEAD?", "NO_HEAD_BOX")
"""Remarks with which a scan is not for a model that wasn't trained on such."""
TO_LOOK_AT = (
    "ONE_SLICE", "NO_ORDER", "CONTRAST_TAG", "CONTRAST?", "ACCEPTED", "SATURATED", "NO_NEG_HU", "HU_ODD", "NOT_HU",
    "RESCALE_GUESS",
)  # fmt: skip
"""Remarks with which somebody should look, unless they are common in the training scans."""
COMMON = 0.05
"""From this share of the training scans on a remark says nothing."""

USUAL = (0.05, 0.95)
"""Quantiles of the training scans between which a number is usual: 1 unit away from the median."""
USUALLY_LIKE = 0.975
"""Share of held-out scans whose distance the limit of the unusual is not below."""
ELSEWHERE = 1.2
"""Factor on it: scanners and kernels of other hospitals differ more than those of one do."""
FARTHER = 2.0
"""Distance of what is not for the model, in limits."""
NOT_CLEAR = 0.2
"""Share of held-out scans, those with the least clear answers, that the limit of clearness calls unsure."""
LEAST_SCANS = 20
"""With fewer held-out scans nothing is chosen: a quantile would be that of one scan."""

_FARTHEST = 1e-6  # probabilities are kept so far from 0 and 1

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual of one number: median and the quantiles of `USUAL`, as the scans have it."""

    low: float
    middle: float
    high: float

    def units(self, value: float, measure: Measure) -> float:
        """Return how far a value lies from the median: 1 at the ends of the usual, 0 on a side that tells nothing."""
        low, middle, high = (_scaled(end, measure) for end in (self.low, self.middle, self.high))
        off = _scaled(value, measure) - middle
        if (off < 0 and measure.sides == "high") or (off > 0 and measure.sides == "low"):
            return 0.0
        return abs(off) / max(high - middle if off > 0 else middle - low, measure.least, 1e-9)


class Judgement(NamedTuple):
    """What may be thought of one prediction."""

    state: str
    """One of `STATES`; empty where the model has nothing to judge by."""
    reasons: tuple[str, ...] = ()
    """Why not `sure`, for people."""
    clearness: float = float("nan")
    """Of the answer, in logits (`clearness_of`)."""

    @property
    def text(self) -> str:
        """What the state means and why; empty without a state."""
        return SENTENCES.get(self.state, "") + (f"{'; '.join(self.reasons)}." if self.reasons else "")


NOT_JUDGED = Judgement("")
"""By a model that has nothing to judge by."""


@dataclass(frozen=True, slots=True)
class Confidence:
    """What a model judges scans by."""

    usual: Mapping[str, Usual]
    """By name of a measure."""
    limit: float
    """Units from which on a scan is unusual; `FARTHER` times that is not for the model."""
    clear: float
    """Least clearness of a sure answer, in logits."""
    common: tuple[str, ...] = ()
    """Remarks that are common in the training scans."""
    reached: Mapping[str, Any] | None = None
    """What it reached on the held-out scans: counts and shares."""

    def distance(self, measured: Floats) -> tuple[float, str]:
        """Return the largest distance of any number, in units, and its name; infinity where one can't be measured.

        Args:
            measured: From `measure_scan`, shape (8,).
        """
        farthest, of = 0.0, ""
        for (name, measure), value in zip(MEASURES.items(), measured.tolist(), strict=True):
            if name not in self.usual or (math.isnan(value) and measure.is_weak):
                continue
            units = math.inf if math.isnan(value) else self.usual[name].units(value, measure)
            units = min(units, self.limit) if measure.is_weak else units
            if units > farthest:
                farthest, of = units, name
        return farthest, of

    def judge(self, measured: Floats, codes: Collection[str], clearness: float) -> Judgement:
        """Judge one prediction.

        Args:
            measured: Numbers of the scan, from `measure_scan`, shape (8,).
            codes: Its remarks.
            clearness: Of its answer (`clearness_of`).
        """
        odd = [code for code in codes if code not in self.common]
        reasons = [code for code in NO_HEAD if code in odd]
        far, name = self.distance(measured)
        if far >= self.limit:
            reasons.append(self._told(name, float(measured[list(MEASURES).index(name)])))
        is_foreign = far >= FARTHER * self.limit or any(code in odd for code in NO_HEAD)
        reasons += [code for code in TO_LOOK_AT if code in odd]
        if clearness < self.clear:
            reasons.append("the answer is close to a threshold, or networks and views differ")
        return Judgement(NOT_FOR if is_foreign else UNSURE if reasons else SURE, tuple(reasons), clearness)

    def _told(self, name: str, value: float) -> str:
        low, high = (f"{end:.3g}" for end in (self.usual[name].low, self.usual[name].high))
        found = "can't be measured" if math.isnan(value) else f"{value:.3g}"
        return f"{MEASURES[name].meaning}: {found}, usually {low} to {high}"

    def to_dict(self) -> dict[str, Any]:
        """Return what `model.json` keeps."""
        return {
            "usual": {name: asdict(one) for name, one in self.usual.items()},
            "limit": self.limit, "clear": self.clear, "common": list(self.common), "reached": self.reached,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, content: Mapping[str, Any] | None) -> "Confidence | None":
        """Read what `to_dict` gave; None for a model without.

        Raises:
            ModelError: It's damaged.
        """
        if content is None:
            return None
        try:
            usual = {
                str(name): Usual(*(float(one[end]) for end in ("low", "middle", "high")))
                for name, one in content["usual"].items()
            }
            found = cls(
                usual, float(content["limit"]), float(content["clear"]),
                tuple(str(code) for code in content["common"]), content.get("reached"),
            )  # fmt: skip
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"a model's confidence must be whole (got {error!r}); train or fit it again") from error
        numbers = [
            found.limit,
            found.clear,
            *(end for one in usual.values() for end in (one.low, one.middle, one.high)),
        ]
        if not all(map(math.isfinite, numbers)) or found.limit <= 0:
            raise ModelError(f"a model's confidence must be finite numbers, limit above 0 (got {numbers})")
        return found


def read_confidence(model: Path) -> Confidence | None:
    """Return what a model directory judges scans by; None for one without.

    Raises:
        ModelError: It is damaged.
    """
    _, content = read_kind(model)
    return Confidence.from_dict(content.get(CONFIDENCE))


def clearness_of(point: OperatingPoint, probability: Floats, member_logit: Floats) -> float:
    """Return how clear an answer is: its distance from turning round, less its standard error, in logits.

    The error is that of a mean of so many networks and views, so that one network on a scan that it held out and all of
    them on a new one are measured alike.

    An answer turns round where the label that is farthest over its threshold, or nearest to it, crosses it. Of a point
    without thresholds every answer is clear.

    Args:
        point: The operating point that flags.
        probability: Of the series, shape (6,).
        member_logit: The same in logits, by each network in each view, shape (M, 6).
    """
    column = [number for number, label in enumerate(LABELS) if label in point.of_series]
    if not column:
        return math.inf
    threshold = _logit([point.of_series[LABELS[number]] for number in column])
    lead = float((_logit(probability)[column] - threshold).max())
    leads = (member_logit[:, column] - threshold).max(axis=1)
    error = float(leads.std(ddof=1)) / math.sqrt(len(leads)) if len(leads) > 1 else 0.0
    return abs(lead) - error


def fit_confidence(
    measured: Floats,
    fold: npt.NDArray[np.int64],
    clearness: Floats,
    wrong: Floats,
    common: Sequence[str],
) -> Confidence | None:
    """Choose ranges and limits on held-out scans.

    Args:
        measured: From `measure_scan`, shape (N, 8).
        fold: Which fold held a scan out, shape (N,): a scan's distance is measured from those of the other folds.
        clearness: Of their answers, shape (N,).
        wrong: 1 where the operating point flagged a scan without a bleed or spared one with, shape (N,); NaN where
            unknown.
        common: Remarks that are common in them.

    Returns:
        None with fewer than `LEAST_SCANS` scans.
    """
    if len(fold) < LEAST_SCANS:
        return None
    distance = np.zeros(len(fold))
    for number in np.unique(fold):
        own = fold == number
        others = Confidence(_usual_of(measured[~own] if not own.all() else measured), math.inf, 0.0)
        distance[own] = [others.distance(row)[0] for row in measured[own]]
    limit = max(1.0, ELSEWHERE * float(np.quantile(distance, USUALLY_LIKE, method="lower")))
    if not math.isfinite(limit):
        limit = max(1.0, ELSEWHERE * float(np.max(distance[np.isfinite(distance)], initial=1.0)))
    finite = clearness[np.isfinite(clearness)]
    clear = float(np.quantile(finite, NOT_CLEAR)) if len(finite) else -1e9
    is_sure = (distance < limit) & (clearness >= clear)
    known = ~np.isnan(wrong)
    reached = {
        "n": len(fold),
        "unusual": _share(distance >= limit),
        "far": _share(distance >= FARTHER * limit),
        "not_clear": _share(clearness < clear),
        "sure": _share(is_sure),
        "wrong": _share(wrong[known] == 1),
        "wrong_of_sure": _share(wrong[known & is_sure] == 1),
        "wrong_of_others": _share(wrong[known & ~is_sure] == 1),
    }
    return Confidence(_usual_of(measured), limit, clear, tuple(common), reached)


def _usual_of(measured: Floats) -> dict[str, Usual]:
    usual = {}
    for name, column in zip(MEASURES, measured.T, strict=True):
        values = column[np.isfinite(column)]
        if len(values):
            usual[name] = Usual(*(float(end) for end in np.quantile(values, (USUAL[0], 0.5, USUAL[1]))))
    return usual


def _scaled(value: float, measure: Measure) -> float:
    return math.log(max(value, 1e-6)) if measure.is_log else value


def _share(chosen: npt.NDArray[np.bool_]) -> float | None:
    return round(float(chosen.mean()), 4) if len(chosen) else None


def _logit(probability: npt.ArrayLike) -> Floats:
    clipped = np.clip(np.asarray(probability, dtype=np.float64), _FARTHEST, 1 - _FARTHEST)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))
