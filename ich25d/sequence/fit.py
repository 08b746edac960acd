"""Training of one sequence model, and its logits for whole series."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ich25d.config import SequenceConfig
from ich25d.labels import N_LABELS
from ich25d.progress import bar
from ich25d.sequence.dataset import SequenceBatch, SequenceReader, SeriesItem, augment, collate, reverse
from ich25d.sequence.model import SequenceModel
from ich25d.training.device import Precision
from ich25d.training.learner import Learner
from ich25d.training.loop import Schedule, train_steps
from ich25d.training.loss import score_loss
from ich25d.training.optim import make_optimizer, parameter_groups
from ich25d.training.prefetch import prefetch
from ich25d.training.sampling import LabelCount, epoch_order, natural_shift, steps_in_epoch

_EMA_DECAY = 0.98
"""Averages about the last 50 steps: the winners of 2019 averaged their epochs."""

_WARMUP = 0.05
_CLIP_NORM = 1.0
_FP32 = Precision("fp32", "a sequence model is small")


def train_sequence_model(
    reader: SequenceReader,
    series_ids: Sequence[str],
    config: SequenceConfig,
    *,
    seed: int,
    device: torch.device,
    title: str = "sequence model",
) -> tuple[SequenceModel, list[float]]:
    """Train one sequence model.

    Every epoch shows each series once, in one of its views, drawn at random and augmented; the draws depend on the
    seed, the epoch and the series alone. Painted series (for training only) raise the share of positives; what they
    add to the log odds is added to the logits in training, so that the model doesn't learn it.

    Args:
        reader: Reads standardised series.
        series_ids: Those to train on.
        config: [sequence].
        seed: Seed of everything.
        device: Where to train.
        title: Name of the progress bar.

    Returns:
        The averaged model in evaluation mode, and the mean loss of each epoch.

    Raises:
        TrainingError: The loss isn't finite for several steps.
    """
    torch.manual_seed(seed)
    model = SequenceModel(reader.store.dim, config).to(device)
    groups = parameter_groups(model, weight_decay=config.weight_decay, layer_decay=1.0, depth={}, max_depth=0)
    learner = Learner(
        model=model,
        optimizer=make_optimizer(groups, device),
        device=device,
        precision=_FP32,
        ema_decay=_EMA_DECAY,
        seed=seed,
    )
    surplus = -painted_shift(reader, series_ids).to(device)
    batch_size = min(config.batch_size, len(series_ids))
    per_epoch = steps_in_epoch(len(series_ids), batch_size)
    total = per_epoch * config.epochs
    schedule = Schedule(
        total_steps=total, warmup_steps=round(_WARMUP * total), lr=config.lr, min_lr=0.0, clip_norm=_CLIP_NORM
    )

    def loss_of(network: nn.Module, batch: SequenceBatch) -> torch.Tensor:
        logit_BTL, series_BL = network(  # noqa: N806  # axes as suffix
            batch.embedding.to(device), batch.logit.to(device), batch.position_mm.to(device), batch.length.to(device)
        )
        slices = score_loss(logit_BTL + surplus, batch.target.to(device))
        return slices + config.series_weight * score_loss(series_BL, batch.series_target.to(device))

    def batches() -> Iterator[SequenceBatch]:
        for epoch in range(config.epochs):
            order = epoch_order(len(series_ids), per_epoch * batch_size, seed=seed, epoch=epoch)
            for places in order.reshape(per_epoch, batch_size):
                keys = [(seed, epoch, int(place)) for place in places]
                yield collate([_drawn(reader, series_ids[key[-1]], config, key) for key in keys])

    model.train()
    losses = []
    with bar(title, total, "steps") as advance:
        for report in train_steps(learner, prefetch(batches()), loss_of, schedule, n_steps=total):
            losses.append(report.loss)
            advance(note=f"loss {report.loss:.4f}")
    averaged = learner.averaged
    assert isinstance(averaged, SequenceModel)
    averaged.gru.flatten_parameters()  # the average is a copy, whose weights lie apart: cuDNN would warn at every call
    return averaged.eval(), [float(np.nanmean(part)) for part in np.reshape(losses, (config.epochs, per_epoch))]


def painted_shift(reader: SequenceReader, series_ids: Sequence[str]) -> torch.Tensor:
    """Return what is added to logits to take out the positives of painted series, shape (6,), float32."""
    natural, shown = LabelCount(N_LABELS), LabelCount(N_LABELS)
    train_only = reader.store.series["train_only"]
    for series_id in series_ids:
        target = torch.from_numpy(reader.target(series_id))
        shown.add(target)
        if not train_only[series_id]:
            natural.add(target)
    return natural_shift(shown, natural).float()


def refine(
    models: Sequence[SequenceModel], items: Sequence[SeriesItem], *, device: torch.device
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Average the logits of several models over the versions of one series, each read in both directions.

    Args:
        models: In evaluation mode.
        items: Versions (views, encoders) of the same n slices.
        device: Where the models are.

    Returns:
        Slice logits, shape (n, 6), and series logits, shape (6,).
    """
    n_versions = len(items)
    batch = collate([*items, *(reverse(item) for item in items)])
    slices, whole = np.zeros((batch.embedding.shape[1], N_LABELS)), np.zeros(N_LABELS)
    with torch.inference_mode():
        inputs = [part.to(device) for part in (batch.embedding, batch.logit, batch.position_mm, batch.length)]
        for model in models:
            logit_BTL, series_BL = (part.cpu().double().numpy() for part in model(*inputs))  # noqa: N806
            forward, backward = logit_BTL[:n_versions], logit_BTL[n_versions:, ::-1]
            slices += (forward.mean(axis=0) + backward.mean(axis=0)) / 2
            whole += series_BL.mean(axis=0)
    return slices / len(models), whole / len(models)


def _drawn(reader: SequenceReader, series_id: str, config: SequenceConfig, key: tuple[int, int, int]) -> SeriesItem:
    rng = np.random.default_rng([*key, 0x73657175])
    view = int(rng.integers(len(reader.store.views)))
    return augment(reader.item(series_id, view), config, rng)
