"""Embeddings and logits of whole series on disk, between an encoder and the sequence model."""
