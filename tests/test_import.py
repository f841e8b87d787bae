"""Importing lehr loads torch and nothing else, and changes nothing."""

import importlib
import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, random, signal, sys
import torch
before = set(sys.modules)
state = random.getstate(), torch.get_rng_state().tolist(), torch.get_num_threads()
attributes, handler = set(dir(torch.Tensor)), signal.getsignal(signal.SIGINT)
import lehr
for name in lehr.__all__:
    getattr(lehr, name)  # each is imported when it is first used
after = set(sys.modules)
same = (
    state == (random.getstate(), torch.get_rng_state().tolist(), torch.get_num_threads())
    and attributes == set(dir(torch.Tensor)) and handler is signal.getsignal(signal.SIGINT)
)
print(json.dumps([sorted(after - before), same]))
"""


@pytest.fixture(scope="module")
def imported() -> tuple[list[str], bool]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_nothing_heavier_than_torch_is_loaded(imported):
    heavy = ("rich", "typer", "matplotlib", "PIL", "pooch", "safetensors", "pandas", "IPython")
    heavy += ("jinja2", "markupsafe")
    new = {name.split(".")[0] for name in imported[0]}
    assert not new & {*heavy, "torchmetrics", "numpy", "msgspec"}
    ours = [name for name in imported[0] if name.split(".")[0] == "lehr"]
    assert 20 < len(ours) <= 320  # small files; together a seventh of a second


def test_torch_is_loaded_with_the_first_name_that_is_used():
    script = (
        "import sys, lehr; print('torch' in sys.modules); lehr.seed; print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\nTrue\n"


def test_names_are_found_as_in_any_module():
    import lehr

    assert set(lehr.__all__) == set(lehr._HOME)
    assert set(lehr.__all__) <= set(dir(lehr))
    assert lehr.Learner is importlib.import_module("lehr.learner").Learner
    assert lehr.callbacks is importlib.import_module("lehr.callbacks")
    with pytest.raises(
        AttributeError, match=r"module 'lehr' has no Lerner\. Did you mean Learner\?"
    ):
        lehr.Lerner


def test_nothing_is_changed(imported):
    assert imported[1]
