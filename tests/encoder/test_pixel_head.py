"""The pixel head: what it sees, how it reaches the slices' logits, what teaches it."""

import dataclasses
import math

import pytest
import torch

from ich25d.config import AugmentConfig, EncoderConfig, PixelsConfig, Recipe, SlabConfig
from ich25d.encoder.pixel_head import POSITIVE_WEIGHT, RARE, START_LOGIT, pixel_loss, pooled
from ich25d.encoder.weights import build_encoder
from ich25d.errors import ConfigError
from ich25d.slabs.dataset import SlabBatch
from ich25d.slabs.network_input import pixel_truth

SLAB = SlabConfig(windows=("brain",), size=64)
ENCODER = EncoderConfig(name="test_efficientnet", weights="none")
STILL = AugmentConfig(
    flip=0, rotate_deg=0, scale=0, aspect=0, shift=0, level_jitter_hu=0, width_jitter=0, noise_hu=0, erase=0, swap=0
)


def test_maps_and_logits() -> None:
    """Six maps of 8 px a cell, whose pooled numbers end the embedding and are near 0 at the start."""
    torch.manual_seed(0)
    encoder = build_encoder(ENCODER, SLAB, PixelsConfig(weight=0.3)).eval()
    bare = build_encoder(ENCODER, SLAB)
    found = encoder(torch.rand(2, 3, 64, 64))

    assert found.pixel is not None
    assert found.pixel.shape == (2, 6, 8, 8)
    assert encoder.embedding_size == bare.embedding_size + 6
    assert found.embedding.shape == (2, encoder.embedding_size)
    torch.testing.assert_close(found.embedding[:, -6:], pooled(found.pixel))
    assert found.embedding[:, -6:].abs().max() < 1
    assert bare(torch.rand(2, 3, 64, 64)).pixel is None


def test_both_ways_through_the_backbone_agree() -> None:
    """With the head the backbone's own embedding is what it is without it."""
    torch.manual_seed(0)
    encoder = build_encoder(ENCODER, SLAB, PixelsConfig(weight=0.3)).eval()
    bare = build_encoder(ENCODER, SLAB).eval()
    bare.backbone.load_state_dict(encoder.backbone.state_dict())
    x = torch.rand(2, 3, 64, 64)

    torch.testing.assert_close(encoder(x).embedding[:, :-6], bare(x).embedding)


def test_the_slices_teach_the_maps() -> None:
    """A slice's loss reaches every cell, in its own label's map most."""
    torch.manual_seed(0)
    encoder = build_encoder(ENCODER, SLAB, PixelsConfig(weight=0.3)).eval()
    found = encoder(torch.rand(1, 3, 64, 64))
    (gradient,) = torch.autograd.grad(found.logit[0, 2], found.pixel)
    by_label = gradient[0].sum(dim=(1, 2))

    assert (gradient[0, 2] > 0).all()
    assert by_label.argmax() == 2


def test_pooling_by_hand() -> None:
    """The log of the mean odds: even maps give their own value; one hot cell of 64 gives its odds over 64."""
    even = torch.full((1, 6, 8, 8), -2.0)
    hot = torch.full((1, 6, 8, 8), -50.0)
    hot[0, 1, 3, 3] = 4.0

    assert pooled(even)[0, 0].item() == pytest.approx(-2.0 - START_LOGIT, abs=1e-5)
    assert pooled(hot)[0, 1].item() == pytest.approx(4.0 - math.log(64) - START_LOGIT, abs=1e-5)


def test_loss_by_hand() -> None:
    """Logits of 0 cost ln 2 a known cell, over the positive cells, or over a hundredth of all where fewer are."""
    logit = torch.zeros(1, 6, 10, 10)
    truth, known = torch.zeros(1, 6, 10, 10), torch.zeros(1, 6, dtype=torch.bool)
    known[0, :2] = True
    assert pixel_loss(logit, truth, known).item() == pytest.approx(math.log(2) * 200 / (RARE * 200))
    truth[0, 0, :5, :4] = 1
    assert pixel_loss(logit, truth, known).item() == pytest.approx(math.log(2) * (180 + 20 * POSITIVE_WEIGHT) / 20)
    assert pixel_loss(logit, truth, torch.zeros_like(known)).item() == 0


def test_truth_of_painted_negative_and_real() -> None:
    """Painted: its masks, and `any` their union. Negative: zeros. Real positive: zeros but for its labels, unknown."""
    target = torch.tensor([[0, 1, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 1.0]])
    target[2, 3] = torch.nan
    mask = torch.zeros(3, 5, 16, 16, dtype=torch.uint8)
    mask[0, 1, :8], mask[0, 4, :, :8] = 255, 255
    batch = SlabBatch(
        hu=torch.zeros(3, 3, 64, 64), target=target, row=torch.arange(3), key=torch.arange(3),
        window=torch.full((3, 2), torch.nan), painted=torch.tensor([True, False, False]),
        brain_hu=torch.full((3,), torch.nan), mask=mask,
    )  # fmt: skip
    share, known = pixel_truth(batch, 4, "cpu", augment=STILL, seed=0, epoch=0)

    assert known.tolist() == [[True] * 6, [True] * 6, [True, False, True, False, True, False]]
    assert share.shape == (3, 6, 4, 4)
    assert (share[0, 1] == torch.tensor([1.0, 1, 0, 0])[:, None]).all()
    assert torch.equal(share[0, 5], torch.maximum(share[0, 1], share[0, 4]))
    assert not share[1:].any()


def test_what_can_not_be() -> None:
    """A backbone without stages of 8 px, and a head that nothing would teach."""
    with pytest.raises(ConfigError, match="pixel head needs an encoder with stages"):
        build_encoder(dataclasses.replace(ENCODER, name="test_vit"), SLAB, PixelsConfig(weight=0.3))
    with pytest.raises(ValueError, match=r"pixels\.weight needs augment\.painted"):
        Recipe(pixels=PixelsConfig(weight=0.3))
