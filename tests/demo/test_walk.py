"""The demonstration, short: a few heads and one pass over them."""

from pathlib import Path

import pytest

from ich25d.demo.walk import walk
from ich25d.predict.submission import check_submission

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_walk_leaves_all_it_promises(tmp_path: Path) -> None:
    """CSV, picture and pages are there; a second walk uses what the first one left."""
    recipe = (ROOT / "configs" / "demo.toml").read_text()
    changes = {
        "size = 128": "size = 64",
        "epochs = 10": "epochs = 1",
        'weights = "pip"': 'weights = "none"',
        'precision = "auto"': 'precision = "fp32"',
    }
    for old, new in changes.items():
        assert old in recipe
        recipe = recipe.replace(old, new)
    short = tmp_path / "short.toml"
    short.write_text(recipe)

    done = walk(tmp_path / "out", n_studies=8, recipe_name=str(short))

    assert check_submission(done.submission, None).exit_code == 0
    assert done.picture.read_bytes().startswith(b"\x89PNG")
    assert done.pages.is_file()
    assert any("CNN + GRU" in line for line in done.table)
    assert any("the model in the box" in line for line in done.table)
    assert len(done.lines()) < 65
    again = walk(tmp_path / "out", n_studies=8, recipe_name=str(short))
    assert again.submission.read_text() == done.submission.read_text()
    assert again.seconds["synth"] < done.seconds["synth"]
