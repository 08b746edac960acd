#!/usr/bin/env python
"""How steady thresholds of sensitivity at least .95 are: many small validation sets, one large sample of new cases.

Prints a Markdown table: by shape of the logits and number of positives, for the cases' own threshold and for the chosen
one, its spread and what it reaches on new cases, also where their logits are .5 lower.
"""

import argparse
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from ich25d.training.operating_point import holding_threshold
from ich25d.training.threshold_choice import steady_threshold

Floats = npt.NDArray[np.float64]
LEAST, NEGATIVES, NEW_CASES = 0.95, 1.3, 200_000


def normal(rng: np.random.Generator, n: int, positive: bool) -> Floats:
    """Make logits of one class, normal."""
    return rng.normal(2, 2, n) if positive else rng.normal(-2, 1.5, n)


def hard(rng: np.random.Generator, n: int, positive: bool) -> Floats:
    """A fifth of the positives is hardly seen; the negatives have look-alikes."""
    if positive:
        return np.where(rng.random(n) < 0.2, rng.normal(-1.5, 1.2, n), rng.normal(2.5, 1.5, n))
    return rng.normal(-2.5, 1.3, n) + np.maximum(0, rng.gumbel(-0.5, 0.8, n))


def heavy(rng: np.random.Generator, n: int, positive: bool) -> Floats:
    """Heavy tails on both sides, as of wrong labels."""
    return (2 + 1.5 * rng.standard_t(3, n)) if positive else (-2 + 1.2 * rng.standard_t(3, n))


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=300)
    repeats = parser.parse_args().repeats
    choices: dict[str, Callable[[npt.NDArray[np.bool_], Floats], float]] = {
        "the cases' own": lambda truth, value: holding_threshold(truth.astype(float), value, "sensitivity", LEAST),
        "chosen": lambda truth, value: steady_threshold(truth, value, "sensitivity", LEAST, int(truth.sum())),
    }
    print("| logits | positives | threshold | spread | sensitivity | specificity (worst tenth) | .5 lower |")
    print("|---|---|---|---|---|---|---|")
    for shape in (normal, hard, heavy):
        rng = np.random.default_rng(0)
        new_positive, new_negative = shape(rng, NEW_CASES, True), shape(rng, NEW_CASES, False)
        for n in (20, 40, 100):
            sets = []
            for _ in range(repeats):
                value = np.concatenate([shape(rng, n, True), shape(rng, int(NEGATIVES * n), False)])
                sets.append((np.arange(len(value)) < n, expit(value)))
            for name, choose in choices.items():
                at = np.array([logit(choose(*one)) for one in sets])
                right, low = ([float((new_positive >= t).mean()) for t in at + shift] for shift in (0.0, 0.5))
                spared = np.array([float((new_negative < t).mean()) for t in at])
                cells = [shape.__name__, str(n), name, f"{at.std():.2f}", f"{np.mean(right):.3f}"]
                cells += [f"{spared.mean():.2f} ({np.quantile(spared, 0.1):.2f})", f"{np.mean(low):.3f}"]
                print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
