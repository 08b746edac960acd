"""The unit that is never split: the patient, else what stands in."""

import pandas as pd

from ich25d.studies.split_unit import split_units


def test_the_patient_else_the_study_else_the_series() -> None:
    """A series that is called as a patient is isn't that patient."""
    table = pd.DataFrame(
        [("P", "s", "x"), ("", "s", "x"), (None, "", "P"), (None, None, None)],
        columns=["patient_id", "study_id", "series_id"],
    )

    assert split_units(table).tolist() == ["P", "study s", "series P", ""]
    assert split_units(table[["series_id"]]).tolist() == ["series x", "series x", "series P", ""]


def test_who_has_most_of_many_studies_is_a_placeholder() -> None:
    """Rows count by their study; without known studies nobody can say."""
    table = pd.DataFrame({"patient_id": ["ANON"] * 12 + ["P"] * 5, "study_id": [f"s{n // 2}" for n in range(17)]})

    assert table["study_id"].nunique() == 9
    assert split_units(table).tolist() == table["patient_id"].tolist()
    more = pd.concat([table, pd.DataFrame({"patient_id": ["Q"], "study_id": ["s9"]})], ignore_index=True)
    assert split_units(more).tolist() == [f"study s{n // 2}" for n in range(12)] + ["P"] * 5 + ["Q"]
    assert split_units(more.assign(study_id="")).tolist() == more["patient_id"].tolist()
