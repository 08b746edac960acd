"""CQ500's tables: the majority is the label, kappa by hand, and names however they are written."""

from pathlib import Path

import numpy as np
import pytest

from ich25d.cohorts.reads import COLUMNS, READERS, name_in, read_reads, read_study_probabilities
from ich25d.errors import LabelError, SubmissionError
from ich25d.labels import LABELS


def write_reads(path: Path, votes: dict[str, list[list[int]]]) -> Path:
    """Write reads: a list of six labels for each of three readers, in the order of LABELS."""
    header = ["name", "Category", *(f"{reader}:{COLUMNS[label]}" for reader in READERS for label in LABELS)]
    rows = [f"{name},B1,{','.join(str(vote) for reader in of for vote in reader)}" for name, of in votes.items()]
    path.write_text("\n".join([",".join(header), *rows]) + "\n")
    return path


ALL, NONE = [0, 1, 0, 0, 0, 1], [0] * 6


def test_two_of_three_are_the_label(tmp_path: Path) -> None:
    """Three, two, one and no vote for a parenchymal bleed."""
    path = write_reads(tmp_path / "reads.csv", {
        "CQ500-CT-1": [ALL, ALL, ALL], "CQ500-CT-2": [ALL, NONE, ALL], "CQ500-CT-30": [NONE, NONE, ALL],
        "CQ500-CT-4": [NONE, NONE, NONE],
    })  # fmt: skip
    read = read_reads(path)

    assert read.name == ("CQ500-CT-1", "CQ500-CT-2", "CQ500-CT-30", "CQ500-CT-4")
    assert read.target[:, LABELS.index("any")].tolist() == [1, 1, 0, 0]
    assert read.target[:, LABELS.index("epidural")].tolist() == [0, 0, 0, 0]
    # Pairs that agree: 3/3, 1/3, 1/3, 3/3, mean 2/3; by chance at a share of one half: 1/2.
    assert read.kappa()[LABELS.index("any")] == pytest.approx((2 / 3 - 1 / 2) / (1 / 2))
    assert np.isnan(read.kappa()[LABELS.index("epidural")])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("CQ500CT12 CQ500CT12/Unknown Study/CT Plain/CT000001.dcm", "CQ500-CT-12"),
        ("/data/CQ500/cq500-ct-0.zip", "CQ500-CT-0"),
        ("CQ500CT1/CQ500CT407/x.dcm", "CQ500-CT-407"),
        ("CQ500/CT Plain/x.dcm", None),
        ("CQ500CT12345/x.dcm", None),
    ],
)
def test_names_in_paths(text: str, name: str | None) -> None:
    """The innermost one counts; another dataset's folder has none."""
    assert name_in(text) == name


def test_what_is_no_such_table_is_refused(tmp_path: Path) -> None:
    """Each with what was found."""
    path = write_reads(tmp_path / "reads.csv", {"CQ500-CT-1": [ALL, ALL, NONE]})
    text = path.read_text()
    with pytest.raises(LabelError, match="R1:ICH to R3:SAH"):
        read_reads(_write(tmp_path, text.replace("R2:SDH", "R2:XXX")))
    with pytest.raises(LabelError, match=r"0 or 1 .*CQ500-CT-1"):
        read_reads(_write(tmp_path, text.replace("B1,0", "B1,2")))
    with pytest.raises(LabelError, match="in one row"):
        read_reads(_write(tmp_path, text + text.splitlines()[1].replace("CQ500-CT-1", "CQ500CT1") + "\n"))
    with pytest.raises(LabelError, match="readable CSV"):
        read_reads(tmp_path / "none.csv")
    with pytest.raises(SubmissionError, match="ICH to SAH"):
        read_study_probabilities(path)
    with pytest.raises(SubmissionError, match="0 to 1"):
        read_study_probabilities(_write(tmp_path, "name,ICH,IPH,IVH,SDH,EDH,SAH\nCQ500-CT-1,1.2,0,0,0,0,0\n"))
    with pytest.raises(SubmissionError, match="predicted once"):
        read_study_probabilities(_write(tmp_path, "name,ICH,IPH,IVH,SDH,EDH,SAH\n" + "CQ500-CT-1,1,0,0,0,0,0\n" * 2))


def _write(folder: Path, text: str) -> Path:
    (folder / "other.csv").write_text(text)
    return folder / "other.csv"
