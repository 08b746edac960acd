"""Raw element values to numbers, tuples and short names: nothing in here raises, odd values become None.

Most values of a series repeat from slice to slice, so that reading them is remembered.
"""

import re
from functools import lru_cache
from math import isfinite, sqrt

_remembered = lru_cache(maxsize=4096)

_UNSAFE = bytes.maketrans(b"\0", b" ")

_CODE_STRING = re.compile(r"[A-Z0-9_ ]{0,16}").fullmatch
_KERNEL = re.compile(r"[A-Z]{1,3}\d{1,3}[A-Z]{0,2}\+?|\d{1,3}")
_KERNEL_NAMES = frozenset(
    {
        *("STANDARD", "STD", "STD+", "STND", "SOFT", "SOFT+", "DETAIL", "BONE", "BONE+", "BONEPLUS", "EDGE", "LUNG"),
        *("CHEST", "HEAD", "BRAIN", "SMOOTH", "SMTH", "SHARP", "ULTRA"),
        *("A", "B", "C", "D", "E", "L", "LA", "LB", "EB", "EC", "UA", "UB", "UC", "YA", "YB", "YC", "YD", "YE"),
    }
)


@_remembered
def text(value: bytes | None) -> str:
    """Return a value as text without its padding."""
    return value.rstrip(b"\0 ").decode("latin-1").strip() if value else ""


def u16(value: bytes | None) -> int | None:
    """Read a US value of exactly one number; None where absent or of another length."""
    return value[0] | value[1] << 8 if value is not None and len(value) == 2 else None  # US is 2 bytes


@_remembered
def floats(value: bytes | None) -> tuple[float, ...] | None:
    """Read the finite numbers of a DS value; None when there is none, or one of them isn't a number."""
    if not value or b"_" in value:
        return None
    try:
        numbers = tuple([float(part) for part in value.split(b"\\")])
    except ValueError:
        # Trailing NULs aren't allowed in DS, but they do arrive.
        try:
            numbers = tuple([float(part) for part in value.translate(_UNSAFE).split(b"\\")])
        except ValueError:
            return None
    for number in numbers:
        if not isfinite(number):
            return None
    return numbers


@_remembered
def one_float(value: bytes | None) -> float | None:
    """Read a DS value of exactly one finite number."""
    numbers = floats(value) if value else None
    return numbers[0] if numbers and len(numbers) == 1 else None


@_remembered
def whole(value: bytes | None) -> int | None:
    """Read an IS value of exactly one whole number."""
    if not value:
        return None
    stripped = value.translate(_UNSAFE).strip()
    digits = stripped[1:] if stripped[:1] in {b"+", b"-"} else stripped
    return int(stripped) if digits.isdigit() and len(digits) <= 12 else None  # IS holds 12 characters


def seconds(value: bytes | None) -> float | None:
    """Read a TM value (HHMMSS.FFFFFF) as seconds of the day."""
    if not value:
        return None
    stripped = text(value).replace(":", "")
    if not re.fullmatch(r"\d{6}(?:\.\d{1,6})?", stripped):
        return None
    return int(stripped[:2]) * 3600 + int(stripped[2:4]) * 60 + float(stripped[4:])


@_remembered
def position(value: bytes | None) -> tuple[float, float, float] | None:
    """Read Image Position (Patient) in mm; None when it isn't three numbers within 100 m."""
    numbers = floats(value)
    if numbers is None or len(numbers) != 3 or max(map(abs, numbers)) > 1e5:
        return None
    return numbers[0], numbers[1], numbers[2]


@_remembered
def orthonormal(value: bytes | None) -> tuple[tuple[float, float, float, float, float, float] | None, bool]:
    """Check Image Orientation (Patient) for two perpendicular unit vectors.

    Args:
        value: The raw DS value.

    Returns:
        The six cosines, made orthonormal when they are off by 1e-3 to 1e-2, or None when further off or not
        six; and whether they were good as they stood.

    References:
        DICOM PS3.3, C.7.6.2.1.1.
    """
    cosines = floats(value)
    if cosines is None or len(cosines) != 6:  # two vectors in space
        return None, not value
    a, b, c, d, e, f = cosines
    row, column, angle = a * a + b * b + c * c, d * d + e * e + f * f, a * d + b * e + c * f
    # A length off by x has a square off by 2 x.
    if abs(row - 1) <= 2e-3 and abs(column - 1) <= 2e-3 and abs(angle) <= 1e-3:
        return (a, b, c, d, e, f), True
    if abs(row - 1) > 2e-2 or abs(column - 1) > 2e-2 or abs(angle) > 1e-2:
        return None, False
    length = sqrt(row)
    a, b, c = a / length, b / length, c / length
    along = a * d + b * e + c * f
    d, e, f = d - along * a, e - along * b, f - along * c
    length = sqrt(d * d + e * e + f * f)
    return (a, b, c, d / length, e / length, f / length), False


@_remembered
def kernel_name(value: bytes | None) -> str:
    """Return the first kernel named when it looks like one (`J40S`, `FC26`, `STANDARD`), else `OTHER`.

    A short text can hold anything, a name too: what doesn't look like a kernel isn't kept.
    """
    if not value:
        return ""
    first = text(value.split(b"\\")[0]).upper()
    if not first:
        return ""
    return first if _KERNEL.fullmatch(first) or first in _KERNEL_NAMES else "OTHER"


@_remembered
def windows(level: bytes | None, width: bytes | None) -> tuple[tuple[float, float], ...]:
    """Pair the levels and widths of a file; windows narrower than 1 HU are left out."""
    levels, widths = floats(level), floats(width)
    if levels is None or widths is None:
        return ()
    return tuple((centre, full) for centre, full in zip(levels, widths, strict=False) if full >= 1)


@_remembered
def code_string(value: bytes | None) -> str:
    """Read a CS value in upper case; empty when it holds what no code string may."""
    code = text(value).upper()
    return code if _CODE_STRING(code) else ""


@_remembered
def image_types(value: bytes | None) -> tuple[str, ...]:
    """Read the code strings of Image Type."""
    return tuple(code_string(part) for part in value.split(b"\\")) if value else ()


@_remembered
def spacing(value: bytes | None) -> tuple[float, float] | None:
    """Read Pixel Spacing, rows (dy) then columns (dx); None when it isn't two numbers in 0.1 to 2 mm."""
    numbers = floats(value)
    if numbers is None or len(numbers) != 2 or not all(0.1 <= number <= 2 for number in numbers):
        return None
    return numbers[0], numbers[1]
