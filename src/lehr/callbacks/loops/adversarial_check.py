"""What a run must have for a generator and a critic to be trained, and what it must not."""

from typing import TYPE_CHECKING

from lehr.callback import Callback
from lehr.callbacks.loops.distillation import Distillation
from lehr.callbacks.loops.ema_teacher import EMATeacher
from lehr.callbacks.loops.micro_batches import MicroBatches
from lehr.callbacks.mixing.cut_mix import CutMix
from lehr.callbacks.mixing.label_smoothing import LabelSmoothing
from lehr.callbacks.mixing.mix_up import MixUp
from lehr.loop.beside import refuse_beside
from lehr.loop.losses import wanted_by
from lehr.optim import optimizers
from lehr.state.wrappers import bare

if TYPE_CHECKING:
    from lehr.loop.run import Run

_PARTS = ("critic", "generator")

_REFUSED = (
    (
        MicroBatches,
        "it cuts what the model is called on, and GAN calls the model's two parts. Make the "
        "batches smaller, and attach Accumulate.",
    ),
    (
        (MixUp, CutMix, LabelSmoothing),
        "it changes targets, and the critic has none. Change the real items in the data set, or "
        "with BatchTransform.",
    ),
    (
        (Distillation, EMATeacher),
        "a teacher is called as the model is, and GAN calls the model's two parts. Leave one of "
        "the two out; EMA averages the weights of both parts.",
    ),
)
"""What cannot be used together with a GAN, and why."""


def check(run: "Run", gan: Callback) -> None:
    """See that model, optimizers, loss function and the other callbacks fit.

    Args:
        run: which begins.
        gan: the callback.

    Raises:
        TypeError, ValueError: they do not.

    Example:
        >>> from lehr.callbacks import GAN
        >>> from lehr.testing import tiny_learner
        >>> tiny_learner([GAN(2)]).fit(1)
        Traceback (most recent call last):
        ValueError: GAN needs a generator and a critic; the model has no critic and ...
    """
    for kinds, why in _REFUSED:
        refuse_beside(run, gan, kinds, why)
    parts = dict(bare(run.model).named_children())
    opts = optimizers.by_name(run.opt)
    for what, names in (("the model", parts), ("opt", opts)):
        if missing := [name for name in _PARTS if name not in names]:
            raise ValueError(
                f"GAN needs a generator and a critic; {what} has no {' and no '.join(missing)}. "
                'Name two parts of the model so, and give opt={"generator": …, "critic": …}.'
            )
    wanted = wanted_by(run.loss_func)
    if wanted.always or not wanted.target:
        raise TypeError(
            "with GAN, loss_func gets (on_fake, on_real) in the critic's turn and (on_fake) in the "
            "generator's. Give e.g. GAN.wasserstein, or def loss(on_fake, on_real=None)."
        )
