"""Evidence of an encoder for a label, by place."""

from pathlib import Path

import numpy as np
import pytest
import torch
from toy_model import head_hu, positions, write_model

from ich25d.encoder.loaded import LoadedEncoder, load_encoder
from ich25d.errors import UsageError
from ich25d.explain.layer_cam import as_planes, class_maps, evidence, stages_of
from ich25d.slabs.dataset import SlabBatch, series_batches


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> LoadedEncoder:
    """One fold, untrained."""
    return load_encoder(write_model(tmp_path_factory.mktemp("map") / "run", folds=1), 0)


def slabs(encoder: LoadedEncoder, hu: np.ndarray) -> SlabBatch:
    """Return all slabs of a head."""
    return next(series_batches(hu, positions(), None, encoder.slab, len(hu)))


def test_evidence_by_hand() -> None:
    """Two channels, two places: activations (1, 2) and (-4, 1), gradients (2, 0) and (3, 6)."""
    activation = torch.tensor([[[[1.0, 2.0]], [[-4.0, 1.0]]]])
    gradient = torch.tensor([[[[2.0, 0.0]], [[3.0, 6.0]]]])

    assert evidence(activation, gradient).tolist() == [[[2.0, 6.0]]]
    assert evidence(activation, -gradient).tolist() == [[[0.0, 0.0]]]


def test_a_mirrored_head_has_the_mirrored_map(encoder: LoadedEncoder) -> None:
    """Looking at the mirrored slab is looking at a mirrored head, mirrored back."""
    hu = head_hu()
    plain = class_maps(encoder, slabs(encoder, hu), strides=(8, 16), flip=True, labels=(1, 5))
    mirrored = np.ascontiguousarray(hu[:, :, ::-1])
    other = class_maps(encoder, slabs(encoder, mirrored), strides=(8, 16), labels=(1, 5))

    for one, two in zip(plain, other, strict=True):
        torch.testing.assert_close(one, two.flip(3), rtol=1e-3, atol=1e-5)


def test_labels_come_in_their_order_and_alone(encoder: LoadedEncoder) -> None:
    """A label's map doesn't depend on the others asked for."""
    batch = slabs(encoder, head_hu())
    (every,) = class_maps(encoder, batch, strides=(16,), labels=range(6))
    (two,) = class_maps(encoder, batch, strides=(16,), labels=(4, 1))

    torch.testing.assert_close(two, every[:, [4, 1]])
    assert (every >= 0).all()


def test_the_encoder_is_left_as_it_was(encoder: LoadedEncoder) -> None:
    """No hook stays, parameters learn as before, and it answers as before."""
    batch = slabs(encoder, head_hu())
    before = encoder(batch)[1]
    class_maps(encoder, batch, strides=(8, 16), labels=range(6))

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
    """The last stage of each stride; the coarsest where there is none of these strides."""
    backbone = encoder.model.backbone

    assert [stage for stage, _ in stages_of(backbone, (8, 16))] == [backbone.layer2, backbone.layer3]
    assert [stage for stage, _ in stages_of(backbone, (64,))] == [backbone.layer4]
    with pytest.raises(UsageError, match=r"stages in feature_info \(got Linear\)"):
        stages_of(torch.nn.Linear(1, 1), (8,))


@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_other_kinds_of_encoder(name: str, tmp_path: Path) -> None:
    """Tokens of one stride only, and channels that come another way, give maps as well."""
    encoder = load_encoder(write_model(tmp_path / "run", folds=1, name=name), 0)
    maps = class_maps(encoder, slabs(encoder, head_hu()), strides=(8, 16), labels=(5,))

    assert all(one.shape[:2] == (12, 1) and one.shape[2] == one.shape[3] and one.max() > 0 for one in maps)
