"""Callbacks that give the step another shape."""
