"""An axis of a chart: from values to px, and where its ticks are."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from `low` to `high`, drawn from `start` to `end` in px."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return a value's place in px."""
        if self.log:
            part = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Return round values and their texts."""
        if self.log:
            powers = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
            return [
                (10.0**power, f"{10.0**power:,.{max(0, -power)}f}" if -4 <= power <= 6 else f"1e{power}")
                for power in powers
            ]
        step = _nice_step(self.high - self.low)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        texts = ((number * step, f"{number * step:,.{decimals}f}") for number in range(first, last + 1))
        return [(value, text.replace("-", "\N{MINUS SIGN}")) for value, text in texts]


def _nice_step(span: float, wanted: int = 6) -> float:
    """Return 1, 2 or 5 times a power of ten, so that about `wanted` steps make the span."""
    raw = span / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    for factor in (1.0, 2.0, 5.0):
        if raw <= factor * power * 1.001:
            return factor * power
    return 10.0 * power


def fit(values: Iterable[float], *, log: bool, given: tuple[float, float] | None) -> tuple[float, float]:
    """Return the range that an axis shows.

    Args:
        values: What it must hold; those that aren't finite are left out, and on a logarithmic axis those up to 0.
        log: Whether it is logarithmic: then it goes from one power of ten to another.
        given: The range, where it is given.
    """
    if given is not None:
        return given
    finite = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    if not finite:
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = min(finite), max(finite)
    if log:
        low, high = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))
        return (low, high) if high > low else (low, low * 10)
    if low == high:
        return low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    return low, high
