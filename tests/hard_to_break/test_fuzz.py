"""Readers of what users hand in: changed files are taken and right, or refused in a sentence."""

import random
from pathlib import Path

import pytest
from hard_to_break import fuzz
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module", params=sorted(fuzz.READERS))
def trials(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> fuzz.Trials:
    """Sound files of one reader, and what tries it."""
    return fuzz.Trials(request.param, tmp_path_factory.mktemp("fuzz") / "files")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_a_changed_file_is_taken_and_right_or_refused_in_a_sentence(trials: fuzz.Trials, seed: int) -> None:
    """Changed by its structure or by its bytes; nothing is written."""
    assert trials.fault(random.Random(seed)) == ""


def test_a_reader_that_fails_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that isn't ours, a wrong result and a file that is written are faults."""
    trials = fuzz.Trials("recipe", tmp_path / "files")

    def wrong(path: Path) -> None:
        raise KeyError(path.name)

    def writes(path: Path) -> None:
        (path.parent / "new").touch()

    for read, said in ((wrong, "KeyError"), (writes, "something was written")):
        monkeypatch.setattr(trials, "reader", trials.reader._replace(read=read))
        assert said in trials.fault(random.Random(0))
