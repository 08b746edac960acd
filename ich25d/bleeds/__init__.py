"""Painters of the five bleeds into any HU volume of a head, with their masks."""
