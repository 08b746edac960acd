"""What the Python API returns: the series of a source with their probabilities."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ich25d.dicom.codes import is_refusal
from ich25d.labels import LABELS
from ich25d.predict.answer import Answer
from ich25d.predict.finished_series import FinishedSeries
from ich25d.predict.judgement import judge
from ich25d.predict.network import Network
from ich25d.predict.output import flags_of
from ich25d.predict.series import FoundSeries
from ich25d.predict.submission import write_submission
from ich25d.studies.qc import QcRow

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SeriesPrediction:
    """A predicted series of n slices, in scan order from caudal to cranial."""

    series_id: str
    study_id: str
    image_ids: tuple[str, ...]
    slice_position_mm: Floats
    """Shape (n,), mm along the slice normal; NaN where unknown."""
    encoder_probability: Floats
    """Shape (n, 6): the encoders alone, uncalibrated."""
    probability: Floats
    """Shape (n, 6), in the order of `labels`, calibrated; `any` is at least the largest subtype."""
    series_probability: Floats
    """Shape (6,): of the whole series, calibrated."""
    confidence: str
    """`sure`, `unsure` (somebody should look) or `not_for_this_model`; empty for a model without states."""
    why: tuple[str, ...]
    """Why it isn't `sure`."""
    flags: tuple[str, ...]
    """Reason codes of each slice, joined by `;`; empty where there are none."""
    remarks: tuple[QcRow, ...]
    """Refusals and remarks on this series, as in `qc.csv`."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The six labels, in the order of the probabilities."""
        return LABELS

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self.image_ids)

    def to_csv(self, path: str | Path) -> None:
        """Write the slices in Kaggle's form, whole or not at all."""
        write_submission(Path(path), self.image_ids, self.probability)


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """All series that a source holds."""

    series: tuple[SeriesPrediction, ...]
    qc: tuple[QcRow, ...]
    """All refusals and remarks, those of `qc.csv`."""
    _made_by: tuple[Network, FoundSeries, Answer[FinishedSeries]] = field(repr=False)

    @property
    def refused(self) -> tuple[QcRow, ...]:
        """The rows of files, slices and series that aren't used."""
        return tuple(row for row in self.qc if is_refusal(row.code))

    def __iter__(self) -> Iterator[SeriesPrediction]:
        """Go through the series."""
        return iter(self.series)

    def __len__(self) -> int:
        """Return the number of series."""
        return len(self.series)

    def __getitem__(self, number: int) -> SeriesPrediction:
        """Return one series."""
        return self.series[number]

    def to_csv(self, path: str | Path) -> None:
        """Write the slices of all series in Kaggle's form, whole or not at all."""
        ids = [image for series in self.series for image in series.image_ids]
        write_submission(Path(path), ids, np.concatenate([series.probability for series in self.series]))

    def to_dicom(self, folder: str | Path, *, captures: bool = False, heat: bool = False) -> list[Path]:
        """Write DICOM objects of all series, as `predict --dicom`: a structured report each, and key objects.

        The files are read again, for their pixels and for patient and study; flagged series are explained.

        Args:
            folder: Where to; apart from the files that were predicted.
            captures: Write pictures of key slices too, with heat and drawing burned in.
            heat: Write parametric maps of the heat too.

        Returns:
            The files.

        Raises:
            UsageError: A series doesn't come from DICOM files, highdicom is absent, or the folder holds other things.
        """
        from ich25d.dicom_out.writer import DicomWriter

        network, found, answer = self._made_by
        writer = DicomWriter(Path(folder), network.folder, captures=captures, heat=heat)
        writer.start(found)
        writer.finish(network, found, answer, lambda _: None)  # which has its maps
        return writer.files


def prediction_of(network: Network, found: FoundSeries, answer: Answer[FinishedSeries]) -> Prediction:
    """Give an answer the form for users.

    Args:
        network: The model.
        found: What was predicted.
        answer: What became of it.
    """
    rows_of: defaultdict[str, list[QcRow]] = defaultdict(list)
    for row in answer.qc:
        rows_of[row.series_id].append(row)
    flags = flags_of(answer.qc)
    judged = [judge(network, finished, rows_of[series.series_id]) for series, finished in answer.series]
    return Prediction(
        tuple(
            SeriesPrediction(
                series_id=series.series_id, study_id=series.study_id, image_ids=finished.image_ids,
                slice_position_mm=finished.slice_position_mm, encoder_probability=finished.encoder_probability,
                probability=finished.probability, series_probability=finished.series_probability,
                confidence=judgement.state, why=judgement.reasons,
                flags=tuple(flags.get(image, "") for image in finished.image_ids),
                remarks=tuple(rows_of[series.series_id]),
            )
            for (series, finished), judgement in zip(answer.series, judged, strict=True)
        ),
        tuple(answer.qc),
        (network, found, answer),
    )  # fmt: skip
