"""What would be uploaded: wheel and sdist hold what they should and no more, install, and work without the checkout."""

import email
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from toy_model import N_SLICES, head_hu, positions

from ich25d.phantom.dicom import dicom_bytes

ROOT = Path(__file__).resolve().parents[1]
BOX = ("MODEL_CARD.md", "config.toml", "model.json", "fold0/weights.safetensors")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel that is built from it; without a network."""
    out = tmp_path_factory.mktemp("dist")
    words = ["build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def program(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ich25d` of an environment of its own that holds the wheel; the libraries are those of this environment."""
    home = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(home, with_pip=False)
    own = {"base": str(home), "platbase": str(home)}
    (Path(sysconfig.get_path("purelib", vars=own)) / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (wheel,) = dist.glob("*.whl")
    python = Path(sysconfig.get_path("scripts", vars=own)) / "python"
    words = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*words, "--ignore-installed", str(wheel)], check=True, env=_environment())
    return python.with_name("ich25d")


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _run(program: Path, folder: Path, *words: str) -> str:
    done = subprocess.run(
        [program, *words], cwd=folder, env=_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _names(dist: Path) -> dict[str, set[str]]:
    """Return the files of both, those of the sdist without its top folder."""
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        of_sdist = {name.partition("/")[2] for name in archive.getnames()}
    return {"wheel": set(zipfile.ZipFile(wheel).namelist()), "sdist": of_sdist}


def test_wheel_and_sdist_hold_what_works_and_no_more(dist: Path) -> None:
    """Code, recipes, templates, the model in the box, licence and notice; no test, no data, no picture."""
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "ich25d").rglob("*.py")}
    recipes = {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.toml")}
    files = code | {f"ich25d/open_model/{name}" for name in BOX}
    files |= {"ich25d/pages/templates/page.html", "ich25d/encoder/templates/model_card.md"}
    found = _names(dist)
    licences = {name.rpartition("/")[2] for name in found["wheel"] if ".dist-info/licenses/" in name}

    assert files | {f"ich25d/{name}" for name in recipes} <= found["wheel"]
    assert files | recipes | {"LICENSE", "NOTICE", "README.md", "CHANGELOG.md", "pyproject.toml"} <= found["sdist"]
    assert licences == {"LICENSE", "NOTICE"}
    for names in found.values():
        others = [name for name in names if not name.startswith("ich25d/open_model/")]
        assert not any(re.search(r"(^|/)(tests|docs|scripts)/", name) for name in names)
        data = re.compile(r"\.(dcm|safetensors|pth?|np[yz]|b2nd|parquet|png|jpe?g|nii|gz|zip)$")
        assert [name for name in others if data.search(name)] == []


def test_metadata_are_sound_and_name_the_terms(dist: Path) -> None:
    """By twine; the licence of the weights stands beside the code's, and the version is the changelog's newest."""
    files = [str(path) for path in dist.iterdir()]
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True, check=False
    )
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        said = email.message_from_bytes(archive.read(name))
    released = re.findall(r"^## \[(\d[\w.]*)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert checked.returncode == 0, checked.stdout
    assert said["License-Expression"] == "Apache-2.0 AND CC-BY-4.0"
    assert said["Version"] == released[0]
    assert "The weights are under CC BY 4.0" in (ROOT / "NOTICE").read_text()


def test_an_installed_wheel_works_without_the_checkout(program: Path, tmp_path: Path) -> None:
    """Recipes, and a prediction with the model in the box, from a folder that is nothing's."""
    where = _run(program, tmp_path, "--version").strip()
    recipe = _run(program, tmp_path, "recipe", "small-data")
    (tmp_path / "scan").mkdir()
    for index, (hu, position) in enumerate(zip(head_hu(), positions(), strict=True)):
        content = dicom_bytes(
            hu, image_id=f"ID_{index:09x}", series_id="ID_5", study_id="ID_6", patient_id="ID_7",
            origin_mm=(-96.0, -96.0, position), pixel_spacing_mm=(2.0, 2.0),
        )  # fmt: skip
        (tmp_path / "scan" / f"{index}.dcm").write_bytes(content)
    words = ("predict", "scan", "--out", "out/submission.csv", "--device", "cpu", "--json", "--quiet")
    said = json.loads(_run(program, tmp_path, *words))

    assert where == re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert recipe == (ROOT / "configs" / "small-data.toml").read_text()
    assert said["n_slices"] == said["n_answered"] == N_SLICES
    assert "open model" in said["model"]
    assert len((tmp_path / "out" / "submission.csv").read_text().splitlines()) == 1 + N_SLICES * 6
