"""The columns of a table of images, found by their many names, and the values of their cells."""

import ast
import math
import re
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from ich25d.errors import UsageError
from ich25d.studies.table_file import IMAGE_ID_KEYS, column_key, is_blank, keys_of
from ich25d.windows import NAMED_WINDOWS, Window

COLUMN_KEYS: dict[str, tuple[str, ...]] = {
    "image": IMAGE_ID_KEYS,
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
# A mark behind a letter or digit is a hyphen: `IM-0012` is the twelfth.
_LOOSE_NUMBER = re.compile(r"(?:(?<![\w.])[-+])?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_NUMPY = re.compile(r"\bnp\.\w+\(([^()]*)\)")  # as np.float64(-1.0) in a list that was printed
_DECIMAL_COMMA = re.compile(r"([-+]?\d*,\d+)\s*[A-Za-z]*")
_CHANNEL_RANKS = {"r": 0, "red": 0, "g": 1, "green": 1, "b": 2, "blue": 2}


class ImageColumns:
    """Which column of a table holds what.

    Args:
        table: The table's path, for messages.
        columns: Its content, a `pyarrow.Table`.

    Raises:
        UsageError: It has no columns for windows, or none for pictures.
    """

    def __init__(self, table: Path, columns: Any) -> None:  # noqa: ANN401  # pyarrow has no types
        self.table = table
        self.columns = columns
        # Of WindowCenter and window_center, the second is about the picture: the first is DICOM's own window.
        self.keys = keys_of(sorted(columns.column_names, key=lambda name: (name != name.lower(), name)))
        self.names = {
            what: self.keys[key]
            for what, keys in COLUMN_KEYS.items()
            if (key := next((key for key in keys if self._has(key)), None))
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

    def _has(self, key: str) -> bool:
        """Say whether there is a column of this key that isn't blank, as StudyID is in most DICOM tables."""
        return key in self.keys and not is_blank(self.columns[self.keys[key]])

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
                key = next((key for key in (f"{tag}{base}", f"{base}{tag}") if self._has(key)), None)
                if key is not None and self.keys[key] not in found.values():
                    found[tag] = self.keys[key]
                    break
        return found

    def used(self) -> list[str]:
        """Return the names of all columns that are read."""
        extra = ["windows", "imagepositionpatient", "imageorientationpatient", *ORIGIN_KEYS, *DIRECTION_KEYS]
        names = {*self.names.values(), *self.path_columns.values()}
        names |= {name for pair in self.window_columns.values() for name in pair}
        return sorted(names | {self.keys[key] for key in extra if key in self.keys})


def _channel_rank(tag: str) -> int:
    """Return the rank of a channel's tag; 0 for tags of files, which stay in the table's order."""
    return int(tag) if tag.isascii() and tag.isdigit() else _CHANNEL_RANKS.get(tag, 0)


def numbers_of(cell: Any) -> tuple[float, ...]:  # noqa: ANN401  # a cell
    """Return the finite numbers of a cell: one, a list, or the text of either.

    In a text, commas separate; where semicolons, bars or slashes do, they are decimal commas.

    Raises:
        ValueError: A text holds something with digits that isn't a number.
    """
    if isinstance(cell, (int, float, Decimal)):
        return (float(cell),) if math.isfinite(cell) else ()
    if isinstance(cell, (list, tuple)):
        return tuple(number for item in cell for number in numbers_of(item))
    if not isinstance(cell, str):
        return ()
    text = _plain(cell).strip("[](){} ")
    if not _has_digit(text):
        return ()
    has_marks = re.search(r"[;|/\\]", text) is not None
    parts = [part.strip(" \t\n'\"") for part in re.split(r"[;|/\\]" if has_marks else r"[,\s]+", text)]
    return tuple(_parsed(part, has_commas=has_marks) for part in parts if _has_digit(part))


def number_of(cell: Any) -> float | None:  # noqa: ANN401  # a cell
    """Return the one number of a cell, None where it holds none; `2,5` is 2.5.

    Words around it don't matter: `5 mm`, `slice_012`.

    Raises:
        ValueError: It holds several numbers, or may be read in two ways.
    """
    if cell is None:
        return None
    if isinstance(cell, str) and not (text := _plain(cell)).startswith(("[", "(", "{")):
        comma = _DECIMAL_COMMA.fullmatch(text)
        numbers = tuple(float(one) for one in ([comma[1].replace(",", ".")] if comma else _LOOSE_NUMBER.findall(text)))
    else:
        numbers = numbers_of(cell)
    if len(numbers) > 1 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"a cell must hold one number (got {cell!r})")
    return numbers[0] if numbers else None


def spacing_of(cell: Any) -> float | None:  # noqa: ANN401  # a cell
    """Return the size of a pixel out of one number, or of the same twice but for rounding, as `[0.488281, 0.48828]`.

    Raises:
        ValueError: It holds two, or may be read in two ways.
    """
    try:
        return number_of(cell)
    except ValueError:
        numbers = numbers_of(cell)
        if len(numbers) != 2 or not math.isclose(*numbers, rel_tol=1e-3):
            raise
        return numbers[0]


def windows_of(levels: Any, widths: Any) -> tuple[Window, ...]:  # noqa: ANN401  # a cell
    """Pair the levels of one cell with the widths of another; nothing where both are empty.

    Raises:
        ValueError: They aren't as many, a width isn't above 0, or they may be read in two ways, as `40,5` and `80,5`.
    """
    if isinstance(levels, str) and isinstance(widths, str):
        return _windows_of_texts(levels, widths)
    return _windows_of(levels, widths)


def _windows_of(levels: Any, widths: Any) -> tuple[Window, ...]:  # noqa: ANN401  # a cell
    readings = set()
    for read in (numbers_of, _one_number):
        try:
            found = read(levels), read(widths)
        except ValueError:
            continue
        if len(found[0]) == len(found[1]) and all(width > 0 for width in found[1]):
            readings.add(tuple(zip(*found, strict=True)))
    if len(readings) != 1:
        raise ValueError(f"levels and widths must make pairs in one way (got {levels!r} and {widths!r})")
    return readings.pop()


_windows_of_texts = lru_cache(maxsize=1024)(_windows_of)
"""Most rows of a CSV have the same windows."""


def _one_number(cell: Any) -> tuple[float, ...]:  # noqa: ANN401  # a cell
    number = number_of(cell)
    return () if number is None else (number,)


def _plain(text: str) -> str:
    """Take off spaces, quotes and NumPy's types, and write U+2212 as a plain minus."""
    return _NUMPY.sub(r"\1", text.strip(" \t\n'\"").replace("\u2212", "-"))


def _has_digit(text: str) -> bool:
    return re.search(r"\d", text) is not None


def _parsed(text: str, *, has_commas: bool) -> float:
    """Read one number, and nothing beside it."""
    number = float(text.replace(",", ".") if has_commas and text.count(",") == 1 and "." not in text else text)
    if not math.isfinite(number):
        raise ValueError(f"a number must be finite (got {text!r})")
    return number


def named_windows(cell: Any) -> tuple[Window, ...]:  # noqa: ANN401  # a cell
    """Read windows out of one cell: names and level/width pairs, as `brain,80/200` or `[[40, 80], [80, 200]]`.

    Two numbers alone, `[40, 80]`, are one pair.

    Raises:
        ValueError: It can't be read so.
    """
    if isinstance(cell, str):
        if cell.lstrip().startswith(("[", "(")):
            try:
                cell = ast.literal_eval(cell.strip())
            except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
                raise ValueError(f"windows must be a list that ends (got {cell!r})") from error
        else:
            cell = [part for part in re.split(r"[,;+| ]+", cell) if part]
    if not isinstance(cell, (list, tuple)):
        raise ValueError(f"windows must be names or pairs (got {cell!r})")
    is_pair = len(cell) == 2 and all(isinstance(item, (int, float)) for item in cell)
    windows = tuple(_window(item) for item in ([cell] if is_pair else cell))
    if not windows or any(width <= 0 or not math.isfinite(level + width) for level, width in windows):
        raise ValueError(f"windows must have widths above 0 HU (got {cell!r})")
    return windows


def _window(item: Any) -> Window:  # noqa: ANN401  # a cell
    """Read one window: a name, `40/80` or a pair."""
    if isinstance(item, str) and item.lower() in NAMED_WINDOWS:
        return NAMED_WINDOWS[item.lower()]
    parts = item.split("/") if isinstance(item, str) else item
    if not isinstance(parts, (list, tuple)) or len(parts) != 2:
        raise ValueError(f"a window must be a name or a pair (got {item!r})")
    try:
        return float(parts[0]), float(parts[1])
    except (TypeError, OverflowError) as error:
        raise ValueError(f"a window must be two numbers (got {item!r})") from error


def text_of(cell: Any) -> str:  # noqa: ANN401  # a cell
    """Return a cell as an id: whole numbers without the .0 that missing neighbours give them.

    Raises:
        ValueError: It is infinite.
    """
    if cell is None or cell != cell:  # noqa: PLR0124  # NaN
        return ""
    if isinstance(cell, float):
        if math.isinf(cell):
            raise ValueError(f"an id must be finite (got {cell})")
        if cell == int(cell):
            return str(int(cell))
    return str(cell).strip()
