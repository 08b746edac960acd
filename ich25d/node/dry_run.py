"""What a node would listen to, send, and with which model. Nothing is written, and no port is opened."""

from dataclasses import dataclass
from pathlib import Path

from ich25d.node.beforehand import check_node
from ich25d.node.page_server import LOOPBACK
from ich25d.node.settings import NodeSettings
from ich25d.node.spool import ARRIVING, ASIDE, CLOSED
from ich25d.progress import many
from ich25d.summary import Summary
from ich25d.training.model_file import about_model


@dataclass(frozen=True, slots=True)
class DryNode(Summary):
    """What a node would do."""

    listens: str
    """Title, host and port; empty where it doesn't."""
    allow: tuple[str, ...]
    """Titles that may call; empty is every one."""
    asks: str
    """Root of a DICOMweb service."""
    sends_to: str
    sends: tuple[str, ...]
    """Kinds of objects."""
    page: str
    model: str
    close_after_s: float
    spool_limit_bytes: int
    n_waiting: int
    """Studies that an earlier node has left."""
    n_aside: int
    """Studies that failed; somebody must look."""

    def lines(self) -> list[str]:
        """Return the lines that the command prints."""
        callers = ", ".join(self.allow) or "every AE title of this machine"
        lines = ["dry run, nothing is written and no port is opened"]
        if self.listens:
            lines.append(f"listens as {self.listens} for CT images of {callers}")
        if self.asks:
            lines.append(f"asks {self.asks} for new studies of CT")
        lines.append(f"a study is complete {self.close_after_s:g} s after its last image")
        lines.append(f"sends {', '.join(self.sends)} to {self.sends_to}" if self.sends_to else "sends nothing")
        lines += [f"shows the worklist at {self.page}, on this machine alone", self.model]
        left = f"{many(self.n_waiting, 'study', 'studies')} left by an earlier node"
        lines.append(f"spool: at most {self.spool_limit_bytes / 1e9:g} GB; {left}, {self.n_aside} set aside")
        return lines


def dry_node(settings: NodeSettings, model: Path) -> DryNode:
    """Say what a node would do; the arguments are its own.

    Raises:
        UsageError: As `node`.
        ModelError: The model directory is absent, unfinished, damaged or foreign.
    """
    predictor = check_node(settings, model)
    kinds = ["structured reports", "key objects"]
    kinds += ["captures"] * settings.captures + ["heat maps"] * settings.heat
    spool = settings.out / "spool"
    counts = {name: sum(1 for _ in (spool / name).glob("*")) for name in (ARRIVING, CLOSED, ASIDE)}
    return DryNode(
        "" if settings.port is None else f"{settings.title} on {settings.host}:{settings.port}", settings.allow,
        settings.dicomweb or "", settings.destination, tuple(kinds) if settings.destination else (),
        f"http://{LOOPBACK}:{settings.page_port}/", about_model(model, predictor.content).line,
        settings.close_after_s, settings.limits.spool_bytes, counts[ARRIVING] + counts[CLOSED], counts[ASIDE],
    )  # fmt: skip
