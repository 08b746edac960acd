"""Files that are no DICOM: packed ones are read, other forms are named, and what may be left out counts."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ich25d.dicom.reader import read_headers, read_hu
from ich25d.errors import DicomError
from ich25d.phantom.dicom import dicom_bytes
from ich25d.studies.headers.packed import Privacy
from ich25d.studies.headers.read_many import index_entries
from ich25d.studies.qc import QcRow, is_refused
from ich25d.studies.sources.listing import list_entries
from ich25d.studies.sources.opened import Sources

HU = np.arange(64 * 64, dtype=np.int16).reshape(64, 64) % 90
IMAGE = dicom_bytes(HU, image_id="ID_000000001", series_id="ID_s", study_id="ID_t", patient_id="ID_p")


def tar(mode: str) -> bytes:
    """Pack a CT image by tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        member = tarfile.TarInfo("1.dcm")
        member.size = len(IMAGE)
        archive.addfile(member, io.BytesIO(IMAGE))
    return buffer.getvalue()


def zipped() -> bytes:
    """Pack a CT image by zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("1.dcm", IMAGE)
    return buffer.getvalue()


def row_of(path: Path) -> QcRow:
    """Return the only row that a folder gives rise to."""
    entries, rows = list_entries([path])
    found = [image for images in index_entries(entries, Sources([path]), Privacy(b"k", 0.0)) for image in images]
    (row,) = [*rows, *(image for image in found if isinstance(image, QcRow))]
    return row


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("ct.tar", tar("w"), "ARCHIVE", "tar archive; unpack it"),
        ("ct.tar.gz", tar("w:gz"), "ARCHIVE", "tar archive; unpack it"),
        ("ct.tgz", tar("w:gz"), "ARCHIVE", "gzip"),
        ("ct.tar.xz", tar("w:xz"), "ARCHIVE", "xz; unpack it"),
        ("ct.tar.bz2", tar("w:bz2"), "ARCHIVE", "bzip2"),
        ("CT.7z", b"7z\xbc\xaf\x27\x1c" + bytes(300), "ARCHIVE", "7z archive"),
        ("CT.rar", b"Rar!\x1a\x07\1\0" + bytes(300), "ARCHIVE", "RAR archive"),
        ("CT.zip.001", zipped()[:600], "ARCHIVE", "part of a split archive"),
        ("CT.zip.002", zipped()[600:], "ARCHIVE", "part of a split archive"),
        ("CT.z01", b"PK\7\x08" + zipped(), "ARCHIVE", "part of a split archive"),
        ("CT.zip", zipped()[:-18] + b"\3\0" + zipped()[-16:], "ARCHIVE", "in several parts"),
        ("CT", zipped(), "ARCHIVE", "zip archive under another name"),
        ("cd.iso", bytes(0x8001) + b"CD001" + bytes(500), "ARCHIVE", "CD image"),
        ("1.dcm", gzip.compress(IMAGE, mtime=0), "ARCHIVE", "packed by gzip"),
        ("ct.nrrd", b"NRRD0004\n" + bytes(300), "OTHER_FORMAT", "NRRD"),
        ("ct.mha", b"ObjectType = Image\n" + bytes(300), "OTHER_FORMAT", "MetaImage"),
        ("ct.npy", b"\x93NUMPY" + bytes(300), "OTHER_FORMAT", "NumPy"),
        ("ct.mnc", b"\x89HDF\r\n\x1a\n" + bytes(300), "OTHER_FORMAT", "HDF5"),
        ("scan", (348).to_bytes(4, "little") + bytes(340) + b"n+1\0" + bytes(300), "OTHER_FORMAT", "call it .nii"),
        ("wado", b"--b\r\nContent-Type: application/dicom\r\n\r\n" + IMAGE, "OTHER_FORMAT", "multipart"),
        ("key.jpg", b"\xff\xd8\xff\xe0" + bytes(300), "NOT_DICOM", "JPEG picture"),
        ("report.pdf", b"%PDF-1.4\n" + bytes(300), "NOT_DICOM", "PDF"),
        ("viewer.jar", zipped(), "NOT_DICOM", ""),
        ("labels.csv.gz", gzip.compress(b"ID,Label\n" * 50, mtime=0), "NOT_DICOM", ""),
    ],
)
def test_names_what_a_file_is(tmp_path: Path, name: str, content: bytes, code: str, words: str) -> None:
    """Archives and volumes may hold images that are left out: they make exit code 1; a CD's pictures don't."""
    (tmp_path / name).write_bytes(content)

    row = row_of(tmp_path)

    assert row.code == code
    assert words in row.detail
    assert is_refused(row) == (code != "NOT_DICOM")


def test_the_directory_of_a_cd_is_no_image(tmp_path: Path) -> None:
    """Its files are read: nothing is left out."""
    (tmp_path / "DICOMDIR").write_bytes(
        dicom_bytes(HU).replace(b"1.2.840.10008.5.1.4.1.1.2\0", b"1.2.840.10008.1.3.10\0\0\0\0\0\0")
    )
    row = row_of(tmp_path)
    assert row.code == "DICOMDIR"
    assert not is_refused(row)


def test_reads_gzipped_dicom(tmp_path: Path) -> None:
    """Header and pixels are those of the file inside; the checksum is held."""
    path = tmp_path / "1.dcm.gz"
    path.write_bytes(gzip.compress(IMAGE))
    (entry,), rows = list_entries([tmp_path])
    sources = Sources([tmp_path])

    assert rows == []
    assert entry.size == len(IMAGE)
    assert sources.head(entry, 200) == IMAGE[:200]
    assert sources.head(entry, 10**6) == IMAGE
    (header,) = read_headers(sources.head(entry, 4096), total_size=entry.size)
    assert not isinstance(header, DicomError)
    assert np.array_equal(read_hu(sources.content(entry), header).hu, HU)

    flipped = bytearray(path.read_bytes())
    flipped[-6] ^= 1  # in the checksum
    path.write_bytes(bytes(flipped))
    (entry,), _ = list_entries([tmp_path])
    with pytest.raises(DicomError, match="GZIP_DAMAGED"):
        sources.content(entry)


def test_a_gzip_file_that_lies_about_its_size_inflates_no_further(tmp_path: Path) -> None:
    """The size that it says is the limit."""
    packed = gzip.compress(IMAGE + bytes(10**7))
    (tmp_path / "1.dcm.gz").write_bytes(packed[:-4] + len(IMAGE).to_bytes(4, "little"))
    (entry,), _ = list_entries([tmp_path])
    with pytest.raises(DicomError, match="GZIP_BIG"):
        Sources([tmp_path]).content(entry)


def test_only_takes_names_however_their_accents_are_kept(tmp_path: Path) -> None:
    """Finder decomposes them; what is typed is composed."""
    for name in ("te\u0302te", "t\u00eate2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.dcm").write_bytes(IMAGE)
    entries, _ = list_entries([tmp_path], ["t\u00eate/*", "te\u0302te2/*"])
    assert len(entries) == 2
