"""Every reason code of `qc.csv`, in one table: whether it refuses, and what it means."""

from collections.abc import Collection
from typing import NamedTuple

from ich25d.errors import UsageError


class ReasonCode(NamedTuple):
    """What one code means."""

    is_refused: bool
    """The file, image, series or label isn't used; else the code is a remark."""
    meaning: str
    """One line for people."""


def _refused(meaning: str) -> ReasonCode:
    return ReasonCode(True, meaning)


def _remark(meaning: str) -> ReasonCode:
    return ReasonCode(False, meaning)


CODES: dict[str, ReasonCode] = {
    # Files that can't be read or are no CT.
    "EMPTY": _refused("the file holds no bytes"),
    "NOT_DICOM": _refused("the file is no DICOM"),
    "DICOMDIR": _refused("the directory of a CD: it lists files, which are read themselves"),
    "ARCHIVE": _refused("an archive that isn't a zip, or a part of one; nothing in it was read"),
    "OTHER_FORMAT": _refused("a volume or image in another form than DICOM or NIfTI"),
    "NOT_CT": _refused("DICOM, but no CT image"),
    "NOT_FILE": _refused("a device, socket, pipe or broken link"),
    "SAME_FILE": _remark("another name of a file that is listed already"),
    "NO_ACCESS": _refused("the file or folder can't be read"),
    "NAME_ID": _remark("the file's name and its SOPInstanceUID differ; the UID is the id"),
    "CHANGED": _refused("the file changed while it was read"),
    "TOO_BIG": _refused("the file is larger than a CT image can be"),
    "DEFLATED_BIG": _refused("a deflated data set inflates to more than the limit"),
    "ZIP_DAMAGED": _refused("the archive, or a member of it, is damaged or fails its checksum"),
    "ZIP_ENCRYPTED": _refused("the archive's member is encrypted"),
    "ZIP_METHOD": _refused("the archive's member is compressed by a method that isn't read"),
    "ZIP_NAME": _refused("the archive's member has an absolute name or one that leaves the archive"),
    "ZIP_LINK": _refused("the archive's member is a link"),
    "ZIP_NESTED": _refused("an archive inside an archive isn't opened"),
    "ZIP_RATIO": _refused("the archive's member inflates more than 200-fold"),
    "ZIP_BIG": _refused("the archive's member, or the archive as a whole, is larger than the limit"),
    "ZIP_DUPLICATE": _refused("the archive holds several members of this name"),
    "GZIP_DAMAGED": _refused("the gzip file is cut off, damaged or fails its checksum"),
    "GZIP_BIG": _refused("the gzip file inflates to more than its content says, or far more than any scan does"),
    "DECODER_CRASH": _refused("reading the file killed the worker"),
    "TIMEOUT": _refused("reading the file took longer than the limit"),
    "READ_FAILED": _refused("reading the file's series failed in a way that nobody foresaw; please report it"),
    "NO_OBJECTS": _refused("predicted, but its DICOM objects weren't written: a file couldn't be read again"),
    "NODE_FAILED": _refused("a node failed on the study again and again; its images lie aside, for somebody to look"),
    "NOT_RECEIVED": _refused("an image that a sender or a DICOMweb service announced, and that couldn't be taken"),
    # Headers of images.
    "NO_META": _remark("no file meta information or transfer syntax: read off the first element"),
    "UNREADABLE": _refused("the header can't be parsed"),
    "TRUNCATED": _refused("the file ends before its image does"),
    "BAD_TAG": _refused("an attribute that must be one number isn't"),
    "BAD_UID": _refused("an identifier is absent or holds characters that no identifier has"),
    "UID_RENAMED": _remark("a UID of letters or a length that no UID has, as hashes are; used under a name of its own"),
    "NO_SERIES_UID": _remark("series or study UID is absent; the next level stands in"),
    "MULTIFRAME": _refused("a file of many frames, and nothing says where each of them lies"),
    "FRAMES_PLACED": _remark("a file of many frames without functional groups; its header says where they lie"),
    "SECONDARY": _refused("a secondary capture, screen save, burned-in image or page of text"),
    "NOT_GRAY": _refused("a colour image"),
    "SHAPE": _refused("Rows, Columns or frames don't fit the pixel data or are out of range"),
    "BITS": _refused("pixels of a type that no CT has"),
    "HIGHBIT": _refused("HighBit isn't BitsStored - 1"),
    "NO_PIXELS": _refused("a CT header without pixel data"),
    "PIXEL_SHORT": _refused("pixel data shorter than Rows x Columns"),
    "PIXEL_LONG": _remark("pixel data longer than the image; cut"),
    "NO_DECODER": _refused("no decoder is installed for this transfer syntax"),
    "BAD_STREAM": _refused("compressed pixel data that can't be decoded"),
    "LOSSY": _remark("the image went through a lossy compression"),
    "BAD_RESCALE": _refused("rescale slope or intercept isn't one sensible number, or the Modality LUT no table"),
    "NO_RESCALE": _refused("no rescale, and the values don't tell it"),
    "RESCALE_GUESS": _remark("rescale was absent and could be told from the values"),
    "BAD_NUMBER": _remark("a whole number was expected; ignored"),
    "BAD_GEOMETRY": _remark("position or orientation is malformed; repaired or ignored"),
    "NO_SPACING": _remark("no usable PixelSpacing"),
    "ANISO": _remark("pixels aren't square"),
    "NOT_HU": _remark("RescaleType isn't HU"),
    # NIfTI.
    "NO_NIBABEL": _refused("a NIfTI file, and nibabel isn't installed: pip install 'ich25d[nifti]'"),
    "BAD_NIFTI": _refused("the file's name says NIfTI, its header doesn't"),
    "NIFTI_PAIR": _refused("a header and its image in two files (ANALYZE, .hdr and .img)"),
    "NIFTI_4D": _refused("a NIfTI file of several volumes"),
    "GREY_VALUES": _refused("grey values, not HU"),
    "MASK": _refused("a mask, not HU"),
    "NO_AFFINE": _remark("the NIfTI header doesn't say where its voxels lie; the usual order is assumed"),
    # Pixels.
    "MODALITY_LUT": _remark("a Modality LUT stands for slope and intercept; applied"),
    "WRAP12": _remark("12-bit values had wrapped round; unwrapped"),
    "SIGN": _remark("the values are signed though the header says unsigned, or the other way round; read as they are"),
    "BITS_STORED": _remark("values beyond what BitsStored declares; all allocated bits are read"),
    "NO_NEG_HU": _remark("air was cut off at 0 HU"),
    "PAD_UNDECLARED": _remark("undeclared padding outside the field of view; set to air"),
    "PAD_IN_HEAD": _remark("the value declared as padding is inside the image too; left as HU there"),
    "HU_ODD": _remark("the HU don't look like a head in air"),
    "BLANK": _refused("a constant image"),
    "LOCALIZER": _refused("a localizer"),
    "DUP_UID_SAME": _refused("another copy of an image that is used; the first by path is kept"),
    "DUP_UID_DIFF": _refused("one SOPInstanceUID with different images"),
    "DUP_PIXELS": _remark("the same pixels at the same position as another image"),
    "DUP_CONTENT": _remark("the same pixels as an image of another series"),
    "SATURATED": _remark("the pictures' widest window ends below bone; what is white and lies like skull is bone"),
    "NO_IMAGE_PARTNER": _remark("one of several windowed pictures of this slice is absent"),
    # Series.
    "TILT": _remark("the gantry was tilted; ordered along the normal, not resampled"),
    "GAP_MIXED": _remark("the distance of slices changes within the series"),
    "GAP_HOLE": _remark("slices are missing; what lies beyond isn't a neighbour"),
    "ONE_SLICE": _remark("a series of one slice; its neighbours are itself"),
    "THIN": _remark("slices closer than 1.5 mm"),
    "DUP_POSITION": _remark("several images at one position and no attribute to tell them apart; all are kept"),
    "SPLIT_ACQUISITION": _remark("split by AcquisitionNumber: several passes in one series"),
    "SPLIT_CONTRAST": _remark("split by contrast agent"),
    "SPLIT_KERNEL": _remark("split by ConvolutionKernel"),
    "SPLIT_KVP": _remark("split by KVP"),
    "SPLIT_IMAGETYPE": _remark("split by ImageType"),
    "SPLIT_TIME": _remark("split by AcquisitionTime"),
    "SPLIT_TEMPORAL": _remark("split by TemporalPositionIdentifier"),
    "SPLIT_INSTANCE": _remark("split by blocks of InstanceNumber, or of a table's index"),
    "SPLIT_ORIENTATION": _remark("split by orientation"),
    "SPLIT_REFERENCE": _remark("split by FrameOfReferenceUID: several scans in one series"),
    "SPLIT_SERIES_NUMBER": _remark("split by SeriesNumber: several series under one UID, or under none"),
    "SPLIT_THICKNESS": _remark("split by SliceThickness: passes whose slices lie between each other"),
    "SPLIT_SPACING": _remark("split by PixelSpacing: passes whose slices lie between each other"),
    "SPLIT_DESCRIPTION": _remark("split by what SeriesDescription says: passes whose slices lie between each other"),
    "SPLIT_SIZE": _remark("split by field of view"),
    "DUP_SERIES_UID": _remark("several studies or patients use one SeriesInstanceUID; each is a series of its own"),
    "TURNED": _remark("rows or columns ran another way than in the usual display; turned, not resampled"),
    "MIRRORED": _remark("the slices are stored as mirror images of the usual display; turned by what they say of left"),
    "ACCEPTED": _remark("the series would be refused; --accept has it used"),
    "REGROUPED": _remark("each slice came as a series of its own; joined"),
    "SIZE_MIXED": _remark("Rows and Columns change within the series"),
    "ORDER_BY_Z": _remark("no orientation: ordered by z of the position"),
    "ORDER_BY_SLICELOC": _remark("no position: ordered by SliceLocation"),
    "ORDER_BY_INSTANCE": _remark("no position: ordered by InstanceNumber, or by a table's index"),
    "SET_ASIDE": _remark("a few images lack what orders the others; each of those stands alone"),
    "NO_ORDER": _remark("nothing tells the order; every image stands alone"),
    "INSTANCE_ORDER": _remark("InstanceNumber, or a table's index, disagrees with the position; the position holds"),
    "NOT_AXIAL": _refused("not an axial series"),
    "PERFUSION": _refused("many images at one position: perfusion, 4D or bolus monitoring"),
    "CONTRAST": _refused("an angiography or a series with contrast"),
    "CONTRAST_TAG": _remark("a contrast agent is named; the series is used"),
    "CONTRAST?": _remark("perhaps with contrast: the description says both, or the header names no agent; used"),
    "NO_HEAD_BOX": _remark("no head was found to crop to; the full field is kept"),
    "NOT_HEAD?": _remark("hardly any brain inside bone: perhaps no head"),
    "NO_PATIENT": _remark("PatientID is absent, or the same for most; the study stands in for the split"),
    "BAD_TABLE": _refused("a row of the image table can't be used"),
    # Labels.
    "L_DUP": _remark("the same label several times"),
    "L_CONFLICT": _refused("one label with different values"),
    "L_ANY": _refused("any is 0 and a subtype 1"),
    "L_ANY_ALONE": _remark("any is 1 and no subtype is"),
    "L_MISSING": _refused("not all six labels are given"),
    "L_VALUE": _refused("a label that is neither 0 nor 1"),
    "L_FORM": _refused("a row that isn't an image id and one of the six labels"),
    "L_REPLACED": _remark("the label table says otherwise than the table of images; it is taken"),
    "L_NO_IMAGE": _remark("a label without an image"),
    "L_MASK_ALONE": _remark("a mask without its scan, or with several"),
    "L_MASK_DIFFERS": _refused("a mask of another shape or place than its scan"),
    "L_MASK_VALUE": _refused("a mask with values that --masks doesn't name"),
    "NO_LABEL": _remark("an image without labels"),
    "SUB_PRIOR": _remark("an id of the sample without an image; the prior is written"),
}
"""Code -> what it means. Other rooms raise and write only what stands here."""


ACCEPTABLE = ("CONTRAST", "LOCALIZER", "NOT_AXIAL", "PERFUSION")
"""Refusals of series that can be lived with: `--accept` has such series used."""


def check_accepted(codes: Collection[str]) -> None:
    """Check codes given as `--accept`.

    Raises:
        UsageError: One of them can't be accepted.
    """
    if unknown := sorted(set(codes) - set(ACCEPTABLE)):
        raise UsageError(f"--accept must be one of {', '.join(ACCEPTABLE)} (got {', '.join(unknown)})")


def is_refusal(code: str) -> bool:
    """Say whether a code refuses what it speaks of."""
    return CODES[code].is_refused
