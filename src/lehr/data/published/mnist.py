"""MNIST and Fashion-MNIST from their published files, split as the lesson splits them."""

from pathlib import Path

import torch
from torch import Tensor

from lehr.data.bunch import DataBunch
from lehr.data.published.idx import read_idx
from lehr.data.published.options import PublishedOptions, takes
from lehr.data.published.published import Published
from lehr.data.split import check_split

MNIST = Published(
    "mnist",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    ("mnist", "MNIST/raw", "."),
)
FASHION = Published(
    "fashion_mnist",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
    ("fashion_mnist", "FashionMNIST/raw"),
)
MNIST_CLASSES = tuple("0123456789")
FASHION_CLASSES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


def read_mnist(
    root: str | Path | None = None, part: str = "train", *, published: Published = MNIST
) -> tuple[Tensor, Tensor]:
    """Images, uint8 ``(n, 28, 28)``, and labels, int64 ``(n,)``: 60,000 or 10,000 of them.

    Args:
        root: folder with the files, compressed or not, in ``mnist/`` (or ``MNIST/raw/``, or in
            itself); by default the one that the environment variable LEHR_DATA names, and if they
            are not there, they are downloaded once.
        part: ``"train"``, or ``"t10k"`` for the test images.
        published: which set; MNIST, or Fashion-MNIST, whose files are laid out alike.

    Raises:
        FileNotFoundError: ``root`` does not have the files.
        OSError: they cannot be downloaded.
        ValueError: a file is damaged, or images and labels do not belong together.
    """
    images = read_idx(_find(published, f"{part}-images-idx3-ubyte", root))
    labels = read_idx(_find(published, f"{part}-labels-idx1-ubyte", root))
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"the files of {published.name} must hold images (n, rows, columns) and labels (n,); "
            f"got shapes {tuple(images.shape)} and {tuple(labels.shape)}. Fetch the files again."
        )
    return images, labels.long()


@takes(PublishedOptions)
def mnist(options: PublishedOptions) -> DataBunch:
    """MNIST's training images: the first 50,000 to train on, the last 10,000 to validate on.

    The files are in ``mnist/``, in ``MNIST/raw/``, or in ``root`` itself.

    Returns:
        A DataBunch with ``c = 10``; ``xb`` is float32 ``(batch, 1, 28, 28)``, ``yb`` int64
        ``(batch,)``.

    Raises:
        FileNotFoundError: ``root`` does not have the files.
        OSError: they cannot be downloaded.
        ValueError: a file is damaged, or ``valid_items`` leaves one part empty.

    Example:
        >>> bunch = mnist(batch_size=64)  # doctest: +SKIP
        >>> len(bunch.train_dl), len(bunch.valid_dl)  # doctest: +SKIP
        (782, 79)

    Reference:
        Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document
        recognition", Proceedings of the IEEE, 1998. Pixels are divided by 255; the file that the
        lesson reads was divided by 256, hence its mean 0.1304 where ours is 0.1310.
    """
    return _bunch(MNIST, MNIST_CLASSES, options)


@takes(PublishedOptions)
def fashion_mnist(options: PublishedOptions) -> DataBunch:
    """Fashion-MNIST: pictures of ten kinds of clothes, in the form of MNIST.

    The files are in ``fashion_mnist/`` or ``FashionMNIST/raw/``. ``augment="flip"`` suits them.

    Returns:
        A DataBunch with ``c = 10``; ``xb`` is float32 ``(batch, 1, 28, 28)``, ``yb`` int64
        ``(batch,)``.

    Raises:
        FileNotFoundError: ``root`` does not have the files.
        OSError: they cannot be downloaded.
        ValueError: a file is damaged, or ``valid_items`` leaves one part empty.

    Example:
        >>> fashion_mnist().classes[:3]  # doctest: +SKIP
        ('t-shirt', 'trouser', 'pullover')

    Reference:
        H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking
        machine learning algorithms", arXiv:1708.07747, 2017.
    """
    return _bunch(FASHION, FASHION_CLASSES, options)


def _bunch(published: Published, classes: tuple[str, ...], options: PublishedOptions) -> DataBunch:
    root, split, valid_items = options.root, options.split, options.valid_items
    check_split(split, options.preparation, ("valid", "test", "all"))
    if not isinstance(valid_items, int):
        raise TypeError(f"valid_items must be an int; got {valid_items!r}. Give e.g. 10_000.")
    images, labels = read_mnist(root, published=published)
    train = valid = images[:, None], labels
    if split != "valid":
        test_images, test_labels = read_mnist(root, "t10k", published=published)
        valid = test_images[:, None], test_labels
        if split == "all":
            train = valid = torch.cat([train[0], valid[0]]), torch.cat([train[1], valid[1]])
    else:
        n_train = len(images) - valid_items
        if not 0 < n_train < len(images):
            raise ValueError(
                f"valid_items must leave images to both parts; got {valid_items} of "
                f"{len(images)}. Give e.g. valid_items=10_000."
            )
        x, y = train
        train, valid = (x[:n_train], y[:n_train]), (x[n_train:], y[n_train:])
    return options.bunch(train, valid, classes)


def _find(published: Published, name: str, root: str | Path | None) -> Path:
    if path := published.local(root, name, f"{name}.gz"):
        return path
    if root is not None:
        raise published.missing(root, name, f"{name}.gz")
    return published.download(f"{name}.gz")
