"""A series explained: from Python, and as files."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from toy_model import GAP_MM, N_SLICES, PIXEL_MM, SIZE, head_hu, positions, write_model

from ich25d import load_model
from ich25d.api import Model
from ich25d.errors import UsageError
from ich25d.explain.explanation import Explanation, explain_series, heat_thresholds
from ich25d.explain.run import explain
from ich25d.files import claim_folder
from ich25d.labels import LABELS
from ich25d.phantom.dicom import dicom_bytes
from ich25d.predict.answer import predict_pixels
from ich25d.predict.finished_series import finished_folder
from ich25d.predict.network import Network, load_network
from ich25d.predict.series import SeriesPixels, plan_array


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory of two folds."""
    return write_model(tmp_path_factory.mktemp("explain") / "run")


@pytest.fixture(scope="module")
def network(run: Path) -> Network:
    """The same, loaded."""
    return load_network(run, "cpu")


def explained(
    network: Network, *, probability: np.ndarray | None = None, labels: list[str] | None = None, **known: Any
) -> Explanation:
    """Explain the toy head; `known` is what its files say of it."""
    settings = {"slice_position_mm": positions(), "window": np.full((N_SLICES, 2), np.nan, np.float32), **known}
    pixels = SeriesPixels(hu=head_hu(), image_ids=("",) * N_SLICES, qc=(), **settings)
    finished = predict_pixels(network, pixels)
    if probability is not None:
        finished = replace(finished, probability=probability, series_probability=probability.max(axis=0))
    return explain_series(network, pixels, finished, labels=labels)


def test_thresholds_are_the_models(network: Network) -> None:
    """Heat is scaled to F1's of slices, to even odds where it has none; the explanation names what decides."""
    found = explained(network, labels=["any"], pixel_mm=PIXEL_MM)

    assert heat_thresholds(network).tolist() == [0.5] * 5 + [0.25]
    assert (found.point.rule, found.point.of_series, found.heat_rule) == ("f1", {"any": 0.4}, "f1")


def test_heat_is_that_of_the_labels_asked_for(network: Network) -> None:
    """Between 0 and the slice's weight; the others' is 0; a finding a label; the volume holds the numbers together."""
    found = explained(network, pixel_mm=PIXEL_MM, orientation="LP", labels=["any", "subdural"])

    assert found.heat.shape == (N_SLICES, 6, SIZE, SIZE)
    assert found.heat.dtype == np.float16
    assert [label for number, label in enumerate(LABELS) if found.heat[:, number].any()] == ["subdural", "any"]
    assert found.heat.min() >= 0
    assert found.heat.max() <= 1
    assert {finding.label for finding in found.findings} == set(found.masks) == {"subdural", "any"}
    for finding in found.findings:
        assert finding.volume_low_ml <= finding.volume_ml <= finding.volume_high_ml
        assert finding.first_slice <= finding.peak_slice <= finding.last_slice
        assert finding.first_mm == positions()[finding.first_slice]
        assert finding.assumed == ()
        assert finding.is_estimate


def test_known_probabilities_decide(network: Network) -> None:
    """Slices that the sequence step calls clean are cold, others warm; what it calls clean throughout isn't found."""
    probability = np.full((N_SLICES, 6), 0.001)
    probability[4:6, 5] = 0.9
    found = explained(network, pixel_mm=PIXEL_MM, probability=probability)
    warm = np.flatnonzero(found.heat.max(axis=(1, 2, 3)))

    assert warm.tolist() == [4, 5]
    assert [finding.label for finding in found.findings] == ["any"]
    assert found.findings[0].assumed == ("orientation",)
    clean = explained(network, probability=probability * 0)
    assert (clean.findings, clean.heat.any()) == ((), np.False_)


def test_what_the_files_do_not_say_is_named(network: Network) -> None:
    """Without positions and px: 5 mm and the head's width, said so."""
    found = explained(network, labels=["any"], slice_position_mm=np.full(N_SLICES, np.nan))

    assert found.findings[0].assumed == ("pixel size", "slice positions", "orientation")
    assert found.pixel_mm == pytest.approx(PIXEL_MM, rel=0.2)
    assert found.findings[0].last_mm == 5.0 * found.findings[0].last_slice


def test_wrong_calls_are_refused(network: Network, run: Path) -> None:
    """With the rule and what was got."""
    with pytest.raises(UsageError, match=r"labels must be of .*got blood"):
        explained(network, labels=["blood"])
    with pytest.raises(UsageError, match=r"an operating point .*: f1 \(got 'f2'\)"):
        next(iter(Model(network).explain(head_hu(), point="f2")))
    with pytest.raises(UsageError, match="slice_position_mm"):
        next(iter(Model(network).explain(head_hu())))
    with pytest.raises(UsageError, match="--label must be one of"):
        explain((run,), run, run / "out", labels=("blood",), device="cpu")


def write_dicom(folder: Path, *, row_x: float = 1.0) -> Path:
    """Write the toy head as a series."""
    folder.mkdir()
    for index, hu in enumerate(head_hu()):
        content = dicom_bytes(
            hu, image_id=f"ID_{index:09d}", series_id="ID_series", study_id="-2", patient_id="ID_0a0b0c0d",
            origin_mm=(-96.0, -96.0, 100.0 + GAP_MM * index), pixel_spacing_mm=(PIXEL_MM, PIXEL_MM),
        )  # fmt: skip
        (folder / f"{index}.dcm").write_bytes(content)
    return folder


def test_the_command_writes_and_goes_on(run: Path, tmp_path: Path) -> None:
    """Heat maps, table, page; the second call explains nothing again; no cell is a formula."""
    source, out = write_dicom(tmp_path / "study"), tmp_path / "out"
    first = explain((source,), run, out, labels=("any",), device="cpu", workers=1)
    again = explain((source,), run, out, labels=("any",), device="cpu", workers=1)
    rows = list(csv.DictReader((out / "findings.csv").read_text().splitlines()))
    with np.load(out / "heat" / "ID_series.npz", allow_pickle=False) as arrays:
        heat, mask, text = arrays["heat"], arrays["mask"], json.loads(arrays["text"].tobytes())

    assert (first.n_findings, first.n_resumed, again.n_findings, again.n_resumed) == (1, 0, 1, 1)
    assert first.exit_code == 0, first.lines()
    assert [(row["label"], row["is_estimate"], row["assumed"]) for row in rows] == [("any", "1", "")]
    assert not any(cell.startswith(("=", "+", "@", "-")) for row in rows for cell in row.values())
    assert (heat.shape, heat.dtype, mask.shape) == ((N_SLICES, 6, SIZE, SIZE), np.uint8, (1, N_SLICES, SIZE, SIZE))
    assert text["findings"][0]["label"] == "any"
    assert (out / "pictures" / "ID_series_any.png").is_file()
    assert "Estimated: any" in (out / "index.html").read_text()
    assert (rows[0]["operating_point"], rows[0]["threshold"]) == ("f1", "0.4")
    assert (first.by_label, first.operating_point) == ({"any": 1}, "f1")


def test_a_folder_is_claimed_before_anything_is_written_and_stays_whose_it_became(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`report` starts into the folder of an `explain` that was killed: that, called again, replaces nothing of it."""
    write_dicom(tmp_path / "in")
    out = tmp_path / "explained"
    monkeypatch.setattr("ich25d.explain.run.write_pictures", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        explain((tmp_path / "in",), run, out, device="cpu", labels=["any"])
    assert (out / ".ich25d").read_text() == "explain\n"

    def filled(*_: object) -> None:
        claim_folder(out, "report")
        (out / "qc.csv").write_text("of the report")

    monkeypatch.setattr("ich25d.explain.run.write_pictures", filled)
    for _ in range(2):
        with pytest.raises(UsageError, match="nothing that explain would replace"):
            explain((tmp_path / "in",), run, out, device="cpu", labels=["any"])
        assert (out / "qc.csv").read_text() == "of the report"


def test_files_and_arrays_are_explained_alike(run: Path, tmp_path: Path) -> None:
    """The model of the front door explains a folder as it explains the array that the folder holds."""
    model = load_model(run, device="cpu")
    (of_files,) = model.explain(write_dicom(tmp_path / "study"), labels=["any"], workers=1)
    (of_array,) = model.explain(
        head_hu(), labels=["any"], slice_position_mm=positions(), pixel_spacing_mm=(PIXEL_MM, PIXEL_MM)
    )

    np.testing.assert_allclose(of_files.heat, of_array.heat, atol=2e-3)
    assert of_files.image_ids[0] == "ID_000000000"
    assert of_files.findings[0].volume_ml == pytest.approx(of_array.findings[0].volume_ml, rel=1e-3)


def test_a_pixel_head_maps_in_the_same_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No gradient is asked for; a mirrored head has the mirrored maps; what a killed run kept gives the same heat."""
    run = write_model(tmp_path / "run", pixels=0.3)
    network = load_network(run, "cpu")
    monkeypatch.setattr("ich25d.explain.layer_cam.class_maps", Mock(side_effect=AssertionError("a second pass")))
    hu, nothing = head_hu(), np.full((N_SLICES, 2), np.nan, np.float32)
    pixels, mirrored = (
        SeriesPixels(volume, tuple("abcdefghijkl"), positions(), nothing, (), pixel_mm=PIXEL_MM)
        for volume in (hu, np.ascontiguousarray(hu[:, :, ::-1]))
    )
    finished, other = predict_pixels(network, pixels), predict_pixels(network, mirrored)
    found = explain_series(network, pixels, finished, labels=["any", "subdural"])

    assert finished.pixel is not None
    assert finished.pixel.shape == (N_SLICES, 6, SIZE // 8, SIZE // 8)
    np.testing.assert_allclose(other.pixel[..., ::-1], finished.pixel, atol=2e-3)
    assert found.heat[:, [4, 5]].max() > 0
    assert not found.heat[:, :4].any()

    series = plan_array(hu, positions())
    with finished_folder(tmp_path / "out.csv", network.made_by) as folder:
        folder.save(series, finished)
        kept = folder.load(series)
    assert kept is not None
    assert (explain_series(network, pixels, kept, labels=["any", "subdural"]).heat == found.heat).all()
