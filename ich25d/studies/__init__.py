"""From files to a store of ordered HU volumes, with labels and folds."""
