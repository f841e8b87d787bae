"""Callbacks that change the gradient, or when it is used."""
