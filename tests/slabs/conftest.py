"""A small study store for the whole room."""

import pytest

from ich25d.phantom.synth import synthesise
from ich25d.studies.build import build_studies
from ich25d.studies.store_dir.store import StudyStore


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> StudyStore:
    """A store of three small phantoms."""
    out = tmp_path_factory.mktemp("slabs")
    heads = synthesise(out / "dicom", 3, seed=1, size=128, test_share=0.0, workers=1)
    build_studies((heads.train,), out / "studies", labels=heads.train_labels, size=96, folds=2, workers=1)
    return StudyStore.open(out / "studies")
