"""Pictures inside a page: pixels in, an `img` with its PNG out."""

import base64
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from markupsafe import Markup


def picture(pixels: npt.NDArray[np.uint8], *, alt: str, caption: str = "", width: int | None = None) -> Markup:
    """Return a picture.

    Args:
        pixels: Shape (H, W) grey or (H, W, 3) RGB, uint8.
        alt: What it shows, for screen readers.
        caption: A line under it.
        width: Its width on the page in CSS px; default the picture's own. A narrow window shows it smaller.
    """
    ordered = pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[:, :, ::-1])  # OpenCV writes BGR
    ok, content = cv2.imencode(".png", ordered, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert ok, "PNG holds any such picture"
    height_px, width_px = pixels.shape[:2]
    shown = width_px if width is None else width
    image = Markup('<img src="data:image/png;base64,{}" alt="{}" width="{}" height="{}">').format(
        base64.b64encode(content.tobytes()).decode("ascii"), alt, shown, round(height_px * shown / width_px)
    )
    text = Markup("<figcaption>{}</figcaption>").format(caption) if caption else ""
    return Markup('<figure class="picture">{}{}</figure>').format(image, text)


def gallery(pictures: Sequence[Markup]) -> Markup:
    """Return pictures side by side, as many in a row as the window holds."""
    return Markup('<div class="gallery">{}</div>').format(Markup("").join(pictures))
