"""`ich25d demo`: phantom DICOM, study store, CNN, sequence model, CSV, pages, scores and a picture, in minutes."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import pandas as pd

from ich25d.encoder.train import train_cnn
from ich25d.evaluate.run import evaluate
from ich25d.evaluate.text import score_table
from ich25d.labels import LABELS
from ich25d.phantom.synth import synthesise
from ich25d.predict.run import predict
from ich25d.progress import remark
from ich25d.recipes import find_recipe, read_recipe
from ich25d.sequence.train import train_rnn
from ich25d.studies.build import build_studies
from ich25d.studies.labelfile import read_labels
from ich25d.studies.plan import make_plan
from ich25d.studies.volumes.volume import read_series
from ich25d.view.figure import draw_study
from ich25d.view.report.writer import ReportWriter

FOLDS = 2
"""Networks trained: each sees the heads that the other one is tested on."""


@dataclasses.dataclass(frozen=True, slots=True)
class DemoSummary:
    """What the walk made."""

    table: list[str]
    """CNN, smoothing and GRU on held-out heads, and the scores on the test heads."""
    submission: Path
    """The Kaggle CSV of the test heads."""
    picture: Path
    """The PNG of one of them."""
    pages: Path
    """The worklist of all of them, with a page each."""
    seconds: dict[str, float]
    """Wall time a step."""
    exit_code: int = 0

    def lines(self) -> list[str]:
        """Say it for people."""
        times = ", ".join(f"{name} {value:.0f} s" for name, value in self.seconds.items())
        return [
            *self.table,
            "",
            f"submission  {self.submission}",
            f"picture     {self.picture}",
            f"pages       {self.pages}",
            f"time        {sum(self.seconds.values()):.0f} s: {times}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """Say it for machines."""
        return {
            "table": self.table,
            "submission": str(self.submission),
            "picture": str(self.picture),
            "pages": str(self.pages),
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
        }


def walk(out: Path, *, n_studies: int = 36, seed: int = 0, recipe_name: str = "demo") -> DemoSummary:
    """Do everything once, on phantoms.

    Args:
        out: The folder for all that is made; what an earlier, unbroken walk left there is used again.
        n_studies: Phantom heads, training and test together.
        seed: Seed of the heads.
        recipe_name: The recipe; `demo` is made for a CPU.

    Returns:
        The paths of the CSV and the picture, and the table.
    """
    recipe = read_recipe(find_recipe(Path(recipe_name)))
    seconds: dict[str, float] = {}
    clock = _Clock(seconds)

    clock.start("synth", f"1/6  {n_studies} phantom heads as DICOM")
    heads = synthesise(out / "dicom", n_studies, seed=seed)

    clock.start("build-studies", "2/6  DICOM -> ordered series of HU")
    build_studies((heads.train,), out / "studies", labels=heads.train_labels, size=recipe.slab.size, folds=FOLDS)

    clock.start("train-cnn", "3/6  slabs -> encoder, a network a fold")
    resume = (out / "runs" / "cnn").exists()
    encoder = train_cnn(out / "studies", recipe, out / "runs" / "cnn", fold="all", device="cpu", resume=resume)
    if encoder.interrupted:
        raise KeyboardInterrupt  # the same command goes on from here

    clock.start("train-rnn", "4/6  out-of-fold embeddings -> sequence model")
    sequence = train_rnn(out / "studies", out / "runs" / "cnn", out / "runs" / "rnn", device="cpu")

    clock.start("predict", "5/6  test DICOM -> submission.csv and a page a study")
    submission = out / "predictions" / "submission.csv"
    report = ReportWriter(out / "report", out / "runs" / "rnn", heat=False)  # heat maps take as long again
    predict((heads.test,), out / "runs" / "rnn", submission, sample=heads.sample, device="cpu", watcher=report)

    clock.start("evaluate", "6/6  scores on the test heads, and a picture")
    scores = evaluate(
        submission.parent / "predictions.parquet",
        heads.test_labels,
        out / "evaluation",
        model=out / "runs" / "rnn",
        figures=False,  # the page draws its own
    )
    picture = _draw(heads.test, submission.parent, heads.test_labels, recipe.slab.size)
    clock.stop()
    table = [*sequence.lines(), "", *score_table("test slices", scores.slices)]
    return DemoSummary(table, submission, picture, report.index, seconds)


class _Clock:
    """Times the steps and says which one runs."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds, self._name, self._since = seconds, "", 0.0

    def start(self, name: str, title: str) -> None:
        self.stop()
        remark(title)
        self._name, self._since = name, time.monotonic()

    def stop(self) -> None:
        if self._name:
            self._seconds[self._name] = time.monotonic() - self._since
            self._name = ""


def _draw(source: Path, predictions: Path, labels: Path, size: int) -> Path:
    """Draw the bleeding test head whose bleed stands out most from its other slices; any head, where none bleeds."""
    table = pd.read_parquet(predictions / "predictions.parquet")
    truth, _ = read_labels(labels)
    bleeds = table["image_id"].map(truth["any"]).to_numpy(dtype=float) == 1
    of_bleed, of_rest = (table[chosen].groupby("series_id")["any"].mean() for chosen in (bleeds, ~bleeds))
    standing_out = (of_bleed - of_rest).dropna()
    series_id = str(standing_out.idxmax() if len(standing_out) else table["series_id"].iloc[0])
    rows = table[table["series_id"] == series_id].sort_values("slice_index")
    plan = next(plan for plan in make_plan((source,)).series if plan.series_id == series_id)
    volume = read_series(plan, crop="head", size=2 * size)
    picture = predictions / "study.png"
    draw_study(
        picture,
        volume.hu,
        rows["slice_position_mm"].to_numpy(dtype=float),
        rows[list(LABELS)].to_numpy(dtype=float),
        title=f"test phantom {series_id}: probabilities along the scan (research software, not a medical device)",
        encoder_probability=rows[[f"encoder_{label}" for label in LABELS]].to_numpy(dtype=float),
        truth=truth.loc[rows["image_id"], list(LABELS)].to_numpy(dtype=float),
    )
    return picture
