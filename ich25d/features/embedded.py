"""What an encoder says of a whole series, whatever computes it."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Embedded(NamedTuple):
    """What an encoder says of a series of n slices in V views."""

    embedding: npt.NDArray[np.float32]
    """Shape (V, n, E)."""
    logit: npt.NDArray[np.float32]
    """Shape (V, n, 6)."""
    pixel: npt.NDArray[np.float16] | None
    """Probability of each label in cells of 8 px, mean of the views, shape (n, 6, G, G); None without a pixel head."""
