"""Evidence of an encoder for a label, by place."""

from pathlib import Path

import numpy as np
import pytest
import torch
from toy_model import SIZE, head_hu, positions, write_model

from ich25d.encoder.model_directory import LoadedEncoder, load_encoder
from ich25d.errors import UsageError
from ich25d.explain.class_map import as_planes, class_maps, evidence, stage_of, usable_strides
from ich25d.slabs.dataset import SlabBatch, series_batches


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> LoadedEncoder:
    """One fold, untrained."""
    return load_encoder(write_model(tmp_path_factory.mktemp("map") / "run", folds=1), 0)


def slabs(encoder: LoadedEncoder, hu: np.ndarray) -> SlabBatch:
    """Return all slabs of a head."""
    return next(series_batches(hu, positions(), None, encoder.slab, len(hu)))


@pytest.mark.parametrize(
    ("method", "expected"),
    [("gradcam", [[0.0, 1.0]]), ("hirescam", [[0.0, 6.0]]), ("layercam", [[2.0, 6.0]])],
)
def test_the_three_methods_by_hand(method: str, expected: list[list[float]]) -> None:
    """Two channels, two places: activations (1, 2) and (-4, 1), gradients (2, 0) and (3, 6)."""
    activation = torch.tensor([[[[1.0, 2.0]], [[-4.0, 1.0]]]])
    gradient = torch.tensor([[[[2.0, 0.0]], [[3.0, 6.0]]]])
    if method == "gradcam":  # means 1 and 4.5: 1 - 18 < 0, and 2 + 4.5
        expected = [[0.0, 6.5]]

    assert evidence(activation, gradient, method=method).tolist() == [expected]  # type: ignore[arg-type]


def test_evidence_of_the_last_stage_adds_up_to_the_logit(encoder: LoadedEncoder) -> None:
    """A network that ends in a mean and a linear layer: shares of the logit, negative ones left out, reach it."""
    batch = slabs(encoder, head_hu())
    _, logit = encoder(batch)
    (shares,) = class_maps(encoder, batch, strides=(32,), method="hirescam")

    assert shares.shape == (len(batch), 6, SIZE // 32, SIZE // 32)
    assert (shares.sum(dim=(2, 3)) >= logit - encoder.model.head.bias.detach() - 1e-4).all()


def test_a_mirrored_head_has_the_mirrored_map(encoder: LoadedEncoder) -> None:
    """Looking at the mirrored slab is looking at a mirrored head, mirrored back."""
    hu = head_hu()
    plain = class_maps(encoder, slabs(encoder, hu), strides=(8, 16), method="layercam", flip=True, labels=(1, 5))
    mirrored = np.ascontiguousarray(hu[:, :, ::-1])
    other = class_maps(encoder, slabs(encoder, mirrored), strides=(8, 16), method="layercam", labels=(1, 5))

    for one, two in zip(plain, other, strict=True):
        torch.testing.assert_close(one, two.flip(3), rtol=1e-3, atol=1e-5)


def test_labels_come_in_their_order_and_alone(encoder: LoadedEncoder) -> None:
    """A label's map doesn't depend on the others asked for."""
    batch = slabs(encoder, head_hu())
    (every,) = class_maps(encoder, batch, strides=(16,), method="hirescam")
    (two,) = class_maps(encoder, batch, strides=(16,), method="hirescam", labels=(4, 1))

    torch.testing.assert_close(two, every[:, [4, 1]])
    assert (every >= 0).all()


def test_the_encoder_is_left_as_it_was(encoder: LoadedEncoder) -> None:
    """No hook stays, parameters learn as before, and it answers as before."""
    batch = slabs(encoder, head_hu())
    before = encoder(batch)[1]
    class_maps(encoder, batch, strides=(8, 16), method="gradcam")

    torch.testing.assert_close(encoder(batch)[1], before, rtol=0, atol=0)
    assert all(parameter.requires_grad for parameter in encoder.model.parameters())
    assert not any(part._forward_hooks for part in encoder.model.modules())


def test_features_of_any_form_become_planes() -> None:
    """Channels first, channels last, tokens with one in front."""
    planes = torch.arange(24.0).reshape(1, 6, 2, 2)
    tokens = torch.cat([torch.full((1, 1, 6), 99.0), planes.flatten(2).transpose(1, 2)], dim=1)
    backbone = torch.nn.Module()
    backbone.num_prefix_tokens = 1  # type: ignore[assignment]

    assert torch.equal(as_planes(planes, backbone, 6), planes)
    assert torch.equal(as_planes(planes.permute(0, 2, 3, 1), backbone, 6), planes)
    assert torch.equal(as_planes(tokens, backbone, 6), planes)
    with pytest.raises(UsageError, match="square of features"):
        as_planes(tokens[:, :4], backbone, 6)


def test_stages_are_found_by_stride(encoder: LoadedEncoder) -> None:
    """The last stage of a stride; a model without it says what it has."""
    assert stage_of(encoder.model.backbone, 16)[0] is encoder.model.backbone.layer3
    assert usable_strides(encoder.model.backbone, (8, 16)) == (8, 16)
    assert usable_strides(encoder.model.backbone, (64,)) == (32,)
    with pytest.raises(UsageError, match="stride 64"):
        stage_of(encoder.model.backbone, 64)


@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_other_kinds_of_encoder(name: str, tmp_path: Path) -> None:
    """Tokens of one stride only, and channels that come another way, give maps as well."""
    encoder = load_encoder(write_model(tmp_path / "run", folds=1, name=name), 0)
    strides = usable_strides(encoder.model.backbone, (8, 16))
    maps = class_maps(encoder, slabs(encoder, head_hu()), strides=strides, method="layercam", labels=(5,))

    assert all(one.shape[:2] == (12, 1) and one.shape[2] == one.shape[3] and one.max() > 0 for one in maps)
