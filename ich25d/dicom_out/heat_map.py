"""Heat as a parametric map: floats at their place in the patient, for viewers that lay them over the scan.

References:
    DICOM PS3.3, A.75 (Parametric Map IOD), C.7.6.2.1.1 (where a pixel is), C.7.6.16.2.11 (real world values).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence, VOILUTTransformation
from highdicom.pm import ParametricMap, RealWorldValueMapping
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from ich25d.dicom.geometry import Display
from ich25d.dicom_out import coded
from ich25d.dicom_out.filed import SERIES_NUMBERS, filed
from ich25d.dicom_out.made_by import MAKER, NOT_FOR_DIAGNOSIS, MadeBy, describe_series, object_uid, uid_of
from ich25d.dicom_out.source import FILLED_EMPTY, Plane, SourceSeries
from ich25d.explain.explanation import Explanation
from ich25d.explain.finding import usual_gap_mm
from ich25d.labels import LABELS
from ich25d.predict.series import SeriesPixels
from ich25d.studies.volumes.volume import Fit

KIND = "heat"

SAME_PLACE_MM = 0.01
"""Slices nearer than that show one place; the map holds the hotter one."""

Floats = npt.NDArray[np.float64]


def heat_maps(source: SourceSeries, pixels: SeriesPixels, explanation: Explanation, maker: MadeBy) -> Iterator[Dataset]:
    """Make a map of each finding's heat, on the network's own grid.

    Args:
        source: The images.
        pixels: Their pixels.
        explanation: What was found in them.
        maker: The model.

    Yields:
        Parametric maps of one series; none where the files don't say where their slices are.
    """
    fit = pixels.fit
    planes = [one.plane for one in source.images if one.plane is not None]
    if fit is None or len(planes) < len(source.images):
        return
    for finding in explanation.findings:
        number = LABELS.index(finding.label)
        heat = explanation.heat[:, number].astype(np.float32)
        slices = one_a_place(explanation.slice_position_mm, heat)
        grids = [grid_of(planes[index], source.images[index].shape, source.display, fit) for index in slices]
        made = _map(source, explanation, maker, number, heat[slices], grids)
        _refer(made, source, slices, np.stack([grid.origin_mm for grid in grids]))
        yield filed(made, source, maker)


def one_a_place(position_mm: Floats, heat: npt.NDArray[np.float32]) -> list[int]:
    """Return the slices from the first to the last with heat; of several at one place the hottest.

    Args:
        position_mm: Shape (n,), never falling.
        heat: Shape (n, h, w), hot somewhere.
    """
    peak = heat.max(axis=(1, 2))
    hot = np.flatnonzero(peak)
    chosen: list[int] = []
    for index in range(hot[0], hot[-1] + 1):
        if chosen and position_mm[index] - position_mm[chosen[-1]] < SAME_PLACE_MM:
            if peak[index] > peak[chosen[-1]]:
                chosen[-1] = index
        else:
            chosen.append(index)
    return chosen


def _map(
    source: SourceSeries,
    explanation: Explanation,
    maker: MadeBy,
    number: int,
    heat: npt.NDArray[np.float32],
    grids: list["Grid"],
) -> ParametricMap:
    label, directions = LABELS[number], grids[0].directions
    thickness_mm = usual_gap_mm(explanation.slice_position_mm)
    made = ParametricMap(
        source_images=[_stand_in(source, grids[0], thickness_mm)],
        pixel_array=heat,
        series_instance_uid=object_uid(source, maker, KIND, "series"),
        series_number=SERIES_NUMBERS[KIND],
        sop_instance_uid=object_uid(source, maker, KIND, label),
        instance_number=number + 1,
        manufacturer=MAKER,
        manufacturer_model_name=maker.name,
        software_versions=maker.version,
        device_serial_number=maker.serial_number,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[
            RealWorldValueMapping(
                lut_label=label[:16], lut_explanation=f"Heat of {label}, 0 to 1", unit=coded.ONE,
                value_range=(0.0, 1.0), slope=1.0, intercept=0.0, quantity_definition=coded.CLASS_ACTIVATION,
            )
        ],
        voi_lut_transformations=[VOILUTTransformation(window_center=0.5, window_width=1.0)],
        pixel_measures=PixelMeasuresSequence(list(grids[0].spacing_mm), thickness_mm, thickness_mm),
        plane_orientation=PlaneOrientationSequence("PATIENT", directions.tolist()),
        plane_positions=[PlanePositionSequence("PATIENT", grid.origin_mm.tolist()) for grid in grids],
        content_label=label.upper()[:16],
        content_description=f"{NOT_FOR_DIAGNOSIS}. Heat of {label}"[:64],
        series_description=describe_series("heat"),
    )  # fmt: skip
    made.update(source.lossy)
    return made


class Grid(NamedTuple):
    """Where the network's px of one slice lie in the patient."""

    origin_mm: Floats
    """Centre of the first px, shape (3,)."""
    directions: Floats
    """Cosines of the row, then of the column, shape (6,)."""
    spacing_mm: tuple[float, float]
    """Distance of rows, then of columns."""


def grid_of(plane: Plane, shape: tuple[int, int], display: Display, fit: Fit) -> Grid:
    """Return where the network's px of one slice lie.

    Args:
        plane: Where the slice lies as its file has it.
        shape: Its rows and columns there.
        display: How it was turned.
        fit: Which part of the turned slice the grid shows, and where.
    """
    directions = display.turned_directions(plane.directions)
    row, column = directions.reshape(2, 3)  # towards higher column numbers, towards higher row numbers
    row_mm, column_mm = display.turned_spacing(plane.spacing_mm)
    n_rows, n_columns = shape[::-1] if display.transpose else shape
    first = np.asarray(plane.origin_mm, dtype=np.float64)
    if display.flip_columns:
        first = first - (n_columns - 1) * column_mm * row
    if display.flip_rows:
        first = first - (n_rows - 1) * row_mm * column
    grid_row_mm, grid_column_mm = fit.box.height * row_mm / fit.height, fit.box.width * column_mm / fit.width
    # The box begins at the edge of its first px, half a px before that one's centre; air fills the square around it.
    down = (fit.box.top - 0.5) * row_mm + (0.5 - (fit.size - fit.height) // 2) * grid_row_mm
    right = (fit.box.left - 0.5) * column_mm + (0.5 - (fit.size - fit.width) // 2) * grid_column_mm
    return Grid(first + down * column + right * row, directions, (grid_row_mm, grid_column_mm))


def _stand_in(source: SourceSeries, grid: Grid, thickness_mm: float) -> Dataset:
    """Return one image for all, from which highdicom takes study and frame of reference."""
    stand_in = Dataset()
    for name in FILLED_EMPTY:
        setattr(stand_in, name, None)
    stand_in.SOPClassUID, stand_in.SOPInstanceUID = CTImageStorage, source.images[0].sop_instance
    stand_in.StudyInstanceUID, stand_in.SeriesInstanceUID = source.study, source.images[0].series
    # Positions mean nothing without a frame of reference: files that name none get one of their own.
    frame = source.frame_of_reference or uid_of("frame of reference", source.study, source.images[0].series)
    stand_in.FrameOfReferenceUID, stand_in.PositionReferenceIndicator = frame, None
    stand_in.Rows, stand_in.Columns = source.images[0].shape
    stand_in.ImagePositionPatient, stand_in.ImageOrientationPatient = grid.origin_mm.tolist(), grid.directions.tolist()
    stand_in.PixelSpacing, stand_in.SliceThickness = list(grid.spacing_mm), thickness_mm
    return stand_in


def _refer(made: ParametricMap, source: SourceSeries, slices: list[int], origins_mm: Floats) -> None:
    """Refer to the images of the map as a whole, and from each frame to its own.

    highdicom puts frames into an order of its own, so that each is known by its place, `origins_mm` (slices, 3).
    """
    made.SourceImageSequence = source.references(slices)
    series = Dataset()
    series.SeriesInstanceUID = source.images[slices[0]].series
    series.ReferencedInstanceSequence = source.references(slices)
    made.ReferencedSeriesSequence = [series]
    derivation = coded.concept(coded.CLASS_ACTIVATION)
    for item in made.PerFrameFunctionalGroupsSequence:
        place = np.asarray(item.PlanePositionSequence[0].ImagePositionPatient, dtype=np.float64)
        index = slices[int(np.linalg.norm(origins_mm - place, axis=1).argmin())]
        derived = Dataset()
        derived.DerivationCodeSequence = [derivation]
        derived.SourceImageSequence = source.references([index])
        for one in derived.SourceImageSequence:
            one.PurposeOfReferenceCodeSequence = [coded.concept(coded.SOURCE_IMAGE)]
        item.DerivationImageSequence = [derived]
