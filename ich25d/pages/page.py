"""One HTML page: headings, text and parts in, one self-contained file out."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ich25d import __version__
from ich25d.files import write_text
from ich25d.pages.number import value_text


class Page:
    """A page that opens by double-click and fetches nothing.

    Whatever isn't `markupsafe.Markup` is escaped. The page's content security policy runs its own scripts alone, each
    known by its hash, fetches nothing, and ignores style attributes: use classes, and `style()`.

    Args:
        title: The first heading, and the name of the tab.
        subtitle: A line under it.
        lead: Its content in two sentences.
        wide: Take the whole width of the window, as a viewer needs it.
    """

    def __init__(self, title: str, *, subtitle: str = "", lead: str | Markup = "", wide: bool = False) -> None:
        self.title, self.subtitle, self.lead, self.wide = title, subtitle, lead, wide
        self._sections: list[tuple[str, str, list[Markup], str]] = []
        self._scripts: list[Markup] = []
        self._styles: list[str] = [_own_file("page.css")]
        self._data: list[tuple[str, Markup]] = []

    def section(self, heading: str, *parts: str | Markup, note: str = "") -> None:
        """Add a section; it gets an anchor and a line in the list of contents.

        Args:
            heading: Its heading.
            parts: Text becomes paragraphs; Markup stands as it is.
            note: A smaller line under the heading, for how to read what follows.
        """
        taken = {anchor for anchor, *_ in self._sections}
        anchor = base = re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-") or "section"
        number = 2
        while anchor in taken:
            anchor, number = f"{base}-{number}", number + 1
        self._sections.append((anchor, heading, [paragraph(part) for part in parts], note))

    def script(self, source: str) -> None:
        """Add an inline script of our own; it runs after the page's content."""
        self._scripts.append(_raw(source, "script"))

    def style(self, source: str) -> None:
        """Add style rules of our own."""
        self._styles.append(source)

    def data(self, name: str, content: object) -> None:
        """Add data for scripts: JSON in an element with this id, escaped so that no text in it ends the element.

        Args:
            name: The element's id.
            content: Whatever JSON takes.

        Raises:
            ValueError: The content holds NaN or infinity.
        """
        text = json.dumps(content, allow_nan=False, separators=(",", ":"))
        for letter in "<>&\u2028\u2029":
            text = text.replace(letter, f"\\u{ord(letter):04x}")
        self._data.append((name, Markup(text)))  # escaped above

    def to_html(self) -> str:
        """Return the page."""
        style = _raw("\n".join(self._styles), "style")
        scripts = [_raw(_own_file("page.js"), "script"), *self._scripts]
        policy = "; ".join(
            (
                "default-src 'none'",
                "base-uri 'none'",
                "form-action 'none'",
                "img-src data: blob:",
                f"style-src {_hash(style)}",
                f"script-src {' '.join(dict.fromkeys(map(_hash, scripts)))}",
            )
        )
        return _environment("ich25d.pages", "templates").get_template("page.html").render(
            page=self,
            sections=self._sections,
            scripts=scripts,
            style=style,
            data=self._data,
            policy=Markup(policy),  # hashes and constants
            version=__version__,
        )  # fmt: skip

    def write(self, path: Path) -> None:
        """Write the page, whole or not at all."""
        write_text(path, self.to_html())


def paragraph(part: str | Markup) -> Markup:
    """Return text as a paragraph, and Markup as it is."""
    return part if isinstance(part, Markup) else Markup("<p>{}</p>").format(part)


def remarks(items: Sequence[str]) -> Markup:
    """Return a list of remarks, each with a warning sign; empty where there is none."""
    if not items:
        return Markup("")
    rows = (
        Markup('<li><span class="sign" aria-hidden="true">!</span><span><b>Remark.</b> {}</span></li>').format(item)
        for item in items
    )
    return Markup('<ul class="remarks">{}</ul>').format(Markup("").join(rows))


def facts(pairs: Mapping[str, object]) -> Markup:
    """Return a list of names and their values, which may be Markup."""
    rows = (
        Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(name, value_text(value)) for name, value in pairs.items()
    )
    return Markup('<dl class="facts">{}</dl>').format(Markup("").join(rows))


def pair(*charts: Markup) -> Markup:
    """Return charts side by side where the window is wide enough."""
    return Markup('<div class="pair">{}</div>').format(Markup("").join(charts))


def render(package: str, template: str, **values: object) -> Markup:
    """Fill a template of a package.

    Args:
        package: The package, whose folder `assets` holds the template.
        template: Name of the file.
        values: Its variables; what isn't Markup is escaped.
    """
    return Markup(_environment(package, "assets").get_template(template).render(**values))


@lru_cache(maxsize=8)
def _environment(package: str, folder: str) -> Environment:
    return Environment(
        loader=PackageLoader(package, folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _own_file(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _raw(source: str, tag: str) -> Markup:
    """Return the content of a script or style element as the browser will read it, and hash it."""
    if re.search(rf"</{tag}|<!--", source, re.IGNORECASE):
        raise ValueError(f"an inline {tag} must not hold its own end tag or <!-- (got one)")
    return Markup("\n" + source.replace("\r\n", "\n").replace("\r", "\n"))  # our own source


def _hash(source: str) -> str:
    digest = hashlib.sha256(source.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
