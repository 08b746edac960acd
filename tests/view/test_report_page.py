"""The pages of a report in a browser: slices move, windows change px, heat comes and goes, the worklist filters."""

import base64
import zlib
from dataclasses import asdict, fields, replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ich25d.config import SlabConfig
from ich25d.explain.finding import Finding
from ich25d.labels import LABELS
from ich25d.predict.finished_series import FinishedSeries
from ich25d.predict.series import SeriesPixels, StoredSeries
from ich25d.studies.qc import QcRow
from ich25d.training.operating_point import Measured, OperatingPoint, known_points
from ich25d.view.report.packing import pack_heat, pack_masks, pack_slices
from ich25d.view.report.page import study_page
from ich25d.view.report.shown import ShownSeries
from ich25d.view.report.worklist import Row, by_urgency, worklist_page, write_worklist_csv

HOSTILE = '=1+1</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">\'"&'
POINT = OperatingPoint("f2", dict.fromkeys(LABELS, 0.3), dict.fromkeys(LABELS, 0.4))
STRICT = OperatingPoint("specificity_90", {"any": 0.92, "subdural": 0.01}, {"any": 0.95, "subdural": 0.02})
POINTS = (POINT, STRICT)
N, SIDE, BLEED = 6, 32, 3


def _series(**changes: Any) -> ShownSeries:
    """Return six slices of a head, the fourth with blood on the image's left, as the model might see it."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    radius = np.hypot(x / 0.35, y / 0.42)
    hu = np.where(radius < 0.85, 30, np.where(radius < 1, 1000, -1000))[None].repeat(N, axis=0).astype(np.int16)
    mask = np.zeros((N, SIDE, SIDE), dtype=bool)
    mask[BLEED, 12:18, 9:14] = True
    hu[mask] = 70
    probability = np.full((N, 6), 0.05)
    probability[BLEED] = [0.02, 0.9, 0.01, 0.1, 0.03, 0.92]
    heat = np.zeros((N, 6, 8, 8), dtype=np.float16)
    heat[BLEED, [1, 5], 3:5, 2:4] = 0.9
    position = np.arange(N) * 5.0 - 20
    remark = QcRow("a.dcm", "ID_2", "ID_series", "slice", "WRAP12", "repaired")
    box, extent = (12, 9, 18, 14), (20.0, 24.0, 5.0)
    finding = Finding(
        "intraparenchymal", 0.9, "right", -5.0, -5.0, BLEED, BLEED, BLEED, extent, 2.4, 1.0, 4.0, box
    )  # fmt: skip
    ids = tuple(f"ID_{index}" for index in range(N))
    window = np.full((N, 2), np.nan, np.float32)
    series = ShownSeries(
        listed=StoredSeries(Path("studies"), "ID_series", "ID_study", "ID_patient", ids, ""),
        pixels=SeriesPixels(hu, ids, position, window, (), pixel_mm=4.0, orientation="LP"),
        finished=FinishedSeries(
            probability * 0.8,
            probability,
            probability.max(axis=0),
            np.zeros((4, 6)),
            np.full(8, np.nan),
            position,
            ids,
            (),
        ),
        slab=SlabConfig(neighbours=(-1, 0, 1)),
        points=POINTS,
        remarks=(remark,),
        heat=heat,
        masks={"intraparenchymal": mask},
        findings=(finding,),
    )
    own = {field.name for field in fields(ShownSeries)}
    parts = {}
    for name in ("listed", "pixels", "finished"):
        part = getattr(series, name)
        known = {field.name for field in fields(part)} - own
        parts[name] = replace(part, **{key: value for key, value in changes.items() if key in known})
    return replace(series, **parts, **{key: value for key, value in changes.items() if key in own})


def _row(number: int, **changes: Any) -> Row:
    row = Row(
        state="clear", series_id=f"ID_{number:04d}", study_id=f"ID_{number + 5000:04d}", patient_id=f"ID_p{number:04d}",
        page=f"studies/ID_{number:04d}.html", n_slices=30, probability=(0.1, 0.1, 0.1, 0.1, 0.1, 0.2),
    )  # fmt: skip
    return replace(row, **changes)


@pytest.fixture
def study(tmp_path: Path, visit: Any) -> Any:
    """The page of a study, ready."""
    path = tmp_path / "study.html"
    study_page(_series()).write(path)
    page = visit(path)
    page.wait_for_selector("#stage[data-ready]")
    return page


def _pixels(page: Any) -> int:
    """Return a number that changes with the px of the slice; after the next frame, when all is drawn."""
    return page.evaluate(
        """() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
          const canvas = document.getElementById("slice");
          const bytes = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          let sum = 0;
          for (let i = 0; i < bytes.length; i += 4) {
            sum = (sum * 31 + bytes[i] * 7 + bytes[i + 1] * 3 + bytes[i + 2]) % 1000000007;
          }
          done(sum);
        })))"""
    )


def _expect(page: Any, place: str, text: str) -> None:
    """Wait for a text; playwright's own waiting for an expression needs eval, which the pages forbid."""
    page.locator(place, has_text=text).wait_for()


def test_slices_move_by_slider_keys_wheel_curve_and_button(study: Any) -> None:
    """The page opens on the slice with the highest probability; every way of moving shows another."""
    where = study.locator("#where")
    assert where.inner_text() == f"slice {BLEED + 1} of {N}, 15.0 mm"
    seen = {_pixels(study)}

    study.locator("#position").fill("0")
    seen.add(_pixels(study))
    assert where.inner_text() == f"slice 1 of {N}, 0.0 mm"
    study.focus("#stage")
    for key, expected in (("ArrowUp", 2), ("ArrowRight", 3), ("ArrowDown", 2), ("End", N), ("PageDown", 1)):
        study.keyboard.press(key)
        _pixels(study)
        assert where.inner_text().startswith(f"slice {expected} of")
    study.hover("#slice")
    study.mouse.wheel(0, -100)
    _expect(study, "#where", "slice 3 of")
    chart = study.locator(".results .chart svg[role=img]").bounding_box()
    study.mouse.click(chart["x"] + chart["width"] - 25, chart["y"] + chart["height"] / 2)
    _expect(study, "#where", f"slice {N} of")
    study.click("tr:has-text('intraparenchymal') .jump >> nth=0")
    _expect(study, "#where", f"slice {BLEED + 1} of")
    assert len(seen) == 2


def test_windows_change_what_is_seen(study: Any) -> None:
    """Presets by button and key, numbers, and a drag; the HU under the pointer are those of the file."""
    seen = [_pixels(study)]
    study.click("button:has-text('Bone')")
    seen.append(_pixels(study))
    assert study.locator("#window-text").inner_text() == "level 600, width 2800 HU"
    assert study.get_attribute("button:has-text('Bone')", "aria-pressed") == "true"
    study.focus("#stage")
    study.keyboard.press("2")
    seen.append(_pixels(study))
    assert study.locator("#window-text").inner_text() == "level 80, width 200 HU"
    study.fill("#level", "70")
    study.fill("#width", "10")
    seen.append(_pixels(study))
    assert study.locator("#window-text").inner_text() == "level 70, width 10 HU"
    box = study.locator("#slice").bounding_box()
    blood = (box["x"] + box["width"] * 11.5 / SIDE, box["y"] + box["height"] * 15.5 / SIDE)
    study.mouse.move(*blood)
    assert "70 HU" in study.locator("#probe").inner_text()
    study.mouse.down()
    study.mouse.move(blood[0] + 60, blood[1] + 30, steps=3)
    study.mouse.up()
    seen.append(_pixels(study))
    assert study.locator("#window-text").inner_text() == "level 100, width 70 HU"

    assert len(set(seen)) == len(seen)


def test_grey_is_the_window_of_the_hu(study: Any) -> None:
    """A px in the middle of the brain, 30 HU in the window 40 / 80, is 0.375 of white."""
    grey = study.evaluate(
        """() => { const c = document.getElementById("slice");
        return Array.from(c.getContext("2d").getImageData(c.width / 2, c.height / 2, 1, 1).data); }"""
    )

    assert grey == [96, 96, 96, 255]


def test_heat_is_on_and_off_a_label(study: Any) -> None:
    """The box and the key show it, a label's button chooses whose, the estimate's button shows its own."""
    plain = _pixels(study)
    study.check("#heat")
    hot = _pixels(study)
    study.click("button.label:has-text('intraparenchymal')")
    outlined = _pixels(study)
    study.click("button.label:has-text('subdural')")
    cold = _pixels(study)
    study.focus("#stage")
    study.keyboard.press("h")
    assert not study.is_checked("#heat")
    off = _pixels(study)
    study.locator("#position").fill("0")
    study.click("section:has-text('Where and how large') .jump >> nth=-1")
    shown = _pixels(study)

    assert len({plain, hot, outlined}) == 3
    assert plain == cold == off
    assert shown == outlined
    assert study.locator("#heat-label").inner_text() == "intraparenchymal"


def test_sides_size_and_estimates_stand_there(study: Any) -> None:
    """The patient's right is on the left of the image, a bar is 50 mm long, estimates are named as such."""
    assert study.locator(".side-left").inner_text() == "R"
    assert study.locator(".side-right").inner_text() == "L"
    assert study.locator("#bar-text").inner_text() == "50 mm"
    share = study.evaluate(
        "document.getElementById('bar').getBoundingClientRect().width / document.getElementById('slice').clientWidth"
    )
    assert share == pytest.approx(50 / (4 * SIDE), abs=0.01)
    text = study.inner_text("section:has-text('Where and how large')")
    assert "estimate" in text
    assert "2.4 (1.0 to 4.0)" in text
    assert "WRAP12" in study.inner_text("section:has-text('Remarks') .remarks")
    assert study.inner_text(".badge") == "Flagged"
    assert study.locator(".neighbour").count() == 2


def test_what_the_files_do_not_say_is_not_claimed(tmp_path: Path, visit: Any) -> None:
    """No orientation: no sides; no px size: no bar; no places: slices are counted; 390 px wide, in the dark."""
    series = _series(
        orientation="", pixel_mm=None, slice_position_mm=np.full(N, np.nan), heat=None, findings=(), masks={}
    )
    study_page(series).write(tmp_path / "study.html")
    page = visit(tmp_path / "study.html", width=390, scheme="dark")
    page.wait_for_selector("#stage[data-ready]")

    assert page.locator(".side-left, .side-right").count() == 0
    assert page.inner_text(".unknown") == "sides unknown"
    assert page.inner_text("#bar-text") == "size unknown"
    assert "place unknown" in page.inner_text("#where")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#heat").count() == 0


def test_the_table_of_labels_fits_on_every_screen(tmp_path: Path, visit: Any) -> None:
    """Its last column, the way to a label's peak, isn't cut off beside the picture; all labels stand out in bold."""
    study_page(_series(probability=np.full((N, 6), 0.999), series_probability=np.full(6, 0.999))).write(
        tmp_path / "study.html"
    )
    page = visit(tmp_path / "study.html")
    page.wait_for_selector("#stage[data-ready]")
    for width in (390, 700, 1000, 1121, 1280, 1345, 1440, 1920):
        page.set_viewport_size({"width": width, "height": 900})
        cut = "(e => e.scrollWidth - e.clientWidth)(document.querySelector('.labels').parentElement)"
        assert page.evaluate(cut) <= 0, width


def test_the_operating_point_switches(study: Any) -> None:
    """Words, marks, line and strokes follow the chosen point: at .92 a slice of .92 counts, at .95 a scan doesn't."""
    level = "document.querySelector('.of-any .threshold').getAttribute('d')"
    strokes = "document.querySelector('.of-{} .positive').getAttribute('d').split('M').length - 1"
    row = study.locator("tr[data-label='5']")
    before = study.evaluate(level)
    assert study.evaluate(strokes.format("subdural")) == 0
    assert row.inner_text().split() == ["any", "0.920*", "0.400", "1", "0.920*", "4"]

    study.focus("#point")
    study.keyboard.press("ArrowDown")
    _expect(study, "#badge", "Flagged")
    _expect(study, "#verdict-text", "Over the threshold: subdural.")
    assert study.evaluate(level) != before
    assert [study.evaluate(strokes.format(label)) for label in ("any", "subdural", "epidural")] == [1, N, 0]
    assert row.inner_text().split() == ["any", "0.920", "0.950", "1", "0.920*", "4"]
    assert study.locator("tr.over").evaluate_all("rows => rows.map(row => row.dataset.label)") == ["4"]
    assert study.inner_text(".at-point") == "under"
    assert study.get_attribute(".back a", "href") == "../index.html#point-specificity_90"

    study.select_option("#point", "f2")
    assert study.evaluate(level) == before
    assert study.inner_text(".at-point") == "over"


def test_hostile_texts_stay_texts(tmp_path: Path, visit: Any) -> None:
    """Ids, remarks and paths of any content run neither on a page nor in a spreadsheet."""
    remark = QcRow(HOSTILE, HOSTILE, HOSTILE, "series", "TILT", HOSTILE)
    series = _series(
        series_id=HOSTILE, study_id=HOSTILE, patient_id=HOSTILE, image_ids=(HOSTILE,) * N, remarks=(remark,),
        orientation="<b",
    )  # fmt: skip
    study_page(series, model=HOSTILE).write(tmp_path / "study.html")
    rows = [
        _row(1, series_id=HOSTILE, study_id=HOSTILE, patient_id=HOSTILE, found=((HOSTILE, HOSTILE),)),
        _row(2, state="refused", reason=HOSTILE),
    ]
    worklist_page(rows, [replace(remark, series_id="")], points=POINTS, model=HOSTILE).write(tmp_path / "index.html")
    write_worklist_csv(tmp_path / "worklist.csv", rows, point=POINT)
    study = visit(tmp_path / "study.html")
    study.wait_for_selector("#stage[data-ready]")
    index = visit(tmp_path / "index.html")

    for page in (study, index):
        assert page.evaluate("window.hacked") is None
        assert page.locator("img[src=x]").count() == 0
    assert HOSTILE in study.inner_text("h1")
    table = pd.read_csv(tmp_path / "worklist.csv")
    assert not [cell for column in table for cell in map(str, table[column]) if cell.startswith(("=", "+", "-", "@"))]


def test_the_worklist_sorts_and_filters(tmp_path: Path, visit: Any) -> None:
    """Flagged, then not read, then the rest; label, remark, state and words narrow it; a heading sorts it."""
    rows = [_row(number) for number in range(250)]
    rows[7] = _row(7, state="flagged", over=("any", "subdural"), probability=(0, 0, 0, 0, 0.7, 0.8), codes=("TILT",))
    rows[9] = _row(9, state="flagged", over=("any", "epidural"), probability=(0.9, 0, 0, 0, 0, 0.9))
    rows[11] = _row(11, state="refused", page="", probability=(), codes=("LOCALIZER",), reason="all are localizers")
    worklist_page(rows, [], points=POINTS, model="m").write(tmp_path / "index.html")
    page = visit(tmp_path / "index.html")
    shown = "Array.from(document.querySelectorAll('#worklist tbody tr:not([hidden])'), row => row.cells[1].querySelector('small').textContent)"  # noqa: E501
    states = "document.getElementById('count').textContent"

    first = page.evaluate(shown)
    assert first[:3] == ["ID_0009", "ID_0007", "ID_0011"]
    assert 100 <= len(first) < 250
    page.select_option("#label", "subdural")
    assert page.evaluate(shown) == ["ID_0007"]
    page.select_option("#label", "")
    page.select_option("#remark", "LOCALIZER")
    assert page.evaluate(shown) == ["ID_0011"]
    page.select_option("#remark", "-")
    assert page.evaluate(states) == "248 of 250 series"
    page.click("button[type=reset]")
    _expect(page, "#count", "250 of 250 series")
    page.fill("#search", "localizers")
    assert page.evaluate(shown) == ["ID_0011"]
    page.fill("#search", "")
    page.click("#worklist th >> nth=4 >> button")
    assert page.evaluate(shown)[0] == "ID_0009"
    page.evaluate("document.getElementById('more').scrollIntoView()")
    page.locator("#worklist tbody tr:not([hidden]) >> nth=150").wait_for(state="attached")
    page.fill("#search", "ID_0249")
    assert page.evaluate(shown) == ["ID_0249"]


def test_the_worklist_follows_the_operating_point(tmp_path: Path, visit: Any) -> None:
    """Marks, states, counts, estimates, order and links; the choice comes along from a study and back to it."""
    over, none = {"specificity_90": ("subdural",)}, {"specificity_90": ()}
    said = (("intraparenchymal", "IPH left ~2 ml"), ("any", "any left ~3 ml"))
    rows = [
        _row(1, state="flagged", over=("any",), over_at=none, found=said, probability=(0.1, 0.1, 0.1, 0.1, 0.1, 0.9)),
        _row(2, over_at=over),
        _row(3, state="refused", page="", probability=()),
    ]
    worklist_page(rows, [], points=POINTS, model="m").write(tmp_path / "index.html")
    page = visit(tmp_path / "index.html")
    order = "Array.from(document.querySelectorAll('#worklist tbody tr'), row => [row.cells[0], row.cells[1].querySelector('small'), row.cells[2]].map(cell => cell.textContent).join(' '))"  # noqa: E501
    default = ["1 ID_0001 Flagged", "2 ID_0003 Not read", "3 ID_0002 Not flagged"]

    assert page.evaluate(order) == default
    assert page.locator(".found:visible").all_inner_texts() == ["IPH left ~2 ml"]
    page.focus("#point")
    page.keyboard.press("ArrowDown")
    _expect(page, "#worklist tr:nth-child(1) .state", "Flagged")
    assert page.evaluate(order) == ["1 ID_0002 Flagged", "2 ID_0003 Not read", "3 ID_0001 Not flagged"]
    assert page.locator(".found:visible").count() == 0
    assert page.locator("#worklist td.over").all_inner_texts() == ["0.10*"]
    assert page.locator("#label option").all_inner_texts() == ["all", "any (0)", "subdural (1)"]
    assert page.get_attribute("#worklist a >> nth=0", "href") == "studies/ID_0002.html#point-specificity_90"
    page.select_option("#label", "subdural")
    _expect(page, "#count", "1 of 3 series")
    page.click("button[type=reset]")
    page.reload()
    assert page.input_value("#point") == "specificity_90"
    assert page.evaluate(order)[0] == "1 ID_0002 Flagged"
    page.select_option("#point", "f2")
    assert page.evaluate(order) == default


def test_series_of_a_study_stand_together(tmp_path: Path, visit: Any) -> None:
    """Where the most urgent of them belongs; the study's name stands once, over whichever of them is shown first."""
    rows = [_row(number) for number in range(6)]
    rows[1] = _row(
        1, study_id="ID_s", patient_id="ID_p", state="flagged", over=("any",), probability=(0, 0, 0, 0, 0, 0.5)
    )
    rows[4] = _row(4, study_id="ID_s", patient_id="ID_p", n_slices=90)
    rows[5] = _row(5, state="flagged", over=("any",), probability=(0, 0, 0, 0, 0, 0.9))
    worklist_page(rows, [], points=POINTS, model="m").write(tmp_path / "index.html")
    page = visit(tmp_path / "index.html", width=390, scheme="dark")
    ranks = "Array.from(document.querySelectorAll('#worklist tbody tr:not([hidden])'), row => `${row.cells[0].textContent} ${row.querySelector('a').textContent}`)"  # noqa: E501

    assert [row.series_id for row in by_urgency(rows)][:3] == ["ID_0005", "ID_0001", "ID_0004"]
    assert page.evaluate(ranks)[:4] == ["1 ID_5005", "2 ID_0001", "2 ID_0004", "3 ID_5000"]
    assert "5 studies, 6 series" in page.inner_text(".subtitle")
    assert page.locator(".study:visible").all_inner_texts() == ["ID_s, 2 series\nID_p"]
    page.click("#worklist th:has-text('Slices') >> button")
    assert page.evaluate(ranks)[:2] == ["2 ID_0004", "2 ID_0001"]
    page.select_option("#state", "clear")
    assert page.locator(".study:visible").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_urgency() -> None:
    """What nobody read stands before what looked clear; within a state the probability decides."""
    rows = [
        _row(1, probability=(0, 0, 0, 0, 0, 0.39)),
        _row(2, state="refused", probability=()),
        _row(3, state="flagged", probability=(0, 0, 0, 0, 0, 0.5)),
        _row(4, state="flagged", probability=(0, 0, 0, 0, 0, 0.6)),
    ]

    assert [row.series_id for row in by_urgency(rows)] == ["ID_0004", "ID_0003", "ID_0002", "ID_0001"]
    assert Row(**asdict(rows[0])) == rows[0]


def test_flags_are_those_of_the_default_point() -> None:
    """A model without thresholds flags nothing."""
    assert _series(points=known_points({})).over() == ()
    assert _series().over() == ("any", "intraparenchymal")


def _unpacked(data: str) -> np.ndarray:
    planes = np.frombuffer(zlib.decompress(base64.b64decode(data)), dtype=np.uint8).reshape(2, -1)
    return planes.T.copy().view("<i2").ravel()


def test_slices_come_back_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every HU; a series too long for a page loses the noise of air first, then px, and says so."""
    hu = np.random.default_rng(0).integers(-1024, 3072, (3, 64, 64)).astype(np.int16)
    packed = pack_slices(hu)

    assert (_unpacked(packed.data) == hu.ravel()).all()
    assert packed.remark == ""
    monkeypatch.setattr("ich25d.view.report.packing.MOST_BYTES", 8000)
    smaller = pack_slices(hu)
    assert (smaller.side, len(_unpacked(smaller.data))) == (36, 3 * 36 * 36)
    assert "shown at 36 x 36 px instead of 64" in smaller.remark


def test_heat_and_masks_come_back() -> None:
    """Heat as bytes of at most 64 px a side, masks bit by bit in the order of px."""
    heat = np.zeros((2, 6, 128, 128), dtype=np.float16)
    heat[1, 2] = 1
    data, side = pack_heat(heat)
    mask = np.random.default_rng(0).random((2, 5, 5)) < 0.5
    bits = np.frombuffer(zlib.decompress(base64.b64decode(pack_masks({"a": mask, "b": ~mask}))), dtype=np.uint8)
    found = np.frombuffer(zlib.decompress(base64.b64decode(data)), dtype=np.uint8).reshape(2, 6, side, side)

    assert side == 64
    assert (found == (heat[:, :, ::2, ::2] * 255).astype(np.uint8)).all()
    assert (np.unpackbits(bits, bitorder="little")[:50].reshape(2, 5, 5) == mask).all()
    assert pack_masks({}) == ""


def test_pages_say_what_a_point_reached_and_where_it_flags_nearly_everything(tmp_path: Path) -> None:
    """On validation, beside a flag and on the worklist; and where it flags nearly all series at hand."""
    point = replace(POINT, measured=Measured(1.0, 36, 0.1, 50))
    study_page(_series(points=(point, STRICT))).write(tmp_path / "study.html")
    rows = [_row(number, state="flagged", over=("any",)) for number in range(5)]
    worklist_page(rows, [], points=(point, STRICT), model="m").write(tmp_path / "many.html")
    worklist_page(rows[:4], [], points=(POINT, STRICT), model="m").write(tmp_path / "few.html")
    study, many, few = (unescape((tmp_path / f"{name}.html").read_text()) for name in ("study", "many", "few"))

    for page in (study, many):
        assert "best F2 (found 1.00 of 36 positive, spared .10 of 50)" in page
        assert "on validation 45 of 50 series without a bleed" in page
    assert "5 of 5 series are flagged" in many
    assert "flags nearly everything" not in few
    assert "series are flagged" not in few
