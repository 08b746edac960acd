"""The page of an evaluation: its cases, scores, charts, operating points, subgroups and worst mistakes."""

from collections.abc import Sequence

from markupsafe import Markup

from ich25d.evaluate.charts import overviews
from ich25d.evaluate.comparison import CLUSTERED
from ich25d.evaluate.decisions import Share
from ich25d.evaluate.mistakes import Mistake, mistake_gallery
from ich25d.evaluate.results import Flow, LevelResults, Results
from ich25d.evaluate.scores import interval, short
from ich25d.labels import ANY_FIRST, LABELS
from ich25d.pages.page import Page, facts, pair, remarks
from ich25d.pages.table import table
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.intervals import LEVEL, Measure
from ich25d.training.operating_point import HOLDING_RULES, RULES

_STYLE = """
.iv { white-space: nowrap; }
.gallery .picture { width: 24rem; max-width: 100%; }
"""


def evaluation_page(results: Results, *, store: StudyStore | None = None) -> Page:
    """Return the page.

    Args:
        results: What was measured.
        store: The study store that the pictures of mistakes are from; None shows none.
    """
    page = Page(results.title, lead=results.intro)
    page.style(_STYLE)
    page.section("Summary", facts(_summary(results)), remarks(results.remarks))
    for extra in results.sections:
        page.section(extra.heading, *extra.parts, note=extra.note)
    page.section("Cases and exclusions", *_flow(results.flow))
    for part in results.levels:
        name = part.level.name
        page.section(f"Ranking and calibration of {name}", *_scores(part), note=_intervals(part))
        if part.curves:
            page.section(f"Curves of {name}, label by label", *_charts(part), note=(
                "Bands are pointwise 95 % intervals. A reliability plot groups the cases into tenths by probability; "
                "slope 1 and intercept 0 are right, a slope below 1 says that probabilities are too extreme."
            ))  # fmt: skip
        page.section(f"Operating points of {name}", *_points(part, results), note=(
            "Thresholds were chosen on validation, before these cases were seen. Wilson's intervals take the cases as "
            f"independent; the second ones resample {_plural(part.level.resampled)}."
        ))  # fmt: skip
    if any(part.subgroups for part in results.levels):
        page.section("Subgroups", *(_subgroups(part) for part in results.levels if part.subgroups), note=(
            "Subgroups of at least 30 cases. They weren't chosen for what they show, and there are many of them: "
            "single ones that stand out may do so by chance."
        ))  # fmt: skip
    if results.comparison:
        page.section("Comparison of two prediction files", *_comparison(results))
    if store is not None:
        page.section("Worst mistakes", *_mistakes(results.mistakes, store), note=(
            "Slices, one a series, brain window (level 40, width 80 HU) left and subdural window (80, 200) right: "
            "negatives with the highest probability and positives with the lowest. Labels of single slices are noisy "
            "at a bleed's upper and lower end."
        ))  # fmt: skip
    return page


def _summary(results: Results) -> dict[str, object]:
    found: dict[str, object] = {}
    for part in results.levels:
        scores = part.level.scores
        found[f"{part.level.name}"] = f"{scores.n:,}"
        found[f"{part.level.name} with a bleed"] = f"{scores.n_positive['any']:,} of {scores.n_known['any']:,}"
    first = results.levels[0].level
    found[f"{_plural(first.resampled)}, resampled for the intervals"] = f"{first.scores.n_patients:,}"
    if first.name == "slices":
        found["competition's score (weighted log loss)"] = short(first.scores.overall["score"], 4)
        found["of the best constant answer's"] = short(first.scores.overall["of_constant"])
    for part in results.levels:
        found[f"AUC any, {part.level.name}"] = short(part.level.scores.label["any"]["auc"])
    found["thresholds"] = results.thresholds
    return found


def _flow(flow: Flow) -> list[Markup | str]:
    parts: list[Markup | str] = [
        table(["step", "number"], [[what, n] for what, n in flow.steps], caption="From all cases to those judged",
              sortable=False)
    ]  # fmt: skip
    if flow.reasons:
        rows = [
            [one.where, "refused" if one.is_refused else "remark", one.level, one.code, one.n, one.meaning]
            for one in flow.reasons
        ]
        columns = ["table", "what", "level", "code", "rows", "meaning"]
        parts.append(table(columns, rows, caption="Reasons, from the tables of refusals and remarks (qc.csv)"))
    else:
        parts.append("No table of refusals and remarks (qc.csv) stands beside the predictions.")
    return parts


def _intervals(part: LevelResults) -> str:
    level = part.level
    return (
        f"{level.scores.n:,} {level.name}. In brackets: {LEVEL:.0%} intervals from {level.replicates:,} resamplings of "
        f"{_plural(level.resampled)}; those of slope and intercept are from the variance between them (sandwich). A "
        "dash is what isn't defined: a slope, for one, where a threshold tells the classes apart without a fault."
    )


def _scores(part: LevelResults) -> list[Markup]:
    """Return tables of ranking and calibration, and the curves of all labels."""
    scores = part.level.scores
    lines = {curves.label: curves.reliability for curves in part.curves}
    ranking: list[list[object]] = []
    calibration: list[list[object]] = []
    for label in (LABELS[number] for number in ANY_FIRST):
        found, line = scores.label[label], lines.get(label)
        ranking.append([
            label, scores.n_positive[label], scores.n_known[label], _iv(found["auc"]), _iv(found["average_precision"]),
            _iv(found["log_loss"], 4),
        ])  # fmt: skip
        shares = (None, None) if line is None else (line.observed, line.expected)
        fit = (None, None) if line is None else (_iv(line.slope, 2), _iv(line.intercept, 2))
        calibration.append([label, *shares, *fit, _iv(found["calibration_error"], 4), _iv(found["brier"], 4)])
    name = part.level.name
    columns = ("label", "positive", "known", "AUC", "average precision", "log loss")
    more = ("label", "observed share", "mean probability", "slope", "intercept", "calibration error", "Brier score")
    tables = [
        table(columns, ranking, caption=f"{name}: ranking"),
        table(more, calibration, caption=f"{name}: calibration"),
    ]
    return [*tables, pair(*(chart.to_svg() for chart in overviews(part.level, part.charts)))] if part.charts else tables


def _iv(measure: Measure, digits: int = 3) -> Markup:
    return Markup('<span class="iv">{}</span>').format(short(measure, digits))


def _ends(ends: tuple[float, float], digits: int = 3) -> Markup:
    return Markup('<span class="iv">{}</span>').format(interval(ends, digits))


def _charts(part: LevelResults) -> list[Markup]:
    found = []
    for label, charts in sorted(part.charts.items(), key=lambda item: item[0] != "any"):
        n, positive = part.level.scores.n_known[label], part.level.scores.n_positive[label]
        grid = pair(*(one.chart.to_svg() for one in charts.values()))
        found.append(_details(label, f"{label}: {positive:,} positive of {n:,}", grid))
    return found


def share_text(share: Share) -> Markup:
    """Write a share as `.951 [.902, .976] 117/123`, with Wilson's interval."""
    counts = Markup('<span class="iv">{:,}/{:,}</span>').format(share.n_hit, share.n)
    return Markup("{} {}").format(_iv(Measure(share.value, *share.wilson)), counts)


def _points(part: LevelResults, results: Results) -> list[Markup | str]:
    if not part.points:
        return [f"{results.why_no_points[0].upper()}{results.why_no_points[1:]}."]
    parts: list[Markup | str] = []
    values: list[Markup | str] = []
    for point in dict.fromkeys(found.point for found in part.points):
        chosen = sorted((one for one in part.points if one.point == point), key=lambda one: one.label != "any")
        caption = f"{part.level.name}: {RULES[point].meaning} on validation"
        decided: list[list[object]] = []
        rows = []
        for one in chosen:
            shares = (one.sensitivity, one.specificity)
            texts = [text for share in shares for text in (share_text(share), _ends(share.resampled))]
            decided.append([one.label, one.threshold, *texts])
            pairs = zip(one.positive_predictive.values(), one.negative_predictive.values(), strict=True)
            rows.append([one.label, *(_iv(value) for pair in pairs for value in pair)])
        kinds = [
            f"{measure} [{kind}]" for measure in ("sensitivity", "specificity") for kind in ("Wilson", "resampled")
        ]
        parts.append(table(["label", "threshold", *kinds], decided, caption=caption))
        columns = ["label", *(f"{name} at {at:g}" for at in results.prevalences for name in ("PPV", "NPV"))]
        values.append(table(columns, rows, caption=f"{caption}: predictive values at stated shares of positives"))
    return parts + values


def _subgroups(part: LevelResults) -> Markup:
    points = [name for name in HOLDING_RULES if any(f"sensitivity_at_{name}" in row for row in part.subgroups)]
    rows = []
    for row in part.subgroups:
        cells: list[object] = [row["attribute"], row["group"], row["n"], row["n_positive"], row["n_patients"]]
        cells.append(_iv(Measure(row["auc"], row["auc_low"], row["auc_high"])))
        for point in points:
            for measure in ("sensitivity", "specificity"):
                key = f"{measure}_at_{point}"
                cells.append(_iv(Measure(row[key], row[f"{key}_low"], row[f"{key}_high"])) if key in row else None)
        rows.append(cells)
    columns = ["attribute", "group", part.level.name, "positive", "patients", "AUC"]
    columns += [f"{measure}, {RULES[point].meaning}" for point in points for measure in ("sensitivity", "specificity")]
    return table(columns, rows, caption=f"{part.level.name}: any bleed, by subgroup")


def _comparison(results: Results) -> list[Markup | str]:
    rows = [
        [
            found.level, found.label, found.n, found.n_positive, found.auc, found.other_auc, _iv(found.delong, 4),
            found.delong.p, _ends((found.resampled.low, found.resampled.high), 4), _iv(found.log_loss, 4),
        ]
        for found in results.comparison
    ]  # fmt: skip
    columns = [
        "level", "label", "cases", "positive", "AUC here", f"AUC of {results.other}", "difference [DeLong]",
        "p (DeLong)", "[resampled]", "log loss, difference [resampled]",
    ]  # fmt: skip
    caption = (
        f"This file against {results.other}; a difference above 0 in AUC, or below 0 in log loss, speaks for this one"
    )
    return [table(columns, rows, caption=caption), f"{CLUSTERED}."]


def _mistakes(mistakes: Sequence[Mistake], store: StudyStore) -> list[Markup | str]:
    parts: list[Markup | str] = []
    for label in (LABELS[number] for number in ANY_FIRST):
        for kind in ("false negative", "false positive"):
            chosen = [one for one in mistakes if (one.label, one.kind) == (label, kind)]
            if chosen:
                summary = f"{label}: {len(chosen)} worst {kind}s"
                parts.append(_details(label, summary, mistake_gallery(chosen, store)))
    return parts or ["No slice was called wrongly."]


def _details(label: str, summary: str, content: Markup) -> Markup:
    """Return what opens on a click; for `any` it is open."""
    is_open = Markup(" open") if label == "any" else ""
    return Markup("<details{}><summary>{}</summary>{}</details>").format(is_open, summary, content)


def _plural(name: str) -> str:
    return {"series": "series", "study": "studies"}.get(name, f"{name}s")
