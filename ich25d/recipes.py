"""Recipe files: found, read, checked with all mistakes at once, and written out."""

import dataclasses
import difflib
import tomllib
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ich25d.config import UNKNOWN_LABEL, Recipe, WindowConfig
from ich25d.errors import ConfigError
from ich25d.labels import LABELS
from ich25d.progress import many


def find_recipe(path: Path) -> Path:
    """Return a recipe's file: the path itself, or a shipped recipe called by its name, as `demo`.

    Raises:
        ConfigError: There is neither.
    """
    if path.is_file():
        return path
    known = shipped_recipes()
    name = path.with_suffix("").as_posix().removeprefix("configs/")  # in an installed wheel there is no such folder
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"; nearest known: {', '.join(near)}" if near else ""
    raise ConfigError(
        f"a recipe must be a TOML file or the name of a shipped one, which `ich25d recipe` lists (got {str(path)!r})"
        + hint
    )


def shipped_recipes() -> dict[str, Path]:
    """Return the files of the shipped recipes by name, as `baseline` or `classic/resnet50`, in the order of names."""
    package = Path(__file__).parent
    # An installed wheel carries the recipes inside the package, a checkout beside it.
    folder = package / "configs" if (package / "configs").is_dir() else package.parent / "configs"
    names = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.toml")}
    return dict(sorted(names.items(), key=lambda item: ("/" in item[0], item[0])))


@dataclasses.dataclass(frozen=True, slots=True)
class ShippedRecipes:
    """What `ich25d recipe` prints: a line each, or one whole."""

    texts: dict[str, str]
    """The files by name."""
    is_whole: bool
    """One was asked for: print all of it."""
    exit_code: int = 0

    def lines(self) -> list[str]:
        """Return the lines that the command prints."""
        if self.is_whole:
            return [text.rstrip("\n") for text in self.texts.values()]
        wide = max(map(len, self.texts), default=0)
        return [f"{name:<{wide}}  {_title(text)}" for name, text in self.texts.items()]

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints: the text of one, or the titles of all."""
        return {name: text if self.is_whole else _title(text) for name, text in self.texts.items()}


def show_recipes(name: str | None) -> ShippedRecipes:
    """Return a shipped recipe's text, or all of them.

    Args:
        name: As `baseline`; None is all.

    Raises:
        ConfigError: No recipe of that name is shipped.
    """
    shipped = shipped_recipes()
    if name is not None:
        found = find_recipe(Path(name))
        shipped = {name: found}
    texts = {one: path.read_text(encoding="utf-8") for one, path in shipped.items()}
    return ShippedRecipes(texts, is_whole=name is not None)


def _title(text: str) -> str:
    """Return the first line of a recipe's head."""
    return text.partition("\n")[0].removeprefix("#").strip()


def read_recipe(path: Path | None, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe file and check it.

    Args:
        path: A TOML file; None is all defaults.
        overrides: `section.key=value` each, the value as in TOML; bare words are text.

    Raises:
        ConfigError: The file can't be read, or has unknown keys or values out of range; all are named.
    """
    try:
        content = {} if path is None else tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"a recipe must be a readable TOML file (got {str(path)!r}: {error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"a recipe must be valid TOML (got {error}) in {path}") from error
    for override in overrides:
        _override(content, override)
    return check_recipe(content, "--set" if path is None else str(path))


def check_recipe(content: dict[str, Any], place: str) -> Recipe:
    """Turn parsed TOML into a recipe; `place` is the file's name, for messages.

    Raises:
        ConfigError: Unknown keys or values out of range; all of them in one message.
    """
    try:
        return TypeAdapter(Recipe).validate_python(content)
    except ValidationError as error:
        lines = [_sentence(item) for item in error.errors()]
        raise ConfigError(f"{many(len(lines), 'mistake')} in {place}:\n" + "\n".join(lines)) from None


def write_recipe(recipe: Recipe) -> str:
    """Return a recipe as complete TOML, which `read_recipe` reads back."""
    parts = []
    for section in dataclasses.fields(recipe):
        settings = getattr(recipe, section.name)
        rows = [f"{field.name} = {_toml(getattr(settings, field.name))}" for field in dataclasses.fields(settings)]
        parts.append(f"[{section.name}]\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _override(content: dict[str, Any], override: str) -> None:
    key, sign, value = override.partition("=")
    section, dot, name = key.strip().partition(".")
    if not (sign and section and dot and name):
        raise ConfigError(f"--set takes section.key=value (got {override!r}), as in encoder.name=resnet18")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    settings = content.setdefault(section, {})
    if isinstance(settings, dict):  # else it is a mistake of the file, and check_recipe names it
        settings[name] = parsed


def _sentence(item: Any) -> str:  # noqa: ANN401  # pydantic's ErrorDetails
    """Return a mistake as one line: dotted key, rule, value, and the nearest known key."""
    loc = tuple(part for part in item["loc"] if part != "[key]")
    place = ".".join(str(part) for part in loc)
    if item["type"] in ("unexpected_keyword_argument", UNKNOWN_LABEL):
        known = list(LABELS) if item["type"] == UNKNOWN_LABEL else _known_keys(loc)
        near = difflib.get_close_matches(str(loc[-1]), known, n=3)
        hint = f"; nearest known: {', '.join(near)}" if near else ""
        return f"  {place}: unknown key{hint}"
    if item["type"] == "value_error":  # a sentence of config.py, with its value
        named = f"{place}: " if place else ""  # it speaks of two sections, and names them
        return f"  {named}{item['ctx']['error']}"
    return f"  {place}: {item['msg']} (got {item['input']!r})"


def _known_keys(loc: tuple[str | int, ...]) -> list[str]:
    if WindowConfig.__name__ in loc:
        settings: Any = WindowConfig
    else:
        settings = Recipe if len(loc) == 1 else getattr(Recipe(), str(loc[0]))
    return [field.name for field in dataclasses.fields(settings)]


def _toml(value: Any) -> str:  # noqa: ANN401  # whatever a recipe may hold
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, WindowConfig):
        return f"{{level = {value.level}, width = {value.width}}}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    return repr(value)
