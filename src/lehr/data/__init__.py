"""Data: datasets, the batches made of them, and two sets of handwritten digits."""

from lehr.data.bunch import DataBunch, get_dls
from lehr.data.collation import collate
from lehr.data.dataset import Dataset
from lehr.data.load_digits import digits
from lehr.data.load_mnist import mnist
from lehr.data.loader import DataLoader
from lehr.data.sampler import Sampler

__all__ = [
    "DataBunch",
    "DataLoader",
    "Dataset",
    "Sampler",
    "collate",
    "digits",
    "get_dls",
    "mnist",
]
