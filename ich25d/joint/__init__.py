"""Encoder and sequence model trained together on whole series."""
