"""The loss, which is the competition's score; and what the label of a whole series adds to it."""

from typing import NamedTuple

import torch
from torch.nn import functional

from ich25d.labels import LABEL_WEIGHTS
from ich25d.training.device import to_device

BAG_WEIGHT = 4.0
"""For how many slices a bag's label counts: about as many of 16 slices of a positive series are positive, and each of a
negative one counts for itself."""


class OpenBags(NamedTuple):
    """Slices of series that have a label, while nobody knows which of their slices."""

    series: torch.Tensor
    """Shape (B,), int64: equal for the slices of one series."""
    is_open: torch.Tensor
    """Shape (B, 6), bool: the slice may be one of those that have the label; its own target is unknown."""


def score_loss(logit: torch.Tensor, target: torch.Tensor, bags: OpenBags | None = None) -> torch.Tensor:
    """Return the weighted log loss of logits: (2 L_any + the five others) / 7.

    It is the formula of the RSNA 2019 score, so that what is minimised, validated and compared is one
    number. Unknown labels weigh nothing; with none known the loss is 0 and has zero gradients.

    Args:
        logit: Shape (..., 6), in the order of `LABELS`; computed in float32 or better.
        target: Same shape, 0 to 1; NaN where unknown.
        bags: Slices of series that are known to have a label; the logits are of shape (B, 6) then. None is none.

    Returns:
        A scalar: the mean over the known labels, each weighted as in the score, a bag's `BAG_WEIGHT` times.

    References:
        RSNA Intracranial Hemorrhage Detection 2019: weighted multi-label logarithmic loss.
    """
    known = ~torch.isnan(target)
    logit = logit if logit.dtype == torch.float64 else logit.float()
    each = functional.binary_cross_entropy_with_logits(
        logit, torch.nan_to_num(target).to(logit.dtype), reduction="none"
    )
    weight = to_device(torch.tensor(LABEL_WEIGHTS, dtype=logit.dtype), logit.device) * known
    # where(), not a product: an infinite loss at an unknown label must not become NaN.
    total = torch.where(known, each * weight, torch.zeros_like(each)).sum()
    counted = weight.sum()
    if bags is not None:
        more, more_counted = _bag_loss(logit, bags)
        total, counted = total + more, counted + more_counted
    return total / counted.clamp(min=torch.finfo(logit.dtype).tiny)


def pooled_logit(logit: torch.Tensor, of_bag: torch.Tensor) -> torch.Tensor:
    """Return the log odds that at least one slice of each bag has a label, were the slices independent ("noisy or").

    Every slice gets a share of the gradient that grows with its own probability, and none once one of them is certain.
    With a linear layer on frozen ImageNet features of CT-ICH, taught by reports alone (four folds, two seeds), it
    ranked held-out slices best: AUC any .61, and .63 on RSNA's series; the log of the mean odds .59 and .56, learnt
    attention .56 and .59, the largest logit .55 and .54, the mean of the top three .54 and .57. Beside slice labels
    of 20 patients it gave .69 and .75 where these alone gave .71 and .78. Weights of 1 to 32 changed little.

    Args:
        logit: Of slices, shape (B, 6).
        of_bag: Which slices belong to a bag, shape (G, B, 6), bool; at least one of each.

    Returns:
        Shape (G, 6).
    """
    log_none = -torch.where(of_bag, functional.softplus(logit), torch.zeros_like(logit)).sum(dim=1)
    log_none = log_none.clamp(max=-1e-6)
    return torch.log(-torch.expm1(log_none)) - log_none


def _bag_loss(logit: torch.Tensor, bags: OpenBags) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted losses of all bags, summed, and their weights, summed."""
    number = torch.unique(bags.series, return_inverse=True)[1]
    of_bag = functional.one_hot(number).T.bool()[:, :, None] & bags.is_open  # (G, B, 6)
    exists = of_bag.any(dim=1)
    each = functional.softplus(-pooled_logit(logit, of_bag))
    weight = BAG_WEIGHT * to_device(torch.tensor(LABEL_WEIGHTS, dtype=logit.dtype), logit.device) * exists
    return torch.where(exists, each * weight, torch.zeros_like(each)).sum(), weight.sum()
