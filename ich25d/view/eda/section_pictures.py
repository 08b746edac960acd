"""The page's part with pictures: the six classes, windows, the 12-bit repair, the head box, a slab."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from ich25d.dicom.hounsfield import HU_MIN
from ich25d.dicom.reader import read_header, read_hu
from ich25d.errors import DicomError
from ich25d.labels import LABELS
from ich25d.pages.page import Page
from ich25d.studies.header_table import shown_source
from ich25d.studies.headbox import Box
from ich25d.studies.qc import QcRow
from ich25d.studies.source import Entry, Sources, list_entries
from ich25d.studies.store import StudyStore
from ich25d.view.eda import pictures
from ich25d.view.eda.examples import Example, examples_of, examples_without
from ich25d.view.eda.output import Output, Tile
from ich25d.view.eda.rows import LabelRows

A_CLASS = 4
"""Slices a class."""


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
        self.entries: dict[str, Entry] = {shown_source(entry.source): entry for entry in entries}

    def add_classes(self, page: Page, output: Output) -> int:
        """Add a gallery a class; return how many pictures there are."""
        taken: set[int] = set()
        n = 0
        parts: list[str | Markup] = []
        for index, label in enumerate([*LABELS, "no bleed"]):
            found = (
                examples_of(self.rows, index, A_CLASS, frozenset(taken))
                if index < len(LABELS)
                else examples_without(self.rows, A_CLASS)
            )
            taken |= {example.row for example in found}
            heading = Markup("<h3>{}</h3>").format(label[0].upper() + label[1:])
            if not found:
                parts += [heading, "No slice is labelled so."]
                continue
            lines = [self._windows(example) for example in found]
            n += sum(map(len, lines))
            parts.append(heading)
            name = f"gallery_{label.replace(' ', '_')}"
            title = f"{label}: windows (level/width, HU) and colour stack"
            parts.append(output.tiles(name, lines, title=title, width=190))
        page.section(
            "Pictures of the six classes",
            *parts,
            note="A row is one slice, from the middle of one of the longest runs of the label, each of another patient. The colour stack "
            "shows brain, subdural and soft-tissue window as red, green and blue: the three channels a slice that the network "
            "sees. The patient's right is on the picture's left where rows run to the left (orientation L...).",
        )  # fmt: skip
        return n

    def _windows(self, example: Example) -> list[Tile]:
        image_id = str(self.rows.image_id[example.row])
        labels = ", ".join(label for label in example.labels if label != "any") or (
            "any alone" if example.labels else "no bleed"
        )
        tiles = pictures.window_tiles(self._hu(example.row), f"slice {image_id}, labelled {labels}")
        first = dataclasses.replace(tiles[0], caption=f"{tiles[0].caption} | {image_id}: {labels}")
        return [first, *tiles[1:]]

    def add_windowing(self, page: Page, output: Output, row: int) -> None:
        """Add the same slice before and after windowing."""
        tiles = pictures.before_and_after(self._hu(row))
        page.section(
            "Before and after windowing",
            output.tiles("windowing", [tiles], title="The same slice without and with a window", width=250),
            note="4,096 HU on 256 grey values leave five for the difference between brain and blood. A window spends all grey values "
            "on the HU that matter, and gives up the rest.",
        )

    def add_repair(self, page: Page, output: Output, qc: Sequence[QcRow], row: int) -> None:
        """Add the 12-bit repair: of a real file where the store names one and its source is there, else built by hand."""
        for remark in qc:
            entry = self.entries.get(remark.source) if remark.code == "WRAP12" else None
            tiles = self._real_repair(entry) if entry is not None else None
            if tiles:
                page.section("The 12-bit repair", output.tiles("repair", [tiles], title="A wrapped file before and after the repair", width=250), note=f"{remark.image_id}: {remark.detail}.")  # fmt: skip
                return
        n = sum(remark.code == "WRAP12" for remark in qc)
        tiles, after = pictures.repair_tiles(self._hu(row))
        error = int(np.abs(after.astype(int) - np.clip(self._hu(row), HU_MIN, None)).max())
        page.section(
            "The 12-bit repair",
            output.tiles("repair", [tiles], title="Values that wrapped round at 4096, before and after the repair", width=250),
            f"Built by hand from a slice of the store; the repaired HU differ from the true ones by at most {error} HU. "
            + (f"The store holds {n:,} files that were repaired; name their source (--source) to see one." if n else "No file of this store needed it."),
            note="Some files keep 12 unsigned bits with intercept 0: HU below 0 don't fit, and air of -1000 HU is stored as 3096, white "
            "as metal. The reader unwraps them where the border shows it, and remarks WRAP12.",
        )  # fmt: skip

    def _real_repair(self, entry: Entry) -> list[Tile] | None:
        try:
            content = self.sources.content(entry)
            header = read_header(content, total_size=len(content))
            after = read_hu(content, header).hu
            # With 16 bits stored, nothing looks wrapped: that is how a reader without the repair sees it.
            before = read_hu(content, dataclasses.replace(header, bits_stored=16, high_bit=15)).hu
        except DicomError:
            return None
        return [
            Tile(pictures.grey(hu, *window), f"{word}: {name}", f"{word} the repair, {name}")
            for word, hu in (("before", before), ("after", after))
            for name, window in (("all values", pictures.FULL_RANGE), ("brain window", (40.0, 80.0)))
        ]

    def add_head_box(self, page: Page, output: Output) -> None:
        """Add what the head box cuts out of the field, for a usual, the largest and the smallest box."""
        series = self.store.series
        area = (series["box_bottom"] - series["box_top"]) * (series["box_right"] - series["box_left"])
        share = (area / (series["rows"] * series["columns"])).to_numpy(dtype=float)
        order = np.argsort(share, kind="stable")
        tiles = []
        for word, at in (("smallest box", order[0]), ("usual box", order[len(order) // 2]), ("largest box", order[-1])):
            field, is_whole, box = self._field(int(at))
            outside = "" if is_whole else "; outside isn't in the store"
            caption = f"{word}: {share[at]:.0%} of the field{outside}"
            tiles.append(
                Tile(pictures.box_picture(field, box), caption, f"a slice with the head box drawn in, {caption}")
            )
        crop = self.store.marker.get("crop")
        page.section(
            "The head box",
            output.tiles("head_box", [tiles], title="The head box in the field of view", width=320),
            f"Half of the series keep less than {float(np.median(share)):.0%} of their field, and so show the head larger in the same px.",
            note="One box a series: the largest solid component of all slices with a margin of 6 mm; table, head-rest and cushions stay "
            "outside."
            + ("" if crop == "head" else " This store was built with --crop none: the box is the whole field."),
        )

    def _field(self, at: int) -> tuple[npt.NDArray[np.int16], bool, Box]:
        """Return a slice in its full field, whether that is the file's own, and the box."""
        row = self.store.series.iloc[at]
        box = Box(int(row["box_top"]), int(row["box_left"]), int(row["box_bottom"]), int(row["box_right"]))
        shape = (int(row["rows"]), int(row["columns"]))
        place = np.flatnonzero(self.series_of == row["series_id"])
        middle = int(place[len(place) // 2])
        entry = self.entries.get(str(self.source_of[middle]))
        if entry is not None:
            try:
                content = self.sources.content(entry)
                hu = read_hu(content, read_header(content, total_size=len(content))).hu
            except DicomError:
                pass  # a table of windowed pictures, or a file that has changed: the store's own slice will do
            else:
                if hu.shape == shape:
                    return hu, True, box
        return pictures.in_field(self._hu(middle), box, shape), False, box

    def add_slab(self, page: Page, output: Output, row: int) -> None:
        """Add the nine channels that the network gets for one slice."""
        series_id = str(self.series_of[row])
        place = np.flatnonzero(self.series_of == series_id)
        position = self.store.slices["slice_position_mm"].to_numpy(dtype=np.float64, na_value=np.nan)[place]
        lines = pictures.slab_tiles(self.store.hu(series_id), position, int(self.index_of[row]))
        page.section(
            "What a slab looks like",
            output.tiles("slab", lines, title="The nine channels of one slab, and its slices as colour", width=220),
            note=f"Slice {self.rows.image_id[row]} with the slices below and above: three windows each, nine channels. At the ends of the scan "
            "and across holes the slice itself repeats.",
        )  # fmt: skip

    def _hu(self, row: int) -> npt.NDArray[np.int16]:
        return self.store.hu(str(self.series_of[row]), [int(self.index_of[row])])[0]


def shown_row(rows: LabelRows) -> int:
    """Return the row that stands for all where one slice is shown: with blood if there is one, else mid-scan."""
    order = ("intraparenchymal", "subdural", "epidural", "intraventricular", "subarachnoid", "any")
    for label in order:
        if found := examples_of(rows, LABELS.index(label), 1):
            return found[0].row
    found = examples_without(rows, 1)
    return found[0].row if found else len(rows) // 2
