"""The columns of a table of images, found by their many names, and what their cells hold.

Every windowed distribution of head CT names them otherwise; DICOM's own keywords are among the names.
"""

import ast
import math
import re
from pathlib import Path
from typing import Any

from ich25d.config import NAMED_WINDOWS
from ich25d.errors import UsageError
from ich25d.studies.images import Window
from ich25d.studies.table_file import column_key

COLUMN_KEYS: dict[str, tuple[str, ...]] = {
    "image": ("sopinstanceuid", "imageid", "sopuid", "imageuid", "instanceuid", "image", "id", "uid"),
    "patient": ("patientid", "patient", "subjectid", "subject", "patientnumber"),
    "study": ("studyinstanceuid", "studyuid", "studyid", "study"),
    "series": ("seriesinstanceuid", "seriesuid", "seriesid", "series", "scanid", "scan"),
    "position": (
        "slicepositionmm", "positionmm", "sliceposition", "position", "imagepositionpatient2", "zmm", "z",
        "slicelocation",
    ),
    "index": ("index", "sliceindex", "instancenumber", "slicenumber", "sliceno", "slice"),
    "spacing": ("pixelspacingmm",),
}  # fmt: skip
"""What columns are called, by `column_key`, best first."""
_PATH_KEYS = (
    "imagepath", "imagefile", "filepath", "filename", "jpegpath", "jpgpath", "pngpath", "imgpath", "fname", "path",
    "file", "jpeg", "jpg", "png",
)  # fmt: skip
ORIGIN_KEYS = [f"imagepositionpatient{index}" for index in range(3)]
DIRECTION_KEYS = [f"imageorientationpatient{index}" for index in range(6)]
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_CHANNEL_RANKS = {"r": 0, "red": 0, "g": 1, "green": 1, "b": 2, "blue": 2}


class ImageColumns:
    """Which column of a table says what.

    Args:
        table: The table's path, for messages.
        columns: Its content, a `pyarrow.Table`.

    Raises:
        UsageError: It says neither windows nor which pictures.
    """

    def __init__(self, table: Path, columns: Any) -> None:  # noqa: ANN401  # pyarrow has no types
        self.table = table
        self.columns = columns
        # Of WindowCenter and window_center, the second is about the picture: the first is DICOM's own window.
        by_taste = sorted(columns.column_names, key=lambda name: (name != name.lower(), name))
        self.keys: dict[str, str] = {}
        for name in by_taste:
            self.keys.setdefault(column_key(name), name)
        self.names = {
            what: self.keys[key]
            for what, keys in COLUMN_KEYS.items()
            if (key := next((key for key in keys if key in self.keys and not self._is_blank(self.keys[key])), None))
        }
        self.window_columns = self._find_windows()
        self.path_columns = self._find_paths()
        if not self.window_columns and "windows" not in self.keys:
            raise UsageError(
                "a table of images must say with which windows they were made: in columns window_center and "
                "window_width, a pair a file (bone_path, bone_window_center, ...) or channel (window_center_0, ...), "
                f"or one column windows, as 'brain,subdural,bone' (got {columns.column_names[:30]}) in {table.name}"
            )
        if not self.path_columns and "image" not in self.names:
            raise UsageError(
                f"a table of images must have a column path or image_id (got {columns.column_names[:30]}) "
                f"in {table.name}"
            )

    def _is_blank(self, name: str) -> bool:
        """Say whether a column says nothing, as StudyID does in most DICOM tables."""
        column = self.columns[name]
        head = column.slice(0, 1000).to_pylist()
        return all(cell is None or cell == "" or cell != cell for cell in head)  # noqa: PLR0124  # NaN

    def _find_windows(self) -> dict[str, tuple[str, str]]:
        """Return tag -> columns of level and width, in the order of channels; the tag stands before or behind."""
        found: dict[str, tuple[str, str]] = {}
        for name in self.columns.column_names:
            key = column_key(name)
            match = re.fullmatch(r"(.*?)window(?:center|centre|level)(.*)", key)
            if match is None or match[1] == "multi":  # pydicom's tables count the windows in MultiWindowCenter
                continue
            width = self.keys.get(f"{match[1]}windowwidth{match[2]}")
            if width is not None and self.keys[key] == name:
                found[match[1] or match[2]] = (name, width)
        return dict(sorted(found.items(), key=lambda item: _channel_rank(item[0])))

    def _find_paths(self) -> dict[str, str]:
        """Return tag -> column of paths; only tags that are windows' tags, and the plain one."""
        found: dict[str, str] = {}
        for tag in ("", *self.window_columns):
            for base in _PATH_KEYS:
                name = self.keys.get(f"{tag}{base}") or (self.keys.get(f"{base}{tag}") if tag else None)
                if name is not None and name not in found.values():
                    found[tag] = name
                    break
        return found

    def used(self) -> list[str]:
        """Return the names of all columns that say something."""
        extra = ["windows", "imagepositionpatient", "imageorientationpatient", *ORIGIN_KEYS, *DIRECTION_KEYS]
        names = {*self.names.values(), *self.path_columns.values()}
        names |= {name for pair in self.window_columns.values() for name in pair}
        return sorted(names | {self.keys[key] for key in extra if key in self.keys})


def _channel_rank(tag: str) -> int:
    """Return where a channel's tag stands, 0 for tags that are no channels: those stay in the table's order."""
    return int(tag) if tag.isascii() and tag.isdigit() else _CHANNEL_RANKS.get(tag, 0)


def numbers_of(cell: Any) -> tuple[float, ...]:  # noqa: ANN401  # whatever a table holds
    """Return the finite numbers of a cell: one, a list, or the text of either."""
    if isinstance(cell, (int, float)):
        return (float(cell),) if math.isfinite(cell) else ()
    if isinstance(cell, (list, tuple)):
        return tuple(number for item in cell for number in numbers_of(item))
    if not isinstance(cell, str):
        return ()
    return tuple(float(number) for number in _NUMBER.findall(cell))


def named_windows(cell: Any) -> tuple[Window, ...]:  # noqa: ANN401  # whatever a table holds
    """Read windows out of one cell: names and level/width pairs, as `brain,80/200` or `[[40, 80], [80, 200]]`.

    Raises:
        ValueError: It can't be read so.
    """
    if isinstance(cell, str):
        if cell.lstrip().startswith(("[", "(")):
            try:
                cell = ast.literal_eval(cell.strip())
            except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
                raise ValueError(cell) from error
        else:
            cell = [part for part in re.split(r"[,;+| ]+", cell) if part]
    windows = []
    for item in cell or []:
        if isinstance(item, str) and item.lower() in NAMED_WINDOWS:
            windows.append(NAMED_WINDOWS[item.lower()])
        else:
            level, width = item.split("/") if isinstance(item, str) else item
            windows.append((float(level), float(width)))
    if not windows or any(width <= 0 or not math.isfinite(level + width) for level, width in windows):
        raise ValueError(cell)
    return tuple(windows)


def text_of(cell: Any) -> str:  # noqa: ANN401  # whatever a table holds
    """Return a cell as an id: whole numbers without the .0 that missing neighbours give them."""
    if cell is None or cell != cell:  # noqa: PLR0124  # NaN
        return ""
    if isinstance(cell, float) and cell == int(cell):
        return str(int(cell))
    return str(cell).strip()
