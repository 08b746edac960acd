"""Refines the slices of a series by one another: a residual bidirectional GRU, its blend and its calibration."""
