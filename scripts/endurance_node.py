"""What a node holds: many senders at once, odd images among the others, a full disk, kills, a PACS that restarts.

    PYTHONPATH=. python scripts/endurance_node.py [--studies 40] [--images 50] [--senders 20] [--odd 0.05] [--kill]

Images of all studies are sent interleaved, by so many associations at once, to `ich25d node` in a process of its own,
with a small network of random weights. In the middle its disk is full for some seconds (a fault below the file
functions), the node is killed (`--kill`) and the PACS, a real Orthanc, is restarted. Then everything that was
acknowledged is looked for: images in the evidence of the reports that the PACS holds, odd ones in qc.csv. Prints
figures as JSON; exits with 1 where one of them isn't what it must be.
"""

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import pydicom

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "node")]

from node_walk import NODE, free_port, health, images, study_uid  # noqa: E402  # of the tests, found above
from orthanc_server import Orthanc, running_orthanc  # noqa: E402
from pynetdicom import AE, _config  # noqa: E402
from pynetdicom.sop_class import CTImageStorage  # noqa: E402
from toy_model import N_SLICES, write_model  # noqa: E402

CLOSE_AFTER_S = 15
LONGEST_S = 1500
_FULL = """
import errno, os, sys
real = os.fsync
def fsync(handle):
    if os.path.exists(os.environ["ICH25D_TEST_FULL"]):
        raise OSError(errno.ENOSPC, "No space left on device")
    real(handle)
os.fsync = fsync
from ich25d.cli.app import main
main()
"""


class Sender(threading.Thread):
    """Sends files through one association after the other, each file until it is acknowledged or refused for good."""

    def __init__(
        self, files: list[tuple[str, Path]], port: int, said: dict[str, int], hold_at: int, go_on: threading.Event
    ) -> None:
        super().__init__(daemon=True)
        self.files, self.port, self.said = files, port, said
        self.hold_at, self.go_on = hold_at, go_on
        self.put_off = 0
        self.associations = 0

    def run(self) -> None:
        """Send all."""
        left = list(self.files)
        while left:
            entity = AE(ae_title="SENDER")
            entity.add_requested_context(CTImageStorage, "1.2.840.10008.1.2.1")
            association = entity.associate("127.0.0.1", self.port, ae_title=NODE)
            self.associations += association.is_established
            while left and association.is_established:
                if len(self.said) > self.hold_at:
                    self.go_on.wait()  # the disk fills up here, however fast the machine is
                uid, path = left[0]
                try:
                    status = association.send_c_store(path)
                except RuntimeError:  # the node ended
                    break
                if "Status" not in status:
                    break
                if status.Status in (0xA700, 0x0110):
                    self.put_off += 1
                    time.sleep(0.5)
                    continue
                self.said[uid] = status.Status
                left.pop(0)
            if association.is_established:
                association.release()
            if left:
                time.sleep(0.5)


class Memory(threading.Thread):
    """Watches the memory of the node's process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.pid, self.seen = 0, []

    def run(self) -> None:
        """Look about twice a second."""
        while True:
            try:
                text = Path(f"/proc/{self.pid}/status").read_text()
                resident = next(line for line in text.splitlines() if line.startswith("VmRSS"))
                self.seen.append((self.pid, int(resident.split()[1]) / 1024))
            except (OSError, StopIteration):
                pass
            time.sleep(0.5)


def write_files(folder: Path, n_studies: int, n_images: int, odd: float, seed: int) -> list[tuple[str, Path, str]]:
    """Write studies as files; return UID, path and kind of each (`good`, `cut` or `junk`), all studies interleaved."""
    dice = random.Random(seed)
    folder.mkdir()
    n = n_studies * n_images
    kinds = {place: ("cut", "junk")[i % 2] for i, place in enumerate(dice.sample(range(n), round(odd * n)))}
    files = []
    for index in range(n_images):
        for number in range(1, n_studies + 1):
            content = images(number, n=1, first=index % N_SLICES)[0]
            uid = f"2.25.{number}.3.{index + 1}"
            made = pydicom.dcmread(BytesIO(content))
            made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = uid
            made.ImagePositionPatient = [-96, -96, 5.0 * index]
            made.InstanceNumber = index + 1
            path = folder / f"{number}-{index}.dcm"
            made.save_as(path)
            content = path.read_bytes()
            kind = kinds.get(len(files), "good")
            if kind == "cut":
                path.write_bytes(content[:-1000])
            elif kind == "junk":
                path.write_bytes(content[: content.index(b"\x08\x00", 132)] + b"\xff" * 200)
            files.append((uid, path, kind))
    return files


def start(out: Path, model: Path, log: Path, full: Path, port: int, page: int, pacs: int) -> subprocess.Popen[bytes]:
    """Start a node whose disk is full while a file is there."""
    words = [
        "node", "--out", str(out), "--model", str(model), "--device", "cpu", "--engine", "torch", "--aet", NODE,
        "--port", str(port), "--page-port", str(page), "--send-to", f"ORTHANC@127.0.0.1:{pacs}",
        "--close-after", str(CLOSE_AFTER_S),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ICH25D_TEST_FULL": str(full), "PYTHONPATH": str(ROOT)}
    with log.open("ab") as output:
        command = [sys.executable, "-c", _FULL, *words]
        return subprocess.Popen(command, stdout=output, stderr=output, env=environment)


def wait_until(done: object, what: str) -> None:
    """Wait, at most `LONGEST_S`."""
    end = time.monotonic() + LONGEST_S
    while not done():  # type: ignore[operator]
        if time.monotonic() > end:
            raise SystemExit(f"endurance: not in {LONGEST_S} s: {what}")
        time.sleep(0.3)


def evidence(server: Orthanc) -> tuple[Counter[str], set[str]]:
    """Return the number of reports of each study in the PACS, and the images that they rest on."""
    reports: Counter[str] = Counter()
    seen: set[str] = set()
    for name in server.read("/series"):
        series = server.read(f"/series/{name}")
        if series["MainDicomTags"]["Modality"] != "SR":
            continue
        for instance in series["Instances"]:
            report = pydicom.dcmread(BytesIO(server.get(f"/instances/{instance}/file")))
            reports[str(report.StudyInstanceUID)] += 1
            for study in report.CurrentRequestedProcedureEvidenceSequence:
                for one in study.ReferencedSeriesSequence:
                    seen.update(str(item.ReferencedSOPInstanceUID) for item in one.ReferencedSOPSequence)
    return reports, seen


def endure(
    folder: Path, *, n_studies: int, n_images: int, n_senders: int, odd: float, full_s: float, kill: bool, seed: int = 0
) -> dict[str, object]:
    """Run it in a folder; return the figures."""
    _config.STORE_SEND_CHUNKED_DATASET = True  # bytes as they are in the file, also where they are junk
    model = write_model(folder / "model", folds=1)
    files = write_files(folder / "files", n_studies, n_images, odd, seed)
    port, page, pacs_port = free_port(), free_port(), free_port()
    out, log, full = folder / "out", folder / "log", folder / "full"
    pacs = {"DicomServerEnabled": True, "DicomAet": "ORTHANC", "DicomPort": pacs_port, "DicomAlwaysAllowStore": True}
    said: dict[str, int] = {}
    memory, began = Memory(), time.monotonic()

    def started() -> subprocess.Popen[bytes]:
        process = start(out, model, log, full, port, page, pacs_port)
        memory.pid = process.pid
        return process

    with ExitStack() as stack:
        first = stack.enter_context(ExitStack())
        first.enter_context(running_orthanc(folder / "orthanc", **pacs))
        node = started()
        stack.callback(lambda: (node.kill(), node.wait()))
        memory.start()
        wait_until(lambda: health(page).get("state") == "waiting" or node.poll() is not None, "the node starts")
        shares = [[(uid, path) for uid, path, _ in files[number::n_senders]] for number in range(n_senders)]
        third, is_full = len(files) // 3, threading.Event()
        senders = [Sender(share, port, said, third, is_full) for share in shares]
        sending = time.monotonic()
        for one in senders:
            one.start()
        wait_until(lambda: len(said) > third, "a third is sent")
        full.touch()
        is_full.set()
        time.sleep(full_s)
        full.unlink()
        if kill:
            wait_until(lambda: len(said) > len(files) // 2, "half is sent")
            node.send_signal(signal.SIGKILL)
            node.wait()
            node = started()
        for one in senders:
            one.join(LONGEST_S)
        sent_s = time.monotonic() - sending
        first.close()  # the PACS ends while studies are predicted
        wait_until(lambda: health(page).get("counts", {}).get("studies_answered", 0) >= 1, "a study is answered")
        server = stack.enter_context(running_orthanc(folder / "orthanc", **pacs))
        done = ("studies_open", "studies_due", "objects_waiting")
        wait_until(
            lambda: (
                (state := health(page))
                and state["state"] == "waiting"
                and not any(state[name] for name in done)
                and len(list((out / "studies").glob("*.json"))) == n_studies
            ),
            "all is answered",
        )
        state = health(page)
        reports, seen = evidence(server)
        node.send_signal(signal.SIGTERM)
        exit_code = node.wait()
    kinds = {uid: kind for uid, _, kind in files}
    with (out / "report" / "qc.csv").open(newline="") as file:
        named = {row["image_id"] for row in csv.DictReader(file)}
    last = [megabytes for pid, megabytes in memory.seen if pid == memory.seen[-1][0]]
    quarters = [last[len(last) * part // 4 : len(last) * (part + 1) // 4] for part in range(4)]
    return {
        "studies": n_studies, "images": len(files), "odd_images": sum(kind != "good" for kind in kinds.values()),
        "associations_at_once": n_senders, "associations": sum(one.associations for one in senders),
        "acknowledged": sum(status == 0 for status in said.values()),
        "put_off": sum(one.put_off for one in senders),
        "acknowledged_and_lost": sum(
            uid not in (seen if kinds[uid] == "good" else named) for uid, status in said.items() if status == 0
        ),
        "good_and_not_acknowledged": sum(kind == "good" and said.get(uid) != 0 for uid, kind in kinds.items()),
        "odd_without_a_row": sum(kind != "good" and uid not in named for uid, kind in kinds.items()),
        "studies_with_one_report": sum(n == 1 for n in reports.values()),
        "studies_with_other_numbers": n_studies - sum(reports[study_uid(n + 1)] == 1 for n in range(n_studies)),
        "troubles_at_the_end": sorted(state["troubles"]), "exit_code": exit_code,
        "traceback": "Traceback" in log.read_text(),
        "memory_mb_in_quarters": [round(max(part, default=0)) for part in quarters],
        "sent_in_s": round(sent_s), "all_in_s": round(time.monotonic() - began),
    }  # fmt: skip


MUST = {
    "acknowledged_and_lost": 0, "good_and_not_acknowledged": 0, "odd_without_a_row": 0, "studies_with_other_numbers": 0,
    "troubles_at_the_end": [], "exit_code": 130, "traceback": False,
}  # fmt: skip
"""Figures that must be so."""


def main() -> int:
    """Run it, print the figures; 1 where one isn't what it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--images", type=int, default=50, help="of each study")
    parser.add_argument("--senders", type=int, default=20, help="associations at once")
    parser.add_argument("--odd", type=float, default=0.05, help="share of odd images")
    parser.add_argument("--full", type=float, default=5.0, help="seconds for which the disk is full")
    parser.add_argument("--kill", action="store_true", help="kill the node in the middle too")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = endure(
            Path(folder), n_studies=given.studies, n_images=given.images, n_senders=given.senders, odd=given.odd,
            full_s=given.full, kill=given.kill, seed=given.seed,
        )  # fmt: skip
    print(json.dumps(figures, indent=2))
    wrong = [name for name, value in MUST.items() if figures[name] != value]
    print("wrong: " + ", ".join(wrong) if wrong else "as it must be", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
