"""Nothing of use: every command says the same sentence, with all codes, their counts, and an example with its cure."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from toy_model import write_model

from ich25d.errors import UsageError
from ich25d.explain.run import explain
from ich25d.phantom.dicom import dicom_bytes
from ich25d.predict.run import predict
from ich25d.studies.build import build_studies
from ich25d.studies.no_usable_input import nothing_used
from ich25d.studies.qc import QcRow
from ich25d.view.report.run import report

SENTENCE = (
    r"there must be a head CT series \(got 3 files or images: 2 TRUNCATED, 1 NOT_CT; e\.g\. a\.dcm: TRUNCATED, the "
    r"file ends before its image does; copy it again from where it is whole\)"
)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Two slices whose files were cut, and an image of another kind."""
    folder = tmp_path / "in"
    folder.mkdir()
    hu = np.zeros((32, 32), dtype=np.int16)
    for name in "ab":
        (folder / f"{name}.dcm").write_bytes(dicom_bytes(hu, image_id=f"ID_{name}")[:-500])
    (folder / "c.dcm").write_bytes(dicom_bytes(hu, image_id="ID_c", extra={(0x0008, 0x0060): ("CS", "MR")}))
    return folder


@pytest.mark.parametrize(
    "command",
    [
        lambda source, out, _: build_studies((source,), out, workers=1),
        lambda source, out, model: predict((source,), model(), out / "s.csv", device="cpu"),
        lambda source, out, model: report((source,), model(), out, device="cpu"),
        lambda source, out, model: explain((source,), model(), out, device="cpu"),
    ],
    ids=["build-studies", "predict", "report", "explain"],
)
def test_every_command_says_the_same(command: Callable[..., object], broken: Path, tmp_path: Path) -> None:
    """And writes nothing."""
    out = tmp_path / "out"
    with pytest.raises(UsageError, match=f"^{SENTENCE}$"):
        command(broken, out, lambda: write_model(tmp_path / "model", folds=1))

    assert not out.exists()


def test_an_empty_folder_is_told_apart() -> None:
    """Without a refusal there is no code to name."""
    assert "got 0 files or images); name the folder" in str(nothing_used(0, []))


def test_what_is_no_dicom_is_the_last_example() -> None:
    """One scan among a thousand notes is what was meant; long and odd paths are shown safely."""
    notes = [QcRow(f"{index}.txt", "", "", "file", "NOT_DICOM", "") for index in range(1000)]
    cut = QcRow("x" * 200 + "/=1+1\n.dcm", "", "", "file", "PIXEL_SHORT", "")
    said = str(nothing_used(1001, [*notes, cut], "readable series"))

    assert said.startswith("there must be a readable series (got 1001 files or images: 1000 NOT_DICOM, 1 PIXEL_SHORT;")
    assert "xxx/=1+1\\x0a.dcm: PIXEL_SHORT" in said
    assert len(said) < 350
