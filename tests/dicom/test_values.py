"""Raw values by hand: what is a number, a kernel, a word in a description."""

import pytest

from ich25d.dicom import values


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"1.5\\-2\\3e1 ", (1.5, -2.0, 30.0)),
        (b"1.5\0", (1.5,)),
        (b"001.000000E+00", (1.0,)),
        (b"1,5", None),
        (b"nan", None),
        (b"1\\inf", None),
        (b"1_0", None),
        (b"", None),
        (b"abc", None),
        (None, None),
    ],
)
def test_decimal_strings(value: bytes | None, expected: tuple[float, ...] | None) -> None:
    """All numbers of a DS value are finite, or there are none."""
    assert values.floats(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"12 ", 12), (b"-3", -3), (b"+7\0", 7), (b"1.5", None), (b"abc", None), (b"1_2", None), (b"", None)],
)
def test_integer_strings(value: bytes, expected: int | None) -> None:
    """An IS value is one whole number or nothing."""
    assert values.whole(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"H31s", "H31S"), (b"J40s\\3", "J40S"), (b"FC26", "FC26"), (b"STANDARD", "STANDARD"), (b"STD+", "STD+"),
        (b"UB", "UB"), (b"DOE^JOHN", "OTHER"), (b"MILLER", "OTHER"), (b"", ""), (None, ""),
    ],
)  # fmt: skip
def test_only_what_looks_like_a_kernel_is_kept(value: bytes | None, expected: str) -> None:
    """A short text can hold a name; kernels have forms."""
    assert values.kernel_name(value) == expected


def test_times_are_seconds_of_the_day() -> None:
    """HHMMSS.FFFFFF; anything else is absent."""
    assert values.seconds(b"010203.5 ") == 3723.5
    assert values.seconds(b"noon") is None
