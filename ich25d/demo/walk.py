"""`ich25d demo`: phantom DICOM, study store, CNN, sequence model, CSV, pages, scores and a picture, in minutes."""

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ich25d.encoder.train import train_cnn
from ich25d.evaluate.run import evaluate
from ich25d.evaluate.text import score_table
from ich25d.labels import LABELS
from ich25d.phantom.synth import synthesise
from ich25d.predict.confidence_fit import fit_model_confidence
from ich25d.predict.open_model import model_folder
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
    """What the demonstration made."""

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
        """Return tables and paths, for people."""
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
        """Return the same for machines."""
        return {
            "table": self.table,
            "submission": str(self.submission),
            "picture": str(self.picture),
            "pages": str(self.pages),
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
        }


def walk(out: Path, *, n_studies: int = 54, seed: int = 0, recipe_name: str = "demo") -> DemoSummary:
    """Do everything once, on phantoms.

    Args:
        out: The folder for all that is made; the same call after a stopped or finished one goes on with what is there.
        n_studies: Phantom heads, training and test together.
        seed: Seed of the heads.
        recipe_name: The recipe; `demo` is made for a CPU.

    Raises:
        KeyboardInterrupt: The training of the CNN was stopped.
    """
    recipe = read_recipe(find_recipe(Path(recipe_name)))
    studies, cnn, rnn = out / "studies", out / "runs" / "cnn", out / "runs" / "rnn"
    submission = out / "predictions" / "submission.csv"
    seconds: dict[str, float] = {}
    with _timed(seconds, "synth", f"1/6  {n_studies} phantom heads as DICOM"):
        heads = synthesise(out / "dicom", n_studies, seed=seed)
    with _timed(seconds, "build-studies", "2/6  DICOM -> ordered series of HU"):
        build_studies((heads.train,), studies, labels=heads.train_labels, size=recipe.slab.size, folds=FOLDS)
    with _timed(seconds, "train-cnn", "3/6  slabs -> encoder, a network a fold"):
        encoder = train_cnn(studies, recipe, cnn, fold="all", device="cpu", resume=cnn.exists())
        if encoder.interrupted:
            raise KeyboardInterrupt  # the same command goes on from here
    with _timed(seconds, "train-rnn", "4/6  out-of-fold embeddings -> sequence model"):
        sequence = train_rnn(studies, cnn, rnn, device="cpu")
        fit_model_confidence(rnn, studies, torch.device("cpu"))
    with _timed(
        seconds, "predict", "5/6  test DICOM -> submission.csv and a page a study; the model in the box beside it"
    ):
        report = ReportWriter(out / "report", rnn)
        predict((heads.test,), rnn, submission, sample=heads.sample, device="cpu", watchers=(report,))
        boxed = out / "model-in-the-box" / "submission.csv"
        predict((heads.test,), model_folder(None), boxed, sample=heads.sample, device="cpu")
    with _timed(seconds, "evaluate", "6/6  scores on the test heads, and a picture"):
        predictions = submission.parent / "predictions.parquet"
        # Without figures: the page draws its own.
        scores = evaluate(predictions, heads.test_labels, out / "evaluation", model=rnn, figures=False)
        of_box = evaluate(
            boxed.with_name("predictions.parquet"), heads.test_labels, boxed.with_name("evaluation"),
            model=model_folder(None), figures=False,
        )  # fmt: skip
        picture = _draw(heads.test, submission.parent, heads.test_labels, recipe.slab.size)
    table = [*sequence.lines(), "", *score_table("test slices, trained here", scores.slices), ""]
    table += score_table("test slices, the model in the box", of_box.slices)
    return DemoSummary(table, submission, picture, report.index, seconds)


@contextmanager
def _timed(seconds: dict[str, float], name: str, title: str) -> Iterator[None]:
    """Print the title of a step, and note its wall time when it has ended."""
    remark(title)
    begun = time.monotonic()
    yield
    seconds[name] = time.monotonic() - begun


def _draw(source: Path, predictions: Path, labels: Path, size: int) -> Path:
    """Draw the test head whose bleed differs most from its other slices in probability; any, where none bleeds."""
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
