"""`Header` is the one table of attributes: parsers, packing and notebook follow from it."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from enhanced_ct import to_bytes
from pydicom.dataset import FileDataset

import ich25d
from ich25d.dicom.header import CHECKED, READERS, WANTED, Header

ADDED = "    exposure_mas: Annotated[int | None, Attribute(0x00181152, values.whole)] = None\n"

USED = """
import sys
from pathlib import Path
from ich25d.studies.headers.notebook import Notebook, kept_attributes
from ich25d.studies.headers.read_many import index_entries
from ich25d.studies.sources.listing import list_entries
from ich25d.studies.sources.opened import Sources

folder = Path(sys.argv[1])
(entry,) = list_entries([folder / "a.dcm"])[0]
for _ in range(2):
    notebook = Notebook(folder / "build.sqlite")
    images = notebook.seen(entry)
    if images is None:
        (images,) = index_entries([entry], Sources([folder / "a.dcm"]), notebook.privacy)
        notebook.note_seen(entry, images)
    notebook.close()
print(images[0].header().exposure_mas, kept_attributes(folder / "build.sqlite")["a.dcm"]["exposure_mas"])
"""


def test_an_attribute_is_one_line(tmp_path: Path, make_dataset: Callable[..., FileDataset]) -> None:
    """A line in the table is enough for both parsers, the packed header, the notebook and what `eda` reads of it."""
    shutil.copytree(Path(ich25d.__file__).parent, tmp_path / "ich25d", ignore=shutil.ignore_patterns("__pycache__"))
    table = tmp_path / "ich25d/dicom/header.py"
    before, mark, after = table.read_text().partition("    kvp: ")
    table.write_text(before + ADDED + mark + after)
    (tmp_path / "a.dcm").write_bytes(to_bytes(make_dataset(Exposure=217)))
    for parser in ("hand", "pydicom"):
        (tmp_path / "build.sqlite").unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", USED, str(tmp_path)], capture_output=True, text=True, check=False, cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path), "ICH25D_PARSER": parser},
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, "217 217\n"), done.stderr


def test_an_absent_element_gives_the_default() -> None:
    """A header made by hand, without the attribute, is the header of a file without it."""
    assert {name: read(None) for name, read in READERS.items()} == {
        name: Header._field_defaults[name] for name in READERS
    }


def test_fields_come_in_the_order_of_their_values() -> None:
    """`make_header` sets the last fields from the last raw values, in one order."""
    assert tuple(READERS) == Header._fields[-len(READERS) :]
    assert list(WANTED) == [*CHECKED, *READERS]
    assert len(set(WANTED.values())) == len(WANTED)
