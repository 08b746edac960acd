"""Real files: RSNA's series, a tilted GE head, a Philips study with all its by-products, odd and compressed files."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pydicom
import pytest

from ich25d.dicom import reader
from ich25d.dicom.codes import CODES
from ich25d.dicom.header import Header, NeedMore
from ich25d.dicom.reader import HEAD_BYTES, read_header, read_hu
from ich25d.dicom.series import order_series
from ich25d.errors import DicomError

pytestmark = pytest.mark.real


def header_of(path: Path) -> Header:
    """Read a header from as few bytes as it takes."""
    total_size, n_bytes = path.stat().st_size, HEAD_BYTES
    while True:
        with path.open("rb") as file:
            head = file.read(n_bytes)
        try:
            return read_header(head, total_size=total_size)
        except NeedMore as more:
            n_bytes = more.n_bytes


def files(folder: Path) -> list[Path]:
    """Return all files below a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def usable(folder: Path) -> tuple[list[Path], list[Header], Counter[str]]:
    """Read all headers below a folder; count the reasons of the rest."""
    paths, headers, refused = [], [], Counter[str]()
    for path in files(folder):
        try:
            headers.append(header_of(path))
            paths.append(path)
        except DicomError as error:
            refused[error.code] += 1
    return paths, headers, refused


@pytest.fixture(scope="module")
def rsna(real_data: Path) -> tuple[list[Path], list[Header], Counter[str]]:
    """All slices of the 17 RSNA series."""
    root = real_data / "rsna-intracranial-hemorrhage-detection"
    paths, headers, refused = [], [], Counter[str]()
    for part in ("stage_2_train", "stage_2_test"):
        found = usable(root / part)
        paths, headers, refused = paths + found[0], headers + found[1], refused + found[2]
    return paths, headers, refused


def test_every_rsna_series_is_in_projected_order(rsna: tuple[list[Path], list[Header], Counter[str]]) -> None:
    """17 series, no slice lost, none refused; order and ties as by brute force with pydicom."""
    paths, headers, refused = rsna
    ordering = order_series(headers)
    assert (len(headers), refused, ordering.refusals) == (606, Counter(), [])
    brute = defaultdict(list)
    for path in paths:
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        directions = np.array(dataset.ImageOrientationPatient, dtype=float)
        normal = np.cross(directions[:3], directions[3:])
        normal *= np.sign(normal[np.abs(normal).argmax()])
        position = float(normal @ np.array(dataset.ImagePositionPatient, dtype=float))
        brute[str(dataset.SeriesInstanceUID)].append((round(position, 2), str(dataset.SOPInstanceUID)))

    assert len(ordering.series) == 17
    for one in ordering.series:
        assert [headers[member].image_id for member in one.members] == [uid for _, uid in sorted(brute[one.series_id])]


def test_the_rsna_series_with_positions_taken_twice_is_kept_whole(
    rsna: tuple[list[Path], list[Header], Counter[str]],
) -> None:
    """No attribute of its 22 tells the two passes apart: all 36 slices stay, with a remark."""
    headers = [header for header in rsna[1] if header.series_id == "ID_72952d87fa"]
    (one,) = order_series(headers).series

    assert len(one.members) == 36
    assert np.count_nonzero(np.diff(one.slice_position_mm) < 0.01) == 8
    assert "DUP_POSITION" in {remark.code for remark in one.remarks}


def test_rsna_pixels_equal_pydicoms(rsna: tuple[list[Path], list[Header], Counter[str]]) -> None:
    """Every twentieth slice: HU as pydicom's pixel_array and rescale give them, clipped."""
    for path, header in list(zip(*rsna[:2], strict=True))[::20]:
        dataset = pydicom.dcmread(path)
        expected = dataset.pixel_array.astype(np.int32) * int(dataset.RescaleSlope) + int(dataset.RescaleIntercept)
        one = read_hu(path.read_bytes(), header)
        assert np.array_equal(one.hu, np.clip(expected, -1024, 3071))


def test_a_tilted_head_with_mixed_gaps_is_in_order(real_data: Path) -> None:
    """GE, 18.5 degrees, gaps of 4, 1.08 and 7 mm: the files are numbered from the feet up."""
    paths, headers, _ = usable(real_data / "dicom" / "ge_head")
    (one,) = order_series(headers).series

    assert [paths[member].name for member in one.members] == [f"{k:02d}.dcm" for k in range(1, 29)]
    assert one.tilt_deg == pytest.approx(18.5, abs=0.05)
    assert {remark.code for remark in one.remarks} == {"TILT", "GAP_MIXED"}


def test_by_products_of_a_philips_study_are_refused(real_data: Path) -> None:
    """Two axial series stay; the localizer, six captures and the DICOMDIR don't."""
    _, headers, refused = usable(real_data / "dicom" / "philips_study")
    ordering = order_series(headers)

    assert sorted(len(one.members) for one in ordering.series) == [14, 28]
    assert [refusal.code for refusal in ordering.refusals] == ["LOCALIZER"]
    assert refused["SECONDARY"] == 6
    assert set(refused) == {"SECONDARY", "DICOMDIR"}


@pytest.mark.parametrize("folder", ["odd", "compressed", "siemens_tilt_gap", "ge_gap", "monai_tiny"])
def test_odd_files_end_in_hu_or_in_a_reason(real_data: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a traceback; and pydicom alone comes to the same header and HU."""

    def outcome(path: Path) -> tuple[object, ...]:
        try:
            header = header_of(path)
            one = read_hu(path.read_bytes(), header)
        except DicomError as error:
            return (error.code,)
        return header, one.hu.tobytes()

    hand = [outcome(path) for path in files(real_data / "dicom" / folder)]
    monkeypatch.setattr(reader, "FORCE_PYDICOM", True)
    assert hand == [outcome(path) for path in files(real_data / "dicom" / folder)]
    assert any(len(found) == 2 for found in hand)
    assert all(CODES[str(found[0])].is_refused for found in hand if len(found) == 1)


def test_lossless_syntaxes_give_the_pixels_of_the_uncompressed_file(real_data: Path) -> None:
    """RLE, JPEG lossless, JPEG-LS and JPEG 2000 of one head and one chest, where decoders are installed."""
    folder = real_data / "dicom" / "compressed"
    for name in ("wg04_CT1", "wg04_CT2"):
        plain = folder / f"{name}_UNC.dcm"
        expected = read_hu(plain.read_bytes(), header_of(plain)).hu
        for syntax in ("RLE", "JPLL", "JLSL", "J2KR"):
            path = folder / f"{name}_{syntax}.dcm"
            try:
                hu = read_hu(path.read_bytes(), header_of(path)).hu
            except DicomError as error:
                if error.code == "NO_DECODER":
                    continue
                raise
            assert np.array_equal(hu, expected), syntax
