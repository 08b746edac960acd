"""How often each label was shown in training against how often it occurs.

Painted bleeds and balanced drawing show positives more often than they are. Under the same images of
either class, the logit of the true share is the learned one plus a constant a label.
"""

import torch


class LabelCount:
    """Counts positives and known labels, as they were shown to the model.

    Args:
        n_labels: Length of the label axis.
    """

    def __init__(self, n_labels: int) -> None:
        self.positive = torch.zeros(n_labels, dtype=torch.float64)
        self.known = torch.zeros(n_labels, dtype=torch.float64)

    def add(self, target: torch.Tensor) -> None:
        """Count targets on the CPU, shape (B, labels), NaN where unknown."""
        self.positive += target.nansum(0).double()
        self.known += (~target.isnan()).sum(0)

    def logit(self, n_samples: torch.Tensor | None = None) -> torch.Tensor:
        """Return the log odds of each label, shape (labels,), float64.

        Half a sample is added to either side, so that a label never seen has finite odds.

        Args:
            n_samples: Take the shares as if counted over so many samples, shape (labels,); None is over all known.
        """
        n_samples = self.known if n_samples is None else n_samples
        positive = n_samples * self.positive / self.known.clamp(min=1)
        return torch.log((positive + 0.5) / (n_samples - positive + 0.5))


def natural_shift(shown: LabelCount, natural: LabelCount) -> torch.Tensor:
    """Return what to add to the logits, shape (labels,), float64; zeros before anything was shown."""
    return torch.where(shown.known > 0, natural.logit() - shown.logit(natural.known), 0.0)
