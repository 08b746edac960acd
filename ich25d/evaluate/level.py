"""One level of an evaluation: cases (slices, series or studies) with truth, probabilities and patients."""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, fields

import numpy as np
import numpy.typing as npt

from ich25d.evaluate.scores import LevelScores, score_level
from ich25d.training.intervals import REPLICATES, patient_weights
from ich25d.training.operating_point import Thresholds

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """Cases of one level, slices or series or studies: what is true of them beside what is predicted."""

    name: str
    """`slices`, `series` or `studies`."""
    case_id: npt.NDArray[np.object_]
    """Image, series or study, shape (N,)."""
    target: Floats
    """Shape (N, 6), NaN where unknown."""
    probability: Floats
    """Shape (N, 6)."""
    patient: npt.NDArray[np.object_]
    """What is resampled together, shape (N,): the patient, or what stands in for it."""
    series_id: npt.NDArray[np.object_] | None = None
    """Series of each case, shape (N,); None where no table names it."""


@dataclass(frozen=True, slots=True, eq=False)
class Level(Cases):
    """Cases, and the scores measured on them."""

    _: KW_ONLY
    resampled: str
    """What `patient` holds: patient, series, image or study."""
    thresholds: Thresholds
    """By rule and label, of a model that chose them on validation; empty without one."""
    scores: LevelScores
    replicates: int
    """Resamplings behind every interval of this level: fewer where cases are many."""
    seed: int

    def of_label(self, column: int) -> "LabelCases":
        """Return the cases of which one label is known."""
        known = ~np.isnan(self.target[:, column])
        _, code = np.unique(self.patient[known].astype(str), return_inverse=True)
        positive, probability = self.target[known, column] == 1, self.probability[known, column]
        return LabelCases(positive, probability, code.astype(np.int64), self.replicates, self.seed)


def make_level(
    cases: Cases,
    *,
    resampled: str = "patient",
    thresholds: Thresholds | None = None,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Level:
    """Score cases.

    Args:
        cases: The cases.
        resampled: What `cases.patient` holds: patient, series, image or study.
        thresholds: By rule and label, chosen on validation.
        replicates: Number of resamplings; `replicates_for` so many cases may draw fewer.
        seed: Seed of the draws.
    """
    thresholds = thresholds or {}
    scores = score_level(
        cases.target, cases.probability, cases.patient, thresholds, replicates=replicates, seed=seed
    )  # fmt: skip
    known = {field.name: getattr(cases, field.name) for field in fields(Cases)}
    return Level(
        **known, resampled=resampled, thresholds=thresholds, scores=scores, replicates=scores.replicates, seed=seed
    )


@dataclass(frozen=True, slots=True, eq=False)
class LabelCases:
    """The cases of which one label is known."""

    positive: npt.NDArray[np.bool_]
    """Shape (N,)."""
    probability: Floats
    """Shape (N,)."""
    code: npt.NDArray[np.int64]
    """Number of the patient, from 0, shape (N,)."""
    replicates: int
    seed: int

    @property
    def n_patients(self) -> int:
        """Number of patients."""
        return int(self.code.max()) + 1 if len(self.code) else 0

    def weights(self) -> Iterator[Floats]:
        """Yield how often each patient is drawn, (r, P) at a time; first of all one row of ones."""
        yield np.ones((1, self.n_patients))
        yield from patient_weights(np.arange(self.n_patients), replicates=self.replicates, seed=self.seed)

    def called_at(self, thresholds: Floats) -> tuple[Floats, Floats]:
        """Count positives and negatives of each patient at or above each threshold, both of shape (P, G).

        Args:
            thresholds: Rising, shape (G,).
        """
        size = len(thresholds) + 1
        place = np.searchsorted(thresholds, self.probability, side="right")
        found = []
        for chosen in (self.positive, ~self.positive):
            at = np.bincount(self.code[chosen] * size + place[chosen], minlength=self.n_patients * size)
            by_patient = at.reshape(self.n_patients, size).astype(np.float64)
            # A case is called by every threshold that isn't above it.
            found.append(by_patient[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:])
        return found[0], found[1]

    def totals(self) -> tuple[Floats, Floats]:
        """Count positives and negatives of each patient, shape (P,) each."""
        n = self.n_patients
        positive = np.bincount(self.code[self.positive], minlength=n).astype(np.float64)
        return positive, np.bincount(self.code[~self.positive], minlength=n).astype(np.float64)
