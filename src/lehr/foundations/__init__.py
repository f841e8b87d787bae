"""The lesson from the ground up, one rung a file; each stands on those below it and on torch.

losses ▸ registry ▸ module ▸ optimizer ▸ data ▸ fit ▸ handler ▸ callback ▸ runner ▸ anneal
"""
