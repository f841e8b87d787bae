"""Published sets, by name."""
