"""Images on disk between a sender and the prediction: what is acknowledged is in here, and survives a kill.

spool/
  arriving/STUDY/IMAGE.dcm        of studies that aren't complete yet
  closed/STUDY/images/IMAGE.dcm   of studies that are predicted, or were a short while ago
  aside/STUDY/IMAGE.dcm           of studies that failed again and again; somebody must look
"""

import shutil
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from pathlib import Path

from ich25d.files import sync_folder, write_bytes
from ich25d.node.arrived import Arrived
from ich25d.node.settings import Limits

ARRIVING, CLOSED, ASIDE, IMAGES = "arriving", "closed", "aside", "images"


class SpoolFullError(Exception):
    """There is no room for an image; the sender is asked to come again."""


class Spool:
    """Takes images from many threads, and gives complete studies to one.

    Args:
        folder: Where they lie.
        limits: How much there may be.
        others: Tells how many bytes of the same limit something else takes.
        clock: Tells seconds.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        *,
        others: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._arriving, self._closed, self._aside = (folder / name for name in (ARRIVING, CLOSED, ASIDE))
        for place in (self._arriving, self._closed, self._aside):
            place.mkdir(parents=True, exist_ok=True)
        self._folder, self._limits, self._others, self._clock = folder, limits, others, clock
        self._lock = threading.RLock()
        self._writing: Counter[str] = Counter()
        self._reserved = 0
        self._wanting: dict[str, float] = {}
        for part in folder.glob("*/**/.*.part"):  # half written when an earlier node was killed; never acknowledged
            part.unlink()
        self._last = {path.name: clock() for path in self._arriving.iterdir()}
        self._again = [path.name for path in sorted(self._closed.iterdir())]
        self._kept: OrderedDict[str, float] = OrderedDict()
        self._stored = self._on_disk()

    @property
    def used(self) -> int:
        """Bytes of the limit that are taken."""
        return self._stored + self._reserved + self._others()

    @property
    def n_open(self) -> int:
        """Studies that aren't complete yet."""
        return len(self._last)

    @property
    def n_due(self) -> int:
        """Studies that an earlier node closed and didn't finish, as far as it is known."""
        return len(self._again)

    def add(self, image: Arrived) -> bool:
        """Write an image; when this returns, it survives a kill and a power cut.

        Returns:
            Whether it is new among the images that are arriving.

        Raises:
            SpoolFullError: There is no room for it.
            OSError: The disk is full or fails.
        """
        with self._lock:
            try:
                self._reserve(len(image.content))
            except SpoolFullError:
                self._put_off(image.study)
                raise
            self._writing[image.study] += 1
        is_new = False
        try:
            folder = self._arriving / image.study
            path = folder / image.name
            if not path.exists():
                if not folder.exists():
                    folder.mkdir(exist_ok=True)
                    sync_folder(self._arriving)
                write_bytes(path, image.content)
                is_new = True
        except OSError:
            self._put_off(image.study)
            raise
        finally:
            with self._lock:
                self._reserved -= len(image.content)
                self._stored += len(image.content) if is_new else 0
                self._writing[image.study] -= 1
                if not self._writing[image.study]:
                    del self._writing[image.study]
                if (self._arriving / image.study).is_dir():
                    self._last.setdefault(image.study, self._clock())
        with self._lock:
            self._last[image.study] = self._clock()
            self._wanting.pop(image.study, None)
        return is_new

    def _put_off(self, study: str) -> None:
        """Keep a study open whose sender was asked to come again; not without end, as it may be what takes the room."""
        with self._lock:
            now = self._clock()
            if study in self._last and now - self._wanting.setdefault(study, now) < self._limits.put_off_s:
                self._last[study] = now

    def _reserve(self, n_bytes: int) -> None:
        while self.used + n_bytes > self._limits.spool_bytes and self._kept:
            self.forget(next(iter(self._kept)))  # answered already; the oldest goes first
        if self.used + n_bytes > self._limits.spool_bytes:
            raise SpoolFullError(f"the spool must stay below {self._limits.spool_bytes} bytes (got {self.used})")
        free = shutil.disk_usage(self._folder).free
        if free < self._limits.free_bytes + n_bytes:
            raise SpoolFullError(f"{self._limits.free_bytes} bytes of the disk must stay free (got {free})")
        self._reserved += n_bytes

    def next_closed(self, close_after_s: float) -> str | None:
        """Return the key of a complete study, the one that waits longest; None where there is none."""
        with self._lock:
            for study in self._again:
                if not self._writing[study]:
                    return study
            now = self._clock()
            waiting = {
                study: last
                for study, last in self._last.items()
                if now - last >= close_after_s and not self._writing[study]
            }
        return min(waiting, key=lambda study: (waiting[study], study), default=None)

    def take(self, study: str, known: Collection[str]) -> Path | None:
        """Close a study: its images are one folder from now on, and what still comes of it is another arrival.

        Args:
            study: Its key, of `next_closed`.
            known: Names of images that were answered; they aren't new.

        Returns:
            The study's folder, with `images` in it; None where all that came was known, or something came just now.
        """
        with self._lock:
            if self._writing[study]:
                return None
            again = study in self._again
            arriving, images = self._arriving / study, self._closed / study / IMAGES
            n_new = 0
            if arriving.is_dir():
                images.mkdir(parents=True, exist_ok=True)
                sync_folder(self._closed)
                for path in sorted(arriving.iterdir()):
                    if path.name in known:
                        path.unlink()
                    else:
                        path.replace(images / path.name)
                        n_new += 1
                sync_folder(images)
                arriving.rmdir()
            self._last.pop(study, None)
            self._wanting.pop(study, None)
            if again:
                self._again.remove(study)
                n_new += sum(path.name not in known for path in images.glob("*.dcm"))
            if n_new:
                self._kept.pop(study, None)
            elif study not in self._kept:
                self._kept[study] = self._clock()
            self._stored = self._on_disk()
            return self._closed / study if n_new else None

    def closed_folder(self, study: str) -> Path:
        """Return the folder of a study that was taken."""
        return self._closed / study

    def again(self, study: str) -> None:
        """Put a taken study back, to be given once more."""
        with self._lock:
            self._again.append(study)

    def answered(self, study: str) -> None:
        """Keep a taken study's images for those that may follow, until `sweep` or a lack of room removes them."""
        with self._lock:
            self._kept[study] = self._clock()

    def sweep(self) -> None:
        """Remove the images of studies that were answered long ago."""
        with self._lock:
            now = self._clock()
            for study in [study for study, when in self._kept.items() if now - when > self._limits.kept_s]:
                self.forget(study)

    def forget(self, study: str) -> None:
        """Remove an answered study's images."""
        with self._lock:
            self._kept.pop(study, None)
            shutil.rmtree(self._closed / study, ignore_errors=True)
            self._stored = self._on_disk()

    def set_aside(self, study: str) -> None:
        """Move a taken study's images to where nothing touches them."""
        with self._lock:
            (self._aside / study).mkdir(exist_ok=True)
            for path in (self._closed / study / IMAGES).iterdir():
                path.replace(self._aside / study / path.name)
            sync_folder(self._aside / study)
            self.forget(study)

    def _on_disk(self) -> int:
        return sum(path.stat().st_size for path in self._folder.glob("*/**/*.dcm"))
