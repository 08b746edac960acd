"""The page's part with pictures: the six classes, windows, the 12-bit repair, the head box, a slab."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from ich25d.dicom.geometry import patient_axes, to_usual_display
from ich25d.dicom.header import Header
from ich25d.dicom.reader import read_header, read_hu
from ich25d.errors import DicomError, UsageError
from ich25d.files import shown_name
from ich25d.labels import LABELS
from ich25d.studies.qc import QcRow
from ich25d.studies.sources.listing import Entry, list_entries
from ich25d.studies.sources.opened import Sources
from ich25d.studies.store_dir.store import StudyStore
from ich25d.studies.volumes.headbox import MARGIN_MM, Box
from ich25d.view.eda import pictures
from ich25d.view.eda.counts import examples_of, examples_without
from ich25d.view.eda.output import Line, Output, Tile
from ich25d.view.eda.rows import LabelRows

A_CLASS = 4
"""Slices a class."""

SHOWN_CANDIDATES = 40
"""Slices among which the one is chosen that most sections show."""

_CLASSES_NOTE = (
    "A line is one slice: the middle of one of the label's longest runs, each of another patient, with as few other "
    "labels as there are. Windows by level/width in HU. The colour stack shows the brain, subdural and soft-tissue "
    "window as red, green and blue: the three channels that the network gets of each slice. Pictures are turned as "
    "their files have them."
)
_WINDOWING_NOTE = (
    "Brain and clotted blood are 30 HU apart: with 4,096 HU on 256 grey values, two steps, which the eye can't see. "
    "A window spends all grey values on the HU that matter and gives up the rest: black below, white above."
)
_REPAIR_NOTE = (
    "Some files keep 12 unsigned bits with intercept 0. HU below 0 don't fit: air of -1000 HU is stored as 3096, as "
    "white as metal. The reader unwraps such values where the border shows them, and remarks WRAP12."
)
_BOX_NOTE = (
    f"One box a series: the largest solid component of all its slices with a margin of {MARGIN_MM:g} mm. Table, "
    "head-rest and cushions count as outside."
)
_SLAB_NOTE = (
    "the slices below and above, three windows each: the nine channels of the network's input. At the ends of the "
    "scan and across holes the slice itself repeats."
)


class Gallery:
    """Draws pictures of a store's slices.

    Args:
        store: The study store.
        rows: Its labels, in the order of its table of slices.
        sources: Where the store's files are, for what it doesn't keep; may be empty.
        only: Globs, as for `build-studies`.
    """

    def __init__(self, store: StudyStore, rows: LabelRows, sources: Sequence[Path], only: Sequence[str]) -> None:
        self.store = store
        self.rows = rows
        self.series_of = store.slices["series_id"].to_numpy(dtype=object)
        self.index_of = store.slices["slice_index"].to_numpy(dtype=np.int64)
        self.source_of = store.slices["source"].to_numpy(dtype=object)
        self.sources = Sources(tuple(sources))
        entries = list_entries(sources, only)[0] if sources else []
        self.entries: dict[str, Entry] = {shown_name(entry.source): entry for entry in entries}

    def check_sources(self) -> list[str]:
        """Return a remark where the sources lack some of the store's files.

        Raises:
            UsageError: They hold none of them.
        """
        names = {str(source) for source in self.source_of}
        n = sum(name in self.entries or name.rpartition("#")[0] in self.entries for name in names)  # a file's frames
        if not n:
            have = f"{len(self.entries)} files, as {min(self.entries)!r}" if self.entries else "no file"
            raise UsageError(
                f"--source must be what the store was built from (got {have}; the store's are called "
                f"{min(names)!r} and the like)"
            )
        return [f"--source holds {n:,} of the store's {len(names):,} files."] if n < len(names) else []

    def add_all(self, output: Output, qc: Sequence[QcRow]) -> None:
        """Add the sections with pictures.

        Args:
            output: The page.
            qc: The store's refusals and remarks.
        """
        row = self._shown_row()
        self._add_classes(output)
        line = Line(pictures.before_and_after(self._hu(row)), str(self.rows.image_id[row]))
        shown = output.tiles("windowing", [line], title="The same slice without and with a window")
        output.section("Before and after windowing", shown, note=_WINDOWING_NOTE)
        self._add_repair(output, qc, row)
        self._add_head_box(output)
        self._add_slab(output, row)

    def _add_classes(self, output: Output) -> None:
        """Add a gallery a class, and one of slices without a bleed."""
        taken: set[int] = set()
        parts: list[str | Markup] = []
        for index, label in enumerate([*LABELS, "no bleed"]):
            is_label = index < len(LABELS)
            found = (
                examples_of(self.rows, index, A_CLASS, frozenset(taken))
                if is_label
                else examples_without(self.rows, A_CLASS)
            )
            taken |= set(found)
            parts.append(Markup("<h3>{}</h3>").format(label[0].upper() + label[1:]))
            if not found:
                parts.append("No slice is labelled so.")
                continue
            name = f"gallery_{label.replace(' ', '_')}"
            title = f"{label}: windows (level/width, HU) and colour stack"
            parts.append(output.tiles(name, [self._windows(row) for row in found], title=title))
        output.section("Pictures of the six classes", *parts, note=_CLASSES_NOTE)

    def _windows(self, row: int) -> Line:
        image_id = str(self.rows.image_id[row])
        positive = [label for label, value in zip(LABELS, self.rows.target[row], strict=True) if value == 1]
        subtypes = ", ".join(label for label in positive if label != "any")
        labels = subtypes or ("any alone" if positive else "no bleed")
        tiles = pictures.window_tiles(self._hu(row), f"slice {image_id}, labelled {labels}")
        return Line(tiles, f"{image_id}: {labels}")

    def _add_repair(self, output: Output, qc: Sequence[QcRow], row: int) -> None:
        """Add the 12-bit repair: of a file that the store names, where its source is given, else of values made."""
        remarked = [remark for remark in qc if remark.code == "WRAP12"]
        files = ((remark, file) for remark in remarked if (file := self._file(remark.source)) is not None)
        if found := next(files, None):
            remark, (content, header) = found
            # As a reader without the repair has it: of 16 bits stored, nothing looks wrapped.
            before = read_hu(content, header._replace(bits_stored=16, high_bit=15)).hu
            line = Line(pictures.compared(before, read_hu(content, header).hu), remark.image_id)
            text = f"A real file, {remark.image_id}, one of {len(remarked):,} that were repaired: {remark.detail}."
        else:
            tiles, error = pictures.repair_tiles(self._hu(row))
            line = Line(tiles, str(self.rows.image_id[row]))
            text = f"Stored values made by hand from a slice of the store; repaired, they are at most {error} HU off. "
            text += f"{len(remarked):,} files of this store were repaired." if remarked else "No file here needed it."
        shown = output.tiles("repair", [line], title="Values that wrapped round at 4096, before and after the repair")
        output.section("The 12-bit repair", shown, text, note=_REPAIR_NOTE)

    def _add_head_box(self, output: Output) -> None:
        """Add what the head box cuts out of the field: the smallest, a usual and the largest box."""
        series = self.store.series
        area = (series["box_bottom"] - series["box_top"]) * (series["box_right"] - series["box_left"])
        share = (area / (series["rows"] * series["columns"])).to_numpy(dtype=float)
        order = np.argsort(share, kind="stable")
        tiles, n_whole = [], 0
        for word, at in (("smallest", order[0]), ("usual", order[len(order) // 2]), ("largest", order[-1])):
            field, is_whole, box = self._field(int(at))
            n_whole += is_whole
            caption = f"{word} box: {share[at]:.0%} of the field"
            tiles.append(Tile(pictures.box_picture(field, box), caption, f"a slice with the head box, {caption}"))
        text = f"Half of the series keep less than {float(np.median(share)):.0%} of their field's area."
        if self.store.marker.get("crop") != "head":
            text = "This store was built with --crop none: the box is the whole field."
        elif n_whole < len(tiles):
            text += " Outside a box the store keeps nothing: black, where --source doesn't give the DICOM file."
        shown = output.tiles("head_box", [Line(tiles)], title="The head box in the field of view")
        output.section("The head box", shown, text, note=_BOX_NOTE)

    def _field(self, at: int) -> tuple[npt.NDArray[np.int16], bool, Box]:
        """Return a slice in its full field, whether that is the file's own, and the box."""
        row = self.store.series.iloc[at]
        box = Box(int(row["box_top"]), int(row["box_left"]), int(row["box_bottom"]), int(row["box_right"]))
        shape = (int(row["rows"]), int(row["columns"]))
        place = np.flatnonzero(self.series_of == row["series_id"])
        middle = int(place[len(place) // 2])
        found = self._file(str(self.source_of[middle]))
        if found is not None:
            hu = read_hu(*found).hu
            directions = found[1].directions
            if directions is not None and patient_axes(directions) != row["orientation"]:  # older stores turn nothing
                hu = to_usual_display(directions).turned(hu)
            if hu.shape == shape:
                return hu, True, box
        return pictures.in_field(self._hu(middle), box, shape), False, box

    def _file(self, source: str) -> tuple[bytes, Header] | None:
        """Return a file of the source and its header; None where it isn't there, or isn't what it was."""
        entry = self.entries.get(source)
        if entry is None:
            return None
        try:
            content = bytes(self.sources.content(entry))
            header = read_header(content, total_size=len(content))
            read_hu(content, header)
        except DicomError:
            return None  # a windowed picture, or a changed file: the store's own slice is shown instead
        return content, header

    def _add_slab(self, output: Output, row: int) -> None:
        """Add the nine channels that the network gets for one slice."""
        series_id = str(self.series_of[row])
        place = np.flatnonzero(self.series_of == series_id)
        position = self.store.slices["slice_position_mm"].to_numpy(dtype=np.float64, na_value=np.nan)[place]
        lines = pictures.slab_lines(self.store.hu(series_id), position, int(self.index_of[row]))
        shown = output.tiles("slab", lines, title="The nine channels of one slab, and its slices as colour")
        output.section("What a slab looks like", shown, note=f"Slice {self.rows.image_id[row]} with {_SLAB_NOTE}")

    def _shown_row(self) -> int:
        """Return the row that most sections show: plain blood, in a DICOM slice where possible; else mid-scan.

        Of the middles of long runs, it has the most px of clotted blood (55 to 85 HU) inside bone.
        """
        candidates = [
            row
            for label in ("intraparenchymal", "epidural", "subdural", "any")
            for row in examples_of(self.rows, LABELS.index(label), SHOWN_CANDIDATES // 4)
        ]
        if not candidates:
            found = examples_without(self.rows, 1)
            return found[0] if found else len(self.rows) // 2
        family = self.store.series.set_index("series_id")["pixel_family"]
        of_dicom = [row for row in candidates if family[self.series_of[row]] != "windowed"]
        return max(of_dicom or candidates, key=lambda row: pictures.blood_px(self._hu(row)))

    def _hu(self, row: int) -> npt.NDArray[np.int16]:
        hu: npt.NDArray[np.int16] = self.store.hu(str(self.series_of[row]), [int(self.index_of[row])])[0]
        return hu
