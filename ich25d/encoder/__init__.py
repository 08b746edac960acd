"""The CNN: a slab in, an embedding and six logits out."""
