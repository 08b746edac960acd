"""Listing: every file once, in an order of its own, whatever the sources hold."""

import os
import pickle
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from ich25d.errors import DicomError, UsageError
from ich25d.studies.sources import listing
from ich25d.studies.sources import opened as source
from ich25d.studies.sources.listing import Entry, list_entries
from ich25d.studies.sources.opened import Sources


def tree(root: Path, files: dict[str, bytes]) -> Path:
    """Write files below a folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    """Write an archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def names(entries: list[Entry]) -> list[str]:
    """Return where entries are."""
    return [entry.source for entry in entries]


def test_lists_folders_of_any_depth_and_archives_in_them(tmp_path: Path) -> None:
    """Folders, loose files and archives in folders give their bytes, sorted by path."""
    tree(tmp_path, {"b/2.dcm": b"two", "a/deep/er/1": b"one", "c": b"three"})
    zipped(tmp_path / "b/x.zip", {"in/4.dcm": b"four", "5": b"five"})

    entries, rows = list_entries([tmp_path])

    assert names(entries) == ["a/deep/er/1", "b/2.dcm", "b/x.zip::5", "b/x.zip::in/4.dcm", "c"]
    assert rows == []
    with closing(Sources([tmp_path])) as sources:
        assert [sources.content(entry) for entry in entries] == [b"one", b"two", b"five", b"four", b"three"]
        assert [sources.head(entry, 2) for entry in entries] == [b"on", b"tw", b"fi", b"fo", b"th"]
        assert [sources.head(entry, 99) for entry in entries] == [b"one", b"two", b"five", b"four", b"three"]


def test_the_list_does_not_depend_on_the_order_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may name files in any order; of links to one file the same one stays."""
    tree(tmp_path, {f"{a}/{b}.dcm": f"{a}{b}".encode() for a in "xyz" for b in "pqr"})
    (tmp_path / "z/link.dcm").symlink_to(tmp_path / "x/p.dcm")
    (tmp_path / "a.dcm").symlink_to(tmp_path / "x/p.dcm")
    expected = list_entries([tmp_path])

    class Backwards:
        def __init__(self, path: Path) -> None:
            with scandir(path) as scan:
                self.items = list(scan)[::-1]

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.items

        def __exit__(self, *_: object) -> None:
            pass

    scandir = os.scandir
    monkeypatch.setattr(listing.os, "scandir", Backwards)

    assert list_entries([tmp_path]) == expected


def test_every_file_is_listed_or_has_a_row(tmp_path: Path) -> None:
    """Nothing that was seen goes without a word."""
    tree(
        tmp_path,
        {
            "good.dcm": b"x", "again.dcm": b"x", "empty.dcm": b"", ".DS_Store": b"x", "sub/._good.dcm": b"x",
            "Thumbs.db": b"x", "label.csv": b"ID,Label\n",
        },
    )  # fmt: skip
    (tmp_path / "second name.dcm").hardlink_to(tmp_path / "good.dcm")
    (tmp_path / "link.dcm").symlink_to("again.dcm")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "sub/loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    zipped(
        tmp_path / "scans.zip",
        {"1.dcm": b"x", "__MACOSX/._1.dcm": b"x", "../up.dcm": b"x", "inner.zip": b"PK", "e.dcm": b""},
    )
    (tmp_path / "no.zip").write_bytes(b"no archive")

    entries, rows = list_entries([tmp_path])

    assert names(entries) == ["again.dcm", "good.dcm", "label.csv", "scans.zip::1.dcm"]
    assert sorted((row.source, row.code) for row in rows) == [
        (".DS_Store", "NOT_DICOM"),
        ("Thumbs.db", "NOT_DICOM"),
        ("broken", "NOT_FILE"),
        ("empty.dcm", "EMPTY"),
        ("link.dcm", "SAME_FILE"),
        ("no.zip", "ZIP_DAMAGED"),
        ("pipe", "NOT_FILE"),
        ("scans.zip::../up.dcm", "ZIP_NAME"),
        ("scans.zip::__MACOSX/._1.dcm", "NOT_DICOM"),
        ("scans.zip::e.dcm", "EMPTY"),
        ("scans.zip::inner.zip", "ZIP_NESTED"),
        ("second name.dcm", "SAME_FILE"),
        ("sub/._good.dcm", "NOT_DICOM"),
        ("sub/loop", "NOT_FILE"),
    ]
    assert {row.level for row in rows} == {"file"}


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ((), ["test/3.dcm", "train/1.dcm", "train/2.txt"]),
        (("*train/*",), ["train/1.dcm", "train/2.txt"]),
        (("train/*",), ["train/1.dcm", "train/2.txt"]),
        (("*.dcm",), ["test/3.dcm", "train/1.dcm"]),
        (("1.dcm", "test/*"), ["test/3.dcm", "train/1.dcm"]),
        (("train/[0-1].d?m",), ["train/1.dcm"]),
    ],
)
def test_only_picks_files_and_members_alike(tmp_path: Path, only: tuple[str, ...], expected: list[str]) -> None:
    """Patterns mean the same in a folder and in its archive, from any folder on."""
    files = {"train/1.dcm": b"x", "train/2.txt": b"x", "test/3.dcm": b"x"}
    folder = tree(tmp_path / "rsna", files)
    archive = zipped(tmp_path / "train.zip", {f"rsna/{name}": content for name, content in files.items()})

    assert names(list_entries([folder], only)[0]) == expected
    assert names(list_entries([archive], only)[0]) == [f"train.zip::rsna/{name}" for name in expected]


def test_only_can_name_the_archive(tmp_path: Path) -> None:
    """With :: in the pattern, the archive's path counts too."""
    zipped(tmp_path / "CQ500CT1.zip", {"a": b"x"})
    zipped(tmp_path / "CQ500CT2.zip", {"a": b"y"})

    assert names(list_entries([tmp_path], ["*CT2.zip::*"])[0]) == ["CQ500CT2.zip::a"]


def test_a_pattern_without_a_match_stops(tmp_path: Path) -> None:
    """A slip in --only must not end in half the data."""
    tree(tmp_path, {"a.dcm": b"x", "b.dcm": b"y"})

    with pytest.raises(
        UsageError, match=r"must match a file \(got \['\*.dmc'\]\); the sources hold 2 files, as 'a.dcm'"
    ):
        list_entries([tmp_path], ["*.dcm", "*.dmc"])


def test_a_source_must_exist(tmp_path: Path) -> None:
    """A path that isn't there is a mistake, not an empty source."""
    with pytest.raises(UsageError, match="sources must be folders, files or archives that exist"):
        list_entries([tmp_path / "nowhere"])


def test_names_of_odd_bytes_survive(tmp_path: Path) -> None:
    """Names are bytes: no UTF-8, line breaks, spaces and the mark itself."""
    odd = [b"\xff\xfe.dcm", "頭 \n.dcm".encode(), b"a::b.dcm", b" .dcm", b"x.zip::y"]
    for name in odd:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:  # noqa: PTH118, PTH123
            file.write(name)

    entries, rows = list_entries([tmp_path])

    assert sorted(os.fsencode(entry.source) for entry in entries) == sorted(odd)
    assert rows == []
    with closing(Sources([tmp_path])) as sources:
        assert all(sources.content(entry) == os.fsencode(entry.source) for entry in entries)


def test_single_files_and_archives_under_other_names(tmp_path: Path) -> None:
    """What the user names is opened by content; a DICOM may start like a zip."""
    image = tree(tmp_path, {"image": bytes(128) + b"DICM"}) / "image"
    archive = zipped(tmp_path / "download", {"1.dcm": b"x"})
    polyglot = tmp_path / "polyglot"
    polyglot.write_bytes(b"PK\3\4" + bytes(124) + b"DICM and more")

    entries, rows = list_entries([image, archive, polyglot])

    assert [(entry.root, entry.source) for entry in entries] == [(0, "image"), (1, "download::1.dcm"), (2, "polyglot")]
    assert rows == []
    with closing(Sources([image, archive, polyglot])) as sources:
        assert [len(sources.content(entry)) for entry in entries] == [132, 1, 141]


def test_sources_given_twice_count_once(tmp_path: Path) -> None:
    """A folder inside another source is listed once, the rest has its rows."""
    tree(tmp_path, {"sub/a.dcm": b"x"})

    entries, rows = list_entries([tmp_path / "sub", tmp_path])

    assert [(entry.root, entry.source) for entry in entries] == [(0, "a.dcm")]
    assert [(row.source, row.code) for row in rows] == [("sub/a.dcm", "SAME_FILE")]


def test_of_members_of_one_name_the_last_stays(tmp_path: Path) -> None:
    """As every unpacker has it."""
    path = tmp_path / "twice.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.dcm", b"first")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.dcm", b"second")

    entries, rows = list_entries([path])

    assert [row.code for row in rows] == ["ZIP_DUPLICATE"]
    with closing(Sources([path])) as sources:
        assert [sources.content(entry) for entry in entries] == [b"second"]


def test_sources_pickle_and_open_again(tmp_path: Path) -> None:
    """Workers get paths, not descriptors."""
    zipped(tmp_path / "a.zip", {"1": b"one"})
    entries, _ = list_entries([tmp_path])
    sources = Sources([tmp_path])
    assert sources.content(entries[0]) == b"one"

    copy = pickle.loads(pickle.dumps(sources))

    assert copy.content(entries[0]) == b"one"
    copy.close()
    assert copy.content(pickle.loads(pickle.dumps(entries[0]))) == b"one"
    copy.close()
    sources.close()


def test_more_archives_than_are_held_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives beyond the limit are opened for one read, and closed."""
    monkeypatch.setattr(source, "MAX_HELD_ARCHIVES", 2)
    for index in range(5):
        zipped(tmp_path / f"{index}.zip", {"a": str(index).encode()})
    entries, _ = list_entries([tmp_path])
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0

    with closing(Sources([tmp_path])) as sources:
        assert b"".join(sources.content(entry) for entry in entries) == b"01234"
        if before:
            assert len(list(Path("/proc/self/fd").iterdir())) == before + 2


@pytest.mark.parametrize("change", ["grown", "rewritten", "gone", "folder"])
def test_a_file_that_changed_since_is_refused(tmp_path: Path, change: str) -> None:
    """What was indexed and what is read must be one file."""
    path = tree(tmp_path, {"a.dcm": b"before"}) / "a.dcm"
    (entry,), _ = list_entries([tmp_path])
    if change == "grown":
        path.write_bytes(b"before and after")
    elif change == "rewritten":
        path.write_bytes(b"behind")
        os.utime(path, ns=(1, 1))
    else:
        path.unlink()
        if change == "folder":
            path.mkdir()
    code = {"grown": "CHANGED", "rewritten": "CHANGED", "gone": "NO_ACCESS", "folder": "NOT_FILE"}[change]

    with closing(Sources([tmp_path])) as sources:
        for read in (sources.content, lambda entry: sources.head(entry, 3)):
            with pytest.raises(DicomError, match=code):
                read(entry)


def test_a_drive_may_stumble_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One failure of the drive is forgiven, two aren't."""
    tree(tmp_path, {"a.dcm": b"one"})
    (entry,), _ = list_entries([tmp_path])
    failures = [OSError(5, "Input/output error")]
    read_at = source.read_at

    def stumble(handle: int, offset: int, n_bytes: int) -> bytes:
        if failures:
            raise failures.pop()
        return read_at(handle, offset, n_bytes)

    monkeypatch.setattr(source, "read_at", stumble)
    with closing(Sources([tmp_path])) as sources:
        assert sources.content(entry) == b"one"
        failures += [OSError(5, "Input/output error")] * 2
        with pytest.raises(DicomError, match="NO_ACCESS: the file can't be read"):
            sources.content(entry)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_closed_folder_has_its_row(tmp_path: Path) -> None:
    """A folder that can't be opened is named."""
    tree(tmp_path, {"closed/a.dcm": b"x", "b.dcm": b"y"})
    (tmp_path / "closed").chmod(0)
    try:
        entries, rows = list_entries([tmp_path])
    finally:
        (tmp_path / "closed").chmod(0o700)

    assert names(entries) == ["b.dcm"]
    assert [(row.source, row.code) for row in rows] == [("closed/", "NO_ACCESS")]


@pytest.mark.real
def test_folder_and_archive_hold_the_same_bytes(real_data: Path) -> None:
    """The real archive, read in place, is the real folder."""
    name = "rsna-intracranial-hemorrhage-detection"
    folder, archive = real_data / name, real_data / f"{name}.zip"
    loose, none = list_entries([folder], ["*.dcm"])
    packed, nothing = list_entries([archive], ["*.dcm"])

    assert none == nothing == []
    assert len(loose) == 606
    assert [entry.source for entry in packed] == [f"{name}.zip::{name}/{entry.source}" for entry in loose]
    with closing(Sources([folder])) as files, closing(Sources([archive])) as members:
        for one, other in zip(loose[::7], packed[::7], strict=True):
            content = files.content(one)
            assert members.content(other) == content
            assert members.head(other, 4096) == files.head(one, 4096) == content[:4096]
