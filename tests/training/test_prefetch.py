"""Work done ahead, in a thread."""

import pytest

from ich25d.training.prefetch import ahead


def test_an_error_while_reading_ahead_is_raised_here() -> None:
    """The thread's failure isn't a silent end."""

    def broken():
        yield 1
        raise OSError("disk gone")

    items = ahead(broken(), 2)
    assert next(items) == 1
    with pytest.raises(OSError, match="disk gone"):
        next(items)
