"""What orders a series where positions are absent or are none, and what becomes of the few that lack it."""

from collections.abc import Callable
from typing import Any

import pytest

from ich25d.dicom.header import Header
from ich25d.dicom.series import Ordering, order_series

Make = Callable[..., Header]


def scan(make: Make, n: int, **changes: Any) -> list[Header]:
    """Axial slices 5 mm apart; a list of changes is dealt out slice by slice."""
    return [
        make(
            **{
                "image_id": f"ID_{k:03d}", "origin_mm": (-115.0, -115.0, 5.0 * k), "slice_location": 5.0 * k,
                "instance_number": n - k,
            }
            | {key: value[k] if isinstance(value, list) else value for key, value in changes.items()}
        )
        for k in range(n)
    ]  # fmt: skip


def codes(ordering: Ordering) -> set[str]:
    """Return all series' remarks."""
    return {remark.code for one in ordering.series for remark in one.remarks}


@pytest.mark.parametrize("n_lost", [1, 3])
def test_images_without_a_position_are_set_aside(make_header: Make, n_lost: int) -> None:
    """The others keep their order, positions and spacing; numbers that aren't spatial change nothing."""
    headers = scan(make_header, 20, instance_number=[(7 * k) % 20 for k in range(20)])
    lost = [headers[6 + k]._replace(origin_mm=None, slice_location=None) for k in range(n_lost)]
    headers[6 : 6 + n_lost] = lost
    ordering = order_series(headers)

    main, *singles = ordering.series
    assert main.members == tuple(k for k in range(20) if not 6 <= k < 6 + n_lost)
    assert (main.order_key, main.slice_spacing_mm) == ("position", 5.0)
    assert [(one.members, one.order_key) for one in singles] == [((6 + k,), "none") for k in range(n_lost)]
    assert all("SET_ASIDE" in {remark.code for remark in one.remarks} for one in ordering.series)


def test_an_attribute_that_half_of_the_images_lack_orders_nothing(make_header: Make) -> None:
    """Then the next one that nearly all have is taken."""
    headers = scan(make_header, 20)
    headers[::2] = [header._replace(origin_mm=None) for header in headers[::2]]
    ordering = order_series(headers)
    assert [one.order_key for one in ordering.series] == ["slice_location"]
    assert ordering.series[0].members == tuple(range(20))


def test_one_number_that_is_lost_or_double_does_not_undo_the_order(make_header: Make) -> None:
    """No positions: InstanceNumber of nearly all."""
    headers = scan(make_header, 20, origin_mm=None, slice_location=None, instance_number=[*range(19), None])
    assert [len(one.members) for one in order_series(headers).series] == [19, 1]
    headers[19] = headers[19]._replace(instance_number=4)
    assert [len(one.members) for one in order_series(headers).series] == [18, 1, 1]


@pytest.mark.parametrize("n", [3, 7, 24])
@pytest.mark.parametrize("place", [(0.0, 0.0, 0.0), (-115.0, -115.0, 12.5)])
@pytest.mark.parametrize("n_real", [0, 1])
def test_positions_all_alike_are_none(
    make_header: Make, n: int, place: tuple[float, float, float], n_real: int
) -> None:
    """SliceLocation orders the images."""
    headers = scan(make_header, n, slice_location=[40.0 + 5 * k for k in range(n)])
    headers[n_real:] = [header._replace(origin_mm=place) for header in headers[n_real:]]
    ordering = order_series(headers)
    assert [(one.order_key, one.members) for one in ordering.series] == [("slice_location", tuple(range(n)))]
    assert codes(ordering) == {"ORDER_BY_SLICELOC"}
    assert ordering.series[0].slice_spacing_mm == 5.0


def test_two_positions_for_all_are_none(make_header: Make) -> None:
    """Twelve slices in each of two places, which SliceLocation tells apart."""
    headers = scan(make_header, 24, origin_mm=[(-115.0, -115.0, 5.0 * (k % 2)) for k in range(24)])
    assert [one.order_key for one in order_series(headers).series] == ["slice_location"]


@pytest.mark.parametrize("location", [None, 0.0])
def test_without_a_location_numbers_order_what_has_no_position(make_header: Make, location: float | None) -> None:
    """All at 0, 0, 0, and SliceLocation absent or wiped too."""
    headers = scan(make_header, 24, origin_mm=(0.0, 0.0, 0.0), slice_location=location)
    ordering = order_series(headers)
    assert [(one.order_key, one.members) for one in ordering.series] == [("instance", tuple(reversed(range(24))))]
    assert codes(ordering) == {"ORDER_BY_INSTANCE"}


def test_images_of_one_level_again_and_again_are_a_bolus(make_header: Make) -> None:
    """SliceLocation agrees with the position: nothing was wiped."""
    headers = scan(make_header, 20, origin_mm=(-115.0, -115.0, 40.0), slice_location=40.0)
    assert {refusal.code for refusal in order_series(headers).refusals} == {"PERFUSION"}


def test_a_long_scan_is_a_long_scan(make_header: Make) -> None:
    """1,344 slices, each in its place."""
    headers = [make_header(image_id=f"ID_{k:04d}", origin_mm=(0.0, 0.0, 0.2 * k)) for k in range(1344)]
    ordering = order_series(headers)
    assert [len(one.members) for one in ordering.series] == [1344]
    assert codes(ordering) == {"THIN"}


def test_one_odd_orientation_or_kind_does_not_decide_for_all(make_header: Make) -> None:
    """A coronal page among slices without orientation; a map, and an odd description, among plain slices."""
    across = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
    headers = scan(make_header, 20, directions=[None] * 19 + [across])
    ordering = order_series(headers)
    assert [len(one.members) for one in ordering.series] == [19]
    assert [(refusal.member, refusal.code) for refusal in ordering.refusals] == [(19, "LOCALIZER")]

    headers = scan(make_header, 20, description_flags=[()] * 19 + [("perfusion",)])
    assert [len(one.members) for one in order_series(headers).series] == [20]
    headers = scan(make_header, 20, image_type=[("ORIGINAL",)] * 19 + [("DERIVED", "PERFUSION")])
    ordering = order_series(headers)
    assert [len(one.members) for one in ordering.series] == [19]
    assert [(refusal.member, refusal.code) for refusal in ordering.refusals] == [(19, "PERFUSION")]
