"""Prediction from Python: a model loaded once, used many times, with typed results.

from ich25d import load_model

model = load_model("runs/rnn")
for series in model.predict("study/"):
print(series.series_id, dict(zip(series.labels, series.series_probability)))
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ich25d.errors import UsageError
from ich25d.labels import LABELS
from ich25d.predict.finished_series import Part
from ich25d.predict.gather import without_doubles
from ich25d.predict.jobs import Job, array_job, find_jobs, read_job
from ich25d.predict.network import Network, load_network
from ich25d.predict.output import flags_of
from ich25d.predict.pipeline import predict_jobs, predict_read
from ich25d.predict.submission import write_submission
from ich25d.studies.no_usable_input import nothing_used
from ich25d.studies.qc import QcRow
from ich25d.studies.volumes.volume import Crop
from ich25d.training.precision import choose_device

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SeriesPrediction:
    """What the model says of one series of n slices, in scan order from caudal to cranial."""

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
    flags: tuple[str, ...]
    """Reason codes of each slice, joined by `;`; empty where there is nothing to say."""
    remarks: tuple[QcRow, ...]
    """Refusals and remarks, as in `qc.csv`."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The six labels, in the order of the probabilities."""
        return LABELS

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self.image_ids)

    def to_csv(self, path: str | Path) -> None:
        """Write the slices in Kaggle's form, whole or not at all."""
        write_submission(Path(path), [(self.image_ids, self.probability)])


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """All series that a source holds."""

    series: tuple[SeriesPrediction, ...]
    refused: tuple[QcRow, ...]
    """What couldn't be used, and remarks on files, as in `qc.csv`."""

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
        write_submission(Path(path), [(series.image_ids, series.probability) for series in self.series])


class Model:
    """A loaded model; `load_model` makes it."""

    def __init__(self, network: Network) -> None:
        self._network = network

    @property
    def labels(self) -> tuple[str, ...]:
        """The six labels, in the order of every probability."""
        return LABELS

    @property
    def prior(self) -> Floats:
        """Share of positive slices a label in the training data, shape (6,)."""
        return self._network.prior.copy()

    def predict(
        self,
        source: str | Path | Sequence[str | Path] | npt.NDArray[np.integer[Any]],
        *,
        slice_position_mm: npt.ArrayLike | None = None,
        image_ids: Sequence[str] | None = None,
        pixel_spacing_mm: tuple[float, float] | None = None,
        only: Sequence[str] = (),
        workers: int = 0,
    ) -> Prediction:
        """Predict every series of a source, or one series that is an array.

        Args:
            source: A folder, DICOM file, zip archive or study store, or several of them; or HU of one series, whole
                numbers of shape (n, rows, columns), the full field.
            slice_position_mm: With an array: where its slices are, shape (n,), mm from caudal to cranial, in the
                array's order.
            image_ids: With an array: names of its slices.
            pixel_spacing_mm: With an array: distance of rows and of columns; without it pixels count as square.
            only: With files: globs, any of which they must match.
            workers: Processes that read; 0 chooses.

        Raises:
            UsageError: There is nothing to predict, or an array without positions.
        """
        network = self._network
        if isinstance(source, np.ndarray):
            if slice_position_mm is None:
                raise UsageError("an array needs slice_position_mm, shape (n,), mm from caudal to cranial (got None)")
            job: Job = array_job(source, slice_position_mm, image_ids=image_ids, pixel_spacing_mm=pixel_spacing_mm)
            part = predict_read(network, read_job(job, crop=cast(Crop, network.crop), size=network.size))
            return Prediction((_typed(job, part, ()),), ())
        if slice_position_mm is not None or image_ids is not None or pixel_spacing_mm is not None:
            raise UsageError("positions, ids and spacing are for arrays; files bring their own")
        paths = paths_of(source)
        found = find_jobs(paths, only=only, size=network.size, crop=network.crop, workers=workers or 1)
        done: dict[str, SeriesPrediction] = {}
        jobs, refused = without_doubles(found)
        said: defaultdict[str, list[QcRow]] = defaultdict(list)
        for row in refused:
            said[row.series_id].append(row)
        for job, result in predict_jobs(jobs, network, workers=workers):
            if isinstance(result, Part):
                done[job.series_id] = _typed(job, result, said[job.series_id])
            else:
                refused += result
        if not done:
            raise nothing_used(found.n_seen, refused, "readable head CT series")
        ordered = tuple(done[job.series_id] for job in jobs if job.series_id in done)
        return Prediction(ordered, tuple(refused))


def paths_of(source: str | Path | Iterable[str | Path]) -> list[Path]:
    """Return a source, or several, as paths.

    Raises:
        UsageError: It's neither.
    """
    several = [source] if isinstance(source, str | Path) or not isinstance(source, Iterable) else list(source)
    if not all(isinstance(path, str | Path) for path in several):
        raise UsageError(f"a source must be a path, paths or an array of HU (got {type(source).__name__})")
    return [Path(path) for path in several]


def load_model(run: str | Path, *, device: str = "auto") -> Model:
    """Load a model directory of `train-rnn` or `train-cnn`, once for many predictions.

    Args:
        run: The model directory.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises:
        ModelError: It is damaged, unfinished or foreign.
        UsageError: There is no such device.
    """
    return Model(load_network(Path(run), choose_device(device)))


def _typed(job: Job, part: Part, said: Sequence[QcRow]) -> SeriesPrediction:
    """Put a part into the form for users, with the rows that the headers gave rise to."""
    rows = (*said, *part.qc)
    flags = flags_of(rows)
    return SeriesPrediction(
        series_id=job.series_id,
        study_id=job.study_id,
        image_ids=part.image_ids,
        slice_position_mm=part.slice_position_mm,
        encoder_probability=part.encoder_probability,
        probability=part.probability,
        series_probability=part.series_probability,
        flags=tuple(flags.get(image, "") for image in part.image_ids),
        remarks=rows,
    )
