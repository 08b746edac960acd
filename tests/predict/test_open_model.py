"""The model in the box: found where no other is named, packed small, and saying what it is."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from toy_walk import SIZE, Walk
from typer.testing import CliRunner

from ich25d import load_model
from ich25d.cli.app import app
from ich25d.errors import ModelError
from ich25d.files import sha256_file
from ich25d.labels import row_ids
from ich25d.phantom.head import make_head
from ich25d.predict import open_model
from ich25d.predict.open_model import OPEN_MODEL, model_folder
from ich25d.studies.build import build_studies
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.model_file import MODEL_FILE

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """`scripts/open_model.py` as a module."""
    spec = importlib.util.spec_from_file_location("open_model_script", ROOT / "scripts" / "open_model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def packed(script: ModuleType, walk: Walk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy run, packed."""
    out = tmp_path_factory.mktemp("packed") / "open_model"
    script.pack(walk.cnn, out)
    return out


def test_packed_is_what_prediction_needs(packed: Path, script: ModuleType, walk: Walk) -> None:
    """Half the bytes of weights, nothing of the training's tables, nearly the same probabilities, name and weakness."""
    whole, small = load_model(walk.cnn, device="cpu"), load_model(packed, device="cpu")
    before, after = whole.predict(walk.test)[0], small.predict(walk.test)[0]
    names = {str(path.relative_to(packed)) for path in packed.rglob("*") if path.is_file()}
    weights = "fold0/weights.safetensors"

    assert np.abs(before.probability - after.probability).max() < 2e-3
    assert not any(name.endswith((".parquet", ".jsonl", ".pt")) or "features" in name for name in names)
    assert {"model.json", "config.toml", "MODEL_CARD.md", weights} <= names
    assert (packed / weights).stat().st_size < 0.6 * (walk.cnn / weights).stat().st_size
    assert small.about == f"{script.NAME}. {script.WEAK}."
    assert "Hssayeni" in (packed / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert not list(packed.parent.glob(".*.part"))


def test_the_script_packs_and_judges(
    script: ModuleType, walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the training: a folder whose card has a table of another store; what isn't there is one sentence."""
    rows = [f"{row},{int(image == walk.ids[21][2])}" for image in walk.ids[21] for row in row_ids([image])]
    labels, other = tmp_path / "labels.csv", tmp_path / "judging"
    labels.write_text("ID,Label\n" + "\n".join(rows) + "\n")
    build_studies((walk.test,), other, labels=labels, size=SIZE, folds=2, workers=1)
    with monkeypatch.context() as patched:
        patched.setattr(script, "build", lambda ct_ich, work: StudyStore.open(walk.store))
        patched.setattr(script, "train", lambda store, work: walk.cnn)
        code = script.main([str(tmp_path), "--out", str(tmp_path / "box"), "--judge", f"toy={other}"])
        again = script.main([str(tmp_path), "--out", str(tmp_path / "seen"), "--judge", f"toy={walk.store}"])
    card = (tmp_path / "box" / "MODEL_CARD.md").read_text(encoding="utf-8")

    assert (code, again) == (0, 2)
    assert "hold nothing that is trained on (got 50 of the same image ids" in capsys.readouterr().err
    assert not (tmp_path / "seen").exists()
    assert "**toy**: 15 slices of 3 series." in card
    assert card.index("## On other data") < card.index("## Performance")
    assert script.main([str(tmp_path), "--out", str(tmp_path / "other")]) == 2
    assert "must hold metadata.csv" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_is_the_default_and_named_by_every_output(
    packed: Path, script: ModuleType, walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`predict`, `report` and `explain` without --model, and `load_model()`."""
    monkeypatch.setattr(open_model, "OPEN_MODEL", packed)
    runner = CliRunner()
    csv, pages, explained = tmp_path / "p" / "out.csv", tmp_path / "pages", tmp_path / "explained"
    said = [
        runner.invoke(app, ["predict", str(walk.test), "--out", str(csv), "--device", "cpu"]).output,
        runner.invoke(app, ["report", str(walk.test), "--out", str(pages), "--device", "cpu"]).output,
        runner.invoke(app, ["explain", str(walk.test), "--out", str(explained), "--device", "cpu"]).output,
    ]

    for text in said:
        assert script.NAME in text
        assert script.WEAK in text
        assert "Research software" in text
    assert script.NAME in csv.with_name("studies.csv").read_text()
    for page in (pages / "index.html", next((pages / "studies").glob("*.html")), explained / "index.html"):
        assert script.NAME in page.read_text(encoding="utf-8")
    assert load_model().about.startswith(script.NAME)


def test_an_installation_without_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One sentence; a model that is named is taken all the same."""
    monkeypatch.setattr(open_model, "OPEN_MODEL", tmp_path / "open_model")
    with pytest.raises(ModelError, match="without --model there must be a model in the box"):
        model_folder(None)
    assert model_folder(tmp_path) == tmp_path


def test_the_shipped_one_is_small_and_attributed(script: ModuleType) -> None:
    """At most 25 MB, every weight as `model.json` names it, and CT-ICH's terms in card, NOTICE and README."""
    files = [path for path in OPEN_MODEL.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= script.MAX_BYTES
    for entry in json.loads((OPEN_MODEL / MODEL_FILE).read_text(encoding="utf-8"))["folds"].values():
        assert sha256_file(OPEN_MODEL / entry["weights"]) == entry["sha256"]
    for path in (OPEN_MODEL / "MODEL_CARD.md", ROOT / "NOTICE", ROOT / "README.md"):
        text = path.read_text(encoding="utf-8")
        assert "Hssayeni" in text
        assert "CC BY 4.0" in text
    card = (OPEN_MODEL / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "0 series have ids of RSNA 2019's form" in card


@pytest.mark.slow
def test_the_shipped_one_sees_a_phantoms_bleed() -> None:
    """A large clot in a phantom's brain is more probable than any bleed in the same head without one."""
    model = load_model(device="cpu")

    def any_bleed(*labels: str) -> float:
        head = make_head(np.random.default_rng(3), labels=labels)
        spacing = (head.pixel_spacing_mm, head.pixel_spacing_mm)
        found = model.predict(head.hu, slice_position_mm=head.slice_position_mm, pixel_spacing_mm=spacing)
        return float(found[0].series_probability[-1])

    clean, bleeding = any_bleed(), any_bleed("intraparenchymal")
    assert bleeding > 0.5 > clean
