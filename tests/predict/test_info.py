"""`ich25d info` says what a store and a model directory hold, with figures, and lives with a directory that is odd."""

import errno
import json
import re
import shutil
from pathlib import Path

import pytest
from toy_walk import Walk

from ich25d.errors import UsageError
from ich25d.view import installation
from ich25d.view.info import describe
from ich25d.view.installation import extras_of


def test_the_installation() -> None:
    """Versions, machine, extras and codecs; JSON can hold all of it."""
    found = describe(None)

    assert {"ich25d", "torch"} <= set(found.parts["installed"])
    assert {"gpu", "disk free GB", "file locks"} <= set(found.parts["machine"])
    assert found.parts["machine"]["model in the box"] == "there"
    assert set(found.parts["extras"]) == {f"[{name}]" for name in extras_of()}
    assert json.loads(json.dumps(found.to_dict()))
    assert found.exit_code == 0


def test_what_is_missing_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An extra without its package, and a folder that can't be written; nothing is left behind."""
    monkeypatch.setattr(installation, "_version", lambda name: None if name == "nibabel" else "1")
    parts = installation.describe_installation(tmp_path)

    assert parts["extras"]["[nifti]"] == "missing: pip install 'ich25d[nifti]'; reads .nii and .nii.gz"
    assert parts["extras"]["[fast]"] == "there; inflates zip entries twice as fast"
    assert parts["extras"]["[dev]"].startswith("missing: pip install 'ich25d[dev]'")  # it names [nifti]
    assert parts["machine"]["file locks"] == "there"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("tempfile.TemporaryFile", _not_writable)
    locks = installation.describe_installation(tmp_path)["machine"]["file locks"]
    assert locks == f"unknown: {tmp_path} isn't writable (EACCES)"


def _not_writable(*_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")


def test_a_store_and_what_was_refused(walk: Walk) -> None:
    """Counts, folds, pixel families, and the rows of qc.csv by code."""
    facts = describe(walk.store, verify=True).parts["study store"]

    assert (facts["series"], facts["patients"]) == (10, 10)
    assert facts["labelled slices"] == facts["slices"]
    assert facts["positive any"] > 0


@pytest.mark.parametrize("kind", ["cnn", "rnn"])
def test_a_model_and_its_figures(walk: Walk, kind: str) -> None:
    """Held-out scores, the thresholds of both levels, and that card and report are present."""
    found = describe(getattr(walk, kind), verify=True)
    facts = found.parts["model"]

    assert found.damage == []
    assert facts["MODEL_CARD.md"] == facts["report.html"] == "present"
    assert "threshold of any, series, sensitivity_95" in facts
    reached = r"sensitivity at least \.95 \(found [\d.]+ of 5 positive, spared [\d.]+ of 5\)"
    assert re.fullmatch(reached, facts["flagging series, sensitivity_95"])
    named = "fold 0, held out" if kind == "cnn" else "CNN + GRU on all held-out series"
    assert "AUC any" in facts[named]


def test_odd_directories(tmp_path: Path) -> None:
    """Figures that aren't figures are passed over; what is neither store nor model is refused."""
    with pytest.raises(UsageError, match="store or a model directory"):
        describe(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({"kind": "encoder", "folds": [1], "thresholds": {"slice": 3}}))
    (tmp_path / "comparison.json").write_text('{"all": 3}')

    assert describe(tmp_path).parts["model"]["kind"] == "encoder"


def test_an_interrupted_training_says_how_to_go_on(walk: Walk, tmp_path: Path) -> None:
    """With how far each fold got, also beside finished ones."""
    run = shutil.copytree(walk.cnn, tmp_path / "run")
    log = '{"event": "begin", "step": 0, "total_steps": 340}\n{"event": "step", "step": 50}\n{"event": "st'
    (run / "fold7").mkdir()
    (run / "fold7" / "metrics.jsonl").write_text(log)
    beside = describe(run).parts["model"]
    (run / "model.json").unlink()
    alone = describe(run).parts["unfinished run"]

    for facts in (beside, alone):
        assert facts["fold7, unfinished"] == "logged to step 50 of 340"
        assert facts["to go on"] == "the same train-cnn with --resume"
    assert "fold0, unfinished" in alone
    assert "fold0, unfinished" not in beside
    assert not any("unfinished" in name for name in describe(walk.cnn).parts["model"])
