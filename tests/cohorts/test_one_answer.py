"""Commands and Python API account for the same sources by the same rows: all answer through `predict.answer`."""

import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from test_reads import ALL, NONE, write_reads
from toy_cohort import PLAIN, SCOUT, Head, write_study
from toy_model import GAP_MM, PIXEL_MM, SIZE, head_hu, write_model

from ich25d import load_model
from ich25d.cohorts.cq500 import evaluate_cq500
from ich25d.explain.run import explain
from ich25d.predict.run import predict
from ich25d.studies.build import build_studies
from ich25d.studies.qc import QcRow, is_refused, read_qc
from ich25d.view.report.run import report


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights."""
    return write_model(tmp_path_factory.mktemp("toy") / "model", folds=1)


def _two_studies(root: Path) -> Path:
    for number in (1, 2):
        write_study(root, number, Head(head_hu(clot=number == 2), GAP_MM, PIXEL_MM), (SCOUT, PLAIN))
    return root


def _series_of(root: Path, number: int) -> Path:
    return root / f"CQ500CT{number} CQ500CT{number}" / "Unknown Study" / "CT 55mm Plain"


def odd_files(root: Path) -> list[Path]:
    """Copies of an image with its own and with other pixels, a cut file, a constant image, text, and nothing."""
    series = _series_of(_two_studies(root / "in"), 1)
    whole = (series / "CT000003.dcm").read_bytes()
    (series / "copy.dcm").write_bytes(whole)
    (series / "other.dcm").write_bytes(whole[:-2] + bytes(reversed(whole[-2:])))
    (series / "CT000005.dcm").write_bytes((series / "CT000005.dcm").read_bytes()[:-900])
    flat = (series / "CT000008.dcm").read_bytes()
    n_pixel_bytes = 2 * SIZE**2
    (series / "CT000008.dcm").write_bytes(flat[:-n_pixel_bytes] + b"\x28\x04" * SIZE**2)
    (root / "in" / "notes.txt").write_text("nothing")
    (root / "in" / "empty.dcm").touch()
    return [root / "in"]


def folder_and_archive(root: Path) -> list[Path]:
    """The series of a folder again in an archive, and an archive that is damaged."""
    folder = _two_studies(root / "in")
    with zipfile.ZipFile(root / "again.zip", "w") as archive:
        for path in sorted(_series_of(folder, 2).iterdir()):
            archive.write(path, path.relative_to(folder))
    (folder / "damaged.zip").write_bytes(b"PK\3\4 and no more")
    return [folder, root / "again.zip"]


def store_beside_its_files(root: Path) -> list[Path]:
    """A store made when the folder held fewer images, one of which it refused."""
    folder = odd_files(root)[0]
    later = _series_of(folder, 2) / "CT000011.dcm"
    shutil.move(later, root / "later.dcm")
    build_studies((folder,), root / "store", crop="none", size=SIZE, folds=2, workers=1)
    shutil.move(root / "later.dcm", later)
    return [root / "store", folder]


Key = tuple[str, str, str, str, str]


def _counted(rows: Iterable[QcRow]) -> Counter[Key]:
    return Counter((row.code, row.image_id, row.series_id, row.level, row.source) for row in rows)


@pytest.mark.parametrize("make", [odd_files, folder_and_archive, store_beside_its_files])
def test_the_same_sources_give_the_same_rows(
    make: Callable[[Path], list[Path]], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code, image, series, level and file of every row, whichever command or function is asked."""
    sources = make(tmp_path / "sources")
    out = tmp_path / "out"
    loaded = load_model(model, device="cpu")
    predict(sources, model, out / "predict" / "s.csv", device="cpu")
    report(sources, model, out / "report", device="cpu", heat=False)
    explain(sources, model, out / "explain", device="cpu", labels=("any",))
    if make is not store_beside_its_files:  # cq500 takes no store
        votes = {f"CQ500-CT-{number}": [ALL if number == 2 else NONE] * 3 for number in (1, 2)}
        reads = write_reads(tmp_path / "reads.csv", votes)
        evaluate_cq500(reads, out / "cq500", sources=sources, model=model, figures=False, device="cpu", replicates=2)
    rows = {path.parent.name: _counted(read_qc(path)) for path in sorted(out.glob("*/qc.csv"))}
    rows["API"] = _counted(loaded.predict(sources).qc)

    assert len(rows) == 4 + (make is not store_beside_its_files)
    for name, found in rows.items():
        assert found == rows["predict"], name
    capsys.readouterr()
    explanations = list(loaded.explain(sources, labels=["any"]))
    said = [line for line in capsys.readouterr().err.splitlines() if "isn't explained" in line]
    refused = [row for row in read_qc(out / "predict" / "qc.csv") if is_refused(row)]
    assert len(explanations) == len(loaded.predict(sources))
    assert len(said) == len(refused) > 0
    codes = Counter(row.code for row in refused)
    if make is odd_files:
        assert codes == {"DUP_UID_DIFF": 3, "TRUNCATED": 1, "BLANK": 1, "LOCALIZER": 2}
