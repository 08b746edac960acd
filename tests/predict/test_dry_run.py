"""--dry-run says what the command then does, and writes nothing."""

import shutil
from pathlib import Path

import pytest
from toy_walk import SIZE, Walk
from typer.testing import CliRunner

from ich25d.cli.app import app
from ich25d.errors import LabelError, StoreError
from ich25d.predict.dry_run import dry_predict
from ich25d.predict.run import predict
from ich25d.studies.build import build_studies
from ich25d.studies.dry_run import DryRun, dry_build
from ich25d.studies.store_dir.store import StudyStore


@pytest.fixture
def odd(walk: Walk, tmp_path: Path) -> Path:
    """The test series, one of them with a gap, a file that is cut off and one that is no DICOM."""
    folder = shutil.copytree(walk.test, tmp_path / "odd")
    cut, gone = folder / f"{walk.ids[21][0]}.dcm", folder / f"{walk.ids[22][1]}.dcm"
    cut.write_bytes(cut.read_bytes()[:200])
    gone.unlink()
    (folder / "notes.txt").write_text("no scan")
    return folder


def _groups(found: DryRun) -> dict[str, int]:
    return {one.series_id: one.n_slices for one in found.series}


def _codes(found: DryRun, kind: str = "refused") -> set[str]:
    return {one.code for one in found.reasons if one.kind == kind}


def test_build_does_what_its_dry_run_said(odd: Path, tmp_path: Path) -> None:
    """The same series, slices, refusals of headers and exit code; and nothing is written before."""
    before = sorted(tmp_path.rglob("*"))
    said = dry_build((odd,), tmp_path / "studies", size=SIZE, workers=1)
    assert sorted(tmp_path.rglob("*")) == before
    done = build_studies((odd,), tmp_path / "studies", size=SIZE, folds=2, workers=1)
    store = StudyStore.open(tmp_path / "studies")

    assert _groups(said) == dict(zip(store.series["series_id"], store.series["n_slices"], strict=True))
    assert _codes(said) == set(done.refusals) == {"TRUNCATED"}
    assert _codes(said, "remarks") == {"GAP_HOLE", "GAP_MIXED"} <= set(done.remarks)  # pixels give rise to others
    assert _codes(said, "no DICOM") == {"NOT_DICOM"}
    assert (said.n_seen, said.exit_code) == (done.n_seen, done.exit_code) == (15, 1)


def test_predict_does_what_its_dry_run_said(odd: Path, walk: Walk, tmp_path: Path) -> None:
    """Also with a sample: series without an image of it are counted, and its images without a slice."""
    csv = tmp_path / "predictions" / "submission.csv"
    said = dry_predict((odd,), walk.rnn, csv, sample=walk.sample, workers=1)
    assert not csv.parent.exists()
    done = predict((odd,), walk.rnn, csv, sample=walk.sample, device="cpu")

    assert (len(said.series), sum(_groups(said).values())) == (done.n_series, done.n_slices) == (3, 13)
    assert _codes(said) == set(done.refusals)
    assert "2 images of it would be answered by the training data's shares" in said.notes[-1]
    assert done.n_by_prior == 2


def test_a_store_is_a_source_too(walk: Walk, tmp_path: Path) -> None:
    """Its series by their ids, without a network."""
    said = dry_predict((walk.store,), walk.cnn, tmp_path / "s.csv")

    assert _groups(said) == dict.fromkeys(StudyStore.open(walk.store).series["series_id"], 5)
    assert said.exit_code == 0


def test_refuses_what_the_command_would(walk: Walk, tmp_path: Path) -> None:
    """A store of another size, and labels of other images."""
    with pytest.raises(StoreError, match=f"made with --size {SIZE} --crop head"):
        dry_build((walk.test,), walk.store, size=SIZE * 2, workers=1)
    with pytest.raises(LabelError):
        dry_build((walk.test,), tmp_path / "studies", labels=walk.labels, size=SIZE, workers=1)


def test_the_command_line_prints_it(odd: Path, tmp_path: Path) -> None:
    """A line a series, and a reason with its meaning and an example."""
    words = ["build-studies", str(odd), "--out", str(tmp_path / "studies"), "--size", str(SIZE), "--dry-run"]
    done = CliRunner().invoke(app, words)

    assert done.exit_code == 1
    assert done.stdout.startswith("dry run, nothing is written: 15 files and images looked at, 13 slices in 3 series")
    assert "as notes.txt: " in done.stdout
    assert not (tmp_path / "studies").exists()
