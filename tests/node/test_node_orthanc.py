"""A real PACS sends studies to a node, and gets structured reports back."""

import signal
from pathlib import Path
from typing import Any

import pytest
from node_walk import (
    NODE,
    SLOWEST_S,
    Pacs,
    ask,
    free_port,
    health,
    images,
    node_process,
    running_node,
    study_uid,
    wait_for,
)

from ich25d.node.settings import NodeSettings, Peer

pytestmark = pytest.mark.slow


def store(pacs: Pacs, files: list[bytes]) -> list[str]:
    """Put files into the PACS; return what it calls them."""
    return [pacs.server.store(content)["ID"] for content in files]


def send(pacs: Pacs, names: list[str], modality: str = "node") -> dict[str, Any]:
    """Let the PACS send instances by C-STORE, in this order, through one association."""
    return pacs.server.post(f"/modalities/{modality}/store", str(names).replace("'", '"').encode())


def reports(pacs: Pacs) -> dict[str, int]:
    """Return how many structured reports each study has."""
    found: dict[str, int] = {}
    for name in pacs.server.read("/series"):
        series = pacs.server.read(f"/series/{name}")
        if series["MainDicomTags"]["Modality"] == "SR":
            study = pacs.server.read(f"/studies/{series['ParentStudy']}")["MainDicomTags"]["StudyInstanceUID"]
            found[study] = found.get(study, 0) + len(series["Instances"])
    return found


def settings_for(pacs: Pacs, out: Path, **more: Any) -> NodeSettings:
    """Return what a node next to the PACS is told."""
    return NodeSettings(
        out, NODE, port=pacs.node_port, allow=("ORTHANC",), send_to=Peer("ORTHANC", "127.0.0.1", pacs.port),
        page_port=free_port(), close_after_s=1.0, device="cpu", **more,
    )  # fmt: skip


def test_studies_come_in_and_reports_go_back(pacs: Pacs, model: Path, tmp_path: Path) -> None:
    """Two interleaved; the same again changes nothing; who isn't on the list isn't heard; the page shows them."""
    settings = settings_for(pacs, tmp_path / "out")
    first, second = store(pacs, images(1)), store(pacs, images(2))
    with running_node(settings, model) as done:
        assert pacs.server.post("/modalities/node/echo", b"{}") == {}
        with pytest.raises(OSError, match="500"):
            send(pacs, first, "stranger")
        interleaved = [name for pair in zip(first, second, strict=True) for name in pair]
        assert send(pacs, interleaved)["FailedInstancesCount"] == 0
        expected = {study_uid(1): 1, study_uid(2): 1}
        wait_for(lambda: reports(pacs) == expected, "reports are in the PACS")
        send(pacs, interleaved)
        late = store(pacs, images(1, n=1, first=4))
        send(pacs, late)
        wait_for(lambda: reports(pacs)[study_uid(1)] == 2, "a late image joins its study, whose report is another one")
        wait_for(lambda: health(settings.page_port)["objects_waiting"] == 0, "all is sent")
        status, page = ask(settings.page_port, "/")
        assert status == 200
        assert b"CANARY" not in page
        assert page.count(b'href="studies/') >= 2
        assert ask(settings.page_port, "/studies/2.25.1.2.html")[0] == 200
        state = health(settings.page_port)
    assert reports(pacs) == {study_uid(1): 2, study_uid(2): 1}
    assert state["troubles"] == {}
    counts = done[0].counts
    assert {name: counts[name] for name in ("images_received", "studies_answered", "associations_rejected")} == {
        "images_received": 17, "studies_answered": 3, "associations_rejected": 1,
    }  # fmt: skip


def test_a_killed_node_loses_nothing_that_it_acknowledged(pacs: Pacs, model: Path, tmp_path: Path) -> None:
    """SIGKILL after the images came, before their study is complete; the next start answers it, and ends by Ctrl-C."""
    page_port, log = free_port(), tmp_path / "log"
    options = ["--port", str(pacs.node_port), "--page-port", str(page_port), "--close-after"]
    names = store(pacs, images(7))
    with node_process(tmp_path / "out", model, log, *options, "600") as process:
        wait_for(lambda: health(page_port).get("state") == "waiting" or process.poll() is not None, "it starts")
        assert process.poll() is None, log.read_text()
        assert send(pacs, names)["FailedInstancesCount"] == 0
        process.send_signal(signal.SIGKILL)
        process.wait(SLOWEST_S)
    to = ["--send-to", f"ORTHANC@127.0.0.1:{pacs.port}"]
    with node_process(tmp_path / "out", model, log, *options, "1", *to) as process:
        wait_for(lambda: reports(pacs) or process.poll() is not None, "the report is in the PACS")
        assert reports(pacs) == {study_uid(7): 1}, log.read_text()
        wait_for(lambda: health(page_port)["objects_waiting"] == 0, "all is sent")
        process.send_signal(signal.SIGINT)
        assert process.wait(SLOWEST_S) == 130, log.read_text()
    text = log.read_text()
    assert text.endswith("interrupted; run the same command again to go on\n")
    assert "Traceback" not in text
    assert "CANARY" not in text
