"""A real PACS sends studies to a node, and gets structured reports back."""

import json
import signal
import time
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
from pydicom.uid import UID
from toy_model import write_model

from ich25d.node.settings import NodeSettings, Peer

pytestmark = pytest.mark.slow


def store(pacs: Pacs, files: list[bytes]) -> list[str]:
    """Put files into the PACS; return what it calls them."""
    return [pacs.server.store(content)["ID"] for content in files]


def send(pacs: Pacs, names: list[str], modality: str = "node") -> dict[str, Any]:
    """Let the PACS send instances by C-STORE, in this order, through one association."""
    return pacs.server.post(f"/modalities/{modality}/store", str(names).replace("'", '"').encode())


def reports(pacs: Pacs, *numbers: int) -> dict[str, int]:
    """Return how many structured reports each of these studies has, where it has any."""
    found: dict[str, int] = {}
    for name in pacs.server.read("/series"):
        series = pacs.server.read(f"/series/{name}")
        if series["MainDicomTags"]["Modality"] == "SR":
            study = study_of(pacs, series["ParentStudy"])
            found[study] = found.get(study, 0) + len(series["Instances"])
    wanted = map(study_uid, numbers)
    return {study: found[study] for study in wanted if study in found}


def study_of(pacs: Pacs, name: str) -> str:
    """Return the UID of a study by what the PACS calls it."""
    return str(pacs.server.read(f"/studies/{name}")["MainDicomTags"]["StudyInstanceUID"])


def settings_for(pacs: Pacs, out: Path, **more: Any) -> NodeSettings:
    """Return what a node next to the PACS is told."""
    return NodeSettings(
        out, NODE, port=pacs.node_port, allow=("ORTHANC",), send_to=Peer("ORTHANC", "127.0.0.1", pacs.port),
        page_port=free_port(), close_after_s=1.0, device="cpu", engine="torch", **more,
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
        wait_for(lambda: reports(pacs, 1, 2) == expected, "reports are in the PACS")
        send(pacs, interleaved)
        late = store(pacs, images(1, n=1, first=4))
        send(pacs, late)
        wait_for(
            lambda: reports(pacs, 1)[study_uid(1)] == 2, "a late image joins its study, whose report is another one"
        )
        wait_for(lambda: health(settings.page_port)["objects_waiting"] == 0, "all is sent")
        status, page = ask(settings.page_port, "/")
        assert status == 200
        assert b"CANARY" not in page
        assert page.count(b'href="studies/') >= 2
        assert ask(settings.page_port, "/studies/2.25.1.2.html")[0] == 200
        state = health(settings.page_port)
    assert reports(pacs, 1, 2) == {study_uid(1): 2, study_uid(2): 1}
    assert state["troubles"] == {}
    counts = done[0].counts
    assert {name: counts[name] for name in ("images_received", "studies_answered", "associations_rejected")} == {
        "images_received": 17, "studies_answered": 3, "associations_rejected": 1,
    }  # fmt: skip


def test_a_killed_node_loses_nothing_that_it_acknowledged(pacs: Pacs, model: Path, tmp_path: Path) -> None:
    """SIGKILL after the images came, before their study is complete; the next start answers it, once."""
    settings = settings_for(pacs, tmp_path / "out")
    log, ports = tmp_path / "log", ["--port", str(pacs.node_port), "--page-port", str(settings.page_port)]
    names = store(pacs, images(7))
    with node_process(settings.out, model, log, *ports, "--close-after", "600") as process:
        wait_for(
            lambda: health(settings.page_port).get("state") == "waiting" or process.poll() is not None, "it starts"
        )
        assert process.poll() is None, log.read_text()
        assert send(pacs, names)["FailedInstancesCount"] == 0
        process.send_signal(signal.SIGKILL)
        process.wait(SLOWEST_S)
    assert "Traceback" not in log.read_text()
    with running_node(settings, model):
        wait_for(lambda: reports(pacs, 7), "the report is in the PACS")
        wait_for(lambda: health(settings.page_port)["objects_waiting"] == 0, "all is sent")
        send(pacs, names)
        time.sleep(3 * settings.close_after_s)
    assert reports(pacs, 7) == {study_uid(7): 1}


def test_captures_and_heat_go_back_where_they_are_asked_for(pacs: Pacs, tmp_path: Path) -> None:
    """Of a flagged study: a report, key objects, pictures and a map of the heat, as the PACS keeps them."""
    flagging = write_model(tmp_path / "run", folds=1, pixels=0.5)
    content = json.loads((flagging / "model.json").read_text())
    content["thresholds"] = {"slice": {"f1": {"any": 0.001}}, "series": {"f1": {"any": 0.001}}}
    (flagging / "model.json").write_text(json.dumps(content))
    settings = settings_for(pacs, tmp_path / "out", captures=True, heat=True)
    names = store(pacs, images(8))

    def kinds() -> dict[str, int]:
        study = next(name for name in pacs.server.read("/studies") if study_of(pacs, name) == study_uid(8))
        found: dict[str, int] = {}
        for instance in pacs.server.read(f"/studies/{study}/instances"):
            tags = pacs.server.read(f"/instances/{instance['ID']}/simplified-tags")
            found[UID(tags["SOPClassUID"]).name] = found.get(UID(tags["SOPClassUID"]).name, 0) + 1
        return found

    with running_node(settings, flagging):
        assert send(pacs, names)["FailedInstancesCount"] == 0
        wait_for(lambda: reports(pacs, 8), "the report is in the PACS")
        wait_for(lambda: health(settings.page_port)["objects_waiting"] == 0, "all is sent")
    found = kinds()
    assert found.pop("Secondary Capture Image Storage") >= 1
    assert found == {
        "CT Image Storage": len(names), "Enhanced SR Storage": 1, "Parametric Map Storage": 1,
        "Key Object Selection Document Storage": 1,
    }  # fmt: skip


def test_the_same_through_dicomweb(pacs: Pacs, model: Path, tmp_path: Path) -> None:
    """New studies are asked for, their reports stored; a second node in the folder knows what was taken."""
    settings = NodeSettings(
        tmp_path / "out", NODE, port=None, dicomweb=pacs.root, since="20250101", page_port=free_port(),
        close_after_s=1.0, device="cpu", engine="torch",
    )  # fmt: skip
    store(pacs, images(11) + images(12))
    with running_node(settings, model) as done:
        expected = {study_uid(11): 1, study_uid(12): 1}
        wait_for(lambda: reports(pacs, 11, 12) == expected, "reports are in the PACS")
        wait_for(lambda: health(settings.page_port)["objects_waiting"] == 0, "all is sent")
    assert done[0].counts["images_received"] == 8
    with running_node(settings, model) as done:
        store(pacs, images(13))
        wait_for(lambda: reports(pacs, 13), "the report of a new study is in the PACS")
    assert reports(pacs, 11, 12, 13) == {**expected, study_uid(13): 1}
    assert done[0].counts["images_received"] == 4
