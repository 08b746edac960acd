"""The shortcut: how well the header alone predicts the labels. A network may learn the scanner instead of blood."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import xlogy
from scipy.stats import chi2_contingency

from ich25d.labels import LABELS
from ich25d.training.intervals import wilson_interval

LOOKED_AT: dict[str, str] = {
    "pixel_family": "pixel family (bits, sign, intercept)",
    "matrix": "rows x columns",
    "window": "window tags",
    "transfer_syntax": "transfer syntax",
    "padding": "pixel padding value",
    "kernel": "kernel",
    "orientation": "orientation",
    "tilt": "gantry tilt, 2-degree steps",
    "spacing": "pixel spacing, quarters",
    "gap": "gap of slices, mm",
    "length": "slices a series, quarters",
}
"""Attributes that a network could read off instead of blood."""

LEAST_SERIES = 30
"""Groups of fewer series say nothing about a rate."""

LEAST_FALL = 0.02
"""From this relative fall of the log loss on, an attribute is named as a shortcut."""

PRIOR_SERIES = 5.0
"""Series of the overall rate that each group starts with, which keeps the rates of rare groups near it."""

N_PARTS = 5
_SURE = 0.001


class Predictor(NamedTuple):
    """How well one attribute alone predicts `any` of a series."""

    attribute: str
    n_groups: int
    n_series: int
    base: float
    """Log loss of the overall rate."""
    loss: float
    """Log loss of the rate of the series' group, learned on other patients."""
    p: float
    """Of the chi-square test that all groups have one rate; NaN with one group."""

    @property
    def fall(self) -> float:
        """Relative fall of the log loss."""
        return 1 - self.loss / self.base if self.base > 0 else 0.0


class Family(NamedTuple):
    """Label rates of the series of one pixel family."""

    name: str
    n_series: int
    n_slices: int
    """Labelled slices."""
    slice_rates: list[float | None]
    """Share of positive slices by label."""
    rate: float
    """Share of series with `any`; NaN where none is labelled, as the ends of its interval."""
    low: float
    high: float


class Shortcut(NamedTuple):
    """What the header tells of the labels."""

    families: list[Family]
    """The largest first."""
    predictors: list[Predictor]
    """The best first."""
    warnings: list[str]


def find_shortcut(
    table: pd.DataFrame, positive: pd.DataFrame, labelled: pd.DataFrame, patient: "pd.Series[Any]"
) -> Shortcut:
    """Look for what predicts the label and isn't blood.

    Args:
        table: What `attribute_table` gives.
        positive: A row a series, a column a label: has a positive slice; NaN where no slice is labelled.
        labelled: A row a labelled slice: `series_id` and the six labels.
        patient: Patient of each series, or what stands in, indexed by `series_id`.
    """
    families = _families(table["pixel_family"], positive["any"], labelled)
    predictors = find_predictors(table, positive["any"], patient)
    return Shortcut(families, predictors, _warnings(predictors, families))


def _families(family_of: "pd.Series[Any]", any_positive: "pd.Series[Any]", slices: pd.DataFrame) -> list[Family]:
    found = []
    of_slice = slices["series_id"].map(family_of)
    for name, n_series in family_of.value_counts().items():
        own = slices[of_slice == name]
        labelled = any_positive.reindex(family_of.index[family_of == name]).dropna()
        n_hit, n = float(labelled.sum()), len(labelled)
        rates = [float(own[label].mean()) if own[label].notna().any() else None for label in LABELS]
        rate = n_hit / n if n else float("nan")
        found.append(Family(str(name), int(n_series), len(own), rates, rate, *wilson_interval(n_hit, n)))
    return found


def find_predictors(table: pd.DataFrame, any_positive: "pd.Series[Any]", patient: "pd.Series[Any]") -> list[Predictor]:
    """Measure how well each attribute alone predicts which series bleed, on patients that it wasn't learned from.

    Args:
        table: What `attribute_table` gives.
        any_positive: Of each labelled series, indexed by `series_id`.
        patient: Patient of each series, indexed by `series_id`.

    Returns:
        The attributes with more than one group, the best predictor first.
    """
    known = any_positive.dropna()
    known = known[known.index.isin(table.index)]
    if len(known) < 2 * LEAST_SERIES or known.nunique() < 2:
        return []
    target = known.to_numpy(dtype=np.float64)
    part = pd.util.hash_array(patient.reindex(known.index).astype(str).to_numpy(dtype=object)) % np.uint64(N_PARTS)
    base = _loss(target, np.zeros(len(target), dtype=np.int64), part)
    found = []
    for attribute, groups in _groups(table.loc[known.index]).items():
        codes, names = pd.factorize(groups)
        if len(names) > 1:
            loss, p = _loss(target, codes.astype(np.int64), part), _chi_square(target, codes)
            found.append(Predictor(LOOKED_AT[attribute], len(names), len(target), base, loss, p))
    return sorted(found, key=lambda predictor: predictor.loss)


def _warnings(predictors: list[Predictor], families: list[Family]) -> list[str]:
    """Say in sentences what a reader must know before believing a network's score."""
    warnings = []
    large = [family for family in families if not np.isnan(family.rate) and family.n_series >= LEAST_SERIES]
    if len(large) > 1:
        least, most = min(large, key=lambda family: family.rate), max(large, key=lambda family: family.rate)
        if most.low > least.high:
            warnings.append(
                f"Pixel families bleed unequally often: {most.rate:.0%} of series of {most.name}, {least.rate:.0%} of "
                f"{least.name} (intervals apart). A network can learn the family from borders, noise and padding "
                "instead of blood: compare results by family, and crop to the head."
            )
    warnings += [
        f"The header alone tells which series bleed: {one.attribute} lowers the log loss of any from {one.base:.3f} "
        f"to {one.loss:.3f} ({one.fall:.0%}) on other patients."
        for one in predictors
        if one.fall >= LEAST_FALL and one.p < _SURE
    ]
    return warnings


def _groups(table: pd.DataFrame) -> dict[str, "pd.Series[Any]"]:
    groups: dict[str, pd.Series[Any]] = {}
    for name in ("pixel_family", "matrix", "window", "transfer_syntax", "padding", "kernel", "orientation"):
        if name in table:
            groups[name] = table[name].astype(str)
    groups["tilt"] = (table["tilt_deg"].abs().fillna(-2) // 2).astype(str)
    groups["gap"] = table["slice_spacing_mm"].round().fillna(-1).astype(str)
    for name, column in (("spacing", "pixel_spacing_mm"), ("length", "n_slices")):
        if table[column].nunique() > 1:
            groups[name] = pd.qcut(table[column], 4, labels=False, duplicates="drop").fillna(-1).astype(str)
    return groups


def _loss(target: npt.NDArray[np.float64], codes: npt.NDArray[np.int64], part: npt.NDArray[np.uint64]) -> float:
    """Return the log loss of each group's rate, learned on the other parts with the overall rate as prior."""
    n_groups = int(codes.max()) + 1
    probability = np.empty(len(target))
    for number in range(N_PARTS):
        here = part == number
        overall = float(target[~here].mean()) if (~here).any() else 0.5
        n = np.bincount(codes[~here], minlength=n_groups)
        hit = np.bincount(codes[~here], weights=target[~here], minlength=n_groups)
        rate = (hit + PRIOR_SERIES * overall) / (n + PRIOR_SERIES)
        probability[here] = np.clip(rate[codes[here]], 1e-6, 1 - 1e-6)
    return float(-(xlogy(target, probability) + xlogy(1 - target, 1 - probability)).mean())


def _chi_square(target: npt.NDArray[np.float64], codes: npt.NDArray[Any]) -> float:
    n = np.bincount(codes)
    hit = np.bincount(codes, weights=target)
    counts = np.stack([hit, n - hit])
    large = n >= 5
    counts = counts[:, large]
    if counts.shape[1] < 2 or (counts.sum(axis=1) == 0).any():
        return float("nan")
    return float(chi2_contingency(counts).pvalue)
