"""Rules of the house that a linter can't say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ich25d.labels import LABEL_WEIGHTS, LABELS, row_ids

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ich25d"
HEAVY = {"torch", "timm", "numpy", "pandas", "pydicom", "sklearn", "scipy", "cv2", "blosc2"}


def test_files_stay_small() -> None:
    """No file over 400 lines: a longer one holds two subjects."""
    long = {str(path): n for path in PACKAGE.rglob("*.py") if (n := len(path.read_text().splitlines())) > 400}

    assert long == {}


def test_every_room_has_a_name_of_its_subject() -> None:
    """No drawer for everything."""
    drawers = {"utils.py", "helpers.py", "common.py", "misc.py"}

    assert [path for path in PACKAGE.rglob("*.py") if path.name in drawers] == []


def test_rooms_reexport_nothing() -> None:
    """A room's __init__ holds its sentence and no imports, so that no cycle hides there."""
    for path in PACKAGE.glob("*/__init__.py"):
        assert "import" not in path.read_text().split('"""')[-1], path


@pytest.mark.parametrize(
    "command",
    [[], ["build-studies"], ["train-cnn"], ["train-rnn"], ["predict"], ["evaluate"], ["check-submission"], ["synth"],
     ["demo"], ["info"], ["eda"], ["cq500"], ["explain"], ["report"], ["recipe"], ["export"], ["node"]],
)  # fmt: skip
def test_help_is_light_and_has_examples(command: list[str]) -> None:
    """--help imports no heavy library, and every command shows how it is called."""
    code = (
        "import sys\nfrom ich25d.cli.app import main\n"
        f"sys.argv = ['ich25d', *{command!r}, '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"heavy = {HEAVY!r} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    if command:
        assert len(re.findall(rf"^\s+ich25d {command[0]}", done.stdout, re.MULTILINE)) >= 1


def test_labels_are_kaggles() -> None:
    """Order and weights of the competition, and its ids."""
    assert LABELS == ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any")
    assert LABEL_WEIGHTS == (1, 1, 1, 1, 1, 2)
    assert row_ids(["ID_1"])[0] == "ID_1_epidural"


def test_no_data_and_no_weights_are_tracked() -> None:
    """Images, volumes and weights stay out of the repository, but for the model in the box."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    blobs = re.findall(
        r"^.*\.(?:dcm|safetensors|pth?|np[yz]|onnx|b2nd|parquet|feather|jpe?g)$", listed.stdout, re.MULTILINE
    )

    assert [name for name in blobs if not name.startswith("ich25d/open_model/")] == []


def test_what_predicts_starts_light() -> None:
    """Neither torch nor what usual files don't need is imported with `predict`, `report` and the engines."""
    late = {"torch", "timm", "sklearn", "pydicom", "blosc2", "openvino", "onnxruntime"}
    code = (
        "import sys\nimport ich25d.predict.run, ich25d.view.report.run, ich25d.engine.exported_engine\n"
        f"early = {late!r} & set(sys.modules)\nassert not early, early\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
