"""Prediction end to end from DICOM against the encoder's forward pass alone, in one run, warm files.

    python scripts/benchmark_predict.py SOURCE... [--model RUN] [--repeats 3] [--workers 0]

Without --model the network is the one of the small-data recipe with random weights: speed doesn't depend on them.
Both sides do the same forward passes (folds x views) on the same slices in the same batches. The baseline feeds
tensors that lie ready in memory; the other side finds the series, reads, crops, windows, refines and calibrates.
Sides take turns, so that a busy machine slows both; the ratio is that of the best of either.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ich25d.config import Recipe
from ich25d.encoder.model import normalisation
from ich25d.encoder.model_directory import add_fold, export_weights
from ich25d.encoder.weights import build_encoder
from ich25d.labels import LABELS, N_LABELS
from ich25d.predict.answer import predict_series
from ich25d.predict.network import Network, load_network
from ich25d.predict.series import list_series, read_pixels
from ich25d.recipes import find_recipe, read_recipe, write_recipe
from ich25d.slabs.dataset import series_batches
from ich25d.slabs.network_input import network_input
from ich25d.studies.pool.local_pool import LocalPool
from ich25d.training.device import choose_device


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    device = choose_device(options.device)
    with tempfile.TemporaryDirectory() as folder:
        network = load_network(options.model or _random_model(Path(folder)), device)
        _measure(network, options)


def _measure(network: Network, options: argparse.Namespace) -> None:
    found = list_series(options.sources, only=options.only, size=network.size, crop=network.crop)
    reads = [read_pixels(series, crop=network.crop, size=network.size) for series in found.series]
    tensors = [
        network_input(batch, network.run.slab, network.device)
        for read in reads
        for batch in series_batches(
            read.hu, read.slice_position_mm, read.window, network.run.slab, network.batch_size, brain_hu=read.brain_hu
        )
    ]
    n_slices = sum(len(tensor) for tensor in tensors)
    passes = len(network.encoders) * len(network.views)
    _forward(network, tensors[:2])
    forward, whole = [], []
    for _ in range(options.repeats):
        forward.append(_timed(lambda: _forward(network, tensors)))
        whole.append(_timed(lambda: _end_to_end(network, options)))
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(
        f"{network.device}; {n_slices} slices of {len(reads)} series, {passes} passes each, batch {network.batch_size}"
    )
    for number, clock in enumerate(("wall clock", "CPU time of this process")):
        alone, all_of_it = (min(times[number] for times in side) for side in (forward, whole))
        spread = "; ".join(", ".join(f"{times[number]:.2f}" for times in side) for side in (forward, whole))
        print(f"{clock}: forward alone {n_slices / alone:.1f} slices/s, end to end {n_slices / all_of_it:.1f} slices/s")
        print(f"    ratio {alone / all_of_it:.2f} (wanted on a CPU: at least 0.85); seconds {spread}")


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds of the wall clock and of the CPU: beside other programs the former tells little."""
    start, start_cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - start_cpu


def _end_to_end(network: Network, options: argparse.Namespace) -> None:
    found = list_series(options.sources, only=options.only, size=network.size, crop=network.crop)
    for _ in predict_series(found.series, network, pool=LocalPool(options.workers)):
        pass


def _forward(network: Network, tensors: list[torch.Tensor]) -> None:
    with torch.inference_mode():
        for tensor in tensors:
            for encoder in network.encoders:
                with encoder.precision.autocast(network.device):
                    for _ in network.views:
                        encoder.model(tensor)
    if network.device.type == "cuda":
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
