"""A scan by a stranger: text planted in every attribute that may name somebody, and text that would do harm elsewhere.

A walk over all commands that read it, in processes that may not use the network; then every file and every word that
came out is searched.
"""

import csv
import re
import sqlite3
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from hard_to_break.broken_off import workplace
from hard_to_break.report import Finding
from hard_to_break.runner import ALL, Ran, Runner, running
from hard_to_break.scan import SLICES, head_hu
from hard_to_break.scenes import RECIPE
from ich25d.labels import row_ids
from ich25d.phantom.dicom import UNSIGNED_EXPLICIT, dicom_bytes

SIDE, SERIES = 64, 4
_NAMED = {
    "AE": "00080054 00080055", "SH": "00080050 00080094 00081010 00100021 00181010 00200010 00321064 00400010 00401001 "
    "00400241 00400242 00400243 00400253 00401005",
    "LO": "00080080 00081030 0008103E 00081040 00080081 00081060 00101000 00101001 00101040 00101050 00101060 00101080 "
    "00102110 00102150 00102152 00102154 00102180 001021F0 00181000 00181020 00181030 00321032 00321033 00321060 "
    "00400254 00401008 00401010 0040A075 00120010 00120040 00120060 00380010 00380050 00380300 00380400 00081090",
    "PN": "00100010 00080090 00081048 00081050 00081052 00081060 00081070 00101001 00101005 0040A123 00081062",
    "ST": "00080081 00102299 00081155", "LT": "00104000 001021B0 00184000 00204000 00321070 00324000 00384000 00402400",
    "UT": "00400440", "DA": "00080020 00080021 00080022 00080023 00100030 00102203 00380020 00400244",
    "TM": "00080030 00080031 00080032 00080033 00100032 00380021 00400245", "AS": "00101010", "CS": "00100040",
}  # fmt: skip
"""Tags of attributes by their value representation: people, places, dates, numbers, devices, comments."""
Elements = dict[tuple[int, int], tuple[str, str]]
MARK = "ZQ{:03}KX"
_DATES = "18{:02}0{}17"
"""A year that no phantom, version or clock has."""


def planted() -> tuple[Elements, list[str]]:
    """Return elements to plant, and the texts to look for."""
    elements: Elements = {}
    for vr, tags in _NAMED.items():
        for word in tags.split():
            tag = int(word[:4], 16), int(word[4:], 16)
            number = len(elements)
            if vr == "DA":
                text = _DATES.format(number % 100, number % 9 + 1)
            elif vr == "TM":
                text = f"{number % 24:02}4711.{731000 + number}"
            elif vr == "AS":
                text = "113Y"
            elif vr == "CS":
                continue
            else:
                text = MARK.format(number)
            elements[tag] = (vr, text)
    patient = MARK.format(999)
    elements[0x0010, 0x0020] = ("LO", patient)
    return elements, sorted({value for _, value in elements.values()})


_NIFTI_TEXTS = {4: 10, 14: 18, 148: 80, 228: 24, 328: 16}
"""Where text stands in a NIfTI header, and how much: data_type, db_name, descrip, aux_file, intent_name."""


def nifti_bytes(texts: list[str]) -> bytes:
    """Return a scan as NIfTI whose header holds texts."""
    hu = head_hu(SIDE, 9)
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, SIDE, SIDE, len(hu), 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, 2, 2, 5, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, 352, 1, 0)
    struct.pack_into("<2h", header, 252, 0, 1)  # the affine of the voxels
    struct.pack_into("<12f", header, 280, -2, 0, 0, 60, 0, -2, 0, 60, 0, 0, 5, 0)
    for (at, size), text in zip(_NIFTI_TEXTS.items(), texts, strict=True):
        header[at : at + size] = text.encode()[:size].ljust(size, b"\0")
    header[344:348] = b"n+1\0"
    return bytes(header) + np.ascontiguousarray(hu).tobytes()


HOSTILE = ("=cmd|' /C calc'!A0", "+1+1", "@SUM(1)", "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>',
           "../../../escaped", "\x1b[31mred\x1b[0m", "{{7*7}}", "a\tb", "x" * 300)  # fmt: skip
"""What ids, descriptions and names of files hold."""


class Walk:
    """All commands, one after the other, on one scan."""

    def __init__(self, place: Path, runner: Runner) -> None:
        self.place, self.runner = place, runner
        self.ran: dict[str, Ran] = {}

    def run(self, *words: str) -> None:
        """Run a command; what it prints is kept."""
        name = words[0] if words[0] not in self.ran else f"{words[0]} {len(self.ran)}"
        self.ran[name] = self.runner.run([*words, "-q"], folder=self.place / "out")

    def all(self, source: Path, labels: Path, recipe: Path) -> None:
        """Run every command that reads a scan, a store, a model or predictions."""
        out = self.place / "out"
        out.mkdir()
        inside = {
            name: str(out / name) for name in ("store", "eda", "cnn", "rnn", "report", "explain", "dicom", "eval")
        }
        cpu = ["--device", "cpu", "--workers", "1"]
        build = ["--size", "32", "--folds", "2", "--workers", "1", "--labels", str(labels)]
        self.run("build-studies", str(source), "--out", inside["store"], *build)
        self.run("eda", inside["store"], "--out", inside["eda"], "--source", str(source), "--workers", "1")
        self.run("train-cnn", inside["store"], "--config", str(recipe), "--out", inside["cnn"], "--device", "cpu")
        self.run("train-rnn", inside["store"], "--cnn", inside["cnn"], "--out", inside["rnn"], "--device", "cpu")
        self.run("predict", str(source), "--model", inside["rnn"], "--out", str(out / "p" / "s.csv"), "--report",
                 inside["report"], "--dicom", inside["dicom"], *cpu)  # fmt: skip
        self.run("explain", str(source), "--model", inside["cnn"], "--out", inside["explain"], "--label", "any", *cpu)
        self.run("report", inside["store"], "--model", inside["cnn"], "--out", str(out / "report2"), *cpu)
        self.run("evaluate", str(out / "p" / "predictions.parquet"), "--labels", str(labels), "--studies",
                 inside["store"], "--out", inside["eval"], "--no-figures")  # fmt: skip
        nifti = [str(self.place / "scan.nii")]
        self.run("build-studies", *nifti, "--out", str(out / "store2"), "--size", "32", "--workers", "1")
        self.run("predict", *nifti, "--model", inside["cnn"], "--out", str(out / "q" / "s.csv"), *cpu)
        self.run("check-submission", str(out / "p" / "s.csv"))
        self.run("export", "--model", inside["cnn"], "--out", str(out / "exported"))
        self.run("info", inside["store"], "--verify")
        self.run("info", inside["rnn"], "--json")
        self.run("recipe", "baseline")
        self.run("synth", "--studies", "2", "--out", str(out / "synth"), "--workers", "1")

    def strange_ends(self) -> list[str]:
        """Return what didn't end as it must."""
        found = []
        for name, ran in self.ran.items():
            if ran.code not in {0, 1} or "Traceback" in ran.output:
                found.append(f"{name} ended with {ran.code}: {ran.output[-600:]}")
        return found


def written(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every file, and what its compression may hide; DICOM objects are the standard's."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        yield name, name.encode(errors="surrogateescape")
        if not path.is_file() or path.suffix == ".dcm":
            continue
        yield name, path.read_bytes()
        if path.suffix == ".parquet":
            yield f"{name} as text", pd.read_parquet(path).to_csv().encode(errors="replace")
        if path.suffix == ".sqlite":
            with sqlite3.connect(path) as connection:
                yield f"{name} as text", "\n".join(connection.iterdump()).encode(errors="replace")


def stranger() -> Finding:
    """Walk over all commands with a stranger's scan and search all that they write and print."""
    target = "no text of 60 attributes in any file or word; no formula, tag, path or escape that does harm; no network"
    finding = Finding("stranger", "", target)
    canaries, texts = planted()
    with workplace() as place, running(ALL) as runner:
        source, labels, recipe = _scan(place, lambda series, rank: _hostile(series, rank) if series % 2 else canaries)
        of_nifti = [MARK.format(number) for number in range(900, 900 + len(_NIFTI_TEXTS))]
        (place / "scan.nii").write_bytes(nifti_bytes(of_nifti))
        texts += of_nifti
        for number, text in enumerate(HOSTILE):
            name = re.sub("[/\0]", "_", text)[:120]
            (source / f"{name}.dcm").write_bytes(b"no DICOM" if number % 2 else dicom_bytes(head_hu(SIDE)[3])[:700])
        before = set(place.rglob("*"))
        planted_in = b"".join(path.read_bytes() for path in before if path.is_file())
        if lost := [text for text in texts if text.encode() not in planted_in]:
            raise RuntimeError(f"planted text must be in the source (got none of {lost})")
        walk = Walk(place, runner)
        walk.all(source, labels, recipe)
        finding.faults += walk.strange_ends()
        outside = {path for path in place.rglob("*") if not path.is_relative_to(place / "out")} - before
        finding.faults += [f"outside of the output: {path}" for path in outside]
        finding.faults += [f"an escape in what {name} prints" for name, ran in walk.ran.items() if "\x1b" in ran.output]
        printed = ((f"what {name} prints", ran.output.encode()) for name, ran in walk.ran.items())
        found = [*written(place / "out"), *printed]
        for name, content in found:
            finding.faults += [f"{text} in {name}" for text in texts if text.encode() in content]
        finding.faults += harm(place / "out")
        n_objects = len(list((place / "out").rglob("*.dcm")))
    finding.lines.append(f"  {n_objects} DICOM files aside, which carry what the standard wants, or are phantoms")
    finding.figure = (
        f"{len(texts)} attributes planted, {len(HOSTILE)} hostile texts, {len(walk.ran)} commands, {len(found):,} "
        f"files and outputs searched, {len(finding.faults)} hits"
    )
    return finding


def harm(folder: Path) -> list[str]:
    """Return what in pages and CSV files would do harm where they are opened."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix in {".html", ".svg"}:
            page = path.read_text(encoding="utf-8")
            found += [f"{bad} in {name}" for bad in ("<script>alert", "<img src=x", "\x1b[31m") if bad in page]
        if path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as file:
                cells = [cell for row in csv.reader(file) for cell in row]
            bad_cells = [cell for cell in cells if cell[:1] in {"=", "+", "@", "\t"} or "\x1b" in cell]
            bad_cells += [cell for cell in cells if cell[:1] == "-" and not re.fullmatch(r"-[\d.e-]+", cell)]
            found += [f"the cell {cell[:40]!r} in {name}" for cell in bad_cells[:3]]
    return found


def _hostile(series: int, rank: int) -> Elements:
    """Return hostile elements of a slice: descriptions always, ids of one series and of some images of another."""
    text = HOSTILE[(series * SLICES + rank) % len(HOSTILE)]
    elements = {
        (0x0008, 0x103E): ("LO", text), (0x0018, 0x1210): ("SH", text[:16]), (0x0010, 0x0010): ("PN", text),
        (0x0008, 0x0070): ("LO", text), (0x0008, 0x1090): ("LO", text),
    }  # fmt: skip
    if series == 1:
        elements |= {(0x0020, 0x000D): ("UI", text), (0x0010, 0x0020): ("LO", text)}
    elif rank < 5:
        elements[0x0008, 0x0018] = ("UI", text)
    return elements


def _scan(place: Path, extra: Callable[[int, int], Elements]) -> tuple[Path, Path, Path]:
    """Write series with planted elements, their labels and a recipe; return where they are."""
    source = place / "in"
    source.mkdir()
    rows = []
    for index in range(SERIES * SLICES):
        series, rank = divmod(index, SLICES)
        elements = {
            (0x0008, 0x0018): ("UI", f"ID_{index:09x}"), (0x0010, 0x0020): ("LO", f"ID_{series:08x}"),
            (0x0020, 0x000D): ("UI", f"ID_{series:010x}"), (0x0020, 0x000E): ("UI", f"ID_{series + (1 << 36):010x}"),
            **extra(series, rank),
        }  # fmt: skip
        elements[0x0010, 0x0020] = ("LO", elements[0x0010, 0x0020][1] + str(series))
        content = dicom_bytes(
            head_hu(SIDE, series)[rank], origin_mm=(-100.0, -100.0, 5.0 * rank), pixel_spacing_mm=(2.0, 2.0),
            family=UNSIGNED_EXPLICIT, extra=elements,
        )  # fmt: skip
        if rank == 7:
            content = content[:-900] if series % 2 else content.replace(struct.pack("<H", 12), struct.pack("<H", 13))
        (source / f"{index}.dcm").write_bytes(content)
        label = int(rank in {3, 4, 5} and series % 2)
        rows += [(row, label) for row in row_ids([f"ID_{index:09x}"])]
    labels, recipe = place / "labels.csv", place / "recipe.toml"
    labels.write_text("ID,Label\n" + "".join(f"{row},{value}\n" for row, value in rows))
    recipe.write_text(RECIPE)
    return source, labels, recipe
