"""What is never split over folds, and what the bootstrap draws as one: the patient, or what stands in for it."""

import pandas as pd

PLACEHOLDER_SHARE = 0.5
"""A patient id of more than this share of `PLACEHOLDER_STUDIES` or more studies is a placeholder. Not less: a patient
with many follow-ups who counted as none would be in several folds, while a placeholder that counts as a patient only
makes one fold large."""

PLACEHOLDER_STUDIES = 10


def split_units(table: pd.DataFrame) -> "pd.Series[str]":
    """Return the unit that is never split, for each row: the patient, else the study, else the series.

    What stands in is marked by its kind ("study 1.2.3"), since a series may be called as another's patient is.

    Args:
        table: A row a slice or a series; `patient_id`, `study_id` and `series_id` where known. Empty text and missing
            values are unknown.

    Returns:
        With the index of `table`; "" where nothing is known.
    """
    unknown = pd.Series("", index=table.index, dtype=object)
    known = {
        name: table[name].fillna("").astype(str).astype(object) if name in table else unknown
        for name in ("patient_id", "study_id", "series_id")
    }
    unit = known["patient_id"]
    unit = unit.where(~unit.isin(_placeholders(unit, known["study_id"])), "")
    for kind in ("study", "series"):
        stand_in = known[f"{kind}_id"]
        unit = unit.where((unit != "") | (stand_in == ""), f"{kind} " + stand_in)
    return unit.rename("split_unit")


def _placeholders(patient_id: "pd.Series[str]", study_id: "pd.Series[str]") -> set[str]:
    """Return patient ids that too many studies share to be one person's; there is one at most."""
    studies = pd.DataFrame({"patient_id": patient_id, "study_id": study_id}).drop_duplicates("study_id")
    studies = studies[studies["study_id"] != ""]
    owned = studies[studies["patient_id"] != ""].groupby("patient_id").size()
    if len(studies) < PLACEHOLDER_STUDIES:
        return set()
    return set(owned.index[owned > PLACEHOLDER_SHARE * len(studies)])
