"""What the notebook keeps is found again."""

import os

import pandas as pd

from ich25d.studies.build import build_studies
from ich25d.studies.qc import read_qc
from ich25d.studies.store_dir.store import StudyStore
from ich25d.view.eda.header_table import kept_headers, read_headers


def test_a_name_that_is_no_text_is_spelt_in_one_way(tmp_path, write_scan):
    """In the tables, in qc.csv and where `eda` joins headers to slices: from the notebook, and from the files."""
    write_scan(tmp_path / "in", n=3)
    for number, path in enumerate(sorted((tmp_path / "in").iterdir())):
        path.rename(path.with_name(os.fsdecode(b"odd\xff%d" % number)))
    (tmp_path / "in" / os.fsdecode(b"empty\xff")).touch()
    build_studies([tmp_path / "in"], tmp_path / "studies", size=32, crop="none", workers=1)
    slices = StudyStore.open(tmp_path / "studies").slices
    assert sorted(slices["source"]) == [f"odd\\xff{number}" for number in range(3)]
    assert "empty\\xff" in {row.source for row in read_qc(tmp_path / "studies/qc.csv")}
    kept = kept_headers(tmp_path / "studies", slices)
    assert kept is not None
    assert len(kept) == 1
    pd.testing.assert_frame_equal(kept, read_headers([tmp_path / "in"], slices))
