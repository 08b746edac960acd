"""Asking a DICOMweb service for new studies, again and again, and taking their images into the spool."""

import json
import threading
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import requests

from ich25d.errors import DicomError
from ich25d.files import file_key, write_json
from ich25d.node.arrived import arrived_file
from ich25d.node.health import Health
from ich25d.node.refusals import Refusals
from ich25d.node.spool import Spool, SpoolFullError
from ich25d.node.web_service import WebError, WebService
from ich25d.studies.qc import QcRow

_TRIES = 3
_LONGEST_S = 30.0


class Poll:
    """Takes new studies of a service, in a thread of its own.

    A study is taken when the number of its images hasn't changed for some time, and again when it has grown.

    Args:
        service: The service.
        folder: Keeps what was taken, a file a study.
        spool: Takes the images.
        refusals: Takes rows of what the service doesn't give.
        health: Counts.
        since: The first date of studies that count, `YYYYMMDD`; empty is yesterday.
        close_after_s: How long a study mustn't change.
        clock: Tells seconds.
    """

    def __init__(
        self,
        service: WebService,
        folder: Path,
        spool: Spool,
        refusals: Refusals,
        health: Health,
        *,
        since: str,
        close_after_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._service, self._folder, self._spool, self._refusals, self._health = (
            service,
            folder,
            spool,
            refusals,
            health,
        )
        self._since, self._close_after_s, self._clock = since, close_after_s, clock
        self._changed: dict[str, tuple[dict[str, int], float]] = {}
        self._settled: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="dicomweb")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End after the image that is being taken."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.round()
                self._health.mended("dicomweb")
            except requests.RequestException as error:
                said = getattr(getattr(error, "response", None), "status_code", None)
                why = f"status {said}" if said else type(error).__name__
                self._health.trouble("dicomweb", f"the service must answer (got {why}); it is asked again")
            except OSError as error:
                self._health.trouble("spool", f"the disk must take images (got {error.strerror or error})")
            except ValueError:
                self._health.trouble("dicomweb", "the service must answer in DICOM's JSON (got something else)")
            self._stop.wait(min(self._close_after_s, _LONGEST_S))

    def round(self) -> None:
        """Ask once, and take what is complete.

        Raises:
            requests.RequestException: The service doesn't answer.
            OSError: The disk is full or fails.
        """
        since = self._since or (date.today() - timedelta(days=1)).strftime("%Y%m%d")
        listed = dict(self._service.studies(since))
        for study, n in listed.items():
            if self._stop.is_set():
                return
            if n and self._settled.get(study) == n:
                continue
            series = self._service.series(study)
            taken = self._taken(study)
            if series == taken:
                self._settled[study] = n
                continue
            before = self._changed.get(study)
            if before is None or before[0] != series:
                self._changed[study] = (series, self._clock())
            elif self._clock() - before[1] >= self._close_after_s and self._take(study, series, taken):
                write_json(self._path(study), series)
                del self._changed[study]
        self._forget(set(listed))

    def _take(self, study: str, series: dict[str, int], taken: dict[str, int]) -> bool:
        """Take the images of series that are new or have grown; return whether all of it is done."""
        for uid, n in series.items():
            if taken.get(uid) == n:
                continue
            for instance in self._service.instances(study, uid):
                if not self._take_one(study, uid, instance):
                    return False
        return True

    def _take_one(self, study: str, series: str, instance: str) -> bool:
        for number in range(_TRIES):
            try:
                image = arrived_file(self._service.instance(study, series, instance), instance)
                break
            except DicomError as error:
                self._refuse(instance, series, error.code, error.detail)
                return True
            except WebError as error:
                if number == _TRIES - 1:
                    self._refuse(instance, series, "NOT_RECEIVED", f"the DICOMweb service gave {error}")
                    return True
                self._stop.wait(1)
        while not self._stop.is_set():
            try:
                is_new = self._spool.add(image)
            except SpoolFullError as error:
                self._health.trouble("spool", str(error))
                self._stop.wait(2)
                continue
            self._health.mended("spool")
            self._health.count("images_received" if is_new else "images_repeated")
            return True
        return False

    def _refuse(self, instance: str, series: str, code: str, detail: str) -> None:
        self._health.count("images_refused")
        self._refusals.add(QcRow("", instance, series, "file", code, detail))

    def _path(self, study: str) -> Path:
        return self._folder / f"{file_key(study)}.json"

    def _taken(self, study: str) -> dict[str, int]:
        try:
            found = json.loads(self._path(study).read_text(encoding="utf-8"))
            return {str(uid): int(n) for uid, n in found.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def _forget(self, listed: set[str]) -> None:
        """Forget studies that the service doesn't list any more."""
        keys = {file_key(study) for study in listed}
        for path in self._folder.glob("*.json"):
            if path.stem not in keys:
                path.unlink()
        self._settled = {study: n for study, n in self._settled.items() if study in listed}
        self._changed = {study: one for study, one in self._changed.items() if study in listed}
