"""The place where a model is used: its share of bleeding scans, stated or estimated, and what that moves."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ich25d.errors import UsageError
from ich25d.labels import ANY_INDEX
from ich25d.predict.answer import Answer
from ich25d.predict.finished_series import FinishedSeries
from ich25d.predict.judgement import by_series, judge
from ich25d.predict.network import Network
from ich25d.training.confidence import NOT_FOR
from ich25d.training.model_file import read_kind
from ich25d.training.prevalence import (
    LEAST_SERIES,
    Shares,
    Site,
    estimate_share,
    read_shares,
    site_of,
    usable_share,
)


def shares_of(network: Network) -> Shares:
    """Return the shares for which a model's probabilities stand.

    Raises:
        UsageError: The model says nothing of it.
        ModelError: It's damaged.
    """
    return read_shares(read_kind(network.folder)[1], network.prior)


def stated_site(network: Network, stated: Mapping[str, float]) -> Site:
    """Return what a stated prevalence does.

    Raises:
        UsageError: The model knows no share of a stated label, or none at all.
        ModelError: It's damaged.
    """
    told = ", ".join(f"{label} {share:g}" for label, share in stated.items())
    return site_of(stated, shares_of(network), f"prevalence stated: {told} of series")


def estimated_site(network: Network, answer: Answer[FinishedSeries]) -> Site | str:
    """Estimate the share of bleeding series among those predicted, but for those that aren't for the model.

    Args:
        network: The model.
        answer: All series, as it predicted them.

    Returns:
        What that does; or why there is no estimate, for people.

    Raises:
        UsageError: The model says nothing of its own shares.
        ModelError: It's damaged.
    """
    shares, rows_of = shares_of(network), by_series(answer.qc)
    base = float(shares.of_series[ANY_INDEX])
    if np.isnan(base):
        raise UsageError("the model's held-out series must hold bleeding ones and others (got one kind alone)")
    usable = [
        finished.series_probability[ANY_INDEX]
        for series, finished in answer.series
        if judge(network, finished, rows_of.get(series.series_id, ())).state != NOT_FOR
    ]
    if len(usable) < LEAST_SERIES:
        return (
            f"prevalence not estimated: that takes {LEAST_SERIES} series that are for this model (got {len(usable)}); "
            "the probabilities are those of the model"
        )
    own = float(shares.own_of_series[ANY_INDEX])
    estimate = estimate_share(shares.any_of_series(np.array(usable)), own)
    told = f"prevalence estimated by EM: any {estimate.text}, if scans look to the model as those of its validation did"
    return site_of({"any": usable_share(estimate)}, shares, told)


def at_site(network: Network, site: Site) -> Network:
    """Return a model as it is used at a place: its operating points move along, and what it makes has another stamp."""
    moved = f"{network.stamp} {site.series_shift.tolist()} {site.slice_shift.tolist()}"
    stamp = hashlib.sha256(moved.encode()).hexdigest()
    points = tuple(site.point(point) for point in network.points)
    return replace(network, model=replace(network.model, points=points, stamp=stamp, site=site))


def finished_at(site: Site, finished: FinishedSeries) -> FinishedSeries:
    """Return a prediction as it is at a place."""
    member = finished.member_logit + site.series_shift
    return replace(
        finished,
        probability=site.slices(finished.probability),
        series_probability=site.series(finished.series_probability),
        member_logit=np.minimum(member, member[:, ANY_INDEX : ANY_INDEX + 1]),
    )


def told(site: Site | str) -> str:
    """Return what is said of a place, for people."""
    return site if isinstance(site, str) else f"{site.told}; thresholds move along: what is flagged stays the same"
