"""Anatomies of series: found once, kept compressed in a folder and, the latest, in memory.

Finding one takes seconds, reading it milliseconds. The processes and epochs of a run share the folder: about 0.3 MB a
series, a thirtieth of the arrays in memory.
"""

import dataclasses
import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ich25d.bleeds.anatomy import Anatomy
from ich25d.bleeds.midline import Midline
from ich25d.files import write_bytes
from ich25d.progress import remark

MEMORY_BYTES = 3 * 1024**3
"""Memory for anatomies, of all processes of a machine together."""

_SPARED_SHARE, _SPARED_BYTES = 0.1, 20e9
"""Part of the disk that stays free for the run's own files, the smaller of the two."""

_VOLUMES = ("depth_steps", "fluid", "ventricle")
_ARRAYS = ("slice_position_mm", "boxes", "level_mm", "area_mm2", "ventricle_mm2", "tissue_hu", "noise_hu",
           "table_points")  # fmt: skip
_NUMBERS = ("scale", "brain_hu", "fluid_hu")
_OF_MIDLINE = ("angle", "along_mm", "half_length_mm", "half_width_mm")


class Anatomies:
    """Gives a series' anatomy: from memory, from the folder, or found now.

    Args:
        folder: Keeps them on disk; made with the first one. None keeps them in memory alone.
        memory_bytes: Memory for them in this process; the one used last always stays.
    """

    def __init__(self, folder: Path | None = None, memory_bytes: int = MEMORY_BYTES) -> None:
        self._folder, self._memory_bytes = folder, memory_bytes
        self._kept: OrderedDict[str, Anatomy] = OrderedDict()
        self._n_bytes = 0

    def get(self, key: str, find: Callable[[], Anatomy]) -> Anatomy:
        """Return the anatomy of a key.

        Args:
            key: A file name that changes with everything that the anatomy depends on.
            find: Finds it.
        """
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        found = self._read(key)
        if found is None:
            found = find()
            self._write(key, found)
        self._kept[key] = found
        self._n_bytes += _n_bytes(found)
        while self._n_bytes > self._memory_bytes and len(self._kept) > 1:
            self._n_bytes -= _n_bytes(self._kept.popitem(last=False)[1])
        return found

    def forget(self, key: str) -> None:
        """Free the memory of an anatomy that isn't needed again."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._n_bytes -= _n_bytes(kept)

    def _read(self, key: str) -> Anatomy | None:
        """Read a file; None where it is absent or damaged."""
        if self._folder is None:
            return None
        try:
            return from_bytes((self._folder / key).read_bytes())
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError):
            return None

    def _write(self, key: str, found: Anatomy) -> None:
        if self._folder is None:
            return
        try:
            if _has_room(self._folder):
                write_bytes(self._folder / key, to_bytes(found))
        except OSError as error:
            remark(f"anatomies are kept in memory alone from here on (got {error.strerror}) in {self._folder}")
            self._folder = None


def to_bytes(anatomy: Anatomy) -> bytes:
    """Pack an anatomy, bit for bit, without pickle."""
    packed: dict[str, npt.NDArray[Any]] = {name: _compressed(getattr(anatomy, name)) for name in _VOLUMES}
    packed |= {name: getattr(anatomy, name) for name in _ARRAYS}
    packed |= {"lateral_mm": anatomy.midline.lateral_mm, "spacing_mm": np.array(anatomy.spacing_mm, np.float64)}
    packed["numbers"] = np.array(
        [float(anatomy.usable), *(getattr(anatomy, name) for name in _NUMBERS),
         *(getattr(anatomy.midline, name) for name in _OF_MIDLINE)], np.float64,
    )  # fmt: skip
    return save({name: np.ascontiguousarray(array) for name, array in packed.items()})


def from_bytes(content: bytes) -> Anatomy:
    """Unpack what `to_bytes` gave.

    Raises:
        SafetensorError, KeyError, ValueError, RuntimeError: It's damaged.
    """
    packed = load(content)
    usable, *rest = packed["numbers"].tolist()
    numbers = dict(zip((*_NUMBERS, *_OF_MIDLINE), rest, strict=True))
    fields: dict[str, Any] = {name: packed[name] for name in _ARRAYS} | {name: numbers[name] for name in _NUMBERS}
    volumes = {name: blosc2.unpack_tensor(packed[name].tobytes()) for name in _VOLUMES}
    dz, dy, dx = packed["spacing_mm"].tolist()
    return Anatomy(
        usable=bool(usable),
        spacing_mm=(dz, dy, dx),
        midline=Midline(lateral_mm=packed["lateral_mm"], **{name: numbers[name] for name in _OF_MIDLINE}),
        **volumes,
        **fields,
    )


def _compressed(volume: npt.NDArray[np.uint16] | npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    cparams = {"codec": blosc2.Codec.ZSTD, "clevel": 5, "filters": [blosc2.Filter.SHUFFLE], "nthreads": 1}
    return np.frombuffer(blosc2.pack_tensor(np.ascontiguousarray(volume), cparams=cparams), np.uint8)


def _n_bytes(anatomy: Anatomy) -> int:
    arrays = (getattr(anatomy, field.name) for field in dataclasses.fields(anatomy))
    return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))


def _has_room(folder: Path) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    usage = shutil.disk_usage(folder)
    return usage.free > min(_SPARED_SHARE * usage.total, _SPARED_BYTES)
