"""Small trainings whose every number is kept: a refactoring must not change one bit of them.

Only public names are used, and only those that earlier versions have too, so that this file can
run with the code of another commit (``make golden-against REV=...``).
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim

from lehr import Callback, CancelBatch, DataBunch, Layer, Learner, accuracy
from lehr.callbacks import EarlyStopping, ParamScheduler, ReduceOnPlateau
from lehr.data import DataLoader, Dataset, get_dls
from lehr.schedules import combine_scheds, one_cycle, one_cycle_momentum, sched_cos, sched_lin

SEED = 7
Trace = dict[str, Any]
"""Described in compare.py, which needs nothing of lehr's."""

CONFIGURATIONS: dict[str, Callable[..., Trace]] = {}


def configuration(function: Callable[..., Trace]) -> Callable[..., Trace]:
    """Each takes ``seed`` and ``lr``, so that a test can change one bit of either."""
    CONFIGURATIONS[function.__name__] = function
    return function


# What is kept ----------------------------------------------------------------------------------


def exact(value: Any) -> Any:
    """``value`` with every float as a string of all its bits."""
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, list | tuple):
        return [exact(one) for one in value]
    return value


def checksum(model: nn.Module) -> str:
    """SHA-256 over name, type, shape and bytes of everything in the model's state."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


class Keep(Callback):
    """Writes down loss and hyper-parameters of every training batch.

    It hears nothing but the end of a batch, and changes nothing.
    """

    def __init__(self) -> None:
        self.steps: dict[str, list[Any]] = {"loss": [], "lr": [], "momentum": []}

    def after_batch(self, run):
        if not run.training:
            return
        opts = run.opt.values() if isinstance(run.opt, Mapping) else [run.opt]
        groups = [group for opt in opts for group in opt.param_groups]
        self.steps["loss"].append(None if run.loss is None else exact(run.loss.detach()))
        self.steps["lr"].append([exact(float(group["lr"])) for group in groups])
        if all("momentum" in group for group in groups):
            self.steps["momentum"].append([exact(float(group["momentum"])) for group in groups])


def train(
    seed: int,
    opt: Any,
    *,
    data: Any = None,
    model: nn.Module | None = None,
    loss_func: Any = F.cross_entropy,
    callbacks: Any = (),
    fits: Any = ({"epochs": 3},),
    **kwargs: Any,
) -> Trace:
    """One or several fits of a fresh Learner, and what they leave."""
    model = mlp() if model is None else model
    data = bunch() if data is None else data
    keep = Keep()
    learn = Learner(
        model, opt, loss_func, data, [*callbacks, keep], seed=seed, progress=False, **kwargs
    )
    rows = []
    for fit in fits:
        rows += learn.fit(**fit).history.rows
    rows = [{k: exact(v) for k, v in row.items() if k != "seconds"} for row in rows]
    steps = {name: column for name, column in keep.steps.items() if column}
    return {**steps, "rows": rows, "weights": checksum(model)}


# Models and data -------------------------------------------------------------------------------
# Uniform numbers only: torch draws them alike on every machine.


def uniform(*shape: int, key: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(key)) * 2 - 1


def make(build: Callable[[], nn.Module], dtype: torch.dtype = torch.float32) -> nn.Module:
    """Built with the same weights every time; torch's generator is as it was afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        return build().to(dtype)


def mlp(*middle: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    return make(lambda: nn.Sequential(nn.Linear(5, 8), *middle, nn.Tanh(), nn.Linear(8, 3)), dtype)


def sets(items: int = 42, dtype: torch.dtype = torch.float32) -> tuple[Dataset, Dataset]:
    """Three classes in five dimensions; a third as many items validate."""
    x = uniform(items + items // 3, 5)
    y = (x[:, :3] + 0.3 * x[:, 1:4]).argmax(1)
    x = x.to(dtype)
    return Dataset(x[:items], y[:items]), Dataset(x[items:], y[items:])


def bunch(items: int = 42, batch_size: int = 8, dtype: torch.dtype = torch.float32) -> DataBunch:
    """Six batches of 8, the last of 2."""
    return DataBunch(*get_dls(*sets(items, dtype), batch_size), c=3)


# Callbacks -------------------------------------------------------------------------------------


class Gather(Callback):
    """One update for every ``n`` batches."""

    layer = Layer.WINDOW

    def __init__(self, n: int) -> None:
        self.n = n

    def begin_fit(self, run):
        run.steps_per_epoch = -(-run.num_batches // self.n)

    def begin_batch(self, run):
        run.closes = run.window.batches + 1 == self.n


class Clip(Callback):
    """Limit the norm of the gradients."""

    layer = Layer.CLIP

    def finish_grad(self, run, proceed):
        proceed()
        run.log("grad_norm", nn.utils.clip_grad_norm_(run.trained_parameters(), 0.3))


class Closure(Callback):
    """Let the optimizer ask for loss and gradient as often as it likes."""

    layer = Layer.SEARCH
    regrads = True

    def step(self, run, proceed):
        run.opt.step(run.regrad)
        run.stepped = True


class Sharpness(Callback):
    """Step with the gradient of a point a little uphill."""

    layer = Layer.SEARCH
    regrads = True

    def step(self, run, proceed):
        held = run.trained_parameters()
        before = [p.detach().clone() for p in held]
        with torch.no_grad():
            for p in held:
                p.add_(p.grad, alpha=0.05)
        run.regrad()
        with torch.no_grad():
            for p, old in zip(held, before, strict=True):
                p.copy_(old)
        proceed()


class Scale(Callback):
    """Scale the loss; every fifth update is skipped as if it had overflowed."""

    layer = Layer.PRECISION

    def backward(self, run, proceed):
        loss, run.loss = run.loss, run.loss * 1024
        proceed()
        run.loss = loss

    def finish_grad(self, run, proceed):
        for p in run.trained_parameters():
            p.grad.div_(1024)
        proceed()

    def step(self, run, proceed):
        if run.n_iter % 5 != 3:
            proceed()


class Leave(Callback):
    """Cancel a batch before and one after its backward, and stop the run early."""

    def after_pred(self, run):
        if run.training and run.n_iter == 2:
            raise CancelBatch("left out")

    def after_backward(self, run):
        if run.n_iter == 4:
            raise CancelBatch("left out, with its window")

    def after_step(self, run):
        if run.n_steps == 8:
            run.stop("enough")


class Noise(Callback):
    """Draw from a stream of its own."""

    def begin_batch(self, run):
        if run.training:
            run.xb = run.xb + 0.1 * torch.rand(run.xb.shape, generator=run.stream("noise"))


class Duel(Callback):
    """Two halves of a model, each with its optimizer, step on every batch."""

    def one_batch(self, run, proceed):
        noise = torch.rand(len(run.xb), 1, generator=run.stream("noise"))
        generator, critic = run.model["generator"], run.model["critic"]
        for name in ("critic", "generator"):
            fake = critic(generator(noise))
            run.loss = fake.mean() if name == "generator" else critic(run.xb).mean() - fake.mean()
            run.opt[name].zero_grad()
            run.loss.backward()
            run.opt[name].step()
        run.weight, run.stepped = len(run.xb), True


# Optimizers ------------------------------------------------------------------------------------


@configuration
def sgd(seed=SEED, lr=0.3):
    """Momentum and weight decay; without momentum is `sums`."""
    model = mlp()
    opt = optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-2)
    return train(seed, opt, model=model)


@configuration
def adam_amsgrad(seed=SEED, lr=0.02):
    return train(seed, lambda params: optim.Adam(params, lr=lr, amsgrad=True))


@configuration
def adamw_in_groups(seed=SEED, lr=0.02):
    model = mlp()
    groups = [
        {"params": model[0].parameters(), "lr": lr / 4},
        {"params": model[2].parameters(), "weight_decay": 0.2},
    ]
    return train(seed, optim.AdamW(groups, lr=lr), model=model)


@configuration
def rmsprop_centred(seed=SEED, lr=0.01):
    double = torch.float64
    opt = lambda params: optim.RMSprop(params, lr=lr, centered=True, momentum=0.5)  # noqa: E731
    return train(seed, opt, model=mlp(dtype=double), data=bunch(dtype=double))


def of_family(kind: type[optim.Optimizer], rate: float) -> Callable[..., Trace]:
    """A training with an optimizer as torch makes it."""

    def trained(seed=SEED, lr=rate):
        double = torch.float64
        opt = lambda params: kind(params, lr=lr)  # noqa: E731
        return train(seed, opt, model=mlp(dtype=double), data=bunch(dtype=double))

    trained.__name__ = kind.__name__.lower()
    return trained


for family, rate in (
    (optim.Adagrad, 0.1),
    (optim.Adadelta, 0.5),
    (optim.Adamax, 0.02),
    (optim.ASGD, 0.1),
    (optim.NAdam, 0.01),
    (optim.RAdam, 0.01),
    (optim.Rprop, 0.01),
):
    configuration(of_family(family, rate))


@configuration
def lbfgs(seed=SEED, lr=0.1):
    """It asks for the gradient of a whole epoch, several times a step."""
    double = torch.float64
    opt = lambda params: optim.LBFGS(params, lr=lr, max_iter=3)  # noqa: E731
    model, data = mlp(dtype=double), bunch(dtype=double)
    return train(seed, opt, model=model, data=data, callbacks=[Closure(), Gather(6)])


@configuration
def two_optimizers(seed=SEED, lr=0.3):
    """By name; one of them follows a schedule."""
    model = mlp()
    first = optim.SGD(model[0].parameters(), lr=lr, momentum=0.5)
    last = optim.Adam(model[2].parameters(), lr=0.02)
    anneal = ParamScheduler("opt.last.lr", sched_cos(0.02, 0.001))
    return train(seed, {"first": first, "last": last}, model=model, callbacks=[anneal])


@configuration
def duel(seed=SEED, lr=0.1):
    """A GAN: the whole batch is replaced."""
    model = make(
        lambda: nn.ModuleDict(
            {"generator": nn.Linear(1, 5), "critic": nn.Sequential(nn.Linear(5, 1), nn.Tanh())}
        )
    )
    opts = {
        "critic": optim.SGD(model["critic"].parameters(), lr=lr),
        "generator": optim.SGD(model["generator"].parameters(), lr=0.05),
    }
    data = DataBunch(bunch().train_dl)
    return train(seed, opts, model=model, data=data, callbacks=[Duel()])


# Windows and weights ---------------------------------------------------------------------------


@configuration
def windows(seed=SEED, lr=0.3):
    """Four batches, then two; each counts as many items as are not masked, one of them none."""
    train_set, valid_set = sets()
    train_set.y[uniform(42, key=1) > 0.4] = -100
    train_set.y[8:16] = -100
    data = DataBunch(DataLoader(train_set, 8), DataLoader(valid_set, 16))
    return train(
        seed,
        lambda params: optim.SGD(params, lr=lr, momentum=0.9),
        data=data,
        callbacks=[Gather(4)],
        weight=lambda run: int((run.yb != -100).sum()),
    )


@configuration
def sums(seed=SEED, lr=0.3):
    """``reduction="sum"``, in windows."""
    loss_func = nn.CrossEntropyLoss(reduction="sum")
    opt = lambda params: optim.SGD(params, lr=lr)  # noqa: E731
    return train(seed, opt, loss_func=loss_func, reduction="sum", callbacks=[Gather(2)])


@configuration
def sharpness(seed=SEED, lr=0.3):
    """Every gradient is taken twice, of windows of three, and clipped."""
    opt = lambda params: optim.SGD(params, lr=lr, momentum=0.9)  # noqa: E731
    return train(seed, opt, callbacks=[Sharpness(), Gather(3), Clip()])


@configuration
def skipped_steps(seed=SEED, lr=0.3):
    """A skipped step moves neither schedule nor count."""
    anneal = ParamScheduler("lr", sched_lin(lr, 0.0))
    opt = lambda params: optim.SGD(params, lr=lr, momentum=0.9)  # noqa: E731
    return train(seed, opt, callbacks=[Scale(), anneal])


@configuration
def cancels(seed=SEED, lr=0.3):
    opt = lambda params: optim.SGD(params, lr=lr, momentum=0.9)  # noqa: E731
    return train(seed, opt, callbacks=[Leave(), Gather(2)], fits=[{"epochs": 9}])


# Randomness ------------------------------------------------------------------------------------


class Drop(nn.Module):
    """Dropout made of uniform numbers, which are the same on every machine."""

    def forward(self, x):
        return x * (torch.rand(x.shape) > 0.3) / 0.7 if self.training else x


@configuration
def dropout(seed=SEED, lr=0.3):
    return train(seed, lambda params: optim.SGD(params, lr=lr), model=mlp(Drop()))


@configuration
def dropout_of_torch(seed=SEED, lr=0.3):
    """Its draws depend on the make of the processor."""
    return train(seed, lambda params: optim.SGD(params, lr=lr), model=mlp(nn.Dropout(0.3)))


@configuration
def streams(seed=SEED, lr=0.3):
    """What a callback draws, and what the model draws, do not meet."""
    model = mlp(Drop())
    return train(seed, lambda params: optim.SGD(params, lr=lr), model=model, callbacks=[Noise()])


@configuration
def batch_norm(seed=SEED, lr=0.1):
    """With buffers, convolutions, and images."""
    x = uniform(36, 1, 6, 6)
    y = (x.mean((1, 2, 3)) > 0).long()
    train_set, valid_set = Dataset(x[:27], y[:27]), Dataset(x[27:], y[27:])
    data = DataBunch(DataLoader(train_set, 8, shuffle=True), DataLoader(valid_set, 9))
    model = make(
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)
        )
    )
    opt = optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    return train(seed, opt, model=model, data=data, metrics=[accuracy])


# Schedules and validation ----------------------------------------------------------------------


@configuration
def one_cycle_of_two(seed=SEED, lr=0.5):
    """Of lr and momentum, in windows."""
    return train(
        seed,
        lambda params: optim.SGD(params, lr=0.1, momentum=0.9),
        callbacks=[
            ParamScheduler("lr", one_cycle(lr)),
            ParamScheduler("momentum", one_cycle_momentum()),
            Gather(2),
        ],
    )


@configuration
def schedule_in_pieces(seed=SEED, lr=0.5):
    """Of one group of two, and of Adam's first beta; the length is given in steps."""
    model = mlp()
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters()}]
    pieces = combine_scheds([0.3, 0.7], [sched_lin(lr / 9, lr / 3), sched_cos(lr / 3, 0.0)])
    callbacks = [
        ParamScheduler("lr", pieces, group=1),
        ParamScheduler("momentum", sched_lin(0.95, 0.8)),
    ]
    opt = optim.Adam(groups, lr=0.02)
    return train(seed, opt, model=model, callbacks=callbacks, fits=[{"steps": 15}])


@configuration
def validation_in_steps(seed=SEED, lr=0.3):
    """Every four steps, which no epoch is a multiple of; the model draws in training."""
    opt = lambda params: optim.SGD(params, lr=lr, momentum=0.9)  # noqa: E731
    fits = [{"epochs": 3, "validate_every": "4 steps"}]
    return train(seed, opt, model=mlp(Drop()), fits=fits, metrics=[accuracy])


def margin(pred, yb):
    """Distance of the two best scores: a metric of its own."""
    best = pred.topk(2, 1).values
    return (best[:, 0] - best[:, 1]).mean()


@configuration
def metrics(seed=SEED, lr=0.3):
    """Two metrics on two validation loaders, of unequal batches."""
    train_set, valid_set = sets()
    loaders = {"all": DataLoader(valid_set, 5), "some": DataLoader(Dataset(*valid_set[:7]), 4)}
    data = DataBunch(DataLoader(train_set, 8, shuffle=True), loaders)
    opt = lambda params: optim.SGD(params, lr=lr, momentum=0.9)  # noqa: E731
    return train(seed, opt, data=data, metrics=[accuracy, margin])


@configuration
def plateau(seed=SEED, lr=0.6):
    """Two callbacks that decide by the validation loss."""
    callbacks = [ReduceOnPlateau(factor=0.5, patience=0), EarlyStopping(patience=3)]
    opt = lambda params: optim.SGD(params, lr=lr, momentum=0.9)  # noqa: E731
    model, data = mlp(dtype=torch.float64), bunch(dtype=torch.float64)
    return train(seed, opt, model=model, data=data, callbacks=callbacks, fits=[{"epochs": 9}])


@configuration
def three_fits(seed=SEED, lr=0.3):
    """The order of the data goes on from fit to fit."""
    anneal = ParamScheduler("lr", sched_cos(lr, lr / 10))
    fits = [{"epochs": 1}, {"epochs": 2, "callbacks": [anneal]}, {"steps": 4}]
    return train(seed, lambda params: optim.SGD(params, lr=lr, momentum=0.9), fits=fits)


# Where the data come from ----------------------------------------------------------------------


class Noisy:
    """Items with noise of their own, drawn from torch's generator when they are read."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        x, y = self.dataset[i]
        return x + 0.2 * torch.rand(x.shape), y


@configuration
def item_seeds(seed=SEED, lr=0.3):
    """Each item's noise is a function of (seed, epoch, index)."""
    train_set, valid_set = sets()
    loader = DataLoader(Noisy(train_set), 8, shuffle=True, item_seeds=True)
    data = DataBunch(loader, DataLoader(valid_set, 16))
    opt = lambda params: optim.SGD(params, lr=lr, momentum=0.9)  # noqa: E731
    return train(seed, opt, data=data, model=mlp(Drop()))


@configuration
def noisy_items(seed=SEED, lr=0.3):
    """The noise of all items of a batch comes from the batch's own key."""
    train_set, valid_set = sets()
    loader = DataLoader(Noisy(train_set), 8, shuffle=True, drop_last=True)
    data = DataBunch(loader, DataLoader(valid_set, 16))
    return train(seed, lambda params: optim.SGD(params, lr=lr, momentum=0.9), data=data)


@configuration
def torch_loader(seed=SEED, lr=0.3):
    """Torch's own DataLoader shuffles with a generator that the run has keyed."""
    train_set, valid_set = sets()
    torch_dl = torch.utils.data.DataLoader
    data = DataBunch(torch_dl(Noisy(train_set), 8, shuffle=True), torch_dl(valid_set, 16))
    return train(seed, lambda params: optim.SGD(params, lr=lr, momentum=0.9), data=data)


@configuration
def generator_of_dicts(seed=SEED, lr=0.3):
    """A function that makes a generator without length, of batches that are dicts."""
    x, y = sets()[0][:]

    def batches():
        for index in torch.randperm(len(x)).split(8):
            yield {"x": x[index], "y": y[index]}

    return train(
        seed,
        lambda params: optim.SGD(params, lr=lr, momentum=0.9),
        data=DataBunch(batches),
        split_batch=lambda batch: (batch["x"], batch["y"]),
        callbacks=[ParamScheduler("lr", sched_lin(lr, lr / 7))],
        fits=[{"steps": 16}],
    )


# Running them all ------------------------------------------------------------------------------


def draws() -> list[int]:
    """What `torch.nn.Dropout` draws here."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return F.dropout(torch.ones(32), 0.5).bool().int().tolist()


MACHINES_OWN = {"dropout_of_torch"}
"""Comparable only with a machine that has the same `draws`."""


def run_all() -> dict[str, Trace]:
    """Every configuration; what cannot run here says why."""
    found = {}
    for name, one in CONFIGURATIONS.items():
        try:
            found[name] = one()
        except Exception as error:
            found[name] = {"error": f"{type(error).__name__}: {error}"}
    return found
