"""`report.html` of a training, made from the folds' `metrics.jsonl` during the run or after it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ich25d.labels import LABELS
from ich25d.pages.chart import Line, LineChart
from ich25d.pages.page import Page, facts, pair, remarks
from ich25d.pages.table import table
from ich25d.training.card import duration
from ich25d.training.model_file import REPORT_FILE
from ich25d.training.runlog import LOG_FILE, Listener, read_log

_EVERY_S = 60.0

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FoldLog:
    """The log of one fold."""

    name: str
    begin: Entry
    """The first line: total_steps, epochs, slices_per_step and more; empty in old logs."""
    steps: tuple[Entry, ...]
    epochs: tuple[Entry, ...]
    skipped: tuple[Entry, ...]
    is_finished: bool

    @property
    def last_step(self) -> int:
        """The step that the last line is of."""
        return max((int(line["step"]) for line in (*self.steps, *self.epochs)), default=0)

    @property
    def slices_per_s(self) -> float | None:
        """The latest speed."""
        known = [line for line in (*self.steps, *self.epochs) if line.get("slices_per_s")]
        return float(max(known, key=lambda line: line["step"])["slices_per_s"]) if known else None

    def seconds_left(self) -> float | None:
        """Return the time that the remaining steps take at the latest speed; None where it is unknown."""
        total, size, speed = self.begin.get("total_steps"), self.begin.get("slices_per_step"), self.slices_per_s
        if self.is_finished:
            return 0.0
        return None if not total or not size or not speed else (total - self.last_step) * size / speed


def read_folds(folder: Path) -> list[FoldLog]:
    """Read the logs of all folds in a model directory, by number."""
    found = []
    for path in sorted(folder.glob(f"fold*/{LOG_FILE}"), key=lambda one: (len(one.parent.name), one.parent.name)):
        lines = [line for line in read_log(path) if isinstance(line, dict) and "step" in line]
        of = {event: tuple(line for line in lines if line.get("event") == event) for event in _EVENTS}
        found.append(
            FoldLog(
                path.parent.name, of["begin"][-1] if of["begin"] else {}, of["step"], of["epoch"], of["skipped"],
                bool(of["end"]),
            )
        )  # fmt: skip
    return found


_EVENTS = ("begin", "step", "epoch", "skipped", "end")


def write_report(folder: Path) -> None:
    """Write `report.html` of a model directory, whole or not at all.

    Args:
        folder: `runs/cnn` or `runs/rnn`, with `foldK/metrics.jsonl` in it.
    """
    report_page(read_folds(folder), folder.name).write(folder / REPORT_FILE)


def reporter(folder: Path, *, every_s: float = _EVERY_S, clock: Callable[[], float] = time.monotonic) -> Listener:
    """Return a listener of a fold's log that keeps the report of its model directory up to date.

    Args:
        folder: The model directory.
        every_s: Shortest time between two writings within an epoch.
        clock: Seconds.
    """
    written = [float("-inf")]

    def listen(line: Entry) -> None:
        if line["event"] == "step" and clock() - written[0] < every_s:
            return
        write_report(folder)
        written[0] = clock()

    return listen


def report_page(folds: Sequence[FoldLog], name: str) -> Page:
    """Return the page.

    Args:
        folds: The logs.
        name: The run's name.
    """
    lead = "Written anew after each epoch, and every minute in between; reload to see more."
    page = Page(f"Training: {name}", lead=lead)
    skipped = sum(len(fold.skipped) for fold in folds)
    left_out = f"{skipped} step(s) were left out: their loss wasn't finite (metrics.jsonl names the images)"
    page.section("State", _state(folds), remarks([left_out] if skipped else []))
    has_validation = any(line.get("validation") for fold in folds for line in fold.epochs)
    page.section("Loss", pair(*_loss_charts(folds, has_validation)))
    if has_validation:
        page.section("AUC by label, of held-out slices", pair(*(_auc_chart(fold) for fold in folds if fold.epochs)))
    pace = _pace_charts(folds)
    if pace:
        page.section("Learning rate and speed", pair(*pace))
    if has_validation:
        page.section("Epochs", _epochs(folds))
        page.section("Worst cases of the last validation", *_worst(folds), note=(
            "Held-out slices with the largest weighted log loss, the worst of each series. Look at them before "
            "blaming the "
            "model: labels may be wrong, slices unreadable."
        ))  # fmt: skip
    return page


def _state(folds: Sequence[FoldLog]) -> Markup:
    n_done = sum(fold.is_finished for fold in folds)
    pairs: dict[str, object] = {"folds": f"{n_done} of {len(folds)} finished"}
    running = [fold for fold in folds if not fold.is_finished and (fold.steps or fold.epochs or fold.begin)]
    for fold in running:
        n_epochs = fold.begin.get("epochs")
        done = max((int(line.get("epoch", 0)) for line in fold.epochs), default=0)
        pairs[fold.name] = f"{done} of {n_epochs} epochs" if n_epochs else f"{done} epochs"
        left = fold.seconds_left()
        if left is not None:
            pairs[f"time left, {fold.name}"] = duration(left)
    for key, label in (("encoder", "encoder"), ("device", "device"), ("precision", "precision")):
        if values := {str(fold.begin[key]) for fold in folds if key in fold.begin}:
            pairs[label] = ", ".join(sorted(values))
    speeds = [fold.slices_per_s for fold in folds if fold.slices_per_s]
    if speeds:
        pairs["slices/s, latest"] = speeds[-1]
    scores = [(line.get("validation") or {}).get("log_loss") for fold in folds for line in fold.epochs]
    if known := [score for score in scores if score is not None]:
        pairs["lowest weighted log loss of a fold"] = min(known)
    return facts(pairs)


def _loss_charts(folds: Sequence[FoldLog], has_validation: bool) -> list[Markup]:
    lines = []
    for number, fold in enumerate(folds):
        for seed in sorted({line.get("seed", -1) for line in fold.epochs}):
            chosen = [line for line in fold.epochs if line.get("seed", -1) == seed and line.get("loss") is not None]
            label = fold.name if seed < 0 else f"{fold.name}, model {seed + 1}"
            lines.append(_line([_epoch_of(line) for line in chosen], chosen, "loss", label, number))
    charts = [_chart(lines, "Training loss", "epoch", "weighted cross-entropy")] if lines else []
    noisy = [
        _line([line["step"] for line in fold.steps], fold.steps, "loss", fold.name, number)
        for number, fold in enumerate(folds)
        if fold.steps
    ]
    if noisy:
        charts.append(_chart(noisy, "Loss of single steps", "step", "weighted cross-entropy"))
    if has_validation:
        for key, title, y_label in (
            ("log_loss", "Weighted log loss of held-out slices", "weighted log loss"),
            ("of_prior", "The same, of the prior's", "share of the constant answer's"),
        ):
            lines = [
                _line(_epochs_of(fold), [line.get("validation") or {} for line in fold.epochs], key, fold.name, number)
                for number, fold in enumerate(folds)
                if fold.epochs
            ]
            charts.append(_chart(lines, title, "epoch", y_label))
    return charts


def _auc_chart(fold: FoldLog) -> Markup:
    found = [(line.get("validation") or {}).get("auc") or {} for line in fold.epochs]
    lines = [_line(_epochs_of(fold), found, label, label, number) for number, label in enumerate(LABELS)]
    return _chart(lines, f"{fold.name}: AUC", "epoch", "area under the ROC curve")


def _pace_charts(folds: Sequence[FoldLog]) -> list[Markup]:
    charts = []
    for key, title, y_label in (
        ("lr", "Learning rate of the new layers", "learning rate, thousandths"),
        ("slices_per_s", "Speed", "slices a second"),
    ):
        factor = 1000.0 if key == "lr" else 1.0
        lines = [
            _line([line["step"] for line in fold.steps], fold.steps, key, fold.name, number, factor)
            for number, fold in enumerate(folds)
            if fold.steps
        ]
        if lines:
            charts.append(_chart(lines, title, "step", y_label))
    return charts


def _line(x: Sequence[float], lines: Sequence[Entry], key: str, label: str, style: int, factor: float = 1.0) -> Line:
    y = [float("nan") if line.get(key) is None else factor * float(line[key]) for line in lines]
    return Line(list(x), y, label, style=style)


def _epochs_of(fold: FoldLog) -> list[float]:
    return [_epoch_of(line) for line in fold.epochs]


def _epoch_of(line: Entry) -> float:
    """Return the epoch of a line; a sequence model's log has it as its step."""
    return float(line["epoch"] if "epoch" in line else line["step"])


def _chart(lines: Sequence[Line], title: str, x_label: str, y_label: str) -> Markup:
    return LineChart(lines, title=title, x_label=x_label, y_label=y_label, size=(440, 300)).to_svg()


def _epochs(folds: Sequence[FoldLog]) -> Markup:
    rows = []
    for fold in folds:
        for line in fold.epochs:
            found = line.get("validation") or {}
            aucs = found.get("auc") or {}
            rows.append([
                fold.name, line.get("epoch"), line.get("loss"), found.get("log_loss"), found.get("of_prior"),
                *(aucs.get(label) for label in LABELS), line.get("slices_per_s"),
                None if line.get("seconds") is None else duration(line["seconds"]),
            ])  # fmt: skip
    columns = [
        "fold", "epoch", "loss", "weighted log loss", "of the prior's", *(f"AUC {label}" for label in LABELS),
        "slices/s", "time",
    ]  # fmt: skip
    return table(columns, rows, caption="All epochs")


def _worst(folds: Sequence[FoldLog]) -> list[Markup | str]:
    parts: list[Markup | str] = []
    for fold in folds:
        found = [line["worst"] for line in fold.epochs if line.get("worst")]
        if not found:
            continue
        rows = [
            [
                case["image_id"], case["series_id"], case["loss"],
                ", ".join(label for label in LABELS if case["truth"].get(label) == 1) or "no bleed",
                *(case["probability"].get(label) for label in LABELS),
            ]
            for case in found[-1]
        ]  # fmt: skip
        columns = ["image", "series", "weighted log loss", "labelled", *LABELS]
        parts.append(table(columns, rows, caption=f"{fold.name}: probabilities of the worst slices"))
    return parts or ["This log doesn't name them: it was written by an older version."]
