"""Steps that aren't finite, left out by the device itself: nobody has to wait for its numbers to decide."""

import torch


def guarded(loss: torch.Tensor) -> torch.Tensor:
    """Return the loss, whose gradients are NaN where it isn't finite; otherwise they are the same to the bit.

    An infinite loss may have finite gradients. Through them every process learns of it, as gradients are averaged.
    """
    return loss * torch.where(loss.detach().isfinite(), 1.0, torch.nan)


def step_unless_lost(
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    norm: torch.Tensor,
    statistics: list[torch.Tensor],
    stand_in: list[torch.Tensor] | None,
) -> torch.Tensor:
    """Step where the gradients are finite, and mend running statistics.

    Args:
        optimizer: A fused one, which can be told on the device to leave a step out.
        scaler: Where it is enabled it tells the optimiser so itself; gradients are unscaled.
        norm: Of the gradients, a scalar; not finite where one of them isn't.
        statistics: The model's floating buffers.
        stand_in: Those to take values from where they aren't finite; None mends nothing.

    Returns:
        A scalar on the device: 1 where statistics are lost, else 0.
    """
    if scaler.is_enabled():
        scaler.step(optimizer)
    else:
        # What a loss scaler hands to a fused optimiser: torch.amp.GradScaler.step.
        optimizer.found_inf = (~norm.isfinite()).float()  # type: ignore[attr-defined]  # set and removed by scalers
        try:
            optimizer.step()
        finally:
            del optimizer.found_inf  # type: ignore[attr-defined]  # the same
    scaler.update()
    return _mend_on_device(statistics, stand_in, norm)


@torch.no_grad()
def _mend_on_device(
    statistics: list[torch.Tensor], stand_in: list[torch.Tensor] | None, like: torch.Tensor
) -> torch.Tensor:
    if not statistics:
        return torch.zeros_like(like)
    flat = torch.cat([buffer.flatten() for buffer in statistics])  # a few launches, where each alone would be hundreds
    finite = flat.isfinite()
    if stand_in is None:
        return (~finite.all()).to(like.dtype)
    sound = torch.where(finite, flat, torch.cat([buffer.flatten() for buffer in stand_in]))
    parts = sound.split([buffer.numel() for buffer in statistics])
    mended = [part.view_as(buffer) for part, buffer in zip(parts, statistics, strict=True)]
    torch._foreach_copy_(statistics, mended)
    return torch.zeros_like(like)


@torch.no_grad()
def mend(statistics: list[torch.Tensor], stand_in: list[torch.Tensor] | None) -> bool:
    """Replace running statistics that took in what isn't finite, and say whether they are lost for want of others."""
    for number, buffer in enumerate(statistics):
        if not bool(buffer.isfinite().all()):
            if stand_in is None:
                return True
            buffer.copy_(stand_in[number])
    return False
