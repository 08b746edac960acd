"""What a node refuses before torch is loaded."""

import re
from importlib.util import find_spec
from pathlib import Path

from ich25d.dicom.codes import check_accepted
from ich25d.errors import UsageError
from ich25d.files import check_folder
from ich25d.node.settings import NodeSettings, ae_title, is_loopback, service_url
from ich25d.training.device_name import check_device_name
from ich25d.training.model_file import Predictor, read_predictor
from ich25d.training.operating_point import read_points

NAMES = ("spool", "outbox", "report", "studies", "fetched")
"""Folders that a node fills."""


def check_node(settings: NodeSettings, model: Path) -> Predictor:
    """Check what a node is told, as far as neither network nor weights are needed.

    Args:
        settings: What it is told.
        model: A model directory.

    Returns:
        What the model's `model.json` says.

    Raises:
        UsageError: Options that don't fit together, a folder of something else, a package that isn't installed.
        ModelError: The model directory is absent, unfinished, damaged or foreign.
    """
    wanted = ("pynetdicom", "highdicom") + (("dicomweb_client",) if settings.dicomweb else ())
    if missing := [name for name in wanted if find_spec(name) is None]:
        raise UsageError(f"a node needs {', '.join(missing)} (got none); pip install 'ich25d[dicom]'")
    ae_title(settings.title, "--aet")
    for title in settings.allow:
        ae_title(title, "--allow")
    if settings.dicomweb is not None:
        service_url(settings.dicomweb)
    if settings.since and settings.dicomweb is None:
        raise UsageError(f"--since is for --dicomweb (got {settings.since!r} and none)")
    if settings.since and not re.fullmatch(r"[12]\d{3}(0[1-9]|1[0-2])([0-2]\d|3[01])", settings.since):
        raise UsageError(f"--since must be a date, YYYYMMDD (got {settings.since!r})")
    if settings.port is None and settings.dicomweb is None:
        raise UsageError("a node must listen or ask (got neither); name --port or --dicomweb")
    if settings.port == settings.page_port:
        raise UsageError(f"--port and --page-port must differ (got {settings.port} for both)")
    if settings.port is not None and not is_loopback(settings.host) and not settings.allow:
        raise UsageError(
            f"a node that other machines reach must know who may send (got --host {settings.host} and no --allow); "
            "name every sender's AE title with --allow"
        )
    if (settings.captures or settings.heat) and not settings.destination:
        raise UsageError(
            "--dicom-captures and --dicom-heat add to what is sent (got no destination); name --send-to or --dicomweb"
        )
    check_accepted(settings.accept)
    check_device_name(settings.device)
    check_folder(settings.out, "node", NAMES)
    found = read_predictor(model)
    read_points(model)
    return found
