"""A model of the user's own, named by where it can be imported from."""

import importlib
import importlib.util
import inspect
import math
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from lehr.base.paths import path_of
from lehr.errors import did_you_mean, nearest, positive_int
from lehr.models.pretrained import is_packaged


def is_import_path(name: str) -> bool:
    """Whether a model's name says where to import it from.

    Example:
        >>> is_import_path("my.models:Net"), is_import_path("net.py:Net"), is_import_path("cnn")
        (True, True, False)
        >>> is_import_path("timm:resnet18")  # a network of that package
        False
    """
    module, _, attribute = name.rpartition(":")
    identifiers = all(part.isidentifier() for part in module.split("."))
    if is_packaged(name):
        return False
    return attribute.isidentifier() and (module.endswith(".py") or identifiers)


def load(spec: str, item_shape: Sequence[int], classes: int) -> nn.Module:
    """The model that the user's own class or function makes.

    Importing runs the user's code, on purpose: the text must come from the user who starts the
    program, never out of a file.

    Args:
        spec: "package.module:Factory" or "path/to/file.py:Factory". The factory is called with
            those of ``item_shape``, ``channels_in``, ``in_features`` and ``classes`` that its
            signature names.
        item_shape: shape of one input without the batch.
        classes: numbers in a prediction.

    Returns:
        What the factory returned.

    Raises:
        ValueError: ``spec`` is no import path, the module cannot be imported or has no such
            name, or the factory asks for something else.
        TypeError: the factory cannot be called, or returned no ``nn.Module``.

    Example:
        >>> load("lehr.models.convnet:cnn", (1, 28, 28), 10)[0]
        Conv2d(1, 8, kernel_size=(5, 5), stride=(2, 2), padding=(2, 2))
    """
    if not is_import_path(spec):
        raise ValueError(
            f"spec must be package.module:Factory or path/to/file.py:Factory; got {spec!r}. Put "
            "one colon before the name of a class or function."
        )
    source, _, name = spec.rpartition(":")
    module = _import(source)
    if not hasattr(module, name):
        public = [name for name in vars(module) if not name.startswith("_")]
        hint = did_you_mean(name, public) if len(public) <= 20 or nearest(name, public) else ""
        raise ValueError(f"{source} has no {name}. {hint or 'Check the name.'}")
    factory = getattr(module, name)
    if not callable(factory):
        raise TypeError(
            f"{spec} must be a class or function that makes a model; it is "
            f"{type(factory).__name__}. Name one, e.g. def {name.lower()}(classes): …"
        )
    return made_by(factory, item_shape, classes, name=spec)


def made_by(
    factory: Callable[..., Any], item_shape: Sequence[int], classes: int, *, name: str
) -> nn.Module:
    """The model that a class or function makes, called with those of the four arguments it takes.

    Args:
        factory: called with those of ``item_shape``, ``channels_in``, ``in_features`` and
            ``classes`` that its signature names.
        item_shape: shape of one input without the batch.
        classes: numbers in a prediction.
        name: of the factory, for the messages.

    Raises:
        ValueError: the factory asks for something else.
        TypeError: it returned no ``nn.Module``.

    Example:
        >>> made_by(lambda in_features, classes: nn.Linear(in_features, classes), (4,), 3, name="f")
        Linear(in_features=4, out_features=3, bias=True)
    """
    arguments = _arguments(name, factory, tuple(item_shape), positive_int("classes", classes))
    model = factory(**arguments)
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"{name} must return an nn.Module; got {type(model).__name__}. Return the model."
        )
    return model


def _import(source: str) -> ModuleType:
    is_file, path = source.endswith(".py"), path_of(source)
    if is_file and not path.is_file():
        what = "no plain file" if path.exists() else "not there"
        raise ValueError(f"{source} must be a Python file; it is {what}. Check the path.")
    try:
        return _from_file(path) if is_file else importlib.import_module(source)
    except Exception as error:  # whatever the user's code raises
        todo = "Correct it." if is_file else "Install it, or give path/to/file.py:Factory."
        raise ValueError(
            f"{source} cannot be imported: {type(error).__name__}: {error}. {todo}"
        ) from error


def _from_file(path: Path) -> ModuleType:
    name = f"{path.stem}_{zlib.crc32(str(path.resolve()).encode()):08x}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses and pickle look their module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        raise
    return module


def _arguments(
    spec: str, factory: Callable[..., Any], item_shape: tuple[int, ...], classes: int
) -> dict[str, Any]:
    """Those of the four known arguments that the factory names."""
    known: dict[str, Any] = {
        "item_shape": item_shape,
        "in_features": math.prod(item_shape),
        "classes": classes,
    }
    if len(item_shape) == 3:
        known["channels_in"] = item_shape[0]
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{spec} must say which arguments it takes; it has no signature. Wrap it in a function."
        ) from error
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    by_name = [p for p in parameters if p.kind not in several]
    unknown = [
        p.name
        for p in by_name
        if p.default is p.empty and (p.name not in known or p.kind is p.POSITIONAL_ONLY)
    ]
    if unknown:
        raise ValueError(
            f"{spec} must need no other arguments than {', '.join(known)} for items of shape "
            f"{item_shape}; it also needs {', '.join(unknown)}. Give those a default, or wrap it "
            "in a function that does."
        )
    fits = (p.name for p in by_name if p.name in known and p.kind is not p.POSITIONAL_ONLY)
    return {name: known[name] for name in fits}
