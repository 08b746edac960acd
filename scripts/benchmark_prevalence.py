"""What `predict --prevalence em` estimates where the share of bleeding series is known; see docs/measured.md.

    python scripts/benchmark_prevalence.py studies.csv --labels labels.csv --images predictions.parquet

Series of the two kinds are drawn with replacement at artificial shares. The predictions must be those without
--prevalence, of series that the model was not trained on.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from ich25d.labels import ANY_INDEX, LABELS
from ich25d.predict.network import load_network
from ich25d.predict.open_model import model_folder
from ich25d.predict.site import shares_of
from ich25d.studies.labelfile import read_labels
from ich25d.training.confidence import NOT_FOR
from ich25d.training.prevalence import estimate_share


def main(arguments: list[str] | None = None) -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path, help="studies.csv of predict")
    parser.add_argument("--images", type=Path, required=True, help="predictions.parquet beside it")
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=None, help="the model that predicted; default the one in the box")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.1, 0.25, 0.5])
    parser.add_argument("--series", type=int, default=100, help="series of a draw")
    parser.add_argument("--draws", type=int, default=200)
    options = parser.parse_args(arguments)
    shares = shares_of(load_network(model_folder(options.model), "cpu"))
    truth, _ = read_labels(options.labels)
    images = pd.read_parquet(options.images, columns=["image_id", "series_id"])
    bleeds = images["image_id"].astype(str).map(truth["any"]).astype(float)
    of_series = bleeds.groupby(images["series_id"]).max().dropna()
    table = pd.read_csv(options.studies).set_index("series_id")
    table = table[table["confidence"] != NOT_FOR]
    names = [name for name in of_series.index if name in table.index]
    value = shares.any_of_series(table.loc[names, LABELS[ANY_INDEX]].to_numpy(dtype=float))
    is_positive = of_series.loc[names].to_numpy() == 1
    base = float(shares.own_of_series[ANY_INDEX])
    print(f"{len(names)} series, {int(is_positive.sum())} bleeding; the model was held out on a share of {base:.3f}")
    print(f"{'true share':>10} {'estimate':>9} {'90 % of draws':>16} {'interval holds it':>18}")
    rng = np.random.default_rng(0)
    for share in options.shares:
        found, held = [], 0
        n_positive = round(share * options.series)
        for _ in range(options.draws):
            drawn = np.concatenate([
                rng.choice(value[is_positive], n_positive), rng.choice(value[~is_positive], options.series - n_positive)
            ])  # fmt: skip
            estimate = estimate_share(drawn, base)
            found.append(estimate.value)
            held += estimate.low <= n_positive / options.series <= estimate.high
        low, high = np.quantile(found, [0.05, 0.95])
        spread = f"{low:.3f} to {high:.3f}"
        print(f"{share:>10.3f} {np.mean(found):>9.3f} {spread:>16} {held / options.draws:>18.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
