"""Draws the first training batch as the model will see it."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from lehr.base.drawing import axes
from lehr.base.nested import inside, map_tensors, names_inside, split_pair, tensors_in
from lehr.base.numbers import plain
from lehr.base.values import check_batch, check_default_device
from lehr.data.loading.feed import Feed
from lehr.data.loading.untouched import untouched
from lehr.data.preparation import Preparation
from lehr.errors import positive_int
from lehr.state.streams import peek_seed
from lehr.types import is_sequence


def show_batch(
    loader: Any, preparation: Preparation | None = None, items: int = 16, *, ax: Any = None
) -> Any:
    """Draws items of the first batch of epoch 0: pictures in a grid, anything else as text.

    Args:
        loader: any iterable of batches, as in a DataBunch.
        preparation: undoes what was done to the items, and knows the names of the classes.
        items: how many at most.
        ax: matplotlib axes to draw into; by default those of a new figure.

    Returns:
        The matplotlib figure.

    Raises:
        TypeError: ``items`` is no int, or batches are neither pairs nor tensors.
        ValueError: ``items`` is below 1, the loader has no batches, or tensors have no values: they
            are on the device ``meta``.

    Example:
        >>> import torch
        >>> x = torch.rand(4, 1, 8, 8)
        >>> len(show_batch([(x, torch.arange(4))]).axes[0].images)
        4
    """
    items = positive_int("items", items, example=16)
    check_default_device("shown")
    seed = peek_seed()
    inputs, titles = prepared(loader, preparation, items, seed=seed, epoch=0)
    return draw_items(inputs, titles, preparation, ax=ax)


def prepared(
    loader: Any, preparation: Preparation | None, items: int, *, seed: int, epoch: int
) -> tuple[list[Any], list[str]]:
    """Inputs of the first batch of an epoch, and their targets in words; see `show_batch`.

    Example:
        >>> import torch
        >>> prepared([(torch.zeros(4, 2), torch.arange(4))], None, 2, seed=0, epoch=0)
        ([tensor([0., 0.]), tensor([0., 0.])], ['0', '1'])
    """
    with untouched(loader):
        feed = Feed(loader, "train_dl")
        batches = feed.epoch(seed, epoch)
        batch, _ = next(batches)
        batches.close()
    check_batch(batch)
    xb, yb = split_pair(batch)
    targets, names = first_items(yb, items), None if preparation is None else preparation.classes
    if preparation is not None and not names:
        targets = [_in_its_units(target, preparation) for target in targets]
    return first_items(xb, items), [title(target, names) for target in targets]


def _in_its_units(target: Any, preparation: Preparation) -> Any:
    """A number to predict as it was before it was prepared."""
    if isinstance(target, Tensor) and target.is_floating_point():
        return preparation.answers(target.reshape(1, -1)).reshape(target.shape)
    return target


def draw_items(
    inputs: Sequence[Any], titles: list[str], preparation: Preparation | None, *, ax: Any = None
) -> Any:
    """Draws items: pictures in a grid, each under its title, or anything else as lines of text.

    Args:
        inputs: of one item each.
        titles: of each, or none.
        preparation: undoes what was done to the items.
        ax: matplotlib axes to draw into; by default those of a new figure.

    Returns:
        The matplotlib figure.

    Example:
        >>> import torch
        >>> len(draw_items([torch.rand(1, 8, 8)], ["seven"], None).axes[0].images)
        1
    """
    titles = titles if len(titles) == len(inputs) else []  # a batch of graphs is one input
    pictures = [_picture(x, preparation) for x in inputs]
    if all(picture is not None for picture in pictures):
        return _draw_grid([p for p in pictures if p is not None], titles, ax)
    return _draw_table([_text(x, preparation) for x in inputs], titles, ax)


def first_items(values: Any, items: int) -> list[Any]:
    """The first items of one side of a batch, each alone; of several inputs, each in their form.

    Example:
        >>> import torch
        >>> first_items(torch.tensor([5, 0, 4]), 2), first_items(None, 2)
        ([tensor(5), tensor(0)], [])
        >>> first_items({"a": torch.tensor([5, 0]), "b": torch.tensor([2, 1])}, 1)
        [{'a': tensor(5), 'b': tensor(2)}]
    """
    if isinstance(values, Tensor) and values.ndim:
        return list(values[:items].detach().cpu())
    tensors = [tensor for tensor in tensors_in(values) if tensor.ndim]
    if is_sequence(values) and not tensors:
        return list(values[:items])
    lengths = {len(tensor) for tensor in tensors}
    if len(lengths) == 1 and not isinstance(values, PackedSequence):
        few = range(min(items, *lengths))
        return [map_tensors(partial(_item, i=i), values) for i in few]
    return [] if values is None else [values]


def _item(tensor: Tensor, i: int) -> Tensor:
    return (tensor[i] if tensor.ndim else tensor).detach().cpu()


def own_range(x: Any) -> Tensor | None:
    """An image as uint8 ``(height, width, 3)``, its least number black and its greatest white.

    Returns:
        None if ``x`` is no tensor ``(1 or 3, height, width)`` or ``(height, width)``.

    Example:
        >>> import torch
        >>> own_range(torch.tensor([[-1.0, 1.0]]))[..., 0]
        tensor([[  0, 255]], dtype=torch.uint8)
    """
    if not isinstance(x, Tensor) or x.is_complex() or not x.numel():
        return None
    x = x[None] if x.ndim == 2 else x
    if x.ndim != 3 or x.shape[0] not in (1, 3):
        return None
    x = x.double().nan_to_num()
    low, high = x.min(), x.max()
    shades = (x - low) / (high - low if high > low else 1)
    return (shades * 255).round().byte().permute(1, 2, 0).expand(-1, -1, 3).contiguous()


def title(target: Any, classes: Sequence[str] | None) -> str:
    """A target in a word: the name of its class, or the number.

    Example:
        >>> import torch
        >>> title(torch.tensor(1), ("cat", "dog")), title(torch.tensor([0.25]), ())
        ('dog', '0.25')
    """
    if isinstance(target, Tensor):
        if target.numel() != 1:
            return numbers(target, 3)
        target = target.item()
    if isinstance(target, float):
        return plain(target)
    if isinstance(target, int) and classes and 0 <= target < len(classes):
        return classes[target]
    return clipped(str(target), 40)


def clipped(text: str, most: int) -> str:
    """``text`` on one line, cut after so many characters.

    Example:
        >>> clipped("Cavalier King Charles", 10), clipped("cat", 10)
        ('Cavalier …', 'cat')
    """
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


def numbers(x: Tensor, most: int = 8) -> str:
    """The first numbers of a tensor.

    Example:
        >>> import torch
        >>> numbers(torch.arange(12), 3)
        '0 1 2 …'
    """
    flat = x.flatten()
    return " ".join(plain(value.item()) for value in flat[:most]) + (
        " …" if len(flat) > most else ""
    )


def _picture(x: Any, preparation: Preparation | None) -> Tensor | None:
    return own_range(x) if preparation is None else preparation.picture(x)


def _text(x: Any, preparation: Preparation | None) -> str:
    if preparation is not None:
        return preparation.in_words(x)
    return in_numbers(x)


def in_numbers(x: Any) -> str:
    """The first numbers of an input, or of each of several.

    Example:
        >>> import torch
        >>> in_numbers({"ids": torch.arange(3), "mask": torch.ones(2)})
        'ids 0 1 2; mask 1 1'
    """
    if isinstance(x, Tensor):
        return numbers(x)
    if (parts := inside(x)) is None:
        return str(x)
    names = names_inside(x)
    words = map(in_numbers, parts)
    return "; ".join(words if names is None else map(" ".join, zip(names, words, strict=True)))


def _draw_grid(pictures: list[Tensor], titles: list[str], ax: Any) -> Any:
    """Pictures in cells one wide, each under its title."""
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    height = 1.24 if titles else 1.06
    ax = axes(ax, size=(1.3 * columns, 1.3 * height * rows))
    for number, picture in enumerate(pictures):
        left, top = number % columns, -height * (number // columns)
        tall, wide = picture.shape[:2]
        half_w, half_h = 0.48 * wide / max(tall, wide), 0.48 * tall / max(tall, wide)
        extent = (left - half_w, left + half_w, top - half_h, top + half_h)
        ax.imshow(picture.numpy(), extent=extent, interpolation="nearest")
        if titles:
            text, where = clipped(titles[number], 18), {"ha": "center", "va": "bottom"}
            ax.text(left, top + half_h + 0.02, text, fontsize=9, parse_math=False, **where)
    above = 0.74 if titles else 0.52
    ax.set(xlim=(-0.52, columns - 0.48), ylim=(-height * (rows - 1) - 0.52, above), aspect="equal")
    ax.set_axis_off()
    return ax.figure


def _draw_table(texts: list[str], titles: list[str], ax: Any) -> Any:
    """A line for each item, its target first."""
    heads = [clipped(text, 40) for text in titles] or [""] * len(texts)
    lines = [clipped(text, 110) for text in texts]
    label_width = max(map(len, [*heads, "target"])) + 3 if titles else 0
    width = label_width + max(map(len, [*lines, "input"]))
    ax = axes(ax, size=(max(3.0, 0.085 * width + 0.3), 0.25 * (len(lines) + 1) + 0.2))
    ax.set(xlim=(0, width), ylim=(len(lines) + 0.7, -0.7))
    ax.set_axis_off()
    style = {"fontsize": 9, "va": "center", "parse_math": False}
    for row, (head, line) in enumerate([("target", "input"), *zip(heads, lines, strict=True)]):
        weight = "bold" if row == 0 else "normal"
        if titles:
            ax.text(0, row, head, weight=weight, **style)
        ax.text(label_width, row, line, weight=weight, **style)
    ax.axhline(0.5, color="0.6", linewidth=0.8)
    return ax.figure
