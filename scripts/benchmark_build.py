"""Measure `build-studies` against the loop that Kagglers write: CPU time a slice, one worker, warm files.

    python scripts/benchmark_build.py DATA/rsna-intracranial-hemorrhage-detection [--repeat 5] [--json]

Beside the folder lies the archive of the same name. Only ratios within one run mean anything: the loop and
the builds take turns, and the best of each counts. The loop reads with pydicom, makes three windows in float,
resizes with cv2 and writes a PNG; its products have no order, no labels and no Hounsfield units.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pydicom

from ich25d.progress import set_quiet
from ich25d.studies.build import build_studies

SIZE = 256
WINDOWS = ((40, 80), (80, 200), (40, 380))
TARGETS = {"loose, no head box": 7.0, "loose, head box": 5.0, "zip, head box": 4.0}


def kaggle_slice(dataset: pydicom.Dataset, target: Path) -> None:
    """Do what the public notebooks do to one file."""
    hu = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    channels = [np.clip((hu - (level - width / 2)) / width, 0, 1) for level, width in WINDOWS]
    picture = (np.stack(channels, axis=-1) * 255).astype(np.uint8)
    cv2.imwrite(str(target), cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA))


def loop_over_files(folder: Path, out: Path) -> int:
    """Run the loop over loose files."""
    paths = sorted(folder.rglob("*.dcm"))
    for path in paths:
        kaggle_slice(pydicom.dcmread(path), out / f"{path.stem}.png")
    return len(paths)


def loop_over_archive(archive: Path, out: Path) -> int:
    """Run the loop over an archive's members."""
    with zipfile.ZipFile(archive) as opened:
        names = sorted(name for name in opened.namelist() if name.endswith(".dcm"))
        for name in names:
            kaggle_slice(pydicom.dcmread(BytesIO(opened.read(name))), out / f"{Path(name).stem}.png")
    return len(names)


def build(source: Path, crop: str, out: Path) -> int:
    """Run the whole build: headers, order, pixels, tables."""
    return build_studies((source,), out / "studies", only=("*.dcm",), crop=crop, size=SIZE, workers=1).n_used


def cpu_ms(work: Callable[[Path], int]) -> float:
    """Run once in a fresh folder and return CPU milliseconds a slice."""
    out = Path(tempfile.mkdtemp(prefix="ich25d-benchmark-"))
    try:
        start = time.process_time()
        n_slices = work(out)
        return (time.process_time() - start) / n_slices * 1e3
    finally:
        shutil.rmtree(out)


def main() -> int:
    """Measure, print, and say by the exit code whether the targets hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    folder, archive = arguments.folder, arguments.folder.with_suffix(".zip")
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    cv2.setNumThreads(1)
    set_quiet(True)
    works: dict[str, Callable[[Path], int]] = {
        "loop, loose": lambda out: loop_over_files(folder, out),
        "loose, no head box": lambda out: build(folder, "none", out),
        "loose, head box": lambda out: build(folder, "head", out),
        "loop, zip": lambda out: loop_over_archive(archive, out),
        "zip, head box": lambda out: build(archive, "head", out),
    }
    best = dict.fromkeys(works, float("inf"))
    for _ in range(arguments.repeat):
        for name, work in works.items():
            best[name] = min(best[name], cpu_ms(work))
    ratios = {name: best["loop, zip" if name.startswith("zip") else "loop, loose"] / best[name] for name in TARGETS}
    sizes = {}
    for crop in ("none", "head"):
        with tempfile.TemporaryDirectory(prefix="ich25d-benchmark-") as out:
            summary = build_studies((folder,), Path(out) / "s", only=("*.dcm",), crop=crop, size=SIZE, workers=1)
            sizes[crop] = {"bytes_per_slice": round(summary.bytes_per_slice), "rsna_gb": round(summary.projected_gb, 1)}
    if arguments.json:
        print(json.dumps({"cpu_ms": best, "ratios": ratios, "sizes": sizes}, indent=2))
    else:
        for name, value in best.items():
            ratio = f"{ratios[name]:5.1f} x (target {TARGETS[name]:.0f})" if name in ratios else ""
            print(f"{name:<20} {value:7.2f} ms a slice  {ratio}")
        for crop, found in sizes.items():
            print(f"crop {crop:<5} {found['bytes_per_slice']:,} bytes a slice, RSNA's 752,803: {found['rsna_gb']} GB")
    return 0 if all(ratios[name] >= target for name, target in TARGETS.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
