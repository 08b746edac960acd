"""A set of phantom studies: the competition's layout, balanced, repeatable, resumable, never over other files."""

import io
import warnings

import numpy as np
import pandas as pd
import pydicom
import pytest

from ich25d.errors import UsageError
from ich25d.labels import LABELS, SUBTYPES
from ich25d.phantom.roster import plan_studies
from ich25d.phantom.synth import FINISHED, synthesise

TAGS = (
    "00080018 00080060 00100020 0020000D 0020000E 00200010 00200032 00200037 00280002 00280004 00280010 "
    "00280011 00280030 00280100 00280101 00280102 00280103 00281050 00281051 00281052 00281053 7FE00010"
)
"""The 22 elements of every file of the RSNA data."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three small studies."""
    out = tmp_path_factory.mktemp("set") / "phantoms"
    return synthesise(out, 3, seed=1, size=64, test_share=0.34, workers=1)


def read(path):
    """Read a file with a foreign reader; an id of the RSNA data is no valid UID."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(io.BytesIO(path.read_bytes()))
        list(dataset)
        return dataset


def tags(dataset):
    """Return the elements of a file in hexadecimal."""
    return " ".join(f"{int(element.tag):08X}" for element in dataset)


@pytest.mark.real
def test_real_files_have_the_same_22_elements(real_data):
    """What phantoms imitate."""
    folder = real_data / "rsna-intracranial-hemorrhage-detection" / "stage_2_train"
    for path in sorted(folder.glob("*.dcm"))[::60]:
        assert tags(read(path)) == TAGS


def test_every_file_has_the_22_elements_and_a_row(made):
    """Files, ids and label rows belong together."""
    for folder, table in ((made.train, made.train_labels), (made.test, made.sample)):
        rows = pd.read_csv(table)
        assert list(rows.columns) == ["ID", "Label"]
        names = sorted(path.stem for path in folder.iterdir())
        assert [f"{name}_{label}" for name in names for label in LABELS] == rows["ID"].tolist()
        dataset = read(next(folder.iterdir()))
        assert tags(dataset) == TAGS
        assert dataset.Rows == 64
    assert made.n_images == len(list(made.out.glob("stage_2_*/*.dcm")))


def test_files_of_a_series_lie_apart(made):
    """Each study is one series with different places, its patient's id in RSNA's form."""
    datasets = [read(path) for path in made.train.iterdir()]
    for study in {dataset.StudyInstanceUID for dataset in datasets}:
        own = [dataset for dataset in datasets if dataset.StudyInstanceUID == study]
        assert len({dataset.SeriesInstanceUID for dataset in own}) == 1
        assert len({tuple(dataset.ImagePositionPatient) for dataset in own}) == len(own)
        assert len(own[0].PatientID) == 11


def test_a_second_run_makes_nothing_and_the_same(made):
    """What is finished is kept; a study that is missing is made again, byte for byte."""
    before = {path: path.read_bytes() for path in made.out.rglob("*.*") if path.is_file()}
    (made.out / FINISHED / "000001.json").unlink()
    again = synthesise(made.out, 3, seed=1, size=64, test_share=0.34, workers=1)
    assert again.n_kept == 2
    assert {path: path.read_bytes() for path in made.out.rglob("*.*") if path.is_file()} == before


def test_other_settings_are_refused(made):
    """A set is continued as it was begun."""
    with pytest.raises(UsageError, match="continued with the settings it was begun with"):
        synthesise(made.out, 4, seed=1, size=64, test_share=0.34, workers=1)


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path):
    """Nothing is written beside somebody else's files."""
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UsageError, match="new or empty folder"):
        synthesise(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_numbers_out_of_range_are_refused(tmp_path):
    """No study, no set."""
    with pytest.raises(UsageError, match="at least 1 study"):
        synthesise(tmp_path / "x", 0)


@pytest.mark.parametrize("n", [1, 2, 5, 8, 24, 40])
def test_the_roster_is_balanced(n):
    """45 % bleed, every subtype in training from 24 studies on, no patient in both parts, all families."""
    for seed in range(5):
        orders = plan_studies(n, seed=seed, size=64, test_share=0.25)
        assert len(orders) == n
        assert len({order.identifier("series", 10) for order in orders}) == n
        assert sum(bool(order.bleeds) for order in orders) == round(0.45 * n)
        train, test = (
            [order for order in orders if order.split == split] for split in ("stage_2_train", "stage_2_test")
        )
        assert train
        assert not {order.patient for order in train} & {order.patient for order in test}
        if n >= 24:
            assert {name for order in train for name in order.bleeds} == set(SUBTYPES)
            assert len(test) == n // 4
            assert any(order.bleeds for order in test)
            assert any(not order.bleeds for order in test)
            assert 0.4 < np.mean([order.family.is_signed for order in orders]) < 0.6
