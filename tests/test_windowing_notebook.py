"""The notebook on windows runs, says what the package does, and is kept without outputs."""

import json
from pathlib import Path

import numpy as np
import pytest

from ich25d.slabs.grey_values import window_hu
from ich25d.windows import NAMED_WINDOWS as WINDOWS

PATH = Path(__file__).resolve().parents[1] / "scripts" / "windowing_notebook.ipynb"


def test_it_is_kept_without_outputs() -> None:
    """Nothing but text is tracked."""
    cells = json.loads(PATH.read_text(encoding="utf-8"))["cells"]

    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)


def test_its_window_is_the_packages() -> None:
    """The three lines that it teaches are what the network gets."""
    cells = json.loads(PATH.read_text(encoding="utf-8"))["cells"]
    source = next(text for cell in cells if (text := "".join(cell["source"])).startswith("def window("))
    names: dict = {"np": np}
    exec(source, names)  # the tracked file's own code
    hu = np.linspace(-1000, 3000, 101, dtype=np.float32)

    assert names["window"](hu, 40, 80) == pytest.approx(window_hu(hu, level=40, width=80), abs=1e-6)


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell runs, and the table of contrasts comes out as the text says."""
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    notebook = nbformat.read(PATH, as_version=4)

    client.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = "".join(output["text"] for output in outputs if output["output_type"] == "stream")
    lines = [line.split() for line in said.splitlines()]
    table = {words[0]: [int(word) for word in words[1:]] for words in lines if len(words) == 3 and words[0] in WINDOWS}
    assert "nothing is lost: True" in said
    assert table["brain"][0] > 2 * table["subdural"][0] > 2 * table["soft"][0]
    assert table["brain"][1] < table["subdural"][1]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 6
