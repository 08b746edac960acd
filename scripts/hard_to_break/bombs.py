"""Files of at most 10 MB that claim, or inflate to, far more; each through a process of `ich25d build-studies`.

A bomb lies beside a sound scan, which must be used all the same.
"""

import gzip
import itertools
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from hard_to_break.scan import (
    DEFLATED,
    J2K,
    JPEG,
    JPEG_LS,
    RLE,
    SLICES,
    compressed,
    element_spans,
    lossless_jpeg,
    sound_file,
    with_stream,
)  # fmt: skip
from ich25d.phantom.dicom import dicom_bytes

MOST_MB = 512
"""Memory that a process may take for any file of at most 10 MB."""
NO_DICOM = {"zip of 60,000 members"}
"""Bombs that hold nothing but what isn't DICOM: it is counted, and the command ends well."""
ZEROS = bytes(1 << 20)
SIDE = 512

_START = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(f"\\n{os.waitstatus_to_exitcode(status)} {usage.ru_maxrss}")
"""
"""Starts a command from a small process: the system counts the memory of what started it as the command's own."""
_numbers = itertools.count()

Bomb = Callable[[Path], list[str]]
"""Writes files into the folder of sources; returns further options of the command."""


class Measured(NamedTuple):
    """What a command took."""

    code: int
    """Its exit code."""
    peak_mb: float
    """Largest resident memory of one of its processes."""
    seconds: float
    output: str


def measured(arguments: list[str]) -> Measured:
    """Run `ich25d` and measure it."""
    started = time.monotonic()
    command = [sys.executable, "-c", _START, sys.executable, "-m", "ich25d", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    output, _, usage = done.stdout.rstrip("\n").rpartition("\n")
    code, peak_kb = map(int, usage.split())
    return Measured(code, peak_kb / 1024, time.monotonic() - started, output + done.stderr)


def set_off(name: str, folder: Path) -> Measured:
    """Build a store of a sound scan and one bomb.

    Args:
        name: Of the bomb.
        folder: A new folder for its files.
    """
    source = folder / "in"
    source.mkdir(parents=True)
    for index in range(SLICES):
        (source / f"{index}.dcm").write_bytes(sound_file(index, side=128))
    options = BOMBS[name](source)
    out = folder / "out"
    return measured(["build-studies", str(source), "--out", str(out), "--workers", "1", "--json", *options])


def faults_of(found: Measured, *, ends_well: bool = False) -> list[str]:
    """Say what is wrong with how a bomb went off; one of `NO_DICOM` ends well."""
    faults = []
    if found.peak_mb > MOST_MB:
        faults.append(f"took {found.peak_mb:.0f} MB")
    if found.code not in ({0} if ends_well else {1, 2}):
        faults.append(f"exit code {found.code}")
    if "Traceback" in found.output or "READ_FAILED" in found.output:
        faults.append(found.output[-300:])
    return faults


def _slice(**changes: object) -> bytes:
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    radius = np.hypot(x, y)
    hu = np.where(radius < 0.35, 35, np.where(radius < 0.4, 1000, -1000)).astype(np.int16)
    number = next(_numbers)
    ids = {f"{name}_id": f"ID_bomb{number}{name[0]}" for name in ("image", "series", "study", "patient")}
    return dicom_bytes(hu, **{**ids, **changes})


def _with_value(content: bytes, tag: tuple[int, int], value: int) -> bytes:
    wanted = struct.pack("<HH", *tag)
    (span,) = (span for span in element_spans(content) if content[span[0] : span[0] + 4] == wanted)
    return content[: span[1]] + struct.pack("<H", value) + content[span[1] + 2 :]


def _writes(content: Callable[[], bytes], name: str = "bomb.dcm") -> Bomb:
    def write(source: Path) -> list[str]:
        (source / name).write_bytes(content())
        return []

    return write


def _deflated() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = b"\x08\0\x18\0UI\x04\0ID_b" + b"\x09\0\x10\0UN\0\0" + struct.pack("<I", 1600 << 20)
    parts = [packer.compress(body), *(packer.compress(ZEROS) for _ in range(1600)), packer.flush()]
    syntax = b"\x02\0\x10\0UI" + struct.pack("<H", len(DEFLATED)) + DEFLATED.encode()
    length = b"\x02\0\0\0UL\x04\0" + struct.pack("<I", len(syntax))
    return bytes(128) + b"DICM" + length + syntax + b"".join(parts)


def _giant_sides() -> bytes:
    content = _slice()
    for tag in ((0x28, 0x10), (0x28, 0x11)):
        content = _with_value(content, tag, 65535)
    return content


def _hidden_size() -> bytes:
    """A JPEG whose comment looks like the frame header that the file's header speaks of; the real one is far larger."""
    stream = lossless_jpeg(np.zeros((SIDE, SIDE), dtype=np.uint16))
    real = stream[2:].replace(struct.pack(">HH", SIDE, SIDE), struct.pack(">HH", 65500, 65500), 1)
    comment = b"\xff\xfe\x00\x0d" + b"\xff\xc3\x00\x0b\x10" + struct.pack(">HH", SIDE, SIDE) + b"\x01\x01"
    return with_stream(_slice(), JPEG, stream[:2] + comment + real)


def _hidden_size_ls() -> bytes:
    stream = _stream_of(compressed(_slice(), JPEG_LS), b"\xff\xd8\xff")
    real = stream[2:].replace(struct.pack(">HH", SIDE, SIDE), struct.pack(">HH", 65500, 65500), 1)
    comment = b"\xff\xfe\x00\x0d" + b"\xff\xf7\x00\x0b\x10" + struct.pack(">HH", SIDE, SIDE) + b"\x01\x01"
    return with_stream(_slice(), JPEG_LS, stream[:2] + comment + real)


def _stream_of(content: bytes, start: bytes) -> bytes:
    return content[content.rfind(start) :]


def _j2k(change: Callable[[bytearray, int], None]) -> bytes:
    content = compressed(_slice(), J2K)
    at = content.rfind(b"\xff\x4f\xff\x51")
    stream = bytearray(content[at:])
    change(stream, 4)
    return with_stream(_slice(), J2K, bytes(stream))


def _many_components(stream: bytearray, at: int) -> None:
    """Claim 16,384 components (of SIZ, Csiz is its 37th and 38th byte behind the marker)."""
    length = 38 + 3 * 16384
    siz = bytes(stream[at : at + 36])
    siz = struct.pack(">H", length) + siz[2:36] + struct.pack(">H", 16384) + b"\x0f\x01\x01" * 16384
    stream[at : at + 41] = siz


def _tiny_tiles(stream: bytearray, at: int) -> None:
    stream[at + 20 : at + 28] = struct.pack(">II", 1, 1)


def _hidden_siz(stream: bytearray, at: int) -> None:
    """Put what looks like a codestream of the right size before the real one, which is far larger."""
    fake = bytes(stream[: at + 38])
    stream[at + 4 : at + 12] = struct.pack(">II", 60000, 60000)
    stream[at + 20 : at + 28] = struct.pack(">II", 60000, 60000)
    stream[:0] = fake


def _rle() -> bytes:
    segments = b"\x81\0" * 2_000_000  # each two bytes become 128
    head = struct.pack("<16I", 2, 64, 64 + len(segments), *[0] * 13)
    return with_stream(_slice(), RLE, head + segments + segments)


def _deep() -> bytes:
    content = _slice()
    at = element_spans(content)[-1][0]
    nest = b"\x28\0\x10\x31SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * 300_000
    return content[:at] + nest + content[at:]


def _many_elements() -> bytes:
    content = _slice()
    at = element_spans(content)[-1][0]
    many = b"".join(b"\x29\0" + struct.pack("<H", 4096 + k % 50000) + b"LO\x02\0ab" for k in range(900_000))
    return content[:at] + many + content[at:]


def _frames_beyond_number() -> bytes:
    return _slice(extra={(0x28, 8): ("IS", "2147483647"), (8, 0x16): ("UI", "1.2.840.10008.5.1.4.1.1.2.1")})


def _zip(pack: Callable[[zipfile.ZipFile], None]) -> Bomb:
    def write(source: Path) -> list[str]:
        with zipfile.ZipFile(source / "bomb.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            pack(archive)
        return []

    return write


def _one_giant(archive: zipfile.ZipFile) -> None:
    with archive.open("giant.dcm", "w", force_zip64=True) as member:
        for _ in range(1500):
            member.write(ZEROS)


def _many_members(archive: zipfile.ZipFile) -> None:
    for number in range(60_000):
        archive.writestr(zipfile.ZipInfo(f"{number}"), b"")


def _zip_that_lies(source: Path) -> list[str]:
    """A member that the directory gives 500 kB, and that inflates to a thousandfold of its 380 kB."""
    target = BytesIO()
    with (
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open("lies.dcm", "w") as member,
    ):
        member.write(_slice().ljust(1 << 20, b"\0"))
        for _ in range(359):
            member.write(ZEROS)
    content = target.getvalue().replace(struct.pack("<I", 360 << 20), struct.pack("<I", 50_000_000))
    (source / "bomb.zip").write_bytes(content)
    return []


def _nifti(shape: tuple[int, int, int], n_mb: int) -> Bomb:
    def write(source: Path) -> list[str]:
        header = bytearray(352)
        struct.pack_into("<i", header, 0, 348)
        struct.pack_into("<8h", header, 40, 3, *shape, 1, 1, 1, 1)
        struct.pack_into("<hh", header, 70, 4, 16)
        struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
        struct.pack_into("<3f", header, 108, 352, 1, 0)
        header[344:348] = b"n+1\0"
        with gzip.open(source / "bomb.nii.gz", "wb", compresslevel=6) as file:
            file.write(bytes(header))
            for _ in range(n_mb):
                file.write(ZEROS)
        return []

    return write


def _picture(source: Path) -> list[str]:
    """A table of one PNG that says it has 30,000 x 30,000 px, of zeros."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    packer = zlib.compressobj(9)
    rows = b"".join([*(packer.compress(bytes(30_001)) for _ in range(30_000)), packer.flush()])
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    folder = source.parent / "pictures"
    folder.mkdir()
    (folder / "bomb.png").write_bytes(content)
    (folder / "table.csv").write_text("image_id,series_id,path,windows\nID_x,ID_xs,bomb.png,brain\n")
    return ["--images", str(folder / "table.csv")]


def _parquet(source: Path) -> list[str]:
    """A label table of some kB with fifty million rows."""
    path = source.parent / "labels.parquet"
    columns = {"ID": pa.array(["ID_000000000_any"] * 1_000_000), "Label": pa.array([0] * 1_000_000, pa.int8())}
    batch = pa.table(columns)
    with pa.parquet.ParquetWriter(path, batch.schema) as writer:
        for _ in range(50):
            writer.write_table(batch)
    return ["--labels", str(path)]


BOMBS: dict[str, Bomb] = {
    "deflated data set of 1.6 GB": _writes(_deflated),
    "Rows and Columns of 65,535": _writes(_giant_sides),
    "JPEG with a second frame header": _writes(_hidden_size),
    "JPEG-LS with a second frame header": _writes(_hidden_size_ls),
    "JPEG 2000 of 16,384 components": _writes(lambda: _j2k(_many_components)),
    "JPEG 2000 in tiles of 1 px": _writes(lambda: _j2k(_tiny_tiles)),
    "JPEG 2000 with a second SIZ": _writes(lambda: _j2k(_hidden_siz)),
    "RLE of 512 MB": _writes(_rle),
    "300,000 sequences in each other": _writes(_deep),
    "900,000 elements": _writes(_many_elements),
    "2,147,483,647 frames": _writes(_frames_beyond_number),
    "zip of one 1.5 GB member": _zip(_one_giant),
    "zip of 60,000 members": _zip(_many_members),
    "zip that lies of a size": _zip_that_lies,
    "NIfTI that inflates to 1.5 GB": _nifti((512, 512, 100), 1500),
    "NIfTI of 2,048 x 2,048 x 2,048": _nifti((2048, 2048, 2048), 8),
    "NIfTI of 1.5 GB, all told": _nifti((1024, 1024, 750), 1500),
    "PNG of 30,000 x 30,000": _picture,
    "label table of 50 million rows": _parquet,
}
