"""From HU volumes to what the network sees: neighbours x windows as channels, augmented on the device."""
