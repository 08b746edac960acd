"""`ich25d synth`: phantom studies as DICOM in the competition's layout, with labels."""

import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ich25d.errors import UsageError
from ich25d.files import write_json, write_text
from ich25d.labels import ANY_INDEX, LABELS, row_ids
from ich25d.phantom.dicom import dicom_bytes
from ich25d.phantom.head import FULL_SIZE, PhantomHead, make_head
from ich25d.phantom.roster import StudyOrder, plan_studies
from ich25d.phantom.scanner import field_of_view
from ich25d.phantom.traits import draw_traits
from ich25d.progress import bar, many
from ich25d.summary import Summary

FORM = 1
"""Version of the heads: another one makes other heads from the same seed."""

MANIFEST = "synth.json"
FINISHED = ".synth"
"""Folder with the labels of each finished study: a killed run goes on from there."""

TRAIN_LABELS = "stage_2_train.csv"
SAMPLE = "stage_2_sample_submission.csv"
TEST_LABELS = "stage_2_test_labels.csv"
"""Not in the competition's layout: the labels of the test slices, to score predictions with."""

HEAD_ATTEMPTS = 3
"""A head whose bleeds find no room is drawn again, so many times in all."""


@dataclass(frozen=True, slots=True)
class SynthSummary(Summary):
    """What was made.

    Args:
        out: The folder.
        n_studies: Studies, training and test.
        n_images: Their slices.
        n_kept: Studies that an earlier run had made.
        n_positive: Studies that bleed, by label.
        slice_share: Share of slices that bleed, 0 to 1.
    """

    out: Path
    n_studies: int
    n_images: int
    n_kept: int
    n_positive: dict[str, int]
    slice_share: float
    exit_code: int = 0

    @property
    def train(self) -> Path:
        """Folder of the training slices."""
        return self.out / "stage_2_train"

    @property
    def test(self) -> Path:
        """Folder of the test slices."""
        return self.out / "stage_2_test"

    @property
    def train_labels(self) -> Path:
        """Kaggle's long CSV of the training slices."""
        return self.out / TRAIN_LABELS

    @property
    def sample(self) -> Path:
        """The sample submission: every row of the test slices."""
        return self.out / SAMPLE

    @property
    def test_labels(self) -> Path:
        """The labels of the test slices."""
        return self.out / TEST_LABELS

    def lines(self) -> list[str]:
        """Return what was made, for people."""
        kinds = ", ".join(f"{name} {count}" for name, count in self.n_positive.items())
        return [
            f"{many(self.n_studies, 'study', 'studies')}, {many(self.n_images, 'slice')} in {self.out}"
            + (f" ({self.n_kept} studies were there)" if self.n_kept else ""),
            f"studies that bleed: {kinds}; slices: {self.slice_share:.0%}",
            f"labels  {self.train_labels}",
            f"sample  {self.sample}",
        ]


def synthesise(
    out: Path, n_studies: int = 24, *, seed: int = 0, size: int = FULL_SIZE, test_share: float = 0.25, workers: int = 0
) -> SynthSummary:
    """Make phantom studies in the competition's layout.

    The same call after a killed run makes what is missing; after a finished run it changes nothing.

    Args:
        out: The folder to make: `stage_2_train/`, `stage_2_test/`, the label CSV and the sample.
        n_studies: How many heads.
        seed: The same seed makes the same files.
        size: Rows and columns of a slice, at least 64.
        test_share: Share of studies without published labels.
        workers: Processes; 0 is one a core.

    Returns:
        Paths and counts.

    Raises:
        UsageError: A number is out of range, or `out` holds something else.
    """
    if n_studies < 1 or not 64 <= size <= 1024 or not 0 <= test_share < 1:
        raise UsageError(
            "phantoms need at least 1 study, a size of 64 to 1024 and a test share below 1 "
            f"(got {n_studies}, {size}, {test_share})"
        )
    orders = plan_studies(n_studies, seed=seed, size=size, test_share=test_share)
    _prepare(out, {"form": FORM, "studies": n_studies, "seed": seed, "size": size, "test_share": test_share})
    missing = [order for order in orders if not _labels_file(out, order).is_file()]
    with bar("phantoms", len(orders), "head") as advance:
        advance(len(orders) - len(missing))
        for _ in _make(out, missing, workers):
            advance()
    tables: dict[str, dict[str, list[int]]] = {"stage_2_train": {}, "stage_2_test": {}}
    counts = np.zeros(len(LABELS), int)
    for order in orders:
        labels = json.loads(_labels_file(out, order).read_text())
        tables[order.split].update(labels)
        counts += np.array(list(labels.values())).max(axis=0)
    train, test = tables["stage_2_train"], tables["stage_2_test"]
    _write_labels(out / TRAIN_LABELS, train)
    _write_labels(out / TEST_LABELS, test)
    write_text(out / SAMPLE, "ID,Label\n" + "".join(f"{row},0.5\n" for row in row_ids(sorted(test))))
    every = np.array([*train.values(), *test.values()])
    return SynthSummary(
        out=out,
        n_studies=len(orders),
        n_images=len(every),
        n_kept=len(orders) - len(missing),
        n_positive=dict(zip(LABELS, counts.tolist(), strict=True)),
        slice_share=float(every[:, ANY_INDEX].mean()),
    )


def _prepare(out: Path, settings: dict[str, Any]) -> None:
    """Make the folder and note its settings, or check that it was begun with these."""
    manifest = out / MANIFEST
    if manifest.is_file():
        try:
            found = json.loads(manifest.read_text())
        except ValueError:
            found = None
        if found != settings:
            raise UsageError(
                f"a folder of phantoms is continued with the settings it was begun with (got {settings}, "
                f"begun with {found}) in {out}; give those, or another folder"
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"phantoms are written into a new or empty folder (got {out}); give another one")
    for name in ("stage_2_train", "stage_2_test", FINISHED):
        (out / name).mkdir(parents=True, exist_ok=True)
    write_json(manifest, settings)


def _labels_file(out: Path, order: StudyOrder) -> Path:
    return out / FINISHED / f"{order.index:06d}.json"


def _write_labels(target: Path, labels: dict[str, list[int]]) -> None:
    images = sorted(labels)
    values = [value for image in images for value in labels[image]]
    rows = zip(row_ids(images), values, strict=True)
    write_text(target, "ID,Label\n" + "".join(f"{row},{value}\n" for row, value in rows))


def _make(out: Path, orders: list[StudyOrder], workers: int) -> Iterator[None]:
    """Make studies, in processes where there are several; yield after each one."""
    n = min(workers or os.cpu_count() or 1, len(orders))
    if n <= 1:
        for order in orders:
            _make_study(out, order)
            yield
        return
    with _one_thread_each(), ProcessPoolExecutor(n, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(_make_study, out, order) for order in orders]
        try:
            for job in as_completed(jobs):
                job.result()
                yield
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Make processes that are started in the block use one thread in BLAS: many small products are slower with more."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _make_study(out: Path, order: StudyOrder) -> None:
    """Make one head and write its slices, then the file of its labels."""
    cv2.setNumThreads(1)
    traits = draw_traits(np.random.default_rng([order.seed, 1, order.patient]))
    for attempt in range(HEAD_ATTEMPTS):
        rng = np.random.default_rng([order.seed, 2, order.index, attempt])
        head = make_head(rng, labels=order.bleeds, size=order.size, traits=traits)
        if all(head.labels[:, LABELS.index(name)].any() for name in order.bleeds):
            break
    write_json(_labels_file(out, order), _write_series(out / order.split, order, head))


def _write_series(folder: Path, order: StudyOrder, head: PhantomHead) -> dict[str, list[int]]:
    """Write the slices of a head; return their labels by image id."""
    labels = {}
    view = field_of_view(head.hu.shape[1])
    spacing = head.pixel_spacing_mm
    # The origin is the middle of the first pixel, and pixels are larger in smaller pictures.
    shift = (spacing - head.scan.pixel_mm) / 2
    directions = np.array(head.scan.directions)
    origins = head.scan.origins_mm() + shift * (directions[:3] + directions[3:])
    for rank, hu in enumerate(head.hu):
        image_id = order.identifier("image", 9, rank)
        content = dicom_bytes(
            hu,
            image_id=image_id,
            patient_id=order.identifier("patient", 8),
            study_id=order.identifier("study", 10),
            series_id=order.identifier("series", 10),
            origin_mm=origins[rank],
            directions=head.scan.directions,
            pixel_spacing_mm=(spacing, spacing),
            window=order.window,
            family=order.family,
            field=view,
        )
        # A killed run makes this study again, so a rename is enough here; fsync would cost more than the head.
        part = folder / f".{image_id}.part"
        part.write_bytes(content)
        part.replace(folder / f"{image_id}.dcm")
        labels[image_id] = head.labels[rank].tolist()
    return labels
