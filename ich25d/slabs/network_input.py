"""From a batch of HU slices to the tensor that the encoder takes, on its device."""

import torch

from ich25d.config import AugmentConfig, SlabConfig
from ich25d.slabs.augment import augment as augment_slabs
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
