"""How numbers are written on a page: three significant digits, thousands apart, a dash where there is none."""

import math
from numbers import Integral, Real
from typing import SupportsFloat, cast

from markupsafe import Markup

NONE = "\N{EN DASH}"
"""Written where there is no value."""


def is_number(value: object) -> bool:
    """Return whether a value is a number; truth values aren't."""
    return not isinstance(value, bool) and isinstance(value, Real)


def number_text(value: SupportsFloat, digits: int = 3) -> str:
    """Write a number with so many significant digits: `0.0123`, `12.3`, `1,235`; a dash for NaN."""
    if isinstance(value, Integral):
        return f"{int(cast(int, value)):,}".replace("-", "\N{MINUS SIGN}")
    number = float(value)
    if math.isnan(number):
        return NONE
    if math.isinf(number):
        return "\N{INFINITY}" if number > 0 else "\N{MINUS SIGN}\N{INFINITY}"
    size = abs(number)
    if size == 0:
        text = "0"
    elif size >= 10 ** (digits - 1):
        text = f"{number:,.0f}"
    elif size < 1e-4:
        text = f"{number:.{digits - 1}e}"
    else:
        text = f"{number:.{max(0, digits - 1 - math.floor(math.log10(size)))}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def value_text(value: object) -> str | Markup:
    """Write any value: Markup as it is, numbers as `number_text` does, None as a dash, truth as yes or no."""
    if isinstance(value, Markup):
        return value
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return NONE
    if isinstance(value, bool) or type(value).__name__ in {"bool", "bool_"}:
        return "yes" if value else "no"
    if isinstance(value, Real):
        return number_text(value)
    return str(value)
