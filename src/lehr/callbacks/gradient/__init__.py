"""Callbacks that change how the gradient is made or used."""
