"""Callbacks that show or write what happens."""
