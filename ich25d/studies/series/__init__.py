"""Images to plans of series in scan order."""
