"""A finished series in, its DICOM objects out: what `predict --dicom`, `Prediction.to_dicom` and a node send."""

from collections.abc import Sequence

from pydicom.dataset import Dataset

from ich25d.dicom_out.captures import draw_captures
from ich25d.dicom_out.heat_map import heat_maps
from ich25d.dicom_out.key_objects import key_objects
from ich25d.dicom_out.made_by import made_by
from ich25d.dicom_out.report import structured_report
from ich25d.dicom_out.source import as_in_the_files, read_source
from ich25d.explain.explanation import explain_series
from ich25d.predict.finished_series import FinishedSeries
from ich25d.predict.network import Network
from ich25d.predict.series import SeriesPixels, UnreadSeries
from ich25d.training.operating_point import OperatingPoint, read_points


def dicom_objects(
    network: Network,
    series: UnreadSeries,
    pixels: SeriesPixels,
    finished: FinishedSeries,
    *,
    point: OperatingPoint | None = None,
    remarks: Sequence[str] = (),
    captures: bool = False,
    heat: bool = False,
) -> list[Dataset]:
    """Make the DICOM objects of a predicted series.

    Args:
        network: The model.
        series: The series; it comes from DICOM files (`source.is_dicom`).
        pixels: Its slices.
        finished: Its probabilities.
        point: The operating point; None is the model's default.
        remarks: Sentences on the series that its report shall carry.
        captures: Make pictures of the key slices of findings too.
        heat: Make parametric maps of the findings' heat too.

    Returns:
        The structured report; a key object selection where slices are flagged; what was asked for. `save_object`
        writes them.

    Raises:
        DicomError: A file has gone or changed since it was listed.
    """
    point = point or read_points(network.folder)[0]
    explanation = explain_series(network, pixels, finished, point=point)
    source, maker = read_source(series, finished.image_ids), made_by(network, point)
    with as_in_the_files():
        made = [structured_report(source, explanation, maker, remarks)]
        selection = key_objects(source, explanation, maker)
        made += [] if selection is None else [selection]
        made += draw_captures(source, pixels, explanation, maker) if captures else []
        made += heat_maps(source, pixels, explanation, maker) if heat else []
    return made
