"""Training steps with real loading against the same steps on batches that lie in memory, in one run.

    python scripts/benchmark_train.py STUDIES [--steps 12] [--repeats 8] [--set a.b=c]

Both sides augment, window, go forward and back and step alike. One side reads its slabs from the store (and paints
them, where the recipe says so) while the other has them already. Sides take turns, each going first every second
time; what counts is the median of the ratios of neighbouring turns, as a machine's speed drifts. One pass over the
anatomies is made before the clock starts: a training finds them once.
"""

import argparse
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch

from ich25d.encoder.learner import make_learner, make_schedule
from ich25d.labels import N_LABELS
from ich25d.recipes import find_recipe, read_recipe
from ich25d.slabs.dataset import SlabBatch, SlabReader
from ich25d.slabs.loading import SlabLoader
from ich25d.slabs.network_input import network_input
from ich25d.slabs.painting import Painter
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.device import choose_device
from ich25d.training.loop import train_steps
from ich25d.training.loss import score_loss
from ich25d.training.processes import joined


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path)
    parser.add_argument("--config", type=Path, default=Path("small-data"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    recipe = read_recipe(find_recipe(options.config), tuple(options.overrides))
    store = StudyStore.open(options.studies)
    painter = Painter(store, recipe.augment.painted, 0) if recipe.augment.painted > 0 else None
    reader = SlabReader(store, recipe.slab, painter)
    series = list(store.series["series_id"])
    if painter is not None:
        for series_id in series:
            painter.anatomy(series_id)
    rows = np.random.default_rng(0).permutation(reader.rows_of(series))
    per_run: int = options.steps * recipe.train.batch_size * recipe.train.accumulate
    rows = np.resize(rows, per_run)
    with joined(choose_device(options.device)) as (processes, device):
        learner, _ = make_learner(recipe, torch.zeros(N_LABELS), device=device, processes=processes, seed=0)
        schedule = make_schedule(recipe.train, 10_000)

        def loss_of(model: torch.nn.Module, batch: SlabBatch) -> torch.Tensor:
            slabs = network_input(batch, recipe.slab, device, augment=recipe.augment)
            with learner.precision.autocast(device):
                logit = model(slabs)[1]
            return score_loss(logit, batch.target.to(device))

        def run(source: Iterator[SlabBatch]) -> float:
            begun = time.perf_counter()
            for _ in train_steps(learner, source, loss_of, schedule, n_steps=options.steps):
                pass
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            return per_run / (time.perf_counter() - begun)

        with SlabLoader(reader, workers=recipe.train.loader_workers, device=device) as loader:
            resident = list(loader.batches(rows, recipe.train.batch_size))
            run(iter(resident))
            speeds: dict[str, list[float]] = {"loaded": [], "resident": []}
            for epoch in range(1, options.repeats + 1):
                for side in ("loaded", "resident") if epoch % 2 else ("resident", "loaded"):
                    read = side == "loaded"
                    batches = loader.batches(rows, recipe.train.batch_size, epoch=epoch) if read else iter(resident)
                    speeds[side].append(run(batches))
    ratios = [loaded / kept for loaded, kept in zip(speeds["loaded"], speeds["resident"], strict=True)]
    print(f"{recipe.encoder.name} at {recipe.slab.size} px, batch {recipe.train.batch_size}, painted "
          f"{recipe.augment.painted:g}, on {device} ({platform.processor() or platform.machine()}, "
          f"{torch.get_num_threads()} threads, {learner.precision.name})")  # fmt: skip
    for name, values in speeds.items():
        print(f"  {name:<9} {median(values):8.1f} slices/s   turns: " + ", ".join(f"{value:.1f}" for value in values))
    print(f"  ratio     {median(ratios):8.2f}   (at least 0.90 is the aim)   " + ", ".join(f"{r:.2f}" for r in ratios))


if __name__ == "__main__":
    main()
