"""The page of one series: viewer, probabilities, estimates, remarks and facts."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from ich25d.config import NAMED_WINDOWS
from ich25d.labels import ANY_INDEX, LABELS
from ich25d.pages.number import number_text
from ich25d.pages.page import Page, facts, remarks
from ich25d.pages.picture import gallery, picture
from ich25d.pages.svg import line_key
from ich25d.pages.table import table
from ich25d.slabs.window import window_hu
from ich25d.view.report.curves import draw_curves
from ich25d.view.report.packing import pack_heat, pack_slices
from ich25d.view.report.shown import ShownSeries, remark_texts

WINDOW_NAMES = {"brain": "Brain", "subdural": "Subdural", "soft": "Soft tissue", "bone": "Bone"}
_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}


def study_page(series: ShownSeries, *, index: str = "../index.html", model: str = "") -> Page:
    """Return the page of a series.

    Args:
        series: What it shows.
        index: Where the worklist is, as the page links to it; empty for none.
        model: The model's name, for the facts.
    """
    packed = pack_slices(series.hu)
    drawing, axis = draw_curves(series)
    page = Page(f"Study {series.study_id or series.series_id}", subtitle=_subtitle(series), wide=True)
    page.style(asset("viewer.css"))
    back = Markup('<p class="back"><a href="{}">Back to the worklist</a></p>').format(index) if index else Markup("")
    page.lead = back + _verdict(series)
    page.section("Slices and probabilities", _viewer(series, drawing))
    if series.estimates:
        page.section(
            "Where and how large",
            table(
                ["Label", "What", "Estimate"],
                [(item.label, item.name, item.text) for item in series.estimates],
                caption="Estimates from the heat maps",
                sortable=False,
            ),
            note="Each is an estimate of the model, checked on phantoms and painted scans only; none is a measurement.",
        )
    texts = remark_texts(series.remarks) + ([f"This page: {packed.remark}."] if packed.remark else [])
    page.section("Remarks", remarks(texts) if texts else "Nothing odd was found in the files of this series.")
    page.section("Key slice", _key_slice(series), note="The slice with the highest probability of any bleed, for paper.")
    page.section("About the scan", facts({**series.facts, "Model": model or None}), _thresholds(series), _slices(series))
    page.data("series", _data(series, packed.data, packed.n_slices, packed.side, axis))
    page.script(asset("viewer.js"))
    return page


@lru_cache(maxsize=8)
def asset(name: str) -> str:
    """Return one of the report's own scripts or styles."""
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")


def _subtitle(series: ShownSeries) -> str:
    parts = [f"series {series.series_id}", f"{len(series)} slices"]
    distance = series.distance_mm()
    if distance is not None and len(distance) > 1:
        parts.append(f"{distance.max():.0f} mm")
    return ", ".join(parts)


def _verdict(series: ShownSeries) -> Markup:
    over = series.over()
    chance = number_text(float(series.series_probability[ANY_INDEX]), 2)
    if not series.point.of_series:
        sign, text = "none", "This model holds no thresholds: see the probabilities."
    elif over:
        names = ", ".join(label for label in over if label != "any")
        sign, text = "over", f"Over the threshold{f': {names}' if names else ' of any bleed'}."
    else:
        sign, text = "under", "No label is over its threshold."
    word = {"over": "Flagged", "under": "Not flagged", "none": "No threshold"}[sign]
    return Markup(
        '<div class="verdict {}"><span class="badge">{}</span><p>{} Probability of any bleed in the scan: <b>{}</b>. '
        'Operating point: {}.</p></div>'
    ).format(sign, word, text, chance, series.point.name)


def _viewer(series: ShownSeries, drawing: Markup) -> Markup:
    n, best = len(series), _best(series)
    windows = Markup("").join(
        Markup('<button type="button" data-level="{0}" data-width="{1}" aria-pressed="false" title="level {0}, width {1} HU, key {3}">{2}</button>').format(
            int(NAMED_WINDOWS[name][0]), int(NAMED_WINDOWS[name][1]), shown, number + 1
        )
        for number, (name, shown) in enumerate(WINDOW_NAMES.items())
    )
    neighbours = Markup("").join(
        Markup('<figure><button type="button" class="neighbour" data-column="{}"><canvas width="128" height="128"></canvas></button><figcaption></figcaption></figure>').format(column)
        for column, offset in enumerate(series.offsets)
        if offset != 0
    )
    heat = Markup(
        '<div class="group heat"><label><input type="checkbox" id="heat"> Heat map of <b id="heat-label">any</b></label>'
        '<label>strength <input type="range" id="heat-strength" min="10" max="100" value="60"></label></div>'
    )
    left, right = _sides(series.orientation)
    return Markup(
        """<div class="study"><div class="viewer" id="viewer">
<div class="stage" id="stage" tabindex="0" role="group" aria-roledescription="slice viewer" aria-label="Slices: arrow keys go through them, 1 to 4 choose a window, H shows the heat map">
<canvas id="slice" width="512" height="512" role="img" aria-label="CT slice"></canvas>
<span class="tag top-left" id="where"></span><span class="tag top-right" id="flag"></span>
<span class="tag side-left">{left}</span><span class="tag side-right">{right}</span>
<span class="tag bottom-left" id="window-text"></span>
<span class="tag bottom-right"><span id="bar-text"></span><svg id="bar" viewBox="0 0 100 6" aria-hidden="true"><path d="M.5 0V6M.5 3H99.5M99.5 0V6"/></svg></span>
<p class="tag wait" id="wait">Unpacking the slices</p>
</div>
<div class="slider"><button type="button" id="back" aria-label="One slice towards the feet">&#8722;</button>
<input type="range" id="position" min="0" max="{last}" step="1" value="{best}" aria-label="Slice">
<button type="button" id="on" aria-label="One slice towards the head">+</button></div>
<div class="controls"><div class="group" role="group" aria-label="Window">{windows}</div>
<div class="group"><label>level <input type="number" id="level" step="5" min="-1024" max="3071"></label>
<label>width <input type="number" id="width" step="10" min="1" max="4096"></label> HU</div>{heat}</div>
<p class="hint">Arrow keys or wheel: slices. 1 to 4: windows. Drag on the image: level and width. <span id="probe"></span></p>
<div class="neighbours" aria-label="Neighbours in the slab">{neighbours}</div>
</div><div class="results">{labels}{drawing}</div></div>"""
    ).format(
        left=left, right=right, last=max(n - 1, 0), best=best, windows=windows,
        heat=heat if series.heat is not None else "",
        neighbours=neighbours, labels=_labels(series), drawing=drawing,
    )  # fmt: skip


def _labels(series: ShownSeries) -> Markup:
    """Return the table of six probabilities; its buttons choose the label that curves and heat map stress."""
    rows = []
    for number in (ANY_INDEX, *range(ANY_INDEX)):
        label = LABELS[number]
        threshold = series.point.of_series.get(label)
        chance = float(series.series_probability[number])
        is_over = threshold is not None and chance >= threshold
        peak = int(series.probability[:, number].argmax()) if len(series) else 0
        rows.append(
            Markup(
                '<tr{}><th scope="row"><button type="button" class="label" data-label="{}" aria-pressed="false">{}{}</button></th>'
                '<td class="n">{}</td><td class="n">{}</td><td>{}</td><td class="n now" data-label="{}"></td>'
                '<td class="n"><button type="button" class="jump" data-slice="{}" title="show slice {}">{}</button></td></tr>'
            ).format(
                Markup(' class="over"') if is_over else "", number, line_key(number), label,
                f"{chance:.3f}", NONE if threshold is None else f"{threshold:.3f}", "over" if is_over else "under" if threshold is not None else "",
                number, peak, peak + 1, peak + 1,
            )  # fmt: skip
        )
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="Probabilities"><table class="labels"><caption>Probabilities; a label&#8217;s button stresses its curve{}</caption>'
        '<thead><tr><th scope="col">Label</th><th scope="col" class="n">Scan</th><th scope="col" class="n">Threshold</th><th scope="col"><span class="hidden-text">Over or under</span></th>'
        '<th scope="col" class="n">This slice</th><th scope="col" class="n">Highest at</th></tr></thead><tbody>{}</tbody></table></div>'
    ).format(" and its heat map" if series.heat is not None else "", Markup("").join(rows))


NONE = "\N{EN DASH}"


def _thresholds(series: ShownSeries) -> Markup:
    rows = [(label, series.point.of_slice.get(label), series.point.of_series.get(label)) for label in LABELS]
    return table(["Label", "Slice", "Whole scan"], rows, caption=f"Thresholds: {series.point.name}", collapsed=True)


def _slices(series: ShownSeries) -> Markup:
    distance = series.distance_mm()
    rows = [
        (index + 1, None if distance is None else float(distance[index]), image, *map(float, series.probability[index]), flag)
        for index, (image, flag) in enumerate(zip(series.image_ids, series.flags(), strict=True))
    ]
    return table(["Slice", "mm", "Image", *LABELS, "Remarks"], rows, caption="All slices", collapsed=True)


def _key_slice(series: ShownSeries) -> Markup:
    if not len(series):
        return Markup("<p>No slice could be read.</p>")
    best = _best(series)
    pictures = []
    for name, shown in WINDOW_NAMES.items():
        level, width = NAMED_WINDOWS[name]
        grey: npt.NDArray[Any] = np.asarray(window_hu(series.hu[best].astype(np.float32), level=level, width=width))
        text = f"Slice {best + 1} in the {shown.lower()} window"
        pictures.append(picture((grey * 255).round().astype(np.uint8), alt=text, caption=f"{shown}: level {level:g}, width {width:g}", width=256))
    return gallery(pictures)


def _best(series: ShownSeries) -> int:
    return int(series.probability[:, ANY_INDEX].argmax()) if len(series) else 0


def _sides(orientation: str) -> tuple[str, str]:
    """Return what stands on the left and on the right of the image; empty where the files don't say."""
    return (_OPPOSITE.get(orientation[0], ""), orientation[0]) if orientation else ("", "")


def _rounded(values: npt.NDArray[np.float64]) -> list[list[float]]:
    return [[float(f"{value:.4g}") for value in row] for row in values]


def _data(series: ShownSeries, slices: str, n: int, side: int, axis: dict[str, Any]) -> dict[str, Any]:
    heat, heat_side = (None, 0) if series.heat is None else pack_heat(series.heat)
    distance = series.distance_mm()
    return {
        "n": n,
        "side": side,
        "slices": slices,
        "mm": None if distance is None else [round(float(value), 2) for value in distance],
        "pixel_mm": None if series.pixel_mm is None else series.pixel_mm * series.hu.shape[2] / side,
        "start": _best(series),
        "neighbours": series.neighbours.tolist(),
        "probability": _rounded(series.probability),
        "labels": list(LABELS),
        "selected": ANY_INDEX,
        "flags": series.flags(),
        "axis": axis,
        "heat": heat,
        "heat_side": heat_side,
    }
