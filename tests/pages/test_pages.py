"""Pages: all is escaped, nothing is fetched, and everything can be read, at any width, in light and in dark."""

import base64
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from markupsafe import Markup

from ich25d.pages.chart import BarChart, Chart, Histogram, Line, LineChart, Matrix
from ich25d.pages.number import number_text, value_text
from ich25d.pages.page import Page, facts, remarks
from ich25d.pages.picture import gallery, picture
from ich25d.pages.table import table

HOSTILE = '</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">\'"&'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.012345, "0.0123"),
        (12.345, "12.3"),
        (1234.5, "1,234"),
        (752803, "752,803"),
        (-0.5, "\N{MINUS SIGN}0.500"),
        (0.0, "0"),
        (float("nan"), "\N{EN DASH}"),
        (np.float32(2.0), "2.00"),
        (np.int64(5), "5"),
    ],
)
def test_numbers_have_three_significant_digits(value: float, expected: str) -> None:
    """Thousands apart, a true minus, a dash for nothing."""
    assert number_text(value) == expected


def test_values_are_written_for_people() -> None:
    """Truth is yes or no, None a dash, Markup stays."""
    assert [value_text(value) for value in (True, np.bool_(False), None, "a", Markup("<b>"))] == [
        "yes", "no", "\N{EN DASH}", "a", Markup("<b>"),
    ]  # fmt: skip


def _charts(text: str = "") -> list[Chart]:
    """Return a chart of each kind, each with every part."""
    x = np.linspace(0, 10, 30)
    band = Line(x, x / 10, f"one {text}", low=x / 12, high=x / 9)
    words = {"title": f"Chart {text}", "x_label": text, "y_label": text}
    values = np.array([[1, 2], [3, 4.0]])
    return [
        LineChart([band, Line(x, 1 - x / 10, "two", step=True)], marks=[(3.0, text)], diagonal=True, **words),
        BarChart([text, "b"], values, groups=["g", text], low=values - 1, high=values + 1, **words),
        Histogram([1, 5, 2], [0, 1, 2, 3], log_y=True, **words),
        Matrix(values, ["a", text], ["c", text], title=text),
    ]


def _whole(hostile: str = "") -> Page:
    """Return a page with every part, each of which shows a text."""
    page = Page(f"All parts {hostile}", subtitle=hostile, lead=f"What there is. {hostile}")
    page.section(
        f"Words {hostile}",
        f"A paragraph. {hostile}",
        remarks([f"odd {hostile}"]),
        facts({hostile: hostile}),
        note=hostile,
    )
    page.section(
        "Words", table(["name", "n", hostile], [(hostile, 3, 0.5), ("b", 1, None), ("c", 2, 0.25)], caption=hostile)
    )
    page.section(
        "Charts",
        *(chart.to_svg() for chart in _charts(hostile)),
    )
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    page.section("Pictures", gallery([picture(grey, alt=hostile, caption=hostile, width=100)] * 5))
    page.data("numbers", {"text": hostile})
    page.script("window.read = JSON.parse(document.getElementById('numbers').textContent).text;")
    return page


def test_hostile_text_stays_text(tmp_path: Path, visit: Any) -> None:
    """Markup in any text of any part is shown, not run; data come through unharmed."""
    path = tmp_path / "page.html"
    _whole(HOSTILE).write(path)
    page = visit(path)

    assert page.evaluate("window.hacked") is None
    assert page.evaluate("window.read") == HOSTILE
    assert HOSTILE in page.inner_text("h1")
    assert page.locator("main img").count() == 5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_can_be_read_at_any_width(tmp_path: Path, visit: Any, scheme: str) -> None:
    """Nothing overflows at 390 px, text has a contrast of 4.5, headings and landmarks are there, tables sort."""
    path = tmp_path / "page.html"
    _whole().write(path)
    page = visit(path, width=390, scheme=scheme)

    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate(_CONTRAST) >= 4.5
    assert [page.locator(tag).count() for tag in ("h1", "main", "header", "footer", "nav")] == [1, 1, 1, 1, 1]
    assert page.locator("svg[role=img]:not([aria-label])").count() == 0
    assert "not a medical device" in page.inner_text("footer")
    page.click("table.sortable th >> nth=1 >> button")
    column = "Array.from(document.querySelector('table.sortable').tBodies[0].rows, row => row.cells[1].textContent)"
    assert page.evaluate(column) == ["3", "2", "1"]
    page.click("table.sortable th >> nth=1 >> button")
    assert page.evaluate(column) == ["1", "2", "3"]
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    assert page.evaluate(_CONTRAST) >= 4.5


_CONTRAST = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const linear = (v) => (v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    const [r, g, b] = numbers(colour).slice(0, 3).map((v) => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor, parts = numbers(colour);
      if (parts.length < 4 || parts[3] > 0) return colour;
    }
    return "rgb(255,255,255)";
  };
  let least = 99;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !node.checkVisibility()) continue;
    if (node.closest("svg, script, .skip")) continue;
    const a = light(getComputedStyle(node).color), b = light(ground(node));
    least = Math.min(least, (Math.max(a, b) + .05) / (Math.min(a, b) + .05));
  }
  return least;
}"""


def test_a_dark_page_is_printed_in_black_on_white(tmp_path: Path, visit: Any) -> None:
    """Whatever the reader chose for the screen."""
    path = tmp_path / "page.html"
    _whole().write(path)
    page = visit(path, scheme="dark")
    page.click("#theme")
    page.click("#theme")
    page.emulate_media(media="print")
    colours = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"

    assert page.evaluate(colours) == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]


def test_sections_have_anchors_of_their_own() -> None:
    """Two sections of one name get two anchors, and the contents name all."""
    text = _whole().to_html()
    anchors = re.findall(r'<section id="([^"]+)"', text)

    assert len(set(anchors)) == len(anchors) == 4
    assert all(f'href="#{anchor}"' in text for anchor in anchors)


def test_the_policy_lets_only_the_pages_own_scripts_run() -> None:
    """default-src is none, every script is there by its hash, and no style attribute is used."""
    text = _whole().to_html()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)

    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    assert not re.search(r"<[^>]+\sstyle=", text)


def test_pictures_keep_their_pixels() -> None:
    """RGB comes back as RGB."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    content = re.search(r"base64,([^\"]+)", picture(pixels, alt="noise"))

    assert content is not None
    read = cv2.imdecode(np.frombuffer(base64.b64decode(content[1]), np.uint8), cv2.IMREAD_COLOR)
    assert (read[:, :, ::-1] == pixels).all()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: table(["a"], [(1, 2)], caption="t"), "a cell a column"),
        (lambda: _with_script("</SCRIPT>"), "its own end tag"),
    ],
)
def test_what_does_not_fit_is_refused(make: Any, match: str) -> None:
    """Each mistake has its sentence."""
    with pytest.raises(ValueError, match=match):
        make()


def _with_script(source: str) -> str:
    page = Page("t")
    page.script(source)
    return page.to_html()


@pytest.mark.parametrize("values", [[], [float("nan")], [3.0], [0.0, 0.0]])
def test_a_chart_takes_whatever_a_run_gives(values: list[float]) -> None:
    """No values, no finite ones, one, or all the same: the chart stands, and holds no NaN."""
    charts = [
        LineChart([Line(values, values, "a")], title="t", x_label="x", y_label="y", log_y=log) for log in (False, True)
    ]

    assert all("nan" not in chart.to_svg().lower() for chart in charts)
