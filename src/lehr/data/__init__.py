"""Data: datasets, the batches made of them, published sets, and folders, tables and arrays."""

from lehr.data.array_preparation import ArrayPreparation
from lehr.data.bunch import DataBunch, get_dls
from lehr.data.catalog import open_data
from lehr.data.collation import collate
from lehr.data.dataset import Dataset
from lehr.data.image_preparation import ImagePreparation
from lehr.data.images import Images
from lehr.data.load_arrays import arrays, arrays_file
from lehr.data.load_cifar10 import cifar10
from lehr.data.load_digits import digits
from lehr.data.load_images import image_folder
from lehr.data.load_mnist import fashion_mnist, mnist
from lehr.data.load_table import table
from lehr.data.loader import DataLoader
from lehr.data.preparations import preparation_from
from lehr.data.sampler import Sampler
from lehr.data.table_preparation import TablePreparation

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
