import os
import re
import sys

import pytest
import torch
from torch import nn

from lehr.models import build, is_import_path, load

SOURCE = """
from dataclasses import dataclass
from torch import nn

@dataclass
class Widths:
    hidden: "int" = 3

class Net(nn.Module):
    def __init__(self, in_features, classes, width=Widths().hidden):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(in_features, classes))
    def forward(self, x):
        return self.layers(x)

def conv(channels_in, classes, *args, **kwargs):
    assert not args and not kwargs
    return nn.Conv2d(channels_in, classes, 1)

def shape(*, item_shape, channels_in=None):
    return nn.LayerNorm(item_shape)

def needy(classes, depth, width):
    return nn.Identity()

def only(classes, /):
    return nn.Identity()

def nothing(classes):
    return [classes]

def wrong(classes):
    raise KeyError("mine")

number = 3
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "mine.py").write_text(SOURCE)
    before = set(sys.modules)
    yield str(tmp_path / "mine.py")
    for name in set(sys.modules) - before:
        if name.startswith("mine"):
            del sys.modules[name]


@pytest.mark.parametrize("name", ["a:B", "a.b:C", "a/b.py:C", "C:\\a\\b.py:D", "b c/d.py:E"])
def test_import_paths(name):
    assert is_import_path(name)


@pytest.mark.parametrize("name", ["cnn", "a.b", "a:", ":B", "a/b:C", "a.py", "a:b-c", "a..b:C"])
def test_no_import_paths(name):
    assert not is_import_path(name)
    with pytest.raises(ValueError, match=r"spec must be package\.module:Factory or"):
        load(name, (4,), 2)


def test_a_factory_gets_what_it_names(file):
    net = build(f"{file}:Net", (1, 4, 4), 3)
    assert net(torch.zeros(2, 1, 4, 4)).shape == (2, 3)
    assert load(f"{file}:conv", (5, 4, 4), 3).in_channels == 5
    assert load(f"{file}:shape", (5,), 3).normalized_shape == (5,)


def test_a_module_by_name():
    assert isinstance(build("lehr.models:mlp", (4,), 3)[-1], nn.Linear)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Nett", "mine.py has no Nett. Did you mean Net?"),
        ("zzz", "mine.py has no zzz. Use one of: dataclass, nn, Widths, Net"),
        ("needy", "for items of shape (1, 4, 4); it also needs depth, width. Give those a default"),
        ("only", "it also needs classes. Give those"),
    ],
)
def test_what_cannot_be_made(file, name, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load(f"{file}:{name}", (1, 4, 4), 3)


def test_images_only(file):
    with pytest.raises(ValueError, match="it also needs channels_in"):
        load(f"{file}:conv", (4,), 3)


def test_what_is_no_model(file):
    with pytest.raises(
        TypeError, match="must be a class or function that makes a model; it is int"
    ):
        load(f"{file}:number", (4,), 3)
    with pytest.raises(TypeError, match=r"must return an nn\.Module; got list"):
        load(f"{file}:nothing", (4,), 3)
    with pytest.raises(ValueError, match="classes must be at least 1; got 0"):
        load(f"{file}:Net", (4,), 0)
    with pytest.raises(ValueError, match=r"builtins:dict must say which arguments it takes"):
        load("builtins:dict", (4,), 3)


def test_an_error_in_the_factory_is_its_own(file):
    with pytest.raises(KeyError, match="mine"):
        load(f"{file}:wrong", (4,), 3)


def test_what_cannot_be_imported(tmp_path):
    with pytest.raises(ValueError, match="not_there cannot be imported: ModuleNotFoundError: No"):
        load("not_there:Net", (4,), 3)
    with pytest.raises(ValueError, match=r"b\.py must be a Python file; it is not there"):
        load(f"{tmp_path / 'b.py'}:Net", (4,), 3)
    (tmp_path / "c.py").write_text("1 / 0")
    before = set(sys.modules)
    with pytest.raises(
        ValueError, match=r"c\.py cannot be imported: ZeroDivisionError: .* Correct"
    ):
        load(f"{tmp_path / 'c.py'}:Net", (4,), 3)
    assert set(sys.modules) == before


def test_a_file_that_broke_keeps_the_module_that_worked(file, tmp_path):
    load(f"{file}:Net", (4,), 3)
    (name,) = [name for name in sys.modules if name.startswith("mine_")]
    worked = sys.modules[name]
    (tmp_path / "mine.py").write_text("broken = ")
    with pytest.raises(ValueError, match="cannot be imported: SyntaxError"):
        load(f"{file}:Net", (4,), 3)
    assert sys.modules[name] is worked


@pytest.mark.timeout(20)
def test_a_named_pipe_is_no_python_file_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "folder.py").mkdir()
    for name in ("pipe.py", "folder.py"):
        with pytest.raises(ValueError, match=rf"{name} must be a Python file; it is no plain file"):
            load(f"{tmp_path / name}:Net", (1, 8, 8), 10)
