"""Laws of splitting: passes that interleave are told apart, one acquisition stays one, and nothing is lost."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich25d.dicom.header import Header
from ich25d.dicom.series import Ordering, order_series

laws = settings(max_examples=50, deadline=None)
Make = Callable[..., Header]

TOLD_BY: dict[str, tuple[Any, Any]] = {
    "acquisition_number": (1, 2),
    "contrast": (False, True),
    "kernel": ("H31s", "H60s"),
    "kvp": (80.0, 140.0),
    "series_number": (2, 3),
    "frame_of_reference": ("1.2.1", "1.2.2"),
    "pixel_spacing_mm": ((0.45, 0.45), (0.47, 0.47)),
    "thickness_mm": (5.0, 1.0),
    "image_type": (("ORIGINAL", "PRIMARY", "AXIAL"), ("DERIVED", "SECONDARY", "AXIAL")),
    "temporal_position": (1, 2),
    "description_flags": ((), ("bone",)),
}
"""Attributes that passes differ in, and two values of each."""


def one_pass(make: Make, positions: list[float], name: str = "a", **changes: Any) -> list[Header]:
    """Axial slices at these z; a tuple of changes is dealt out slice by slice."""
    common = {"thickness_mm": 5.0, "kvp": 120.0, "kernel": "H31s", "acquisition_number": 1, "series_number": 2}
    return [
        make(
            **common
            | {"image_id": f"ID_{name}{k:03d}", "origin_mm": (-115.0, -115.0, z), "instance_number": k + 1}
            | {key: value[k] if isinstance(value, list) else value for key, value in changes.items()}
        )
        for k, z in enumerate(positions)
    ]


def steps(n: int, step: float, start: float = 0.0) -> list[float]:
    """Return n regular positions."""
    return [start + step * k for k in range(n)]


def groups(headers: list[Header], ordering: Ordering) -> set[frozenset[str]]:
    """Return the ids of each series."""
    return {frozenset(headers[member].image_id for member in one.members) for one in ordering.series}


def ids(headers: list[Header]) -> frozenset[str]:
    """Return the ids of images."""
    return frozenset(header.image_id for header in headers)


def codes(ordering: Ordering) -> set[str]:
    """Return all series' remarks."""
    return {remark.code for one in ordering.series for remark in one.remarks}


def used_once(headers: list[Header], ordering: Ordering) -> bool:
    """Say whether every image is in one series or refused, never both."""
    found = [member for one in ordering.series for member in one.members]
    return sorted(found + [refusal.member for refusal in ordering.refusals]) == list(range(len(headers)))


@laws
@given(
    attribute=st.sampled_from(sorted(TOLD_BY)),
    n=st.tuples(st.integers(8, 30), st.integers(8, 30)),
    step=st.sampled_from([1.25, 2.5, 5.0]),
    offset=st.floats(0.1, 0.9),
    skipped=st.integers(-3, 3),
    numbers_go_on=st.booleans(),
    shuffle=st.randoms(use_true_random=False),
)
def test_two_interleaved_passes_are_told_apart(
    make_header: Make, attribute: str, n: tuple[int, int], step: float, offset: float, skipped: int,
    numbers_go_on: bool, shuffle: random.Random,
) -> None:  # fmt: skip
    """Whatever they differ in, and however far the table was off: two series, and a remark on both."""
    values = TOLD_BY[attribute]
    first = one_pass(make_header, steps(n[0], step), **{attribute: values[0]})
    second = one_pass(make_header, steps(n[1], step, step * (skipped + offset)), "b", **{attribute: values[1]})
    if numbers_go_on:
        second = [header._replace(instance_number=k + len(first) + 1) for k, header in enumerate(second)]
    headers = first + second
    shuffle.shuffle(headers)
    ordering = order_series(headers)

    assert used_once(headers, ordering)
    assert groups(headers, ordering) == {ids(first), ids(second)}
    assert all(any(remark.code.startswith("SPLIT_") for remark in one.remarks) for one in ordering.series)
    assert all(one.spacing_is_regular for one in ordering.series)


@laws
@given(
    steps_mm=st.lists(st.sampled_from([2.5, 5.0]), min_size=1, max_size=3),
    n=st.integers(6, 14),
    change=st.sampled_from([
        "none", "number_a_slice", "number_a_rotation", "phases", "kvp_noise", "spacing_noise", "thickness_noise",
        "kernel_above", "reference_a_file", "one_differs", "one_late",
    ]),
    noise=st.lists(st.floats(-1, 1), min_size=50, max_size=50),
    shuffle=st.randoms(use_true_random=False),
)  # fmt: skip
def test_one_acquisition_stays_one(
    make_header: Make, steps_mm: list[float], n: int, change: str, noise: list[float], shuffle: random.Random
) -> None:
    """Mixed gaps, numbers that count with every slice, phases one above the other, noise in numbers, one odd slice."""
    positions = [0.0]
    for step in steps_mm:
        positions += steps(n, step, positions[-1] + step)
    size = len(positions)
    changes: dict[str, Any] = {
        "none": {},
        "number_a_slice": {"acquisition_number": list(range(1, size + 1))},
        "number_a_rotation": {"acquisition_number": [1 + k // 4 for k in range(size)]},
        "phases": {"contrast": [k >= size // 2 for k in range(size)]},
        "kvp_noise": {"kvp": [120 + 2 * noise[k] for k in range(size)]},
        "spacing_noise": {"pixel_spacing_mm": [(0.45 * (1 + 0.005 * noise[k]),) * 2 for k in range(size)]},
        "thickness_noise": {"thickness_mm": [5 + 0.1 * noise[k] for k in range(size)]},
        "kernel_above": {"kernel": ["H31s" if k < size // 3 else "H60s" for k in range(size)]},
        "reference_a_file": {"frame_of_reference": [f"1.2.{k}" for k in range(size)]},
        "one_differs": {"kernel": ["H60s" if k == size // 2 else "H31s" for k in range(size)]},
        "one_late": {"acquisition_time": [10.0 * k if k != 3 else 900.0 for k in range(size)]},
    }[change]
    headers = one_pass(make_header, positions, **changes)
    shuffle.shuffle(headers)
    ordering = order_series(headers)

    assert groups(headers, ordering) == {ids(headers)}
    assert not any(code.startswith("SPLIT_") for code in codes(ordering))


@laws
@given(
    parts=st.lists(
        st.tuples(
            st.integers(1, 12), st.sampled_from([1.0, 2.5, 5.0]), st.floats(0, 20), st.sampled_from(sorted(TOLD_BY)),
            st.integers(0, 1),
        ),
        min_size=1, max_size=4,
    ),
    shuffle=st.randoms(use_true_random=False),
)  # fmt: skip
def test_splitting_loses_nothing_and_does_not_depend_on_the_order(
    make_header: Make, parts: list[tuple[int, float, float, str, int]], shuffle: random.Random
) -> None:
    """Any passes on top of each other."""
    headers = []
    for number, (n, step, start, attribute, which) in enumerate(parts):
        headers += one_pass(make_header, steps(n, step, start), f"{number}_", **{attribute: TOLD_BY[attribute][which]})
    ordering = order_series(headers)
    assert used_once(headers, ordering)
    shuffled = headers.copy()
    shuffle.shuffle(shuffled)
    again = order_series(shuffled)
    named = [
        [([given[member].image_id for member in one.members], one.series_id, one.remarks) for one in found.series]
        for given, found in ((headers, ordering), (shuffled, again))
    ]
    assert named[0] == named[1]


def test_passes_with_equal_attributes_are_told_by_their_numbers(make_header: Make) -> None:
    """Both numbered from 1, in the same way or against each other; numbers that go on; times alone."""
    first = one_pass(make_header, steps(20, 5.0))
    second = one_pass(make_header, steps(20, 5.0, 2.0), "b")
    backwards = [header._replace(instance_number=20 - k) for k, header in enumerate(second)]
    going_on = [header._replace(instance_number=21 + k) for k, header in enumerate(second)]
    for other in (second, backwards, going_on):
        headers = first + other
        ordering = order_series(headers)
        assert groups(headers, ordering) == {ids(first), ids(other)}
        assert "SPLIT_INSTANCE" in codes(ordering)
    headers = [
        header._replace(instance_number=None, acquisition_time=float(k)) for k, header in enumerate(first + second)
    ]
    assert len(order_series(headers).series) == 2


def test_odd_slices_first_are_one_scan(make_header: Make) -> None:
    """Slices 5 mm thick, taken 10 mm apart, and then those between: half of them alone would leave holes."""
    odd, even = one_pass(make_header, steps(10, 10.0)), one_pass(make_header, steps(10, 10.0, 5.0), "b")
    headers = odd + [header._replace(instance_number=11 + k) for k, header in enumerate(even)]
    ordering = order_series(headers)
    assert groups(headers, ordering) == {ids(headers)}
    assert codes(ordering) == {"INSTANCE_ORDER"}


def test_three_passes_that_no_single_attribute_tells_apart(make_header: Make) -> None:
    """Plain soft, plain bone and enhanced soft."""
    passes = [
        one_pass(make_header, steps(12, 6.0, 2.0 * k), f"{k}_", kernel=kernel, contrast=contrast, instance_number=None)
        for k, (kernel, contrast) in enumerate((("H31s", False), ("H60s", False), ("H31s", True)))
    ]
    headers = [header for part in passes for header in part]
    ordering = order_series(headers)
    assert groups(headers, ordering) == {ids(part) for part in passes}
    assert {"SPLIT_CONTRAST", "SPLIT_KERNEL"} <= codes(ordering)


def test_rotations_of_two_scans_are_two_scans(make_header: Make) -> None:
    """AcquisitionNumber counts rotations of four slices: 1 to 5 in the first pass, 6 to 10 in the second."""
    first = one_pass(make_header, steps(20, 5.0), acquisition_number=[1 + k // 4 for k in range(20)])
    second = one_pass(make_header, steps(20, 5.0, 2.5), "b", acquisition_number=[6 + k // 4 for k in range(20)])
    headers = first + second
    assert groups(headers, order_series(headers)) == {ids(first), ids(second)}


def test_another_frame_of_reference_is_another_scan(make_header: Make) -> None:
    """Even where the slices don't lie between each other; the images without one go with most of the others."""
    first = one_pass(make_header, steps(10, 5.0), frame_of_reference=["1.1"] * 9 + [""])
    second = one_pass(make_header, steps(8, 5.0, 60.0), "b", frame_of_reference="1.2")
    headers = first + second
    ordering = order_series(headers)
    assert groups(headers, ordering) == {ids(first), ids(second)}
    assert codes(ordering) == {"SPLIT_REFERENCE"}


def test_series_of_a_study_without_series_uids_are_kept_apart(make_header: Make) -> None:
    """The study's UID stands in: SeriesNumber counts, or else kernel and thickness."""
    for attributes in ({"series_number": (2, 3)}, {"kernel": ("H31s", "H60s")}, {"thickness_mm": (5.0, 1.25)}):
        of = [{key: values[k] for key, values in attributes.items()} for k in (0, 1)]
        thick = one_pass(make_header, steps(20, 5.0), series_id="ID_t", **of[0])
        thin = one_pass(make_header, steps(80, 1.25, 0.3), "b", series_id="ID_t", **of[1])
        headers = thick + thin
        assert groups(headers, order_series(headers)) == {ids(thick), ids(thin)}


@pytest.mark.parametrize("number", [1, None])
@pytest.mark.parametrize("at", [3, 10, 23])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_repeated_slice_leaves_the_scan_whole(make_header: Make, number: int | None, at: int, at_once: bool) -> None:
    """Taken again at once, or at the end; with an AcquisitionNumber a slice or one for all."""
    positions = steps(24, 5.0)
    positions.insert(at + 1 if at_once else 24, positions[at])
    headers = one_pass(make_header, positions, acquisition_number=number or list(range(25)))
    headers = [header._replace(acquisition_time=10.0 * k) for k, header in enumerate(headers)]
    ordering = order_series(headers)
    assert used_once(headers, ordering)
    sizes = sorted(len(one.members) for one in ordering.series)
    assert sizes in ([25], [1, 24])
    assert len({headers[member].origin_mm for member in ordering.series[0].members}) == 24


def test_plain_and_enhanced_passes_of_one_series_are_judged_alone(make_header: Make) -> None:
    """The description speaks of contrast: only the pass with an agent is refused."""
    plain = one_pass(make_header, steps(12, 5.0), description_flags=("contrast",))
    for offset in (0.0, 2.5):
        other = one_pass(make_header, steps(12, 5.0, offset), "b", description_flags=("contrast",), contrast=True)
        headers = plain + other
        ordering = order_series(headers)
        assert groups(headers, ordering) == {ids(plain)}
        assert {refusal.code for refusal in ordering.refusals} == {"CONTRAST"}
