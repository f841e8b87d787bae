"""Callbacks that choose the precision of the computation."""
