"""Training of one fold: from its rows of the store to weights, log and out-of-fold logits."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ich25d.config import Recipe
from ich25d.encoder.canvas import CANVAS_SHARE, TOLD_FILE, ZEROS_FILE, Canvas, with_canvas
from ich25d.encoder.change import CHANGE_FILE, change_rows, write_change
from ich25d.encoder.epoch_plan import plan_epochs
from ich25d.encoder.fold_loss import FoldLoss
from ich25d.encoder.fold_progress import Progress
from ich25d.encoder.fold_rows import rows_of_fold
from ich25d.encoder.learner import make_learner, make_schedule, outline
from ich25d.encoder.learnt_images import IMAGES_FILE, LearntImages, image_hashes
from ich25d.encoder.loaded import export_weights
from ich25d.encoder.model import SlabEncoder
from ich25d.encoder.parent import FoldStart
from ich25d.encoder.series_judge import SeriesJudge
from ich25d.encoder.step_failures import explained_failures
from ich25d.encoder.teaching import TARGETS_FILE, Teaching
from ich25d.encoder.validate import predict_rows, score, score_text, without_nan, worst_cases, write_logits
from ich25d.errors import TrainingError
from ich25d.files import sha256_file
from ich25d.labels import LABELS, N_LABELS
from ich25d.progress import bar, remark
from ich25d.slabs.dataset import SlabBatch, SlabReader
from ich25d.slabs.loading import ReadsSlabs, SlabLoader
from ich25d.slabs.painting import Painter
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.device import Precision
from ich25d.training.interrupt import Interrupted, until_stopped
from ich25d.training.learner import load_state, save_state
from ich25d.training.loop import StepReport, train_steps
from ich25d.training.processes import Processes
from ich25d.training.runlog import LOG_FILE, Listener, RunLog
from ich25d.training.sampling import LabelCount, natural_shift, part_of_process, steps_in_epoch
from ich25d.training.weights_file import WEIGHTS_FILE, load_weights

SAVE_EVERY_S = 300.0
"""Time between two checkpoints within an epoch."""

_LOG_EVERY_STEPS = 50


class FoldTraining:
    """One fold's training.

    Args:
        store: The study store.
        recipe: The recipe.
        folder: `foldK/`.
        fold: Number of the fold.
        device: Where to train.
        processes: This process among several.
        painter: Paints bleeds into negative slabs; several folds may share it, and its anatomies.
        data_digest: Hash of the store's tables (`data_digest`); a checkpoint of another one is refused.
        teaching: What the store's slices are taught.
        canvas: Further scans to paint into.
        known: Slices of patients who may not judge for another reason, bool (slices,).
        start: What the fold starts from, where the run goes on from another one.
        old: A further store, on which it is measured what a child forgets.
        listeners: Called with every line of the log.
    """

    def __init__(
        self,
        store: StudyStore,
        recipe: Recipe,
        folder: Path,
        *,
        fold: int,
        device: torch.device,
        processes: Processes,
        painter: Painter | None,
        data_digest: str,
        teaching: Teaching,
        canvas: Canvas | None = None,
        known: npt.NDArray[np.bool_] | None = None,
        start: FoldStart | None = None,
        old: StudyStore | None = None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        train = recipe.train
        self._recipe, self._folder, self._fold = recipe, folder, fold
        self._device, self._processes, self._digest = device, processes, data_digest
        self._store, self._seed, self._listeners = store, train.seed + 1000 * fold, listeners
        self._start, self._old = start, old
        self._seen = known if start is None else start.images.seen(store) | (known if known is not None else False)
        self._teaching, self._counted_target = teaching, teaching.counted()
        reader = SlabReader(store, recipe.slab, painter, teaching.write(folder, processes))
        self.rows = rows_of_fold(store, reader, fold, train.exclude_from_validation, self._seen, teaching)
        self._series = SeriesJudge(teaching, self.rows.held_out, self._seen)
        self._plan = plan_epochs(teaching, self.rows.train, train)
        self._n_own, self._canvas, self._canvas_rows = len(teaching.truth), canvas, np.zeros(0, np.int64)
        joined: ReadsSlabs = reader
        if canvas is not None:
            joined, m = canvas.reader(reader, recipe, folder, processes), canvas.n_slices
            negative, unknown = canvas.rows(store, self.rows.held_out)
            self._canvas_rows = np.concatenate([negative, unknown])
            self._plan = dataclasses.replace(
                plan_epochs(
                    with_canvas(teaching, canvas), np.concatenate([self.rows.train, self._n_own + negative]), train
                ),
                painted=self._n_own + m + unknown, apart=m, most=CANVAS_SHARE,
            )  # fmt: skip
            self._teaching = with_canvas(teaching, canvas)
            self._counted_target = self._teaching.counted()
        self._loader = SlabLoader(joined, workers=train.loader_workers, device=device)
        self._is_shifted = painter is not None or train.balanced or canvas is not None
        self._target = teaching.truth
        self.natural, self.shown = LabelCount(N_LABELS), LabelCount(N_LABELS)
        self.natural.add(torch.from_numpy(self._counted_target[self.rows.train]))
        self._learner, self._model = make_learner(
            recipe, self.natural.logit(), device=device, processes=processes, seed=self._seed,
            begin=None if start is None else partial(start.begin, as_shown=self._is_shifted),
        )  # fmt: skip
        self._per_step = train.batch_size * train.accumulate * processes.count
        self.steps_per_epoch = steps_in_epoch(self._plan.n_shown, self._per_step)
        total = self.steps_per_epoch * train.epochs
        self._schedule = make_schedule(train, total)
        self._progress = Progress()
        self._loss = FoldLoss(
            recipe, self._teaching, n_own=self._n_own, n_canvas=0 if canvas is None else canvas.n_slices,
            device=device, precision=self._learner.precision, seed=self._seed,
        )  # fmt: skip

    @property
    def precision(self) -> Precision:
        """Number format of the forward pass."""
        return self._learner.precision

    @property
    def _last(self) -> Path:
        return self._folder / "last.pt"

    def run(self, stop: Callable[[], bool], *, resume: bool) -> dict[str, Any]:
        """Train to the end, or until a signal; then write weights and out-of-fold logits.

        Args:
            stop: Returns whether a signal asked to stop.
            resume: Go on from `last.pt` where there is one.

        Returns:
            The fold's entry in `model.json`.

        Raises:
            Interrupted: A signal asked to stop; `last.pt` is written.
            TrainingError: Numbers that aren't finite, no memory, or a checkpoint that doesn't fit.
        """
        resumed = resume and self._last.exists()
        if resumed:
            self._restore()
        log_path = self._folder / LOG_FILE if self._processes.is_first else None
        progress, epochs, first = self._progress, self._recipe.train.epochs, self._learner.step
        log = RunLog(log_path, (lambda line: progress.has_logged(line, first)) if resumed else None, self._listeners)
        if not resumed:
            log.write("begin", 0, **outline(self._recipe, self._learner, self._schedule, self._per_step, self.rows))
        too_large = (
            f"a step must fit into the device's memory (got {self._recipe.train.batch_size} slabs of "
            f"{self._recipe.slab.size} px); halve train.batch_size and double train.accumulate"
        )
        with self._loader, explained_failures(too_large, stop, self._save, self._processes):
            while progress.epoch < epochs:
                self._epoch(log, stop)
                self._save()
                self._validate(log, stop)
                progress.epoch, progress.step_in_epoch = progress.epoch + 1, 0
                progress.loss_sum, progress.loss_steps = 0.0, 0
                self._save()
            return self._finish(log, stop)

    def _epoch(self, log: RunLog, stop: Callable[[], bool]) -> None:
        """Do the steps of this epoch that are left."""
        progress, train = self._progress, self._recipe.train
        self._model.freeze(progress.epoch < train.freeze_epochs)
        wrapped = self._processes.wrap(self._model, self._device)
        n_left = self.steps_per_epoch - progress.step_in_epoch
        saved = begun = time.monotonic()
        before = progress.seconds

        def requests() -> tuple[bool, bool]:
            return stop(), time.monotonic() - saved > SAVE_EVERY_S

        title = f"fold {self._fold} epoch {progress.epoch + 1}/{train.epochs}"
        with bar(title, self.steps_per_epoch * self._per_step, "slices") as advance:
            advance(progress.step_in_epoch * self._per_step)
            reports = train_steps(
                self._learner, self._batches(), self._loss.of_epoch(progress.epoch), self._schedule,
                n_steps=n_left, wrapped=wrapped, requests=requests,
            )  # fmt: skip
            for report in reports:
                progress.step_in_epoch += 1
                progress.seconds = before + time.monotonic() - begun
                self._note(report, log)
                advance(self._per_step, note=f"loss {progress.loss_sum / max(1, progress.loss_steps):.4f}")
                if report.save or report.stop:
                    self._save()
                    saved = time.monotonic()
                if report.stop:
                    raise Interrupted

    def _note(self, report: StepReport[SlabBatch], log: RunLog) -> None:
        progress, step = self._progress, report.step
        for batch in report.batches:
            counted = torch.from_numpy(self._counted_target[batch.row.numpy()])
            target = self._loss.scored(batch)
            self.shown.add(torch.where(target.isnan(), counted, target))
        if report.skipped:
            rows = np.concatenate([batch.row for batch in report.batches])
            images = self._store.slices["image_id"].iloc[rows[rows < self._n_own]]
            log.write("skipped", step, loss=report.loss, images=list(images))
            remark(f"fold {self._fold} step {step}: left out, its loss isn't finite")
            return
        progress.loss_sum, progress.loss_steps = progress.loss_sum + report.loss, progress.loss_steps + 1
        if step % _LOG_EVERY_STEPS == 0:
            log.write(
                "step", step, epoch=progress.epoch + 1, loss=report.loss, gradient_norm=report.gradient_norm,
                lr=report.lr, slices_per_s=self._speed(),
            )  # fmt: skip

    def _speed(self) -> float:
        return self._progress.step_in_epoch * self._per_step / max(1e-9, self._progress.seconds)

    def _batches(self) -> Iterator[SlabBatch]:
        """Read this process's batches of the epoch, from the next step on."""
        progress, train = self._progress, self._recipe.train
        order = self._plan.order(self.steps_per_epoch * self._per_step, seed=self._seed, epoch=progress.epoch)
        mine = part_of_process(
            order, batch_size=train.batch_size, rank=self._processes.rank, count=self._processes.count
        )
        done = progress.step_in_epoch * train.batch_size * train.accumulate
        return self._loader.batches(mine[done:], train.batch_size, epoch=progress.epoch)

    def _shift(self) -> torch.Tensor:
        """Return what corrects the logits from the shares of positives as shown to those as they are, shape (6,)."""
        if not self._is_shifted:
            return torch.zeros(N_LABELS, dtype=torch.float64)
        shown = LabelCount(N_LABELS)
        shown.positive, shown.known = self._counted()
        return natural_shift(shown, self.natural)

    def _counted(self) -> tuple[torch.Tensor, torch.Tensor]:
        positive, known = self._processes.sum_of_all(torch.stack([self.shown.positive, self.shown.known]), self._device)
        return positive, known

    def _validate(self, log: RunLog, stop: Callable[[], bool]) -> None:
        """Score the averaged model on the held-out slices; write its weights if best, or if `keep` is `last`."""
        progress, train = self._progress, self._recipe.train
        self._processes.share_buffers(self._learner.averaged)
        shift = self._shift()
        loss = progress.loss_sum / max(1, progress.loss_steps)
        scores: dict[str, Any] = {}
        worst: list[dict[str, Any]] = []
        if len(self.rows.validated):
            logit = self._predict(self._learner.averaged, self.rows.validated, "validation", stop) + shift.numpy()
            scores = score(logit, self._target[self.rows.validated], self.natural.logit().numpy())
            worst = worst_cases(self._store.slices, self.rows.validated, logit, self._target)
        elif len(self._series.rows):
            logit = self._predict(self._learner.averaged, self._series.rows, "validation", stop) + shift.numpy()
            scores = self._series.score(logit)
        log.write(
            "epoch", self._learner.step, epoch=progress.epoch + 1, loss=loss, validation=scores,
            logit_shift=dict(zip(LABELS, shift.tolist(), strict=True)),
            seconds=progress.seconds, slices_per_s=self._speed(), worst=worst,
        )  # fmt: skip
        remark(f"fold {self._fold} epoch {progress.epoch + 1}/{train.epochs}: loss {loss:.4f}; {score_text(scores)}"
               f"; {self._speed():.1f} slices/s")  # fmt: skip
        log_loss = float(scores.get("log_loss", float("nan")))
        if train.keep == "last" or not np.isfinite(log_loss) or log_loss < progress.best_log_loss:
            progress.best_log_loss = (
                min(progress.best_log_loss, log_loss) if np.isfinite(log_loss) else progress.best_log_loss
            )
            progress.kept_epoch, progress.kept_score = progress.epoch + 1, scores
            if self._processes.is_first:
                averaged: SlabEncoder = self._learner.averaged  # type: ignore[assignment]  # a copy of our model
                export_weights(averaged, shift, self._folder / WEIGHTS_FILE)
        progress.seconds = 0.0

    def _predict(
        self,
        model: nn.Module,
        rows: npt.NDArray[np.int64],
        title: str,
        stop: Callable[[], bool],
        loader: SlabLoader | None = None,
    ) -> npt.NDArray[np.float64]:
        with bar(f"fold {self._fold} {title}", len(rows), "slices") as show:
            advance = until_stopped(show, stop) if self._processes.count == 1 else show
            return predict_rows(
                model, loader or self._loader, rows, self._recipe.slab, self._device,
                batch_size=2 * self._recipe.train.batch_size, processes=self._processes, advance=advance,
            )  # fmt: skip

    def _finish(self, log: RunLog, stop: Callable[[], bool]) -> dict[str, Any]:
        """Predict the held-out series with the weights on disk, and describe the fold."""
        self._processes.wait()
        path = self._folder / WEIGHTS_FILE
        load_weights(self._model, path, None)
        logit = self._predict(self._model, self.rows.held_out, "out of fold", stop)
        if self._processes.is_first:
            write_logits(self._folder / "oof.parquet", self._store.slices, self.rows.held_out, logit, self._seen)
        images = self._learnt_images()
        if self._start is not None:
            self._compare(self._start, images, logit, stop)
        named: dict[str, Any] = {}
        if self._processes.is_first:
            named = images.write(self._folder / IMAGES_FILE)
            log.write("end", self._learner.step, kept_epoch=self._progress.kept_epoch)
            for name in (TARGETS_FILE, ZEROS_FILE, TOLD_FILE):
                (self._folder / name).unlink(missing_ok=True)
        natural = torch.sigmoid(self.natural.logit()).tolist()
        shown = LabelCount(N_LABELS)
        shown.positive, shown.known = self._counted()
        self._processes.wait()
        return {
            "weights": f"{self._folder.name}/{WEIGHTS_FILE}",
            "sha256": sha256_file(path),
            "epoch": self._progress.kept_epoch,
            "validation": without_nan(self._progress.kept_score),
            "prior": natural,
            "prior_shown": torch.sigmoid(shown.logit()).tolist(),
            "n_slices": {"train": len(self.rows.train), "held_out": len(self.rows.held_out)},
            "precision": self.precision.name,
            "images": named,
            **({} if self._start is None else {"from_fold": self._start.number}),
        }

    def _learnt_images(self) -> LearntImages:
        hashes, own = image_hashes(self._store), self.rows.held_out
        learnt = [np.delete(hashes, own)]
        if self._canvas is not None:
            learnt.append(image_hashes(self._canvas.store)[self._canvas_rows])
        before = None if self._start is None else self._start.images
        return LearntImages.of(np.concatenate(learnt), hashes[own], before)

    def _compare(
        self, start: FoldStart, images: LearntImages, logit: npt.NDArray[np.float64], stop: Callable[[], bool]
    ) -> None:
        """Let the parent's network predict what this one has predicted, and both the old scans that neither learnt."""
        own = self.rows.held_out
        seen = np.zeros(len(self._target), bool) if self._seen is None else self._seen
        here = np.flatnonzero(~np.isnan(self._target[own]).all(axis=1) & ~seen[own])
        old, rows = self._old, np.zeros(0, np.int64)
        if old is not None:
            reader = SlabReader(old, self._recipe.slab)
            known = ~np.isnan(reader.target).all(axis=1)
            twice = np.isin(image_hashes(old), image_hashes(self._store))
            rows = np.flatnonzero(known & start.images.unseen(old) & ~images.seen(old) & ~twice)
            loader = SlabLoader(reader, device=self._device)
            after = self._predict(self._model, rows, "old scans", stop, loader)
        start.load(self._model)
        before = self._predict(self._model, own[here], "before", stop)
        tables = [change_rows(self._store, own[here], start.images.unseen(self._store)[own[here]], before, logit[here])]
        if old is not None:
            before = self._predict(self._model, rows, "old scans before", stop, loader)
            tables.append(change_rows(old, rows, np.ones(len(rows), bool), before, after))
        if self._processes.is_first:
            write_change(self._folder / CHANGE_FILE, tables)

    def _save(self) -> None:
        positive, known = self._counted()
        if self._processes.is_first:
            save_state(self._last, {
                "learner": self._learner.state(),
                "course": dataclasses.asdict(self._progress),
                "shown": {"positive": positive, "known": known},
                "data": self._digest,
                "processes": self._processes.count,
            })  # fmt: skip

    def _restore(self) -> None:
        """Go on from a checkpoint.

        Raises:
            TrainingError: It is damaged, or of another store or number of processes.
        """
        state, now = load_state(self._last), {"data": self._digest, "processes": self._processes.count}
        for name, rule in (("data", "the same store"), ("processes", "as many processes")):
            if state[name] != now[name]:
                raise TrainingError(
                    f"--resume needs {rule} (got {now[name]!r} for {state[name]!r}) in {self._folder}; train into "
                    "another folder"
                )
        self._learner.restore(state["learner"])
        self._progress = Progress(**state["course"])
        if self._processes.is_first:  # the counts are sums over all processes: one of them takes them
            self.shown.positive, self.shown.known = state["shown"]["positive"], state["shown"]["known"]
        remark(
            f"fold {self._fold}: going on after step {self._learner.step}, in {self.precision.name} "
            f"({self.precision.reason})"
        )
