"""Where a bleed is: heat maps, side, extent and volume, each as an estimate."""
