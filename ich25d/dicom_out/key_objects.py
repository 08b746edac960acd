"""The key object selection of one series: the slices that the operating point flags.

References:
    DICOM PS3.3, A.35.4; PS3.16, TID 2010.
"""

import numpy as np
from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import DeviceObserverIdentifyingAttributes, ObserverContext
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from ich25d.dicom_out import coded
from ich25d.dicom_out.filed import SERIES_NUMBERS, filed
from ich25d.dicom_out.made_by import MAKER, NOT_FOR_DIAGNOSIS, MadeBy, describe_series, object_uid
from ich25d.dicom_out.source import SourceSeries
from ich25d.explain.explanation import Explanation
from ich25d.labels import LABELS

KIND = "key-objects"


def flagged_slices(explanation: Explanation, maker: MadeBy) -> list[int]:
    """Return the slices at or over the threshold of a label that the series is flagged for."""
    over = [LABELS.index(label) for label in maker.point.over(explanation.series_probability)]
    flagged: list[int] = np.flatnonzero(maker.point.slices_over(explanation.probability)[:, over].any(axis=1)).tolist()
    return flagged


def key_objects(source: SourceSeries, explanation: Explanation, maker: MadeBy) -> Dataset | None:
    """Select the flagged slices of a series.

    Args:
        source: The images.
        explanation: What was found in them.
        maker: The model.

    Returns:
        The document; None where no slice is flagged, or where the files name several studies, which it can't.
    """
    slices = flagged_slices(explanation, maker)
    if not slices or len({image.study for image in source.images}) > 1:
        return None
    selected = source.evidence(slices)
    device = DeviceObserverIdentifyingAttributes(
        uid=maker.uid, name=MAKER, manufacturer_name=MAKER, model_name=maker.about.name
    )
    content = KeyObjectSelection(
        document_title=coded.OF_INTEREST,
        referenced_objects=selected,
        observer_device_context=ObserverContext(codes.DCM.Device, device),
        description=f"{NOT_FOR_DIAGNOSIS}. {len(slices)} slices at or over the threshold of a research program "
        f"({maker.about.name}; operating point {maker.point.rule}). No physician has chosen them.",
    )
    frames = source.frames(slices)
    for item in content.get_references():
        reference = item.ReferencedSOPSequence[0]
        if of_instance := frames[reference.ReferencedSOPInstanceUID]:
            reference.ReferencedFrameNumber = of_instance
    document = KeyObjectSelectionDocument(
        evidence=selected,
        content=content,
        series_instance_uid=object_uid(source, maker, KIND, "series"),
        series_number=SERIES_NUMBERS[KIND],
        sop_instance_uid=object_uid(source, maker, KIND),
        instance_number=1,
        series_description=describe_series("key slices"),
    )
    return filed(document, source, maker)
