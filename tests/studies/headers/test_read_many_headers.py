"""A file whose header kills its reader, or raises what nobody foresaw, is refused alone."""

import gc
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from ich25d.studies import plan
from ich25d.studies.headers import read_many as indexing
from ich25d.studies.headers.notebook import Notebook
from ich25d.studies.headers.packed import Indexed, Privacy
from ich25d.studies.headers.read_many import index_files
from ich25d.studies.plan import make_plan
from ich25d.studies.pool.local_pool import LocalPool
from ich25d.studies.sources.listing import Entry, list_entries
from ich25d.studies.sources.opened import Sources
from ich25d.studies.volumes.volume import read_series


class OddSources(Sources):
    """Sources of which some files are odd by name."""

    def __reduce__(self):
        return (OddSources, (self.paths,))

    def head(self, entry: Entry, n_bytes: int) -> bytes:
        """Read, or don't."""
        if "killer" in entry.source:
            os.kill(os.getpid(), signal.SIGKILL)
        if "raiser" in entry.source:
            raise MemoryError
        return super().head(entry, n_bytes)


@pytest.fixture
def folder(tmp_path, write_scan) -> Path:
    """Six files, of which two are odd."""
    paths = write_scan(tmp_path / "scan", 1, n=6)
    paths[1].rename(paths[1].with_name("killer"))
    paths[4].rename(paths[4].with_name("raiser"))
    return tmp_path / "scan"


def test_odd_files_are_refused_and_the_others_indexed(folder, monkeypatch):
    """What one file does to the process that reads it costs no other file."""
    entries, _ = list_entries([folder])
    monkeypatch.setattr(indexing, "WORTH_STARTING", 0)
    found = list(index_files(entries, OddSources([folder]), Privacy(b"x", 0.0), LocalPool(2)))
    assert sorted(entry.source for entry, _, _ in found) == sorted(entry.source for entry in entries)
    refused = {entry.source: images[0].code for entry, images, is_final in found if not is_final}
    assert refused == {"killer": "DECODER_CRASH", "raiser": "READ_FAILED"}
    assert sum(isinstance(image, Indexed) for _, images, _ in found for image in images) == 4


def test_a_failure_is_no_finding(folder, tmp_path, monkeypatch):
    """It is counted and named, and the next call, on a better day, reads the file."""
    (folder / "killer").unlink()
    notebook = Notebook(tmp_path / "build.sqlite")
    with monkeypatch.context() as patch:
        patch.setattr(plan, "Sources", OddSources)
        odd = make_plan([folder], notebook=notebook)
    assert (odd.n_seen, odd.n_refused, [row.code for row in odd.qc if row.level == "file"]) == (5, 1, ["READ_FAILED"])
    assert sum(map(len, odd.series)) == 4
    better = make_plan([folder], notebook=notebook)
    notebook.close()
    assert (better.n_seen, better.n_refused, sum(map(len, better.series))) == (5, 0, 5)


@pytest.mark.parametrize("workers", [1, 2])
def test_images_of_a_series_share_a_tuple_that_goes_with_the_plan(tmp_path, write_scan, monkeypatch, workers):
    """Also where processes read: a million slices fit into memory, and a process that plans for days doesn't grow."""
    for number in (1, 2):
        write_scan(tmp_path / "in", number, n=8)
    monkeypatch.setattr(indexing, "WORTH_STARTING", 0)
    monkeypatch.setattr(indexing, "CHUNK", 3)
    plans = make_plan([tmp_path / "in"], pool=LocalPool(workers)).series
    shared = plans[0].images.images[0].shared
    assert len({id(image.shared) for plan in plans for image in plan.images.images}) == 2
    del plans
    gc.collect()
    assert sys.getrefcount(shared) == 2  # the name and the argument


def test_a_file_named_as_another_image_is_remarked(tmp_path, write_scan):
    """In the form of RSNA's names, which are ids; other names say nothing."""
    paths = write_scan(tmp_path / "in", n=3, hu=np.arange(3 * 64, dtype=np.int16).reshape(3, 8, 8))
    paths[0].rename(paths[0].with_name("ID_0123abcde.dcm"))
    paths[1].rename(paths[1].with_name("IM-0001-0001.dcm"))
    (plan,) = make_plan([tmp_path / "in"]).series
    assert plan.image_ids[0] == paths[0].stem
    assert [
        (row.source, row.image_id) for row in read_series(plan, size=8, crop="none").qc if row.code == "NAME_ID"
    ] == [("ID_0123abcde.dcm", paths[0].stem)]
