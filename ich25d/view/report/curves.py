"""Probabilities along the scan as one drawing: six labels, encoder and final, over millimetres."""

from typing import Any

import numpy as np
from markupsafe import Markup

from ich25d.labels import ANY_INDEX, LABELS
from ich25d.pages.chart import numbers
from ich25d.pages.svg import Plane, figure, line_key, path, with_axes
from ich25d.view.report.shown import ShownSeries

STROKE = 9
"""Height in px of the strokes under slices that count as positive."""

_SIZE = 640, 320


def draw_curves(series: ShownSeries) -> tuple[Markup, dict[str, Any]]:
    """Return the drawing, and the px of its axes for the script that makes it clickable."""
    distance = series.distance_mm()
    x = np.arange(len(series), dtype=np.float64) if distance is None else distance
    high = float(x.max()) if x.max() > 0 else 1.0
    plane = Plane.make((0.0, high), (0.0, 1.0), size=_SIZE)
    inner = []
    positive = series.point.slices_over(series.finished.probability)
    for number, label in enumerate(LABELS):
        # Every label has both paths, empty or not: a script redraws them at another operating point.
        threshold = series.point.of_slice.get(label)
        y = None if threshold is None else plane.up.at(threshold)
        level = "" if y is None else f"M{plane.across.start:.1f} {y:.1f}H{plane.across.end:.1f}"
        places = (plane.across.at(float(x[index])) for index in np.flatnonzero(positive[:, number]))
        strokes = "".join(f"M{place:.1f} {plane.up.start:.1f}v{-STROKE}" for place in places)
        inner.append(_of(label, _drawn(level, number, "threshold") + _drawn(strokes, number, "positive")))
        for values, css in ((series.finished.encoder_probability, "encoder"), (series.finished.probability, "final")):
            points = [plane.at(float(a), float(b)) for a, b in zip(x, values[:, number], strict=True)]
            if len(points) == 1:
                points = [(points[0][0] - 4, points[0][1]), (points[0][0] + 4, points[0][1])]
            inner.append(_of(label, path(points, f"line s{number} {css}")))
    inner.append(path([(plane.across.start, plane.up.start), (plane.across.start, plane.up.end)], "cursor"))
    x_label = "slice" if distance is None else "mm from the lowest slice, foot to head"
    columns = [x_label, *(name for label in LABELS for name in (label, f"{label}, encoder alone"))]
    both = np.stack([series.finished.probability, series.finished.encoder_probability], axis=2).reshape(len(series), -1)
    order = [ANY_INDEX, *range(ANY_INDEX)]
    drawing = figure(
        with_axes(plane, inner, x_label, "probability"),
        title="Probability along the scan",
        description="Six labels. Strong: encoder and sequence model; thin: the encoder alone; strokes at the "
        "foot: slices at or over the threshold of the chosen label. A click shows the slice.",
        size=_SIZE,
        legend=[(line_key(number), LABELS[number]) for number in order],
        data=numbers(
            "Probability along the scan",
            columns,
            [(float(place), *row) for place, row in zip(x, both.tolist(), strict=True)],
        ),
    )
    shares = [round(float(value) / high, 5) for value in x]
    where = {
        "start": plane.across.start, "end": plane.across.end, "width": _SIZE[0], "places": shares,
        "foot": plane.up.start, "top": plane.up.end, "stroke": STROKE,
    }  # fmt: skip
    return drawing, where


def _drawn(steps: str, number: int, css: str) -> Markup:
    return Markup('<path class="line s{} {}" data-label="{}" d="{}"/>').format(number, css, number, steps)


def _of(label: str, content: Markup) -> Markup:
    return Markup('<g class="of of-{}">{}</g>').format(label, content)
