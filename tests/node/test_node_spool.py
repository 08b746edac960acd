"""The spool: what it has taken is there whatever happens, once, and within its limits."""

import errno
import threading
from pathlib import Path
from typing import Any

import pytest
from node_walk import images, study_uid

from ich25d import files
from ich25d.errors import DicomError
from ich25d.node.arrived import Arrived, arrived, arrived_file, file_meta
from ich25d.node.settings import Limits
from ich25d.node.spool import Spool, SpoolFullError


class Clock:
    """Seconds that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        """Tell them."""
        return self.now


def image(study: str, text: str, n_bytes: int = 10) -> Arrived:
    """Return bytes that stand for an image."""
    return Arrived(study, f"{text}.dcm", text.encode().ljust(n_bytes, b"."))


def names(folder: Path | None) -> set[str]:
    """Return the images of a closed study."""
    return set() if folder is None else {path.name for path in (folder / "images").iterdir()}


def test_a_study_is_complete_when_nothing_came_for_a_while(tmp_path: Path) -> None:
    """Two interleaved; the one that was silent first is given first, and each image once."""
    clock = Clock()
    spool = Spool(tmp_path, Limits(free_bytes=0), clock=clock)
    for study, text in (("a", "1"), ("b", "2"), ("a", "3"), ("a", "1")):
        spool.add(image(study, text))
        clock.now += 1
    assert spool.next_closed(30) is None
    clock.now = 33
    assert spool.next_closed(30) == "b"
    clock.now = 100
    taken = [spool.take(spool.next_closed(30) or "", ()) for _ in range(2)]

    assert [names(folder) for folder in taken] == [{"2.dcm"}, {"1.dcm", "3.dcm"}]
    assert spool.next_closed(30) is None


def test_late_images_join_and_known_ones_do_not(tmp_path: Path) -> None:
    """The study is given again with all its images; a repetition of what was answered is no news."""
    clock = Clock()
    spool = Spool(tmp_path, Limits(free_bytes=0), clock=clock)
    spool.add(image("a", "1"))
    clock.now = 31
    assert names(spool.take("a", ())) == {"1.dcm"}
    spool.answered("a")
    spool.add(image("a", "1"))
    assert spool.take("a", {"1.dcm"}) is None
    spool.add(image("a", "2"))
    assert names(spool.take("a", {"1.dcm"})) == {"1.dcm", "2.dcm"}
    spool.answered("a")
    clock.now += 3601
    spool.sweep()

    assert not (tmp_path / "closed" / "a").exists()
    assert spool.used == 0


def test_a_new_spool_finds_what_an_old_one_left(tmp_path: Path) -> None:
    """Images of open studies, closed ones first; what was half written and never acknowledged goes."""
    clock = Clock()
    first = Spool(tmp_path, Limits(free_bytes=0), clock=clock)
    for study in ("a", "b"):
        first.add(image(study, study))
    first.take("a", ())
    (tmp_path / "arriving" / "b" / ".b.dcm.xyz.part").write_bytes(b"half")
    again = Spool(tmp_path, Limits(free_bytes=0), clock=clock)

    assert again.used == first.used == 20
    assert again.next_closed(30) == "a"
    assert names(again.take("a", ())) == {"a.dcm"}
    assert again.next_closed(30) is None
    clock.now = 31
    assert names(again.take(again.next_closed(30) or "", ())) == {"b.dcm"}


def test_a_full_spool_gives_up_what_is_answered_and_then_puts_off(tmp_path: Path) -> None:
    """Nothing that isn't answered is removed for room; unsent results count."""
    unsent = [0]
    spool = Spool(tmp_path, Limits(spool_bytes=100, free_bytes=0), others=lambda: unsent[0])
    spool.add(image("a", "1", 60))
    spool.take("a", ())
    with pytest.raises(SpoolFullError, match="must stay below 100 bytes"):
        spool.add(image("b", "2", 60))
    spool.answered("a")
    spool.add(image("b", "2", 60))

    assert not (tmp_path / "closed" / "a").exists()
    unsent[0] = 41
    with pytest.raises(SpoolFullError):
        spool.add(image("b", "3", 10))
    assert spool.used == 60 + 41


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_an_image_that_the_disk_does_not_take_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """It wasn't acknowledged: no file, no bytes of the limit; the next one is taken."""
    spool = Spool(tmp_path, Limits(free_bytes=0))

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        if broken == "fsync":
            patched.setattr(files.os, "fsync", full)
        else:
            patched.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space"):
            spool.add(image("a", "1"))
    assert spool.used == 0
    assert list(tmp_path.rglob("*.dcm")) == []
    spool.add(image("a", "1"))
    assert spool.used == 10


def test_many_threads_lose_nothing(tmp_path: Path) -> None:
    """Twenty senders of five studies while these are closed again and again; every image is in one closed study."""
    spool = Spool(tmp_path, Limits(free_bytes=0))
    ends = threading.Barrier(21)

    def send(number: int) -> None:
        for index in range(20):
            spool.add(image(f"s{(number + index) % 5}", f"{number}-{index}"))
        ends.wait()

    senders = [threading.Thread(target=send, args=(number,)) for number in range(20)]
    for one in senders:
        one.start()
    while ends.n_waiting < 20:
        if study := spool.next_closed(0):
            spool.take(study, ())
    ends.wait()
    while study := spool.next_closed(0):
        spool.take(study, ())
    for one in senders:
        one.join()
    found = [path.name for path in (tmp_path / "closed").glob("*/images/*.dcm")]

    assert sorted(found) == sorted(f"{number}-{index}.dcm" for number in range(20) for index in range(20))
    assert list((tmp_path / "arriving").iterdir()) == []
    assert spool.used == 400 * 10


def test_the_file_of_an_image_is_named_by_its_content() -> None:
    """Study by UID; the same bytes have the same name, others under the same UID another one; it is a DICOM file."""
    content = images(1, n=1)[0]
    start = content.index(b"\x08\x00", 132)
    options = {"sop_class": "1.2.840.10008.5.1.4.1.1.2", "sop_instance": "2.25.1.3.1",
               "transfer_syntax": "1.2.840.10008.1.2.1"}  # fmt: skip
    first = arrived(content[start:], **options)
    other = arrived(content[start:-2] + b"\1\2", **options)

    assert first.study == other.study == study_uid(1)
    assert first.name == arrived(memoryview(content[start:]), **options).name != other.name
    assert first.content[128:132] == b"DICM"
    assert first.content.endswith(content[start:])


@pytest.mark.parametrize("junk", [b"", b"junk", bytes(5000), b"\x08\x00\x05\x00" * 100])
def test_what_is_no_data_set_is_refused(junk: bytes) -> None:
    """By its code, with the UID that the sender named."""
    with pytest.raises(DicomError) as refused:
        arrived(junk, sop_class="1.2", sop_instance="1.2.3", transfer_syntax="1.2.840.10008.1.2.1")
    assert refused.value.image_id == "1.2.3"


def test_a_hostile_uid_becomes_no_path() -> None:
    """It is hashed."""
    content = images(1, n=1)[0].replace(b"UI\x08\0002.25.1.1", b"UI\x08\000../../xx")

    study = arrived_file(content, "1.2.3").study
    assert ".." not in study
    assert "/" not in study
    assert len(file_meta("1", "1", "1")) % 2 == 0


def test_a_study_whose_images_had_no_room_stays_open_for_them(tmp_path: Path) -> None:
    """Its sender comes again; but not without end, as it may be what takes the room."""
    clock = Clock()
    spool = Spool(tmp_path, Limits(spool_bytes=15, free_bytes=0, put_off_s=100), clock=clock)
    spool.add(image("a", "1"))
    for clock.now in (20, 40, 60, 119):  # the clock is moved
        with pytest.raises(SpoolFullError):
            spool.add(image("a", "2"))
        assert spool.next_closed(30) is None
    clock.now = 130
    with pytest.raises(SpoolFullError):
        spool.add(image("a", "2"))
    clock.now = 150

    assert spool.next_closed(30) == "a"
