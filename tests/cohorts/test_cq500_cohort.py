"""A small cohort laid out as CQ500 is, from files to the page: what is chosen and left out, and that it says so."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from test_reads import ALL, NONE, write_reads
from toy_cohort import BONE, PLAIN, POST, SCOUT, THIN, UNTOLD, Head, Series, write_study
from toy_model import GAP_MM, PIXEL_MM, head_hu, write_model
from typer.testing import CliRunner

from ich25d.cli.app import app
from ich25d.cohorts.cq500 import Cq500Summary, evaluate_cq500
from ich25d.errors import UsageError
from ich25d.predict.network import Network

STUDIES: dict[int, Sequence[Series]] = {
    0: (SCOUT, PLAIN, THIN, BONE, POST),
    1: (SCOUT, replace(PLAIN, cut=(2,), spoilt=(9,)), THIN),  # two of its slices can't be read
    3: (PLAIN,),  # nobody read it
    4: (SCOUT, POST),
    5: (UNTOLD,),
    6: (replace(PLAIN, cut=tuple(range(12))), BONE),  # nothing is left of its plain series
    8: (replace(PLAIN, spoilt=tuple(range(12))),),
    9: (PLAIN, UNTOLD),
}
READ = (0, 1, 2, 4, 5, 6, 8, 9)


def _cohort(root: Path) -> tuple[Path, Path]:
    """Write the studies and their reads; odd ones bleed, study 2 has no images."""
    for number, series in STUDIES.items():
        head = Head(head_hu(clot=bool(number % 2)), GAP_MM, PIXEL_MM)
        write_study(root / "CQ500", number, head, series)
    write_study(root / "CQ500", 70, head, (PLAIN,), folder="others")
    votes = {f"CQ500-CT-{number}": [ALL if number % 2 else NONE] * 3 for number in READ}
    return root / "CQ500", write_reads(root / "reads.csv", votes)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that knows nothing."""
    return write_model(tmp_path_factory.mktemp("toy") / "model", folds=1)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Studies and reads."""
    return _cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def whole(cohort: tuple[Path, Path], model: Path, tmp_path_factory: pytest.TempPathFactory) -> Cq500Summary:
    """The cohort, judged once."""
    source, reads = cohort
    out = tmp_path_factory.mktemp("judged")
    return evaluate_cq500(reads, out, sources=(source,), model=model, figures=False, device="cpu", replicates=20)


def test_every_study_is_accounted_for(whole: Cq500Summary) -> None:
    """N is stated, and what isn't judged is named with its reason."""
    cases = pd.read_csv(whole.out / "tables" / "studies.csv", keep_default_na=False).set_index("name")
    outcome, detail = cases["outcome"], cases["detail"]

    assert (whole.n_read, whole.n_judged, whole.exit_code) == (8, 5, 1)
    assert outcome.to_dict() == {
        "CQ500-CT-0": "judged", "CQ500-CT-1": "judged", "CQ500-CT-2": "not in the sources",
        "CQ500-CT-4": "all refused", "CQ500-CT-5": "judged", "CQ500-CT-6": "judged",
        "CQ500-CT-8": "main series unreadable", "CQ500-CT-9": "judged", "CQ500-CT-3": "not read",
    }  # fmt: skip
    assert detail["CQ500-CT-0"] == detail["CQ500-CT-9"] == ""
    assert "refused of it: TRUNCATED 1, BLANK 1" in detail["CQ500-CT-1"]
    assert detail["CQ500-CT-4"] == "CONTRAST 12, LOCALIZER 1"
    assert detail["CQ500-CT-5"] == "contrast, angiography or perfusion"
    assert detail["CQ500-CT-6"] == "a sharp kernel, for bone; refused beside it: TRUNCATED 12"
    assert "BLANK 12" in detail["CQ500-CT-8"]
    steps = dict(whole.results.flow.steps)
    assert steps["studies judged (N)"] == 5
    assert steps["studies read and not predicted"] == 3
    assert [steps[f"of these {name}"] for name in ("all refused", "main series unreadable", "not in the sources")] == [
        1, 1, 1,
    ]  # fmt: skip
    assert steps["of these without a study's name in their path"] == 1
    text = (whole.out / "evaluation.txt").read_text()
    assert "N = 5 of 8 studies read" in text
    assert "  CQ500-CT-4: all refused (CONTRAST 12, LOCALIZER 1)\n" in text
    assert whole.refusals == {"BLANK": 13, "CONTRAST": 24, "LOCALIZER": 3, "TRUNCATED": 13}


def test_the_rule_chooses(whole: Cq500Summary) -> None:
    """Thick, plain and soft; of the others each row says why not; series that were refused whole are there too."""
    table = pd.read_csv(whole.out / "series.csv", keep_default_na=False)
    assert table.loc[table["name"] == "CQ500-CT-0", "choice"].tolist() == [
        "chosen", "not 2.5 to 5.5 mm thick", "a sharp kernel, for bone", "refused: LOCALIZER 1", "refused: CONTRAST 12",
    ]  # fmt: skip
    chosen = table[table["choice"] == "chosen"].set_index("name")["series_id"]
    assert chosen["CQ500-CT-9"].endswith(".2")
    assert chosen["CQ500-CT-6"].endswith(".4")
    predictions = pd.read_csv(whole.out / "predictions.csv").set_index("name")
    assert list(predictions.index) == [f"CQ500-CT-{number}" for number in (0, 1, 5, 6, 9)]
    assert predictions.to_numpy().min() > 0


def test_what_it_wrote_is_judged_the_same(whole: Cq500Summary, cohort: tuple[Path, Path], tmp_path: Path) -> None:
    """predictions.csv serves as --predictions; the page names who is missing."""
    again = evaluate_cq500(cohort[1], tmp_path, predictions=whole.out / "predictions.csv", figures=False, replicates=20)
    page = (whole.out / "index.html").read_text()

    assert [row["auc"] for row in again.rows()] == pytest.approx([row["auc"] for row in whole.rows()], nan_ok=True)
    assert {case.outcome for case in again.cases} == {"judged", "not predicted"}
    assert "Studies left out or odd" in page
    assert "refused beside it: TRUNCATED 12" in page


def test_a_killed_run_goes_on(
    cohort: tuple[Path, Path], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Studies that were predicted aren't again; one study's folder and the whole cohort may be named together."""
    predict, made = Network.predict, [0]

    def breaks(*arguments: object) -> object:
        made[0] += 1
        if made[0] == 3:
            raise KeyboardInterrupt
        return predict(*arguments)

    monkeypatch.setattr(Network, "predict", breaks)
    source, reads = cohort
    names = (source / "CQ500CT0 CQ500CT0", source)
    options = {"sources": names, "model": model, "figures": False, "device": "cpu", "replicates": 20}
    with pytest.raises(KeyboardInterrupt):
        evaluate_cq500(reads, tmp_path / "out", **options)
    assert not (tmp_path / "out" / "predictions.csv").exists()
    found = evaluate_cq500(reads, tmp_path / "out", **options)

    assert (made[0], found.n_judged) == (3 + 3, 5)  # two were there, the third was lost
    assert found.refusals["DUP_UID_SAME"] == 3  # of the study that was named twice
    assert [path.name for path in (tmp_path / "out").glob(".*")] == [".ich25d"]  # whose folder it is


def test_the_command_line(cohort: tuple[Path, Path], model: Path, tmp_path: Path) -> None:
    """JSON for machines and exit code 1; nothing of use is 2 and writes nothing."""
    source, reads = cohort
    call = ["cq500", str(source), "--reads", str(reads), "--model", str(model), "--out", str(tmp_path / "out"),
            "--no-figures", "--device", "cpu", "--json", "--quiet"]  # fmt: skip
    done = CliRunner().invoke(app, call)

    assert done.exit_code == 1, done.output
    assert json.loads(done.stdout)["n_judged"] == 5
    wrong = {
        source / "others": "named like CQ500CT12",
        source / "CQ500CT4 CQ500CT4": "12 CONTRAST, 1 LOCALIZER",
        source / "CQ500CT8 CQ500CT8": "12 BLANK",
    }
    for folder, message in wrong.items():
        with pytest.raises(UsageError, match=message):
            evaluate_cq500(reads, tmp_path / "none", sources=(folder,), model=model, figures=False, device="cpu")
        assert not list((tmp_path / "none").rglob("*"))
