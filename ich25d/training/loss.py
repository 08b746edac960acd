"""The loss, which is the competition's score."""

import torch
from torch.nn import functional

from ich25d.labels import LABEL_WEIGHTS
from ich25d.training.device import to_device


def score_loss(logit: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the weighted log loss of logits: (2 L_any + the five others) / 7.

    It is the formula of the RSNA 2019 score, so that what is minimised, validated and compared is one
    number. Unknown labels weigh nothing; with none known the loss is 0 and has zero gradients.

    Args:
        logit: Shape (..., 6), in the order of `LABELS`; computed in float32 or better.
        target: Same shape, 0 to 1; NaN where unknown.

    Returns:
        A scalar: the mean over the known labels, each weighted as in the score.

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
    return total / weight.sum().clamp(min=torch.finfo(logit.dtype).tiny)
