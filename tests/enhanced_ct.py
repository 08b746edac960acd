"""Single CT images joined into one file of many frames, as an enhanced CT keeps them (DICOM PS3.3, A.38)."""

from collections.abc import Collection, Sequence
from copy import deepcopy
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset, FileDataset

ENHANCED = "1.2.840.10008.5.1.4.1.1.2.1"
IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"

GROUPS: dict[str, dict[str, str]] = {
    "PlanePositionSequence": {"ImagePositionPatient": "ImagePositionPatient"},
    "PlaneOrientationSequence": {"ImageOrientationPatient": "ImageOrientationPatient"},
    "PixelMeasuresSequence": {"PixelSpacing": "PixelSpacing", "SliceThickness": "SliceThickness"},
    "PixelValueTransformationSequence": {
        "RescaleIntercept": "RescaleIntercept", "RescaleSlope": "RescaleSlope", "RescaleType": "RescaleType",
    },
    "FrameVOILUTSequence": {"WindowCenter": "WindowCenter", "WindowWidth": "WindowWidth"},
    "CTImageFrameTypeSequence": {"FrameType": "ImageType"},
    "CTReconstructionSequence": {"ConvolutionKernel": "ConvolutionKernel"},
    "CTXRayDetailsSequence": {"KVP": "KVP"},
    "FrameContentSequence": {
        "FrameAcquisitionNumber": "AcquisitionNumber", "TemporalPositionIndex": "TemporalPositionIdentifier",
        "FrameAcquisitionDateTime": "AcquisitionTime",
    },
}  # fmt: skip
"""Functional group -> its attributes, and those of a single image that they stand for."""


def join(images: Sequence[FileDataset], shared: Collection[str] = (), syntax: str = "") -> FileDataset:
    """Join images, all alike in what isn't in `GROUPS`, into one data set.

    Args:
        images: One a frame.
        shared: Functional groups that are kept once, as the first image has them.
        syntax: Transfer syntax to compress to; empty leaves it.
    """
    whole = deepcopy(images[0])
    for attributes in GROUPS.values():
        for name in attributes.values():
            if name in whole:
                delattr(whole, name)
    whole.SOPClassUID = ENHANCED
    whole.NumberOfFrames = len(images)
    whole.SharedFunctionalGroupsSequence = [_groups(images[0], shared)]
    whole.PerFrameFunctionalGroupsSequence = [_groups(image, set(GROUPS) - set(shared)) for image in images]
    whole.PixelData = b"".join(image.PixelData for image in images)
    whole["PixelData"].VR = "OW"
    if syntax:
        whole.compress(syntax, generate_instance_uid=False)
    return whole


def _groups(image: FileDataset, names: Collection[str]) -> Dataset:
    item = Dataset()
    for group in sorted(names):
        macro = Dataset()
        for there, here in GROUPS[group].items():
            if here in image:
                value = image[here].value
                setattr(macro, there, f"20200229{value}+0100" if here == "AcquisitionTime" else value)
        if len(macro):
            setattr(item, group, [macro])
    return item


def to_bytes(dataset: FileDataset) -> bytes:
    """Write a data set as a file in memory."""
    syntax = dataset.file_meta.TransferSyntaxUID
    target = BytesIO()
    pydicom.dcmwrite(
        target, dataset, implicit_vr=syntax == IMPLICIT, little_endian=syntax != BIG_ENDIAN, force_encoding=True
    )
    return target.getvalue()
