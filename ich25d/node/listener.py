"""Listening for DICOM: C-ECHO, and C-STORE of CT images, which are acknowledged when they are on disk.

References:
    DICOM PS3.4, annex B (Storage Service Class; B.2.3 its statuses); PS3.8, 9.3 (the units of the protocol).
"""

import errno
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # its classes are made as it is imported
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    Verification,
)

from ich25d.dicom.elements import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT
from ich25d.dicom.foreign import DECODERS
from ich25d.errors import DicomError, UsageError
from ich25d.node.arrived import arrived
from ich25d.node.health import Health
from ich25d.node.refusals import Refusals
from ich25d.node.settings import Limits, NodeSettings
from ich25d.node.spool import Spool, SpoolFullError
from ich25d.studies.qc import QcRow

SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND, PROCESSING_FAILURE = 0x0000, 0xA700, 0xC000, 0x0110
"""Statuses of C-STORE (PS3.4, table B.2-1; PS3.7, annex C)."""

SYNTAXES = (EXPLICIT, IMPLICIT, DEFLATED, BIG_ENDIAN, *DECODERS)
"""Transfer syntaxes that are read."""
CLASSES = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)

_FULL = (errno.ENOSPC, errno.EDQUOT)
_STEP_S = 1.0


@dataclass(slots=True, eq=False)
class _Caller:
    """What one association has done so far."""

    began: float
    n_images: int = 0
    n_bytes: int = 0
    """Of the data set that it is in the middle of."""
    connection: socket.socket | None = None


@dataclass(slots=True, eq=False)
class _Desk:
    """Takes images of all associations."""

    spool: Spool
    refusals: Refusals
    health: Health
    limits: Limits
    callers: dict[object, _Caller] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def opened(self, event: Any) -> None:  # noqa: ANN401  # pynetdicom's events have attributes by their kind
        """Bound what a connection may make the node read."""
        stream = event.assoc.dul.socket
        read = stream.recv

        def bounded(n_bytes: int) -> bytearray:
            if n_bytes > self.limits.pdu_bytes:
                raise OSError(errno.EMSGSIZE, f"a protocol unit must be at most {self.limits.pdu_bytes} bytes")
            found: bytearray = read(n_bytes)
            return found

        stream.recv = bounded
        stream.socket.settimeout(self.limits.silence_s)
        with self.lock:
            self.callers[event.assoc] = _Caller(time.monotonic(), connection=stream.socket)

    def closed(self, event: Any) -> None:  # noqa: ANN401
        """Forget a connection."""
        with self.lock:
            self.callers.pop(event.assoc, None)

    def read(self, event: Any) -> None:  # noqa: ANN401
        """Count bytes, and end an association whose data set is too large, or that makes too many with the others."""
        with self.lock:
            caller = self.callers.get(event.assoc)
            if caller is None:
                return
            caller.n_bytes += len(event.data)
            in_flight = sum(one.n_bytes for one in self.callers.values())
            if caller.n_bytes <= self.limits.image_bytes and in_flight <= self.limits.in_flight_bytes:
                return
            _hang_up(caller)
        self._refuse("", "TOO_BIG", f"a data set must be at most {self.limits.image_bytes} bytes, and those of one "
                     f"moment {self.limits.in_flight_bytes} (got {caller.n_bytes} and {in_flight})")  # fmt: skip

    def store(self, event: Any) -> int:  # noqa: ANN401
        """Take one image; return the status that answers it."""
        with self.lock:
            caller = self.callers.get(event.assoc)
            if caller is not None:
                caller.n_bytes = 0
                caller.n_images += 1
                if caller.n_images > self.limits.images:
                    _hang_up(caller)
                    self.health.trouble("senders", f"an association had more than {self.limits.images} images")
                    return OUT_OF_RESOURCES
        request = event.request
        sop_instance = str(request.AffectedSOPInstanceUID)
        try:
            image = arrived(
                request.DataSet.getbuffer(), sop_class=str(request.AffectedSOPClassUID), sop_instance=sop_instance,
                transfer_syntax=str(event.context.transfer_syntax),
            )  # fmt: skip
        except DicomError as error:
            self._refuse(sop_instance, error.code, error.detail)
            return CANNOT_UNDERSTAND
        try:
            is_new = self.spool.add(image)
        except SpoolFullError as error:
            self.health.count("images_put_off")
            self.health.trouble("spool", str(error))
            return OUT_OF_RESOURCES
        except OSError as error:
            self.health.count("images_put_off")
            self.health.trouble("spool", f"the disk must take images (got {error.strerror or type(error).__name__})")
            return OUT_OF_RESOURCES if error.errno in _FULL else PROCESSING_FAILURE
        self.health.mended("spool")
        self.health.count("images_received" if is_new else "images_repeated")
        return SUCCESS

    def _refuse(self, sop_instance: str, code: str, detail: str) -> None:
        self.health.count("images_refused")
        try:
            self.refusals.add(QcRow("", sop_instance, "", "file", code, detail))
        except OSError as error:
            self.health.trouble("refusals", f"refused.jsonl must be written (got {error.strerror})")

    def watch(self, stop: threading.Event) -> None:
        """End associations that last too long, until told to stop."""
        while not stop.wait(_STEP_S):
            now = time.monotonic()
            with self.lock:
                for caller in self.callers.values():
                    if now - caller.began > self.limits.association_s:
                        _hang_up(caller)


def _hang_up(caller: _Caller) -> None:
    """End a connection at once: the thread that reads from it sees its end."""
    if caller.connection is not None:
        try:
            caller.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has ended by itself


@contextmanager
def listening(settings: NodeSettings, spool: Spool, refusals: Refusals, health: Health) -> Iterator[int]:
    """Listen until the block ends.

    Args:
        settings: Of the node.
        spool: Takes the images.
        refusals: Takes rows of what can't be taken.
        health: Counts.

    Yields:
        The port.

    Raises:
        UsageError: The port can't be had.
    """
    assert settings.port is not None
    _config.LOG_HANDLER_LEVEL = "none"
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # its lines may show data; health says what matters
    limits = settings.limits
    desk = _Desk(spool, refusals, health, limits)
    handlers: list[evt.EventHandlerType] = [
        (evt.EVT_C_ECHO, lambda _: SUCCESS), (evt.EVT_C_STORE, desk.store), (evt.EVT_CONN_OPEN, desk.opened),
        (evt.EVT_CONN_CLOSE, desk.closed), (evt.EVT_DATA_RECV, desk.read),
        (evt.EVT_REJECTED, lambda _: health.count("associations_rejected")),
    ]  # fmt: skip
    entity = application(settings)
    try:
        server = entity.start_server((settings.host, settings.port), block=False, evt_handlers=handlers)
    except OSError as error:
        raise UsageError(
            f"the DICOM port must be free (got {error.strerror or error} for {settings.host}:{settings.port}); name "
            "another --port or --host"
        ) from error
    assert server is not None
    stop = threading.Event()
    watcher = threading.Thread(target=desk.watch, args=(stop,), daemon=True, name="associations")
    watcher.start()
    try:
        yield int(server.server_address[1])
    finally:
        stop.set()
        entity.shutdown()
        watcher.join()


def application(settings: NodeSettings) -> AE:
    """Return what a node accepts: who may call, and the classes and syntaxes of images."""
    limits = settings.limits
    entity = AE(ae_title=settings.title)
    entity.add_supported_context(Verification)
    for one in CLASSES:
        entity.add_supported_context(one, list(SYNTAXES))
    entity.require_calling_aet = list(settings.allow)
    entity.require_called_aet = True
    entity.maximum_associations = limits.associations
    entity.maximum_pdu_size = limits.pdu_bytes // 8
    entity.network_timeout = entity.acse_timeout = entity.dimse_timeout = limits.silence_s
    return entity
