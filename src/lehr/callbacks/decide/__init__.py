"""Callbacks that stop a run or save it."""
