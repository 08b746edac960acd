"""A process that trains or reads for one that does: freed memory is kept, and the cores are left to torch."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
"""Numbers of glibc's mallopt(3)."""

_PAD_BYTES = 256 * 1024**2
_MMAP_BYTES = 1024**3
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed blocks for the next tensor of their size.

    By default every activation above 128 kB is a mapping of its own, given back when it's freed: each step then
    asks the kernel for the same gigabytes again, page by page. Keeping them makes a training step on a CPU 1.2 to 1.5
    times as fast (measured with EfficientNet-Lite0 at 192 px). The process keeps the memory of its largest step.

    Returns:
        Whether this platform's allocator took the setting.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl has no such file or function, and no such habit
        return False
    settings = ((_M_MMAP_THRESHOLD, _MMAP_BYTES), (_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _PAD_BYTES))
    return all(mallopt(number, value) == 1 for number, value in settings)


def leave_cores_to_torch() -> None:
    """Keep NumPy's BLAS and OpenCV to one thread: their waiting threads would spin on the cores that torch computes on.

    The products and planes of a loader are small: painting takes half the processor time so, even where nothing
    else runs.
    """
    import cv2
    from threadpoolctl import threadpool_limits

    cv2.setNumThreads(1)
    threadpool_limits(limits=1, user_api="blas")
