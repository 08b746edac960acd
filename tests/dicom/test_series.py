"""Laws of grouping and order, and hand-built scans."""

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich25d.dicom.codes import CODES
from ich25d.dicom.header import Header
from ich25d.dicom.series import Ordering, order_series

quick = settings(max_examples=60, deadline=None)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
Make = Callable[..., Header]


def scan(make: Make, positions: list[float], **changes: Any) -> list[Header]:
    """Axial slices at these z, named by their rank in the list."""
    prefix = changes.pop("prefix", "ID_")
    return [make(image_id=f"{prefix}{k:03d}", origin_mm=(0.0, 0.0, z), **changes) for k, z in enumerate(positions)]


def remark_codes(ordering: Ordering) -> list[set[str]]:
    """Return the codes of each series."""
    return [{remark.code for remark in one.remarks} for one in ordering.series]


def named(headers: list[Header], ordering: Ordering) -> Any:
    """Describe an ordering by image ids, so that it can be compared between orders of the input."""
    series = [
        (
            one.study_id, one.series_id, tuple(headers[member].image_id for member in one.members),
            one.slice_position_mm.tolist(), one.tilt_deg, one.order_key, one.remarks,
        )
        for one in ordering.series
    ]  # fmt: skip
    return series, sorted((headers[refusal.member].image_id, *refusal[1:]) for refusal in ordering.refusals)


def test_orders_slices_of_a_tilted_gantry_along_the_normal(make_header: Make) -> None:
    """Tilt 20 degrees: origins go along z, the normal doesn't; gaps are those along the normal."""
    angle = np.radians(20)
    directions = (1.0, 0.0, 0.0, 0.0, float(np.cos(angle)), float(np.sin(angle)))
    headers = scan(make_header, [10.0, 0.0, 5.0, 15.0], directions=directions)
    (one,) = order_series(headers).series

    assert one.members == (1, 2, 0, 3)
    assert one.tilt_deg == pytest.approx(20)
    assert one.slice_spacing_mm == pytest.approx(5 * np.cos(angle))
    assert one.slice_position_mm.tolist() == pytest.approx([z * np.cos(angle) for z in (0, 5, 10, 15)])
    assert one.spacing_is_regular
    assert remark_codes(order_series(headers)) == [{"TILT"}]


def test_the_order_is_from_feet_to_head_whatever_way_the_patient_lay(make_header: Make) -> None:
    """A normal that points to the feet (column reversed) is turned round."""
    headers = scan(make_header, [0.0, 5.0, 10.0], directions=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    assert order_series(headers).series[0].members == (0, 1, 2)


@quick
@given(
    positions=st.lists(st.floats(-300, 300), min_size=1, max_size=40),
    angle=st.floats(-0.6, 0.6),
    shuffle=st.randoms(use_true_random=False),
)
def test_the_order_is_the_projection_and_does_not_depend_on_the_input(
    make_header: Make, positions: list[float], angle: float, shuffle: random.Random
) -> None:
    """Any positions, any tilt, any order of the files: brute-force projection, and the same answer."""
    directions = (1.0, 0.0, 0.0, 0.0, float(np.cos(angle)), float(np.sin(angle)))
    headers = scan(make_header, positions, directions=directions)
    first = order_series(headers)
    shuffled = headers.copy()
    shuffle.shuffle(shuffled)
    assert named(headers, first) == named(shuffled, order_series(shuffled))
    used = [member for one in first.series for member in one.members] + [refusal.member for refusal in first.refusals]
    assert sorted(used) == list(range(len(headers)))
    normal = np.cross(directions[:3], directions[3:])
    for one in first.series:
        along = [float(np.dot(headers[member].origin_mm, normal)) for member in one.members]
        # Closer than 0.01 mm is one place; a chain of those can be longer.
        assert all(b - a > -0.01 * len(along) for a, b in pairwise(along))
        assert (np.diff(one.slice_position_mm) >= 0).all()
        ties = [
            (headers[a].image_id, headers[b].image_id)
            for a, b, step in zip(one.members, one.members[1:], np.diff(along), strict=False)
            if step == 0
        ]
        assert all(a < b for a, b in ties)


PLACES = [(0.0, 0.0, z) for z in (0.0, 5.0, 10.0, 10.001, 20.0)]
PLANES = [None, AXIAL, AXIAL, (0.0, 1.0, 0.0, 0.0, 0.0, -1.0), (1.0, 0.0, 0.0, 0.0, 0.98, 0.199)]
slices = st.fixed_dictionaries(
    {
        "origin_mm": st.sampled_from([None, *PLACES]),
        "directions": st.sampled_from(PLANES),
        "image_id": st.sampled_from([f"ID_{k}" for k in range(12)]),
        "series_id": st.sampled_from(["ID_s", "ID_s", "ID_r"]),
        "series_number": st.sampled_from([None, 2]),
        "instance_number": st.one_of(st.none(), st.integers(1, 9)),
        "acquisition_number": st.one_of(st.none(), st.integers(1, 2)),
        "slice_location": st.one_of(st.none(), st.sampled_from([1.0, 2.0, 3.0, 4.0])),
        "kernel": st.sampled_from(["H31", "H70"]),
        "rows": st.sampled_from([512, 512, 256]),
        "pixel_spacing_mm": st.sampled_from([None, (0.5, 0.5), (0.25, 0.5)]),
        "image_type": st.sampled_from([("ORIGINAL", "PRIMARY", "AXIAL"), ("ORIGINAL", "PRIMARY", "LOCALIZER")]),
        "contrast": st.booleans(),
        "description_flags": st.sampled_from([(), (), ("angio",)]),
    }
)


@quick
@given(changes=st.lists(slices, max_size=14), shuffle=st.randoms(use_true_random=False))
def test_every_image_ends_in_one_series_or_one_refusal(
    make_header: Make, changes: list[dict[str, Any]], shuffle: random.Random
) -> None:
    """Whatever comes together: nothing is lost, nothing twice, and the order of the input doesn't matter."""
    headers = [make_header(**change) for change in changes]
    ordering = order_series(headers)
    used = [member for one in ordering.series for member in one.members]
    used += [refusal.member for refusal in ordering.refusals]

    assert sorted(used) == list(range(len(headers)))
    assert all(CODES[refusal.code].is_refused for refusal in ordering.refusals)
    assert all(not CODES[code].is_refused for found in remark_codes(ordering) for code in found)
    assert len({(one.study_id, one.series_id) for one in ordering.series}) == len(ordering.series)
    if len({header.image_id for header in headers}) == len(headers):
        shuffled = headers.copy()
        shuffle.shuffle(shuffled)
        assert named(headers, ordering) == named(shuffled, order_series(shuffled))


def test_mixed_gaps_are_no_holes(make_header: Make) -> None:
    """2.5 mm below, 5 mm above: nothing is missing."""
    headers = scan(make_header, [0.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 25.0])
    ordering = order_series(headers)

    assert remark_codes(ordering) == [{"GAP_MIXED"}]
    assert not ordering.series[0].spacing_is_regular


def test_a_missing_slice_is_a_hole(make_header: Make) -> None:
    """Twice the gap between ordinary ones; the slices stay in one series."""
    ordering = order_series(scan(make_header, [0.0, 5.0, 10.0, 20.0, 25.0, 30.0]))

    assert remark_codes(ordering) == [{"GAP_MIXED", "GAP_HOLE"}]
    assert len(ordering.series[0].members) == 6
    assert ordering.series[0].slice_spacing_mm == 5


def test_noise_below_a_hundredth_is_one_position(make_header: Make) -> None:
    """Equal places are ordered by UID, and their positions don't fall."""
    headers = [make_header(image_id=name, origin_mm=(0.0, 0.0, z)) for name, z in (("ID_b", 4.9996), ("ID_a", 5.0004))]
    (one,) = order_series(headers).series

    assert one.members == (1, 0)
    assert (np.diff(one.slice_position_mm) >= 0).all()


@pytest.mark.parametrize(
    ("changes", "order_key", "code", "members"),
    [
        ({"directions": None}, "position", "ORDER_BY_Z", (2, 1, 0)),
        ({"origin_mm": None, "locations": True}, "slice_location", "ORDER_BY_SLICELOC", (2, 1, 0)),
        ({"origin_mm": None, "numbers": True}, "instance", "ORDER_BY_INSTANCE", (0, 1, 2)),
    ],
)
def test_without_geometry_the_next_best_key_orders(
    make_header: Make, changes: dict[str, Any], order_key: str, code: str, members: tuple[int, ...]
) -> None:
    """No orientation: z; no position: SliceLocation; then InstanceNumber; each with its remark."""
    changes = dict(changes)
    locations, numbers = changes.pop("locations", False), changes.pop("numbers", False)
    headers = [
        make_header(
            image_id=f"ID_{k}", slice_location=50.0 - 5 * k if locations else None,
            instance_number=k if numbers else None,
            **({"origin_mm": (0.0, 0.0, 50.0 - 5 * k)} | changes),
        )
        for k in range(3)
    ]  # fmt: skip
    ordering = order_series(headers)

    assert (ordering.series[0].order_key, ordering.series[0].members) == (order_key, members)
    assert code in remark_codes(ordering)[0]


def test_instance_numbers_run_the_way_that_known_positions_say(make_header: Make) -> None:
    """One slice lost its position; the others tell that the numbers fall towards the head."""
    headers = [make_header(image_id=f"ID_{k}", origin_mm=(0.0, 0.0, -5.0 * k), instance_number=k) for k in range(3)]
    headers.append(make_header(image_id="ID_3", origin_mm=None, instance_number=3))

    assert order_series(headers).series[0].members == (3, 2, 1, 0)


def test_without_any_key_every_image_stands_alone(make_header: Make) -> None:
    """Nothing orders them: no image gets a neighbour, none is dropped."""
    ordering = order_series([make_header(image_id=f"ID_{k}", origin_mm=None) for k in range(3)])

    assert [(one.series_id, one.members) for one in ordering.series] == [
        ("ID_s", (0,)),
        ("ID_s#2", (1,)),
        ("ID_s#3", (2,)),
    ]
    assert all(codes == {"NO_ORDER", "ONE_SLICE"} for codes in remark_codes(ordering))


def test_scans_of_one_series_a_slice_are_joined(make_header: Make) -> None:
    """Every slice has a series of its own but the same number and frame of reference."""
    headers = [
        make_header(image_id=f"ID_{k}", series_id=f"ID_s{k}", origin_mm=(0.0, 0.0, 5.0 * k), series_number=2)
        for k in range(4)
    ]
    ordering = order_series(headers)

    assert [(one.series_id, one.members) for one in ordering.series] == [("ID_s0", (0, 1, 2, 3))]
    assert remark_codes(ordering) == [{"REGROUPED"}]
    assert len(order_series([*headers[:2]]).series) == 2


def test_numbers_against_the_positions_are_remarked(make_header: Make) -> None:
    """One pair swapped; a wholly reversed count is no disagreement."""
    ups = [
        make_header(image_id=f"ID_{k}", origin_mm=(0.0, 0.0, 5.0 * k), instance_number=n)
        for k, n in enumerate([1, 3, 2, 4])
    ]
    downs = [make_header(image_id=f"ID_{k}", origin_mm=(0.0, 0.0, 5.0 * k), instance_number=9 - k) for k in range(4)]

    assert remark_codes(order_series(ups)) == [{"INSTANCE_ORDER"}]
    assert remark_codes(order_series(downs)) == [set()]


def test_a_single_slice_is_a_series(make_header: Make) -> None:
    """One slice: no tilt, no gap, a remark."""
    (one,) = order_series([make_header()]).series
    assert (one.members, one.tilt_deg, one.slice_spacing_mm) == ((0,), None, None)
    assert [remark.code for remark in one.remarks] == ["ONE_SLICE"]
