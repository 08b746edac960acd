"""From a batch of HU slices to the tensor that the encoder takes, and to the truth of its pixel head, on its device."""

import torch
from torch.nn import functional

from ich25d.config import AugmentConfig, SlabConfig
from ich25d.slabs.augment import augment as augment_slabs
from ich25d.slabs.augment import augment_masks
from ich25d.slabs.dataset import SlabBatch
from ich25d.slabs.slab import make_slabs, sized
from ich25d.training.device import to_device


def network_input(
    batch: SlabBatch,
    slab: SlabConfig,
    device: torch.device | str,
    *,
    augment: AugmentConfig | None = None,
    seed: int = 0,
    epoch: int = 0,
    flip: bool = False,
) -> torch.Tensor:
    """Resize, augment, window and stack a batch.

    Args:
        batch: HU slices and their keys.
        slab: Size, neighbours and windows.
        device: Where the network lives.
        augment: What training changes; None changes nothing.
        seed: Seed of the augmentation.
        epoch: Number of the epoch.
        flip: Mirror left to right, as a second view.

    Returns:
        Grey values from 0 to 1, shape (B, S * V, size, size), float32, on the device.
    """
    hu = sized(to_device(batch.hu, device), slab.size).float()
    if slab.brain_hu:
        shift = torch.nan_to_num(slab.brain_hu - to_device(batch.brain_hu, device))
        hu = hu + shift[:, None, None, None]
    own_window = to_device(batch.window, device)
    if augment is not None:
        changed = augment_slabs(hu, batch.key, augment, neighbours=slab.neighbours, seed=seed, epoch=epoch)
        slabs = make_slabs(
            changed.hu,
            slab,
            own_window=own_window,
            level_shift=changed.level_shift,
            width_factor=changed.width_factor,
        )
    else:
        slabs = make_slabs(hu, slab, own_window=own_window)
    return slabs.flip(3) if flip else slabs


def pixel_truth(
    batch: SlabBatch, grid: int, device: torch.device | str, *, augment: AugmentConfig, seed: int, epoch: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where a batch bleeds, for the pixel head.

    The maps of a painted slab are its painter's masks, moved as the slab was; those of labels that a slice hasn't are
    zero; those of labels that a reader has given it are unknown.

    Args:
        batch: HU slices, labels and masks.
        grid: Side G of the maps, in cells.
        device: Where the network lives.
        augment: What training changed.
        seed: Seed of the augmentation.
        epoch: Number of the epoch.

    Returns:
        Share of each cell that bleeds, shape (B, 6, G, G), float32, 0 to 1; which maps are known, bool (B, 6).
    """
    target, painted = to_device(batch.target, device), to_device(batch.painted, device)
    known = (target == 0) | painted[:, None]
    if not batch.mask.shape[-1]:
        return torch.zeros(*target.shape, grid, grid, device=device), known
    mask = to_device(batch.mask, device).float() / 255
    moved = augment_masks(mask, batch.key, augment, seed=seed, epoch=epoch)
    cells = functional.interpolate(moved, size=(grid, grid), mode="area")
    return torch.cat([cells, cells.amax(1, keepdim=True)], 1), known
