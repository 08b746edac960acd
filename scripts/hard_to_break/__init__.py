"""What `scripts/endurance` runs: each part breaks something on purpose and holds what follows against a law."""
