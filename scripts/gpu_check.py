"""What one GPU does with the package: see scripts/gpu_check.

Phantom heads become two study stores (256 and 384 px), and on them real trainings run for a few seconds each:
baseline's and strong's CNN and train-joint, with random weights. Each is measured three times: as it trains, on batches
that lie in memory already (what the device could do), and its loader alone. The smallest of device, loader and
transfer is what limits it. A profile of three steps names the costliest operations. Hours on RSNA are slices over
speed, nothing more.
"""

import argparse
import dataclasses
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from ich25d.config import Recipe
from ich25d.encoder.fold_training import FoldTraining
from ich25d.encoder.learnt_images import LearntImages
from ich25d.encoder.loaded import encode
from ich25d.encoder.parent import FoldStart
from ich25d.encoder.teaching import teaching_of
from ich25d.encoder.weights import build_encoder
from ich25d.files import write_json, write_text
from ich25d.joint.fold_training import JointFold
from ich25d.joint.model import JointModel
from ich25d.phantom.synth import synthesise
from ich25d.predict.answer import answer
from ich25d.predict.found import find_series
from ich25d.predict.network import load_network
from ich25d.predict.open_model import OPEN_MODEL
from ich25d.progress import set_quiet
from ich25d.recipes import find_recipe, read_recipe
from ich25d.sequence.model import SequenceModel
from ich25d.studies.build import build_studies
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.device import choose_device, quick_inference, to_device
from ich25d.training.loop import train_steps
from ich25d.training.processes import Processes

RSNA_SLICES, FOLDS = 752_803, 5
LIMIT_S = 480.0
_SHORT = ("encoder.name=test_resnet", "slab.size=32", "train.batch_size=4", "encoder.drop_path=0", "encoder.pool=avg",
          "train.loader_workers=0", "train.precision=fp32", "joint.series=1", "joint.micro_batch=8",
          "sequence.project=8", "sequence.hidden=4")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Amount:
    """How much is done: the usual check, or a short one of the script itself."""

    heads: int
    px: int
    seconds: float
    """Of each measurement."""
    sizes: tuple[int, ...]
    """Of the study stores, px: baseline's and train-joint's, and strong's."""
    changes: tuple[str, ...]
    """To every recipe."""


USUAL, SHORT = (
    Amount(16, 512, 12.0, (256, 384), ("encoder.weights=none",)),
    Amount(2, 96, 0.2, (256,), ("encoder.weights=none", *_SHORT)),
)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write; return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/gpu_check", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--short", action="store_true", help="a few steps of tiny networks, to try the script")
    parser.add_argument("--out", type=Path, default=Path("gpu_check"), help="folder for gpu_check.json and .txt")
    options = parser.parse_args(arguments)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print(
            "there is no GPU here (torch sees no CUDA device), so that nothing was checked; --device cpu --short tries "
            "the script itself",
            file=sys.stderr,
        )
        return 2
    begun, amount = time.monotonic(), SHORT if options.short else USUAL
    set_quiet(True)
    device = choose_device(options.device)
    found: dict[str, Any] = {"device": _device_name(device), "torch": torch.__version__, "short": options.short}
    found["pytest -m gpu"] = "left out" if options.short else _run_tests()
    with tempfile.TemporaryDirectory() as work:
        stores = _stores(Path(work), amount)
        for name, size in (("baseline", min(stores)), ("strong", max(stores))):
            recipe = read_recipe(find_recipe(Path(name)), amount.changes)
            found[name] = _measured(_cnn(stores[size], recipe, device, Path(work) / name), recipe, device, amount)
        recipe = read_recipe(find_recipe(Path("joint")), amount.changes)
        found["joint"] = _measured(_joint(stores[256], recipe, device, Path(work) / "joint"), recipe, device, amount)
        found["model in the box"] = _predicted(stores[256], device, 1 if options.short else None)
    found["hours on RSNA"] = _hours(found)
    found["minutes of this check"] = (time.monotonic() - begun) / 60
    write_json(options.out / "gpu_check.json", found)
    text = "\n".join(_lines(found)) + "\n"
    write_text(options.out / "gpu_check.txt", text)
    print(text, end="")
    return 0


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"


def _run_tests() -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S / 4)
    except subprocess.TimeoutExpired:
        return f"not finished in {LIMIT_S / 4:.0f} s"
    last = done.stdout.strip().splitlines()[-1:] or ["no output"]
    return f"exit code {done.returncode}: {last[0].strip('= ')}"


def _stores(work: Path, amount: Amount) -> dict[int, StudyStore]:
    """Make the phantoms once and build them at all sizes."""
    heads = synthesise(work / "dicom", amount.heads, size=amount.px, test_share=0.0)
    stores = {}
    for size in amount.sizes:
        build_studies((heads.train,), work / f"studies{size}", labels=heads.train_labels, size=size, folds=2)
        stores[size] = StudyStore.open(work / f"studies{size}")
    return stores


@dataclasses.dataclass(frozen=True)
class Job:
    """A training to measure."""

    training: Any
    """A `FoldTraining` or `JointFold`: its own learner, batches and loss are measured."""
    encoder: torch.nn.Module
    slabs_of: Callable[[Any], Any]
    """From a batch of the training to its `SlabBatch`."""
    per_step: int
    """Batches a step."""


def _cnn(store: StudyStore, recipe: Recipe, device: torch.device, folder: Path) -> Job:
    training = FoldTraining(
        store, recipe, folder, fold=0, device=device, processes=Processes(), painter=None, data_digest="",
        teaching=teaching_of(store),
    )  # fmt: skip
    training._model.freeze(False)
    return Job(training, training._model, lambda batch: batch, recipe.train.accumulate)


def _joint(store: StudyStore, recipe: Recipe, device: torch.device, folder: Path) -> Job:
    encoder = build_encoder(recipe.encoder, recipe.slab, recipe.pixels)
    width = np.ones(encoder.embedding_size, np.float32)
    model = JointModel(encoder, SequenceModel(encoder.embedding_size, recipe.sequence), 0 * width, width)
    nothing = np.zeros(0, np.int64)
    start = FoldStart(folder, 0, {}, LearntImages.of(nothing, nothing, None))
    training = JointFold(store, recipe, folder, model, start, fold=0, device=device, digest="")
    training._model.train()
    return Job(training, encoder, lambda batch: batch.slabs, training._per_step)


def _measured(job: Job, recipe: Recipe, device: torch.device, amount: Amount) -> dict[str, Any]:
    """Measure one training: loaded, resident and loading alone, transfer, memory, profile and prediction."""
    training = job.training
    on_gpu = device.type == "cuda"
    try:
        with training._loader:
            batches = _for_ever(training._batches)
            resident = [next(batches) for _ in range(2 * job.per_step)]
            _steps(job, itertools.cycle(resident), 2)  # kernels are chosen, optimiser states made
            if on_gpu:
                torch.cuda.reset_peak_memory_stats(device)
            speeds = {
                "slices/s": _speed(job, batches, device, amount.seconds),
                "slices/s, batches in memory": _speed(job, itertools.cycle(resident), device, amount.seconds),
                "slices/s, loader alone": _loading(job, batches, amount.seconds / 2),
            }
            rows = _profile(job, itertools.cycle(resident), device)
            batches.close()
    except torch.OutOfMemoryError:
        return {"too large": f"a step of {recipe.encoder.name} doesn't fit into this device's memory"}
    device_speed, loader_speed = speeds["slices/s, batches in memory"], speeds["slices/s, loader alone"]
    slabs = job.slabs_of(resident[0])
    n_bytes, gb_per_s = slabs.hu.numel() * slabs.hu.element_size(), _transfer(slabs.hu, device)
    transfer = gb_per_s * 1e9 / (n_bytes / len(slabs))
    slowest = min((device_speed, "the device"), (loader_speed, "the loader"), (transfer, "the transfer"))
    return {
        "network": recipe.encoder.name, "px": recipe.slab.size, "precision": training._learner.precision.name, **speeds,
        "slices/s, transfer alone": transfer, "limited by": slowest[1], "loader processes": recipe.train.loader_workers,
        "peak memory GB": torch.cuda.max_memory_allocated(device) / 1e9 if on_gpu else None,
        "epochs": recipe.joint.epochs if isinstance(training, JointFold) else recipe.train.epochs,
        "slices/s, prediction": _encoding(job, slabs, recipe, device, amount.seconds / 2),
        "views": len(recipe.features.views), "profile": rows,
    }  # fmt: skip


def _for_ever(batches: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """Repeat an epoch: a phantom store is short."""
    while True:
        yield from batches()


def _steps(job: Job, batches: Iterator[Any], n: int) -> int:
    """Do steps and return how many slabs they took."""
    training, n_slabs = job.training, 0
    loss = training._loss if isinstance(training, JointFold) else training._loss.of_epoch(0)
    for report in train_steps(training._learner, batches, loss, training._schedule, n_steps=n):
        n_slabs += sum(len(job.slabs_of(batch)) for batch in report.batches)
    return n_slabs


def _speed(job: Job, batches: Iterator[Any], device: torch.device, seconds: float) -> float:
    n_slabs, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        n_slabs += _steps(job, batches, 4)
        _wait(device)
    return n_slabs / (time.perf_counter() - begun)


def _loading(job: Job, batches: Iterator[Any], seconds: float) -> float:
    for _ in range(8):  # those read ahead while the device computed
        next(batches)
    n_slabs, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        n_slabs += len(job.slabs_of(next(batches)))
    return n_slabs / (time.perf_counter() - begun)


def _transfer(hu: torch.Tensor, device: torch.device) -> float:
    """Return GB/s of copying a batch's HU to the device."""
    source = hu.pin_memory() if device.type == "cuda" else hu.clone()
    _wait(device)
    begun = time.perf_counter()
    for _ in range(20):
        to_device(source, device) if device.type == "cuda" else source.clone()
    _wait(device)
    return 20 * source.numel() * source.element_size() / (time.perf_counter() - begun) / 1e9


def _profile(job: Job, batches: Iterator[Any], device: torch.device) -> list[dict[str, Any]]:
    """Return the costliest operations of three steps: name, share of all time, calls."""
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as seen:
        _steps(job, batches, 3)
        _wait(device)
    attribute = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    rows = [(float(getattr(row, attribute)), row.key, int(row.count)) for row in seen.key_averages()]
    total = sum(spent for spent, _, _ in rows) or 1.0
    top = sorted(rows, reverse=True)[:8]
    return [{"operation": key[:60], "share": spent / total, "calls": count} for spent, key, count in top]


def _encoding(job: Job, slabs: Any, recipe: Recipe, device: torch.device, seconds: float) -> float:
    """Return slices/s of the encoder alone, one view, as prediction uses it."""
    model, precision = job.encoder.eval(), quick_inference(device)
    encode(model, slabs, recipe.slab, device, precision)
    _wait(device)
    n_slabs, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        encode(model, slabs, recipe.slab, device, precision)
        _wait(device)
        n_slabs += len(slabs)
    return n_slabs / (time.perf_counter() - begun)


def _predicted(store: StudyStore, device: torch.device, most: int | None) -> dict[str, Any]:
    """Predict `most` series of the phantoms' store by the model in the box, from disk to probabilities."""
    network = load_network(OPEN_MODEL, str(device), "torch")
    begun = time.perf_counter()
    planned = find_series([store.root], network)
    planned = dataclasses.replace(planned, series=planned.series[:most])
    found = answer(planned, network, lambda _, __, ___, finished, ____: finished)
    n_slices = sum(len(one.image_ids) for _, one in found.series)
    return {"slices/s, prediction from a store": n_slices / (time.perf_counter() - begun), "slices": n_slices}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _hours(found: dict[str, Any]) -> dict[str, float]:
    """Estimate what all five folds of each recipe take on RSNA: training, validation after each epoch, embedding."""
    hours = {}
    for name in ("baseline", "strong", "joint"):
        one = found[name]
        if "too large" in one:
            continue
        learnt = one["epochs"] * RSNA_SLICES * (FOLDS - 1) / one["slices/s"]
        judged = (one["epochs"] if name != "joint" else 1) * RSNA_SLICES / one["slices/s, prediction"]
        embedded = one["views"] * RSNA_SLICES / one["slices/s, prediction"]
        hours[name] = (learnt + judged + embedded) / 3600
    return hours


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [f"{found['device']}, torch {found['torch']}; pytest -m gpu: {found['pytest -m gpu']}"]
    for name in ("baseline", "strong", "joint"):
        one = found[name]
        lines.append(
            f"\n{name}: " + (one.get("too large") or f"{one['network']} at {one['px']} px, {one['precision']}")
        )
        for key, value in one.items():
            if key.startswith("slices/s") or key in ("peak memory GB", "limited by", "loader processes"):
                lines.append(f"  {key:<28} {value:,.1f}" if isinstance(value, float) else f"  {key:<28} {value}")
        lines += [f"    {row['share']:6.1%}  {row['calls']:>6} x  {row['operation']}" for row in one.get("profile", [])]
    lines.append(
        "\nmodel in the box: " + ", ".join(f"{key} {value:,.1f}" for key, value in found["model in the box"].items())
    )
    hours = ", ".join(f"{name} {value:.1f}" for name, value in found["hours on RSNA"].items())
    what = "tiny networks: no estimate of anything" if found["short"] else f"{RSNA_SLICES:,} slices, {FOLDS} folds"
    lines.append(f"hours on RSNA ({what}): {hours}")
    lines.append(f"this check took {found['minutes of this check']:.1f} minutes")
    return lines


if __name__ == "__main__":
    sys.exit(main())
