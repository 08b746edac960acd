"""CQ500's tables: the labels of three readers for each study, and a model's probabilities."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ich25d.errors import Ich25dError, LabelError, SubmissionError, cause_of
from ich25d.labels import LABELS, SHORT

READERS = ("R1", "R2", "R3")

COLUMNS: dict[str, str] = {**SHORT, "any": "ICH"}
"""CQ500's names of our labels."""

_NAME = re.compile(r"CQ500[-_ ]?CT[-_ ]?(\d{1,4})(?!\d)", re.IGNORECASE)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Reads:
    """The reads of N studies."""

    name: tuple[str, ...]
    """As `CQ500-CT-12`."""
    votes: Floats
    """Shape (N, 3, 6), 0 or 1, in the order of `READERS` and `LABELS`."""

    @property
    def target(self) -> Floats:
        """The label is the majority's, shape (N, 6)."""
        return np.where(self.votes.sum(axis=1) >= 2, 1.0, 0.0)

    def kappa(self) -> Floats:
        """Return Fleiss' kappa of the readers by label, shape (6,); NaN where all readers always agree.

        References:
            Fleiss, Measuring nominal scale agreement among many raters, 1971.
        """
        n_readers = self.votes.shape[1]
        positive = self.votes.sum(axis=1)
        agreed = (positive**2 + (n_readers - positive) ** 2 - n_readers) / (n_readers * (n_readers - 1))
        share = positive.mean(axis=0) / n_readers
        chance = share**2 + (1 - share) ** 2
        kappa: Floats = np.divide(
            agreed.mean(axis=0) - chance, 1 - chance, out=np.full(len(LABELS), np.nan), where=chance < 1
        )
        return kappa


def read_reads(path: Path) -> Reads:
    """Read `reads.csv`: a row a study, a column a reader and finding, as `R1:ICH`.

    Raises:
        LabelError: It isn't such a table, or a vote is neither 0 nor 1, or a study comes twice.
    """
    table = _read_csv(path, "reads", LabelError)
    columns = [f"{reader}:{COLUMNS[label]}" for reader in READERS for label in LABELS]
    if absent := [name for name in ("name", *columns) if name not in table]:
        raise LabelError(f"reads must have the columns name and R1:ICH to R3:SAH (got none of {absent[:3]}) in {path}")
    votes = table[columns].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(~np.isin(votes, (0.0, 1.0)).all(axis=1))
    if len(wrong):
        raise LabelError(f"votes must be 0 or 1 (got others for {str(table['name'].iloc[wrong[0]])!r}) in {path}")
    names = [name_in(str(name)) or str(name) for name in table["name"]]
    if len(set(names)) != len(names):
        raise LabelError(f"a study must be read in one row (got {len(names) - len(set(names))} twice) in {path}")
    return Reads(tuple(names), votes.reshape(len(table), len(READERS), len(LABELS)))


def read_study_probabilities(path: Path) -> pd.DataFrame:
    """Read a model's probabilities of studies: CQ500's form (`name`, `ICH` to `SAH`) or ours (`name`, six labels).

    Returns:
        Index name, the six labels.

    Raises:
        SubmissionError: It isn't such a table, or a number lies outside 0 to 1.
    """
    table = _read_csv(path, "predictions", SubmissionError)
    table = table.rename(columns={short: label for label, short in COLUMNS.items()})
    if absent := [name for name in ("name", *LABELS) if name not in table]:
        raise SubmissionError(
            f"predictions of studies must have the columns name and ICH to SAH, or the six labels (got no {absent[0]}) "
            f"in {path}"
        )
    names = pd.Index([name_in(str(name)) or str(name) for name in table["name"]], name="name")
    probability: pd.DataFrame = table[list(LABELS)].apply(pd.to_numeric, errors="coerce").set_axis(names)
    values = probability.to_numpy(dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise SubmissionError(f"probabilities must lie in 0 to 1 (got others) in {path}")
    if names.has_duplicates:
        raise SubmissionError(f"a study must be predicted once (got {names[names.duplicated()][0]!r} twice) in {path}")
    return probability


def _read_csv(path: Path, what: str, refusal: type[Ich25dError]) -> pd.DataFrame:
    try:
        return pd.read_csv(path, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise refusal(f"{what} must be a readable CSV (got {cause_of(error)}) in {path}") from error


def name_in(path: str) -> str | None:
    """Return the study's name that a path or text holds, the innermost one, as `CQ500-CT-12`; None without one."""
    numbers = _NAME.findall(path)
    return f"CQ500-CT-{int(numbers[-1])}" if numbers else None
