"""Damaged files through `build-studies`: each ends in one row, whatever was done to it."""

from pathlib import Path

import pytest
from hard_to_break import accounted, bombs
from hard_to_break.mutants import mutant
from hard_to_break.scan import COMPRESSED, compressed, head_hu, sound_file

from ich25d.dicom.codes import is_refusal
from ich25d.dicom.reader import read_header, read_hu
from ich25d.studies.qc import QcRow


@pytest.mark.parametrize("syntax", COMPRESSED, ids=COMPRESSED.get)
def test_what_is_damaged_was_sound(syntax: str) -> None:
    """Before anything is damaged, every codec gives the pixels back."""
    content = compressed(sound_file(13), syntax)
    assert (read_hu(content, read_header(content, total_size=len(content))).hu == head_hu(seed=1)[3]).all()


def test_a_mutant_is_the_same_each_time() -> None:
    """A failure is repeated by its number and its seed; other numbers and seeds give others."""
    for kind in ("headers", "frames"):
        assert mutant(kind, 0, 7) == mutant(kind, 0, 7)
        assert len({mutant(kind, seed, index) for seed in (0, 1) for index in range(50)}) > 90


@pytest.mark.parametrize(("kind", "n"), [("headers", 1000), ("frames", 80)])
def test_every_mutant_ends_in_one_row(kind: str, n: int) -> None:
    """Used or refused, once; nothing unforeseen; many reasons are met."""
    account = accounted.account_of(kind, 1, 0, n)
    assert account.faults == []
    assert sum(account.ends.values()) == n
    assert account.ends["used"] > n / 20
    assert len(account.ends) > 4


def test_a_broken_account_is_seen() -> None:
    """No row, two rows, a row of no file, an unforeseen error."""
    rows = [QcRow("1.dcm", "", "", "file", "NOT_CT", ""), QcRow("9.dcm", "", "", "file", "NOT_CT", "")]
    rows += [QcRow("2.dcm", "", "", "file", "READ_FAILED", ""), QcRow("4.dcm#2", "", "", "slice", "SHAPE", "")]
    found = accounted.judged(rows, ["1.dcm", "3.dcm", "4.dcm#1"], 0, 5, ["READ_FAILED"]).faults
    assert {index for index, _ in found} == {0, 1, 2}
    assert any("'9.dcm'" in what for _, what in found)


def test_bombs_cost_little_memory(tmp_path: Path) -> None:
    """Files that claim or inflate to gigabytes, all at once beside a sound scan: each refused, at most 512 MB."""
    source = tmp_path / "in"
    source.mkdir()
    for index in range(10):
        (source / f"{index}.dcm").write_bytes(sound_file(index))
    names = ("deflated data set of 1.6 GB", "Rows and Columns of 65,535", "JPEG with a second frame header",
             "JPEG 2000 of 16,384 components", "2,147,483,647 frames", "zip that lies of a size")  # fmt: skip
    for name in names:
        (tmp_path / "one").mkdir()
        bombs.BOMBS[name](tmp_path / "one")
        for path in (tmp_path / "one").iterdir():
            path.rename(source / f"{names.index(name)} {path.name}")
        (tmp_path / "one").rmdir()

    found = bombs.measured(["build-studies", str(source), "--out", str(tmp_path / "out"), "--workers", "1"])

    assert bombs.faults_of(found) == [], found.output
    rows, used = accounted.read(tmp_path / "out")
    assert len(used) == 10
    assert len({row.source.partition(":")[0] for row in rows if is_refusal(row.code)}) == len(names)
