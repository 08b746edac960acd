"""Every reason code of `qc.csv`, in one table: on which level it speaks, whether it refuses, what it means."""

from typing import Literal, NamedTuple

Level = Literal["file", "slice", "series", "label"]


class ReasonCode(NamedTuple):
    """What one code means."""

    level: Level
    """What the row speaks of: a file, an image, a series, or an image's labels."""
    is_refused: bool
    """What it speaks of isn't used; else it is a remark."""
    meaning: str
    """One line for people."""


def _file(meaning: str, *, refused: bool = True) -> ReasonCode:
    return ReasonCode("file", refused, meaning)


def _slice(meaning: str, *, refused: bool = False) -> ReasonCode:
    return ReasonCode("slice", refused, meaning)


def _series(meaning: str, *, refused: bool = False) -> ReasonCode:
    return ReasonCode("series", refused, meaning)


def _label(meaning: str, *, refused: bool = True) -> ReasonCode:
    return ReasonCode("label", refused, meaning)


CODES: dict[str, ReasonCode] = {
    # Files that aren't images, or can't be got at.
    "EMPTY": _file("the file holds no bytes"),
    "NOT_DICOM": _file("the file is no DICOM"),
    "NOT_CT": _file("DICOM, but no CT image"),
    "NOT_FILE": _file("a device, socket, pipe or broken link"),
    "SAME_FILE": _file("another name of a file that is listed already", refused=False),
    "NO_ACCESS": _file("the file or folder can't be read"),
    "NAME_ID": _file("the file's name and its SOPInstanceUID differ; the UID is the id", refused=False),
    "CHANGED": _file("the file changed while it was read"),
    "TOO_BIG": _file("the file is larger than a CT image can be"),
    "DEFLATED_BIG": _file("a deflated data set inflates to more than the limit"),
    "ZIP_DAMAGED": _file("the archive, or a member of it, is damaged or fails its checksum"),
    "ZIP_ENCRYPTED": _file("the archive's member is encrypted"),
    "ZIP_METHOD": _file("the archive's member is compressed by a method that isn't read"),
    "ZIP_NAME": _file("the archive's member has an absolute name or one that leaves the archive"),
    "ZIP_LINK": _file("the archive's member is a link"),
    "ZIP_NESTED": _file("an archive inside an archive isn't opened"),
    "ZIP_RATIO": _file("the archive's member inflates more than 200-fold"),
    "ZIP_BIG": _file("the archive's member, or the archive as a whole, is larger than the limit"),
    "ZIP_DUPLICATE": _file("the archive holds several members of this name"),
    "GZIP_DAMAGED": _file("the gzip file is cut off, damaged or fails its checksum"),
    "GZIP_BIG": _file("the gzip file inflates to more than its content says"),
    "DECODER_CRASH": _file("reading the file killed the worker"),
    "TIMEOUT": _file("reading the file took longer than the limit"),
    "READ_FAILED": _file("reading the file's series failed in a way that nobody foresaw; please report it"),
    # Headers.
    "NO_META": _file("no file meta information or transfer syntax: read off the first element", refused=False),
    "UNREADABLE": _file("the header can't be parsed"),
    "TRUNCATED": _file("the file ends before its image does"),
    "BAD_TAG": _file("an attribute that must be one number isn't"),
    "BAD_UID": _file("an identifier is absent or holds characters that no identifier has"),
    "NO_SERIES_UID": _file("series or study UID is absent; the next level stands in", refused=False),
    "MULTIFRAME": _file("an enhanced CT whose frames can't be told apart"),
    "SECONDARY": _file("a secondary capture, screen save or burned-in image"),
    "NOT_GRAY": _file("a colour image"),
    "SHAPE": _file("Rows, Columns or frames don't fit the pixel data or are out of range"),
    "BITS": _file("pixels of a type that no CT has"),
    "HIGHBIT": _file("HighBit isn't BitsStored - 1"),
    "NO_PIXELS": _file("a CT header without pixel data"),
    "PIXEL_SHORT": _file("pixel data shorter than Rows x Columns"),
    "PIXEL_LONG": _file("pixel data longer than the image; cut", refused=False),
    "NO_DECODER": _file("no decoder is installed for this transfer syntax"),
    "BAD_STREAM": _file("compressed pixel data that can't be decoded"),
    "LOSSY": _file("the image went through a lossy compression", refused=False),
    "BAD_RESCALE": _file("rescale slope or intercept isn't one sensible number, or the Modality LUT no table"),
    "NO_RESCALE": _file("no rescale, and the values don't tell it"),
    "RESCALE_GUESS": _file("rescale was absent and could be told from the values", refused=False),
    "BAD_NUMBER": _file("a whole number was expected; ignored", refused=False),
    "BAD_GEOMETRY": _file("position or orientation is malformed; repaired or ignored", refused=False),
    "NO_SPACING": _file("no usable PixelSpacing", refused=False),
    "ANISO": _file("pixels aren't square", refused=False),
    "NOT_HU": _file("RescaleType isn't HU", refused=False),
    # NIfTI.
    "NO_NIBABEL": _file("a NIfTI file, and nibabel isn't installed: pip install 'ich25d[nifti]'"),
    "BAD_NIFTI": _file("the file's name says NIfTI, its header doesn't"),
    "NIFTI_PAIR": _file("a header and its image in two files (ANALYZE, .hdr and .img)"),
    "NIFTI_4D": _file("a NIfTI file of several volumes"),
    "GREY_VALUES": _file("grey values, not HU"),
    "MASK": _file("a mask, not HU"),
    "NO_AFFINE": _series("the NIfTI header doesn't say where its voxels lie; the usual order is assumed"),
    # Pixels.
    "MODALITY_LUT": _slice("a Modality LUT stands for slope and intercept; applied"),
    "WRAP12": _slice("12-bit values had wrapped round; unwrapped"),
    "NO_NEG_HU": _slice("air was cut off at 0 HU"),
    "PAD_UNDECLARED": _slice("undeclared padding outside the field of view; set to air"),
    "HU_ODD": _slice("the HU don't look like a head in air"),
    "BLANK": _slice("a constant image", refused=True),
    "LOCALIZER": _slice("a localizer", refused=True),
    "DUP_UID_SAME": _slice("another copy of an image that is used; the first by path is kept", refused=True),
    "DUP_UID_DIFF": _slice("one SOPInstanceUID with different images", refused=True),
    "DUP_PIXELS": _slice("the same pixels at the same position as another image"),
    "DUP_CONTENT": _slice("the same pixels as an image of another series"),
    "NO_IMAGE_PARTNER": _slice("one of several windowed pictures of this slice is absent"),
    # Series.
    "TILT": _series("the gantry was tilted; ordered along the normal, not resampled"),
    "GAP_MIXED": _series("the distance of slices changes within the series"),
    "GAP_HOLE": _series("slices are missing; what lies beyond isn't a neighbour"),
    "ONE_SLICE": _series("a series of one slice; its neighbours are itself"),
    "THIN": _series("slices closer than 1.5 mm"),
    "DUP_POSITION": _series("several images at one position and no attribute to tell them apart; all are kept"),
    "SPLIT_ACQUISITION": _series("split by AcquisitionNumber: several passes in one series"),
    "SPLIT_CONTRAST": _series("split by contrast agent"),
    "SPLIT_KERNEL": _series("split by ConvolutionKernel"),
    "SPLIT_KVP": _series("split by KVP"),
    "SPLIT_IMAGETYPE": _series("split by ImageType"),
    "SPLIT_TIME": _series("split by AcquisitionTime"),
    "SPLIT_TEMPORAL": _series("split by TemporalPositionIdentifier"),
    "SPLIT_INSTANCE": _series("split by blocks of InstanceNumber, or of a table's index"),
    "SPLIT_ORIENTATION": _series("split by orientation"),
    "SPLIT_SIZE": _series("split by field of view"),
    "DUP_SERIES_UID": _series("several studies or patients use one SeriesInstanceUID; each is a series of its own"),
    "REGROUPED": _series("each slice came as a series of its own; joined"),
    "SIZE_MIXED": _series("Rows and Columns change within the series"),
    "ORDER_BY_Z": _series("no orientation: ordered by z of the position"),
    "ORDER_BY_SLICELOC": _series("no position: ordered by SliceLocation"),
    "ORDER_BY_INSTANCE": _series("no position: ordered by InstanceNumber, or by a table's index"),
    "NO_ORDER": _series("nothing tells the order; every image stands alone"),
    "INSTANCE_ORDER": _series("InstanceNumber, or a table's index, disagrees with the position; the position holds"),
    "NOT_AXIAL": _series("not an axial series", refused=True),
    "PERFUSION": _series("many images at one position: perfusion, 4D or bolus monitoring", refused=True),
    "CONTRAST": _series("an angiography or a series with contrast", refused=True),
    "CONTRAST_TAG": _series("a contrast agent is named; the series is used"),
    "NO_HEAD_BOX": _series("no head was found to crop to; the full field is kept"),
    "NOT_HEAD?": _series("hardly any brain inside bone: perhaps no head"),
    "NO_PATIENT": _series("PatientID is absent, or the same for most; the study stands in for the split"),
    "BAD_TABLE": _series("a row of the image table can't be used", refused=True),
    # Labels.
    "L_DUP": _label("the same label several times", refused=False),
    "L_CONFLICT": _label("one label with different values"),
    "L_ANY": _label("any is 0 and a subtype 1"),
    "L_ANY_ALONE": _label("any is 1 and no subtype is", refused=False),
    "L_MISSING": _label("not all six labels are given"),
    "L_VALUE": _label("a label that is neither 0 nor 1"),
    "L_FORM": _label("a row that isn't an image id and one of the six labels"),
    "L_REPLACED": _label("the label table says otherwise than the table of images; it is taken", refused=False),
    "L_NO_IMAGE": _label("a label without an image", refused=False),
    "L_MASK_ALONE": _label("a mask without its scan, or with several", refused=False),
    "L_MASK_DIFFERS": _label("a mask of another shape or place than its scan"),
    "L_MASK_VALUE": _label("a mask with values that --masks doesn't name"),
    "NO_LABEL": _label("an image without labels", refused=False),
    "SUB_PRIOR": _label("an id of the sample without an image; the prior is written", refused=False),
}
"""Code -> what it means. Other rooms raise and write only what stands here."""


def is_refusal(code: str) -> bool:
    """Say whether a code refuses what it speaks of."""
    return CODES[code].is_refused
