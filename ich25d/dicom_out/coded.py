"""Coded concepts: SNOMED CT and DICOM's own where there is one, else of this package's scheme.

References:
    DICOM PS3.16, annex D (DCM), CID 4, 5, 100, 244, 3627; SNOMED CT International Edition.
"""

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept
from pydicom.sr.coding import Code

SCHEME = "99ICH25D"
"""Designator of the codes that have no standard one; 99 marks a private scheme (PS3.3, 8.2)."""


def own_scheme() -> CodingSchemeIdentificationItem:
    """Return what identifies the private scheme in an object (PS3.3, C.12.1)."""
    return CodingSchemeIdentificationItem(
        SCHEME, name="Codes of the research software ich25d", responsible_organization="ich25d"
    )


def _sct(value: str, meaning: str) -> Code:
    return Code(value, "SCT", meaning)


def _dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


def _own(value: str, meaning: str) -> Code:
    return Code(value, SCHEME, meaning)


FINDINGS: dict[str, Code] = {
    "epidural": _sct("82999001", "Epidural hemorrhage"),
    "intraparenchymal": _sct("274100004", "Cerebral hemorrhage"),
    "intraventricular": _sct("23276006", "Ventricular hemorrhage"),
    "subarachnoid": _sct("21454007", "Subarachnoid intracranial hemorrhage"),
    "subdural": _sct("35486000", "Subdural intracranial hemorrhage"),
    "any": _sct("1386000", "Intracranial hemorrhage"),
}
"""By label."""

CT_OF_HEAD = _sct("303653007", "Computed tomography of head")
INTRACRANIAL = _sct("1101003", "Intracranial")
MIDLINE = _sct("261129000", "Midline")
LATERALITY: dict[str, Code] = {
    "left": _sct("7771000", "Left"),
    "right": _sct("24028007", "Right"),
    "both": _sct("51440002", "Bilateral"),
}
"""By side of a finding; the midline is a topographical modifier, and an unknown side has no code."""

YES, NO = _sct("373066001", "Yes"), _sct("373067005", "No")
ESTIMATED = _sct("414135002", "Estimated")
VOLUME = _sct("118565006", "Volume")
PROBABILITY = _dcm("122157", "Probability")
COMMENT = _dcm("121106", "Comment")
CLASS_ACTIVATION = _dcm("130402", "Class activation")
SOURCE_IMAGE = _dcm("121322", "Source image for image processing operation")
OF_INTEREST = _dcm("113000", "Of Interest")

FOUND = _own("found", "At or over the threshold of the operating point")
THRESHOLD = _own("threshold", "Probability from which on it counts as found")
VOLUME_LOW = _own("volume_low", "Volume, lower limit of 80 of 100 cases")
VOLUME_HIGH = _own("volume_high", "Volume, upper limit of 80 of 100 cases")
FIRST_SLICE = _own("first_slice", "Lowest slice, counted from 1 from below")
LAST_SLICE = _own("last_slice", "Highest slice, counted from 1 from below")
PEAK_SLICE = _own("peak_slice", "Slice that shows most, from 1 from below")

ONE = Code("1", "UCUM", "no units")
MILLILITRE = Code("mL", "UCUM", "mL")


def concept(code: Code) -> CodedConcept:
    """Return a code as highdicom's content items take it."""
    return CodedConcept(code.value, code.scheme_designator, code.meaning)
