"""NIfTI files as a source of series: files in, plans of series in scan order out."""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Sequence
from functools import partial

from ich25d.errors import DicomError, UsageError
from ich25d.progress import many
from ich25d.studies.headers.packed import Privacy, pseudonym
from ich25d.studies.nifti.dicom_masks import with_mask_labels
from ich25d.studies.nifti.images import Looked, NiftiImages, is_pair, look
from ich25d.studies.nifti.masks import Labels, find_masks, labels_of_masks, path_of, stem_of
from ich25d.studies.nifti.placement import Placement, place_slices
from ich25d.studies.pictures.series import PlannedImages
from ich25d.studies.pool.local_pool import ONE_PROCESS
from ich25d.studies.pool.pool import Pool, reason_of
from ich25d.studies.qc import QcRow
from ich25d.studies.series.series_plan import SeriesPlan
from ich25d.studies.sources.listing import Entry
from ich25d.studies.sources.opened import Sources

LONGEST_NAME = 70
"""Letters of a series' name: with `#` and a number, an image id has at most 80."""
WORTH_STARTING = 16
"""Fewer files are looked at sooner than processes start."""
_SUFFIX = re.compile(r"\.(nii|hdr|img)(\.gz)?$", re.IGNORECASE)
_LAST_LETTERS = {".nii", "i.gz", ".hdr", "r.gz", ".img", "g.gz"}
"""What the names end in: quicker to look at than all of them."""
_BIDS = re.compile(r"(sub-[0-9A-Za-z]+)(?:_(ses-[0-9A-Za-z]+))?(?:_|$)")


def split_nifti(entries: Sequence[Entry], sources: Sources) -> tuple[list[Entry], list[Entry]]:
    """Part NIfTI files, and pairs of ANALYZE, from all others; by name, and pairs by the first bytes of their header.

    Returns:
        The NIfTI files, and the others.
    """
    named = [e for e in entries if e.source[-4:].lower() in _LAST_LETTERS and _SUFFIX.search(e.source)]
    halves = {
        (entry.root, _SUFFIX.sub("", entry.source))
        for entry in named
        if re.search(r"\.hdr(\.gz)?$", entry.source, re.IGNORECASE) and _is_analyze(entry, sources)
    }
    chosen = [e for e in named if not is_pair(e.source) or (e.root, _SUFFIX.sub("", e.source)) in halves]
    if not chosen:  # nearly always: a list of a million stays as it is
        return [], list(entries)
    taken = set(chosen)
    return chosen, [entry for entry in entries if entry not in taken]


def _is_analyze(entry: Entry, sources: Sources) -> bool:
    try:
        head = sources.head(entry, 4)
    except DicomError:
        return False
    return head[:2] == b"\x1f\x8b" or 348 in {int.from_bytes(head, order) for order in ("little", "big")}


def plan_nifti(
    entries: Sequence[Entry],
    sources: Sources,
    privacy: Privacy,
    masks: Sequence[str] = (),
    *,
    accept: Collection[str] = (),
    dicom: Sequence[SeriesPlan] = (),
    pool: Pool = ONE_PROCESS,
) -> tuple[PlannedImages, list[SeriesPlan]]:
    """Make a series of each NIfTI file.

    A series is called as its file, with as many of its folders in front, as `case1.ct`, as tell it from others of the
    name; an image is called as its series, with the number of the slice in the file, from 1: `case1.ct#12`. The series
    is its own study and patient, but for names as BIDS has them, `sub-01_ses-2_ct`.

    Args:
        entries: The files.
        sources: Where they are.
        privacy: Hides the patients.
        masks: Masks and the labels of their values, as `find_masks` takes them; they are no scans.
        accept: Reason codes that refuse no series.
        dicom: Series of DICOM; a mask that is called as no scan may be of one of them.
        pool: Looks into files.

    Returns:
        The series of the files, and those of DICOM with the labels of their masks.

    Raises:
        UsageError: `masks` name none, or no mask has a scan.
    """
    named_masks = find_masks(masks)
    are_masks = {path_of(mask.entry, mask.sources) for mask in named_masks}
    scans = [entry for entry in entries if path_of(entry, sources) not in are_masks] if are_masks else list(entries)
    work = partial(_look, sources=sources, accept=tuple(accept))
    kept: dict[Entry, tuple[Looked, Placement]] = {}
    qc: list[QcRow] = []
    for entry, found in pool.map(work, scans, in_process=pool.is_single or len(scans) < WORTH_STARTING):
        if isinstance(found, tuple):
            kept[entry] = found
        else:
            code, detail = (found.code, found.detail) if isinstance(found, DicomError) else reason_of(found)
            qc.append(QcRow(entry.source, "", "", "file", code, detail))
    n_refused = len(qc)
    images = [NiftiImages(sources, entry, *kept[entry]) for entry in scans if entry in kept]
    refused = [(entry, sources) for entry in scans if entry not in kept]
    labels, rows, others = labels_of_masks(images, named_masks, refused)
    labelled, more, n_found = with_mask_labels(dicom, others)
    if others and not n_found and len(others) == len(named_masks) and (images or dicom):
        theirs = ", ".join(sorted({stem_of(mask.source) for mask in others})[:3])
        ours = ", ".join(sorted({stem_of(one.entry.source) for one in images})[:3])
        raise UsageError(
            "masks must be called as their scans, or begin so, or lie on the slices of a DICOM series (got "
            f"{len(others)} masks, none of them does); masks are called {theirs} ...; "
            f"scans {ours or many(len(dicom), 'DICOM series', 'DICOM series')} ...; {more[0].detail}"
        )
    qc += rows + more
    series = []
    for index, (name, one) in enumerate(
        zip(own_names([_parts(one.entry, sources) for one in images]), images, strict=True)
    ):
        series.append(_plan_of(name, one, privacy, labels.get(index, ())))
        qc += [QcRow("", "", name, "series", *remark) for remark in (*one.placement.remarks, *one.looked.remarks)]
    return PlannedImages(series, qc, n_refused + sum(map(len, images)), n_refused), labelled


def _look(entry: Entry, sources: Sources, accept: Collection[str]) -> tuple[Looked, Placement]:
    looked = look(entry, sources)
    return looked, place_slices(looked.header, accept)


def _parts(entry: Entry, sources: Sources) -> tuple[str, ...]:
    """Return the folders of a file, as far as they are known, and its name without suffix."""
    root = sources.paths[entry.root]
    *folders, _ = re.split(r"/|::", entry.source)
    return (*(root if root.is_dir() else root.parent).parts, *folders, stem_of(entry.source))


def own_names(paths: Sequence[Sequence[str]]) -> list[str]:
    """Return a name of its own for each path: its last parts, no more than tell it from the others.

    Letters that no image id has become `_`; where that makes two names one, or a name too long, a hash ends it.

    Args:
        paths: Folders and name, outermost first.
    """
    whole = list(dict.fromkeys(map(tuple, paths)))
    depth = dict.fromkeys(whole, 1)
    while True:
        tails = {path: path[-n:] for path, n in depth.items()}
        counts = Counter(tails.values())
        deeper = [path for path, tail in tails.items() if counts[tail] > 1 and depth[path] < len(path)]
        if not deeper:
            break
        for path in deeper:
            depth[path] += 1
    plain = [re.sub(r"[^0-9A-Za-z._-]", "_", ".".join(tails[tuple(path)])) for path in paths]
    n_called = Counter(plain)
    n_before: Counter[tuple[str, ...]] = Counter()
    names = []
    for path, name in zip(map(tuple, paths), plain, strict=True):
        n_before[path] += 1  # `049.nii` beside `049.nii.gz`
        if n_called[name] > 1 or not 0 < len(name) <= LONGEST_NAME:
            text = "\n".join((*tails[path], str(n_before[path])))
            digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
            names.append(f"{name[: LONGEST_NAME - 9]}-{digest[:8]}")
        else:
            names.append(name)
    return names


def _plan_of(name: str, images: NiftiImages, privacy: Privacy, labels: tuple[Labels, ...]) -> SeriesPlan:
    header, placement = images.looked.header, images.placement
    bids = _BIDS.match(stem_of(images.entry.source))
    patient = bids[1] if bids else name
    kind = {"i": "s", "u": "u"}.get(header.dtype.kind, "f")
    n = len(images)
    return SeriesPlan(
        series_id=name,
        study_id="_".join(filter(None, bids.groups())) if bids else name,
        patient_id=pseudonym(patient, privacy.key),
        image_ids=tuple(f"{name}#{placement.file_index(rank) + 1}" for rank in range(n)),
        slice_position_mm=placement.slice_position_mm,
        slice_spacing_mm=placement.slice_spacing_mm,
        spacing_is_regular=placement.slice_spacing_mm is not None,
        tilt_deg=placement.tilt_deg,
        order_key=placement.order_key,
        shape=images.shape(),
        pixel_spacing_mm=placement.pixel_spacing_mm,
        pixel_family=f"{8 * header.dtype.itemsize}{kind}{header.intercept:+g}",
        kernel="",
        thickness_mm=None,
        windows=(None,) * n,
        images=images,
        labels=labels,
        orientation=placement.orientation,
        source_orientation=placement.source_orientation,
    )
