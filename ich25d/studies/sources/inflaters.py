"""The fastest installed libraries that inflate: libdeflate and isal (extra `fast`), else zlib."""

import zlib
from typing import Any

try:
    from isal import isal_zlib  # twice as fast as zlib
except ImportError:
    isal_zlib = zlib  # type: ignore[misc]  # offers the same

try:
    import deflate  # libdeflate: a third faster than isal
except ImportError:
    deflate = None

by_parts: Any = isal_zlib
"""With the interface of `zlib`."""
whole: Any = deflate
"""libdeflate, which inflates whole files only; None where it isn't installed."""
