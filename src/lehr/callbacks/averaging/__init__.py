"""Callbacks that average weights."""
