"""Callbacks that change images, or leave out parts of a model, in training alone."""
