"""The plan of a series to its HU volume and rows."""
