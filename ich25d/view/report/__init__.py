"""Pages of predicted studies: a viewer of slices, probabilities along the scan, and a worklist of all."""
