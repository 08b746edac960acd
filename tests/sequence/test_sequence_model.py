"""The sequence model: it begins as the identity, and padding changes nothing."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ich25d.config import SequenceConfig
from ich25d.sequence.dataset import augment, collate
from ich25d.sequence.item import SeriesItem, reverse
from ich25d.sequence.model import SequenceModel
from ich25d.training.smoothing import known_position_mm

DIM = 7


def some_model(*, seed: int = 0, deltas: bool = True, layers: int = 2) -> SequenceModel:
    """A model whose last layers aren't zero any more."""
    torch.manual_seed(seed)
    config = SequenceConfig(project=8, hidden=5, layers=layers, dropout=0.3, deltas=deltas)
    model = SequenceModel(DIM, config).eval()
    for parameter in (model.slice_head.weight, model.series_weight, model.series_bias):
        torch.nn.init.normal_(parameter)
    return model


def some_item(n_slices: int, seed: int = 0) -> SeriesItem:
    """A series of random numbers."""
    rng = np.random.default_rng(seed)
    return SeriesItem(
        embedding=rng.normal(size=(n_slices, DIM)).astype(np.float32),
        logit=rng.normal(size=(n_slices, 6)).astype(np.float32),
        position_mm=np.cumsum(rng.uniform(1, 8, n_slices)).astype(np.float32),
        target=rng.integers(0, 2, (n_slices, 6)).astype(np.float32),
    )


def run(model: SequenceModel, items: list[SeriesItem], extra: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Run a batch, padded by so much more than needed, with rubbish in the padding."""
    batch = collate(items)
    rubbish = torch.full((len(items), extra, DIM), 1e4)
    embedding = torch.cat([batch.embedding, rubbish], dim=1)
    logit = torch.cat([batch.logit, torch.full((len(items), extra, 6), 77.0)], dim=1)
    position = torch.cat([batch.position_mm, torch.full((len(items), extra), -5e3)], dim=1)
    for number, item in enumerate(items):
        embedding[number, len(item.logit) :] = -3e3
        logit[number, len(item.logit) :] = 1e3
        position[number, len(item.logit) :] = 9e4
    with torch.inference_mode():
        slices, whole = model(embedding, logit, position, batch.length)
    return slices.numpy(), whole.numpy()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 6), st.booleans(), st.integers(1, 2),
    st.integers(0, 99),
)  # fmt: skip
def test_padding_and_company_change_nothing(
    lengths: list[int], extra: int, deltas: bool, layers: int, seed: int
) -> None:
    """A series alone, among others and padded further has the same logits."""
    model = some_model(seed=seed, deltas=deltas, layers=layers)
    items = [some_item(length, seed + number) for number, length in enumerate(lengths)]
    together, whole_together = run(model, items, extra)

    for number, item in enumerate(items):
        alone, whole_alone = run(model, [item])
        np.testing.assert_allclose(together[number, : len(item.logit)], alone[0], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(whole_together[number], whole_alone[0], rtol=1e-4, atol=1e-4)


def test_begins_as_the_identity() -> None:
    """Untrained: the encoder's logits to the last bit, and their largest for the series."""
    model = SequenceModel(DIM, SequenceConfig(project=8, hidden=5)).eval()
    item = some_item(6)
    slices, whole = run(model, [item, some_item(3)], extra=2)

    assert np.array_equal(slices[0, :6], item.logit)
    assert np.array_equal(whole[0], item.logit.max(axis=0))


def test_a_slice_hears_of_both_sides() -> None:
    """Changing the first or the last slice changes the one in the middle."""
    model, item = some_model(), some_item(5)
    before = run(model, [item])[0][0, 2]
    for place in (0, 4):
        changed = SeriesItem(item.embedding.copy(), item.logit, item.position_mm, item.target)
        changed.embedding[place] *= -1

        assert np.abs(run(model, [changed])[0][0, 2] - before).max() > 1e-6


def test_the_series_loss_does_not_bend_the_slices_alone() -> None:
    """The largest slice logit is detached: a new model's series loss moves no slice logit through it."""
    model = SequenceModel(DIM, SequenceConfig(project=8, hidden=5)).eval()
    batch = collate([some_item(5)])
    _, whole = model(batch.embedding, batch.logit, batch.position_mm, batch.length)
    whole.sum().backward()

    assert model.slice_head.weight.grad is None or not model.slice_head.weight.grad.any()
    assert model.series_bias.grad is not None
    assert model.series_bias.grad.tolist() == [1] * 6


def test_reversal_keeps_everything_with_its_slice() -> None:
    """Twice is nothing; once turns all four together."""
    item = some_item(5)
    turned = reverse(item)

    assert np.array_equal(turned.embedding, item.embedding[::-1])
    assert np.array_equal(turned.logit, item.logit[::-1])
    assert np.array_equal(turned.position_mm, item.position_mm[::-1])
    assert np.array_equal(turned.target, item.target[::-1])
    assert np.array_equal(reverse(turned).embedding, item.embedding)


def test_every_second_slice_is_dropped() -> None:
    """Both halves together are the series; the gap doubles."""
    item = some_item(11)
    config = SequenceConfig(drop_second=1.0, reverse=0, feature_noise=0)
    halves = [augment(item, config, np.random.default_rng(seed)).target for seed in range(9)]

    assert {len(half) for half in halves} == {5, 6}
    for half in halves:
        assert np.array_equal(half, item.target[6 - len(half) :: 2])


def test_augmentation_depends_on_its_draws_alone() -> None:
    """Same draws, same series; short series keep all slices; no share, no change."""
    config = SequenceConfig(drop_second=1.0, reverse=1.0, feature_noise=0.1)
    one, other = (augment(some_item(12), config, np.random.default_rng(3)) for _ in range(2))
    short = augment(some_item(10), config, np.random.default_rng(3))
    still = augment(some_item(12), SequenceConfig(drop_second=0, reverse=0, feature_noise=0), np.random.default_rng(0))

    assert np.array_equal(one.embedding, other.embedding)
    assert len(one.logit) == 6
    assert len(short.logit) == 10
    assert (np.diff(one.position_mm) < 0).all()
    assert np.array_equal(still.embedding, some_item(12).embedding)


def test_unknown_positions_are_five_mm_apart() -> None:
    """One unknown position makes all unknown: a distance to it means nothing."""
    assert known_position_mm(np.array([10.0, 12.0])).tolist() == [0, 2]
    assert known_position_mm(np.array([10.0, np.nan, 3.0])).tolist() == [0, 5, 10]
