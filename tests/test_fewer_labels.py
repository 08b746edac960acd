"""`scripts/fewer_labels.py`: stores with labels of few patients, that `scripts/ablate.py` compares."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from ich25d.phantom.synth import synthesise
from ich25d.studies.build import build_studies
from ich25d.studies.store_dir.store import StudyStore

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the script makes of a store of five phantoms, of four patients."""
    root = tmp_path_factory.mktemp("fewer")
    heads = synthesise(root / "dicom", 5, seed=0, size=64, test_share=0, workers=1)
    build_studies((heads.train,), root / "studies", labels=heads.train_labels, size=64, folds=2, workers=1)
    assert _script("fewer_labels").main([str(root / "studies"), "--patients", "4,2", "--out", str(root / "out")]) == 0
    return root / "out"


def test_smaller_stores_lie_within_larger_ones(out: Path) -> None:
    """Labels of none, two and four patients, of both kinds first; everything else is the same and whole."""
    whole = StudyStore.open(out.parent / "studies")
    known = {}
    for number in (0, 2, 4):
        store = StudyStore.open(out / f"slices-{number}")
        assert store.verify() == []
        labelled = store.slices[store.slices["any"].notna()]
        known[number] = set(labelled["split_unit"])
        same = whole.slices[whole.slices["split_unit"].isin(known[number])].reset_index(drop=True)
        pd.testing.assert_frame_equal(labelled.reset_index(drop=True), same)
        pd.testing.assert_frame_equal(store.series, whole.series)
    assert [len(known[number]) for number in (0, 2, 4)] == [0, 2, 4]
    assert known[2] < known[4]
    bleeds = whole.slices.groupby("split_unit")["any"].max()
    assert sorted(bleeds[list(known[2])]) == ([0, 1] if (bleeds == 0).any() else [1, 1])


def test_reports_and_variants_name_all(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row a series, as its slices have it; variants that the bench reads, with and without reports."""
    whole = StudyStore.open(out.parent / "studies")
    reports = pd.read_csv(out / "reports.csv").set_index("series_id")["any"]
    assert reports.to_dict() == whole.slices.groupby("series_id")["any"].max().to_dict()

    monkeypatch.setitem(sys.modules, "ablate", None)
    variants = _script("ablate").read_variants(out / "variants.toml", SCRIPTS.parent / "configs" / "small-data.toml")
    assert [one.name for one in variants] == ["slices-2", "slices-4", "reports", "reports-slices-2", "reports-slices-4"]
    assert ["series_labels" in one.train for one in variants] == [False, False, True, True, True]
    assert all((one.train["studies"] / "store.json").is_file() for one in variants)


def test_more_patients_than_there_are_is_refused(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As is a folder with files in it."""
    script, studies = _script("fewer_labels"), str(out.parent / "studies")
    assert script.main([studies, "--patients", "9", "--out", str(out.parent / "more")]) == 2
    assert script.main([studies, "--patients", "2", "--out", str(out)]) == 2
    assert "at most the 4 with labels (got 9)" in capsys.readouterr().err
