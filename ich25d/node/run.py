"""`ich25d node`: listens and asks for scans, predicts each complete study, sends its results, shows the worklist."""

import errno
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ich25d import __version__
from ich25d.dicom_out.source import as_in_the_files
from ich25d.errors import ModelError, UsageError
from ich25d.files import claim_folder, locked, write_text
from ich25d.node.beforehand import check_node
from ich25d.node.delivery import Delivery, Destination, Outbox
from ich25d.node.health import Health
from ich25d.node.listener import listening
from ich25d.node.page_server import LOOPBACK, serving
from ich25d.node.records import Record, Records
from ich25d.node.refusals import Refusals
from ich25d.node.send_store import StoreSender
from ich25d.node.settings import NodeSettings
from ich25d.node.spool import Spool
from ich25d.node.study import Desk
from ich25d.predict.network import Network, load_network
from ich25d.progress import many, remark
from ich25d.studies.qc import is_refused
from ich25d.summary import Summary
from ich25d.training.operating_point import read_points

if TYPE_CHECKING:
    from ich25d.node.web_service import WebService

_STEP_S = 0.5
"""Pause between two looks for studies that are complete."""
_DISK_S = 10.0
"""Pause after the disk has failed."""
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ESTALE)
"""Errors that pass: a study that meets them is tried without end."""
_ATTEMPTS = "attempts"


@dataclass(frozen=True, slots=True)
class Node:
    """The parts of a running node that its main thread works with."""

    settings: NodeSettings
    spool: Spool
    desk: Desk
    health: Health
    delivery: Delivery | None

    def step(self) -> bool:
        """Answer one complete study; return whether there was one."""
        self.spool.sweep()
        study = self.spool.next_closed(self.settings.close_after_s)
        if study is None:
            self.desk.show_refusals()
            return False
        earlier = self.desk.records.read(study)
        folder = self.spool.take(study, frozenset(earlier.images) if earlier else frozenset())
        if folder is None:
            if earlier is not None and self.desk.post_left(study, self.spool.closed_folder(study), earlier):
                self._wake()
            return True
        self.health.state = "predicting"
        self._answer(study, folder)
        self._wake()
        self.health.state = "waiting"
        return True

    def _answer(self, study: str, folder: Path) -> None:
        n_before = _attempts(folder)
        if n_before >= self.settings.limits.attempts:
            self._set_aside(study, folder, f"it ended the node, or failed, {n_before} times")
            return
        try:
            write_text(folder / _ATTEMPTS, str(n_before + 1))
            record = self.desk.answer(study, folder)
        except KeyboardInterrupt:
            write_text(folder / _ATTEMPTS, str(n_before))
            raise
        except (ModelError, UsageError) as error:
            self._set_aside(study, folder, str(error).partition("\n")[0])
            return
        except Exception as error:
            self.spool.again(study)
            if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
                write_text(folder / _ATTEMPTS, str(n_before))
                raise
            # One study mustn't end the node; it is told of, and tried again.
            self.health.count("studies_failed")
            self.health.trouble("studies", f"a study failed by {type(error).__name__}; the log says where")
            remark(
                f"a study failed by {type(error).__name__}, please report it:"
            )  # without its text, which may be data
            print("".join(traceback.format_tb(error.__traceback__)), file=sys.stderr, flush=True)
            return
        (folder / _ATTEMPTS).unlink(missing_ok=True)
        self.spool.answered(study)
        self.health.count("studies_answered")
        self.health.mended("disk")
        remark(_told(record))

    def _set_aside(self, study: str, folder: Path, why: str) -> None:
        self.desk.refuse(study, folder, why)
        self.spool.set_aside(study)
        self.health.count("studies_set_aside")
        remark(f"a study is set aside: {why}")

    def _wake(self) -> None:
        if self.delivery is not None:
            self.delivery.wake()


@dataclass(frozen=True, slots=True)
class NodeSummary(Summary):
    """What a node that was told to stop has done."""

    counts: dict[str, int]
    """Of images, studies and objects, by what became of them."""

    def lines(self) -> list[str]:
        """Return the lines that the command prints."""
        return [f"{name.replace('_', ' ')}: {count:,}" for name, count in self.counts.items()]


def node(settings: NodeSettings, model: Path, *, until: Callable[[], bool] = lambda: False) -> NodeSummary:
    """Run a node until it is interrupted.

    Args:
        settings: What it is told.
        model: A model directory.
        until: Tells whether to stop; it is asked about every second.

    Raises:
        UsageError: Options that don't fit together, a folder of something else, a port that is taken, a second node.
        ModelError: The model directory is absent, unfinished, damaged or foreign.
        KeyboardInterrupt: It was interrupted; the same call goes on.
    """
    check_node(settings, model)
    settings.out.mkdir(parents=True, exist_ok=True)
    with (
        locked(settings.out / "node.lock", f"runs a node in {settings.out}", UsageError),
        as_in_the_files(),  # for all threads: pydicom's switch is one a process
    ):
        claim_folder(settings.out, "node")
        network = load_network(model, settings.device, settings.engine)
        with running(settings, network) as one:
            while not until():
                try:
                    if not one.step():
                        time.sleep(_STEP_S)
                except OSError as error:
                    one.health.trouble("disk", f"the disk must answer (got {error.strerror or type(error).__name__})")
                    remark(f"the disk fails ({error.strerror or type(error).__name__}); the node tries again")
                    time.sleep(_DISK_S)
            return NodeSummary(one.health.counts())


@contextmanager
def running(settings: NodeSettings, network: Network) -> Iterator[Node]:
    """Start all that runs beside the prediction, until the block ends.

    Args:
        settings: What the node is told.
        network: The model.

    Raises:
        UsageError: A port can't be had.
    """
    out, health = settings.out, Health()
    outbox = Outbox(out / "outbox")
    spool = Spool(out / "spool", settings.limits, others=lambda: outbox.n_bytes)
    refusals, records = Refusals(out / "refused.jsonl"), Records(out / "studies")
    where = _destination(settings)
    desk = Desk(
        network, read_points(network.folder), out / "report", outbox.folder if where else None, records, refusals,
        settings.accept, settings.captures, settings.heat, settings.n_shown,
    )  # fmt: skip
    delivery = Delivery(outbox, where, health) if where else None
    desk.write_worklist()
    with ExitStack() as stack:
        told = _health_of(settings, health, spool, outbox, network.about.name)
        page = stack.enter_context(serving(desk.report, settings.page_port, told))
        remark(f"worklist: http://{LOOPBACK}:{page}/ (this machine alone)")
        if delivery is not None:
            delivery.start()
            stack.callback(delivery.close)
            remark(f"results go to {settings.destination}")
        if settings.port is not None:
            port = stack.enter_context(listening(settings, spool, refusals, health))
            remark(f"listening as {settings.title} on {settings.host}:{port}")
        if settings.dicomweb is not None:
            from ich25d.node.web_poll import Poll

            poll = Poll(
                _service(settings.dicomweb, settings), out / "fetched", spool, refusals, health, since=settings.since,
                close_after_s=settings.close_after_s,
            )  # fmt: skip
            poll.start()
            stack.callback(poll.close)
            remark(f"asking {settings.dicomweb} for new studies")
        health.state = "waiting"
        yield Node(settings, spool, desk, health, delivery)


def _destination(settings: NodeSettings) -> Destination | None:
    if settings.send_to is not None:
        return StoreSender(settings.send_to, settings.title)
    return None if settings.dicomweb is None else _service(settings.dicomweb, settings)


def _service(root: str, settings: NodeSettings) -> "WebService":
    from ich25d.node.web_service import WebService

    return WebService(root, settings.limits.image_bytes)


def _health_of(
    settings: NodeSettings, health: Health, spool: Spool, outbox: Outbox, model: str
) -> Callable[[], dict[str, object]]:
    def told() -> dict[str, object]:
        return {
            "version": __version__, "model": model, **health.to_dict(), "studies_open": spool.n_open,
            "studies_due": spool.n_due, "objects_waiting": len(outbox.waiting()), "spool_bytes": spool.used,
            "spool_limit_bytes": settings.limits.spool_bytes,
        }  # fmt: skip

    return told


def _attempts(folder: Path) -> int:
    try:
        return int((folder / _ATTEMPTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0


def _told(record: Record) -> str:
    n_flagged = sum(row.state == "flagged" for row in record.rows)
    n_refused = sum(is_refused(row) for row in record.qc)
    made = f"answered a study: {len(record.rows)} series, {n_flagged} flagged"
    return f"{made}; {many(len(record.objects), 'object')} made, {many(n_refused, 'refusal')}"
