"""The allocator's setting is taken where there is one."""

import sys

import cv2
import pytest
from threadpoolctl import threadpool_info

from ich25d.training.cpu_settings import keep_freed_memory, leave_cores_to_torch


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_glibc_takes_the_setting() -> None:
    """All three numbers are known to mallopt."""
    assert keep_freed_memory() is True


def test_other_platforms_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere nothing is called."""
    monkeypatch.setattr(sys, "platform", "darwin")

    assert keep_freed_memory() is False


def test_numpy_and_opencv_keep_to_one_thread() -> None:
    """Every OpenBLAS of the process is limited, and OpenCV too."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        leave_cores_to_torch()
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)

    assert all(library["num_threads"] == 1 for library in threadpool_info() if library["prefix"] == "libscipy_openblas")
