"""One study at the desk: answered once, wherever it is interrupted, and odd images cost themselves alone."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from node_walk import images, study_uid

from ich25d.node import study as study_module
from ich25d.node.arrived import arrived_file
from ich25d.node.records import Record, Records
from ich25d.node.refusals import Refusals
from ich25d.node.settings import Limits
from ich25d.node.spool import Spool
from ich25d.node.study import Desk
from ich25d.predict.network import Network, load_network
from ich25d.studies.qc import QcRow, read_qc
from ich25d.training.operating_point import read_points


@pytest.fixture(scope="module")
def network(model: Path) -> Network:
    """The toy model, loaded."""
    return load_network(model, "cpu", "torch")


class Walk:
    """A spool and a desk in a folder, as a node has them; opened anew after each interruption."""

    def __init__(self, folder: Path, network: Network) -> None:
        (folder / "outbox").mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.spool = Spool(folder / "spool", Limits(free_bytes=0))
        self.desk = Desk(
            network, read_points(network.folder), folder / "report", folder / "outbox", Records(folder / "studies"),
            Refusals(folder / "refused.jsonl"),
        )  # fmt: skip

    def add(self, files: list[bytes]) -> None:
        """Take files."""
        for content in files:
            self.spool.add(arrived_file(content, ""))

    def step(self) -> Record | None:
        """Answer a study, as a node's main thread does."""
        study = self.spool.next_closed(0)
        if study is None:
            return None
        earlier = self.desk.records.read(study)
        folder = self.spool.take(study, earlier.images if earlier else ())
        if folder is None:
            assert earlier is not None
            self.desk.post_left(study, self.spool.closed_folder(study), earlier)
            return None
        record = self.desk.answer(study, folder)
        self.spool.answered(study)
        return record

    def sent(self) -> list[str]:
        """Return the UIDs of what waits to be sent."""
        return sorted(pydicom.dcmread(path).SOPInstanceUID for path in (self.folder / "outbox").rglob("*.dcm"))


@pytest.mark.parametrize("where", ["predict", "Records.write", "Desk.post", "Desk.write_worklist"])
def test_an_interrupted_answer_is_given_once(
    tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Before and after each step; what waits to be sent is the same as without the interruption, once."""
    whole = Walk(tmp_path / "whole", network)
    whole.add(images(1))
    whole.step()

    class Killed(BaseException):
        pass

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    walk = Walk(tmp_path / "killed", network)
    walk.add(images(1))
    with monkeypatch.context() as patched:
        if where == "predict":
            patched.setattr(study_module, "rows_of", kill)
        else:
            owner, name = where.split(".")
            patched.setattr(getattr(study_module, owner), name, kill)
        with pytest.raises(Killed):
            walk.step()
    again = Walk(tmp_path / "killed", network)
    while again.spool.next_closed(0):
        again.step()
    again.desk.write_worklist()

    assert len(again.sent()) >= 1
    assert again.sent() == whole.sent()
    assert (tmp_path / "killed" / "report" / "studies" / "2.25.1.2.html").is_file()
    assert "2.25.1.2" in (tmp_path / "killed" / "report" / "worklist.csv").read_text()
    record = again.desk.records.read(study_uid(1))
    assert record is not None
    assert record.images == whole.desk.records.read(study_uid(1)).images  # type: ignore[union-attr]


def test_odd_images_cost_themselves(tmp_path: Path, network: Network) -> None:
    """A cut image and another modality are rows of qc.csv; the series is predicted without them."""
    walk = Walk(tmp_path, network)
    good = images(1)
    cut = good[3][:-100]
    foreign = images(1, n=1, first=5)[0].replace(b"1.2.840.10008.5.1.4.1.1.2\0", b"1.2.840.10008.5.1.4.1.1.4\0")
    walk.add([*good[:3], cut, foreign.replace(b"CS\x02\x00CT", b"CS\x02\x00MR")])
    record = walk.step()
    codes = {row.code for row in read_qc(tmp_path / "report" / "qc.csv")}

    assert record is not None
    assert [row.n_slices for row in record.rows if row.probability] == [3]
    assert {"TRUNCATED", "NOT_CT"} <= codes
    assert len(walk.sent()) >= 1


def test_a_study_without_a_head_is_a_row_and_nothing_is_sent(tmp_path: Path, network: Network) -> None:
    """Nothing can be read of it."""
    walk = Walk(tmp_path, network)
    walk.add([content[:-100] for content in images(1)])
    record = walk.step()

    assert record is not None
    assert record.objects == ()
    assert walk.sent() == []
    assert [row.state for row in record.rows] == ["refused"]
    assert walk.step() is None


def test_a_late_image_sends_what_is_new_alone(tmp_path: Path, network: Network) -> None:
    """The series that grew gets other objects; those of the first answer aren't sent again."""
    walk = Walk(tmp_path, network)
    walk.add(images(1))
    first = walk.step()
    walk.add(images(1, n=1, first=4))
    second = walk.step()
    known = walk.desk.records.read(study_uid(1))

    assert first is not None
    assert second is not None
    assert known is not None
    assert set(first.objects).isdisjoint(second.objects)
    assert set(known.objects) == {*first.objects, *second.objects} == set(walk.sent())
    assert [row.n_slices for row in known.rows] == [5]


def test_series_of_one_uid_in_two_studies_have_two_pages(tmp_path: Path, network: Network) -> None:
    """Else one study's page would show the other's head."""
    walk = Walk(tmp_path, network)
    walk.add(images(1))
    walk.step()
    walk.add([content.replace(b"UI\x08\0002.25.1.1", b"UI\x08\0002.25.9.1") for content in images(1)])
    record = walk.step()

    assert record is not None
    assert [row.series_id for row in record.rows] != ["2.25.1.2"]
    assert len(list((tmp_path / "report" / "studies").glob("*.html"))) == 2
    assert "DUP_SERIES_UID" in record.rows[0].codes


def test_the_worklist_keeps_the_last_studies(tmp_path: Path, network: Network) -> None:
    """Older records and pages go."""
    walk = Walk(tmp_path, network)
    walk.desk.n_shown = 2
    for number in (1, 2, 3):
        walk.add(images(number, n=2))
        walk.step()

    assert sorted(path.name for path in (tmp_path / "report" / "studies").iterdir()) == [
        "2.25.2.2.html",
        "2.25.3.2.html",
    ]
    assert len(walk.desk.records) == 2


def test_records_and_refusals_survive(tmp_path: Path) -> None:
    """As they were; a damaged record is none, a line that was cut is left out."""
    records = Records(tmp_path / "studies")
    record = Record(("a",), ("1.2",), qc=(QcRow("", "x", "", "file", "NOT_DICOM", "no"),))
    records.write("s", record)
    (tmp_path / "studies" / "t.json").write_text('{"images": [')
    assert records.read("s") == record
    assert records.read("t") is None
    assert record.after(replace(record, images=("b",), objects=("0",))).images == ("b", "a")

    refusals = Refusals(tmp_path / "refused.jsonl")
    refusals.add(record.qc[0])
    with (tmp_path / "refused.jsonl").open("a") as file:
        file.write(json.dumps({"source": ""})[:-3])
    assert Refusals(tmp_path / "refused.jsonl").rows() == [record.qc[0]]
