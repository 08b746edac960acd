"""What of a page changes with the operating point: words, marks and the choice itself; scripts switch between them.

What counts as positive is decided here, on exact probabilities, and goes to the page as bits: the page's own numbers
are rounded, and one at its threshold could change sides.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from ich25d.labels import LABELS
from ich25d.training.operating_point import OperatingPoint
from ich25d.view.report.shown import ShownSeries


def bits_of(labels: Iterable[str]) -> int:
    """Return labels as bits, the first of `LABELS` the lowest."""
    return sum(1 << LABELS.index(label) for label in set(labels))


def chooser(points: Sequence[OperatingPoint]) -> str | Markup:
    """Return the element that chooses the operating point; its name alone where there is no other."""
    if len(points) == 1:
        return points[0].described if points[0].of_series else "the model has none"
    options = Markup("").join(
        Markup('<option value="{}"{}>{}</option>').format(
            point.rule, Markup("" if number else " selected"), point.described
        )
        for number, point in enumerate(points)
    )
    # Without `off` a browser restores an earlier choice on reload without an event.
    return Markup(
        '<select id="point" aria-label="Operating point" title="chosen on validation; the first is the default" '
        'autocomplete="off">{}</select>'
    ).format(options)


def verdict(series: ShownSeries, point: OperatingPoint) -> dict[str, str]:
    """Return the verdict on a series at a point: its sign (`over`, `under`, `none`), a word, and a sentence."""
    over = point.over(series.finished.series_probability)
    if not point.of_series:
        text = "This model holds no thresholds: see the probabilities."
        return {"sign": "none", "word": "No threshold", "text": text}
    if not over:
        return {"sign": "under", "word": "Not flagged", "text": "No label is over its threshold."}
    names = ", ".join(label for label in over if label != "any")
    text = f"Over the threshold{f': {names}' if names else ' of any bleed'}. {point.caution}".rstrip()
    return {"sign": "over", "word": "Flagged", "text": text}


def point_data(series: ShownSeries) -> list[dict[str, Any]]:
    """Return what a script needs to show a series at each of its points."""
    weight = 1 << np.arange(len(LABELS))
    return [
        {
            "rule": point.rule,
            **verdict(series, point),
            "of_slice": [point.of_slice.get(label) for label in LABELS],
            "of_series": [point.of_series.get(label) for label in LABELS],
            "series": bits_of(point.over(series.finished.series_probability)),
            "slices": (point.slices_over(series.finished.probability) @ weight).tolist(),
        }
        for point in series.points
    ]
