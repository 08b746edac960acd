"""A study store explored: attributes, shortcuts, pictures; and the whole page on a small store of phantoms."""

import csv
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from ich25d.dicom.hounsfield import HU_MIN
from ich25d.errors import UsageError
from ich25d.labels import LABELS
from ich25d.phantom.dicom import SIGNED_EXPLICIT, UNSIGNED_IMPLICIT, dicom_bytes
from ich25d.studies.build import build_studies
from ich25d.studies.store_dir.store import StudyStore
from ich25d.studies.volumes.headbox import Box
from ich25d.studies.volumes.volume import fit_box, fit_slice
from ich25d.view.eda import pictures
from ich25d.view.eda.attributes import attribute_table, find_outliers, number_rows
from ich25d.view.eda.header_table import kept_headers, read_headers
from ich25d.view.eda.rows import rows_of_store
from ich25d.view.eda.run import explore
from ich25d.view.eda.section_pictures import Gallery
from ich25d.view.eda.shortcut import find_predictors

SIDE, N_SERIES, N = 96, 12, 4
WRAPPED = "ID_000110002"
"""A slice whose stored values wrapped round."""


def _head(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    radius = np.hypot(x / 0.28, (y + 0.03) / 0.36)
    hu = np.where(radius < 0.9, 35, np.where(radius < 1, 1000, -1000))
    return np.clip(hu + rng.integers(-4, 5, (SIDE, SIDE)), -1000, 3071).astype(np.int16)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of twelve series of four slices, every second one with subdural blood, and their labels."""
    folder = tmp_path_factory.mktemp("scans")
    lines = ["image_id," + ",".join(LABELS)]
    for number in range(N_SERIES):
        for index in range(N):
            image_id = f"ID_{number:05d}{index:04d}"
            hu = _head(number * N + index)
            is_positive = number % 2 == 0 and index in (1, 2)
            if is_positive:
                hu[50:60, 30:36] = 70
            family = UNSIGNED_IMPLICIT if number % 3 else SIGNED_EXPLICIT
            changes: dict = {"family": family}
            if image_id == WRAPPED:
                changes |= {"stored": pictures.wrapped(hu), "extra": {(0x0028, 0x1052): ("DS", "0")}}
            content = dicom_bytes(
                hu, image_id=image_id, series_id=f"ID_{number:010d}", study_id=f"ID_{number + 50:010d}",
                patient_id=f"ID_{number:08d}", origin_mm=(-120.0, -120.0, 5.0 * index),
                pixel_spacing_mm=(1.9, 1.9 if number else 1.6), **changes,
            )  # fmt: skip
            (folder / f"{image_id}.dcm").write_bytes(content)
            values = [str(int(is_positive and label in ("subdural", "any"))) for label in LABELS]
            lines.append(",".join([image_id, *values]))
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def studies(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the study store of these scans."""
    out = tmp_path_factory.mktemp("store") / "studies"
    build_studies((scans,), out, only=("*.dcm",), labels=scans / "labels.csv", size=64, folds=2, workers=1)
    return out


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_whole_page(studies: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every section is there with its tables, and the page fetches nothing."""
    monkeypatch.setattr("ich25d.view.eda.output.can_plot", lambda: False)
    out = tmp_path / "eda"

    summary = explore(studies, out, sources=(scans,), only=("*.dcm",))

    page = (out / "index.html").read_text()
    assert (summary.exit_code, summary.n_images, summary.n_series) == (0, N_SERIES * N, N_SERIES)
    assert summary.positives["subdural"] == 12
    for heading in (
        "Labels: counts and rates", "Labels together", "Labels along the scan", "Labels: oddities",
        "Technical attributes", "Groups of series", "Series that stand apart", "Pixel families and the shortcut",
        "Hounsfield units", "Pictures of the six classes", "Before and after windowing", "The 12-bit repair",
        "The head box", "What a slab looks like",
    ):  # fmt: skip
        assert f">{heading}</h2>" in page, heading
    assert f"A real file, {WRAPPED}" in page
    assert not re.search(r'(?:src|href)="(?!data:|#|tables/|figures/)', page)
    families = {row["pixel family"]: row for row in _rows(out / "tables" / "pixel_families.csv")}
    assert families["16s-1024"]["series"] == "4"
    counts = {(row["label"], row["level"]): row["positive"] for row in _rows(out / "tables" / "label_counts.csv")}
    assert (counts["subdural", "slices"], counts["subdural", "series"]) == ("12", "6")
    kinds = {(row["attribute"], row["value"]): row["series"] for row in _rows(out / "tables" / "attribute_kinds.csv")}
    assert kinds["transfer syntax", "Implicit VR Little Endian"] == "8"
    assert kinds["rows x columns", f"{SIDE} x {SIDE}"] == "12"
    assert ("differs between slices of a series", "none") in kinds
    apart = _rows(out / "tables" / "outliers.csv")
    assert any(row["series_id"] == "ID_0000000000" and "spacing" in row["attribute"] for row in apart)
    assert "slice 1 of" not in page
    assert len(_rows(out / "tables" / "hu_counts.csv")) == 4096


def test_headers_come_from_the_notebook_or_the_files(studies: Path, scans: Path) -> None:
    """What the builder kept is what the files say, and without either nothing is made up."""
    store = StudyStore.open(studies)
    kept = kept_headers(studies, store.slices)

    read = read_headers((scans,), store.slices, only=("*.dcm",))

    assert kept is not None
    pd.testing.assert_frame_equal(kept, read)
    assert kept.loc["ID_0000000011", "mixed"] == "intercept"
    assert kept_headers(scans, store.slices) is None
    alone = attribute_table(store.series, store.slices, None)
    assert "transfer_syntax" not in alone
    parts = alone.loc["ID_0000000001", ["bits_stored", "representation", "intercept"]]
    assert parts.tolist() == ["12", "unsigned", "-1024"]


def test_sources_that_are_not_the_stores_are_refused(studies: Path, scans: Path, tmp_path: Path) -> None:
    """Nothing of them would be shown; some of them is said."""
    other = tmp_path / "in"
    other.mkdir()
    with pytest.raises(UsageError, match=r"got no file; the store's are called '.*\.dcm'"):
        explore(studies, tmp_path / "eda", sources=[other])
    (other / "other.dcm").write_bytes(b"DICM")
    with pytest.raises(UsageError, match=r"got 1 files, as 'other\.dcm'"):
        explore(studies, tmp_path / "eda", sources=[other])
    with pytest.raises(UsageError, match="--only picks files of --source"):
        explore(studies, tmp_path / "eda", only=["*"])
    assert not (tmp_path / "eda").exists()
    shutil.copy(next(scans.rglob("*.dcm")), other)
    store = StudyStore.open(studies)
    (said,) = Gallery(store, rows_of_store(store.slices, None), [other], ()).check_sources()
    assert said.startswith("--source holds 1 of the store's ")


def test_a_store_without_slices_is_refused(studies: Path, tmp_path: Path) -> None:
    """Earlier versions left such stores where nothing could be decoded."""
    shutil.copytree(studies, tmp_path / "empty")
    for name in ("slices", "series"):
        path = tmp_path / "empty" / f"{name}.parquet"
        pd.read_parquet(path).iloc[:0].to_parquet(path)

    with pytest.raises(UsageError, match="must hold slices"):
        explore(tmp_path / "empty", tmp_path / "eda")


def test_a_store_of_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No series has a DICOM header: each attribute of files says so."""
    monkeypatch.setattr("ich25d.view.eda.output.can_plot", lambda: False)
    lines = ["image_id,path,series,position,windows"]
    for index in range(4):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.clip(_head(index) + 10, 0, 255).astype(np.uint8))
        lines.append(f"{index},{index}.png,s{index // 2},{5 * index},bone")
    (tmp_path / "images.csv").write_text("\n".join(lines) + "\n")
    build_studies((), tmp_path / "studies", images=(tmp_path / "images.csv",), size=32, crop="none", workers=1)

    explore(tmp_path / "studies", tmp_path / "eda")

    kinds = {row["attribute"]: row["value"] for row in _rows(tmp_path / "eda" / "tables" / "attribute_kinds.csv")}
    assert kinds["transfer syntax"] == kinds["bits stored"] == "no DICOM"


def test_labels_of_other_images_are_refused(studies: Path, tmp_path: Path) -> None:
    """A label table that knows none of the store's images is the wrong one."""
    path = tmp_path / "labels.csv"
    path.write_text("image_id," + ",".join(LABELS) + "\nother,0,0,0,0,0,0\n")

    with pytest.raises(UsageError, match="share images"):
        explore(studies, tmp_path / "eda", labels=path)


def test_a_store_without_labels(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attributes and pictures are there all the same, and nothing is said of labels."""
    monkeypatch.setattr("ich25d.view.eda.output.can_plot", lambda: False)
    build_studies((scans,), tmp_path / "store", only=("*00000.dcm", "*00001.dcm"), size=32, workers=1)

    summary = explore(tmp_path / "store", tmp_path / "eda")

    page = (tmp_path / "eda" / "index.html").read_text()
    assert (summary.exit_code, summary.positives) == (0, {})
    assert "No image here has labels." in page
    assert "Without labels there is nothing to give away." in page
    assert "What a slab looks like" in page


def _table(n: int, **columns: object) -> pd.DataFrame:
    base = {"n_slices": 30.0, "slice_spacing_mm": 5.0, "tilt_deg": 0.0, "pixel_spacing_mm": 0.488}
    return pd.DataFrame(base | columns, index=pd.Index([f"s{number}" for number in range(n)], name="series_id"))


def test_outliers_are_few_and_far() -> None:
    """A lone value far off is named; rounding isn't, nor is a second kind that many have."""
    table = _table(100)
    table["slice_spacing_mm"] = np.r_[[2.5], np.full(99, 5.0)]
    table["pixel_spacing_mm"] = np.where(np.arange(100) % 2, 0.488281, 0.48828125)
    table["tilt_deg"] = np.r_[np.full(80, 0.0), np.linspace(5, 20, 20)]

    found = find_outliers(table)

    assert [(outlier.series_id, outlier.value) for outlier in found] == [("s0", 2.5)]
    assert number_rows(table)[0][3:] == [30] * 7


def test_a_shortcut_is_measured_on_other_patients() -> None:
    """A family that tells the label lowers the log loss; one that doesn't, does not."""
    rng = np.random.default_rng(0)
    table = _table(400)
    is_signed = np.arange(400) % 2 == 0
    table["pixel_family"] = np.where(is_signed, "16s-1024", "12u-1024")
    patient = pd.Series([f"p{number}" for number in range(400)], index=table.index)

    bleeds = pd.Series((rng.random(400) < np.where(is_signed, 0.9, 0.1)) * 1.0, table.index)
    chance = pd.Series((rng.random(400) < 0.5) * 1.0, table.index)

    told, blind = find_predictors(table, bleeds, patient), find_predictors(table, chance, patient)

    assert told[0].attribute.startswith("pixel family")
    assert told[0].base == pytest.approx(0.693, abs=0.01)
    assert told[0].loss == pytest.approx(0.325, abs=0.06)  # entropy of 0.1
    assert told[0].p < 1e-10
    assert all(one.fall < 0.01 for one in blind)


def test_the_repair_is_exact() -> None:
    """Values that wrapped round come back as they were, padding at -1024 too."""
    hu = _head(1)
    hu[:4] = HU_MIN

    tiles, error = pictures.repair_tiles(hu)

    assert error == 0
    captions = [tile.caption for tile in tiles]
    assert captions[::2] == ["before: all values, border 3072 HU", "after: all values, border -1024 HU"]
    assert (pictures.wrapped(np.array([[-1000, -1, 0, 2000]], np.int16)) == [[3096, 4095, 0, 2000]]).all()


def test_a_crop_goes_back_where_it_was() -> None:
    """The store's slice, put back into its field, covers the box and nothing else."""
    hu = _head(2)
    box = Box(10, 20, 90, 70)
    small = np.empty((64, 64), dtype=np.int16)
    fit_slice(hu, fit_box(box, 64, (1.0, 1.0)), small)

    field = pictures.in_field(small, box, hu.shape)

    assert field.shape == hu.shape
    assert (field[:10] == HU_MIN).all()
    assert (field[:, 70:] == HU_MIN).all()
    inside = (slice(12, 88), slice(22, 68))
    assert np.corrcoef(field[inside].ravel(), hu[inside].ravel())[0, 1] > 0.95


def test_a_slab_is_three_slices_in_three_windows() -> None:
    """At the end of the scan the slice itself stands in for the one below."""
    hu = np.stack([np.full((32, 32), value, np.int16) for value in (0, 40, 80)])
    first, itself, above = pictures.slab_lines(hu, np.array([0.0, 5.0, 10.0]), 0)

    assert [tile.pixels[0, 0] for tile in first.tiles[:3]] == [0, 26, 101]  # 0 HU in 40/80, 80/200, 40/380
    assert (first.tiles[3].pixels == itself.tiles[3].pixels).all()
    assert above.tiles[0].pixels[0, 0] == 128
