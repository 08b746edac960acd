"""What computes a model's forward pass in prediction: torch, or its exported form on a faster engine without torch."""
