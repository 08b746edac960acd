"""The commands: options and help in, one call of one room, one summary out."""
