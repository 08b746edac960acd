"""A toy model and a study with its objects, made once; and the programs that check them."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from dicom_study import Sent, bleeding, send, write_study
from pydicom.dataset import Dataset
from toy_model import write_model

from ich25d.dicom_out.writer import save_object
from ich25d.predict.network import Network, load_network


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """A model with a pixel head, loaded."""
    return load_network(write_model(tmp_path_factory.mktemp("dicom_out") / "run", folds=1, pixels=0.5), "cpu")


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study; nobody changes it."""
    return write_study(tmp_path_factory.mktemp("dicom_out") / "study")


@pytest.fixture(scope="session")
def sent(study: Path, toy: Network) -> Sent:
    """Its objects where a subdural bleed is found; nobody changes them."""
    return send(study, toy, bleeding(subdural=0.8, any=0.9))


@pytest.fixture(scope="session")
def dciodvfy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Dataset], list[str]]:
    """Return the errors that Debian's dciodvfy finds in an object; skips where it is absent."""
    program = shutil.which("dciodvfy")
    if program is None:
        absent = "dciodvfy is absent: apt-get install dicom3tools"
        if os.environ.get("ICH25D_REQUIRE_DICOM3TOOLS"):
            pytest.fail(absent)
        pytest.skip(absent)
    folder = tmp_path_factory.mktemp("dciodvfy")

    def errors(made: Dataset) -> list[str]:
        save_object(made, folder / "object.dcm")
        done = subprocess.run([program, folder / "object.dcm"], capture_output=True, text=True, check=False)
        lines = (done.stdout + done.stderr).splitlines()
        assert lines, "it names the kind of object at least"
        return [line for line in lines if line.startswith(("Error", "Abort"))]

    return errors
