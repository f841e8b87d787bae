"""Python's words for an argument, said as the option of a command."""

import re
import shlex

_OPTIONS = (
    *("batch_size", "valid_share", "skip_broken", "num_workers", "columns", "exclude", "missing"),
    *("regression", "split", "size", "target", "augment", "weight_decay", "label_smoothing"),
    *("repair", "weights", "lr", "epochs", "device", "schedule", "opt", "checkpoint_every"),
)
_QUOTED = r"'[^']*'|\"[^\"]*\""
_NUMBERS = ("valid_share", "num_workers")  # a column, too, may be called size
_VALUE = rf"{_QUOTED}|\[(?:(?:{_QUOTED})(?:, )?)*\]|True|False|(?=[ ,.:;)]|$)"
_ARGUMENT = re.compile(
    rf"(?<![\w(.])(?:({'|'.join(_OPTIONS)})=({_VALUE})|({'|'.join(_NUMBERS)})=([\d.]*\d))"
)
_NAMES = "|".join(_OPTIONS)
_SUBJECT = re.compile(
    rf"^({_NAMES})(?= must (?!have a value)| is for )|(?<=Leave )({_NAMES})(?= out)"
)
_EXAMPLE = re.compile(rf"(?<=e\.g\. )({_NAMES})=([\w.]*\w)")


def flag(name: str) -> str:
    """The option for an argument of that name.

    Example:
        >>> flag("valid_share"), flag("num_workers")
        ('--valid-share', '--workers')
    """
    return f"--{name.removeprefix('num_').replace('_', '-')}"


def as_options(text: str) -> str:
    """``text`` with the arguments of functions that it names as options of a command.

    Example:
        >>> as_options("Fill them by missing='mean', or leave columns out by exclude=['my id'].")
        "Fill them by --missing mean, or leave columns out by --exclude 'my id'."
        >>> as_options("batch_size must be above 0; give regression=False.")
        '--batch-size must be above 0; give --classification.'
        >>> as_options("size must be at most 1024. Give e.g. size=128, or leave it out.")
        '--size must be at most 1024. Give e.g. --size 128, or leave it out.'
    """
    text = _EXAMPLE.sub(lambda match: f"{flag(match[1])} {match[2]}", text)
    return _SUBJECT.sub(lambda match: flag(match[1] or match[2]), _ARGUMENT.sub(_option, text))


def _option(match: re.Match[str]) -> str:
    name, value = match[1] or match[3], match[2] or match[4] or ""
    if name == "regression" and value == "False":
        return "--classification"
    if value in ("True", ""):
        return flag(name)
    if value == "False":
        return match[0]
    words = re.findall(_QUOTED, value)
    said = shlex.quote(",".join(word[1:-1] for word in words)) if words else value
    return f"{flag(name)} {said}"
