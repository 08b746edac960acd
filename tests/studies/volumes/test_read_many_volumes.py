"""A file that kills its reader is refused alone, and so is one that raises what nobody foresaw."""

import dataclasses
import errno
import os
import signal

import numpy as np
import pandas as pd
import pytest

from ich25d.errors import StoreError
from ich25d.studies.pool.local_pool import LocalPool
from ich25d.studies.series.series_plan import SeriesPlan, without
from ich25d.studies.store_dir.volume_place import volume_path
from ich25d.studies.tables import find_twins
from ich25d.studies.volumes.read_many import build_all
from ich25d.studies.volumes.volume import pixel_hash, read_series


@dataclasses.dataclass(frozen=True)
class OddImages:
    """Five slices in memory; some of them kill or raise."""

    killers: tuple[int, ...] = ()
    raisers: tuple[int, ...] = ()

    def __len__(self) -> int:
        return 5

    def read(self, index, out=None):
        """Read one slice, or don't."""
        if index in self.killers:
            os.kill(os.getpid(), signal.SIGKILL)
        if index in self.raisers:
            raise ZeroDivisionError
        return np.full((32, 32), index, dtype=np.int16), ()

    def source(self, index):
        """Name a file."""
        return f"file{index}"

    def shape(self):
        """Rows and columns."""
        return 32, 32

    def stamps(self):
        """Nothing changes."""
        return []

    is_native = False


def plan_of(images: OddImages, name: str = "series") -> SeriesPlan:
    """Plan the five slices."""
    return SeriesPlan(
        series_id=name, study_id="study", patient_id="", image_ids=tuple(f"{name}{index}" for index in range(5)),
        slice_position_mm=(0.0, 1.0, 2.0, 3.0, 4.0), slice_spacing_mm=1.0, spacing_is_regular=True, tilt_deg=None,
        order_key="position", shape=(32, 32), pixel_spacing_mm=(1.0, 1.0), pixel_family="", kernel="",
        thickness_mm=None, windows=(None,) * 5, images=images,
    )  # fmt: skip


def test_files_that_kill_are_refused_and_the_rest_makes_the_series(tmp_path):
    """A file whose decoder crashes costs one slice; another series doesn't notice."""
    plans = [plan_of(OddImages(killers=(1,), raisers=(3,)), "odd"), plan_of(OddImages(), "plain")]
    outcomes = {
        outcome.plan.series_id: outcome
        for outcome in build_all(plans, tmp_path, crop="none", size=16, pool=LocalPool(2))
    }
    odd, plain = outcomes["odd"], outcomes["plain"]
    assert [(row.source, row.code) for row in odd.done.qc if row.level == "slice"] == [
        ("file1", "DECODER_CRASH"),
        ("file3", "READ_FAILED"),
    ]
    assert odd.done.slices["image_id"] == ["odd0", "odd2", "odd4"]
    assert odd.done.series["spacing_is_regular"] is False
    assert odd.is_final
    assert plain.done.series["n_slices"] == 5
    assert volume_path(tmp_path, "odd").is_file()


def test_where_every_file_kills_nothing_is_kept_and_the_next_call_tries_again(tmp_path):
    """Where every file fails, each has its row, and the outcome isn't final."""
    (outcome,) = build_all(
        [plan_of(OddImages(raisers=(0, 1, 2, 3, 4)))], tmp_path, crop="none", size=16, pool=LocalPool(1)
    )
    assert outcome.done.series is None
    assert [row.source for row in outcome.done.qc] == [f"file{index}" for index in range(5)]
    assert not outcome.is_final
    assert not volume_path(tmp_path, "series").exists()


def test_a_full_disk_is_not_the_fault_of_the_files(tmp_path, monkeypatch):
    """Once one file was left out, the others' volume can't be written: that ends the build, and no slice is lost."""
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("ich25d.studies.volumes.read_many.rescue", lambda *_: (full, []))
    plans = [plan_of(OddImages(raisers=(3,)))]
    with pytest.raises(StoreError, match=r"must be writable .got No space left on device"):
        list(build_all(plans, tmp_path, crop="none", size=16, pool=LocalPool(1)))


def test_a_plan_without_some_slices_reads_the_others():
    """Slices keep their own names when others are taken out."""
    rest = without(plan_of(OddImages(raisers=(0, 3))), {0, 3})
    assert rest.image_ids == ("series1", "series2", "series4")
    assert rest.slice_position_mm == (1.0, 2.0, 4.0)
    assert [hu[0, 0] for hu in read_series(rest, crop="none", size=32).hu] == [1, 2, 4]
    assert read_series(rest, crop="none", size=8).slices["source"] == ["file1", "file2", "file4"]


def test_pixel_hash_knows_the_image_and_ignores_air():
    """Equal pixels have equal hashes, other ones don't, and air has none."""
    hu = np.random.default_rng(0).integers(-1000, 1000, (64, 64)).astype(np.int16)
    other = hu.copy()
    other[16, 5] += 1
    assert pixel_hash(hu) == pixel_hash(hu.copy(order="F")) != 0
    assert pixel_hash(other) != pixel_hash(hu)
    assert pixel_hash(np.full((64, 64), -1000, np.int16)) == 0


@pytest.mark.parametrize(
    ("hashes", "groups"),
    [
        ([1, 2, 3, 4], {}),
        ([1, 1, 3, 4], {"a": "a", "b": "a"}),
        ([0, 0, 0, 0], {}),
        ([1, 1, 2, 2], {"a": "a", "b": "a", "c": "c", "d": "c"}),
    ],
)
def test_twins_are_series_that_share_a_slice(hashes, groups):
    """Series that share a slice are twins; slices of nothing but air make none."""
    slices = pd.DataFrame(
        {"pixel_hash": hashes, "series_id": list("abcd"), "image_id": list("ABCD"), "source": list("wxyz")}
    )
    found, rows = find_twins(slices)
    assert found == groups
    assert len(rows) == len(groups) - len(set(groups.values()))


def test_twins_over_others_are_twins():
    """Sharing goes over others: a with b, b with c."""
    slices = pd.DataFrame(
        {"pixel_hash": [1, 1, 2, 2], "series_id": list("abbc"), "image_id": list("ABCD"), "source": list("wxyz")}
    )
    assert find_twins(slices)[0] == {"a": "a", "b": "a", "c": "a"}
