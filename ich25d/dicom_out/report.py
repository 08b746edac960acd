"""The structured report of one series: what was found at the operating point, as numbers with their codes.

References:
    DICOM PS3.16, TID 1500 (Measurement Report), TID 1501 (Measurement Group), TID 4019 (Algorithm Identification).
"""

from collections.abc import Sequence

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    DeviceObserverIdentifyingAttributes,
    EnhancedSR,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from ich25d import __version__
from ich25d.dicom_out import coded
from ich25d.dicom_out.filed import SERIES_NUMBERS, filed
from ich25d.dicom_out.made_by import MAKER, NOT_FOR_DIAGNOSIS, MadeBy, describe_series, object_uid
from ich25d.dicom_out.source import SourceSeries
from ich25d.explain.explanation import Explanation
from ich25d.explain.finding import Finding
from ich25d.labels import LABELS

KIND = "report"


def structured_report(
    source: SourceSeries, explanation: Explanation, maker: MadeBy, remarks: Sequence[str] = ()
) -> Dataset:
    """Write what was found in a series.

    `any` has a measurement group always, found or not; every other label that is found has one.

    Args:
        source: The images.
        explanation: What was found in them.
        maker: The model.
        remarks: Sentences on the series.

    Returns:
        An Enhanced SR: viewers that show TID 1500 take it, and it needs no coordinates.
    """
    over = maker.point.over(explanation.series_probability)
    labels = ["any", *(label for label in over if label != "any")]
    findings = {finding.label: finding for finding in explanation.findings}
    report = MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(codes.DCM.Device, _device(maker)),
        ),
        procedure_reported=coded.CT_OF_HEAD,
        imaging_measurements=[
            _group(label, source, explanation, maker, findings.get(label), is_found=label in over) for label in labels
        ],
    )
    report[0].ContentSequence.extend(
        TextContentItem(coded.concept(coded.COMMENT), text, RelationshipTypeValues.CONTAINS)
        for text in [*_sentences(explanation, maker), *remarks]
    )
    document = EnhancedSR(
        evidence=source.evidence(),
        content=report[0],
        series_instance_uid=object_uid(source, maker, KIND, "series"),
        series_number=SERIES_NUMBERS[KIND],
        sop_instance_uid=object_uid(source, maker, KIND),
        instance_number=1,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=describe_series("report"),
        coding_schemes=[coded.own_scheme()],
    )
    return filed(document, source, maker)


def _device(maker: MadeBy) -> DeviceObserverIdentifyingAttributes:
    return DeviceObserverIdentifyingAttributes(
        uid=maker.uid,
        name=MAKER,
        manufacturer_name=MAKER,
        model_name=maker.about.name,
        serial_number=maker.serial_number,
    )


def _sentences(explanation: Explanation, maker: MadeBy) -> list[str]:
    """Return what a reader of the report has to know."""
    point = maker.point
    over = point.over(explanation.series_probability)
    verdict = (
        f"Flagged: {', '.join(over)} at or over the threshold."
        if over
        else "Not flagged: no label is over its threshold."
    )
    at = point.described if point.of_series else "none: the model has no thresholds, so that nothing counts as found"
    sentences = [
        f"{NOT_FOR_DIAGNOSIS}. Written by a research program; no physician has seen or confirmed any of it. Numbers "
        "are estimates.",
        *([verdict] if point.of_series else []),
        f"Model: {maker.about.text}",
        f"Operating point on validation: {at}",
    ]
    sentences += filter(None, [point.caution])
    assumed = sorted({name for finding in explanation.findings for name in finding.assumed})
    if assumed:
        sentences.append(f"The files don't say, and it was assumed: {', '.join(assumed)}.")
    return sentences


def _group(
    label: str,
    source: SourceSeries,
    explanation: Explanation,
    maker: MadeBy,
    finding: Finding | None,
    *,
    is_found: bool,
) -> MeasurementsAndQualitativeEvaluations:
    probability = float(explanation.series_probability[LABELS.index(label)])
    measurements = [_estimate(coded.PROBABILITY, probability, coded.ONE)]
    threshold = maker.point.of_series.get(label)
    state = "at or over its threshold" if is_found else "no threshold" if threshold is None else "below its threshold"
    if threshold is not None:
        # A number that was chosen, no estimate.
        measurements.append(Measurement(coded.THRESHOLD, _rounded(threshold), coded.ONE))
    if finding is not None:
        measurements += _measured(finding)
    slices = [] if finding is None else np.flatnonzero(explanation.masks[label].any(axis=(1, 2))).tolist()
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(object_uid(source, maker, KIND, label), f"{MAKER}: {label}, {state}"),
        finding_type=coded.FINDINGS[label],
        finding_sites=[_site(finding)],
        algorithm_id=AlgorithmIdentification(
            name=maker.about.name, version=maker.version, manufacturer=MAKER, parameters=_parameters(maker)
        ),
        measurements=measurements,
        qualitative_evaluations=[QualitativeEvaluation(coded.FOUND, coded.YES if is_found else coded.NO)]
        if threshold is not None
        else None,
        source_images=_references(source, slices) or None,
    )


def _parameters(maker: MadeBy) -> list[str]:
    return [
        f"program: {MAKER} {__version__}", f"model SHA-256: {maker.stamp}", f"model UID: {maker.uid}",
        f"operating point: {maker.point.rule}",
    ]  # fmt: skip


def _site(finding: Finding | None) -> FindingSite:
    """Return where a finding is; without one, where it was looked for."""
    side = "unknown" if finding is None else finding.side
    return FindingSite(
        coded.INTRACRANIAL,
        laterality=coded.LATERALITY.get(side),
        topographical_modifier=coded.MIDLINE if side == "midline" else None,
    )


def _measured(finding: Finding) -> list[Measurement]:
    slices = ((coded.FIRST_SLICE, finding.first_slice), (coded.LAST_SLICE, finding.last_slice),
              (coded.PEAK_SLICE, finding.peak_slice))  # fmt: skip
    volumes = ((coded.VOLUME, finding.volume_ml), (coded.VOLUME_LOW, finding.volume_low_ml),
               (coded.VOLUME_HIGH, finding.volume_high_ml))  # fmt: skip
    return [
        *(_estimate(code, index + 1, coded.ONE) for code, index in slices),
        *(_estimate(code, value, coded.MILLILITRE) for code, value in volumes),
    ]


def _estimate(name: Code, value: float, unit: Code) -> Measurement:
    return Measurement(name, _rounded(value), unit, derivation=coded.ESTIMATED)


def _rounded(value: float) -> float:
    """Round to four significant digits: no more of them means anything, and a DS holds 16 characters."""
    return float(f"{value:.4g}")


def _references(source: SourceSeries, slices: Sequence[int]) -> list[SourceImageForMeasurementGroup]:
    classes = {source.images[index].sop_instance: source.images[index].sop_class for index in slices}
    return [
        SourceImageForMeasurementGroup(classes[instance], instance, frames or None)
        for instance, frames in source.frames(slices).items()
    ]
