"""How sure a prediction is: `sure`, `unsure` (somebody should look) or `not_for_this_model`, and why."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ich25d.predict.finished_series import FinishedSeries
from ich25d.predict.network import Network
from ich25d.studies.qc import QcRow
from ich25d.training.confidence import NOT_JUDGED, Judgement, clearness_of


def judge(network: Network, finished: FinishedSeries, remarks: Iterable[QcRow]) -> Judgement:
    """Judge the prediction of a series.

    Args:
        network: The model; one without a `confidence` gives no state.
        finished: What it predicted.
        remarks: All remarks on the series, those of its headers too.
    """
    if network.confidence is None:
        return NOT_JUDGED
    codes = {row.code for row in remarks}
    clearness = clearness_of(network.point, finished.series_probability, finished.member_logit)
    return network.confidence.judge(finished.measured, codes, clearness)


def spread_of(finished: FinishedSeries) -> float:
    """Return the standard deviation of `any` between networks and views, in logits."""
    return float(np.std(finished.member_logit[:, -1]))


def by_series(qc: Sequence[QcRow]) -> Mapping[str, list[QcRow]]:
    """Return the rows of each series."""
    rows: dict[str, list[QcRow]] = {}
    for row in qc:
        rows.setdefault(row.series_id, []).append(row)
    return rows
