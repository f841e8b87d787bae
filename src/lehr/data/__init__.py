"""Data: datasets, the batches made of them, published sets, and folders, tables and arrays."""

from lehr.data.array_sets.load import arrays, arrays_file
from lehr.data.array_sets.preparation import ArrayPreparation
from lehr.data.bunch import DataBunch, get_dls
from lehr.data.images.images import Images
from lehr.data.images.load import image_folder
from lehr.data.images.preparation import ImagePreparation
from lehr.data.loading.collation import collate
from lehr.data.loading.dataset import Dataset
from lehr.data.loading.loader import DataLoader
from lehr.data.loading.sampler import Sampler
from lehr.data.preparations import preparation_from
from lehr.data.published.catalog import open_data
from lehr.data.published.cifar10 import cifar10
from lehr.data.published.digits import digits
from lehr.data.published.mnist import fashion_mnist, mnist
from lehr.data.tables.load import table
from lehr.data.tables.preparation import TablePreparation

__all__ = [
    "ArrayPreparation",
    "DataBunch",
    "DataLoader",
    "Dataset",
    "ImagePreparation",
    "Images",
    "Sampler",
    "TablePreparation",
    "arrays",
    "arrays_file",
    "cifar10",
    "collate",
    "digits",
    "fashion_mnist",
    "get_dls",
    "image_folder",
    "mnist",
    "open_data",
    "preparation_from",
    "table",
]
