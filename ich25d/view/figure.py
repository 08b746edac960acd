"""One picture of a predicted study: slices in windows, and probabilities along the scan in mm."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.errors import UsageError
from ich25d.labels import ANY_INDEX, LABELS
from ich25d.pages.chart import Line, LineChart
from ich25d.pages.plot import STYLES, draw, save
from ich25d.windows import NAMED_WINDOWS

_COLUMNS = 6
_ROWS = ("brain", "subdural", "bone")


def draw_study(
    path: Path,
    hu: npt.NDArray[np.int16],
    slice_position_mm: npt.NDArray[np.float64],
    probability: npt.NDArray[np.float64],
    *,
    title: str,
    encoder_probability: npt.NDArray[np.float64],
    truth: npt.NDArray[np.float64],
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

    shown = slices_to_show(probability[:, ANY_INDEX], truth[:, ANY_INDEX] == 1)
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
                position = slice_position_mm[index] - slice_position_mm[0]
                ax.set_title(_caption(position, probability[index], truth[index]), fontsize=9)
            if column == 0:
                ax.set_ylabel(f"{window}\nlevel {level:g}, width {width:g} HU", fontsize=9)
    _draw_curves(lower, slice_position_mm, probability, encoder_probability, truth, shown)
    save(figure, path)


def slices_to_show(any_probability: npt.NDArray[np.float64], bleeds: npt.NDArray[np.bool_]) -> list[int]:
    """Choose slices over the whole scan, among them the one of the highest probability, and that of those that bleed.

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


def _caption(position_mm: float, probability: npt.NDArray[np.float64], truth: npt.NDArray[np.float64]) -> str:
    best = int(probability[:ANY_INDEX].argmax())
    caption = f"{position_mm:.0f} mm   any {probability[ANY_INDEX]:.2f}\n{LABELS[best]} {probability[best]:.2f}"
    labelled = [label for label, value in zip(LABELS[:ANY_INDEX], truth[:ANY_INDEX], strict=True) if value == 1]
    return f"{caption}\nlabel: {', '.join(labelled) or 'none'}"


def _draw_curves(
    figure: Any,  # noqa: ANN401  # matplotlib's SubFigure; matplotlib is an extra
    slice_position_mm: npt.NDArray[np.float64],
    probability: npt.NDArray[np.float64],
    encoder_probability: npt.NDArray[np.float64],
    truth: npt.NDArray[np.float64],
    shown: list[int],
) -> None:
    ax = figure.subplots()
    position = slice_position_mm - slice_position_mm[0]
    lines = [Line(position, probability[:, number], label, style=number) for number, label in enumerate(LABELS)]
    lines.append(Line(position, encoder_probability[:, ANY_INDEX], "any, encoder alone", style=len(LABELS)))
    x_label = "distance from the lowest slice, mm"
    draw(ax, LineChart(lines, title="", x_label=x_label, y_label="probability", y_range=(-0.23, 1.02)))
    for index in shown:
        ax.axvline(position[index], color="0.85", linewidth=0.8, zorder=0)
    for number, (colour, _) in enumerate(STYLES[: len(LABELS)]):
        positive = position[truth[:, number] == 1]
        ax.plot(positive, np.full(len(positive), -0.04 - 0.03 * number), "s", color=colour, markersize=4)
    ax.text(position[-1], -0.02, "squares: labels", fontsize=8, va="top", ha="right", color="0.35")
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
