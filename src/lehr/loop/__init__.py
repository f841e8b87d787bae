"""One training: the run, the loop, and what they stand on."""
