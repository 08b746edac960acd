"""The allocator's setting is taken where there is one."""

import sys

import pytest

from ich25d.training.memory import keep_freed_memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_glibc_takes_the_setting() -> None:
    """All three numbers are known to mallopt."""
    assert keep_freed_memory() is True


def test_other_platforms_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere nothing is called."""
    monkeypatch.setattr(sys, "platform", "darwin")

    assert keep_freed_memory() is False
