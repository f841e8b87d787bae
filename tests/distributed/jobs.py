"""What the processes of the tests do. Every function is called in each of them."""

import copy
import errno
import gc
import io
import os
import pickle
import runpy
import signal
import sys
import tempfile
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import TensorDataset
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassPrecision,
)
from typer.testing import CliRunner

from lehr import (
    Callback,
    CancelBatch,
    CancelEpoch,
    CancelFit,
    DataBunch,
    accuracy,
    audit,
    cli,
    init,
    on,
    whole,
)
from lehr.callbacks import (
    EMA,
    SAM,
    Accumulate,
    Checkpoint,
    ClipGradients,
    Closure,
    CSVLog,
    EarlyStopping,
    EMATeacher,
    GradientStats,
    JSONLLog,
    LabelSmoothing,
    Lookahead,
    Metrics,
    MicroBatches,
    ParamScheduler,
    ReduceOnPlateau,
    Rewind,
    StopOnNonFinite,
    TorchScheduler,
)
from lehr.callbacks.log import step_log
from lehr.callbacks.measure import recorder
from lehr.data import DataLoader, Dataset, get_dls
from lehr.data.loading.feed import Feed
from lehr.distributed import Distributed, failures, together
from lehr.events import ACTIONS
from lehr.inspect.twin import twin
from lehr.schedules import one_cycle
from lehr.state.disk import checkpoint
from lehr.state.pieces import Pieces
from lehr.state.streams import forked
from lehr.testing import tiny_learner


class Masked(nn.Module):
    """A mean over the items whose target is not -1, and a weight for each of the others."""

    def forward(self, pred, yb):
        return cross_entropy(pred, yb, ignore_index=-1)


def unmasked(run) -> float:
    return float((run.yb != -1).sum())


class WithHead(nn.Module):
    """A loss with parameters of its own."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.0, 0.5]))

    def forward(self, pred, yb):
        return cross_entropy(pred * self.scale, yb)


class CancelThird(Callback):
    """Cancels every third training batch, before or after its prediction."""

    def __init__(self, event: str):
        setattr(self, event, self.cancel)

    def cancel(self, run):
        if run.training and run.batch_index % 3 == 2:
            raise CancelBatch("every third")


class CallsModel(Callback):
    """Predicts by itself, so that nobody else sees the model called."""

    def predict(self, run, proceed):
        run.pred = run.model(run.xb) * 1.5


class Twice(Callback):
    """Publishes a number in validation, to be averaged over the set."""

    def after_loss(self, run):
        if not run.training:
            run.log("top", run.pred.max(1).values.mean())


def pickled() -> tuple[str, bool]:
    learn = learner(Distributed(timeout=30))
    try:
        pickle.dumps(learn)
    except TypeError as error:
        return str(error), copy.deepcopy(learn).engine is learn.engine
    return "", False


def data(items: int = 45, *, mask: bool = False, batch_size: int = 8) -> DataBunch:
    """Two classes in three dimensions, shuffled; with ``mask``, a few targets in a row are -1."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(items + 23, 3, generator=generator)
    y = (x.sum(1) > 0).long()
    if mask:
        y[: items // 2] = -1
    train, valid = Dataset(x[:items], y[:items]), Dataset(x[items:], y[items:])
    return DataBunch(*get_dls(train, valid, batch_size), c=2)


CASES: dict[str, Any] = {
    "plain": {},
    "adam": {"opt": partial(torch.optim.AdamW, lr=0.01)},
    "momentum and one cycle": {
        "opt": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        "callbacks": lambda: [ParamScheduler("lr", one_cycle(0.3))],
    },
    "accumulate": {"callbacks": lambda: [Accumulate(2)]},
    "accumulate by items": {"callbacks": lambda: [Accumulate(items=12)]},
    "clip": {"callbacks": lambda: [ClipGradients(0.1), GradientStats()]},
    "masked items": {"weighted": True},
    "masked, accumulated and clipped": {
        "weighted": True,
        "callbacks": lambda: [Accumulate(2), ClipGradients(0.1)],
    },
    "last batch of one item": {"items": 41},
    "last batch of one item, accumulated": {"items": 41, "callbacks": lambda: [Accumulate(2)]},
    "a sum": {"loss_func": partial(cross_entropy, reduction="sum"), "reduction": "sum"},
    "sam": {"callbacks": lambda: [SAM()], "items": 41},
    "sam, accumulated": {"callbacks": lambda: [SAM(), Accumulate(2)]},
    "closure": {
        "opt": partial(torch.optim.LBFGS, lr=0.05, max_iter=3),
        "callbacks": lambda: [Closure()],
        "double": True,  # the differences of gradients that it divides by are tiny
    },
    "sam of a loss with parameters": {"head": True, "callbacks": lambda: [SAM(0.5)], "items": 41},
    "sam where a callback calls the model": {
        "callbacks": lambda: [SAM(), CallsModel(), Accumulate(2)],
    },
    "closure of a loss with parameters": {
        "head": True,
        "opt": partial(torch.optim.LBFGS, lr=0.05, max_iter=3),
        "callbacks": lambda: [Closure()],
        "double": True,
    },
    "averaged weights": {"callbacks": lambda: [EMA(0.9)]},
    "cancelled before the prediction": {
        "callbacks": lambda: [CancelThird("begin_batch"), Accumulate(2)]
    },
    "cancelled after the loss": {"callbacks": lambda: [CancelThird("after_loss"), Accumulate(2)]},
    "a loss with parameters": {"head": True},
    "a callback calls the model": {"callbacks": lambda: [CallsModel()], "items": 41},
    "smooth labels and slow weights": {"callbacks": lambda: [LabelSmoothing(), Lookahead(3)]},
    "the best weights": {
        "callbacks": lambda: [EarlyStopping(patience=1, restore_best=True), ReduceOnPlateau()],
        "opt": partial(torch.optim.SGD, lr=1.0),
    },
    "a scheduler of torch": {
        "callbacks": lambda: [TorchScheduler(lambda opt: StepLR(opt, 2), "step")]
    },
    "a loss that grows too much": {
        "callbacks": lambda: [Rewind(every="2 steps", back=2, spike=None), StopOnNonFinite()],
        "opt": partial(torch.optim.SGD, lr=0.5),
    },
    "a number of a callback's": {"callbacks": lambda: [Twice()]},
    "training metrics that are saved in mid-epoch": {"callbacks": lambda: measured()},
    "a loader of single items": {
        "items": 6,
        "batch_size": 1,
        "callbacks": lambda: measured(),
    },
    "a validation in mid-epoch": {
        "callbacks": lambda: [Metrics({"exact": accuracy}, train=True), LooksOn(), Parts()]
    },
}


class LooksOn(Callback):
    """Validates in the middle of an epoch, outside of the plan."""

    replays = False

    def after_step(self, run):
        if run.n_steps % 6 == 4:
            run.learn.validate()


class Parts(Callback):
    """Gives the loss parts."""

    def compute_loss(self, run, proceed):
        proceed()
        if run.training:
            run.loss_parts = {"half": run.loss.detach() / 2}


def areas():
    """A metric of torchmetrics that keeps every prediction."""
    return on(MulticlassAUROC(2, thresholds=None), lambda pred: pred.softmax(1))


def measured() -> list[Callback]:
    """Metrics of the training items, and what saves them before they are complete."""
    made = {
        "exact": MulticlassAccuracy(2, average="micro"),
        "area": areas(),
        "both": MetricCollection([MulticlassPrecision(2)]),
        "own": whole(accuracy),
        "mean": accuracy,
    }
    folder = tempfile.mkdtemp()
    return [Checkpoint(folder, every="2 steps"), Metrics(made, train=True)]


def one(run) -> float:
    return 1.0


def mean_of_means() -> torch.Tensor:
    """The masked case, if every process counted alike."""
    learn = learner(Distributed(timeout=30), weighted=True, weight=one)
    return outcome(learn, learn.fit(2))["weights"]


def learner(
    engine: Any,
    *,
    items: int = 45,
    batch_size: int = 8,
    weighted: bool = False,
    head: bool = False,
    double: bool = False,
    callbacks: Any = list,
    **options: Any,
):
    """The Learner of a case."""
    if weighted:
        options = {"loss_func": Masked(), "weight": unmasked, "metrics": [], **options}
    if head:
        loss = WithHead()
        model = nn.Sequential(nn.Linear(3, 2))
        with torch.no_grad():
            model[0].weight.copy_(torch.arange(6.0).reshape(2, 3) / 10)
            model[0].bias.zero_()
        made = options.get("opt", partial(torch.optim.SGD, lr=0.1))
        options |= {
            "model": model,
            "loss_func": loss,
            "opt": lambda own: made([*own, *loss.parameters()]),
        }
    bunch = data(items, mask=weighted, batch_size=batch_size)
    if double:
        if head:
            loss.double()
        options["model"] = nn.Sequential(nn.Linear(3, 2)).double()
        for parameter in options["model"].parameters():
            nn.init.constant_(parameter, 0.1)
        for loader in (bunch.train_dl, bunch.valid_dl):
            loader.dataset.x = loader.dataset.x.double()
    options = {"metrics": [accuracy], "data": bunch, **options}
    return tiny_learner(callbacks(), engine=engine, **options)


def full(parameter: torch.Tensor) -> torch.Tensor:
    """All of a parameter, of which this process may have a shard."""
    there = parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
    return there.detach()


def outcome(learn, run) -> dict[str, Any]:
    """What a fit came to: the weights, and every number that it recorded."""
    parameters = {id(p): p for group in learn.opt.param_groups for p in group["params"]}
    everything = [*parameters.values(), *learn.model.parameters()]
    history = run.history
    return {
        "weights": torch.cat([full(p).flatten() for p in everything]),
        "rows": [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows],
        "loss": list(history["loss"]),
        "steps": run.n_steps,
        "stop": run.stop_reason,
    }


def trajectory(case: str, engine: Any = None) -> dict[str, Any]:
    """Two epochs of a case."""
    learn = learner(engine, **CASES[case])
    return outcome(learn, learn.fit(2))


def layers(model: nn.Module) -> list[nn.Module]:
    """What is sharded by itself: the first layer."""
    return [module for module in model if isinstance(module, nn.Linear)][:1]


def trajectories(cases: list[str], *, shard: bool = False) -> dict[str, Any]:
    """Those of many cases, by processes that stay."""
    engine = Distributed(layers if shard else None, timeout=100)
    return {case: trajectory(case, engine) for case in cases}


def hybrid(copies: int, parts: int, *, made: bool = False) -> Distributed:
    """An engine that shards among some processes, and has copies of that."""
    mesh: Any = copies, parts
    if made:
        mesh = init_device_mesh("cpu", mesh, mesh_dim_names=("copies", "parts"))
    return Distributed(layers, mesh=mesh, timeout=100)


def in_copies(cases: list[str], copies: int, parts: int, folder: str) -> dict[str, Any]:
    """Trajectories in hybrid shards; a fit that is gone on with; and what one process keeps."""
    engine = hybrid(copies, parts)
    ends = {case: trajectory(case, engine) for case in cases}
    ends["made"] = trajectory(cases[0], hybrid(copies, parts, made=True))
    learn = learner(engine, model=small())
    state = learn.model.state_dict().values()
    return ends | {
        "resumed": stopped_and_resumed(folder, [3], engine=engine, parts=True),
        "own": sum(x.to_local().numel() for x in state),
        "placements": {str(x.placements) for x in state},
        "groups": [dist.get_process_group_ranks(group) for group in engine.failures.groups],
        "explained": str(learn.explain()).partition("\n")[0],
    }


def badly_meshed() -> list[str]:
    """What is said of meshes that cannot be used."""
    said: list[str] = []
    unnamed = init_device_mesh("cpu", (1, 2))
    for mesh in ("two", (0, 2), (2, 2), unnamed, init_device_mesh("cpu", (1, 1, 2))):
        try:
            Distributed(layers, mesh=mesh, timeout=100)
        except (TypeError, ValueError) as error:
            said.append(str(error))
    return said


def small() -> nn.Module:
    """The model that `tiny_learner` makes."""
    with forked(key=0):
        return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def in_a_wrapper(cases: list[str]) -> dict[str, Any]:
    """The trajectories of models in a DistributedDataParallel of the user's; and how it is left."""
    engine, ends = Distributed(timeout=100), {}
    for case in cases:
        learn = learner(engine, model=DistributedDataParallel(small()), **CASES[case])
        ends[case] = outcome(learn, learn.fit(2))
        left = learn.model
        ends[case]["left"] = left.require_backward_grad_sync, left.require_forward_param_sync
        ends[case]["predicted"] = learn.predict(learn.data.valid_dl)
    return ends


def in_other_wrappers(how: str) -> None:
    """A model in a wrapper that a run cannot go through."""
    engine, model = Distributed(timeout=100), small()
    if how == "within":
        model = nn.Sequential(DistributedDataParallel(model[0]), *model[1:])
    elif how == "of another group":
        groups = [dist.new_group([rank]) for rank in range(engine.world)]
        model = DistributedDataParallel(model, process_group=groups[engine.rank])
    elif how == "of the older kind":
        model = FullyShardedDataParallel(model, device_id=torch.device("cpu"))
    else:
        model = DistributedDataParallel(model)
    if how == "with an argument":
        engine.options["find_unused_parameters"] = True
    learn = learner(engine, model=model)
    if how == "and partly frozen":
        model.module[0].requires_grad_(False)
    learn.fit(1)


def without_an_engine(how: str) -> None:
    """A model of several processes, in a Learner that does not know of them."""
    Distributed(timeout=100)
    model = small()
    if how == "in a DistributedDataParallel":
        model = DistributedDataParallel(model)
    elif how == "in a FullyShardedDataParallel":
        model = FullyShardedDataParallel(model, device_id=torch.device("cpu"))
    else:
        fully_shard(model)
    try:
        learner(None, model=model)
    finally:  # nobody leaves while another is still at the model
        with suppress(RuntimeError):
            torch.distributed.barrier()


NORMED = {"norms": {"items": 45}, "a share without items": {"items": 41}}


LATE = ["plain", "masked, accumulated and clipped", "sam, accumulated", "cancelled after the loss"]


def some(run) -> float:
    """No weight at all in every fourth batch."""
    return float(len(run.yb) * (run.n_iter % 4 != 3))


def late() -> dict[str, Any]:
    """What comes of fits whose messages are read late, and in which order they are read."""
    sharded = Distributed(layers, late_flags_above=1, timeout=30)
    engine = Distributed(late_flags_above=1, timeout=30)
    ends: dict[Any, Any] = {(case, "whole"): trajectory(case, engine) for case in LATE}
    ends[LATE[1], "sharded"] = trajectory(LATE[1], sharded)
    learn = learner(engine, weight=some)
    ends["without weight"] = outcome(learn, learn.fit(2))
    for name in ("after_loss", "after_step", "after_validate"):
        run = learner(engine, callbacks=lambda name=name: [Asks(1, name)]).fit(4)
        ends[name] = run.n_steps, run.stop_reason
    log, send = [], engine.control.send

    def logged(kind, *args, **options):
        sent = send(kind, *args, **options)
        if kind == "step":
            number = len(log)
            log.append(f"sent {number}")
            wait = sent.wait
            sent.wait = lambda: (log.append(f"read {number}"), wait())[1]
        return sent

    learn, engine.control.send = learner(engine, rehearsal=False), logged
    learn.fit(1)
    return ends | {"log": log}


def normed(engine: Any, items: int) -> dict[str, Any]:
    """A fit of a model with BatchNorm, and what it keeps besides parameters."""
    with forked(key=0):
        model = nn.Sequential(
            nn.Unflatten(1, (1, 3)),
            *(nn.Conv1d(1, 4, 1, bias=False), nn.BatchNorm1d(4), nn.Tanh()),
            *(nn.Conv1d(4, 4, 2, bias=False), nn.BatchNorm1d(4, momentum=None)),
            *(nn.Flatten(), nn.Linear(8, 2)),
        )
    learn = learner(engine, model=model, items=items)
    end = outcome(learn, learn.fit(2))
    return end | {"buffers": torch.cat([b.double().flatten() for b in learn.model.buffers()])}


def norms() -> dict[str, Any]:
    """Fits of models with BatchNorm, with statistics over all processes, or by process."""
    engine, last = Distributed(sync_batchnorm=True, timeout=30), lambda model: [model[-1]]
    ends: dict[Any, Any] = {
        (name, "whole"): normed(engine, **options) for name, options in NORMED.items()
    }
    for how, other in {
        "sharded": Distributed(last, sync_batchnorm=True, timeout=30),
        "apart": Distributed(timeout=30),
    }.items():
        ends["norms", how] = normed(other, **NORMED["norms"])
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    fully_shard(model)
    try:
        learner(Distributed(sync_batchnorm=True, timeout=30), model=model)
    except ValueError as error:
        ends["refused"] = str(error)
    return ends


def many(calls: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What several of these functions return, one after the other, in the same processes."""
    return {name: globals()[name](**arguments) for name, arguments in calls.items()}


# Failures --------------------------------------------------------------------------------------


class Fails(Callback):
    """Raises in one event or action, in one process, from the second epoch on."""

    evaluates = False
    always = False

    def __init__(self, rank: int, name: str, error: BaseException):
        self.error = error
        if name in ACTIONS:
            setattr(self, name, partial(self._act, rank))
        else:
            setattr(self, name, partial(self._watch, rank))

    def _watch(self, rank, run):
        late = run.epoch >= 1 and run.n_iter >= 6
        if run.engine.rank == rank and (late or self.always):
            raise self.error

    def _act(self, rank, run, proceed):
        self._watch(rank, run)
        proceed()


def fails(rank: int, name: str, kind: type = ValueError, text: str = "the disk is full") -> None:
    """A fit in which one process raises."""
    callback = Fails(rank, name, kind(text))
    callback.always = name == "begin_fit"
    learner(Distributed(timeout=100), callbacks=lambda: [callback]).fit(3)


def fails_in_its_script() -> None:
    """A script that fails in one process before the fit."""
    engine = Distributed(timeout=100)
    learn = learner(engine)
    if engine.rank == 1:
        raise ValueError("no such column")
    learn.fit(1)


def shows_its_error() -> str:
    """What Python shows of an error that ends this process."""
    Distributed(timeout=100)
    try:
        raise ValueError("no such column")
    except ValueError as error:
        with redirect_stderr(io.StringIO()) as shown:
            sys.excepthook(type(error), error, error.__traceback__)
    return shown.getvalue()


def goes_on() -> None:
    """A fit in which one process raises, and another one."""
    engine = Distributed(timeout=100)
    try:
        learner(engine, callbacks=lambda: [Fails(1, "after_loss", ValueError("full"))]).fit(3)
    except (ValueError, RuntimeError):
        learner(engine).fit(1)


# Ends --------------------------------------------------------------------------------------------


class Asks(Callback):
    """Asks the run to stop, in one process and one event of the second epoch."""

    def __init__(self, rank: int, name: str):
        self.rank = rank
        setattr(self, name, self._ask)

    def _ask(self, run):
        if run.engine.rank == self.rank and run.epoch == 1:
            run.stop("enough")


def stops(names: list[str]) -> dict[str, Any]:
    """Fits that rank 1 stops, each in another event."""
    engine, ends = Distributed(timeout=30), {}
    for name in names:
        run = learner(engine, callbacks=lambda name=name: [Asks(1, name)]).fit(4)
        ends[name] = run.n_steps, run.stop_reason
    return ends


TOLD = [(3, True), (3, False), (4, False)]


class Draws(torch.utils.data.Dataset):
    """Items that are drawn when they are read."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return torch.rand(3), torch.tensor(0)


def own_batches(lengths: list[int], folder: str) -> dict[str, Any]:
    """Fits of loaders that have another length in each process."""
    engine = Distributed(timeout=30, data="own")
    generator = torch.Generator().manual_seed(engine.rank)
    x = torch.randn(3 * lengths[engine.rank], 3, generator=generator)
    items = TensorDataset(x, torch.zeros(len(x), dtype=torch.long))
    loader = torch.utils.data.DataLoader(items, batch_size=3)
    ends: dict[str, Any] = {"said": [engine.processes_text(n, own=own) for n, own in TOLD]}

    def made(train: Any, *callbacks: Callback):
        opt = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
        return tiny_learner(
            [ParamScheduler("lr", one_cycle(0.3)), *callbacks],
            data=DataBunch(train, loader),
            opt=opt,
            engine=engine,
        )

    saves = [Checkpoint(folder, every="1 steps"), Interrupts(3)]
    with suppress(KeyboardInterrupt):
        made(loader, *saves).fit(2)
    for name, train in {"sized": loader, "unsized": lambda: iter(loader)}.items():
        learn = made(train)
        length = {} if name == "sized" else {"steps_per_epoch": max(lengths)}
        run = learn.fit(2, **length)
        ends[name] = run.n_steps, weights_of(learn), run.history["valid_loss"]
    learn = made(loader, Checkpoint(folder))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ends["resumed"] = learn.fit(2, resume="auto").n_steps, weights_of(learn)
    ends["warned"] = [str(warning.message) for warning in caught]
    learn = made(loader)
    audited = [site.out.mean for site in learn.audit().sites]
    texts = [text.get_text() for text in learn.show_results(2).axes[0].texts]
    ends["looks"] = learn.summary().inputs, audited, texts
    worker = torch.utils.data.DataLoader(Draws(), batch_size=3, num_workers=1)
    feed = Feed(worker, engine=engine)
    ends["draws"] = [batch[0] for batch, _ in feed.epoch(0, 0)]
    return ends


class Stream:
    """A loader that says where it is: batches of numbers from ``first`` on, of this process."""

    def __init__(self, first: int):
        self.first, self.at = first, 0

    def __iter__(self):
        at, self.at = self.at, 0
        while at < 5:
            at += 1
            self.now = at
            draw = torch.Generator().manual_seed(self.first + at)
            yield torch.randn(3, 3, generator=draw), torch.tensor([0, 1, 0])
        self.now = 0

    def __len__(self):
        return 5

    def state_dict(self):
        return {"first": self.first, "at": getattr(self, "now", 0)}

    def load_state_dict(self, state):
        self.first, self.at = state["first"], state["at"]


def own_states(folder: str) -> dict[str, Any]:
    """Fits with loaders that have a state of their own in each process, one of them resumed."""
    engine, ends = Distributed(timeout=30, data="own"), {}

    def fit(first: int, *callbacks: Callback, **options: Any):
        learn = tiny_learner([*callbacks], data=DataBunch(Stream(first)), engine=engine)
        with suppress(KeyboardInterrupt):
            learn.fit(2, **options)
        return weights_of(learn)

    ends["straight"] = fit(100 * engine.rank)
    fit(100 * engine.rank, Checkpoint(folder, every="1 steps"), Interrupts(3))
    ends["resumed"] = fit(7, Checkpoint(folder), resume="auto")  # from its state it knows better
    return ends


class Room(nn.Module):
    """A memory for so many items; ``at`` says which pass runs out. It has a buffer."""

    def __init__(self, room: int, at: str):
        super().__init__()
        self.room, self.at, self.sizes = room, at, list[int]()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen.add_(1.0)
        if torch.is_grad_enabled():
            self.sizes.append(len(x))
            if self.at == "forward" and len(x) > self.room:
                raise torch.OutOfMemoryError("simulated")
            if self.at == "backward" and x.requires_grad:
                x = x.clone()
                x.register_hook(self._look)
        return x

    def _look(self, grad):
        if len(grad) > self.room:
            raise torch.OutOfMemoryError("simulated")


def pieces() -> dict[str, Any]:
    """Fits in which one process alone runs out of memory."""
    engine, ends = Distributed(timeout=30), {}

    def made(at: str, engine: Any, room: int, around: Any = None):
        with forked(key=0):
            model = nn.Sequential(nn.Linear(3, 8), Room(room, at), nn.Linear(8, 2))
        cuts, model = MicroBatches(), model if around is None else around(model)
        return learner(engine, model=model, callbacks=lambda: [cuts]), cuts

    for at in ("forward", "backward"):
        learn, cuts = made(at, engine, 2 if engine.rank else 100)
        end = outcome(learn, learn.fit(1))
        ends[at] = end["weights"], cuts.size, learn.run.history["micro_batch"][-1]
    learn, _ = made("forward", engine, 2 if engine.rank else 100, DistributedDataParallel)
    ends["in a wrapper"] = outcome(learn, learn.fit(1))["weights"]
    learn, _ = made("forward", None, 100)
    ends["alone"] = outcome(learn, learn.fit(1))["weights"]
    learn, _ = made("forward", Distributed(layers, timeout=30), 2 if engine.rank else 100)
    try:
        learn.fit(1)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        ends["sharded"] = [str(error), *getattr(error, "__notes__", [])]
    return ends


def weights_of(learn) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in learn.model.parameters()])


class Scores(Callback):
    """Logs a number outside of batches that is another one in each process."""

    def after_validate(self, run):
        score = float(run.epoch in (0, 2, 3)) + run.epoch / 10
        run.log("score", score if run.engine.rank == 0 else -score)


def decides(folder: str, *, shard: bool = False, alone: bool = False) -> dict[str, Any]:
    """A fit that goes by a number of which each process has its own."""
    engine = None if alone else Distributed(layers if shard else None, timeout=30)
    made = [
        *(Scores(), EMA(0.5), EarlyStopping("score", patience=2, mode="max", restore_best=True)),
        ReduceOnPlateau("score", mode="max", patience=0),
        Checkpoint(folder, monitor="score", mode="max", every="9 epochs"),
    ]
    learn = learner(engine, callbacks=lambda: made)
    run = learn.fit(9)
    end = outcome(learn, run) | {"lr": run.recorder.lrs}
    return end | {"saved": sorted(path.name for path in Path(folder).glob("step-*"))}


def undeclared() -> None:
    """A loader that is not lehr's, and nothing said about it."""
    batches = [(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long))]
    tiny_learner(data=DataBunch(lambda: iter(batches)), engine=Distributed(timeout=30)).fit(1)


class Cancels(Callback):
    """Raises a cancel in one process."""

    evaluates = False

    def __init__(self, name: str, cancel: type[Exception], ranks: list[int]):
        self.cancel, self.ranks = cancel, ranks
        setattr(self, name, self._cancel)

    def _cancel(self, run):
        if run.engine.rank in self.ranks and run.n_iter == 8 and run.training:
            raise self.cancel("rank 1 alone")


def cancels(name: str, kind: str, ranks: tuple[int, ...] = (1,)) -> int:
    """A fit in which some processes cancel."""
    kinds = {cancel.__name__: cancel for cancel in (CancelBatch, CancelEpoch, CancelFit)}
    callbacks = [Cancels(name, kinds[kind], ranks)]
    return learner(Distributed(timeout=100), callbacks=lambda: callbacks).fit(3).n_steps


def first_alone(method: str, then: str, seed: int | None = 0) -> None:
    """A call that only the first process makes; what the others do meanwhile."""
    engine = Distributed(timeout=100)
    learn = learner(engine, seed=seed)
    if engine.rank == 0:
        called = time.monotonic()
        try:
            getattr(learn, method)(*{"predict": [torch.zeros(3, 3)], "fit": [1]}.get(method, []))
        except RuntimeError as error:
            error.args = (f"{error} called at {called} ",)
            raise
    if then == "fit":
        learn.fit(1)


def dies(after: int) -> None:
    """A fit in which one process is killed."""
    failures._SECONDS = 0.5  # it will not say a word
    engine = Distributed(timeout=100)
    learn = learner(engine, callbacks=lambda: [Dies(1, after)])
    learn.fit(4)


class Spoils(Callback):
    """Spoils the loss of one batch, in one process."""

    def compute_loss(self, run, proceed):
        proceed()
        if run.training and run.engine.rank == 1 and run.n_iter == 8:
            run.loss = run.loss * float("nan")


def spoilt(action: str) -> tuple[str, int]:
    """How a fit ends in which the loss of one process is nan."""
    engine = Distributed(timeout=100)
    made = [StopOnNonFinite(action=action), Spoils()]
    learn = learner(engine, callbacks=lambda: made)
    try:
        learn.fit(3)
    except FloatingPointError as error:
        return str(error), learn.run.n_steps
    return learn.run.stop_reason, learn.run.n_steps


class Dies(Callback):
    """Ends a process without a word."""

    def __init__(self, rank: int, after: int):
        self.rank, self.after_steps = rank, after

    def after_step(self, run):
        if run.engine.rank == self.rank and run.n_steps == self.after_steps:
            os.kill(os.getpid(), signal.SIGKILL)


class Signals(Callback):
    """Sends a signal to one process, or to all."""

    def __init__(self, ranks: list[int], number: int):
        self.ranks, self.number = ranks, number

    def after_loss(self, run):
        if run.training and run.n_iter == 8 and run.engine.rank in self.ranks:
            os.kill(os.getpid(), self.number)


def signalled(ranks: list[int], number: int) -> tuple[str, str, int]:
    """How a fit ended in which a signal came."""
    engine = Distributed(timeout=30)
    learn = learner(engine, callbacks=lambda: [Signals(ranks, number)])
    try:
        learn.fit(4)
        ended = "returned"
    except (KeyboardInterrupt, SystemExit) as error:
        ended = repr(error)
    return ended, learn.run.interrupted, learn.run.n_steps


def parts(sizes: list[tuple[int, int]], *, shuffle: bool = True) -> list[list[list[int]]]:
    """The items that this process reads of an epoch, batch by batch, for each size."""
    engine, read = Distributed(timeout=30), []
    for items, batch_size in sizes:
        numbers = torch.arange(items)
        dl = DataLoader(Dataset(numbers, numbers), batch_size, shuffle=shuffle)
        feed = Feed(dl, engine=engine)
        read.append([batch[0].tolist() for batch, _ in feed.epoch(3, 1)])
    return read


def fits_after_a_cancel() -> int:
    """Steps of a fit after one that was cancelled before a backward pass; one process is tidy."""
    engine = Distributed(timeout=10)
    gc.disable()
    learn = learner(engine, callbacks=lambda: [Cancels("after_loss", CancelFit, [0, 1])])
    learn.fit(3)
    learn.callbacks.clear()
    if engine.rank == 1:
        gc.collect()
    steps = learn.fit(2).n_steps
    gc.enable()
    return steps


def finds_lr() -> dict[str, list[float]]:
    """The losses by which a learning rate is searched, together and by this process alone."""
    engines = {"together": Distributed(timeout=30), "alone": None}
    return {
        name: learner(engine).find_lr(1e-3, 1.0, steps=10).losses
        for name, engine in engines.items()
    }


OTHERS: dict[str, Any] = {
    "tensor": lambda learn, x: learn.predict(x),
    "batches": lambda learn, x: learn.validate([(x, torch.zeros(4, dtype=torch.long))]),
    "loader": lambda learn, x: learn.predict(DataLoader(Dataset(x), 2)),
    "training data": lambda learn, x: (
        setattr(learn, "data", DataBunch(DataLoader(Dataset(x, [0, 1, 0, 1]), 2, shuffle=True))),
        learn.fit(1),
    ),
}
"""What a Learner is asked to do with inputs that are others in each process"""


def differs(how: str) -> None:
    """A fit, or a pass, that is another one in each process."""
    engine = Distributed(timeout=100)
    if how in OTHERS:
        OTHERS[how](learner(engine), torch.arange(12.0).reshape(4, 3) + engine.rank)
    wide = nn.Sequential(nn.Linear(3, 2 + engine.rank), nn.ReLU(), nn.Linear(2 + engine.rank, 2))
    learner(engine, **({"model": wide} if how == "model" else {"seed": engine.rank})).fit(1)


class Norms(Callback):
    """Logs a number in every training batch; and looks at what a file has of them meanwhile."""

    replays = False

    def __init__(self, path: Path | None = None):
        self.path, self.seen = path, 0

    def after_step(self, run):
        run.log("norm", sum(float(p.detach().square().sum()) for p in run.model.parameters()))
        if self.path is not None and run.engine.rank == 0 and run.n_steps == 6:
            self.seen = self.path.read_text().count('"step", "batch"')


def logging(folder: Path) -> list[Callback]:
    """Callbacks that write."""
    made = [
        CSVLog(folder / "log.csv"),
        JSONLLog(folder / "log.jsonl"),
        Checkpoint(folder / "saved"),
    ]
    return [*made, Norms(folder / "log.jsonl")]


def writes(folder: str) -> tuple[list[str], dict[str, int]]:
    """The files that this process opens for writing, in a fit with everything that writes.

    And how many lines the log has within the first epoch, where losses are shared now and then, and
    at every step.
    """
    opened: list[str] = []

    def hook(event, arguments):
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            mode, flags = arguments[1], arguments[2]
            writing = (mode and set(mode) & set("wax+")) or flags & (os.O_WRONLY | os.O_RDWR)
            path = str(arguments[0])
            if writing and (path.startswith(str(folder)) or not path.startswith("/dev")):
                opened.append(path)

    tempfile.gettempdir()  # looks, once, whether it can write there
    sys.addaudithook(hook)
    engine = Distributed(timeout=30)
    step_log._SECONDS, early = 0.0, {}  # at every batch it is time to write
    for name, recorder._SECONDS in (("late", 5.0), ("soon", 0.0)):
        at = Path(folder, name)
        if engine.rank == 0:
            at.mkdir()
        made = logging(at)
        learner(engine, callbacks=lambda made=made: made, progress=True).fit(2)
        early[name] = made[-1].seen
    return opened, early


class FailsAt(Callback):
    """Raises in one process, in the middle of an epoch."""

    def __init__(self, batches: int):
        self.batches = batches

    def after_loss(self, run):
        if run.training and run.engine.rank == 1 and run.n_iter >= self.batches:
            raise ValueError("the disk is full")


def logs_and_fails(folder: str) -> None:
    """A fit with a log in which one process raises."""
    engine = Distributed(timeout=100)
    made = [JSONLLog(Path(folder, "log.jsonl")), Norms(), FailsAt(9)]
    learner(engine, callbacks=lambda: made).fit(3)


def by_the_clock(folder: str) -> dict[str, Any]:
    """At which steps this process takes part in saving, by a clock that is another in each."""
    engine, now, messages, ends = Distributed(timeout=30), [0.0], list[str](), {}
    together.time = SimpleNamespace(monotonic=lambda: now[0])
    send = engine.control.send

    class Clock(Callback):
        replays = False

        def begin_batch(self, run):
            if run.training:
                now[0] = 60.0 * run.n_iter * (1 + 9 * engine.rank)

    def counted(kind, *args, **options):
        messages.append(kind)
        return send(kind, *args, **options)

    for every in ("5 minutes", "1000 minutes", "99 epochs"):
        saves = Checkpoint(Path(folder, every), every=every)
        write, steps, now[0] = saves._write, list[int](), 0.0
        saves._write = lambda run, snapshot, about, w=write, s=steps: (
            s.append(about["step"]),
            w(run, snapshot, about),
        )
        learn, engine.control.send = (
            learner(engine, callbacks=lambda s=saves: [s, Clock()]),
            counted,
        )
        learn.fit(3)
        engine.control.send = send
        ends[every] = steps, list(messages)
        messages.clear()
    together.time = time
    return ends


def passes() -> dict[str, Any]:
    """What the methods of a Learner give that are no fit, beside one that is alone."""
    engine = Distributed(timeout=30)
    together, alone = learner(engine, seed=None), learner(None)
    inputs = torch.arange(21.0).reshape(7, 3)
    learns = {"together": together, "alone": alone}
    seed = together.seed
    return {
        name: {
            "validate": learn.validate(),
            "predict": learn.predict(inputs),
            "loader": learn.predict(learn.data.valid_dl, targets=True),
            "losses": learn.rehearse(5).history["loss"],
            "untouched": learn.steps_done,
        }
        for name, learn in learns.items()
    } | {"seed": seed}


class LogsAlone(Callback):
    """Publishes a number in the validation of one process, under a name that no other has."""

    def after_loss(self, run):
        if not run.training and run.engine.rank == 1:
            run.log("mine", run.pred.mean())


def largest(pred, target):
    """The mean of the largest scores."""
    return pred.max(1).values.mean()


def reports() -> dict[str, Any]:
    """What validations with several metrics give, and what is sent for it."""
    engine, kinds = Distributed(timeout=30), list[str]()
    send, ends = engine.control.send, dict[str, Any]()
    measured = [accuracy, largest, whole(lambda pred, target: pred.sum())]
    for name, other in {"together": engine, "alone": None}.items():
        learn = learner(other, metrics=measured)
        engine.control.send = lambda kind, *args, **kw: (
            kinds.append(kind),
            send(kind, *args, **kw),
        )[1]
        ends[name] = learn.validate()
        engine.control.send = send
    unlike = learner(engine, callbacks=lambda: [LogsAlone()]).fit(1).history.rows[0]
    alike = [engine.control.alike(text) for text in ("a", f"rank {engine.rank}")]
    return ends | {"kinds": kinds, "unlike": unlike, "alike": alike}


# Checkpoints -------------------------------------------------------------------------------------


class Interrupts(Callback):
    """Interrupts a run after so many steps, in the last process."""

    replays = False

    def __init__(self, after: int):
        self.after_steps = after

    def after_step(self, run):
        if run.engine.rank == run.engine.world - 1 and run.n_steps == self.after_steps:
            run.interrupt("for a test")


def saving(
    engine: Any,
    folder: Path,
    *others: Callback,
    dropout: float,
    every: str,
    area: bool = False,
    parts: bool = False,
):
    """A Learner that saves, with much that has a state."""
    with forked(key=0):
        model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 2))
    made = [
        Checkpoint(folder, every=every, sharded=parts),
        Metrics([accuracy, *([areas()] if area else [])], train=True),
        EMA(0.9),
        ParamScheduler("lr", one_cycle(0.05)),
        CSVLog(folder.with_suffix(".csv")),
        *others,
    ]
    opt = partial(torch.optim.AdamW, lr=0.01)
    return learner(engine, model=model, opt=opt, metrics=[], callbacks=lambda: made)


def stopped_and_resumed(
    folder: str,
    afters: list[int],
    *,
    shard: bool = False,
    parts: bool = False,
    every: str = "4 steps",
    engine: Any = None,
) -> dict[Any, Any]:
    """A fit without a stop, and fits that were stopped after so many steps and gone on with."""
    engine = engine or Distributed(layers if shard else None, timeout=100)
    root = Path(folder)
    options = {"dropout": 0.5, "every": every, "area": True, "parts": parts}
    learn = saving(engine, root / "straight", **options)
    ends = {"straight": outcome(learn, learn.fit(2))}
    for after in afters:
        at = root / f"after {after}"
        with suppress(KeyboardInterrupt):
            saving(engine, at, Interrupts(after), **options).fit(2)
        learn = saving(engine, at, **options)
        ends[after] = outcome(learn, learn.fit(2, resume="auto", exact=True))
    return ends


def stops_early(folder: str, after: int, *, shard: bool = False, parts: bool = False) -> int:
    """A fit that is stopped, to be gone on with by other processes."""
    engine = Distributed(layers if shard else None, timeout=100)
    options = {"dropout": 0.0, "every": "4 steps", "parts": parts}
    learn = saving(engine, Path(folder), Interrupts(after), **options)
    with suppress(KeyboardInterrupt):
        learn.fit(3)
    return learn.run.n_steps


WRITES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link")


class DiesAt(Callback):
    """Kills a process in the save after the second step, just before something is done."""

    replays = False

    def __init__(self, rank: int, number: int):
        self.rank, self.number, self.done = rank, number, -1

    def after_step(self, run):
        if run.engine.rank == self.rank and run.n_steps == 2:
            self.done = 0

    def count(self) -> None:
        """Something is about to be done."""
        if self.done == self.number:
            os.kill(os.getpid(), signal.SIGKILL)
        self.done += self.done >= 0


def saves_and_dies(
    folder: str, rank: int, before: str, number: int, *, shard: bool, parts: bool = False
) -> None:
    """A fit that saves at every step, in which one process is killed in the second save.

    That is before it changes the disk, or gathers a tensor, for so many times.
    """
    deaths = DiesAt(rank, number)

    def hook(event, arguments):
        # Not the file of the CSV log, nor what is only read.
        inside = event in WRITES and str(arguments[0]).startswith(f"{folder}/")
        if inside and (event != "open" or arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            deaths.count()

    def gather(tensor, **options):
        deaths.count()
        return full_tensor(tensor, **options)

    if before == "disk":
        sys.addaudithook(hook)
    else:
        full_tensor, DTensor.full_tensor = DTensor.full_tensor, gather
    failures._SECONDS = 0.5  # nobody will say a word
    engine = Distributed(layers if shard else None, timeout=100)
    saving(engine, Path(folder), deaths, dropout=0.0, every="1 steps", parts=parts).fit(3)


def cannot_save(folder: str, after: int) -> None:
    """A fit in which one process cannot write its part of a checkpoint."""
    engine, write_part, saved = Distributed(layers, timeout=100), checkpoint.write_part, []

    def fails(staging, flat, own, part, parts):
        saved.append(part)
        if part == 1 and len(saved) > after:  # the first one is saved before the first step
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_part(staging, flat, own, part, parts)

    checkpoint.write_part = fails
    saving(engine, Path(folder), dropout=0.0, every="1 steps", parts=True).fit(3)


def goes_on_from(folder: str, *, shard: bool = False, parts: bool = False) -> dict[str, Any]:
    """Goes on with a fit that other processes began, as many as they were."""
    engine = Distributed(layers if shard else None, timeout=100)
    learn = saving(engine, Path(folder), dropout=0.0, every="4 steps", parts=parts)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        end = outcome(learn, learn.fit(3, resume="auto"))
    return end | {"warned": [str(warning.message) for warning in caught]}


# How it is done ----------------------------------------------------------------------------------


def in_a_group_of_others() -> tuple[int, bool, float, list[int]]:
    """A fit in a group that somebody else has made; whether it works afterwards, and what is left.

    That is how many groups there are, and how many would have been aborted after a failure.
    """
    dist.init_process_group("gloo")
    engine = Distributed(timeout=30)
    learner(engine).fit(1)
    world, groups = engine.world, len(engine.failures.groups) if engine.world > 1 else 0
    engine = None
    gc.collect()
    left = [len(dist.distributed_c10d._world.pg_map), groups]
    total = torch.ones(1)
    dist.all_reduce(total)
    exists = dist.is_initialized()
    dist.destroy_process_group()
    return world, exists, total.item(), left


class StepsAlone(Callback):
    """Replaces a whole batch, step and all."""

    def one_batch(self, run, proceed):
        if not run.training:
            return proceed()
        run.weight = len(run.xb)
        run.pred = run.model(run.xb)
        run.loss = run.loss_func(run.pred, run.yb)
        run.loss.backward()
        run.opt.step()
        run.opt.zero_grad()
        run.stepped = True
        return None


def steps_alone() -> None:
    """A fit with a callback that trains by itself."""
    learner(Distributed(timeout=100), callbacks=lambda: [StepsAlone()]).fit(1)


class WeighsLate(Callback):
    """Changes the weight when it has been told."""

    def backward(self, run, proceed):
        run.window.weight += 1.0
        proceed()


def weighs_late() -> None:
    """A fit with a weight that changes."""
    learner(Distributed(timeout=100), callbacks=lambda: [WeighsLate()]).fit(1)


class RegradsEarly(Callback):
    """Takes the gradient of a window anew that has not closed."""

    regrads = True

    def after_backward(self, run):
        run.regrad()


def regrads_early() -> None:
    """A fit with a callback that regrads before the gradients were exchanged."""
    learner(Distributed(timeout=100), callbacks=lambda: [RegradsEarly()]).fit(1)


class RegradsAlone(Callback):
    """Takes the gradient of a window anew, in one process."""

    regrads = True

    def step(self, run, proceed):
        if run.engine.rank == 1:
            run.regrad()
        proceed()


def regrads_alone() -> None:
    """A fit with a callback that regrads in one process alone."""
    learner(Distributed(timeout=100), callbacks=lambda: [RegradsAlone()]).fit(1)


def when_sent() -> list[str]:
    """The order of what happens in an epoch."""
    engine, log = Distributed(timeout=30), list[str]()
    send = engine.control.send
    learn = learner(engine, rehearsal=False)

    def logged(kind, *args, **options):
        if kind == "step":
            log.append("sent")
        return send(kind, *args, **options)

    def hook(module, args, pred):
        if module.training:
            log.append("predicted")
            pred.register_hook(lambda grad: log.append("gradient"))

    learn.model.register_forward_hook(hook)
    engine.control.send = logged
    learn.fit(1)
    return log


def leaves_nothing() -> int:
    """How many runs an engine holds after some."""
    engine = Distributed(timeout=30)
    learn = learner(engine)
    learn.fit(1)
    learn.validate()
    return len(engine.runs)


def restarts(folder: str, ways: list[str], *, machines: int = 1, port: int = 0) -> str:
    """What torchrun does with two processes that fail, each attempt in its own way; the weights.

    It is torchrun's own agent, of which there is one for each machine. It forks its processes here:
    none of them need import torch.
    """
    config = LaunchConfig(
        *(machines, machines, 2 // machines),
        run_id="restarts",
        rdzv_backend="c10d",
        rdzv_endpoint=f"localhost:{port}",
        local_addr="localhost",
        max_restarts=2,
        start_method="fork",
    )
    (weights,) = {*elastic_launch(config, is_restarted)(folder, *ways).values()}
    return weights


def is_restarted(folder: str, *ways: str) -> str:
    """A fit whose first attempts fail in the middle."""
    attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    with Path(folder, f"starts of {os.environ['RANK']}.txt").open("a") as file:
        file.write(".")
    engine = Distributed(timeout=60)
    others = [FailsAtNine(way) for way in ways[attempt : attempt + 1]]
    learn = _to_be_restarted(engine, Path(folder), *others)
    if engine.rank == 0:
        with Path(folder, "attempts.txt").open("a") as file:
            file.write(str(attempt))
    learn.fit(3, resume="auto")
    return str(weights_of(learn).tolist())


def main() -> None:
    """What torchrun starts: such a fit, as a program."""
    weights = is_restarted(*sys.argv[1:])
    if os.environ["RANK"] == "0":
        Path(sys.argv[1], "weights.txt").write_text(weights)


def fits_without_a_stop(folder: str) -> str:
    """The weights that `is_restarted` comes to, if no attempt fails."""
    Path(folder).mkdir(exist_ok=True)
    learn = _to_be_restarted(Distributed(timeout=60), Path(folder))
    learn.fit(3)
    return str(weights_of(learn).tolist())


def _to_be_restarted(engine: Distributed, folder: Path, *others: Callback) -> Any:
    return saving(engine, folder / "saved", *others, dropout=0.5, every="2 steps")


class FailsAtNine(Callback):
    """Fails in the second process, after nine steps."""

    replays = False

    def __init__(self, how: str):
        self.how = how

    def after_step(self, run):
        if run.engine.rank == 1 and run.n_steps == 9:
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("the disk is full")


def shards() -> dict[str, Any]:
    """How many numbers of the model there are, and how many this process keeps; how it is told."""
    learn = learner(Distributed(layers, timeout=100))
    model = learn.model
    return {
        "explained": learn.explain().splitlines()[0],
        "whole": sum(p.numel() for p in model.parameters()),
        "own": sum(p.to_local().numel() for p in model.parameters()),
    }


def saves_weights(path: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights that were saved, and those that another Learner loaded."""
    engine = Distributed(layers, timeout=100)
    learn, other = learner(engine), learner(engine)
    learn.fit(1)
    learn.save(path)
    engine.gather("written")
    assert not other.load(path)
    return tuple(
        torch.cat([full(p).flatten() for p in one.model.parameters()]) for one in (learn, other)
    )


def build() -> nn.Module:
    """A model with buffers, and with weights that two layers share."""
    made = nn.Sequential(
        *(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU()),
        *(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False), nn.Linear(4, 2)),
    )
    made[4].weight = made[3].weight
    return made


def without_values(how: str) -> dict[str, Any]:
    """A fit of a model that was built on the meta device, and what this process had of it."""
    engine = (
        None
        if how == "alone"
        else Distributed(
            layers if how == "sharded" else None, sync_batchnorm=True, init=watched, timeout=30
        )
    )
    KEPT.clear()
    torch.manual_seed(5 + (how != "alone" and engine.rank))  # the first one's counts
    if engine is None:
        model = build()
    else:
        with torch.device("meta"):
            model = build()
        KEPT.append(model)
    learn = learner(engine, model=model)
    begun = torch.cat([full(p).flatten() for p in learn.model.parameters()])
    return outcome(learn, learn.fit(1)) | {"begun": begun, "most": max(KEPT[1:], default=0)}


def both_without_values() -> dict[str, Any]:
    """The same, sharded and not."""
    return {how: without_values(how) for how in ("sharded", "whole")}


KEPT: list[Any] = []


def watched(module: nn.Module) -> None:
    """Initializes a module, and sees how many numbers of the model this process has now."""
    module.reset_parameters()
    there = KEPT[0].parameters()
    KEPT.append(sum(p.to_local().numel() if hasattr(p, "to_local") else p.numel() for p in there))


def from_a_file(path: str) -> dict[str, Any]:
    """What a model without values got from a file, and how many numbers were read for it."""
    rows, read = Pieces.rows, []

    def counted(pieces, *where):
        part = rows(pieces, *where)
        read.append(part.numel())
        return part

    with torch.device("meta"):
        model = build()
    Pieces.rows = counted
    learn = learner(Distributed(layers, init=path, timeout=30), model=model)
    Pieces.rows = rows
    state = learn.model.state_dict()
    return {
        "state": {name: full(tensor) for name, tensor in state.items()},
        "read": sum(read),
        "own": sum(x.to_local().numel() for x in state.values() if isinstance(x, DTensor)),
    }


def needs_all_of_the_model() -> dict[str, Any]:
    """What is said where a sharded model cannot be used, and whether that left a trace."""
    learn = learner(Distributed(layers, timeout=100), seed=None)
    inputs = next(iter(learn.data.train_dl))[0]

    def state() -> list[torch.Tensor]:
        return [torch.get_rng_state(), *(full(p).clone() for p in learn.model.parameters())]

    before, said = state(), dict[str, Any]()
    for name, function in {
        "learn.audit": learn.audit,
        "a repair": partial(learn.audit, repair="kaiming"),
        "audit": partial(audit, learn.model, inputs),
        "lsuv": partial(init.lsuv, learn.model, inputs),
        "initialise": partial(init.initialise, learn.model),
        "twin": partial(twin, learn, []),
        "EMATeacher": partial(learn.fit, 1, [EMATeacher()]),
    }.items():
        said["as before"] = all(map(torch.equal, before, state()))
        try:
            function()
        except ValueError as error:
            said[name] = str(error)
    return said


def joins_all_parameters() -> tuple[str, bool, int]:
    """What is said of LBFGS with shards; and how many steps a fit with another optimizer makes."""
    engine = Distributed(layers, timeout=100)
    learn = learner(engine, **CASES["closure"])
    begun, said = learn.validate(), ""
    try:
        learn.fit(1)
    except ValueError as error:
        said = str(error)
    same = learn.validate() == begun
    return said, same, learner(engine).fit(1).n_steps


def sharded_too_late() -> None:
    """A model that is sharded after its optimizer was made."""
    model = nn.Sequential(nn.Linear(3, 2))
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    learner(Distributed(layers, timeout=100), model=model, opt=opt)


def in_other_shards(how: str) -> None:
    """A model that is distributed in a way that is not FSDP2's over all processes."""
    engine = Distributed(timeout=100)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    mesh = init_device_mesh("cpu", (1, 2), mesh_dim_names=("parts", "tensors"))
    how_parallel = {"0": ColwiseParallel(), "2": RowwiseParallel()}
    parallelize_module(model, mesh["tensors"], how_parallel)
    if how == "both":
        fully_shard(model, mesh=mesh["parts"])
    learner(engine, model=model)


def sharded_before() -> torch.Tensor:
    """A model that the user has sharded."""
    engine, model = Distributed(timeout=100), small()
    fully_shard(model)
    learn = learner(engine, model=model)
    return outcome(learn, learn.fit(2))["weights"]


def called(*words: str) -> tuple[int, str, str]:
    """How ``lehr words`` ended, what it printed, and what it said of errors."""
    done = CliRunner().invoke(cli.app, [*words], prog_name="lehr")
    return done.exit_code, done.stdout, done.stderr


DIGITS = ["--model", "linear", "--batch-size", "256", "--schedule", "constant", "--lr", "0.01"]


def at_the_command_line(folder: str) -> dict[str, Any]:
    """A training by ``lehr train`` that is gone on with, and one that cannot begin."""
    out = f"{folder}/run"
    words = ["train", "digits", *DIGITS, "--seed", "3", "--epochs", "1", "--out", out]
    return {
        "trained": called(*words),
        "longer": called("resume", out, "--epochs", "2", "--quiet"),
        "again": called("resume", out),
        "refused": called(*words),  # there is something already
    }


def runs_a_script(folder):
    """``train.py`` in a folder, as torchrun starts it, or by itself; what it prints, by lines."""
    if os.environ["WORLD_SIZE"] == "1":
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_USE_AGENT_STORE"):
            del os.environ[name]
    os.chdir(folder)
    with redirect_stdout(io.StringIO()) as said:
        runpy.run_path("train.py", run_name="__main__")
    return said.getvalue().splitlines()


if __name__ == "__main__":
    main()
