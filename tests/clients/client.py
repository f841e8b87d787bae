"""What every case in `tests/clients/cases` is put through.

A case is a file with:

- a docstring, whose first line is its title;
- ``model()``, which makes the model that is trained;
- ``learner(model)``, which is what a user writes beyond model and data;
- ``plain(model)``, the loop that a user would write by hand for the same training; where there is
  none to compare with, ``NOT_PLAIN`` says why;
- ``PACKAGES``, the packages that it needs beside torch, if any;
- ``FIT``, the arguments of `fit`; two epochs if it is missing;
- ``select(out)``, what is kept of the output in predictions; all of it if it is missing;
- ``check(learn, run)``, what else must hold after the fit, if anything;
- ``VARIANTS``, names with which ``learner`` and ``plain`` are called, one after the other;
- ``REFUSED``, a part of the exam → a pattern of the words with which lehr refuses it.
"""

import ast
import importlib
import math
import re
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.nn.parameter import is_lazy

from lehr import Learner
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture

CASES = Path(__file__).parent / "cases"
PARTS = ("fit", "plain", "validate", "predict", "summary", "audit", "find_lr", "resume")


@dataclass(frozen=True)
class Client:
    """One case, read from its file; nothing of the file runs before ``module`` is asked for."""

    name: str
    variant: str | None = None

    @property
    def id(self) -> str:
        return self.name if self.variant is None else f"{self.name}:{self.variant}"

    @cached_property
    def module(self) -> ModuleType:
        return importlib.import_module(f".cases.{self.name}", __package__)

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse((CASES / f"{self.name}.py").read_text(encoding="utf-8"))

    @property
    def title(self) -> str:
        return (ast.get_docstring(self.tree) or "").partition("\n")[0]

    def constant(self, name: str, otherwise: Any) -> Any:
        """The value of a constant at the top of the file."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == [name]:
                return ast.literal_eval(node.value)
        return otherwise

    @property
    def packages(self) -> list[str]:
        return self.constant("PACKAGES", [])

    @property
    def missing(self) -> list[str]:
        return [package for package in self.packages if find_spec(package) is None]

    @property
    def not_plain(self) -> str | None:
        return self.constant("NOT_PLAIN", None)

    @property
    def refused(self) -> dict[str, str]:
        return self.constant("REFUSED", {})

    @property
    def lines(self) -> int:
        """Lines of code in ``learner`` and in the callbacks that it needs."""
        wanted = [
            node
            for node in self.tree.body
            if (isinstance(node, ast.FunctionDef) and node.name == "learner")
            or (isinstance(node, ast.ClassDef) and "Callback" in map(ast.unparse, node.bases))
        ]
        source = (CASES / f"{self.name}.py").read_text(encoding="utf-8").splitlines()
        return sum(_code_lines(node, source) for node in wanted)

    def fitted(self) -> tuple[Learner, Any]:
        """A Learner that has trained, and its run."""
        learn = self.learner()
        return learn, learn.fit(**self.constant("FIT", {"epochs": 2}))

    def learner(self) -> Learner:
        return self.module.learner(self.model(), *self.variants)

    @property
    def variants(self) -> list[str]:
        return [] if self.variant is None else [self.variant]

    def model(self) -> torch.nn.Module:
        torch.manual_seed(0)
        return self.module.model()


def clients() -> list[Client]:
    """All cases, by name."""
    names = [path.stem for path in sorted(CASES.glob("[!_]*.py"))]
    variants = {name: Client(name).constant("VARIANTS", [None]) for name in names}
    return [Client(name, variant) for name in names for variant in variants[name]]


def versions(packages: list[str]) -> str:
    """The packages with their versions, as the table shows them."""
    names = {"sklearn": "scikit-learn"}
    return ", ".join(f"{p} {version(names.get(p, p.replace('_', '-')))}" for p in packages)


def _code_lines(node: ast.FunctionDef | ast.ClassDef, source: list[str]) -> int:
    """Lines of the body that hold code: no docstring, no comment, no empty line."""
    skipped = {row for part in ast.walk(node) if (doc := _docstring(part)) for row in doc}
    rows = range(node.body[0].lineno, (node.end_lineno or 0) + 1)
    texts = [source[row - 1].strip() for row in rows if row not in skipped]
    return sum(1 for text in texts if text and not text.startswith("#"))


def _docstring(node: ast.AST) -> range | None:
    documented = isinstance(node, (ast.FunctionDef, ast.ClassDef))
    if not documented or ast.get_docstring(node) is None:
        return None
    first = node.body[0]
    return range(first.lineno, (first.end_lineno or 0) + 1)


# The exam ----------------------------------------------------------------------------------------


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Copies of all tensors of the model."""
    return {
        name: value.clone()
        for name, value in model.state_dict().items()
        if isinstance(value, torch.Tensor) and not is_lazy(value)
    }


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether these are the same bits."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def unchanged(learn: Learner, look: Callable[[], Any]) -> Any:
    """What ``look`` returns, after making sure that it left the Learner as it was."""
    entries = learn.state_entries()
    places = ("train_dl", "valid_dl")  # where a loader is that says so itself: its next epoch tells
    entries = {name: entry for name, entry in entries.items() if name not in places}
    before = capture(entries)
    result = look()
    difference = first_difference(before, capture(entries))
    assert difference is None, difference
    return result


def exam_fit(client: Client) -> None:
    """It trains: the losses are numbers, and something moved."""
    start = weights(client.model())
    learn, run = client.fitted()
    assert run.n_steps > 0
    assert all(math.isfinite(loss) for loss in run.history["loss"])
    assert not equal(start, weights(learn.model))
    check = getattr(client.module, "check", None)
    if check is not None:
        check(learn, run)


def exam_plain(client: Client) -> None:
    """It ends in the same bits as the loop that was written by hand."""
    learn, _ = client.fitted()
    model = client.model()
    start = weights(model)
    client.module.plain(model, *client.variants)
    assert not equal(start, weights(model))
    assert equal(weights(model), weights(learn.model))


def exam_validate(client: Client) -> None:
    """It is measured, and is as before."""
    learn, _ = client.fitted()
    scores = unchanged(learn, learn.validate)
    assert scores
    assert all(math.isfinite(score) for score in scores.values())


def exam_predict(client: Client) -> None:
    """Predictions come, one for each item where that can be counted, and it is as before."""
    learn, _ = client.fitted()
    select = getattr(client.module, "select", None)
    loader = client.module.valid()
    predictions = unchanged(learn, lambda: learn.predict(loader, select=select))
    assert predictions is not None
    count = getattr(client.module, "ITEMS", None)
    if count is not None:
        assert _length(predictions) == count


def _length(predictions: Any) -> int:
    if isinstance(predictions, dict):
        return _length(next(iter(predictions.values())))
    if isinstance(predictions, tuple):
        return _length(predictions[0])
    return len(predictions)


def exam_summary(client: Client) -> None:
    """Its layers are listed, and it is as before."""
    learn, _ = client.fitted()
    assert unchanged(learn, learn.summary).layers


def exam_audit(client: Client) -> None:
    """Its initialisation is checked, and it is as before."""
    learn, _ = client.fitted()
    assert unchanged(learn, learn.audit).sites


def exam_find_lr(client: Client) -> None:
    """A learning rate is looked for, and it is as before."""
    learn, _ = client.fitted()
    curve = unchanged(learn, lambda: learn.find_lr(steps=10))
    assert len(curve.losses) > 1


def exam_resume(client: Client) -> None:
    """Stopped anywhere, it goes on to the same bits."""
    with warnings.catch_warnings():  # two batches of each pass are not what the case planned for
        warnings.simplefilter("ignore")
        check = client.learner().check_resume(epochs=2, batches=2)
    assert check.ok, str(check)


def examine(client: Client, part: str) -> None:
    """One part of the exam; a part that is refused must be refused with the words promised."""
    exam = globals()[f"exam_{part}"]
    pattern = client.refused.get(part)
    allowed: AbstractContextManager[Any] = (
        nullcontext()
        if pattern is None
        else pytest.raises((TypeError, ValueError, RuntimeError), match=re.compile(pattern, re.S))
    )
    with allowed:
        exam(client)
