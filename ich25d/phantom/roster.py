"""Which studies to make: patients, splits, bleeds and kinds of file, balanced on purpose."""

import dataclasses
import hashlib

import numpy as np

from ich25d.bleeds.plan import COMPANIONS
from ich25d.labels import SUBTYPES
from ich25d.phantom.dicom import SIGNED_EXPLICIT, UNSIGNED_EXPLICIT, UNSIGNED_IMPLICIT, PixelFamily

POSITIVE_SHARE = 0.45
"""Share of studies that bleed; in the RSNA data about 41 % do."""

COMPANION_CHANCE = 0.25
"""Chance that a study has a second bleed."""

AGAIN_CHANCE = 0.12
"""Chance that a study is a second one of the patient before."""

WINDOWS = {True: ((30, 80), (40, 150), (40, 100)), False: ((36, 80), (40, 80), (40, 80), (100, 600))}
"""Level and width in signed and in unsigned files of the RSNA data."""


@dataclasses.dataclass(frozen=True, slots=True)
class StudyOrder:
    """One study to make.

    Args:
        index: Rank of the study.
        seed: Of the whole set.
        patient: Rank of the patient; studies of one patient show one head.
        split: `stage_2_train` or `stage_2_test`.
        bleeds: Subtypes to paint; empty for none.
        family: How its files keep their pixels.
        window: Level and width in its files.
        size: Rows and columns.
    """

    index: int
    seed: int
    patient: int
    split: str
    bleeds: tuple[str, ...]
    family: PixelFamily
    window: tuple[int, int]
    size: int

    def identifier(self, kind: str, digits: int, rank: int = 0) -> str:
        """Return an id as the RSNA data has them: `ID_` and hexadecimal digits.

        Args:
            kind: `patient`, `study`, `series` or `image`.
            digits: 8, 10, 10 or 9 of them.
            rank: Of the image in its series.
        """
        owner = self.patient if kind == "patient" else self.index
        text = f"ich25d-phantom/{self.seed}/{kind}/{owner}/{rank}"
        return "ID_" + hashlib.sha256(text.encode()).hexdigest()[:digits]


def _kinds(rng: np.random.Generator, n: int) -> list[tuple[str, ...]]:
    """Draw the bleeds of `n` positive studies: each subtype first in turn, sometimes with a second one."""
    result: list[tuple[str, ...]] = []
    while len(result) < n:
        for kind in rng.permutation(SUBTYPES):
            second = str(rng.choice(COMPANIONS[str(kind)]))
            alone = rng.random() > COMPANION_CHANCE or second == kind
            result.append((str(kind),) if alone else (str(kind), second))
    return result[:n]


def _families(rng: np.random.Generator, n: int) -> list[PixelFamily]:
    """Draw file families: about half signed, as in the RSNA data; one unsigned file in five starts at -1000."""
    cycle = (SIGNED_EXPLICIT, UNSIGNED_IMPLICIT, SIGNED_EXPLICIT, UNSIGNED_EXPLICIT)
    result = [cycle[k % len(cycle)] for k in range(n)]
    for k, family in enumerate(result):
        if family is UNSIGNED_EXPLICIT and rng.random() < 0.2:
            result[k] = dataclasses.replace(family, intercept=-1000)
    return [result[k] for k in rng.permutation(n)]


def plan_studies(n_studies: int, *, seed: int, size: int, test_share: float) -> list[StudyOrder]:
    """Plan all studies of a set.

    Every subtype is in the training part as soon as 5 of its studies are positive; both studies of a patient are in
    one part.

    Args:
        n_studies: How many.
        seed: Draws everything.
        size: Rows and columns.
        test_share: Share of studies in the test part.

    Returns:
        The studies, those for training first.
    """
    rng = np.random.default_rng([seed, 0])
    n_positive = round(POSITIVE_SHARE * n_studies)
    n_test = min(round(test_share * n_studies), n_studies - 1)
    n_test_positive = min(round(POSITIVE_SHARE * n_test), max(n_positive - len(SUBTYPES), n_positive // 3))
    positive = _kinds(rng, n_positive)
    negative: list[tuple[str, ...]] = [()] * (n_studies - n_positive)
    cut = n_positive - n_test_positive
    n_test_negative = n_test - n_test_positive
    parts = {
        "stage_2_train": positive[:cut] + negative[n_test_negative:],
        "stage_2_test": positive[cut:] + negative[:n_test_negative],
    }
    families = _families(rng, n_studies)
    orders: list[StudyOrder] = []
    patient = -1
    for split, bleeds in parts.items():
        for rank, kind in enumerate(rng.permutation(len(bleeds))):
            patient += 1 if rank == 0 or rng.random() >= AGAIN_CHANCE else 0
            family = families[len(orders)]
            choices = WINDOWS[family.is_signed]
            window = choices[int(rng.integers(len(choices)))]
            orders.append(StudyOrder(len(orders), seed, patient, split, bleeds[int(kind)], family, window, size))
    return orders
