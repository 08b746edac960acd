"""The process set up for a network that computes on the CPU, whatever computes it: memory and cores."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
"""Numbers of glibc's mallopt(3)."""

_PAD_BYTES = 256 * 1024**2
_MMAP_BYTES = 1024**3
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let glibc keep freed blocks for the next tensors of their size.

    By default it maps every activation above 128 kB anew and unmaps it when freed, page by page in each step. Without
    that a training step on a CPU is 1.2 to 1.5 times as fast (EfficientNet-Lite0 at 192 px); the process keeps the
    memory of its largest step.

    Returns:
        Whether this platform's allocator took the setting.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl has no such file or function
        return False
    settings = ((_M_MMAP_THRESHOLD, _MMAP_BYTES), (_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _PAD_BYTES))
    return all(mallopt(number, value) == 1 for number, value in settings)


def leave_cores_to_network() -> None:
    """Limit NumPy's BLAS and OpenCV to one thread: idle ones would spin on the cores that the network computes on.

    A loader's arrays are small: even on an idle machine painting takes half the processor time with one thread.
    """
    import cv2
    from threadpoolctl import threadpool_limits

    cv2.setNumThreads(1)
    threadpool_limits(limits=1, user_api="blas")
