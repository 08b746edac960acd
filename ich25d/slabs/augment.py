"""Augmentation of batches of slabs, on the device.

Every draw depends on (seed, epoch, image, name of the draw) alone: a slab is changed alike in every batch, process and
device, and a resumed run sees what an uninterrupted one would have seen.
"""

import dataclasses
import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from ich25d.config import AugmentConfig
from ich25d.training.device import to_device

_BANK = 1024
"""Side of the square of stored noise from which every slice takes a piece."""

_BLACK_HU, _WHITE_HU = ("black", -5.0, 15.0), ("white", 90.0, 15.0)
"""Lower and upper end of a picture's window in HU, from 0 to 80 up to -20 to 100: name of the draw, middle and reach
either way."""

_AIR_HU, _BONE_HU = -200.0, 300.0

_PIECE_STEP = 4
"""Pieces of noise start at multiples of this many px."""


@dataclasses.dataclass(frozen=True, slots=True)
class Augmented:
    """Slabs after augmentation, and the jitter that is left to the windows."""

    hu: torch.Tensor
    """HU, shape (B, S, H, W)."""
    level_shift: torch.Tensor
    """HU to add to every window's level, shape (B,)."""
    width_factor: torch.Tensor
    """Factor on every window's width, shape (B,)."""


def draw(keys: npt.NDArray[np.uint64], seed: int, epoch: int, name: str) -> npt.NDArray[np.float64]:
    """Draw one uniform number from 0 to 1 an image, by hashing.

    Args:
        keys: One key an image, shape (B,).
        seed: Seed of the run.
        epoch: Number of the epoch.
        name: Name of the draw; draws of different names are independent.

    Returns:
        Shape (B,), float64, 0 <= x < 1.
    """
    salt = np.uint64(zlib.crc32(f"{seed}/{epoch}/{name}".encode()))
    with np.errstate(over="ignore"):
        mixed = keys.astype(np.uint64) ^ (salt * np.uint64(0x9E3779B97F4A7C15))
        # The finaliser of splitmix64 (Steele, Lea, Flood 2014), twice: every bit of the key reaches every bit.
        for _ in range(2):
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def augment(
    hu: torch.Tensor, key: torch.Tensor, config: AugmentConfig, *, neighbours: Sequence[int], seed: int, epoch: int
) -> Augmented:
    """Change a batch of slabs.

    Args:
        hu: HU, shape (B, S, H, W), float32, on any device.
        key: One number an image, shape (B,), int64.
        config: [augment].
        neighbours: Offsets of the S slices of a slab; 0 is the slice itself.
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.

    Returns:
        The changed slabs, and the jitter that the windows have to apply.
    """
    keys = key.cpu().numpy().astype(np.uint64)
    draws = _Draws(keys, seed, epoch, hu.device)
    share, spread = draws.share, draws.spread
    if config.swap > 0 and hu.shape[1] > 1:
        swap = share("swap", config.swap)[:, None, None, None]
        # Indexing by a list would copy it to the device and wait.
        hu = torch.where(swap, torch.stack([hu[:, place] for place in _turned_over(neighbours)], dim=1), hu)
    hu = _move(hu, config, draws, border=-1024.0)
    if config.sharpness > 0:
        amount = spread("sharpness", config.sharpness)[:, None, None, None]
        hu = hu + amount * (_mean_3x3(hu) - hu)
    if config.noise_hu > 0:
        strength = torch.from_numpy(draw(keys, seed, epoch, "noise")).float() * config.noise_hu
        hu = hu + to_device(strength, hu.device)[:, None, None, None] * _noise(hu, keys, seed, epoch)
    if config.clip > 0:
        hu = _clipped(hu, draws, config.clip)
    if config.erase > 0:
        hu = hu.masked_fill(_erased(hu, keys, config.erase, seed, epoch), 0.0)
    return Augmented(
        hu=hu,
        level_shift=spread("level", config.level_jitter_hu),
        width_factor=1 + spread("width", config.width_jitter),
    )


def _turned_over(neighbours: Sequence[int]) -> list[int]:
    """Return the order of a slab's slices with below and above exchanged; one without a counterpart stays."""
    place = {offset: number for number, offset in enumerate(neighbours)}
    return [place.get(-offset, number) for offset, number in place.items()]


def augment_masks(
    mask: torch.Tensor, key: torch.Tensor, config: AugmentConfig, *, seed: int, epoch: int
) -> torch.Tensor:
    """Move masks as `augment` moves the slabs that they belong to, and clear what it erases.

    Args:
        mask: Shares, shape (B, M, h, w), float32, on any device; of the slabs' field, at any resolution.
        key: One number an image, shape (B,), int64.
        config: [augment].
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.

    Returns:
        The same shape.
    """
    keys = key.cpu().numpy().astype(np.uint64)
    mask = _move(mask, config, _Draws(keys, seed, epoch, mask.device), border=0.0)
    if config.erase > 0:
        mask = mask.masked_fill(_erased(mask, keys, config.erase, seed, epoch), 0.0)
    return mask


@dataclasses.dataclass(frozen=True, slots=True)
class _Draws:
    """The draws of a batch, by name."""

    keys: npt.NDArray[np.uint64]
    seed: int
    epoch: int
    device: torch.device

    def share(self, name: str, probability: float) -> torch.Tensor:
        """Return which images are hit, bool (B,)."""
        return to_device(torch.from_numpy(draw(self.keys, self.seed, self.epoch, name) < probability), self.device)

    def spread(self, name: str, extent: float) -> torch.Tensor:
        """Return numbers from -extent to extent, float32 (B,)."""
        drawn = draw(self.keys, self.seed, self.epoch, name)
        return to_device(torch.from_numpy((drawn * 2 - 1) * extent).float(), self.device)


def _move(planes: torch.Tensor, config: AugmentConfig, draws: _Draws, *, border: float) -> torch.Tensor:
    """Flip, turn, scale and shift in one interpolation; `border` comes in from outside."""
    mirror = 1 - 2 * draws.share("flip", config.flip).float()
    if not (config.rotate_deg or config.scale or config.aspect or config.shift):
        return torch.where((mirror < 0)[:, None, None, None], planes.flip(3), planes)
    angle = torch.deg2rad(draws.spread("rotate", config.rotate_deg))
    size = 1 + draws.spread("scale", config.scale)
    aspect = torch.sqrt(1 + draws.spread("aspect", config.aspect))
    # The grid maps where a px goes to where it comes from, so a larger image needs a smaller step.
    step_x, step_y = aspect / size, 1 / (size * aspect)
    shift_x, shift_y = (2 * draws.spread(name, config.shift) for name in ("x", "y"))
    rows = [
        torch.stack([mirror * step_x * angle.cos(), -mirror * step_y * angle.sin(), shift_x], 1),
        torch.stack([step_x * angle.sin(), step_y * angle.cos(), shift_y], 1),
    ]
    grid = functional.affine_grid(torch.stack(rows, 1), list(planes.shape), align_corners=False)
    # What comes in from outside is 0 to the sampling.
    return functional.grid_sample(planes - border, grid, padding_mode="zeros", align_corners=False) + border


def _mean_3x3(hu: torch.Tensor) -> torch.Tensor:
    """Average every px with its neighbours, by sums of shifts: three times as fast as pooling on a CPU."""
    tall = functional.pad(hu, (0, 0, 1, 1), mode="replicate")
    tall = tall[:, :, :-2] + tall[:, :, 1:-1] + tall[:, :, 2:]
    wide = functional.pad(tall, (1, 1, 0, 0), mode="replicate")
    return (wide[..., :-2] + wide[..., 1:-1] + wide[..., 2:]) / 9


def _clipped(hu: torch.Tensor, draws: _Draws, probability: float) -> torch.Tensor:
    """End values as a picture of one brain window ends them: CSF and fat at its black, blood at its white.

    Air and bone stay: reading such pictures finds both by where they lie.
    """
    hit = draws.share("clip", probability)[:, None, None, None]
    black, white = (
        middle + draws.spread(name, reach)[:, None, None, None] for name, middle, reach in (_BLACK_HU, _WHITE_HU)
    )
    ended = torch.where((hu < black) & (hu > _AIR_HU), black, torch.where((hu > white) & (hu < _BONE_HU), white, hu))
    return torch.where(hit, ended, hu)


def _noise(hu: torch.Tensor, keys: npt.NDArray[np.uint64], seed: int, epoch: int) -> torch.Tensor:
    """Cut noise for every slice from a stored bank: drawing it anew would cost more than the network's stem."""
    _, n_slices, height, width = hu.shape
    side = max(_BANK, height + 64, width + 64)
    bank = _noise_bank(side, str(hu.device))
    places_y, places_x = (side - height) // _PIECE_STEP, (side - width) // _PIECE_STEP
    pieces = []
    for number in range(n_slices):
        y = (draw(keys, seed, epoch, f"noise-y{number}") * places_y).astype(int) * _PIECE_STEP
        x = (draw(keys, seed, epoch, f"noise-x{number}") * places_x).astype(int) * _PIECE_STEP
        pieces.append([bank[a : a + height, b : b + width] for a, b in zip(y, x, strict=True)])
    return torch.stack([torch.stack(piece) for piece in pieces], dim=1)


@lru_cache(maxsize=4)
def _noise_bank(side: int, device: str) -> torch.Tensor:
    """Make noise of unit standard deviation whose neighbouring px are correlated, as a scanner's are."""
    white = torch.randn(1, 1, side + 2, side + 2, generator=torch.Generator().manual_seed(20190901))
    kernel = torch.tensor([[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]])[None, None]
    smooth = functional.conv2d(white, kernel)[0, 0]
    return (smooth / smooth.std()).to(device)


def _erased(
    planes: torch.Tensor, keys: npt.NDArray[np.uint64], probability: float, seed: int, epoch: int
) -> torch.Tensor:
    """Return where one rectangle of 2 to 15 % of the area is to be replaced, bool (B, 1, H, W)."""
    height, width = planes.shape[-2:]
    area = 0.02 + 0.13 * draw(keys, seed, epoch, "erase-area")
    ratio = np.exp((draw(keys, seed, epoch, "erase-ratio") * 2 - 1) * np.log(2))
    tall = np.clip(np.sqrt(area * ratio), 0, 1) * height
    wide = np.clip(np.sqrt(area / ratio), 0, 1) * width
    top = draw(keys, seed, epoch, "erase-y") * (height - tall)
    left = draw(keys, seed, epoch, "erase-x") * (width - wide)
    hit = draw(keys, seed, epoch, "erase") < probability
    y, x = np.arange(height), np.arange(width)
    in_y = (y >= top[:, None]) & (y < (top + tall)[:, None]) & hit[:, None]
    in_x = (x >= left[:, None]) & (x < (left + wide)[:, None])
    return to_device(torch.from_numpy((in_y[:, :, None] & in_x[:, None, :])[:, None]), planes.device)
