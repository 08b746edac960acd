"""Series in, probabilities and a Kaggle CSV out."""
