"""Callbacks that drive a number."""
