"""What a stored preparation must look like; loads msgspec, so it is loaded where one is made."""

import math
from typing import Annotated, Any, Literal, cast

from msgspec import Meta

from lehr.base.stored import Finite, Form, Positive, refuse_twins, shown
from lehr.data.images.decode import MODES, RESIZES
from lehr.data.images.fields import LARGEST_SIDE, one_of
from lehr.data.tables.dates import PARTS
from lehr.data.tables.missing_values import check_policy

TODO = "Is this the file that lehr wrote? Work the preparation out again from the data."
"""What to do where one is damaged."""

LARGEST_ITEM = 2**31
"""The most numbers in an item: a model of a larger one would fill any memory."""

_UP_TO = "a whole number from 1 to"
_Size = Annotated[int, Meta(ge=1, le=LARGEST_ITEM, description=f"{_UP_TO} {LARGEST_ITEM}")]
_Side = Annotated[int, Meta(ge=1, le=LARGEST_SIDE, description=f"{_UP_TO} {LARGEST_SIDE}")]
_Name = Annotated[str, Meta(min_length=1, description="a text that is not empty")]


class ArrayFields(Form):
    """Those of `lehr.data.ArrayPreparation`."""

    kind: Literal["array"]
    classes: tuple[str, ...]
    shape: Annotated[
        tuple[_Size, ...],
        Meta(min_length=1, max_length=3, description="a list of one to three whole numbers"),
    ]
    white: Positive
    mean: tuple[Finite, ...]
    std: tuple[Positive, ...]
    low: Finite
    high: Finite
    target_mean: tuple[Finite, ...]
    target_std: tuple[Positive, ...]

    def __post_init__(self) -> None:
        refuse_twins("classes", self.classes)
        if math.prod(self.shape) > LARGEST_ITEM:
            raise ValueError(
                f"shape must be of {LARGEST_ITEM} numbers at most; got {list(self.shape)}"
            )
        channels = 1 if len(self.shape) == 2 else self.shape[0]
        if not len(self.mean) == len(self.std) == channels:
            raise ValueError(
                f"mean and std must have {channels} numbers for items of shape "
                f"{list(self.shape)}; got {len(self.mean)} and {len(self.std)}"
            )
        if not len(self.target_mean) == len(self.target_std) > 0:
            raise ValueError(
                "target_mean and target_std must have one number for each output; got "
                f"{len(self.target_mean)} and {len(self.target_std)}"
            )


class TableFields(Form):
    """Those of `lehr.data.TablePreparation`; its columns are read each by itself."""

    kind: Literal["table"]
    target: str
    classes: tuple[str, ...]
    columns: tuple[Any, ...]
    missing: str
    target_mean: Finite
    target_std: Positive

    def __post_init__(self) -> None:
        refuse_twins("classes", self.classes)
        check_policy(self.missing)


class NumberFields(Form):
    """Those of `lehr.data.tables.columns.NumberColumn`."""

    name: str
    mean: Finite
    std: Positive
    fill: Finite


class CategoryFields(Form):
    """Those of `lehr.data.tables.columns.CategoryColumn`."""

    name: str
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        refuse_twins("values", self.values)


class DateFields(Form):
    """Those of `lehr.data.tables.dates.DateColumn`."""

    name: str
    parts: tuple[str, ...]
    mean: tuple[Finite, ...]
    std: tuple[Positive, ...]
    fill: tuple[Finite, ...]

    def __post_init__(self) -> None:
        refuse_twins("parts", self.parts)
        for part in self.parts:
            one_of("parts", part, PARTS)
        if not len(self.mean) == len(self.std) == len(self.fill) == len(self.parts) > 0:
            raise ValueError(
                "mean, std and fill must have one number for each of parts, and there must be one; "
                f"got {len(self.mean)}, {len(self.std)} and {len(self.fill)} for "
                f"{shown(list(self.parts))}"
            )


class ImageFields(Form):
    """Those of `lehr.data.ImagePreparation`."""

    kind: Literal["image"]
    classes: Annotated[tuple[_Name, ...], Meta(min_length=1, description="a list of names")]
    mode: str
    size: tuple[_Side, _Side]
    resize: str
    mean: tuple[Finite, ...]
    std: tuple[Positive, ...]
    flat: bool

    def __post_init__(self) -> None:
        refuse_twins("classes", self.classes)
        one_of("resize", self.resize, RESIZES)
        channels = MODES[one_of("mode", self.mode, MODES)]
        for name in ("mean", "std"):
            if len(numbers := getattr(self, name)) != channels:
                raise ValueError(
                    f"{name} must have one number a channel, {channels} for mode {self.mode}; got "
                    f"{shown(list(numbers))}"
                )


def stored_fields(form: type[Form], stored: Any, what: str) -> dict[str, Any]:
    """The fields of a preparation by name, without its kind, from what its ``to_dict`` made.

    Raises:
        ValueError: a field is missing, unknown, of another type or out of range.
    """
    fields = form.read(stored, what, todo=TODO).to_dict()
    return {name: value for name, value in fields.items() if name != "kind"}


def settle(preparation: Any, form: type[Form], **changed: Any) -> None:
    """Check the fields of a preparation that is being made, and bring them into their own types.

    Args:
        preparation: a frozen dataclass.
        form: of its fields.
        **changed: what fields are, instead of what was given for them.

    Raises:
        ValueError: a field is of another type or out of range.
    """
    own = cast("dict[str, Any]", vars(preparation))
    given: dict[str, Any] = {"kind": preparation.kind, **own, **changed}
    for name, value in given.items():
        if isinstance(value, (set, frozenset)):  # which msgspec takes for a list
            raise ValueError(f"{name} must be a list, in order; got {shown(value)}. {TODO}")
    plain = {name: _plain(value) for name, value in given.items()}
    for name, value in stored_fields(form, plain, type(preparation).__name__).items():
        object.__setattr__(preparation, name, value)


def _plain(value: Any) -> Any:
    """Without NumPy's floats, which are floats to Python but not to msgspec."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in cast("list[Any]", value)]
    return float(value) if isinstance(value, float) else value
