"""Optimizers as the loop sees them, and the groups of parameters to make one of."""

from lehr.optim.layer_groups import layer_groups

__all__ = ["layer_groups"]
