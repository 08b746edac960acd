"""A volume's file: HU of one series in, a compressed `.b2nd` with its hashes out.

blosc2 appends chunk after chunk and rewrites the file's index each time: writing a scan takes 1.3 to 1.6 times as long.
Here the chunks are joined once, with the header and trailer that blosc2 wrote for another volume of the same shape. The
bytes are blosc2's own, but for a slice of zeros, which has a chunk here and a mark there; a shape for which they aren't
is left to blosc2.
"""

import hashlib
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import blosc2
import numpy as np
import numpy.typing as npt

from ich25d.files import replacing
from ich25d.studies.store_dir.volume_place import volume_path

Packing = Literal["quick", "small"]

COMPRESSION: dict[Packing, dict[str, Any]] = {
    "quick": {
        "codec": blosc2.Codec.LZ4, "clevel": 1, "nthreads": 1,
        "filters": [blosc2.Filter.SHUFFLE], "splitmode": blosc2.SplitMode.NEVER_SPLIT,
    },
    "small": {
        "codec": blosc2.Codec.ZSTD, "clevel": 1, "nthreads": 1,
        "filters": [blosc2.Filter.SHUFFLE, blosc2.Filter.BYTEDELTA], "filters_meta": [0, 2],
    },
}  # fmt: skip
"""Measured on 606 RSNA slices of 256 px. `quick`: 0.10 ms a slice to write and to read, 0.93 bytes a px. `small`: 0.29
and 0.19 ms, 0.68 bytes; the bytes' differences take an eighth less than the shuffled bytes alone (0.79), in the same
time, and higher levels or other codecs gain no more."""

_INDEX_COMPRESSION = {
    "codec": blosc2.Codec.BLOSCLZ, "clevel": 5, "typesize": 8, "nthreads": 1,
    "filters": [blosc2.Filter.NOFILTER] * 5 + [blosc2.Filter.SHUFFLE], "splitmode": blosc2.SplitMode.NEVER_SPLIT,
}  # fmt: skip
"""How blosc2 compresses the chunks' offsets."""

# Places in a file's header, big-endian (Blosc2's README_CFRAME_FORMAT), and in a chunk's, little-endian.
_HEADER_SIZE, _FILE_SIZE, _CHUNKS_SIZE = slice(11, 15), slice(16, 24), slice(39, 47)
_CHUNK_SIZE = slice(12, 16)

CONTENT_HASH_STEP = 16
"""Every so many stored rows count in a volume's hash: noise makes no two scans alike in a sixteenth of them."""


class Volume(NamedTuple):
    """What is known of a volume once it's on disk."""

    content_hash: str
    """Hash of shape and pixels (`content_hash`)."""
    file_hash: str
    """SHA-256 of the file."""
    n_bytes: int
    """Size of the file."""


def write_volume(root: Path, series_id: str, hu: npt.NDArray[np.int16], packing: Packing = "quick") -> Volume:
    """Compress a volume into its file, whole or not at all.

    Args:
        root: The store.
        series_id: Whose volume it is.
        hu: Shape (n_slices, size, size), int16, HU.
        packing: Which compression.
    """
    hu = np.ascontiguousarray(hu, dtype=np.int16)
    content = b2nd_bytes(hu, packing)
    with replacing(volume_path(root, series_id)) as part:
        part.write_bytes(content)
    return Volume(content_hash(hu), hashlib.sha256(content).hexdigest(), len(content))


def content_hash(hu: npt.NDArray[np.int16]) -> str:
    """Return a hash of a volume's shape and of some of its rows, the same on every machine; it finds equal series."""
    digest = hashlib.sha256(repr(hu.shape).encode())
    digest.update(np.ascontiguousarray(hu[:, ::CONTENT_HASH_STEP], dtype="<i2").data)
    return digest.hexdigest()


def b2nd_bytes(hu: npt.NDArray[np.int16], packing: Packing) -> bytes:
    """Compress a volume into the content of a `.b2nd` file, a chunk a slice.

    Args:
        hu: Shape (n_slices, rows, columns), int16, contiguous.
        packing: Which compression.
    """
    pattern = _pattern(hu.shape, packing)
    array = _compressed(hu, packing)
    return bytes(array.to_cframe()) if pattern is None else _joined(pattern, array.schunk)


def _compressed(hu: npt.NDArray[np.int16], packing: Packing) -> blosc2.NDArray:
    chunk = (1, *hu.shape[1:])
    return blosc2.asarray(hu, chunks=chunk, blocks=chunk, cparams=COMPRESSION[packing], dparams={"nthreads": 1})


@lru_cache(maxsize=512)
def _pattern(shape: tuple[int, ...], packing: Packing) -> bytes | None:
    """Return a file of this shape as blosc2 writes it; None where joining its chunks wouldn't give these bytes."""
    # Nearly constant, so that it costs next to nothing; a constant slice would get no chunk at all.
    sample = np.zeros(shape, dtype=np.int16)
    sample[:, 0, 0] = np.arange(shape[0]) % 1021 + 1
    array = _compressed(sample, packing)
    file = bytes(array.to_cframe())
    return file if _joined(file, array.schunk) == file else None


def _joined(pattern: bytes, chunks: blosc2.SChunk) -> bytes:
    """Put chunks between the header and the trailer of a file of the same shape."""
    header_size = struct.unpack(">i", pattern[_HEADER_SIZE])[0]
    index = pattern[header_size + struct.unpack(">q", pattern[_CHUNKS_SIZE])[0] :]
    trailer = index[struct.unpack("<i", index[_CHUNK_SIZE])[0] :]
    parts = [chunks.get_chunk(number) for number in range(chunks.nchunks)]
    ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
    offsets = np.concatenate([[0], ends[:-1]]).astype("<i8")
    new_index = blosc2.compress2(offsets.tobytes(), **_INDEX_COMPRESSION)
    header = bytearray(pattern[:header_size])
    size = header_size + int(ends[-1]) + len(new_index) + len(trailer)
    header[_FILE_SIZE] = struct.pack(">Q", size)
    header[_CHUNKS_SIZE] = struct.pack(">q", int(ends[-1]))
    return b"".join([bytes(header), *parts, new_index, trailer])
