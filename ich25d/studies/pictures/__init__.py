"""Tables of PNG and JPEG slices: their columns, their series, their HU."""
