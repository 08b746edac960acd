"""NIfTI files as series: header, place in space, HU, masks."""
