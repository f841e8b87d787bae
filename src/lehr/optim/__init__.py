"""Optimizers as the loop sees them: one or several, their groups, and the numbers in them."""
