"""Prediction end to end from DICOM against the encoder's forward pass alone, in one run, warm files.

    python scripts/benchmark_predict.py SOURCE... [--model RUN] [--engine torch]... [--repeats 3] [--workers 0]

Without --model the network is the one of the small-data recipe with random weights: speed doesn't depend on them.
Both sides do the same forward passes (folds x views) on the same slices in the same batches, by the same engine. The
baseline feeds tensors that lie ready in memory; the other side finds the series, reads, crops, windows, refines and
calibrates. Sides and engines take turns, so that a busy machine slows all; ratios are those of the best of each. The
first engine is what the others are compared with, end to end.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ich25d.config import Recipe
from ich25d.encoder.loaded import export_weights
from ich25d.encoder.model import normalisation
from ich25d.encoder.model_directory import add_fold
from ich25d.encoder.weights import build_encoder
from ich25d.engine.exported_engine import BATCH_SIZE
from ich25d.engine.network_input import slab_batches
from ich25d.labels import LABELS, N_LABELS
from ich25d.predict.answer import predict_series
from ich25d.predict.network import Network, load_network
from ich25d.predict.series import list_series, read_pixels
from ich25d.recipes import find_recipe, read_recipe, write_recipe
from ich25d.studies.pool.local_pool import LocalPool

Array = np.ndarray[Any, Any]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--engine", action="append", default=[])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    engines = options.engine or ["torch"]
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or _random_model(Path(folder))
        _measure([load_network(model, options.device, engine) for engine in engines], options)


def _measure(networks: list[Network], options: argparse.Namespace) -> None:
    model = networks[0].model
    found = list_series(options.sources, only=options.only, size=model.size, crop=model.crop)
    reads = [read_pixels(series, crop=model.crop, size=model.size) for series in found.series]
    slabs = [
        batch
        for read in reads
        for batch in slab_batches(
            read.hu, read.slice_position_mm, read.window, model.slab, BATCH_SIZE, brain_hu=read.brain_hu
        )
    ]
    n_slices, passes = sum(map(len, slabs)), len(model.folds) * len(model.views)
    forward: list[list[tuple[float, float]]] = [[] for _ in networks]
    whole: list[list[tuple[float, float]]] = [[] for _ in networks]
    for network in networks:
        _forward(network, slabs[:2])
    for _ in range(options.repeats):
        for number, network in enumerate(networks):
            forward[number].append(_timed(partial(_forward, network, slabs)))
            whole[number].append(_timed(partial(_end_to_end, network, options)))
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} cores; {n_slices} slices of {len(reads)} series, {passes} passes each")
    first = [min(times[number] for times in whole[0]) for number in (0, 1)]
    for network, *sides in zip(networks, forward, whole, strict=True):
        print(network.engine.label)
        for number, clock in enumerate(("wall clock", "CPU time of this process")):
            alone, all_of_it = (min(times[number] for times in side) for side in sides)
            spread = "; ".join(", ".join(f"{times[number]:.2f}" for times in side) for side in sides)
            print(f"  {clock}: forward {n_slices / alone:.1f} slices/s, end to end {n_slices / all_of_it:.1f} slices/s")
            print(f"    end to end is {alone / all_of_it:.2f} of its own forward pass (wanted on a CPU: at least 0.85)")
            print(f"    and {first[number] / all_of_it:.2f} times {networks[0].engine.label}; seconds {spread}")


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds of the wall clock and of the CPU: beside other programs the former tells little."""
    start, start_cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - start_cpu


def _end_to_end(network: Network, options: argparse.Namespace) -> None:
    found = list_series(options.sources, only=options.only, size=network.size, crop=network.crop)
    for _ in predict_series(found.series, network, pool=LocalPool(options.workers)):
        pass


def _forward(network: Network, slabs: list[Array]) -> None:
    """Show every encoder every slab in every view, and nothing else."""
    encoders = network.engine.encoders
    if encoders is None:
        owner = network.engine.embed.__self__  # type: ignore[attr-defined]  # a method of CompiledEncoders
        for batch in slabs:
            for encoder in owner.encoders:
                for _ in network.model.views:
                    encoder(batch)
        return
    with torch.inference_mode():
        for batch in slabs:
            tensor = torch.from_numpy(batch).to(encoders[0].device)
            for loaded in encoders:
                with loaded.precision.autocast(loaded.device):
                    for _ in network.model.views:
                        loaded.model(tensor)
    if encoders[0].device.type == "cuda":
        torch.cuda.synchronize()


def _random_model(folder: Path) -> Path:
    """Write a model directory of one fold, untrained."""
    recipe: Recipe = read_recipe(find_recipe(Path("small-data")), ("encoder.weights=none",))
    encoder = build_encoder(recipe.encoder, recipe.slab)
    weights = folder / "fold0" / "weights.safetensors"
    weights.parent.mkdir()
    sha256 = export_weights(encoder, torch.zeros(N_LABELS), weights)
    mean, std = normalisation(recipe.encoder, recipe.slab)
    content = {
        "format": 1,
        "kind": "encoder",
        "encoder": _plain(recipe.encoder),
        "slab": _plain(recipe.slab),
        "labels": list(LABELS),
        "normalisation": {"mean": mean, "std": std},
        "store": {"size": 256, "crop": "head"},
        "prior": [0.1] * N_LABELS,
        "calibration": None,
    }
    (folder / "config.toml").write_text(write_recipe(recipe))
    add_fold(folder, content, 0, {"weights": "fold0/weights.safetensors", "sha256": sha256, "prior": [0.1] * N_LABELS})
    return folder


def _plain(section: object) -> dict[str, object]:
    import dataclasses

    return dataclasses.asdict(section)  # type: ignore[call-overload,no-any-return]  # a dataclass of the recipe


if __name__ == "__main__":
    main()
