"""Series and tasks that do what bad files may do to their reader; light, as every worker imports it."""

import dataclasses
import os
import signal
import time
from pathlib import Path

import numpy as np

from ich25d.studies.series.series_plan import SeriesPlan

LIMIT_S = 6.0


@dataclasses.dataclass(frozen=True)
class OddImages:
    """Three slices in memory, or one that sleeps; the middle one does what a bad file may do to its reader."""

    name: str
    folder: Path
    odd: str = ""

    def __len__(self) -> int:
        return 1 if self.odd == "sleeps" else 3

    def read(self, index, out=None):
        """Read one slice; the middle one may be odd."""
        mark = self.folder / self.name
        if self.odd == "kills once" and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.odd == "kills" and index == 1:
            os.abort()
        if self.odd == "sleeps":
            time.sleep(10 * LIMIT_S)
        if self.odd == "raises" and index == 1:
            raise ZeroDivisionError
        return np.full((32, 32), 10 * index + len(self.name), dtype=np.int16), ()

    def source(self, index):
        """Name a file."""
        return f"{self.name}/{index}"

    def shape(self):
        """Rows and columns."""
        return 32, 32

    def stamps(self):
        """Nothing changes."""
        return []

    is_native = False


def plan_of(number: int, folder: Path, odd: str) -> SeriesPlan:
    """Plan a series of three slices."""
    name, images = f"series{number:02d}", OddImages(f"series{number:02d}", folder, odd)
    n = len(images)
    return SeriesPlan(
        series_id=name, study_id="study", patient_id="", image_ids=tuple(f"{name}-{index}" for index in range(n)),
        slice_position_mm=(0.0, 5.0, 10.0)[:n], slice_spacing_mm=5.0, spacing_is_regular=True, tilt_deg=None,
        order_key="position", shape=(32, 32), pixel_spacing_mm=(1.0, 1.0), pixel_family="", kernel="",
        thickness_mm=None, windows=(None,) * n, images=images,
    )  # fmt: skip


def kill_above(task: int, *, folder: Path) -> int:
    """Double a number; 5 ends its process each time, 6 hangs, 7 ends Ray's own worker the first time."""
    if task == 5:
        os.abort()
    if task == 6:
        time.sleep(60)
    if task == 7 and not (folder / "7").exists():
        (folder / "7").touch()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return 2 * task


def slowly(task: int, *, folder: Path) -> tuple[int, str]:
    """Double a number in a while; say which node did it."""
    import ray

    time.sleep(0.2)
    with (folder / str(task)).open("a") as file:
        file.write("x")
    return 2 * task, ray.__version__
