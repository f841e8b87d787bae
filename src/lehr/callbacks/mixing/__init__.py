"""Callbacks that mix items or their targets."""
