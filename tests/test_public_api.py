"""Every public name is documented, and its example runs (the doctests do that)."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import lehr

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(lehr.__path__, "lehr.")
    if "._" not in module.name and module.name != "lehr.__main__"
)


def public(module):
    for name, thing in vars(module).items():
        own = getattr(thing, "__module__", None) == module.__name__
        if (
            not name.startswith("_")
            and own
            and (inspect.isclass(thing) or inspect.isfunction(thing))
        ):
            yield name, thing


THINGS = [
    (f"{name}.{attribute}", thing)
    for name in MODULES
    for attribute, thing in public(importlib.import_module(name))
]


def test_everything_public_has_a_docstring():
    assert len(THINGS) > 1000
    assert [name for name, thing in THINGS if not inspect.getdoc(thing)] == []


EXPORTED = [
    (f"{module}.{name}", getattr(importlib.import_module(module), name))
    for module in ("lehr", "lehr.data", "lehr.callbacks", "lehr.models", "lehr.optim")
    for name in importlib.import_module(module).__all__
    if not inspect.ismodule(getattr(importlib.import_module(module), name))
]
PROTOCOL_LIKE = {"Run", "Phase", "Layer", "CancelBatch", "CancelEpoch", "CancelFit", "MODELS"}


def test_what_is_exported_has_an_example():
    bare = [name for name, thing in EXPORTED if ">>>" not in (inspect.getdoc(thing) or "")]
    assert [name for name in bare if name.split(".")[-1] not in PROTOCOL_LIKE] == []


def test_all_lists_are_true():
    for module in ("lehr", "lehr.data", "lehr.callbacks", "lehr.models", "lehr.optim"):
        loaded = importlib.import_module(module)
        for name in loaded.__all__:
            assert hasattr(loaded, name)


def exists(name):
    """Whether a dotted name leads to a module, or to something in one."""
    try:
        return pkgutil.resolve_name(name) is not None
    except (ImportError, AttributeError):
        return False


def test_every_full_name_in_the_source_leads_somewhere():
    source = [path.read_text(encoding="utf-8") for path in Path(lehr.__path__[0]).rglob("*.py")]
    names = {name for text in source for name in re.findall(r"`~?(lehr\.[\w.]+)`", text)}
    assert len(names) > 50
    assert sorted(name for name in names if not exists(name)) == []
    assert not exists("lehr.state.capture")
