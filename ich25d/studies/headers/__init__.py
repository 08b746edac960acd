"""The headers of every file, read once and kept packed."""
