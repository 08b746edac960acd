"""One picture of a predicted study: slices in windows, and probabilities along the scan in mm."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.config import NAMED_WINDOWS
from ich25d.errors import UsageError
from ich25d.files import replacing
from ich25d.labels import ANY_INDEX, LABELS

_COLUMNS = 6
_ROWS = ("brain", "subdural", "bone")
# Okabe and Ito's colours, told apart with every kind of colour vision, and a dash each for those who see none.
_STYLES: tuple[tuple[str, Any], ...] = (
    ("#E69F00", (0, (5, 1))),
    ("#009E73", (0, (3, 1, 1, 1))),
    ("#56B4E9", (0, (1, 1))),
    ("#CC79A7", (0, (6, 2, 1, 2))),
    ("#D55E00", (0, (2, 1))),
    ("#000000", "solid"),
)


def draw_study(
    path: Path,
    hu: npt.NDArray[np.int16],
    slice_position_mm: npt.NDArray[np.float64],
    probability: npt.NDArray[np.float64],
    *,
    title: str,
    encoder_probability: npt.NDArray[np.float64] | None = None,
    truth: npt.NDArray[np.float64] | None = None,
) -> None:
    """Draw a study as a PNG.

    Args:
        path: The file to write, whole or not at all.
        hu: The slices, shape (n, H, W), int16, in scan order.
        slice_position_mm: Shape (n,), mm, rising.
        probability: Final probabilities, shape (n, 6), in the order of `LABELS`.
        title: A line above the picture; nothing that identifies a patient.
        encoder_probability: Probabilities of the encoder alone, shape (n, 6); drawn thin.
        truth: Labels, shape (n, 6), NaN where unknown; drawn as bars under the curves.

    Raises:
        UsageError: Matplotlib isn't installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("pictures need matplotlib (not installed); pip install 'ich25d[plots]'") from error

    bleeds = np.zeros(len(hu), dtype=bool) if truth is None else truth[:, ANY_INDEX] == 1
    shown = slices_to_show(probability[:, ANY_INDEX], bleeds)
    figure = Figure(figsize=(14, 12.5), layout="constrained", facecolor="white")
    parts: Any = figure.subfigures(2, 1, height_ratios=(2.0, 1.0))
    upper, lower = parts
    figure.suptitle(title, fontsize=13)
    axes = upper.subplots(len(_ROWS), len(shown), squeeze=False)
    for row, window in enumerate(_ROWS):
        level, width = NAMED_WINDOWS[window]
        for column, index in enumerate(shown):
            ax = axes[row, column]
            ax.imshow(hu[index], cmap="gray", vmin=level - width / 2, vmax=level + width / 2, interpolation="bilinear")
            ax.set(xticks=[], yticks=[])
            if row == 0:
                own_truth = None if truth is None else truth[index]
                caption = _caption(slice_position_mm[index] - slice_position_mm[0], probability[index], own_truth)
                ax.set_title(caption, fontsize=9)
            if column == 0:
                ax.set_ylabel(f"{window}\nlevel {level:g}, width {width:g} HU", fontsize=9)
    _draw_curves(lower, slice_position_mm, probability, encoder_probability, truth, shown)
    with replacing(path) as part:
        figure.savefig(part, format="png", dpi=110)


def slices_to_show(any_probability: npt.NDArray[np.float64], bleeds: npt.NDArray[np.bool_]) -> list[int]:
    """Choose slices over the whole scan; among them the likeliest to show blood, and the likeliest of those that do.

    Args:
        any_probability: Shape (n,).
        bleeds: Shape (n,), by the labels; all False where there are none.
    """
    n = len(any_probability)
    even = np.linspace(0.15 * (n - 1), 0.8 * (n - 1), min(_COLUMNS, n)).round().astype(int)
    wanted = [int(any_probability.argmax())]
    if bleeds.any():
        wanted.append(int(np.where(bleeds, any_probability, -1.0).argmax()))
    free = np.ones(len(even), dtype=bool)
    for index in dict.fromkeys(wanted[: len(even)]):
        nearest = int(np.where(free, np.abs(even - index), n).argmin())
        even[nearest], free[nearest] = index, False
    return sorted({int(index) for index in even})


def _caption(position_mm: float, probability: npt.NDArray[np.float64], truth: npt.NDArray[np.float64] | None) -> str:
    best = int(probability[:ANY_INDEX].argmax())
    caption = f"{position_mm:.0f} mm   any {probability[ANY_INDEX]:.2f}\n{LABELS[best]} {probability[best]:.2f}"
    if truth is None:
        return caption
    labelled = [label for label, value in zip(LABELS[:ANY_INDEX], truth[:ANY_INDEX], strict=True) if value == 1]
    return f"{caption}\nlabel: {', '.join(labelled) or 'none'}"


def _draw_curves(
    figure: Any,  # noqa: ANN401  # matplotlib's SubFigure; matplotlib is an extra
    slice_position_mm: npt.NDArray[np.float64],
    probability: npt.NDArray[np.float64],
    encoder_probability: npt.NDArray[np.float64] | None,
    truth: npt.NDArray[np.float64] | None,
    shown: list[int],
) -> None:
    ax = figure.subplots()
    position = slice_position_mm - slice_position_mm[0]
    for number, (label, (colour, dash)) in enumerate(zip(LABELS, _STYLES, strict=True)):
        wide = 2.6 if label == "any" else 1.8
        ax.plot(position, probability[:, number], color=colour, linestyle=dash, linewidth=wide, label=label)
        if encoder_probability is not None and label == "any":
            ax.plot(position, encoder_probability[:, number], color=colour, linewidth=0.8, label="any, encoder alone")
        if truth is not None:
            positive = truth[:, number] == 1
            ax.plot(position[positive], np.full(positive.sum(), -0.04 - 0.03 * number), "s", color=colour, markersize=4)
    for index in shown:
        ax.axvline(position[index], color="0.85", linewidth=0.8, zorder=0)
    bottom = -0.04 if truth is None else -0.23
    ax.set(ylim=(bottom, 1.02), xlabel="distance from the lowest slice, mm", ylabel="probability")
    if truth is not None:
        ax.text(position[-1], -0.02, "squares: labels", fontsize=8, va="top", ha="right", color="0.35")
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
