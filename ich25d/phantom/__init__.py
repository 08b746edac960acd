"""Synthetic heads with bleeds, and RSNA-shaped DICOM studies of them."""
