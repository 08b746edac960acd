"""One fold of a joint training: from its series to the weights of encoder and sequence model."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ich25d.config import Recipe
from ich25d.encoder.fold_progress import Progress
from ich25d.encoder.fold_rows import Rows, rows_of_fold
from ich25d.encoder.learnt_images import IMAGES_FILE, LearntImages, image_hashes
from ich25d.encoder.loaded import export_weights
from ich25d.encoder.model import SlabEncoder
from ich25d.encoder.parent import FoldStart
from ich25d.encoder.step_failures import explained_failures
from ich25d.encoder.validate import predict_rows, write_logits
from ich25d.errors import TrainingError
from ich25d.files import write_json
from ich25d.joint.drawn_series import DrawnSeries, augmented_alike, draw_series
from ich25d.joint.model import Joined, JointModel
from ich25d.labels import N_LABELS
from ich25d.progress import bar, remark
from ich25d.sequence.model import SequenceModel
from ich25d.slabs.dataset import SlabBatch, SlabReader
from ich25d.slabs.loading import SlabLoader
from ich25d.slabs.network_input import network_input
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.device import choose_precision, to_device
from ich25d.training.interrupt import Interrupted, until_stopped
from ich25d.training.learner import Learner, load_state, save_state
from ich25d.training.loop import Schedule, train_steps
from ich25d.training.loss import score_loss
from ich25d.training.model_file import ENCODER_FOLDER
from ich25d.training.optim import make_optimizer, parameter_groups
from ich25d.training.processes import Processes
from ich25d.training.runlog import LOG_FILE, Listener, RunLog
from ich25d.training.sampling import LabelCount, epoch_order, steps_in_epoch
from ich25d.training.series_target import series_target
from ich25d.training.weights_file import WEIGHTS_FILE, write_weights

SAVE_EVERY_S = 300.0
"""Time between two checkpoints within an epoch."""

ENTRY_FILE = "fold.json"

_WARMUP, _CLIP_NORM = 0.05, 1.0


class SeriesBatch(NamedTuple):
    """One series as a step shows it."""

    slabs: SlabBatch
    drawn: DrawnSeries


class JointFold:
    """One fold's joint training.

    Args:
        store: The study store.
        recipe: [slab], [augment], [sequence], [joint] and `train.loader_workers` and `train.precision` are used.
        out: The model directory.
        model: Encoder and sequence model to start from.
        start: Where they come from.
        fold: Number of the fold to hold out.
        device: Where to train.
        digest: Hash of the store's tables; a checkpoint of another one is refused.
    """

    def __init__(
        self,
        store: StudyStore,
        recipe: Recipe,
        out: Path,
        model: JointModel,
        start: FoldStart,
        *,
        fold: int,
        device: torch.device,
        digest: str,
    ) -> None:
        joint = recipe.joint
        self._store, self._recipe, self._fold, self._device, self._digest = store, recipe, fold, device, digest
        self._folder, self._encoder_folder = out / f"fold{fold}", out / ENCODER_FOLDER / f"fold{fold}"
        self._start, self._seed = start, joint.seed + 1000 * fold
        self.seen = start.images.seen(store)
        reader = SlabReader(store, recipe.slab)
        self.rows: Rows = rows_of_fold(store, reader, fold, (), self.seen)
        self._target = reader.target
        self._loader = SlabLoader(reader, workers=recipe.train.loader_workers, device=device)
        code = store.slices["series_id"].to_numpy(dtype=object)[self.rows.train]
        ids = list(dict.fromkeys(code.tolist()))
        self._series = [reader.rows_of([name]) for name in ids]
        self._position = store.slices["slice_position_mm"].to_numpy(dtype=np.float64, na_value=np.nan)
        self._model = model.to(device)
        groups = parameter_groups(
            self._model, weight_decay=joint.weight_decay, layer_decay=1.0, depth={}, max_depth=0,
            rate={"encoder": joint.encoder_lr / joint.sequence_lr},
        )  # fmt: skip
        self._learner = Learner(
            model=self._model,
            optimizer=make_optimizer(groups, device),
            device=device,
            precision=choose_precision(recipe.train.precision, device, self._model),
            ema_decay=joint.ema,
            seed=self._seed,
        )
        self._per_step = min(joint.series, len(self._series))
        self.steps_per_epoch = steps_in_epoch(len(self._series), self._per_step)
        total = self.steps_per_epoch * joint.epochs
        self._schedule = Schedule(
            total_steps=total, warmup_steps=round(_WARMUP * total), lr=joint.sequence_lr, min_lr=0.0,
            accumulate=self._per_step, clip_norm=_CLIP_NORM,
        )  # fmt: skip
        self._progress = Progress()

    @property
    def n_series(self) -> int:
        """Number of series to train on."""
        return len(self._series)

    @property
    def _last(self) -> Path:
        return self._encoder_folder / "last.pt"

    def run(self, stop: Callable[[], bool], listeners: list[Listener]) -> dict[str, Any]:
        """Train to the end, or until a signal, on from `last.pt` where there is one; then write weights and logits.

        Args:
            stop: Returns whether a signal asked to stop.
            listeners: Called with every line of the log.

        Returns:
            The encoder's entry in its `model.json`; the sequence model's is in `fold.json`.

        Raises:
            Interrupted: A signal asked to stop; `last.pt` is written.
            TrainingError: Numbers that aren't finite, no memory, or a checkpoint that doesn't fit.
        """
        self._encoder_folder.mkdir(parents=True, exist_ok=True)
        resumed = self._last.exists()
        if resumed:
            self._restore()
        progress, joint, first = self._progress, self._recipe.joint, self._learner.step
        keep = (lambda line: progress.has_logged(line, first)) if resumed else None
        log = RunLog(self._folder / LOG_FILE, keep, listeners)
        if not resumed:
            log.write(
                "begin", 0, epochs=joint.epochs, total_steps=self._schedule.total_steps, n_train=len(self._series),
                device=self._device.type, precision=self._learner.precision.name,
            )  # fmt: skip
        too_large = (
            f"a step must fit into the device's memory (got {joint.micro_batch} slabs of {self._recipe.slab.size} px); "
            "halve joint.micro_batch"
        )
        with self._loader, explained_failures(too_large, stop, self._save, Processes()):
            while progress.epoch < joint.epochs:
                self._epoch(stop)
                loss = progress.loss_sum / max(1, progress.loss_steps)
                log.write("epoch", self._learner.step, epoch=progress.epoch + 1, loss=loss, seconds=progress.seconds)
                progress.epoch, progress.step_in_epoch = progress.epoch + 1, 0
                progress.loss_sum, progress.loss_steps, progress.seconds = 0.0, 0, 0.0
                self._save()
            entry = self._finish(stop)
        log.write("end", self._learner.step)
        return entry

    def _epoch(self, stop: Callable[[], bool]) -> None:
        """Do the steps of this epoch that are left."""
        progress, joint = self._progress, self._recipe.joint
        self._model.train()
        saved = begun = time.monotonic()
        before = progress.seconds

        def requests() -> tuple[bool, bool]:
            return stop(), time.monotonic() - saved > SAVE_EVERY_S

        title = f"fold {self._fold} epoch {progress.epoch + 1}/{joint.epochs}"
        with bar(title, self.steps_per_epoch * self._per_step, "series") as advance:
            advance(progress.step_in_epoch * self._per_step)
            reports = train_steps(
                self._learner, self._batches(), self._loss, self._schedule,
                n_steps=self.steps_per_epoch - progress.step_in_epoch, requests=requests,
            )  # fmt: skip
            for report in reports:
                progress.step_in_epoch += 1
                progress.seconds = before + time.monotonic() - begun
                if report.skipped:
                    remark(f"fold {self._fold} step {report.step}: left out, its loss isn't finite")
                else:
                    progress.loss_sum, progress.loss_steps = progress.loss_sum + report.loss, progress.loss_steps + 1
                advance(self._per_step, note=f"loss {progress.loss_sum / max(1, progress.loss_steps):.4f}")
                if report.save or report.stop:
                    self._save()
                    saved = time.monotonic()
                if report.stop:
                    raise Interrupted

    def _batches(self) -> Iterator[SeriesBatch]:
        """Read the series of this epoch, from the next step on."""
        progress, joint = self._progress, self._recipe.joint
        n_shown = self.steps_per_epoch * self._per_step
        order = epoch_order(len(self._series), n_shown, seed=self._seed, epoch=progress.epoch)
        drawn = [
            draw_series(
                self._series[number], self._position[self._series[number]], joint, self._recipe.sequence,
                epoch=progress.epoch, number=int(number),
            )
            for number in order[progress.step_in_epoch * self._per_step :]
        ]  # fmt: skip
        batches = self._loader.batches_of([one.rows for one in drawn], progress.epoch)
        return (SeriesBatch(augmented_alike(slabs), one) for slabs, one in zip(batches, drawn, strict=True))

    def _loss(self, model: nn.Module, batch: SeriesBatch) -> torch.Tensor:
        joint, slabs = self._recipe.joint, batch.slabs
        x_TCHW = network_input(  # noqa: N806  # axes as suffix
            slabs, self._recipe.slab, self._device,
            augment=self._recipe.augment, seed=self._seed, epoch=self._progress.epoch,
        )  # fmt: skip
        found: Joined = model(
            x_TCHW, to_device(torch.from_numpy(batch.drawn.position_mm), self._device), micro_batch=joint.micro_batch,
            precision=self._learner.precision, noise=self._recipe.sequence.feature_noise,
        )  # fmt: skip
        target = to_device(slabs.target, self._device)
        whole = torch.from_numpy(series_target(slabs.target.numpy()).astype(np.float32))
        refined = score_loss(found.refined, target)
        series = score_loss(found.series[None], to_device(whole[None], self._device))
        sequence = refined + self._recipe.sequence.series_weight * series
        return joint.sequence_weight * sequence + joint.slice_weight * score_loss(found.slices, target)

    def _finish(self, stop: Callable[[], bool]) -> dict[str, Any]:
        """Write the averaged weights, and let the encoder predict the held-out series."""
        averaged = self._learner.averaged
        assert isinstance(averaged, JointModel)
        sequence: SequenceModel = averaged.sequence
        encoder: SlabEncoder = averaged.encoder
        nothing = torch.zeros(N_LABELS, dtype=torch.float64)
        weights = export_weights(encoder, nothing, self._encoder_folder / WEIGHTS_FILE)
        refining = write_weights(nn.ModuleList([sequence]).state_dict(), self._folder / WEIGHTS_FILE)
        own = self.rows.held_out
        logit = self._predict(encoder, own, stop)
        write_logits(self._encoder_folder / "oof.parquet", self._store.slices, own, logit, self.seen)
        hashes = image_hashes(self._store)
        images = LearntImages.of(np.delete(hashes, own), hashes[own], self._start.images)
        natural = LabelCount(N_LABELS)
        natural.add(torch.from_numpy(self._target[self.rows.train]))
        entry = {
            "weights": f"{self._encoder_folder.name}/{WEIGHTS_FILE}",
            "sha256": weights,
            "epoch": self._progress.epoch,
            "validation": {},
            "prior": torch.sigmoid(natural.logit()).tolist(),
            "n_slices": {"train": len(self.rows.train), "held_out": len(own)},
            "precision": self._learner.precision.name,
            "images": images.write(self._encoder_folder / IMAGES_FILE),
            "from_fold": self._start.number,
        }
        n_held_out = len(set(self._store.slices["series_id"].iloc[self.rows.validated]))
        write_json(
            self._folder / ENTRY_FILE,
            {"weights": f"{self._folder.name}/{WEIGHTS_FILE}", "sha256": refining, "n_train": len(self._series),
             "n_held_out": n_held_out},
        )  # fmt: skip
        return entry

    def _predict(
        self, encoder: SlabEncoder, rows: npt.NDArray[np.int64], stop: Callable[[], bool]
    ) -> npt.NDArray[np.float64]:
        with bar(f"fold {self._fold} out of fold", len(rows), "slices") as show:
            return predict_rows(
                encoder, self._loader, rows, self._recipe.slab, self._device,
                batch_size=2 * self._recipe.joint.micro_batch, advance=until_stopped(show, stop),
            )  # fmt: skip

    def _save(self) -> None:
        save_state(self._last, {
            "learner": self._learner.state(), "course": dataclasses.asdict(self._progress), "data": self._digest,
        })  # fmt: skip

    def _restore(self) -> None:
        """Go on from a checkpoint.

        Raises:
            TrainingError: It is damaged, or of another store.
        """
        state = load_state(self._last)
        if state["data"] != self._digest:
            raise TrainingError(
                f"a run goes on with the store that it was begun with (got another one) in {self._encoder_folder}; "
                "train into another folder"
            )
        self._learner.restore(state["learner"])
        self._progress = Progress(**state["course"])
        remark(f"fold {self._fold}: going on after step {self._learner.step}")
