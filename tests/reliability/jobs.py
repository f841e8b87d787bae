"""Small trainings that use much of what there is, stopped and resumed in fresh objects."""

import importlib
import inspect
import pkgutil
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import lehr.callbacks
from lehr import Callback, Learner, accuracy
from lehr.base.nested import split_pair
from lehr.callbacks import GAN, Accumulate, Closure, MixedPrecision
from lehr.data import DataBunch, DataLoader, Dataset
from lehr.optim import optimizers
from lehr.schedules import one_cycle, sched_cos
from lehr.state.snapshot import capture

ITEMS, BATCH = 30, 4  # eight batches, the last of two items
BATCHES = -(-ITEMS // BATCH)


class Items:
    """Read one by one, and noisy: what is read depends on the global generators."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.x, self.y, self.reads = x, y, []

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.reads.append(i)
        return self.x[i] + 0.1 * torch.rand(3), self.y[i]


class Net(nn.Sequential):
    """Takes images, too; with a state, which may be None, it returns the next one as well."""

    def forward(self, x: torch.Tensor, *states: torch.Tensor | None) -> Any:
        given = [state for state in states if state is not None]
        out = super().forward((x + sum(given)).flatten(1))
        return (out, x.mean()) if states else out


def parts(pred: torch.Tensor, yb: torch.Tensor) -> dict[str, torch.Tensor]:
    """A loss of two named parts."""
    return {"fit": nn.functional.cross_entropy(pred, yb), "size": pred.square().mean()}


def as_image(batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The numbers of each item as a picture of one channel, three pixels high."""
    return batch[0][:, None, :, None], batch[1]


class Noise(Callback):
    """Draws from every generator that there is, and counts."""

    state = ("drawn",)

    def begin_fit(self, run):
        self.drawn = 0.0

    def begin_batch(self, run):
        if run.training:
            more = random.random() + float(np.random.rand()) + float(torch.rand(()))
            noise = torch.rand((), generator=run.stream("noise"))
            self.drawn += more
            run.xb = run.xb + 0.1 * noise + 0.01 * more
            run.log("noise", noise)


class Stop(Callback):
    """Interrupts the run once, where it is told to."""

    state = ()
    replays = False

    def __init__(self, event: str, when: Callable[[Any], bool]) -> None:
        self.stopped_at = None
        setattr(self, event, partial(self._ask, when))

    def _ask(self, when, run):
        if self.stopped_at is None and when(run):
            self.stopped_at = (run.epoch, run.batch_index, run.n_steps)
            run.interrupt("test")


def shipped() -> dict[str, type[Callback]]:
    """Every callback that comes with lehr, by its class.

    The logs of services need packages of their own, and are killed in tests/callbacks/log.
    """
    return dict(_shipped())


@cache
def _shipped() -> dict[str, type[Callback]]:
    found = {}
    for module in pkgutil.walk_packages(lehr.callbacks.__path__, "lehr.callbacks."):
        for name, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            ours = issubclass(kind, Callback) and kind.__module__ == module.name
            if ours and not getattr(kind, "package", None):
                found[name] = kind
    return found


def techniques() -> list[str]:
    """Those that change how a step is made: one at a time is attached, beside all the others."""
    floors = ("augmenting", "averaging", "gradient", "loops", "mixing", "transfer")
    kinds = [kind for kind in shipped().values() if kind.__module__.split(".")[-2] in floors]
    others = {"Accumulate", "Closure", "OptimizerModes"}  # as another axis asks for, or always
    return sorted({kind.__name__ for kind in kinds} - others)


OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adam": partial(torch.optim.Adam, lr=0.01, amsgrad=True),
    "adamw": partial(torch.optim.AdamW, lr=0.01),
    "rmsprop": partial(torch.optim.RMSprop, lr=0.01, momentum=0.5, centered=True),
    "lbfgs": partial(torch.optim.LBFGS, lr=0.1, max_iter=2, history_size=3),
}
SCHEDULES = {
    "none": None,
    "cosine": partial(sched_cos, 0.05, 0.001),
    "one_cycle": partial(one_cycle, 0.05),
    "torch": partial(torch.optim.lr_scheduler.CyclicLR, base_lr=0.01, max_lr=0.05, step_size_up=3),
}
STOPS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "begin_fit": ("begin_fit", lambda run: True),
    "begin_epoch": ("begin_epoch", lambda run: run.epoch == 1),
    "begin_train": ("begin_train", lambda run: run.epoch == 1),
    "first_step": ("after_step", lambda run: run.n_steps == 1),
    "mid_epoch": ("after_batch", lambda run: run.training and run.n_iter == 12),
    "last_batch": ("after_batch", lambda run: run.training and run.n_iter == 2 * BATCHES),
    "first_of_next": ("after_batch", lambda run: run.training and run.n_iter == BATCHES + 1),
    "in_validation": ("after_batch", lambda run: not run.training and run.n_iter > BATCHES),
    "mid_window": ("begin_batch", lambda run: run.training and run.n_iter == 10),
    "after_train": ("after_train", lambda run: run.epoch == 1),
    "after_validate": ("after_validate", lambda run: run.n_iter > BATCHES),
    "after_epoch": ("after_epoch", lambda run: run.epoch == 0),
    "last_epoch": ("after_epoch", lambda run: run.epoch == 2),
}
LENGTHS = ("epochs", "steps")
OF_IMAGES = ("BatchTransform", "CutMix", "ProgressiveResizing", "RandomErasing")
VALIDATIONS = (None, "2 epochs", "2 steps", "3 steps")


def _look(name: str, layer: nn.Module, output: Any) -> None: ...


class Trial:
    """Stands for one of Optuna's, which prunes nothing."""

    def report(self, value: float, step: int) -> None: ...

    def should_prune(self) -> bool:
        return False


@dataclass(frozen=True)
class Job:
    """One way to train; every field is an axis of the matrix."""

    optimizer: str = "sgd"
    precision: str = "fp32"
    window: int = 1
    schedule: str = "none"
    stop: str = "mid_epoch"
    shuffle: bool = True
    workers: int = 0
    item_seeds: bool = False
    length: str = "epochs"
    validate_every: str | None = None
    technique: str = "none"

    def __str__(self) -> str:
        return "-".join(str(value) for value in vars(self).values()).replace(" ", "")

    def fit_arguments(self) -> dict[str, Any]:
        """What `Learner.fit` is told."""
        steps = (3 * BATCHES - 3) // self.window  # it ends in the middle of the third epoch
        length = {"epochs": 3} if self.length == "epochs" else {"steps": steps}
        if self.length == "steps" and self.window > 1:
            length["steps_per_epoch"] = -(-BATCHES // self.window)
        return {**length, "validate_every": self.validate_every}

    def callbacks(self, folder: Path) -> list[Callback]:
        """All that come with lehr, and the ones that this job needs."""
        path = "model.critic.2.p" if self.technique == "GAN" else "model.2.p"
        driven = path if self.schedule != "none" else "lr"
        arguments: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
            "BatchTransform": (("alternate", 90), {"p": 0.7, "brightness": 0.2}),
            "CutMix": ((0.5,), {}),
            "StochasticDepth": ((0.5, "0"), {}),
            "ClipGradients": ((0.5,), {}),
            "EMA": ((0.8,), {}),
            "Freeze": (({"0": 1, "1": 0.4},), {}),
            "Lookahead": ((3,), {}),
            "Distillation": ((nn.Linear(3, 2),), {}),
            "Hooks": ((_look,), {}),
            "GAN": ((2,), {"n_crit": 2, "penalty": 1.0}),
            "LossWeights": (({"fit": 1.0, "size": 0.5},), {}),
            "CSVLog": ((folder / "log.csv",), {}),
            "Checkpoint": ((folder / "saved",), {"every": "1000 steps"}),
            "EarlyStopping": ((), {"patience": 50, "restore_best": True}),
            "GradientCheckpointing": ((["0", "1", "2"],), {}),
            "JSONLLog": ((folder / "log.jsonl",), {}),
            "MicroBatches": ((3,), {}),
            "Metrics": (([accuracy],), {"train": True}),
            "OptunaPruning": ((Trial(),), {}),
            "ParamScheduler": (("opt.none", None), {}),
            "Progress": (("plain",), {}),
            "ReduceOnPlateau": ((), {"patience": 0, "factor": 0.5, "param": driven}),
            "SWA": ((0.3,), {}),
            "StopOnNonFinite": ((), {"every": 3}),
        }
        if self.technique in ("GAN", "TruncatedBPTT"):
            arguments["Rewind"] = (), {"spike": 1e9}  # their losses jump
        kinds = shipped()
        if self.schedule == "none":
            del kinds["ParamScheduler"]
        elif self.schedule == "torch":
            make = partial(SCHEDULES["torch"], cycle_momentum=False)
            arguments["TorchScheduler"] = (make, "step"), {}
        else:
            shape = SCHEDULES[self.schedule]()
            arguments["ParamScheduler"] = ("lr", shape), {}
        apart = {"Recorder", "Accumulate", "Closure", "MixedPrecision", *techniques()}
        apart -= {self.technique}
        apart |= {"ParamScheduler"} if self.schedule == "torch" else {"TorchScheduler"}
        kinds = {name: kind for name, kind in kinds.items() if name not in apart}
        pairs = {name: arguments.get(name, ((), {})) for name in kinds}
        found = [kinds[name](*args, **kwargs) for name, (args, kwargs) in pairs.items()]
        found += [Noise()]
        found += [Accumulate(self.window)] if self.window > 1 else []
        half = "bf16" if self.optimizer == "lbfgs" else self.precision  # no fp16 within a closure
        if self.precision != "fp32":
            found += [MixedPrecision(half, init_scale=2.0**12, growth_every=5)]
        found += [Closure()] * (self.optimizer == "lbfgs")
        return found

    def trained(self) -> tuple[nn.Module, Any, Callable[..., Any]]:
        """Model, optimizer and loss function."""
        opt = OPTIMIZERS[self.optimizer]
        gan = self.technique == "GAN"
        last = nn.Linear(6, 1 if gan else 2)
        model = Net(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.ReLU(), last)
        if gan:
            both = nn.ModuleDict({"generator": nn.Linear(2, 3), "critic": model})
            opts = {name: opt(both[name].parameters()) for name in both}
            return both, opts, GAN.wasserstein
        return model, opt, parts if self.technique == "LossWeights" else nn.functional.cross_entropy

    def learner(self, folder: Path) -> Learner:
        """A new one, with nothing shared with another."""
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        folder.mkdir(exist_ok=True)
        model, opt, loss_func = self.trained()
        x = torch.randn(ITEMS + 10, 3)
        y = (x.sum(1) > 0).long()
        data = Items(x, y) if self.workers or self.item_seeds else Dataset(x[:ITEMS], y[:ITEMS])
        if isinstance(data, Items):
            data = Items(x[:ITEMS], y[:ITEMS])
        train = DataLoader(
            data,
            BATCH,
            shuffle=self.shuffle,
            num_workers=self.workers,
            item_seeds=isinstance(data, Items),
        )
        valid = DataLoader(Dataset(x[ITEMS:], y[ITEMS:]), BATCH)
        return Learner(
            model,
            opt,
            loss_func,
            DataBunch(train, valid),
            self.callbacks(folder),
            split_batch=as_image if self.technique in OF_IMAGES else split_pair,
            progress=False,
            seed=3,
        )

    def straight(self, folder: Path) -> dict[str, Any]:
        """What is there in the end if nothing stops it."""
        learn = self.learner(folder)
        learn.fit(**self.fit_arguments())
        return outcome(learn, folder)

    def interrupted(self, folder: Path, *stops: Callback) -> tuple[Learner, list[Any]]:
        """The Learner that goes on after so many stops, and where it was stopped."""
        places = []
        for stop in stops:
            learn = self.learner(folder)
            learn.fit(callbacks=[stop], resume="auto", **self.fit_arguments())
            places.append(getattr(stop, "stopped_at", None))
        return self.learner(folder), places

    def resumed(self, folder: Path, *stops: Callback) -> dict[str, Any]:
        """What is there in the end if it is stopped on the way, each time in a new process."""
        learn, _ = self.interrupted(folder, *stops)
        learn.fit(resume="auto", **self.fit_arguments())
        return outcome(learn, folder)


def outcome(learn: Learner, folder: Path) -> dict[str, Any]:
    """Everything that a run leaves: state, record and files."""
    run = learn.run
    found = capture({**run.state_entries(), "learner": Counters(learn)})
    for name in ("callbacks.checkpoint", "callbacks.progress"):
        found.pop(name, None)
    found["record"] = run.history.to_dict()
    found["groups"] = [
        {key: value for key, value in group.items() if key != "params"}
        for opt in optimizers.each(learn.opt)
        for group in opt.param_groups
    ]
    found["dropout"] = [part.p for part in learn.model.modules() if isinstance(part, nn.Dropout)]
    for name in ("log.csv", "log.jsonl"):
        if (folder / name).exists():
            found[name] = (folder / name).read_text()
    return found


class Counters:
    """What a Learner counts."""

    def __init__(self, learn: Learner) -> None:
        self.learn = learn

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.learn.epochs_done, "steps": self.learn.steps_done}

    def load_state_dict(self, state_dict: Any) -> None:
        raise NotImplementedError
