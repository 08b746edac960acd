"""Nothing of use: every command ends with the same sentence, with codes, counts, and examples with their cure."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from toy_model import write_model

from ich25d.cli.app import main
from ich25d.errors import UsageError
from ich25d.explain.run import explain
from ich25d.phantom.dicom import dicom_bytes
from ich25d.predict.run import predict
from ich25d.studies.build import build_studies
from ich25d.studies.no_usable_input import nothing_used
from ich25d.studies.qc import QcRow, read_qc
from ich25d.view.report.run import report

SENTENCE = (
    r"there must be a head CT series \(got 3 files or images: 2 TRUNCATED, 1 NOT_CT\)\n"
    r"  TRUNCATED, as a\.dcm: [^\n]+; copy it again from where it is whole\n"
    r"  NOT_CT, as c\.dcm: [^\n]+; name the folder [^\n]+"
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
    lines = str(nothing_used(1001, [*notes, cut], "readable series")).splitlines()

    assert lines[0] == "there must be a readable series (got 1001 files or images: 1000 NOT_DICOM, 1 PIXEL_SHORT)"
    assert [line.split(",")[0] for line in lines[1:]] == ["  PIXEL_SHORT", "  NOT_DICOM"]
    assert "xxx/=1+1\\x0a.dcm: " in lines[1]
    assert all(len(line) < 200 for line in lines)


def test_rows_are_shown_with_their_own_sentence() -> None:
    """The commonest of a code: the table of codes only says what a code means at large."""
    rows = [QcRow("images.csv", str(n), "", "slice", "BAD_TABLE", f"no file {n}") for n in range(2)]
    rows += [QcRow("images.csv", str(n), "", "slice", "BAD_TABLE", "the window's width is 0") for n in range(2, 5)]
    rows.append(QcRow("images.csv", "7", "", "slice", "DUP_UID_DIFF", "files of one id hold different pixels"))
    lines = str(nothing_used(6, rows)).splitlines()

    assert lines[1] == "  BAD_TABLE, as images.csv: the window's width is 0; correct it"
    assert lines[2].startswith("  DUP_UID_DIFF, as images.csv: files of one id hold different pixels; ")


def test_the_command_line_names_a_file_with_all_rows(broken: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    """In the temporary folder and for this user alone: the output's folder stays as it was."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(sys, "argv", ["ich25d", "build-studies", str(broken), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="2"):
        main()
    last = capsys.readouterr().err.splitlines()[-1]
    path = Path(last.removeprefix("all 3 rows: "))

    assert [row.code for row in read_qc(path)] == ["TRUNCATED", "TRUNCATED", "NOT_CT"]
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rows", [3, 1])
def test_the_sentence_comes_without_such_a_file_too(rows: int, tmp_path: Path, monkeypatch, capsys) -> None:
    """Where no temporary folder is writable (it ended in a traceback), and where nothing was refused but remarked."""
    code = "TRUNCATED" if rows == 3 else "GAP_HOLE"
    error = nothing_used(rows, [QcRow(f"{n}.dcm", "", "", "file", code, "") for n in range(rows)])
    monkeypatch.setattr("ich25d.cli.app.app", Mock(side_effect=error))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(SystemExit, match="2"):
        main()

    assert capsys.readouterr().err == f"{error}\n"
