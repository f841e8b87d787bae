"""The code of the lesson's notes runs over `from lehr.foundations import *`.

The notes are not part of the project: a copy may lie beside it. In that copy indentation and every
hyphen are lost, so a block is found by its lines and given the indentation of each.
"""

import ast
import math
import re
from functools import partial
from hashlib import sha256
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
import torch.nn.functional as F
from torch import nn, optim

from lehr import foundations

NOTES = Path(__file__).parents[3] / "shared" / "spec" / "lesson-source.txt"
EDITION = "d4c1373c61861bba63e7fe57c1546c9f238f1d11de161f0b16f50e22ea95c725"

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

BLOCKS = {  # the number of the first line, and how deep each is indented
    "nll": (59, "0 1111 11 000 000000 0 0000 0 00000"),
    "logsumexp": (91, "0011"),
    "torch's cross entropy": (98, "0"),
    "accuracy": (103, "01"),
    "DummyModule": (110, "0 1222 1222222222 1 1223"),
    "fit over slices": (142, "0 1 2 333333 344"),
    "SequentialModel": (156, "0 122222 122"),
    "Sequential": (172, "0"),
    "step and clear": (176, "00"),
    "update by hand": (179, "01111"),
    "Optimizer": (185, "0 1 1 2222 23 1 2222 2"),
    "Dataset": (208, "0 12 12 12 000"),
    "loop over the dataset": (219, "01 2222222 222222"),
    "batches of the dataset": (236, "011"),
    "batches of the loader": (240, "01"),
    "DataLoader of slices": (245, "0 12 1222223"),
    "first batch": (260, "0"),
    "fit of five steps": (262, "0000 0 1 2 3333333333"),
    "Sampler and DataLoader": (284, "0 12 1223 011 0 12 12 0000000"),
    "torch's DataLoader": (307, "0 01 01 0000"),
    "fit and validate": (324, "0 1 2222 3333 222 33 444 22 1"),
    "Optimizer that clears": (357, "0 1 1 2 3 44"),
    "accumulation": (365, "0 1 222222 33"),
    "auto_zero": (377, "0 12 1 2 3 4 2 12"),
    "six arguments": (399, "00000"),
    "DataBunch and Learner": (404, "0 12 112 112 011211 0 111 23 0000000"),
    "two arguments": (432, "00"),
    "fit of a Learner": (442, "0 1 22 3333 22 33 444 22 1 0"),
    "Callback": (464, "0 122 1 122 1 1 122 122 1 1"),
    "CallbackHandler": (484, "0 122 12222222 1222 122222 122222 1222 1222 1222 1222 1222 122"),
    "loop with callbacks": (537, "0111111 0122 011222321"),
    "TestCallback": (557, "0 1222 12222 0 000000000000"),
    "Runner": (587, "0112332"),
    "Recorder and ParamScheduler": (604, "0 1 1222 1 1 0 1 12 1223 12"),
    "partial": (627, "01010000"),
    "decorators": (637, "0100122332100100001221"),
    "annealer": (660, "01100000"),
    "schedules": (672, "000000001"),
    "ndim": (683, "00"),
}
MAGICS = (11, 12)  # IPython's: no Python
REPAIRS = {  # where a hyphen is gone
    r"\(n1\)": "(n - 1)",
    r"\(xm\[": "(x - m[",
    r"\bendstart\b": "end - start",
    r"\b1pos\b": "1 - pos",
    r"\bp = p\.grad \* lr\b": "p -= p.grad * lr",
    r"\breturn log_sm\[": "return -log_sm[",
    r"param_groups\[1\]": "param_groups[-1]",
}


def lines():
    if not NOTES.exists():
        pytest.skip(f"the lesson's notes are not beside the project: no {NOTES}")
    raw = NOTES.read_bytes()
    assert sha256(raw).hexdigest() == EDITION, "the notes have changed: look at BLOCKS again"
    return raw.decode().splitlines()


def depths(name):
    first, digits = BLOCKS[name]
    return {first + i: int(depth) for i, depth in enumerate(digits.replace(" ", ""))}


def source(name, *unrepaired):
    """A block with its indentation and its hyphens, but for some."""
    noted = lines()
    text = "\n".join("    " * depth + noted[n - 1].strip() for n, depth in depths(name).items())
    for damaged, repaired in REPAIRS.items():
        if damaged not in unrepaired:
            text = re.sub(damaged, repaired, text)
    return text


def digits():
    """Pictures of ten kinds that are easy to tell apart, in the shape of MNIST's."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.rand(10, 784, generator=generator)
    y = torch.randint(10, (1600,), generator=generator)
    x = 0.3 * (kinds[y] - 0.5) + 0.1 * torch.randn(1600, 784, generator=generator)
    return x[:1424], y[:1424], x[1424:], y[1424:]  # 23 batches of 64, the last of 16


class Notebook(dict):
    """The names of one session, into which blocks are pasted."""

    def __init__(self):
        super().__init__(torch=torch, nn=nn, optim=optim, F=F, math=math, partial=partial, plt=plt)
        exec("from lehr.foundations import *", self)
        self["get_data"] = digits
        x_train, y_train, x_valid, y_valid = digits()
        self.update(x_train=x_train, y_train=y_train, x_valid=x_valid, y_valid=y_valid)
        self.update(n=1424, m=784, nh=50, bs=64, epochs=1, lr=0.1, loss_func=F.cross_entropy)
        self["train_ds"] = self["Dataset"](x_train, y_train)
        self["valid_ds"] = self["Dataset"](x_valid, y_valid)
        self.fresh()

    def fresh(self):
        """A model that has learnt nothing, and its optimizer."""
        torch.manual_seed(0)
        self["model"] = nn.Sequential(nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10))
        self["opt"] = self["Optimizer"](self["model"].parameters(), self["lr"])

    def paste(self, *names):
        for name in names:
            exec(compile(source(name), name, "exec"), self)

    def right(self, model=None):
        """The share of validation items that a model has right."""
        with torch.no_grad():
            pred = (model or self["model"])(self["x_valid"])
        return foundations.accuracy(pred, self["y_valid"]).item()

    def trains(self, *names, call=None):
        """That a fresh model guesses, and one that was trained by these blocks does not."""
        self.fresh()
        assert self.right() < 0.5
        self.paste(*names)
        if call:
            exec(call, self)
        assert self.right() > 0.7


@pytest.fixture
def notebook():
    torch.manual_seed(0)
    yield Notebook()
    plt.close("all")


def test_every_line_of_code_is_in_a_block():
    """What is in no block is prose: no line of it is a statement of Python's, headings like
    ``exp()`` and names of calls within a sentence apart."""
    noted = lines()
    pasted = {n for name in BLOCKS for n in depths(name)}
    assert len(pasted) == sum(len(depths(name)) for name in BLOCKS)  # and none is in two
    assert not [n for n in range(1, len(noted) + 1) if n not in pasted and code(noted[n - 1], n)]
    assert code(noted[BLOCKS["Sequential"][0] - 1], BLOCKS["Sequential"][0])


def code(line, number):
    if number in MAGICS or line.strip() in ("",):
        return False
    try:
        (statement,) = ast.parse(line.strip()).body or [None]
    except (SyntaxError, ValueError):
        return bool(re.match(r"(class|def|for|with|if) .*:$|@\w+$", line.strip()))
    value = getattr(statement, "value", None)
    heading = isinstance(value, ast.Call) and not value.args
    words = ast.Name | ast.Attribute | ast.BoolOp | ast.Tuple | ast.Compare  # "and", ",", "in"
    prose = statement is None or isinstance(value, words) or heading
    return not prose and not isinstance(statement, ast.AnnAssign)


def test_losses(notebook):
    notebook.paste("nll", "logsumexp", "accuracy")
    loss = notebook["nll"](notebook["smpred"], notebook["targets"])
    assert loss.item() == pytest.approx(0.0111, abs=5e-5)
    torch.testing.assert_close(
        loss, foundations.nll_of_probs(notebook["smpred"], notebook["targets"])
    )
    scores = torch.tensor([[1000.0, 1000.0]])
    assert notebook["logsumexp"](scores).item() == pytest.approx(1000.6931)
    pred = notebook["pred"] = notebook["model"](notebook["x_train"])
    notebook.paste("torch's cross entropy")
    assert notebook["accuracy"](pred, notebook["y_train"]) < 0.5


def test_modules(notebook):
    notebook.paste("DummyModule")
    dummy = notebook["DummyModule"](784, 50, 10)
    assert [tuple(p.shape) for p in dummy.parameters()] == [(50, 784), (50,), (10, 50), (10,)]
    assert "l2" in repr(dummy)
    notebook.trains("fit over slices", call="fit()")
    layers = [nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10)]
    notebook.paste("SequentialModel")
    stack = notebook["SequentialModel"](layers)
    assert len(list(stack.parameters())) == 4
    x = notebook["x_valid"]
    torch.testing.assert_close(stack(x), nn.Sequential(*layers)(x))
    notebook.paste("Sequential")
    assert notebook["model"](x).shape == (176, 10)


def test_as_it_is_printed_the_update_trains_nothing(notebook):
    """The control: without its hyphen the update is an assignment, and the model still guesses."""
    exec(source("fit over slices", r"\bp = p\.grad \* lr\b"), notebook)
    exec("fit()", notebook)
    assert notebook.right() < 0.5


@pytest.mark.parametrize("noted", ["Optimizer", "Optimizer that clears", "auto_zero"])
def test_optimizers(notebook, noted):
    """Each of the notes' optimizers makes the step that ours makes."""
    ours = Notebook()
    notebook.paste(noted)
    notebook.fresh()
    for session in (notebook, ours):
        F.cross_entropy(session["model"](session["x_valid"]), session["y_valid"]).backward()
        session["opt"].step()
    for p, q in zip(notebook["model"].parameters(), ours["model"].parameters(), strict=True):
        torch.testing.assert_close(p, q)
    if noted == "Optimizer":  # the others have cleared already, and the last by itself
        notebook.paste("step and clear")
        F.cross_entropy(notebook["model"](notebook["x_valid"]), notebook["y_valid"]).backward()
        notebook.paste("update by hand")
    assert all(p.grad is None or not p.grad.any() for p in notebook["model"].parameters())


def test_data(notebook):
    notebook.paste("Dataset")
    notebook.trains("loop over the dataset")
    notebook.paste("batches of the dataset", "DataLoader of slices")
    notebook["train_dl"] = notebook["DataLoader"](notebook["train_ds"], notebook["bs"])
    notebook.paste("batches of the loader", "first batch")
    assert notebook["xb"].shape == (64, 784)
    notebook.trains("fit of five steps", call="fit()")
    notebook.trains("Sampler and DataLoader", call="fit()")
    assert notebook["yb"][0] == notebook["y_valid"][0]
    own = notebook["train_dl"]
    notebook.trains("torch's DataLoader", call="fit()")
    assert len(list(own)) == 23
    assert len(list(notebook["train_dl"])) == 22  # drop_last


def test_a_noted_sampler_drives_our_loader_and_ours_theirs(notebook):
    notebook.paste("Sampler and DataLoader")
    ds = notebook["train_ds"]
    theirs, ours = notebook["Sampler"](ds, 64), foundations.Sampler(ds, 64)
    expected = [yb.tolist() for _, yb in foundations.SliceLoader(ds, 64)]
    for loader in (foundations.DataLoader(ds, theirs), notebook["DataLoader"](ds, ours)):
        assert [yb.tolist() for _, yb in loader] == expected


def test_validation_accumulation_and_the_learner(notebook, capsys):
    notebook["train_dl"], notebook["valid_dl"] = foundations.get_dls(
        notebook["train_ds"], notebook["valid_ds"], 64
    )
    notebook.trains("fit and validate", "six arguments")
    notebook.trains("accumulation", "accumulation")
    notebook.paste("DataBunch and Learner", "fit of a Learner", "two arguments")
    learn = notebook["learn"]
    assert isinstance(notebook["c"], int)
    assert learn.data.train_ds is notebook["train_ds"]
    assert notebook.right(learn.model) > 0.7
    assert 0 <= notebook["acc"] <= 1
    assert len(capsys.readouterr().out.splitlines()) == 3


ONE_TO_TEN = [str(number) for number in range(1, 11)]


def test_the_noted_callbacks(notebook, capsys):
    """As they are in the notes: a handler of nine methods, the loop and a callback of ten steps."""
    notebook.paste("DataBunch and Learner", "Callback", "CallbackHandler")
    notebook.paste("loop with callbacks", "TestCallback")
    assert capsys.readouterr().out.split() == ONE_TO_TEN


def test_the_noted_loop_runs_with_our_handler(notebook, capsys):
    """`one_batch`, `all_batches` and `fit` of the notes, and their callback, over the Callback and
    the CallbackHandler of `lehr.foundations.handler`; without callbacks the fit goes to its end."""
    notebook.paste("DataBunch and Learner")
    exec("from lehr.foundations.handler import *", notebook)
    notebook.paste("loop with callbacks", "TestCallback")
    assert capsys.readouterr().out.split() == ONE_TO_TEN
    exec("fit(2, learn, cb=CallbackHandler(None))", notebook)
    assert notebook.right(notebook["learn"].model) > 0.7


def test_our_loop_runs_with_the_noted_handler(notebook):
    """Our `fit` calls the nine methods and no other: the handler of the notes can be passed."""
    notebook.paste("DataBunch and Learner", "Callback", "CallbackHandler")
    foundations.handler.fit(2, notebook["learn"], notebook["CallbackHandler"]())
    assert notebook.right(notebook["learn"].model) > 0.7


def test_the_noted_dispatcher(notebook):
    """It calls what is there, in order, until somebody answers with something true."""
    heard = []

    class Hears(foundations.Callback):
        def __init__(self, order, answer):
            self._order, self.answer = order, answer

        def after_step(self):
            heard.append(self._order)
            return self.answer

    notebook.paste("Runner")
    runner = notebook["Runner"]()
    runner.cbs = [Hears(3, False), Hears(2, True), Hears(1, None), foundations.Callback()]
    assert runner("after_step") is True
    assert runner("begin_fit") is False
    assert heard == [1, 2]


def test_annealing(notebook):
    """The notes' recorder, scheduler and schedules run under our Runner, whose Callback the star
    import gives; what they record is what ours record."""
    notebook.paste("Recorder and ParamScheduler", "annealer", "schedules")
    noted = [notebook[name](2, 0.01) for name in ("sched_lin", "sched_cos", "sched_no")]
    ours = [getattr(foundations, name)(2, 0.01) for name in ("sched_lin", "sched_cos", "sched_no")]
    for pos in (0, 0.3, 1):
        assert [f(pos) for f in noted] == pytest.approx([f(pos) for f in ours])
    assert notebook["sched_exp"](2, 0.01)(0.5) == pytest.approx(0.141421, abs=1e-6)
    assert notebook["f"](0.3) == 1.3
    rising = foundations.combine_scheds([0.3, 0.7], notebook["cos_1cycle_anneal"](0.1, 0.5, 0.05))
    dls = foundations.get_dls(notebook["train_ds"], notebook["valid_ds"], 64)
    learn = foundations.Learner(
        notebook["model"],
        optim.SGD(notebook["model"].parameters(), 0.1),
        F.cross_entropy,
        foundations.DataBunch(*dls, 10),
    )
    noted, ours = notebook["Recorder"](), foundations.Recorder()
    foundations.Runner([noted, ours, notebook["ParamScheduler"]("lr", rising)]).fit(2, learn)
    assert noted.lrs == ours.lrs
    assert len(noted.lrs) == 46
    assert [loss.item() for loss in noted.losses] == ours.losses
    noted.plot_lr()
    noted.plot_loss()
    assert notebook.right() > 0.7


def test_python(notebook, capsys):
    notebook.paste("partial", "decorators")
    assert notebook["squared"](3) == 9
    assert notebook["divide"](6, 3) == 2
    assert notebook["divide"](1, 0) is None
    assert notebook["works_for_all"](max)(1, 2) == 2


def test_the_patch_of_tensors_is_not_needed(notebook):
    """It adds a property that tensors have: with it and without, a matrix has two dimensions."""
    assert torch.zeros(2, 3).ndim == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "ndim", None)  # so that it is put back
        notebook.paste("ndim")
        assert torch.zeros(2, 3).ndim == 2
    assert torch.zeros(2, 3).ndim == 2


# ---- what the star import gives


def rungs():
    """The modules of the rungs, by name."""
    folder = Path(foundations.__file__).parent
    names = [path.stem for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]
    return {
        name: __import__("importlib").import_module(f"lehr.foundations.{name}") for name in names
    }


def test_every_name_of_every_rung_can_be_imported_from_the_package():
    """Each public class, function and constant is there; of the three names that two rungs have,
    `fit` is the plain loop and `Callback` and `TestCallback` are the Runner's."""
    given = {}
    for name, rung in rungs().items():
        tree = ast.parse(Path(rung.__file__).read_text(encoding="utf-8"))
        for node in tree.body:
            names = (
                [getattr(node, "name", "_")]
                if not isinstance(node, ast.Assign)
                else [target.id for target in node.targets if isinstance(target, ast.Name)]
            )
            for public in names:
                if not public.startswith("_"):
                    given.setdefault(public, {})[name] = getattr(rung, public)
    shared = {name: places for name, places in given.items() if len(places) > 1}
    assert set(shared) == {"fit", "Callback", "TestCallback"}
    chosen = {"fit": "fit", "Callback": "callback", "TestCallback": "runner"}
    for name, places in given.items():
        assert getattr(foundations, name) is places[chosen.get(name, next(iter(places)))]
        assert name in foundations.__all__
