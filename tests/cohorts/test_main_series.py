"""The main series of a study: each rule decides where all earlier ones leave a tie, in whatever order they come."""

import dataclasses
import itertools

import numpy as np
import pytest

from ich25d.cohorts.main_series import choose_main, is_sharp
from ich25d.predict.series import plan_array
from ich25d.studies.series.series_plan import SeriesPlan


def _plan(name: str, *, n: int = 30, thickness: float | None = 5.0, kernel: str = "H31s", number: int | None = 2,
          traits: tuple[str, ...] = (), gap: float = 5.0) -> SeriesPlan:  # fmt: skip
    plan = plan_array(np.zeros((n, 2, 2), dtype=np.int16), gap * np.arange(n))
    return dataclasses.replace(
        plan, series_id=name, thickness_mm=thickness, kernel=kernel, series_number=number, traits=frozenset(traits)
    )


GOOD = _plan("1.2.9")


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (_plan("1.2.1", n=3), "fewer than 8 slices"),
        (_plan("1.2.1", traits=("contrast",)), "contrast, angiography or perfusion"),
        (_plan("1.2.1", traits=("derived",)), "derived, not original"),
        (_plan("1.2.1", kernel="H60f"), "a sharp kernel, for bone"),
        (_plan("1.2.1", kernel="", traits=("bone",)), "a sharp kernel, for bone"),
        (_plan("1.2.1", n=300, thickness=0.625), "not 2.5 to 5.5 mm thick"),
        (_plan("1.2.1", thickness=None, gap=0.6), "not 2.5 to 5.5 mm thick"),
        (_plan("1.2.1", n=60, thickness=3.0), "further from 5 mm"),
        (_plan("1.2.1", n=29), "fewer slices"),
        (_plan("1.2.1", number=3), "a higher series number"),
        (_plan("1.2.1", number=None), "a higher series number"),
        (_plan("1.2.99"), "a larger id"),
    ],
)
def test_each_rule_decides(other: SeriesPlan, reason: str) -> None:
    """The other series would win by all that comes after the rule that it loses by."""
    for pair in ((GOOD, other), (other, GOOD)):
        best, rejected = choose_main(pair)
        assert best is GOOD
        assert rejected == {other.series_id: reason}


def test_an_earlier_rule_outweighs_all_later_ones() -> None:
    """A thin original without contrast beats a 5 mm series with contrast, in whatever order they come."""
    thin = _plan("1.2.5", n=200, thickness=0.625, number=9)
    contrast = _plan("1.2.1", traits=("contrast",), number=1)
    bone = _plan("1.2.2", kernel="BONE", number=1)
    for order in itertools.permutations((thin, contrast, bone)):
        assert choose_main(order)[0] is thin


def test_the_only_series_is_the_main_one() -> None:
    """Even one that no rule likes: a study that has nothing else is still predicted."""
    only = _plan("1.2.1", traits=("contrast", "derived"), kernel="BONE", thickness=0.6)

    assert choose_main([only]) == (only, {})
    with pytest.raises(ValueError, match="must have a series"):
        choose_main([])


@pytest.mark.parametrize(
    "kernel", ["H60s", "H70h", "J70h", "B70f", "BONE", "BONEPLUS", "EDGE", "LUNG", "FC30", "FC81", "D", "YC"]
)
def test_sharp_kernels(kernel: str) -> None:
    """Kernels for bone and lung of the usual makers."""
    assert is_sharp(kernel)


@pytest.mark.parametrize(
    "kernel", ["", "H31s", "H40f", "J30s", "B31f", "STANDARD", "SOFT", "DETAIL", "FC21", "FC26", "UB", "OTHER"]
)
def test_soft_kernels(kernel: str) -> None:
    """Kernels for brain; one that isn't known isn't held against a series."""
    assert not is_sharp(kernel)
