"""What the named data sets can be asked for: the name, type, default and meaning of each option."""

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from torch import Tensor

from lehr.data.bunch import DataBunch
from lehr.data.images.bunch import pixel_bunch
from lehr.data.images.preparation import ImagePreparation
from lehr.errors import nearest

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class SetOptions:
    """Options of every set.

    Args:
        batch_size: of training; validation has twice that.
        split: what to train and to validate on: ``"valid"``; or ``"all"``, with a ``preparation``
            only, to evaluate on every image, which both loaders have then.
        normalize: bring each channel to mean 0 and standard deviation 1 over the training images;
            else pixels are in [0, 1]. Or a pair ``(mean, std)`` of numbers for each channel, as a
            pretrained model expects them; the images then get as many channels.
        flat: images of one dimension instead of ``(channels, height, width)``.
        augment: changes training images at random: ``"flip"``, ``"shift"``, ``"rotate"``, or
            several joined by ``+``.
        size: height and width, or one number for both, to bring the images to.
        preparation: of an earlier run; decides mode, size, scale, flatness and labels instead.
        drop_last: leave out a last training batch that is not full.
        seed: see `lehr.data.DataLoader`.

    Example:
        >>> SetOptions(32, flat=True).batch_size
        32
    """

    batch_size: int = 64
    _: KW_ONLY
    split: str = "valid"
    normalize: bool | Sequence[Any] = False
    flat: bool = False
    augment: str | None = None
    size: int | tuple[int, int] | None = None
    preparation: ImagePreparation | None = None
    drop_last: bool = False
    seed: int | None = None

    def bunch(
        self,
        train: tuple[Tensor, Tensor],
        valid: tuple[Tensor, Tensor],
        classes: Sequence[str],
        *,
        white: int = 255,
    ) -> DataBunch:
        """The two parts of a set as these options want them; see `pixel_bunch`."""
        return pixel_bunch(
            train,
            valid,
            classes,
            self.batch_size,
            size=self.size,
            normalize=self.normalize,
            flat=self.flat,
            preparation=self.preparation,
            white=white,
            augment=self.augment,
            drop_last=self.drop_last,
            seed=self.seed,
        )


@dataclass(frozen=True, kw_only=True)
class PublishedOptions(SetOptions):
    """Options of a set that is published as files, in a part to train on and one to test on.

    Args:
        split: what to train and to validate on: ``"valid"`` divides the published training images;
            ``"test"`` trains on all of them and validates on the test images; ``"all"``, with a
            ``preparation`` only, evaluates on every image of both, which both loaders have then.
        root: the only folder to look for the files in; by default the one that the environment
            variable LEHR_DATA names, and if they are not there, they are downloaded once.
        valid_items: how many of the training images are for validation.
    """

    root: str | Path | None = None
    valid_items: int = 10_000


def takes(options: Callable[P, T]) -> Callable[[Callable[[T], DataBunch]], Callable[P, DataBunch]]:
    """A decorator: what reads a set by an object of options becomes a function of its fields.

    Its signature is that of the class, for readers, editors and type checkers alike; its docstring
    gets the meaning of each option from there.

    Args:
        options: a dataclass whose docstring, or that of one of its bases, has each field under
            ``Args:``.

    Example:
        >>> @takes(SetOptions)
        ... def nothing(options):
        ...     '''No images at all.'''
        >>> list(inspect.signature(nothing).parameters)[:3]
        ['batch_size', 'split', 'normalize']
        >>> nothing(32, augmant="flip")
        Traceback (most recent call last):
            ...
        TypeError: nothing takes no option 'augmant'. Did you mean augment? It takes ...
    """

    def function_of_fields(read: Callable[[T], DataBunch]) -> Callable[P, DataBunch]:
        signature = inspect.signature(options).replace(return_annotation=DataBunch)
        name = read.__name__

        @wraps(read)
        def function(*args: P.args, **kwargs: P.kwargs) -> DataBunch:
            refuse_unknown(name, kwargs, signature.parameters)
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(
                    f"{name} cannot be called so: {error}. Only batch_size goes without its name."
                ) from None
            return read(options(*args, **kwargs))

        parameters = signature.parameters.values()
        vars(function)["__signature__"] = signature
        function.__annotations__ = {p.name: p.annotation for p in parameters}
        function.__annotations__["return"] = DataBunch
        function.__doc__ = _documented(inspect.getdoc(read) or "", options, signature.parameters)
        return function

    return function_of_fields


def refuse_unknown(what: str, given: Iterable[str], allowed: Collection[str]) -> None:
    """Refuse an option that something does not take.

    Raises:
        TypeError: there is one.

    Example:
        >>> refuse_unknown("digits", ["flat"], ["flat", "size"])
    """
    for name in given:
        if name not in allowed:
            guess = nearest(name, allowed)
            guessed = f"Did you mean {guess}? " if guess else ""
            raise TypeError(
                f"{what} takes no option {name!r}. {guessed}It takes {', '.join(allowed)}."
            )


def _documented(doc: str, options: Any, names: Iterable[str]) -> str:
    """The docstring with a section for the options."""
    meanings: dict[str, str] = {}
    for cls in reversed(inspect.getmro(options)):
        section = inspect.cleandoc(vars(cls).get("__doc__") or "").partition("Args:\n")[2]
        entries = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", section.split("\n\n")[0], re.M)
        meanings.update(entries)
    lines = "\n".join(f"    {name}: {meanings[name]}" for name in names if name in meanings)
    head, returns, rest = doc.partition("Returns:\n")
    return f"{head}Args:\n{lines}\n\n{returns}{rest}" if returns else doc
