"""Steps, losses and checkpoints: knows tensors, but nothing of CT."""
