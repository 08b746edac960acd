"""Pictures found by name: tables name them with the folders of another machine, or spell them another way."""

import os
import re
import unicodedata
from functools import cached_property
from itertools import takewhile
from pathlib import Path

from ich25d.studies.table_file import DCM_SUFFIX

SUFFIXES = (".jpg", ".jpeg", ".png")


def _folded(name: str) -> str:
    """Return a name without differences of case and of composed (NFC) or decomposed (NFD, macOS) accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


class PictureNames:
    """The pictures below a table's folder.

    Args:
        root: The table's folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        """Relative paths of all pictures, by folded name without suffix."""
        found: dict[str, list[str]] = {}
        for folder, _, names in os.walk(self.root):
            for name in names:
                base, suffix = os.path.splitext(name)  # noqa: PTH122  # 752,803 of them
                if suffix.lower() in SUFFIXES:
                    path = os.path.relpath(os.path.join(folder, name), self.root)  # noqa: PTH118
                    found.setdefault(_folded(base), []).append(path.replace(os.sep, "/"))
        return found

    def called(self, stem: str) -> str:
        """Return the only picture of a name, else "". That of `a.dcm` may be `a.dcm.png` or `a.png`."""
        for name in (stem, re.sub(DCM_SUFFIX, "", stem)):
            paths = self._by_stem.get(_folded(name), [])
            exact = [path for path in paths if Path(path).stem == name]
            if len(exact or paths) == 1:
                return (exact or paths)[0]
            if paths:
                return ""
        return ""

    def found(self, path: str, *, is_only: bool) -> str:
        """Return where a picture is that a table names by a path, else the path itself.

        Folders of another machine, as in `C:/data/ct/12.png` and `../input/ct/12.png`, don't count: the picture is the
        one below the table whose path ends alike. One that a folder that is there lacks isn't searched elsewhere.

        Args:
            path: Relative to the table's folder, or absolute, with `/`.
            is_only: The table has one picture a row: then the only one of its name is it, whatever its folder.
        """
        if (self.root / path).exists():
            return path
        wanted = _folded(path).split("/")
        alike: dict[int, list[str]] = {}
        for other in self._by_stem.get(os.path.splitext(wanted[-1])[0], []):  # noqa: PTH122
            parts = _folded(other).split("/")
            if parts == wanted:
                return other
            if parts[-1] == wanted[-1]:
                n_alike = sum(
                    1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(parts[::-1], wanted[::-1], strict=False))
                )
                alike.setdefault(n_alike, []).append(other)
        if not alike or (self.root / path).parent.is_dir():
            return path
        n_alike, nearest = max(alike.items())
        is_whole = n_alike == nearest[0].count("/") + 1
        is_sure = n_alike > 1 or is_whole or (is_only and len(alike) == 1)
        return nearest[0] if is_sure and len(nearest) == 1 else path
