"""An evaluation says what brute force says, at both levels, with intervals and with thresholds that peek at nothing."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from ich25d.errors import SubmissionError, UsageError
from ich25d.evaluate.inputs import join, read_predictions
from ich25d.evaluate.run import evaluate
from ich25d.labels import LABELS, row_ids
from ich25d.summary import as_json

N_SERIES, N_SLICES = 12, 8


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Twelve series of eight slices, two a patient: truth, and probabilities that know something of it."""
    rng = np.random.default_rng(0)
    n = N_SERIES * N_SLICES
    cases = pd.DataFrame({"image_id": [f"ID_{k:03d}" for k in range(n)]})
    cases["series_id"] = [f"S{k // N_SLICES}" for k in range(n)]
    cases["patient_id"] = [f"P{k // (2 * N_SLICES)}" for k in range(n)]
    truth = rng.random((n, 6)) < 0.25
    truth[:, 0] = False  # no epidural bleed at all
    truth[:, 5] = truth[:, :5].any(axis=1)
    for number, label in enumerate(LABELS):
        cases[label] = np.clip(0.4 * truth[:, number] + 0.6 * rng.random(n), 0.001, 0.999)
        cases[f"{label}_truth"] = truth[:, number].astype(int)
    return cases


def _write_long(path: Path, rows: list[str], values: list[float]) -> None:
    path.write_text("ID,Label\n" + "".join(f"{row},{value}\n" for row, value in zip(rows, values, strict=True)))


@pytest.fixture
def files(table: pd.DataFrame, tmp_path: Path) -> tuple[Path, Path, Path]:
    """Write a submission, a predictions.parquet in another folder, and labels."""
    values = table[list(LABELS)].to_numpy().ravel()
    rows = row_ids(table["image_id"].tolist())
    csv, parquet, labels = tmp_path / "submission.csv", tmp_path / "p" / "predictions.parquet", tmp_path / "labels.csv"
    csv.write_text(
        "ID,Label\n" + "".join(f"{row},{value!r}\n" for row, value in zip(rows, values.tolist(), strict=True))
    )
    parquet.parent.mkdir()
    table.drop(columns=[f"{label}_truth" for label in LABELS]).to_parquet(parquet)
    truth = table[[f"{label}_truth" for label in LABELS]].to_numpy().ravel()
    labels.write_text(
        "ID,Label\n" + "".join(f"{row},{value}\n" for row, value in zip(rows, truth.tolist(), strict=True))
    )
    return csv, parquet, labels


def test_slices_are_scored_as_by_hand(table: pd.DataFrame, files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """The score's formula, and each label against scikit-learn; a label without positives has no AUC."""
    csv, _, labels = files
    found = evaluate(csv, labels, tmp_path / "eval", replicates=50, figures=False).slices
    loss = [reference.log_loss(table[f"{label}_truth"], table[label], labels=[0, 1]) for label in LABELS]

    assert found.overall["score"].value == pytest.approx((sum(loss[:5]) + 2 * loss[5]) / 7)
    for number, label in enumerate(LABELS):
        truth, probability = table[f"{label}_truth"], table[label]
        measured = found.label[label]
        assert measured["log_loss"].value == pytest.approx(loss[number])
        assert measured["brier"].value == pytest.approx(np.mean((truth - probability) ** 2))
        if label == "epidural":
            assert np.isnan(measured["auc"].value)
            continue
        assert measured["auc"].value == pytest.approx(reference.roc_auc_score(truth, probability))
        assert measured["average_precision"].value == pytest.approx(
            reference.average_precision_score(truth, probability)
        )
        assert measured["auc"].low <= measured["auc"].value <= measured["auc"].high
        at = found.at["f2"][label]
        called = probability >= 0.2
        assert at["f2"].value == pytest.approx(reference.fbeta_score(truth, called, beta=2))
        assert at["sensitivity"].value == pytest.approx(reference.recall_score(truth, called))
        assert found.at["f1"][label]["accuracy"].value == pytest.approx(np.mean((probability >= 0.5) == truth))
    mean_auc = np.mean([found.label[label]["auc"].value for label in LABELS[1:]])
    assert found.overall["mean_auc"].value == pytest.approx(mean_auc)


def test_a_submission_and_its_table_score_alike(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """The same slices either way; only the table knows series and patients."""
    csv, parquet, labels = files
    of_csv = evaluate(csv, labels, tmp_path / "a", replicates=20, figures=False)
    of_table = evaluate(parquet, labels, tmp_path / "b", replicates=20, figures=False)

    assert of_csv.slices.overall["score"].value == pytest.approx(of_table.slices.overall["score"].value)
    assert (of_csv.series, of_csv.joined.resampled) == (None, "image")
    assert of_table.series is not None
    assert (of_table.series.n, of_table.slices.n_patients, of_table.joined.resampled) == (N_SERIES, 6, "patient")
    assert any("too narrowly" in text for text in of_csv.results.remarks)


def test_a_table_of_slices_brings_series_and_patients(
    table: pd.DataFrame, files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """`studies` makes up for what a CSV of ids can't say; scan maximum where no table of series is given."""
    csv, _, labels = files
    groups = tmp_path / "slices.csv"
    table[["image_id", "series_id", "patient_id"]].to_csv(groups, index=False)
    found = evaluate(csv, labels, tmp_path / "eval", studies=groups, replicates=20, figures=False)
    by_series = table.groupby("series_id")[["subdural", "subdural_truth"]].max()

    assert found.series is not None
    assert found.joined.resampled == "patient"
    assert found.series.n_positive["subdural"] == by_series["subdural_truth"].sum()
    assert found.series.label["subdural"]["log_loss"].value == pytest.approx(
        reference.log_loss(by_series["subdural_truth"], by_series["subdural"], labels=[0, 1])
    )


def test_series_probabilities_are_those_of_studies_csv(
    table: pd.DataFrame, files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """The table that `predict` writes is taken before the maximum."""
    _, parquet, labels = files
    series = pd.DataFrame({"series_id": sorted(set(table["series_id"])), **dict.fromkeys(LABELS, 0.25)})
    series.to_csv(parquet.with_name("studies.csv"), index=False)
    found = evaluate(parquet, labels, tmp_path / "eval", replicates=20, figures=False)

    assert found.series is not None
    positive = found.series.n_positive["subdural"] / N_SERIES
    assert found.series.label["subdural"]["brier"].value == pytest.approx(positive * 0.75**2 + (1 - positive) * 0.25**2)
    # Both levels lack operating points, for the same reason, whatever else is remarked on them.
    page = (tmp_path / "eval" / "index.html").read_text()
    assert page.count("No operating points: their thresholds must have been chosen on validation") == 2


def test_thresholds_are_those_chosen_on_validation(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """A model's file is used where it has a threshold; otherwise 1 / (1 + beta^2), and the report says so."""
    _, parquet, labels = files
    model = tmp_path / "model.json"
    model.write_text(json.dumps({"thresholds": {"slice": {"f1": {"any": 0.31}}, "series": {"f2": {"any": 0.7}}}}))
    given = evaluate(parquet, labels, tmp_path / "a", model=model, replicates=20, figures=False)
    fixed = evaluate(parquet, labels, tmp_path / "b", replicates=20, figures=False)

    assert given.slices.threshold["f1"] == {**dict.fromkeys(LABELS, 0.5), "any": 0.31}
    assert given.series is not None
    assert given.series.threshold["f2"]["any"] == 0.7
    assert "validation" in given.thresholds
    assert fixed.slices.threshold["f2"] == dict.fromkeys(LABELS, 0.2)
    assert "no thresholds" in fixed.thresholds


def test_what_is_written_can_be_read(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """JSON without NaN, and a table in which every label and measure stands."""
    _, parquet, labels = files
    found = evaluate(parquet, labels, tmp_path / "eval", replicates=20, figures=False)
    content = json.loads((tmp_path / "eval" / "evaluation.json").read_text())
    text = (tmp_path / "eval" / "evaluation.txt").read_text()

    assert content == json.loads(json.dumps(as_json(found), allow_nan=False))
    assert content["slice"]["labels"]["epidural"]["auc"]["value"] is None
    assert content["series"]["labels"]["any"]["at_f2_threshold"]["threshold"] == 0.2
    assert all(label in text for label in LABELS)
    assert "calibration error" in text
    assert found.exit_code == 0


def test_labels_without_a_prediction_are_counted(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """The rest is scored, and the exit code says that something is missing."""
    csv, _, labels = files
    lines = csv.read_text().splitlines()
    csv.write_text("\n".join(lines[: 1 + 6 * 90]) + "\n")
    found = evaluate(csv, labels, tmp_path / "eval", replicates=20, figures=False)

    assert (found.exit_code, found.joined.n_not_predicted, found.slices.n) == (1, 6, 90)
    assert any("6 labelled images" in text for text in found.lines())


def test_what_cannot_be_compared_is_refused(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """Each with what was found and where."""
    csv, parquet, labels = files
    other = tmp_path / "other.csv"
    other.write_text("ID,Label\n" + "".join(f"{row},0.5\n" for row in row_ids(["ID_else"])))
    with pytest.raises(UsageError, match=r"of the same images \(got 0 in both"):
        join(other, labels)
    with pytest.raises(SubmissionError, match="readable file"):
        read_predictions(tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_text("ID,Label\nID_a_blood,0.5\n")
    with pytest.raises(SubmissionError, match=r"one of the six labels \(got 'ID_a_blood'\)"):
        read_predictions(tmp_path / "bad.csv")
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(SubmissionError, match="parquet"):
        read_predictions(tmp_path / "bad.parquet")
    incomplete = csv.read_text().splitlines()[:-1]
    (tmp_path / "short.csv").write_text("\n".join(incomplete) + "\n")
    with pytest.raises(SubmissionError, match=r"0 to 1, six an image \(got nan for 'ID_095', any\)"):
        read_predictions(tmp_path / "short.csv")
    twice = pd.read_parquet(parquet)
    pd.concat([twice, twice.iloc[:1]]).to_parquet(tmp_path / "twice.parquet")
    with pytest.raises(SubmissionError, match="predicted once"):
        read_predictions(tmp_path / "twice.parquet")
    with pytest.raises(UsageError, match="table of slices"):
        join(csv, labels, labels)


def test_a_table_brings_its_own_patients_whatever_it_is_called(
    table: pd.DataFrame, files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """Beside another prediction's tables too: series and patients are its own, and that one's studies.csv isn't."""
    _, parquet, labels = files
    renamed = parquet.rename(parquet.with_name("first.parquet"))
    alone = evaluate(renamed, labels, tmp_path / "a", replicates=20, figures=False)
    other = table.assign(image_id=table["image_id"] + "x", patient_id="Q", **dict.fromkeys(LABELS, 0.5))
    other.to_parquet(parquet)
    series = pd.DataFrame({"series_id": sorted(set(table["series_id"])), **dict.fromkeys(LABELS, 0.25)})
    series.to_csv(parquet.with_name("studies.csv"), index=False)
    beside = evaluate(renamed, labels, tmp_path / "b", replicates=20, figures=False)

    for found in (alone, beside):
        assert (found.joined.resampled, found.slices.n_patients) == ("patient", 6)
        assert found.series is not None
    assert alone.series.overall["score"].value == beside.series.overall["score"].value
    assert any("no predictions.parquet with these numbers" in text for text in beside.results.remarks)


def test_tables_beside_a_csv_are_taken_for_its_own_only_if_their_numbers_are(
    table: pd.DataFrame, files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """Whose an image is holds for any prediction; probabilities of series, and refusals, for their own alone."""
    csv, parquet, labels = files
    own = csv.rename(parquet.with_name("submission.csv"))
    series = pd.DataFrame({"series_id": sorted(set(table["series_id"]))[1:], **dict.fromkeys(LABELS, 0.25)})
    series.to_csv(parquet.with_name("studies.csv"), index=False)
    parquet.with_name("qc.csv").write_text("source,image_id,series_id,level,code,detail\na.dcm,,,file,TRUNCATED,cut\n")
    before = evaluate(own, labels, tmp_path / "a", replicates=20, figures=False)
    parquet_table = pd.read_parquet(parquet)
    parquet_table.assign(subdural=parquet_table["subdural"] / 2).to_parquet(parquet)
    after = evaluate(own, labels, tmp_path / "b", replicates=20, figures=False)

    assert any("probabilities of studies.csv; for 1 that it doesn't hold" in text for text in before.results.remarks)
    assert any("largest probability" in text for text in after.results.remarks)
    assert before.joined.resampled == after.joined.resampled == "patient"
    pages = [(tmp_path / name / "index.html").read_text() for name in ("a", "b")]
    assert ["TRUNCATED" in page for page in pages] == [True, False]


def test_what_names_no_patient_is_drawn_by_what_stands_in(
    table: pd.DataFrame, files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """An image without a file, as an id of the sample that was answered by the prior, costs the others nothing."""
    _, parquet, labels = files
    slices = pd.read_parquet(parquet).assign(study_id=table["series_id"])
    slices.loc[:0, ["series_id", "patient_id", "study_id"]] = ""
    slices.loc[slices["patient_id"] == "P1", "patient_id"] = ""
    slices.to_parquet(parquet)
    found = join(parquet, labels)
    slices.assign(patient_id="", study_id="").to_parquet(parquet)
    by_series = join(parquet, labels)

    assert found.resampled == "patient"
    assert len(set(found.slices.patient)) == 5 + 2 + 1  # patients, the sixth's two studies, the lonely image
    assert len(found.series.case_id) == N_SERIES
    assert any(text.startswith("16 images without a patient: the study") for text in found.remarks)
    assert any(text.startswith("1 image with neither") for text in found.remarks)
    assert (by_series.resampled, len(set(by_series.slices.patient))) == ("series", N_SERIES + 1)


def test_a_refused_label_is_written_down(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """As in every other command: exit code 1, and a table that says what."""
    csv, _, labels = files
    labels.write_text(labels.read_text().replace("ID_003_any,0", "ID_003_any,").replace("ID_003_any,1", "ID_003_any,"))
    found = evaluate(csv, labels, tmp_path / "eval", replicates=20, figures=False)

    assert found.exit_code == 1
    assert sum(found.refusals.values()) == 1
    assert "ID_003" in (tmp_path / "eval" / "qc.csv").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "got an empty file"),
        ("ID,Label\n", "must hold rows"),
        ("image,any\na,1\n", r"the columns image, any, without ID, Label"),
        ("ID,Label\nID_a_any,0.5\nID_a_any,0.6\n", r"once \(got 'ID_a_any' again\)"),
        ("ID,Label\nID_a_any,x\n", "could not convert string to float: 'x'"),
        ("series_id,subdural\nS0,1.5\n", "ID, Label"),
    ],
)
def test_predictions_of_another_form_are_refused(tmp_path: Path, content: str, message: str) -> None:
    """What stands there is named, not what a library called it."""
    (tmp_path / "p.csv").write_text(content)
    with pytest.raises(SubmissionError, match=message):
        read_predictions(tmp_path / "p.csv")


def test_a_store_that_knows_fewer_images_does_not_take_patients_away(
    table: pd.DataFrame, files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """What the predictions say themselves holds, where it says more."""
    _, parquet, labels = files
    some = table[["image_id", "series_id", "patient_id"]].iloc[: 3 * N_SLICES].assign(patient_id="other")
    some.to_csv(tmp_path / "some.csv", index=False)
    found = join(parquet, labels, tmp_path / "some.csv")

    assert (found.resampled, len(set(found.slices.patient)), len(found.series.case_id)) == ("patient", 6, N_SERIES)


def test_ids_that_hardly_meet_are_refused(table: pd.DataFrame, files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """Spelled otherwise but for a few: a score of three images would pass for one of all."""
    csv, _, labels = files
    text = labels.read_text().splitlines()
    (tmp_path / "other.csv").write_text("\n".join([*text[:19], *(line.replace("ID_", "id-") for line in text[19:])]))
    with pytest.raises(UsageError, match=r"of the same images \(got 3 in both, of 96 images"):
        join(csv, tmp_path / "other.csv")


def test_probabilities_of_series_go_by_their_images_not_by_their_names(
    table: pd.DataFrame, files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """A store that holds more may call a series what these predictions call another."""
    _, parquet, labels = files
    names = sorted(set(table["series_id"]))
    turned = dict(zip(names, [*names[1:], names[0]], strict=True))
    series = pd.DataFrame({"series_id": names, **{label: np.linspace(0.1, 0.9, len(names)) for label in LABELS}})
    series.to_csv(parquet.with_name("studies.csv"), index=False)
    table.assign(series_id=table["series_id"].map(turned)).to_csv(tmp_path / "other.csv", index=False)
    plain, other = join(parquet, labels).series, join(parquet, labels, tmp_path / "other.csv").series

    of_plain = dict(zip(plain.case_id, plain.probability[:, 0], strict=True))
    of_other = dict(zip(other.case_id, other.probability[:, 0], strict=True))
    assert of_other == {turned[name]: value for name, value in of_plain.items()}


def test_a_table_beside_that_nobody_named_stops_nothing(files: tuple[Path, Path, Path]) -> None:
    """It may be another tool's, and say nothing of series and patients."""
    csv, _, labels = files
    pd.DataFrame({"image_id": ["a"], "score": [1.0]}).to_parquet(csv.with_name("predictions.parquet"))
    found = join(csv, labels)

    assert found.resampled == "image"
    assert any(text.startswith("not used: a table of slices must hold image_id") for text in found.remarks)
