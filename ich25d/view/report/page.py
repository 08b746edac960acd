"""The page of one series: viewer, probabilities, estimates, remarks and facts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from ich25d.dicom.geometry import sides_of
from ich25d.explain.explanation import HEAT_RULE
from ich25d.explain.finding import SIDES, Finding
from ich25d.explain.page import extent_text, volume_text
from ich25d.labels import ANY_FIRST, ANY_INDEX, LABELS, SHORT
from ich25d.pages.chart import numbers
from ich25d.pages.number import number_text
from ich25d.pages.page import Page, facts, remarks, render
from ich25d.pages.picture import gallery, picture
from ich25d.pages.svg import Plane, figure, line_key, path, with_axes
from ich25d.pages.table import table
from ich25d.progress import many
from ich25d.slabs.grey_values import grey
from ich25d.slabs.neighbours import neighbour_indices
from ich25d.studies.qc import remark_texts
from ich25d.training.confidence import WORDS
from ich25d.training.operating_point import RULES
from ich25d.view.report.packing import PackedSlices, pack_heat, pack_masks, pack_slices
from ich25d.view.report.point_switch import chooser, point_data, verdict
from ich25d.view.report.shown import ShownSeries
from ich25d.windows import NAMED_WINDOWS

_STROKE = 9
"""Height in px of the strokes under slices that count as positive."""

_SIZE = 640, 320
_NOTE = (
    "Made for the labels over their threshold at the default operating point, {default}. Heat is scaled to the one of "
    "{heat}: on a slice at that threshold it is half as strong as it can be. Each number is an estimate from the heat "
    "map and the HU under it, made for finding the place again, not for measuring; the README says how far such "
    "estimates were off on phantoms and painted scans."
)


def study_page(series: ShownSeries, *, model: str = "") -> Page:
    """Return the page of a series; the worklist lies one folder up.

    Args:
        series: What it shows.
        model: The model's name, for the facts.
    """
    packed = pack_slices(series.pixels.hu)
    drawing, axis = _curves(series)
    page = Page(f"Study {series.listed.study_id or series.listed.series_id}", subtitle=_subtitle(series), wide=True)
    page.style(asset("viewer.css"))
    back = Markup('<p class="back"><a href="../index.html">Back to the worklist</a></p>')
    page.lead = back + _verdict(series) + _confidence(series)
    page.section("Slices and probabilities", _viewer(series, drawing))
    if series.findings:
        note = _NOTE.format(default=series.point.name, heat=RULES[HEAT_RULE].meaning)
        page.section("Where and how large", _findings(series), note=note)
    texts = remark_texts(series.remarks) + ([f"This page: {packed.remark}."] if packed.remark else [])
    page.section("Remarks", remarks(texts) if texts else "Nothing odd was found in the files of this series.")
    page.section(
        "Key slice", _key_slice(series), note="The slice with the highest probability of any bleed, for paper."
    )
    page.section(
        "About the scan", facts({**series.facts(), "Model": model or None}), _thresholds(series), _slices(series)
    )
    page.data("series", _data(series, packed, axis))
    page.script(asset("viewer.js"))
    return page


def asset(name: str) -> str:
    """Return one of the report's own scripts or styles."""
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")


def _subtitle(series: ShownSeries) -> str:
    parts = [f"series {series.listed.series_id}", many(len(series), "slice")]
    distance = series.distance_mm()
    if distance is not None and len(distance) > 1:
        parts.append(f"{distance.max():.0f} mm")
    return ", ".join(parts)


def _verdict(series: ShownSeries) -> Markup:
    chance = number_text(float(series.finished.series_probability[ANY_INDEX]), 2)
    return Markup(
        '<div class="verdict {sign}" id="verdict"><span class="badge" id="badge">{word}</span>'
        '<p><span role="status" id="verdict-text">{text}</span> Probability of any bleed in the scan: <b>{chance}</b>.'
        "</p>"
        '<p class="point">Operating point: {choice}</p></div>'
    ).format(**verdict(series, series.point), chance=chance, choice=chooser(series.points))


def _confidence(series: ShownSeries) -> Markup:
    """Return the line on how sure the prediction is; nothing for a model without states."""
    if not series.judgement.state:
        return Markup("")
    return Markup('<p class="confidence {}">Confidence: <b>{}</b>. {}</p>').format(
        series.judgement.state, WORDS[series.judgement.state], series.judgement.text,
    )  # fmt: skip


def _viewer(series: ShownSeries, drawing: Markup) -> Markup:
    return render(
        "ich25d.view.report",
        "viewer.html",
        sides=sides_of(series.pixels.orientation),
        last=len(series) - 1,
        best=_best(series),
        windows=[(name.capitalize(), f"{level:g}", f"{width:g}") for name, (level, width) in NAMED_WINDOWS.items()],
        has_heat=series.heat is not None,
        labels=[_label(series, number) for number in ANY_FIRST],
        drawing=drawing,
        neighbours=[column for column, offset in enumerate(series.slab.neighbours) if offset],
        neighbour_mm=f"{series.slab.neighbour_mm:g}" if series.slab.neighbour_mm else "",
    )


def _label(series: ShownSeries, number: int) -> dict[str, object]:
    """Return a label's row of the table of labels; its button highlights the label's curve and heat map."""
    point, over = series.point, series.point.slices_over(series.finished.probability)[:, number]
    return {
        "number": number,
        "label": LABELS[number],
        "key": line_key(number),
        "chance": float(series.finished.series_probability[number]),
        "threshold": point.of_series.get(LABELS[number]),
        "is_over": LABELS[number] in series.over(),
        "n_over": int(over.sum()) if LABELS[number] in point.of_slice else None,
        "peak": int(series.finished.probability[:, number].argmax()),
    }


def _thresholds(series: ShownSeries) -> Markup:
    rows = [
        (point.described, label, point.of_slice.get(label), point.of_series.get(label))
        for point in series.points
        if point.of_series
        for label in LABELS
    ]
    columns = ["Operating point", "Label", "Slice", "Whole scan"]
    return table(columns, rows, caption="Thresholds of all operating points", collapsed=True)


def _slices(series: ShownSeries) -> Markup:
    distance = series.distance_mm()
    rows = [
        (
            index + 1,
            None if distance is None else float(distance[index]),
            image,
            *map(float, series.finished.probability[index]),
            flag,
        )
        for index, (image, flag) in enumerate(zip(series.finished.image_ids, series.flags(), strict=True))
    ]
    return table(["Slice", "mm", "Image", *LABELS, "Remarks"], rows, caption="All slices", collapsed=True)


def _key_slice(series: ShownSeries) -> Markup:
    best = _best(series)
    pictures = []
    for name, (level, width) in NAMED_WINDOWS.items():
        alt = f"Slice {best + 1} in the {name} window"
        caption = f"{name.capitalize()}: level {level:g}, width {width:g}"
        pictures.append(picture(grey(series.pixels.hu[best], (level, width)), alt=alt, caption=caption, width=256))
    return gallery(pictures)


def _best(series: ShownSeries) -> int:
    return int(series.finished.probability[:, ANY_INDEX].argmax())


def _data(series: ShownSeries, packed: PackedSlices, axis: dict[str, Any]) -> dict[str, Any]:
    pixel_mm, stored_side = series.pixels.pixel_mm, series.pixels.hu.shape[2]
    heat, heat_side = (None, 0) if series.heat is None else pack_heat(series.heat)
    distance = series.distance_mm()
    return {
        "n": len(series),
        "side": packed.side,
        "slices": packed.data,
        "mm": None if distance is None else [round(float(value), 2) for value in distance],
        "pixel_mm": None if pixel_mm is None else pixel_mm * stored_side / packed.side,
        "start": _best(series),
        "neighbours": neighbour_indices(series.finished.slice_position_mm, series.slab).tolist(),
        "probability": [[float(f"{value:.4g}") for value in row] for row in series.finished.probability],
        "labels": list(LABELS),
        "selected": ANY_INDEX,
        "flags": series.flags(),
        "points": point_data(series),
        "axis": axis,
        "heat": heat,
        "heat_side": heat_side,
        "masks": pack_masks(series.masks),
        "masked": list(series.masks),
        "mask_side": stored_side,
    }


def _curves(series: ShownSeries) -> tuple[Markup, dict[str, Any]]:
    """Return the drawing, and the px of its axes for the script that makes it clickable."""
    distance = series.distance_mm()
    x = np.arange(len(series), dtype=np.float64) if distance is None else distance
    high = float(x.max()) if x.max() > 0 else 1.0
    plane = Plane((0.0, high), (0.0, 1.0), size=_SIZE)
    inner = []
    positive = series.point.slices_over(series.finished.probability)
    for number, label in enumerate(LABELS):
        # Every label has both paths, empty or not: a script redraws them at another operating point.
        threshold = series.point.of_slice.get(label)
        y = None if threshold is None else plane.up.at(threshold)
        level = "" if y is None else f"M{plane.across.start:.1f} {y:.1f}H{plane.across.end:.1f}"
        places = (plane.across.at(float(x[index])) for index in np.flatnonzero(positive[:, number]))
        strokes = "".join(f"M{place:.1f} {plane.up.start:.1f}v{-_STROKE}" for place in places)
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
    drawing = figure(
        with_axes(plane, inner, x_label, "probability"),
        title="Probability along the scan",
        description="Six labels. Strong: encoder and sequence model; thin: the encoder alone; strokes at the "
        "foot: slices at or over the threshold of the chosen label. A click shows the slice.",
        size=_SIZE,
        legend=[(line_key(number), LABELS[number]) for number in ANY_FIRST],
        data=numbers("Probability along the scan", columns, np.column_stack([x, both]).tolist()),
    )
    shares = [round(float(value) / high, 5) for value in x]
    where = {
        "start": plane.across.start, "end": plane.across.end, "width": _SIZE[0], "places": shares,
        "foot": plane.up.start, "top": plane.up.end, "stroke": _STROKE,
    }  # fmt: skip
    return drawing, where


def _drawn(steps: str, number: int, css: str) -> Markup:
    return Markup('<path class="line s{} {}" data-label="{}" d="{}"/>').format(number, css, number, steps)


def _of(label: str, content: Markup) -> Markup:
    return Markup('<g class="of of-{}">{}</g>').format(label, content)


def _findings(series: ShownSeries) -> Markup:
    """Return the findings of a series as a table, each with a button that shows its slice."""
    position = series.finished.slice_position_mm
    lowest = float(np.nanmin(position)) if np.isfinite(position).any() else 0.0
    rows = [
        (
            found.label,
            SIDES[found.side],
            Markup('<button type="button" class="jump" data-slice="{}" data-show="{}">{}</button> of {} to {}').format(
                found.peak_slice, found.label, found.peak_slice + 1, found.first_slice + 1, found.last_slice + 1
            ),
            f"{found.first_mm - lowest:.0f} to {found.last_mm - lowest:.0f}",
            extent_text(found),
            volume_text(found),
            ", ".join(found.assumed) or "nothing",
            Markup('<span class="at-point" data-label="{}">{}</span>').format(
                LABELS.index(found.label), "over" if found.label in series.over() else "under"
            ),
        )
        for found in series.findings
    ]
    columns = ["Label", "Patient's side", "Slice with most", "mm from the lowest slice"]
    columns += ["Extent, mm: across, front to back, height", "Volume, ml (80 of 100 cases)", "Assumed", "Threshold"]
    return table(columns, rows, caption="Estimates", sortable=False)


def findings_texts(findings: Sequence[Finding]) -> tuple[tuple[str, str], ...]:
    """Return each finding with its label, in the words of the worklist: `SDH left ~24 ml`.

    A side gets a question mark where the files don't say how the image lies.
    """
    texts = []
    for found in findings:
        side = SIDES[found.side] + ("?" if "orientation" in found.assumed else "")
        text = f"{SHORT.get(found.label, found.label)} {side} ~{number_text(found.volume_ml, 2)} ml"
        texts.append((found.label, text))
    return tuple(texts)
