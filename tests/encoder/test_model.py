"""The encoder and its fitted stem."""

import dataclasses

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ich25d.config import EncoderConfig, SlabConfig
from ich25d.encoder.model import GemPool, build_backbone, channel_colours, normalisation
from ich25d.encoder.weights import build_encoder, fit_stem
from ich25d.errors import ConfigError

TINY = EncoderConfig(name="test_resnet", weights="none")
SLAB = SlabConfig(windows=("brain", "subdural"), size=32)


@settings(max_examples=20, deadline=None)
@given(neighbours=st.sampled_from([1, 3, 5]), windows=st.integers(1, 4), seed=st.integers(0, 99))
def test_a_fitted_stem_answers_identical_channels_as_before(neighbours: int, windows: int, seed: int) -> None:
    """Grey in all channels gives what grey in three colours gave, for every number of channels."""
    generator = torch.Generator().manual_seed(seed)
    kernel = torch.randn(5, 3, 3, 3, generator=generator)
    reach = neighbours // 2
    slab = SlabConfig(
        windows=("brain", "subdural", "soft", "bone")[:windows], neighbours=tuple(range(-reach, reach + 1))
    )
    colours = channel_colours(slab)

    fitted = fit_stem({"w": kernel}, {"w": torch.empty(5, len(colours), 3, 3)}, colours)["w"]

    torch.testing.assert_close(fitted.sum(1), kernel.sum(1), atol=1e-5, rtol=1e-5)
    if len(colours) == 3:
        assert torch.equal(fitted, kernel[:, colours])


def test_windows_are_the_colours_of_every_neighbour() -> None:
    """Channels run neighbour by neighbour; with one window the neighbours are the colours."""
    three = SlabConfig(windows=("brain", "subdural", "soft"))
    one = SlabConfig(windows=("brain",))

    assert channel_colours(three) == [0, 1, 2] * 3
    assert channel_colours(SLAB) == [0, 1] * 3
    assert channel_colours(one) == [0, 1, 2]


def test_normalises_as_the_weights_expect() -> None:
    """EfficientNet-Lite0 takes -1 to 1; ImageNet's numbers would shift it."""
    lite0, resnet = (normalisation(EncoderConfig(name=name), SLAB) for name in ("tf_efficientnet_lite0", "resnet50"))

    assert lite0 == ([0.5] * 6, [0.5] * 6)
    assert resnet[0] == [0.485, 0.456] * 3


def test_the_normalisation_is_inside() -> None:
    """The encoder on grey values is the backbone on normalised ones."""
    encoder = build_encoder(TINY, SLAB).eval()
    x = torch.rand(2, 6, 32, 32)

    with torch.no_grad():
        embedding, logit, _ = encoder(x)
        normal = (x - encoder.mean) / encoder.std
        expected = encoder.backbone.forward_head(encoder.backbone.forward_features(normal), pre_logits=True)

    torch.testing.assert_close(embedding, expected, atol=1e-5, rtol=1e-4)
    assert logit.shape == (2, 6)


def test_begins_at_the_labels_odds() -> None:
    """With the last layer's small random weights, an untrained encoder says the prior."""
    encoder = build_encoder(TINY, SLAB)
    odds = torch.tensor([-5.0, -3, -3, -3, -2.5, -2])
    encoder.set_odds(odds)
    nn.init.zeros_(encoder.head.weight)

    torch.testing.assert_close(encoder(torch.rand(2, 6, 32, 32))[1], odds.expand(2, 6))


def test_gem_lies_between_mean_and_maximum() -> None:
    """At power 1 it is the mean, at a large one the maximum."""
    feature = torch.rand(2, 3, 4, 4)
    pool = GemPool(flatten=True, channels_last=False)

    nn.init.constant_(pool.power, 1.0)
    torch.testing.assert_close(pool(feature), feature.mean((2, 3)))
    nn.init.constant_(pool.power, 200.0)
    torch.testing.assert_close(pool(feature), feature.amax((2, 3)), atol=0.02, rtol=0.02)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext"])
def test_gem_fits_any_convolutional_model(name: str) -> None:
    """The pool is found where a model has it, in its own memory order."""
    encoder = build_encoder(EncoderConfig(name=name, weights="none", pool="gem"), SLAB)

    assert sum(isinstance(part, GemPool) for part in encoder.modules()) == 1
    encoder(torch.rand(2, 6, 32, 32))[1].sum().backward()
    assert {f"backbone.{name}" for name, _ in encoder.backbone.named_parameters()} == set(encoder.layer_depth()[0])


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet_ln", "test_byobnet", "test_nfnet"])
def test_takes_any_timm_model(name: str) -> None:
    """Tokens or maps, batch norm or not, with a learning-rate group for every parameter."""
    encoder = build_encoder(EncoderConfig(name=name, weights="none"), SLAB)

    depth, top = encoder.layer_depth()
    embedding, *_ = encoder(torch.rand(2, 6, 32, 32))

    assert embedding.shape == (2, encoder.embedding_size)
    named = {name for name, _ in encoder.named_parameters() if name.startswith("backbone.")}
    assert set(depth) == named
    assert top > max(depth.values())


def test_frozen_means_frozen() -> None:
    """Only the last layer learns, and batch norm keeps its statistics."""
    encoder = build_encoder(TINY, SLAB)
    encoder.freeze(True)
    before = {name: value.clone() for name, value in encoder.backbone.state_dict().items()}

    encoder(torch.rand(4, 6, 32, 32))[1].sum().backward()

    assert [name for name, p in encoder.named_parameters() if p.grad is not None] == ["head.weight", "head.bias"]
    assert all(torch.equal(before[name], value) for name, value in encoder.backbone.state_dict().items())
    encoder.freeze(False)
    assert all(p.requires_grad for p in encoder.parameters())


def test_dilation_keeps_the_map_large() -> None:
    """Output stride 8: 64 px become 8 x 8."""
    config = EncoderConfig(name="resnet50", weights="none", output_stride=8)
    with torch.device("meta"):
        backbone = build_backbone(config, channels=3, size=64)
        feature = backbone.forward_features(torch.zeros(1, 3, 64, 64))

    assert tuple(feature.shape) == (1, 2048, 8, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "resnet55"}, r"timm model.*near: "),
        ({"name": "vgg11", "drop_path": 0.1}, r"vgg11.*drop_path = 0"),
        ({"name": "test_vit", "pool": "gem"}, r"averages a feature map"),
    ],
)
def test_says_what_a_model_cannot_do(change: dict[str, object], message: str) -> None:
    """Unknown names and settings that a model doesn't take."""
    config = dataclasses.replace(TINY, **change)

    with pytest.raises(ConfigError, match=message):
        build_encoder(config, SLAB)


def test_an_absurd_size_is_named() -> None:
    """Inception v3 has no padding: 32 px leave nothing."""
    config = EncoderConfig(name="inception_v3", weights="none")

    with pytest.raises(ConfigError, match=r"32 px.*slab\.size"):
        build_encoder(config, SLAB)


def test_fixed_sizes_are_built_to_measure() -> None:
    """A transformer of 160 px takes slabs of 64 px when it's told before."""
    assert timm.get_pretrained_cfg("test_vit").fixed_input_size

    encoder = build_encoder(EncoderConfig(name="test_vit", weights="none"), dataclasses.replace(SLAB, size=64))

    assert encoder(torch.rand(1, 6, 64, 64))[1].shape == (1, 6)


def test_activations_copy_nothing_in_training() -> None:
    """In place, autograd would keep a copy of what they overwrite."""
    encoder = build_encoder(EncoderConfig(weights="none"), SLAB)

    places = [
        {part.inplace for part in encoder.train(mode).modules() if isinstance(part, nn.ReLU6)} for mode in (True, False)
    ]

    assert places == [{False}, {True}]
