"""What became of every study of a cohort: judged, and from which series, or not, and why not."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import astuple, dataclass, fields

import pandas as pd

from ich25d.evaluate.results import Section
from ich25d.pages.table import table
from ich25d.studies.qc import QcRow, count_refused, safe_cell

JUDGED, ABSENT, ALL_REFUSED, UNREADABLE = "judged", "not in the sources", "all refused", "main series unreadable"
NOT_PREDICTED, NOT_READ = "not predicted", "not read"

_NAMED = 5
"""Studies that are named at a command's end; the table has all."""


@dataclass(frozen=True, slots=True)
class Case:
    """One study."""

    name: str
    """As `CQ500-CT-12`."""
    outcome: str
    """One of the words above."""
    detail: str = ""
    """What was refused of it, by code, and the rules that its main series breaks."""
    series_id: str = ""
    """Its main series."""
    n_series: int = 0
    """Series that could have been it."""


def counted(rows: Iterable[QcRow]) -> str:
    """Return what rows refuse, as `CONTRAST 33, LOCALIZER 1`; empty when they refuse nothing."""
    return ", ".join(f"{code} {n}" for code, n in count_refused(rows).most_common())


def all_cases(read: Sequence[str], predicted: Collection[str], in_sources: dict[str, Case]) -> list[Case]:
    """Return what became of every study.

    Args:
        read: Names of the studies with reads.
        predicted: Those with probabilities.
        in_sources: What became of each study in the sources; empty where the probabilities came as a table.

    Returns:
        Those that were read first, in their order, then those that weren't.
    """
    cases = []
    for name in read:
        if name in predicted:
            cases.append(in_sources.get(name, Case(name, JUDGED)))
        else:
            cases.append(in_sources.get(name, Case(name, ABSENT if in_sources else NOT_PREDICTED)))
    others = sorted({*predicted, *in_sources} - set(read))
    n_series = {name: case.n_series for name, case in in_sources.items()}
    return cases + [Case(name, NOT_READ, n_series=n_series.get(name, 0)) for name in others]


def cases_table(cases: Sequence[Case]) -> pd.DataFrame:
    """Return a row a study."""
    names = [field.name for field in fields(Case)]
    rows = [[safe_cell(value) if isinstance(value, str) else value for value in astuple(case)] for case in cases]
    return pd.DataFrame(rows, columns=names)


def case_lines(cases: Sequence[Case]) -> list[str]:
    """Name, for people, the first studies that aren't judged, and those judged by what isn't a plain scan."""
    lines = []
    for title, chosen in (
        ("not judged", [case for case in cases if case.outcome not in {JUDGED, NOT_READ}]),
        ("without reads", [case for case in cases if case.outcome == NOT_READ]),
        ("judged with a remark", [case for case in cases if case.outcome == JUDGED and case.detail]),
    ):
        if chosen:
            lines.append(f"{title}: {len(chosen)}")
            lines += [f"  {case.name}: {_outcome(case)}" for case in chosen[:_NAMED]]
            if len(chosen) > _NAMED:
                lines.append(f"  and {len(chosen) - _NAMED} more; tables/studies.csv names them")
    return lines


def _outcome(case: Case) -> str:
    if case.outcome == JUDGED:
        return case.detail
    return f"{case.outcome} ({case.detail})" if case.detail else case.outcome


def cases_section(cases: Sequence[Case]) -> Section | None:
    """Return the page's section on the studies that aren't judged, or are with a remark; None where all is plain."""
    odd = [case for case in cases if case.outcome != JUDGED or case.detail]
    if not odd:
        return None
    rows = [[case.name, case.outcome, case.detail or None, case.n_series] for case in odd]
    columns = ["study", "outcome", "refused, or rule broken by its main series", "series to choose from"]
    caption = f"{len(odd)} studies that aren't judged, or with a remark"
    shown = (table(columns, rows, caption=caption, collapsed=len(odd) > 30),)
    return Section("Studies left out or odd", shown, "All studies are in tables/studies.csv, all series in series.csv.")
