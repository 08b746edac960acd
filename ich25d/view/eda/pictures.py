"""Slices as pictures: windows, the colour stack that the network sees, slabs, the head box, the 12-bit repair."""

import dataclasses

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.config import SlabConfig
from ich25d.dicom.header import Header, Remark
from ich25d.dicom.hounsfield import HU_MAX, HU_MIN, to_hu
from ich25d.slabs.dataset import SlabBatch, series_batches
from ich25d.slabs.grey_values import grey
from ich25d.slabs.network_input import network_input
from ich25d.studies.volumes.headbox import Box
from ich25d.view.eda.output import Line, Tile
from ich25d.windows import NAMED_WINDOWS, Window

Grey = npt.NDArray[np.uint8]
Hu = npt.NDArray[np.int16]

FULL_RANGE: Window = ((HU_MIN + HU_MAX + 1) / 2, HU_MAX - HU_MIN + 1)
"""Level and width that show every HU of a CT."""

STACK = SlabConfig(windows=("brain", "subdural", "soft"), neighbours=(-1, 0, 1))
"""What recipes show the network, unless they say otherwise: three windows of three slices."""

_BOX = (255, 176, 0)


def window_tiles(hu: Hu, name: str) -> list[Tile]:
    """Return a slice in brain, subdural, soft-tissue and bone windows and as colour stack.

    Args:
        hu: Shape (H, W).
        name: What the slice is, for the alt texts.
    """
    tiles = [
        Tile(grey(hu, (level, width)), f"{window} {level:g}/{width:g}", f"{name}, {window} window")
        for window, (level, width) in NAMED_WINDOWS.items()
    ]
    stack = np.stack([grey(hu, NAMED_WINDOWS[str(window)]) for window in STACK.windows], axis=2)
    return [*tiles, Tile(stack, "colour stack", f"{name}, brain, subdural and soft window as red, green, blue")]


def before_and_after(hu: Hu) -> list[Tile]:
    """Return a slice with all its HU on 256 grey values, and in three windows."""
    alt = "a slice without a window: hardly any contrast in the brain"
    tiles = [Tile(grey(hu, FULL_RANGE), f"before: {HU_MIN} to {HU_MAX} HU", alt)]
    for name in ("brain", "subdural", "soft"):
        level, width = NAMED_WINDOWS[name]
        caption = f"after: {name}, {level - width / 2:g} to {level + width / 2:g} HU"
        tiles.append(Tile(grey(hu, (level, width)), caption, f"the same slice in the {name} window"))
    return tiles


def slab_lines(hu: Hu, slice_position_mm: npt.NDArray[np.float64], index: int) -> list[Line]:
    """Return what the network gets for one slice: a line a neighbour with its windows, and them as colour stack.

    Args:
        hu: The series, shape (n, H, W).
        slice_position_mm: Shape (n,).
        index: The slice.
    """
    (batch,) = series_batches(hu, slice_position_mm, None, STACK, len(hu))
    one = SlabBatch(*(getattr(batch, field.name)[index : index + 1] for field in dataclasses.fields(batch)))
    channels = network_input(one, dataclasses.replace(STACK, size=hu.shape[-1]), "cpu")[0]
    own = np.rint(channels.numpy() * 255).astype(np.uint8)
    lines = []
    for row, name in enumerate(("the slice below", "the slice itself", "the slice above")):
        part = own[3 * row : 3 * row + 3]
        tiles = [
            Tile(part[column], f"channel {3 * row + column + 1}: {window}", f"{name} in the {window} window")
            for column, window in enumerate(STACK.windows)
        ]
        colour = np.ascontiguousarray(np.moveaxis(part, 0, 2))
        lines.append(Line([*tiles, Tile(colour, "the three as colour", f"{name} as colour stack")], name))
    return lines


def in_field(hu: Hu, box: Box, field: tuple[int, int]) -> Hu:
    """Put a cropped slice back where it was; what lies outside isn't in the store and shows as -1024 HU.

    Args:
        hu: Shape (size, size): the box's content in the middle of a square.
        box: Where it was cut out, source px.
        field: Rows and columns of the source.
    """
    size = hu.shape[0]
    scale = max(box.height, box.width) / size
    height, width = min(size, round(box.height / scale)), min(size, round(box.width / scale))
    top, left = (size - height) // 2, (size - width) // 2
    whole = np.full(field, HU_MIN, dtype=np.int16)
    cut = np.ascontiguousarray(hu[top : top + height, left : left + width])
    shown = cv2.resize(cut, (box.width, box.height), interpolation=cv2.INTER_LINEAR)
    whole[box.top : box.bottom, box.left : box.right] = shown
    return whole


def box_picture(field_hu: Hu, box: Box) -> Grey:
    """Return a full-field slice with the head box drawn in, shape (H, W, 3); air stays visible as dark grey."""
    shown = cv2.cvtColor(grey(field_hu, (0, 1400)), cv2.COLOR_GRAY2RGB)
    thick = max(2, field_hu.shape[1] // 170)
    cv2.rectangle(shown, (box.left, box.top), (box.right - 1, box.bottom - 1), _BOX, thick)
    picture: Grey = np.asarray(shown, dtype=np.uint8)
    return picture


def wrapped(hu: Hu) -> npt.NDArray[np.uint16]:
    """Return the stored values of a slice as the odd files have them: 12 unsigned bits, intercept 0.

    HU below 0 don't fit and come out 4096 higher: air of -1000 HU is stored as 3096.
    """
    stored: npt.NDArray[np.uint16] = np.where(hu < 0, hu.astype(np.int32) + 4096, hu).clip(0, 4095).astype(np.uint16)
    return stored


def repaired(stored: npt.NDArray[np.uint16]) -> tuple[Hu, tuple[Remark, ...]]:
    """Return the HU that the reader makes of such values, and its remarks."""
    rows, columns = stored.shape
    header = Header(
        image_id="", series_id="", study_id="", rows=rows, columns=columns, bits_allocated=16, bits_stored=12,
        high_bit=11, is_signed=False, slope=1.0, intercept=0.0,
    )  # fmt: skip
    return to_hu(stored, header)


def repair_tiles(hu: Hu) -> tuple[list[Tile], int]:
    """Show a slice as a wrapped file has it and as it is repaired, each in two windows.

    Args:
        hu: A slice, shape (H, W); a margin of air is put round it, as a full field has.

    Returns:
        The pictures, and by how many HU the repaired slice differs from the true one at most.
    """
    field = np.pad(hu, hu.shape[0] // 32, constant_values=HU_MIN)
    stored = wrapped(field)
    after, _ = repaired(stored)
    tiles = compared(stored.astype(np.int16), after)
    return tiles, int(np.abs(after.astype(np.int32) - field).max())


def compared(before: Hu, after: Hu) -> list[Tile]:
    """Return a slice before and after the repair: all its values, and the brain window."""
    tiles = []
    for word, values in (("before", before), ("after", after)):
        air = int(np.median(values[0]))
        alt = f"{word} the repair"
        tiles += [
            Tile(grey(values, FULL_RANGE), f"{word}: all values, border {air} HU", f"{alt}, all values"),
            Tile(grey(values, NAMED_WINDOWS["brain"]), f"{word}: brain window", f"{alt}, brain window"),
        ]
    return tiles


def blood_px(hu: Hu) -> int:
    """Count px as dense as clotted blood (55 to 85 HU) well inside the head, where no bone is near."""
    bone = cv2.dilate((hu > 200).astype(np.uint8), np.ones((9, 9), dtype=np.uint8))
    smooth = cv2.blur(hu.astype(np.float32), (5, 5))
    return int(((smooth > 55) & (smooth < 85) & (bone == 0)).sum())
