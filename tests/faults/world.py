"""What a training may not leave changed, seen from outside, and small trainings to disturb."""

import random
import signal
import threading
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import _len_torch_function_stack

from lehr import Callback, Learner, accuracy
from lehr.callbacks import Checkpoint, CSVLog, EarlyStopping, ParamScheduler
from lehr.data import DataBunch, DataLoader, Dataset
from lehr.schedules import sched_cos

OPEN = Path("/proc/self/fd")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
HOOKS = (
    *("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"),
    *("_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs"),
    *("_forward_hooks_always_called", "_state_dict_hooks", "_load_state_dict_pre_hooks"),
)
World = dict[str, Any]


def bits(value: Any) -> Any:
    """Something that equals another exactly where the values have the same bits."""
    if isinstance(value, torch.Tensor):
        plain = value.detach().cpu().contiguous()
        return (
            str(value.dtype),
            tuple(value.shape),
            plain.reshape(-1).view(torch.uint8).numpy().tobytes(),
        )
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, dict):
        return {key: bits(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [bits(inner) for inner in value]
    return value if isinstance(value, (bool, int, str, bytes, type(None))) else repr(value)


def surroundings() -> World:
    """What belongs to the process: handlers, generators, torch's switches, threads, open files."""
    return {
        "handlers": [signal.getsignal(number) for number in SIGNALS],
        "blocked signals": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "torch": bits(torch.get_rng_state()),
        "numpy": bits(np.random.get_state()),
        "python": random.getstate(),
        "gradients on": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "function modes": _len_torch_function_stack(),
        "filters": list(warnings.filters),
        "threads": threading.active_count(),
        "open files": len(list(OPEN.iterdir())) if OPEN.is_dir() else 0,
    }


def shape_of(model: nn.Module) -> World:
    """What a model is but for its numbers: modes, flags, hooks and attributes."""
    found: World = {}
    for path, module in model.named_modules():
        found[f"mode {path}"] = module.training
        found[f"attributes {path}"] = sorted(vars(module))
        found[f"kind {path}"] = type(module)
        for hooks in HOOKS:
            found[f"{hooks} {path}"] = list(getattr(module, hooks).items())
    for path, p in model.named_parameters():
        found[f"requires_grad {path}"] = p.requires_grad
        found[f"identity {path}"] = id(p)
        found[f"hooks of {path}"] = list((p._backward_hooks or {}).items())
    return found


def numbers_of(model: nn.Module) -> World:
    """Parameters, buffers and gradients."""
    return {
        **{path: bits(p) for path, p in model.named_parameters()},
        **{f"buffer {path}": bits(buffer) for path, buffer in model.named_buffers()},
        **{f"gradient {path}": bits(p.grad) for path, p in model.named_parameters()},
    }


def settings_of(opt: torch.optim.Optimizer) -> World:
    """The hyper-parameters of every group."""
    return {
        f"group {number} {key}": bits(value)
        for number, group in enumerate(opt.param_groups)
        for key, value in group.items()
        if key != "params"
    }


def kept_by(learn: Learner, callbacks: Iterable[Callback]) -> World:
    """What only a training may move: numbers, optimizer, counters, callbacks."""
    found = numbers_of(learn.model)
    found["optimizer"] = bits(list(learn.opt.state_dict()["state"].items()))
    found["counters"] = (learn.epochs_done, learn.steps_done, learn._seed)
    found["run"] = id(learn.run)
    found["callbacks"] = list(map(id, learn.callbacks))
    for number, callback in enumerate(callbacks):
        found[f"callback {number}"] = {k: id(v) for k, v in vars(callback).items()}
        found[f"state {number}"] = bits(callback.state_dict())
    return found


def files_in(folder: Path) -> World:
    """Every file with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def changed(before: World, after: World) -> list[str]:
    """The names of what is not as it was."""
    missing = object()
    names = [*before, *(name for name in after if name not in before)]
    return [name for name in names if before.get(name, missing) != after.get(name, missing)]


@dataclass
class Scene:
    """A Learner, its folder, and everything that can be seen of them."""

    folder: Path
    learn: Learner
    callbacks: list[Callback]

    def outside(self) -> World:
        """What no operation may leave changed, a training neither."""
        return {
            **surroundings(),
            **shape_of(self.learn.model),
            **settings_of(self.learn.opt),
            "dropout": self.learn.model[2].p,
        }

    def everything(self) -> World:
        """What a look may not leave changed."""
        return {
            **self.outside(),
            **kept_by(self.learn, self.callbacks),
            "files": files_in(self.folder),
        }


def model_with_all_sorts() -> nn.Sequential:
    """Buffers, dropout, a part in another mode and one that is frozen."""
    model = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.ReLU(), nn.Linear(4, 2)
    )
    model[3].eval()
    model[0].bias.requires_grad_(False)
    return model


def data_of(items: int = 8) -> DataBunch:
    """Two batches to train on and one to validate."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(items + 4, 3, generator=draw)
    y = (x.sum(1) > 0).long()
    train = DataLoader(Dataset(x[:items], y[:items]), 4, shuffle=True)
    return DataBunch(train, DataLoader(Dataset(x[items:], y[items:]), 4), c=2)


def seed_all() -> None:
    """Every global generator at one place."""
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


def scene(folder: Path, *, saves: bool = False) -> Scene:
    """Something of everything that must be undone: schedules, logs, metrics, checkpoints."""
    folder.mkdir(parents=True)
    seed_all()
    model = model_with_all_sorts()
    callbacks: list[Callback] = [
        ParamScheduler("lr", sched_cos(0.1, 0.01)),
        ParamScheduler("model.2.p", sched_cos(0.2, 0.1)),
        EarlyStopping("valid_loss", patience=5, restore_best=True),
        CSVLog(folder / "log.csv", append=True),
    ]
    if saves:
        callbacks.append(Checkpoint(folder / "saved", every="2 steps"))
    learn = Learner(
        model,
        torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05, momentum=0.9),
        nn.functional.cross_entropy,
        data_of(),
        callbacks,
        metrics=[accuracy],
        progress=False,
        seed=3,
    )
    return Scene(folder, learn, callbacks)


def trained(learn: Learner) -> World:
    """The bits that a training ends in."""
    run = learn.fit(2)
    history = {name: bits(run.history[name]) for name in ("loss", "train_loss", "valid_loss")}
    return {**numbers_of(learn.model), "history": history}


def begin_anew(learn: Learner) -> None:
    """The numbers of a new Learner in the objects of one that was disturbed."""
    states = torch.get_rng_state()
    torch.manual_seed(0)
    fresh = model_with_all_sorts()
    torch.set_rng_state(states)
    with torch.no_grad():
        for mine, new in zip(learn.model.parameters(), fresh.parameters(), strict=True):
            mine.copy_(new)
            mine.grad = None
        for mine, new in zip(learn.model.buffers(), fresh.buffers(), strict=True):
            mine.copy_(new)
    learn.opt.state.clear()
    learn.epochs_done = learn.steps_done = 0
