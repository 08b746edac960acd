"""The Python API: a model loaded once, used many times, with typed results.

Example:
    from ich25d import load_model

    model = load_model("runs/rnn")
    for series in model.predict("study/"):
        print(series.series_id, dict(zip(series.labels, series.series_probability)))
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.errors import UsageError
from ich25d.explain.explanation import Explanation, explain_series
from ich25d.labels import LABELS
from ich25d.predict.answer import answer, predict_series
from ich25d.predict.finished_series import FinishedSeries
from ich25d.predict.found import find_series
from ich25d.predict.network import Network, load_network
from ich25d.predict.open_model import model_folder
from ich25d.predict.series import FoundSeries, SeriesPixels, UnreadSeries, plan_array
from ich25d.prediction import Floats, Prediction, prediction_of
from ich25d.progress import remark
from ich25d.studies.pool.local_pool import LocalPool
from ich25d.studies.qc import QcRow, is_refused, settled
from ich25d.training.operating_point import OperatingPoint, choose_point, read_points

Source = str | Path | Sequence[str | Path] | npt.NDArray[np.integer[Any]]


def load_model(run: str | Path | None = None, *, device: str = "auto", engine: str = "auto") -> "Model":
    """Load a model directory of `train-rnn` or `train-cnn`, once for many predictions and explanations.

    Args:
        run: The model directory; None is the model in the box.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        engine: `torch`, `openvino`, `onnx`, or `auto`, the fastest of them that gives torch's numbers on a CPU.

    Raises:
        ModelError: It is damaged, unfinished or foreign.
        UsageError: There is no such device or engine.
    """
    return Model(load_network(model_folder(None if run is None else Path(run)), device, engine))


def _finished(
    _: Network, __: UnreadSeries, ___: SeriesPixels, finished: FinishedSeries, ____: tuple[QcRow, ...]
) -> FinishedSeries:
    return finished


class Model:
    """A loaded model; `load_model` makes it."""

    def __init__(self, network: Network) -> None:
        self._network = network

    @property
    def labels(self) -> tuple[str, ...]:
        """The six labels, in the order of every probability."""
        return LABELS

    @property
    def about(self) -> str:
        """What the model is called, and where it is known to fail."""
        return self._network.about.text

    @property
    def engine(self) -> str:
        """What computes its networks, with its version, as `openvino 2026.4.1`."""
        return self._network.engine.label

    @property
    def prior(self) -> Floats:
        """Share of positive slices a label in the training data, shape (6,)."""
        return self._network.prior.copy()

    def predict(
        self,
        source: Source,
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
            StoreError: A study store is of another size or crop than the model's.
        """
        found = self._find(source, slice_position_mm, image_ids, pixel_spacing_mm, only, workers)
        answered = answer(found, self._network, _finished, pool=LocalPool(workers))
        return prediction_of(self._network, found, answered)

    def explain(
        self,
        source: Source,
        *,
        labels: Sequence[str] | None = None,
        point: str | None = None,
        slice_position_mm: npt.ArrayLike | None = None,
        pixel_spacing_mm: tuple[float, float] | None = None,
        only: Sequence[str] = (),
        workers: int = 0,
    ) -> Iterator[Explanation]:
        """Explain every series of a source, or one series that is an array, one after the other.

        An explanation holds heat maps of about 0.8 MB a slice, so that they are made one by one, as the iterator is
        advanced, and aren't kept. After the last one, a line a refused file, slice or series is printed on stderr.

        Args:
            source: A folder, DICOM file, zip archive or study store, or several of them; or HU of one series, whole
                numbers of shape (n, rows, columns), the full field, in the usual display: the patient's right on the
                left.
            labels: Whose heat and finding is wanted; None is those that reach the operating point.
            point: The operating point by its rule, as `f1`; None is the one that a report uses too. The explanation
                names it.
            slice_position_mm: With an array: where its slices are, shape (n,), mm from caudal to cranial.
            pixel_spacing_mm: With an array: distance of rows and of columns; without it the px is estimated.
            only: With files: globs, any of which they must match.
            workers: Processes that read; 0 chooses.

        Raises:
            UsageError: There is nothing to explain, an array without positions, or unknown labels or point.
            StoreError: A study store is of another size or crop than the model's.
        """
        chosen = choose_point(read_points(self._network.folder), point)
        found = self._find(source, slice_position_mm, None, pixel_spacing_mm, only, workers)
        return self._explanations(found, labels, chosen, workers)

    def _find(
        self,
        source: Source,
        slice_position_mm: npt.ArrayLike | None,
        image_ids: Sequence[str] | None,
        pixel_spacing_mm: tuple[float, float] | None,
        only: Sequence[str],
        workers: int,
    ) -> FoundSeries:
        if isinstance(source, np.ndarray):
            if slice_position_mm is None:
                raise UsageError("an array needs slice_position_mm, shape (n,), mm from caudal to cranial (got None)")
            plan = plan_array(source, slice_position_mm, image_ids=image_ids, pixel_spacing_mm=pixel_spacing_mm)
            return FoundSeries([plan], n_seen=len(plan))
        if slice_position_mm is not None or image_ids is not None or pixel_spacing_mm is not None:
            raise UsageError("positions, ids and spacing are for arrays; files bring their own")
        several = [source] if isinstance(source, str | Path) or not isinstance(source, Iterable) else list(source)
        if not all(isinstance(path, str | Path) for path in several):
            raise UsageError(f"a source must be a path, paths or an array of HU (got {type(source).__name__})")
        return find_series([Path(path) for path in several], self._network, only=only, pool=LocalPool(workers or 1))

    def _explanations(
        self, found: FoundSeries, labels: Sequence[str] | None, point: OperatingPoint, workers: int
    ) -> Iterator[Explanation]:
        qc: list[QcRow] = list(found.qc)
        for series, result in predict_series(found.series, self._network, pool=LocalPool(workers)):
            if isinstance(result, tuple):
                pixels, finished = result
                qc += finished.qc
                explanation = explain_series(self._network, pixels, finished, labels=labels, point=point)
                yield replace(explanation, series_id=series.series_id)
            else:
                qc += result
        for row in filter(is_refused, settled(qc)):
            remark(f"{row.source or row.image_id or row.series_id} isn't explained: {row.code}, {row.detail}")
