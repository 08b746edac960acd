"""What is split, joined, kept once or refused before a series is ordered."""

from collections.abc import Callable
from typing import Any

import pytest

from ich25d.dicom.codes import ACCEPTABLE
from ich25d.dicom.header import Header
from ich25d.dicom.series import Ordering, order_series

Make = Callable[..., Header]


def scan(make: Make, positions: list[float], **changes: Any) -> list[Header]:
    """Axial slices at these z, named by their rank in the list."""
    prefix = changes.pop("prefix", "ID_")
    return [make(image_id=f"{prefix}{k:03d}", origin_mm=(0.0, 0.0, z), **changes) for k, z in enumerate(positions)]


def remark_codes(ordering: Ordering) -> list[set[str]]:
    """Return the codes of each series."""
    return [{remark.code for remark in one.remarks} for one in ordering.series]


@pytest.mark.parametrize(
    ("attribute", "values", "code"),
    [
        ("acquisition_number", (1, 2), "SPLIT_ACQUISITION"),
        ("contrast", (False, True), "SPLIT_CONTRAST"),
        ("kernel", ("H31", "H70"), "SPLIT_KERNEL"),
        ("kvp", (120.0, 140.0), "SPLIT_KVP"),
        ("image_type", (("A",), ("B",)), "SPLIT_IMAGETYPE"),
        ("acquisition_time", (10.0, 99.5), "SPLIT_TIME"),
        ("temporal_position", (1, 2), "SPLIT_TEMPORAL"),
    ],
)
def test_two_passes_are_split_by_what_tells_them_apart(
    make_header: Make, attribute: str, values: Any, code: str
) -> None:
    """Both passes are kept, the larger one under the series' own id."""
    first = scan(make_header, [0.0, 5.0, 10.0, 15.0], prefix="ID_a", **{attribute: values[0]})
    second = scan(make_header, [0.0, 5.0], prefix="ID_b", **{attribute: values[1]})
    ordering = order_series(second + first)

    assert [(one.series_id, one.members) for one in ordering.series] == [("ID_s", (2, 3, 4, 5)), ("ID_s#2", (0, 1))]
    assert all(code in found for found in remark_codes(ordering))


def test_passes_are_split_by_blocks_of_instance_numbers(make_header: Make) -> None:
    """1 to 4, then 5 to 8 over the same places; or in pairs at each place."""
    for numbers in ([1, 2, 3, 4, 5, 6, 7, 8], [1, 3, 5, 7, 2, 4, 6, 8]):
        headers = [
            make_header(image_id=f"ID_{k}", origin_mm=(0.0, 0.0, 5.0 * (k % 4)), instance_number=number)
            for k, number in enumerate(numbers)
        ]
        ordering = order_series(headers)
        assert sorted(one.members for one in ordering.series) == [(0, 1, 2, 3), (4, 5, 6, 7)]
        assert all("SPLIT_INSTANCE" in found for found in remark_codes(ordering))


def test_an_acquisition_number_a_slice_does_not_split_into_single_slices(make_header: Make) -> None:
    """Step-and-shoot: the number counts slices, so it doesn't tell two passes apart."""
    headers = [
        make_header(image_id=f"ID_{k:02d}", origin_mm=(0.0, 0.0, 5.0 * (k % 8)), acquisition_number=k)
        for k in range(16)
    ]
    ordering = order_series(headers)

    assert remark_codes(ordering) == [{"DUP_POSITION"}]
    assert len(ordering.series[0].members) == 16


def test_positions_that_nothing_tells_apart_are_kept(make_header: Make) -> None:
    """As in one RSNA series: no attribute differs; all images stay, in order, and the remark says so."""
    headers = scan(make_header, [0.0, 5.0, 10.0, 15.0, 0.0, 5.0])
    ordering = order_series(headers)

    assert ordering.series[0].members == (0, 4, 1, 5, 2, 3)
    assert ordering.series[0].slice_position_mm.tolist() == [0, 0, 5, 5, 10, 15]
    assert remark_codes(ordering) == [{"DUP_POSITION"}]
    assert ordering.refusals == []


def test_localizers_and_other_planes_are_refused(make_header: Make) -> None:
    """A scout by its ImageType or by standing across the scan; a reformat by its plane."""
    across = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    headers = [
        *scan(make_header, [0.0, 5.0, 10.0]),
        make_header(image_id="ID_x", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")),
        make_header(image_id="ID_y", directions=across),
        *(make_header(image_id=f"ID_z{k}", series_id="ID_r", directions=across) for k in range(4)),
    ]
    ordering = order_series(headers)

    assert [one.members for one in ordering.series] == [(0, 1, 2)]
    assert [(refusal.member, refusal.code) for refusal in ordering.refusals] == [
        (3, "LOCALIZER"), (4, "LOCALIZER"), *((k, "NOT_AXIAL") for k in range(5, 9)),
    ]  # fmt: skip


def test_fields_of_view_are_split_and_mixed_sizes_are_not(make_header: Make) -> None:
    """250 and 125 mm are two reconstructions; 512 px of 0.5 and 256 px of 1 mm are the same field."""
    near = scan(make_header, [0.0, 5.0, 10.0])
    headers = near + scan(make_header, [2.5, 7.5], prefix="ID_f", pixel_spacing_mm=(0.25, 0.25))
    assert [len(one.members) for one in order_series(headers).series] == [3, 2]
    assert all("SPLIT_SIZE" in found for found in remark_codes(order_series(headers)))

    headers = near + scan(make_header, [15.0], prefix="ID_g", rows=256, columns=256, pixel_spacing_mm=(1.0, 1.0))
    assert remark_codes(order_series(headers)) == [{"SIZE_MIXED"}]


def test_copies_of_an_image_are_kept_once(make_header: Make) -> None:
    """Equal headers: one is used, and pixels will have to tell; different places: none can be right."""
    headers = [*scan(make_header, [0.0, 5.0]), make_header(image_id="ID_001", origin_mm=(0.0, 0.0, 5.0))]
    ordering = order_series(headers)
    assert ordering.copies == [(1, 2)]
    assert [(refusal.member, refusal.code) for refusal in ordering.refusals] == [(2, "DUP_UID_SAME")]

    headers[2] = make_header(image_id="ID_001", origin_mm=(0.0, 0.0, 9.0))
    assert [refusal.code for refusal in order_series(headers).refusals] == ["DUP_UID_DIFF"] * 2


def test_dynamic_and_contrast_series_are_refused(make_header: Make) -> None:
    """Ten images at each place, an angiography; an agent's name alone is a remark."""
    dynamic = [make_header(image_id=f"ID_{k:02d}", origin_mm=(0.0, 0.0, 5.0 * (k % 2))) for k in range(20)]
    angio = scan(make_header, [0.0, 1.0], prefix="ID_c", series_id="ID_c", description_flags=("angio",))
    agent = scan(make_header, [0.0, 5.0], prefix="ID_d", series_id="ID_d", contrast=True)
    ordering = order_series(dynamic + angio + agent)

    assert {refusal.code for refusal in ordering.refusals} == {"PERFUSION", "CONTRAST"}
    assert remark_codes(ordering) == [{"CONTRAST_TAG"}]


def test_scouts_named_by_their_description_are_refused(make_header: Make) -> None:
    """Up to three images called topogram aren't a scan; a scan that mentions one is."""
    flags = ("localizer",)
    few = scan(make_header, [0.0, 5.0], description_flags=flags)
    many = scan(make_header, [0.0, 5.0, 10.0, 15.0], description_flags=flags)

    assert [refusal.code for refusal in order_series(few).refusals] == ["LOCALIZER"] * 2
    assert order_series(many).refusals == []


def test_accepted_kinds_are_used_and_remarked(make_header: Make) -> None:
    """Each code of `--accept`; scouts stay series of their own."""
    across = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    of_code = {
        "PERFUSION": [make_header(image_id=f"ID_{k:02d}", origin_mm=(0.0, 0.0, 5.0 * (k % 2))) for k in range(20)],
        "CONTRAST": scan(make_header, [0.0, 5.0], description_flags=("angio",)),
        "LOCALIZER": scan(make_header, [0.0, 5.0], description_flags=("localizer",)),
        "NOT_AXIAL": [make_header(image_id=f"ID_{k}", origin_mm=(0, 5.0 * k, 0), directions=across) for k in range(4)],
    }
    assert sorted(of_code) == sorted(ACCEPTABLE)
    for code, headers in of_code.items():
        assert {refusal.code for refusal in order_series(headers).refusals} == {code}
        ordering = order_series(headers, accept=(code,))
        assert sum(len(one.members) for one in ordering.series) == len(headers)
        assert all("ACCEPTED" in found for found in remark_codes(ordering))
    scout = make_header(image_id="ID_x", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"), directions=across)
    headers = [*scan(make_header, [0.0, 5.0, 10.0]), scout]
    assert [len(one.members) for one in order_series(headers, accept=("LOCALIZER",)).series] == [3, 1]
