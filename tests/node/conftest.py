"""A toy model, and an Orthanc that sends to a node and takes its results."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from node_walk import NODE, Pacs, free_port
from orthanc_server import PROGRAM, running_orthanc
from toy_model import write_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory of one small fold."""
    return write_model(tmp_path_factory.mktemp("node") / "run", folds=1)


@pytest.fixture(scope="session")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    """An Orthanc with DICOM and DICOMweb; skips where it is absent."""
    plugin = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
    for what, package in ((PROGRAM, "orthanc"), (plugin, "orthanc-dicomweb")):
        if not what.exists():
            absent = f"no {what}: apt-get install {package}"
            if os.environ.get("ICH25D_REQUIRE_ORTHANC"):
                pytest.fail(absent)
            pytest.skip(absent)
    port, node_port = free_port(), free_port()
    settings = {
        "DicomServerEnabled": True, "DicomAet": "ORTHANC", "DicomPort": port, "DicomAlwaysAllowStore": True,
        "DicomModalities": {
            "node": [NODE, "127.0.0.1", node_port], "stranger": {
                "AET": NODE, "Host": "127.0.0.1", "Port": node_port, "LocalAet": "STRANGER"},
        },
        "Plugins": [str(plugin)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}, "DicomScuTimeout": 60,
    }  # fmt: skip
    with running_orthanc(tmp_path_factory.mktemp("pacs"), **settings) as server:
        yield Pacs(server, port, node_port, f"{server.root}/dicom-web")
