"""Masks of bleeding in NIfTI: which NIfTI scan each belongs to, and the labels that it gives the slices."""

import glob
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ich25d.errors import DicomError, UsageError
from ich25d.labels import LABELS
from ich25d.studies.labelfile import LABEL_KEYS
from ich25d.studies.nifti.header import NiftiHeader
from ich25d.studies.nifti.images import NiftiImages, forget_values, read_head, read_values
from ich25d.studies.qc import QcRow
from ich25d.studies.sources.listing import Entry, list_entries
from ich25d.studies.sources.opened import Sources
from ich25d.studies.table_file import column_key

SAME_PLACE_MM = 0.1
"""Corners of scan and mask may lie so far apart: headers round."""
ROUNDING = 1e-3
"""So far may a value lie from a whole one: a mask that was saved as scaled integers is rounded."""
_FORM = "--masks must be PATH=LABEL or PATH=VALUE:LABEL,..., as masks=any or 'masks/*.nii.gz=1:epidural,2:subdural'"
_SCAN_ENDS = re.compile(r"(_0000|[_-]ct)$", re.IGNORECASE)

Labels = tuple[int | None, ...]


class Mask(NamedTuple):
    """One mask file."""

    entry: Entry
    sources: Sources
    names: Mapping[int, str]
    """Label of each value; of every value under 0, which marks nothing itself."""

    @property
    def source(self) -> str:
        """Path relative to what the user named."""
        return self.entry.source


def stem_of(source: str) -> str:
    """Return a file's name without folder and `.nii` or `.nii.gz`."""
    return re.sub(r"\.nii(\.gz)?$", "", re.split(r"/|::", source)[-1], flags=re.IGNORECASE)


def path_of(entry: Entry, sources: Sources) -> str:
    """Return where a file is: its resolved path, or `archive::member`."""
    root = sources.paths[entry.root]
    return os.path.realpath(root / entry.source if root.is_dir() else root.parent / entry.source)


def find_masks(texts: Sequence[str]) -> list[Mask]:
    """List the masks that the user named.

    Args:
        texts: `PATH=LABEL`, where every value above 0 is that label, or `PATH=VALUE:LABEL,...`. The path is a folder, a
            NIfTI file, a zip archive, or a glob.

    Raises:
        UsageError: A text is of another form, or its path holds no NIfTI file.
    """
    found: list[Mask] = []
    for text in texts:
        path, _, labels = text.rpartition("=")
        names = _names_of(labels)
        if not path or not names:
            raise UsageError(f"{_FORM}; labels are {', '.join(LABELS)} (got {text!r})")
        paths = [Path(path)] if Path(path).exists() else sorted(map(Path, glob.glob(path, recursive=True)))  # noqa: PTH207
        sources = Sources(paths)
        entries = list_entries(paths)[0]
        masks = [entry for entry in entries if re.search(r"\.nii(\.gz)?$", entry.source, re.IGNORECASE)]
        if not masks:
            raise UsageError(f"--masks must name NIfTI files (got none at {path!r})")
        found += [Mask(entry, sources, names) for entry in masks]
    return found


def _names_of(text: str) -> dict[int, str]:
    """Return the label of each value, of every value under 0; nothing where the text is of another form."""
    names: dict[int, str] = {}
    for part in text.split(","):
        value, mark, name = part.rpartition(":")
        label = next((label for label, keys in LABEL_KEYS.items() if column_key(name) in keys), None)
        if label is None or (mark and not re.fullmatch(r" *[1-9]\d{0,8} *", value)):
            return {}
        names[int(value) if mark else 0] = label
    return names if len(names) == 1 or 0 not in names else {}


def labels_of_masks(
    scans: Sequence[NiftiImages], masks: Sequence[Mask], refused: Sequence[tuple[Entry, Sources]] = ()
) -> tuple[dict[int, tuple[Labels, ...]], list[QcRow], list[Mask]]:
    """Give the slices of NIfTI scans the labels of their masks.

    The masks of a scan together mark all of its bleeding. A slice without a mark is negative; in one with a mark `any`
    is 1, the subtypes marked are 1, and the others 0, but unknown where a mark is called `any`.

    Args:
        scans: The scans that are used.
        masks: All masks.
        refused: Scans that aren't used: a mask of theirs is no other scan's.

    Returns:
        Six labels a slice in scan order, by index of the scan; rows of masks that can't be used; and the masks that are
        called as no scan. A scan of which one mask can't be used has no labels.
    """
    of_scan: defaultdict[int, list[Mask]] = defaultdict(list)
    rows: list[QcRow] = []
    others: list[Mask] = []
    files = [*((scan.entry, scan.sources) for scan in scans), *refused]
    for mask in masks:
        matches = _matches(mask, files)
        if len(matches) == 1 and matches[0] < len(scans):
            of_scan[matches[0]].append(mask)
        elif not matches:
            others.append(mask)
        else:
            detail = f"{len(matches)} scans are called as this mask"
            detail = "the scan of this mask is refused" if len(matches) == 1 else detail
            rows.append(QcRow(mask.source, "", "", "label", "L_MASK_ALONE", detail))
    labels: dict[int, tuple[Labels, ...]] = {}
    for index, own in sorted(of_scan.items()):
        marks: list[set[str]] = [set() for _ in range(len(scans[index]))]
        try:
            for mask in own:
                header, _ = read_head(mask.entry, mask.sources)
                _check_same_place(header, scans[index].looked.header)
                values, placement = read_values(mask.sources, mask.entry, header), scans[index].placement
                add_marks(marks, (placement.slice_of(values, rank) for rank in range(len(marks))), header, mask.names)
        except DicomError as error:
            rows.append(QcRow(mask.source, "", "", "label", error.code, error.detail))
        else:
            labels[index] = tuple(labels_of(found) for found in marks)
    forget_values()
    return labels, rows, others


def _matches(mask: Mask, scans: Sequence[tuple[Entry, Sources]]) -> list[int]:
    """Return the scans whose name the mask has or begins with: the longest names, of those the nearest in the tree."""
    stem = stem_of(mask.source)
    ranked: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for index, (entry, sources) in enumerate(scans):
        own = stem_of(entry.source)
        for name in {own, _SCAN_ENDS.sub("", own)}:
            # `049_seg` belongs to `049`; `049_2` is another scan's.
            if stem == name or (stem.startswith(name) and re.match(r"[^0-9A-Za-z]+[A-Za-z]", stem[len(name) :])):
                parts = zip(
                    Path(path_of(mask.entry, mask.sources)).parts, Path(path_of(entry, sources)).parts, strict=False
                )
                n_shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], parts))
                ranked[len(name), n_shared].append(index)
    return ranked[max(ranked)] if ranked else []


def add_marks(
    marks: list[set[str]], planes: Iterable[npt.NDArray[Any]], header: NiftiHeader, names: Mapping[int, str]
) -> None:
    """Add the labels that a mask marks on each slice.

    Args:
        marks: Labels of each slice so far.
        planes: The mask's stored values on each slice.
        header: Of the mask.
        names: Label of each value, as of `Mask`.

    Raises:
        DicomError: A value has no name (`L_MASK_VALUE`).
    """
    for found, stored in zip(marks, planes, strict=True):
        if header.intercept == 0 and not stored.any():  # as most slices are
            continue
        present = np.unique(stored).astype(np.float64) * header.slope + header.intercept
        for value in present[np.abs(present) >= ROUNDING].tolist():  # NaN marks nothing
            label = _label_of(value, names)
            if label is None:
                named = ", ".join(map(str, names))
                raise DicomError("L_MASK_VALUE", f"a mask's values must be named by --masks ({named}; got {value:g})")
            found.add(label)


def _label_of(value: float, names: Mapping[int, str]) -> str | None:
    """Return the label of a mask's value; None where --masks names none."""
    if value < 0 or math.isinf(value):
        return None
    whole = round(value)
    return names.get(0) or (names.get(whole) if abs(value - whole) < ROUNDING else None)


def _check_same_place(mask: NiftiHeader, scan: NiftiHeader) -> None:
    if mask.shape != scan.shape:
        raise DicomError("L_MASK_DIFFERS", f"a mask must have its scan's shape {scan.shape} (got {mask.shape})")
    corners = np.stack(np.meshgrid(*[(0, side - 1) for side in scan.shape], [1]), axis=-1).reshape(-1, 4)
    far_mm = float(np.abs(corners @ (mask.affine - scan.affine).T).max())
    if far_mm > SAME_PLACE_MM or mask.says_where != scan.says_where:
        detail = f"a mask must lie where its scan does: the affines put corners {far_mm:.3g} mm apart"
        raise DicomError("L_MASK_DIFFERS", detail)


def labels_of(marks: set[str]) -> Labels:
    """Return six labels of a slice from those that are marked on it."""
    if not marks:
        return (0,) * len(LABELS)
    other = None if "any" in marks else 0
    return (*(1 if label in marks else other for label in LABELS[:-1]), 1)
