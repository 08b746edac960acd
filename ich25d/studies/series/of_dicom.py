"""DICOM as a source of series: indexed images in, plans of series in scan order out."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ich25d.dicom.elements import DEFLATED, EXPLICIT, IMPLICIT
from ich25d.dicom.geometry import Display, main_directions
from ich25d.dicom.header import Header, Remark, Slice
from ich25d.dicom.reader import read_hu
from ich25d.dicom.series import OrderedSeries, order_series
from ich25d.errors import DicomError
from ich25d.studies.headers.packed import Indexed, Scan
from ich25d.studies.linked import Linked
from ich25d.studies.qc import QcRow
from ich25d.studies.series.lost_studies import rejoined
from ich25d.studies.series.own_series import charged, own_series
from ich25d.studies.series.series_plan import Images, SeriesPlan, SomeImages, TurnedImages, turned
from ich25d.studies.sources.listing import Entry
from ich25d.studies.sources.opened import Sources

_NATIVE = frozenset({IMPLICIT, EXPLICIT, DEFLATED})


@dataclass(frozen=True, slots=True, eq=False)
class DicomImages:
    """Slices in DICOM files or archive members, or in frames of such."""

    sources: Sources
    images: tuple[Indexed, ...]
    copies: dict[int, tuple[Indexed, ...]]
    """Further ones that claim to be the same image, by slice."""

    def __len__(self) -> int:
        return len(self.images)

    def read(
        self, index: int, out: npt.NDArray[np.int16] | None = None
    ) -> tuple[npt.NDArray[np.int16], tuple[Remark, ...]]:
        """Read one slice, and compare the files that claim to be copies of it.

        Raises:
            DicomError: The pixels can't be used, or a copy has others (`DUP_UID_DIFF`).
        """
        header = self.images[index].header()
        slice_ = self._read(self.images[index], header, out)
        for copy in self.copies.get(index, ()):
            if not np.array_equal(self._read(copy, copy.header()).hu, slice_.hu):
                raise DicomError(
                    "DUP_UID_DIFF", "files of one SOPInstanceUID hold different pixels; none can be the right one"
                )
        return slice_.hu, (*header.remarks, *slice_.remarks)

    def _read(self, image: Indexed, header: Header, out: npt.NDArray[np.int16] | None = None) -> Slice:
        return read_hu(self.sources.content(image.entry, keep=header.frame > 0), header, out)

    def source(self, index: int) -> str:
        """Path or archive member of one slice, with the number of its frame."""
        return self.images[index].source

    def shape(self) -> tuple[int, int]:
        """Rows and columns of the first slice."""
        header = self.images[0].header()
        return header.rows, header.columns

    def stamps(self) -> list[str]:
        """Name, size and stamp of each file."""
        images = [*self.images, *(copy for group in self.copies.values() for copy in group)]
        named = ((image.entry, image.source) for image in images)
        return [f"{entry.root}|{source}|{entry.size}|{entry.stamp}" for entry, source in named]

    @property
    def is_native(self) -> bool:
        """All pixels lie in their files as they are."""
        return all(image.transfer_syntax in _NATIVE for image in self.images)


class DicomPlace(NamedTuple):
    """Where one slice of a series is."""

    sources: Sources
    entry: Entry
    """The file, in them."""
    header: Header


def dicom_places(images: Images, indices: Iterable[int]) -> list[DicomPlace] | None:
    """Return where slices of a series are; None where they don't come from DICOM.

    Args:
        images: The images of its plan.
        indices: Which of them.
    """
    chosen = list(indices)
    while isinstance(images, SomeImages | TurnedImages):
        if isinstance(images, SomeImages):
            chosen = [images.chosen[index] for index in chosen]
        images = images.images
    if not isinstance(images, DicomImages):
        return None
    return [
        DicomPlace(images.sources, image.entry, image.header()) for image in (images.images[index] for index in chosen)
    ]


def display_of(images: Images) -> Display:
    """Return how the slices of a series are turned from what their files hold."""
    while isinstance(images, SomeImages):
        images = images.images
    return images.display if isinstance(images, TurnedImages) else Display()


def plan_dicom(
    images: Sequence[Indexed], sources: Sources, accept: Collection[str] = (), *, refused: Sequence[QcRow] = ()
) -> tuple[list[SeriesPlan], list[QcRow], int]:
    """Group indexed images into series in scan order.

    Args:
        images: The index, in any order.
        sources: Where their files are.
        accept: Reason codes that refuse no series.
        refused: Rows of files and of images that were refused by their headers.

    Returns:
        The plans; rows of refusals and remarks, those given first, with the names that series have here; and how many
        images were refused.
    """
    plans: list[SeriesPlan] = []
    n_refused = 0
    as_read = images
    images, joined = rejoined(images)
    names, own_remarks = own_series(images)
    qc = charged(refused, {of.scan(): now.scan() for of, now in zip(as_read, images, strict=True)}, names)
    own_remarks += joined
    for group in _studies(images):
        headers = [_named(image.header(), names) for image in group]
        ordering = order_series(headers, accept)
        for member, code, detail in ordering.refusals:
            header, source = headers[member], group[member].source
            qc.append(QcRow(source, header.image_id, header.series_id, "slice", code, detail))
        n_refused += len(ordering.refusals)
        copies = {kept: tuple(group[k] for k in others) for kept, *others in ordering.copies}
        for ordered in ordering.series:
            plan, remarks = _plan_of(ordered, headers, group, copies, sources)
            plans.append(plan)
            qc.extend(QcRow("", "", ordered.series_id, "series", *remark) for remark in (*ordered.remarks, *remarks))
    planned = {plan.series_id for plan in plans}
    qc += [row for row in own_remarks if row.series_id in planned]
    return plans, qc, n_refused


def _named(header: Header, names: Mapping[Scan, str]) -> Header:
    """Give a header the name that its series has here."""
    if not names:
        return header
    scan = Scan(header.series_id, header.study_id, header.patient_id)
    return header._replace(series_id=names.get(scan, header.series_id))


def _studies(images: Sequence[Indexed]) -> list[list[Indexed]]:
    """Group images by study; studies that share an image id go together, so that the double is seen."""
    identities = [image.identity() for image in images]
    linked: Linked[str] = Linked()
    first_study: dict[str, str] = {}
    for image_id, study_id in identities:
        other = first_study.setdefault(image_id, study_id)
        if other != study_id:
            linked.link(other, study_id)
    groups: defaultdict[str, list[Indexed]] = defaultdict(list)
    for image, (_, study_id) in zip(images, identities, strict=True):
        groups[linked.first(study_id)].append(image)
    return [groups[study_id] for study_id in sorted(groups)]


def _plan_of(
    ordered: OrderedSeries,
    headers: Sequence[Header],
    group: Sequence[Indexed],
    copies: dict[int, tuple[Indexed, ...]],
    sources: Sources,
) -> tuple[SeriesPlan, list[Remark]]:
    members = [headers[member] for member in ordered.members]
    shape = Counter((header.rows, header.columns) for header in members).most_common(1)[0][0]
    main = next(header for header in members if (header.rows, header.columns) == shape)
    sign = "s" if main.is_signed else "u"
    directions = [header.directions for header in members if header.directions is not None]
    plan = SeriesPlan(
        series_id=ordered.series_id,
        study_id=ordered.study_id,
        patient_id=ordered.patient_id,
        image_ids=tuple(header.image_id for header in members),
        slice_position_mm=tuple(float(position) for position in ordered.slice_position_mm),
        slice_spacing_mm=ordered.slice_spacing_mm,
        spacing_is_regular=ordered.spacing_is_regular,
        tilt_deg=ordered.tilt_deg,
        order_key=ordered.order_key,
        shape=shape,
        pixel_spacing_mm=main.pixel_spacing_mm,
        pixel_family=f"{main.bits_stored}{sign}" + ("" if main.intercept is None else f"{main.intercept:+g}"),
        kernel=main.kernel,
        thickness_mm=main.thickness_mm,
        windows=tuple(header.window[0] if header.window else None for header in members),
        traits=_traits(members),
        series_number=_common(header.series_number for header in members),
        images=DicomImages(
            sources,
            tuple(group[member] for member in ordered.members),
            {rank: copies[member] for rank, member in enumerate(ordered.members) if member in copies},
        ),
    )
    return turned(plan, main_directions(np.array(directions)).tolist() if directions else None)


def _traits(headers: Sequence[Header]) -> frozenset[str]:
    """Return what the headers of a series say of it, in the words of `SeriesPlan.traits`."""
    flags = set().union(*(header.description_flags for header in headers))
    found = flags & {"contrast", "angio", "perfusion", "bone"}
    if "plain" not in flags and any(header.contrast for header in headers):
        found.add("contrast")
    if any("DERIVED" in header.image_type for header in headers):
        found.add("derived")
    return frozenset(found)


def _common(numbers: Iterable[int | None]) -> int | None:
    """Return the one number that all have, or None."""
    found = set(numbers)
    return found.pop() if len(found) == 1 else None
