"""What a node is told: who may send, where results go, and how much of everything it takes."""

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from ich25d.errors import UsageError

_AE_TITLE = re.compile(r"[ -\[\]-~]{1,16}")  # printable ASCII without a backslash (PS3.5, table 6.2-1)
_DESTINATION = re.compile(r"(?P<title>[^@]+)@(?P<host>\[[^\]]+\]|[^@:]+):(?P<port>\d{1,5})")
_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Peer:
    """A DICOM application of another machine."""

    title: str
    """Its application entity title."""
    host: str
    port: int

    def __str__(self) -> str:
        """Write it as users do."""
        return f"{self.title}@{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a node takes at once."""

    associations: int = 20
    """Open at the same time; a further one is rejected for the time being."""
    images: int = 20_000
    """Of one association; at more it is aborted."""
    association_s: float = 4 * 3600.0
    """Longest time of one association."""
    silence_s: float = 60.0
    """Longest time without a word from the other side."""
    image_bytes: int = 2**30
    """Largest data set of one image."""
    in_flight_bytes: int = 2 * 2**30
    """Largest sum of the data sets that all associations are in the middle of: they are in memory."""
    pdu_bytes: int = 2**20
    """Longest unit of the protocol that is read; the node asks for at most an eighth of that."""
    spool_bytes: int = 20 * 10**9
    """Images and results on disk together; at more, images are refused as out of resources."""
    free_bytes: int = 256 * 2**20
    """What must stay free on the disk, likewise."""
    kept_s: float = 3600.0
    """How long the images of an answered study are kept, so that late ones of it join them."""
    put_off_s: float = 600.0
    """How long a study is kept open for images that had no room, whose senders come again."""
    attempts: int = 3
    """How often a study is tried that ends the node or fails in a way that nobody foresaw."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """All that a node is told but the model."""

    out: Path
    """Its folder."""
    title: str = "ICH25D"
    host: str = "127.0.0.1"
    port: int | None = 11112
    """Where it listens for DICOM; None doesn't."""
    allow: tuple[str, ...] = ()
    """Application entity titles that may call; empty is every one."""
    send_to: Peer | None = None
    """Where results go by C-STORE."""
    dicomweb: str | None = None
    """Root of a DICOMweb service that is asked for new studies, and gets their results unless `send_to` does."""
    since: str = ""
    """Studies of the DICOMweb service count from this date on, `YYYYMMDD`; empty is yesterday."""
    close_after_s: float = 30.0
    """A study is complete when for so long no new image of it came."""
    captures: bool = False
    heat: bool = False
    page_port: int = 8025
    """Where the worklist is shown, on loopback alone."""
    n_shown: int = 200
    """Studies that the worklist and its pages keep."""
    accept: tuple[str, ...] = ()
    device: str = "auto"
    engine: str = "auto"
    limits: Limits = field(default_factory=Limits)

    @property
    def destination(self) -> str:
        """Where results go, in words; empty where they go nowhere."""
        return str(self.send_to or self.dicomweb or "")


def ae_title(text: str, option: str) -> str:
    """Check an application entity title.

    Raises:
        UsageError: It isn't one.
    """
    title = text.strip(" ")
    if not title or not _AE_TITLE.fullmatch(title):
        raise UsageError(
            f"{option} must be an AE title: 1 to 16 letters of ASCII, without a backslash (got {text!r}); see PS3.5"
        )
    return title


def peer(text: str, option: str = "--send-to") -> Peer:
    """Read `TITLE@HOST:PORT`.

    Raises:
        UsageError: It isn't of this form.
    """
    found = _DESTINATION.fullmatch(text)
    if not found or not 0 < int(found["port"]) <= _HIGHEST_PORT:
        raise UsageError(f"{option} must be AET@HOST:PORT, as PACS@192.0.2.7:104 (got {text!r})")
    return Peer(ae_title(found["title"], option), found["host"].strip("[]"), int(found["port"]))


def service_url(text: str) -> str:
    """Check the root of a DICOMweb service.

    Raises:
        UsageError: It isn't an address of http or https, or holds a password.
    """
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment:
        raise UsageError(f"--dicomweb must be the root of a service, as https://pacs.example/dicom-web (got {text!r})")
    if parts.username or parts.password:
        raise UsageError("--dicomweb mustn't hold a password, which other users would see; write it into ~/.netrc")
    return text.rstrip("/")


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
