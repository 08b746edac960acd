"""Predictions and labels in, scores with intervals out."""
