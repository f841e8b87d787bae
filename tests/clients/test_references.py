"""Each technique gives what a well-kept package makes of the same draws.

Those of torch itself are in the tests of each technique: `AveragedModel` and `update_bn` beside
`SWA`, its moving average beside `EMA`, `clip_grad_norm_` beside `ClipGradients`, `GradScaler`
beside `MixedPrecision`, `LBFGS` beside `Closure`. Here are packages that `make test-clients` gets.
"""

import sys
from copy import deepcopy
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn, optim

from lehr import DataBunch, Learner
from lehr.callbacks import (
    EMA,
    SAM,
    CutMix,
    EMATeacher,
    LabelSmoothing,
    Lookahead,
    MixUp,
    TorchScheduler,
)
from lehr.callbacks.augmenting.stochastic_depth import dropped
from lehr.callbacks.mixing import cut_mix, mix_up
from lehr.callbacks.mixing.mix_up import mixed
from lehr.callbacks.mixing.pairs import Pairs
from lehr.data.images.erase import Boxes, erased
from lehr.data.images.light import lit
from lehr.data.images.warp import warped

pytestmark = pytest.mark.filterwarnings("ignore")  # their warnings are theirs

DRAW = torch.Generator().manual_seed(0)
X, Y = torch.randn(24, 1, 6, 8, generator=DRAW), torch.randint(4, (24,), generator=DRAW)
BATCHES = [(X[i : i + 6], Y[i : i + 6]) for i in range(0, 24, 6)]
EPOCHS = 3


def needed(package):
    """The package, or the reason why the test is not run."""
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed: make test-clients")
    return package


@pytest.fixture
def timm(monkeypatch):
    """Modules of timm, each without the `__init__` of its packages: that of timm imports
    torchvision, of which no package index has a build for a torch without CUDA."""
    needed("timm")
    folder = Path(find_spec("timm").origin).parent
    for name in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)

    def module(name):
        parents = name.split(".")[:-1]
        for i in range(len(parents) + 1):
            package = ".".join(["timm", *parents[:i]])
            if package not in sys.modules:
                bare = ModuleType(package)
                bare.__path__ = [str(folder.joinpath(*parents[:i]))]
                monkeypatch.setitem(sys.modules, package, bare)
        found = import_module(f"timm.{name}")
        monkeypatch.setitem(sys.modules, f"timm.{name}", found)
        return found

    return module


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 4))


def sgd(parameters):
    return optim.SGD(parameters, lr=0.1, momentum=0.9)


def trained(*callbacks, opt=sgd):
    """The model after our fit."""
    bunch = DataBunch(BATCHES, BATCHES)
    learn = Learner(network(), opt, F.cross_entropy, bunch, callbacks, progress=False)
    learn.fit(EPOCHS)
    return learn.model


def by_hand(loss_of, opt=None, after=lambda model: None):
    """The model after the same steps in a plain loop."""
    model = network()
    opt = opt(model.parameters()) if opt else sgd(model.parameters())
    for _ in range(EPOCHS):
        for number, (x, y) in enumerate(BATCHES):
            loss_of(model, x, y, number).backward()
            opt.step()
            opt.zero_grad()
            after(model)
    return model


def plainly(model, x, y, number):
    return F.cross_entropy(model(x), y)


def close(a, b, **tolerance):
    """Whether two models have the same weights, but for rounding."""
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.allclose(p, q, **{"rtol": 1e-4, "atol": 1e-6} | tolerance) for p, q in pairs)


# ---- mixing and labels


def test_mixup_is_timms(timm, monkeypatch):
    """The same partners and the same λ: the same training."""
    mixup, loss = timm("data.mixup"), timm("loss.cross_entropy").SoftTargetCrossEntropy()
    shares = iter(np.random.default_rng(0).beta(0.4, 0.4, EPOCHS * len(BATCHES)))
    theirs, given = mixup.Mixup(mixup_alpha=0.4, label_smoothing=0.0, num_classes=4), []

    def with_theirs(model, x, y, number):
        given.append(float(next(shares)))
        monkeypatch.setattr(theirs, "_params_per_batch", lambda: (given[-1], False))
        x, target = theirs(x.clone(), y)
        return loss(model(x), target)

    reference = by_hand(with_theirs)
    back = torch.arange(5, -1, -1)
    again = iter(given)
    monkeypatch.setattr(mix_up, "beta", lambda alpha, stream: next(again))
    monkeypatch.setattr(torch, "randperm", lambda n, generator=None: back)
    assert close(trained(MixUp(0.4)), reference)
    assert next(again, None) is None
    assert not close(trained(), reference)


def test_mixed_items_are_kornias():
    needed("kornia")
    from kornia.augmentation import RandomMixUpV2

    partner = torch.randperm(len(X), generator=DRAW)
    params = {"mixup_pairs": partner, "mixup_lambdas": torch.full((len(X),), 0.3)}
    theirs = RandomMixUpV2(data_keys=["input"]).apply_transform(X, params)
    torch.testing.assert_close(mixed(X, Pairs(partner, 0.7)), theirs)
    assert not torch.allclose(mixed(X, Pairs(partner, 0.3)), theirs)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.77, 0.99])
def test_cutmix_is_timms(timm, monkeypatch, share):
    """The same partners, λ and centres: the same images, and the same λ after cutting off."""
    mixup = timm("data.mixup")
    monkeypatch.setattr(cut_mix, "beta", lambda alpha, stream: share)
    callback = CutMix()
    for seed in range(20):
        stream, same = (torch.Generator().manual_seed(seed) for _ in range(2))
        asked = SimpleNamespace(stream={callback.name: stream}.__getitem__, xb=X)
        pairs, cut = callback._drawn(asked)
        ours = cut_mix.composed(X, pairs.partner, cut)
        partner = torch.randperm(len(X), generator=same)
        centres = [int(torch.randint(side, (), generator=same)) for side in X.shape[-2:]]
        drawn = iter(centres)
        monkeypatch.setattr(np.random, "randint", lambda *limits, size, drawn=drawn: next(drawn))
        (top, bottom, left, right), lam = mixup.cutmix_bbox_and_lam(X.shape, share)
        theirs = X.clone()
        theirs[:, :, top:bottom, left:right] = X[partner][:, :, top:bottom, left:right]
        assert torch.equal(ours, theirs)
        assert pairs.share == pytest.approx(lam)
        assert torch.equal(pairs.partner, partner)


def test_label_smoothing_is_timms(timm):
    loss = timm("loss.cross_entropy").LabelSmoothingCrossEntropy(0.2)
    reference = by_hand(lambda model, x, y, number: loss(model(x), y))
    assert close(trained(LabelSmoothing(0.2)), reference)
    assert not close(trained(LabelSmoothing(0.1)), reference)


# ---- changes of images


def test_erased_rectangles_are_kornias():
    needed("kornia")
    from kornia.augmentation import RandomErasing

    draws = torch.Generator().manual_seed(1)
    top, left, height, width = (torch.randint(1, 5, (len(X),), generator=draws) for _ in range(4))
    sides = {"xs": left, "ys": top, "widths": width, "heights": height}
    params = {name: side.to(X.dtype) for name, side in sides.items()}
    params["values"] = torch.full((len(X),), 0.5)
    theirs = RandomErasing(p=1.0).apply_transform(X, params, {})
    assert torch.equal(erased(X, Boxes(top, left, height, width), 0.5), theirs)
    assert not torch.equal(erased(X, Boxes(left, top, height, width), 0.5), theirs)


@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_turned_and_enlarged_images_are_kornias(padding):
    needed("kornia")
    from kornia.geometry.transform import affine, get_rotation_matrix2d

    square = torch.randn(5, 2, 9, 9, generator=DRAW)
    angle, zoom = torch.linspace(-40, 40, 5), torch.linspace(0.8, 1.3, 5)
    centre = torch.full((5, 2), 4.0)
    matrix = get_rotation_matrix2d(centre, angle, zoom[:, None].expand(5, 2))
    theirs = affine(square, matrix, padding_mode=padding)
    none = torch.zeros(5)
    ours = warped(
        square, angle=torch.deg2rad(angle), zoom=zoom, down=none, right=none, padding=padding
    )
    inside = slice(2, 7)  # at the edge, kornia goes by the middle of the outermost pixels
    torch.testing.assert_close(
        ours[..., inside, inside], theirs[..., inside, inside], atol=1e-4, rtol=1e-4
    )
    other = warped(
        square, angle=-torch.deg2rad(angle), zoom=zoom, down=none, right=none, padding=padding
    )
    assert not torch.allclose(other[..., inside, inside], theirs[..., inside, inside], atol=0.1)


def test_brightness_and_contrast_are_kornias():
    needed("kornia")
    from kornia.enhance import adjust_brightness, adjust_contrast_with_mean_subtraction

    images, draws = torch.rand(5, 1, 9, 9, generator=DRAW) / 2 + 0.25, torch.linspace(0.6, 1.4, 5)
    none = torch.zeros(5)
    theirs = adjust_contrast_with_mean_subtraction(images, draws)
    torch.testing.assert_close(lit(images, brightness=none, contrast=draws), theirs)
    theirs = adjust_brightness(images, draws - 1, clip_output=False)
    torch.testing.assert_close(lit(images, brightness=draws - 1, contrast=none + 1), theirs)


def test_stochastic_depth_is_timms(timm):
    """Items are left out, or enlarged, alike; which ones is drawn otherwise."""
    drop_path = timm("layers.drop").drop_path
    branch = torch.randn(4000, 3, generator=DRAW)
    torch.manual_seed(0)
    ours, theirs = dropped(branch, 0.3), drop_path(branch, 0.3, training=True)
    stay, stayed = (values.any(1) for values in (ours, theirs))
    assert 100 < (stay & ~stayed).sum() < (stay & stayed).sum()
    torch.testing.assert_close(ours[stay & stayed], theirs[stay & stayed])
    assert stay.float().mean().item() == pytest.approx(0.7, abs=0.03)
    assert stayed.float().mean().item() == pytest.approx(0.7, abs=0.03)


# ---- averages


def test_ema_is_timms_without_the_weights_from_before_the_first_step(timm):
    """Theirs begins with the weights as they were, which count β^t after t steps."""
    decay, start = 0.8, network()
    reference = timm("utils.model_ema").ModelEmaV3(start, decay=decay)
    by_hand(plainly, after=reference.update)
    ours, rest = trained(EMA(decay)), decay ** (EPOCHS * len(BATCHES))
    with torch.no_grad():
        for p, w in zip(ours.parameters(), start.parameters(), strict=True):
            p.mul_(1 - rest).add_(w, alpha=rest)
    assert close(ours, reference.module)
    assert not close(trained(EMA(decay)), reference.module)


def test_the_average_that_teaches_is_that_of_ema_pytorch():
    needed("ema_pytorch")
    from ema_pytorch import EMA as Reference

    teacher = EMATeacher(0.8, weight=0.0)
    trained(teacher)
    model, averages = network(), []

    def follow(now):
        model.load_state_dict(now.state_dict())
        averages[0].update()

    averages.append(Reference(model, beta=0.8, min_value=0.8, update_after_step=-1, update_every=1))
    averages[0].update()  # their first call copies
    last = by_hand(plainly, after=follow)
    assert close(teacher.teacher, averages[0].ema_model)
    assert not close(teacher.teacher, last)


@pytest.mark.parametrize(("k", "alpha"), [(2, 0.5), (3, 0.8)])
def test_lookahead_is_that_of_pytorch_optimizer(k, alpha):
    """Of a number of steps that k divides: we move once more at the end."""
    needed("pytorch_optimizer")
    from pytorch_optimizer import Lookahead as Reference

    reference = by_hand(plainly, opt=lambda p: Reference(sgd(p), k=k, alpha=alpha))
    assert close(trained(Lookahead(k, alpha=alpha)), reference)
    assert not close(trained(), reference)


# ---- steps


@pytest.mark.parametrize(("rho", "adaptive"), [(0.2, False), (2.0, True)])
def test_sam_is_that_of_pytorch_optimizer(rho, adaptive):
    needed("pytorch_optimizer")
    from pytorch_optimizer import SAM as Reference

    model = network()
    opt = Reference(model.parameters(), optim.SGD, rho=rho, adaptive=adaptive, lr=0.1, momentum=0.9)
    for _ in range(EPOCHS):
        for x, y in BATCHES:

            def closure(x=x, y=y):
                opt.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                return loss

            closure()
            opt.step(closure)
    assert close(trained(SAM(rho, adaptive=adaptive)), model)
    assert not close(trained(), model)


def test_a_scheduler_of_timms_drives_a_fit_as_it_drives_a_loop(timm):
    """`TorchScheduler` calls it as timm's own script does, with the number of the epoch."""
    scheduler = timm("scheduler.cosine_lr").CosineLRScheduler

    def make(opt):
        return scheduler(opt, t_initial=EPOCHS, warmup_t=1, warmup_lr_init=0.01, lr_min=0.001)

    model = network()
    opt = sgd(model.parameters())
    theirs, rates = make(opt), []
    for epoch in range(EPOCHS):
        for x, y in BATCHES:
            rates.append(opt.param_groups[0]["lr"])
            F.cross_entropy(model(x), y).backward()
            opt.step()
            opt.zero_grad()
        theirs.step(epoch + 1)
    rate = TorchScheduler(make, "epoch")
    learn = Learner(network(), sgd, F.cross_entropy, DataBunch(BATCHES), [rate], progress=False)
    run = learn.fit(EPOCHS)
    assert run.history["lr"] == pytest.approx(rates)
    assert len({round(rate, 6) for rate in rates}) > 1
    assert close(learn.model, model)


def test_the_comparison_can_fail():
    """The control: a model that has moved a little is not close."""
    model = network()
    other = deepcopy(model)
    assert close(model, other)
    with torch.no_grad():
        other[1].weight[0, 0] += 1e-3
    assert not close(model, other)
