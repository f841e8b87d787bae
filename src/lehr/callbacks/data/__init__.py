"""Callbacks that move or change batches."""
