"""Files are written whole or not at all, and stay where they belong."""

import contextlib
import errno
import fcntl
import functools
import os
import tempfile
from io import BytesIO
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich25d.errors import Ich25dError, LabelError, StoreError, TableError
from ich25d.files import file_key, inside, locked, read_parquet, replacing, shown_name, write_json, write_text
from ich25d.predict.finished_series import finished_folder
from ich25d.studies.qc import QcRow, write_qc
from ich25d.studies.table_file import read_table
from ich25d.training.operating_point import OperatingPoint
from ich25d.view.report.worklist import worklist_page


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """Neither half a file nor a temporary one stays."""
    target = tmp_path / "file.txt"
    write_text(target, "old")

    def write_half() -> None:
        with replacing(target) as part:
            part.write_text("ne")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_process_left_is_used_again(tmp_path: Path) -> None:
    """Half a file stays after a kill, until the same file is written again; one that is being written is left alone."""
    target, left = tmp_path / "file.txt", tmp_path / ".file.txt.part"
    left.write_text("half of something longer")
    with replacing(target) as part:
        assert part == left
        part.write_text("one")
        with replacing(target) as other:
            assert other != part
            other.write_text("two")
        assert target.read_text() == "two"
    assert target.read_text() == "one"
    assert list(tmp_path.iterdir()) == [target]


@given(st.integers(0, 10**6), st.integers(0, 7))
def test_a_damaged_parquet_is_a_sentence(at: int, bit: int) -> None:
    """Whatever pandas and Arrow raise for a flipped bit becomes one class, which names the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.parquet"
        content = _parquet()
        at %= len(content)
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
        with contextlib.suppress(TableError):
            read_parquet(path)
        path.write_bytes(content[: at // 2])
        with pytest.raises(TableError, match=r"must be readable parquet \(got .*t\.parquet; make it again"):
            read_parquet(path)
        path.unlink()
        with pytest.raises(FileNotFoundError, match="No such file") as caught:
            read_parquet(path)
        assert caught.value.filename == str(path)


def test_a_parquet_that_swells_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """Five million rows of one text take some kilobytes on disk and hundreds of megabytes in memory."""
    path = tmp_path / "t.parquet"
    batch = pa.table({"ID": pa.array(["ID_000000000_any"] * 10**6).dictionary_encode(), "Label": pa.nulls(10**6)})
    with pyarrow.parquet.ParquetWriter(path, batch.schema) as writer:
        for _ in range(5):
            writer.write_table(batch)
    with pytest.raises(TableError, match=r"5000000 rows in \d+ bytes"):
        read_parquet(path)
    with pytest.raises(LabelError, match=r"5000000 rows in \d+ bytes"):
        read_table(path)


@functools.cache
def _parquet() -> bytes:
    table = pd.DataFrame({"image_id": ["a", "b"], "any": pd.array([1, None], dtype="Int8"), "x": [0.5, 1.5]})
    target = BytesIO()
    table.to_parquet(target, index=False)
    return target.getvalue()


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """With the file that was to be, not the temporary one."""
    target = tmp_path / "weights"

    with pytest.raises(OSError, match="No space left on device") as caught, replacing(target):
        raise FULL
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(target))
    assert list(tmp_path.iterdir()) == []


def test_json_refuses_nan(tmp_path: Path) -> None:
    """A NaN isn't JSON; other readers would choke on it."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"score": float("nan")})
    assert list(tmp_path.iterdir()) == []


@given(st.text(max_size=300))
def test_any_identifier_gives_a_plain_file_name(identifier: str) -> None:
    """No separators, no dots that climb, no length that a file system refuses."""
    key = file_key(identifier)

    assert len(key) <= 80
    assert "/" not in key
    assert "\\" not in key
    assert ".." not in key
    assert key not in ("", ".")


def test_plain_ids_stay_readable() -> None:
    """UIDs and RSNA's ids are their own names."""
    assert file_key("ID_0002bd10a") == "ID_0002bd10a"
    assert file_key("1.2.840.113619") == "1.2.840.113619"


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x"])
def test_refuses_a_path_that_leaves_its_folder(tmp_path: Path, path: str) -> None:
    """A path out of a file is a stranger's word."""
    with pytest.raises(Ich25dError, match="must stay in it"):
        inside(tmp_path, path)
    assert inside(tmp_path, "a/b") == tmp_path / "a" / "b"


def test_a_held_lock_is_told_from_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second process is refused; without locks, as on some network drives, work goes on with a remark."""
    lock = tmp_path / "lock"
    with (
        locked(lock, "builds it", StoreError),
        pytest.raises(StoreError, match=r"^one process at a time builds it \(got a second one\)"),
        locked(lock, "builds it", StoreError),
    ):
        pass

    def refuses(number: int) -> None:
        def flock(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", flock)

    for error in (StoreError, None):
        refuses(errno.ENOLCK)
        with locked(lock, "builds it", error):
            pass
        assert "file system without locks: make sure that no other process builds it" in capsys.readouterr().err
        refuses(errno.EIO)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)), locked(lock, "builds it", error):
            pass


def test_predicting_goes_on_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished series are kept in a folder whose lock can't be had, and go with it."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with finished_folder(tmp_path / "s.csv", "model"):
        assert [path.name for path in tmp_path.iterdir()] == [".s.csv.parts"]
    assert not list(tmp_path.iterdir())


def test_a_page_names_a_file_whose_name_is_no_utf8(tmp_path: Path) -> None:
    """A refused archive of such a name stands in the report's list; the same spelling is that of the tables."""
    name = os.fsdecode(b"scan\xff \xc3\xa9.zip")
    rows = [QcRow(name, "", "", "file", "ZIP_DAMAGED", "cut off")]
    worklist_page([], rows, points=(OperatingPoint(),), model="m").write(tmp_path / "index.html")
    write_qc(tmp_path / "qc.csv", rows)
    for written in ("index.html", "qc.csv"):
        assert "scan\\xff é.zip" in (tmp_path / written).read_text(encoding="utf-8")
    assert shown_name(name) == "scan\\xff é.zip"
