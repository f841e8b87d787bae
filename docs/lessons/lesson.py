"""What the lessons share: the data, a look at images, and the count of lines."""

import builtins
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
from torch import Tensor

from lehr import DataBunch, data

HERE = Path(__file__).parent
ROOT = os.environ.get("LEHR_DATA")
EPOCHS = 3 if ROOT else 30  # MNIST has 50,000 images, the digits that come with lehr 1437
BAND = (0.93, 1.0)
SKIPPED = ("#", "from ", "import ")


def get_bunch(batch_size: int = 64) -> DataBunch:
    """MNIST if LEHR_DATA names its folder, else the small digits; pixels in [0, 1], in one row."""
    if ROOT:
        return data.mnist(batch_size, root=ROOT, flat=True)
    return data.digits(batch_size, normalize=False, flat=True)


def get_data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and labels, validation images and labels."""
    bunch = get_bunch()
    return *bunch.train_ds[:], *bunch.valid_ds[:]


def show_images(images: Tensor, titles: list[str]) -> None:
    """Draw square images side by side."""
    side = round(images.shape[1] ** 0.5)
    _, axes = plt.subplots(1, len(images), figsize=(1.2 * len(images), 1.6))
    for ax, image, title in zip(axes, images, titles, strict=True):
        ax.imshow(image.view(side, side), cmap="gray_r")
        ax.set_title(title, fontsize=9)
        ax.axis("off")


@contextmanager
def typed(*commands: str) -> Generator[None]:
    """Gives these answers to whatever asks for input, such as a debugger, and prints them."""
    asked, waiting = builtins.input, iter(commands)

    def answer(prompt: str = "") -> str:
        command = next(waiting)
        print(f"ipdb> {command}")
        return command

    builtins.input = answer
    try:
        yield
    finally:
        builtins.input = asked


def training_code(number: int) -> list[str]:
    """The cell that trains in lesson ``number``, without blank lines, comments and imports."""
    (path,) = HERE.glob(f"{number}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    (cell,) = [c for c in cells if "training" in c.metadata.get("tags", [])]
    lines = [line.strip() for line in cell.source.splitlines()]
    return [line for line in lines if line and not line.startswith(SKIPPED)]


def finish(number: int, accuracy: float) -> None:
    """Hold the accuracy to what every lesson reaches, and draw how long the training code was."""
    low, high = BAND
    assert low < accuracy <= high, f"accuracy {accuracy:.4f} is outside of {low} to {high}"
    counts = [len(training_code(n)) for n in range(1, number + 1)]
    print(f"lesson {number}: accuracy {accuracy:.4f}, {counts[-1]} lines of training code")
    _, ax = plt.subplots(figsize=(6, 0.35 * number + 0.8))
    bars = ax.barh(range(1, number + 1), counts, color=["0.8"] * (number - 1) + ["C1"])
    ax.bar_label(bars, padding=3)
    ax.set(yticks=range(1, number + 1), ylabel="lesson", xlabel="lines of training code")
    ax.invert_yaxis()
    ax.spines[["top", "right"]].set_visible(False)
