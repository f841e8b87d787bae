"""Trains a generator and a critic against each other."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lehr.base.autocast import in_single_precision
from lehr.base.call_with import call_with
from lehr.base.nested import describe
from lehr.callback import Callback
from lehr.callbacks.loops import adversarial
from lehr.callbacks.loops.adversarial_check import check
from lehr.errors import above_zero, positive_int, real_number
from lehr.events import Layer, Phase
from lehr.loop.losses import loss_of
from lehr.state.wrappers import bare
from lehr.types import is_sequence

if TYPE_CHECKING:
    from lehr.loop.run import Run

_OTHER = {"critic": "generator", "generator": "critic"}


class GAN(Callback):
    r"""Lets a generator learn to make items that a critic cannot tell from those of the data.

    They take turns: some steps of the critic, then some of the generator. The model has two parts
    with these names, the Learner two optimizers with these names. ``xb`` is a tensor of real items.
    The loss function gets the critic's outputs, ``(on_fake, on_real)``, and in the generator's turn
    ``(on_fake)`` alone: `GAN.wasserstein`, `GAN.logistic`, `GAN.hinge`, or one of your own.

    ``run.pred`` is what the generator made; so `Learner.predict` returns that, and metrics compare
    it with ``yb``, or with the real items if there is no ``yb``. ``critic_loss``,
    ``generator_loss`` and ``gradient_penalty`` are recorded. ``valid_loss`` is that of the critic.

    Args:
        latent: the numbers that an item is made from: how many, or a shape; standard normal.
        n_crit: steps of the critic in a turn; at least 1.
        n_gen: steps of the generator in a turn; at least 1.
        critic_below: end a turn of the critic as soon as its loss is below this: the mean over the
            batches of the step. None never does.
        generator_below: likewise.
        penalty: how much the gradient penalty counts; at least 0. 10 is usual. It keeps the norm of
            the critic's slope near 1 between real and made items.
        clip: after each of its steps, cut off the critic's weights to ``[-clip, clip]``; above 0.
            None leaves them.

    Raises:
        TypeError, ValueError: an argument cannot be used; at the start of a fit, if model,
            optimizers or loss function do not fit, or a callback is there that changes targets,
            has a teacher, or is `MicroBatches`; in a batch, if ``xb`` is no tensor.

    Example:
        >>> from torch import nn
        >>> from lehr import DataBunch, Learner
        >>> model = nn.ModuleDict({"generator": nn.Linear(2, 1), "critic": nn.Linear(1, 1)})
        >>> opts = {name: torch.optim.SGD(model[name].parameters(), 0.1) for name in model}
        >>> bunch = DataBunch([torch.randn(8, 1) + 3 for _ in range(12)])
        >>> gan = GAN(2, n_crit=5, n_gen=1, clip=0.1)
        >>> run = Learner(model, opts, GAN.wasserstein, bunch, [gan], progress=False).fit(1)
        >>> len(run.history["critic_loss"]), len(run.history["generator_loss"])
        (10, 2)

    Reference:
        Goodfellow et al. 2014, arXiv:1406.2661. Turns and clipping: Arjovsky et al. 2017,
        arXiv:1701.07875, algorithm 1. The penalty: Gulrajani et al. 2017, arXiv:1704.00028,
        algorithm 1.
    """

    phase = Phase.PREPARE
    layer = Layer.TRANSFORM
    state = ("turn", "done")
    by_length = False
    wasserstein = staticmethod(adversarial.wasserstein)
    logistic = staticmethod(adversarial.logistic)
    hinge = staticmethod(adversarial.hinge)

    def __init__(
        self,
        latent: int | Sequence[int],
        *,
        n_crit: int = 5,
        n_gen: int = 1,
        critic_below: float | None = None,
        generator_below: float | None = None,
        penalty: float = 0.0,
        clip: float | None = None,
    ) -> None:
        shape = list(latent) if is_sequence(latent) else [latent]
        self.latent = tuple(positive_int("latent", n, example=64) for n in shape)
        self.n_crit = positive_int("n_crit", n_crit, example=5)
        self.n_gen = positive_int("n_gen", n_gen, example=1)
        self.critic_below = _bound("critic_below", critic_below)
        self.generator_below = _bound("generator_below", generator_below)
        if (number := real_number("penalty", penalty)) < 0:
            raise ValueError(f"penalty must be at least 0; got {penalty}. Use e.g. penalty=10.")
        self.penalty = number
        self.clip = None if clip is None else above_zero("clip", clip)

    def begin_fit(self, run: "Run") -> None:
        """See that all is there, and begin with the critic."""
        check(run, self)
        self.turn, self.done = "critic", 0
        self._window: list[tuple[Tensor, float]] = []
        self._forget()

    def _forget(self) -> None:
        self._scores: tuple[Any, Any] = (None, None)
        self._losses: dict[str, Any] = {}

    def predict(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Make as many items as there are real ones, and let the critic look."""
        real, parts = run.xb, bare(run.model)
        if not isinstance(real, Tensor) or not real.is_floating_point():
            raise TypeError(
                f"GAN needs a tensor of real items as xb; got {describe(real)}. Give the Learner "
                "split_batch=, e.g. lambda batch: (batch[0].float(), None)."
            )
        generator, critic = parts.get_submodule("generator"), parts.get_submodule("critic")
        draws = run.stream(self.name, real.device)
        noise = torch.randn(
            len(real), *self.latent, generator=draws, device=real.device, dtype=real.dtype
        )
        run.yb = real if run.yb is None else run.yb
        if run.training and self.turn == "generator":
            with adversarial.frozen(critic):
                run.pred = generator(noise)
                scores = critic(run.pred), None
        else:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not run.training):
                run.pred = generator(noise)
            scores = critic(run.pred), critic(real)
        self._scores = in_single_precision(scores)

    def compute_loss(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Compute the loss of whose turn it is."""
        made, (pred, yb) = run.pred, self._scores
        call_with(run, proceed, pred=pred, yb=yb)
        turn = self.turn if run.training else "critic"
        losses = {f"{turn}_loss": run.mean_loss.detach()}
        if not run.training:
            loss = loss_of(run.loss_func, self._scores[0], None)
            losses["generator_loss"] = loss if run.plan.loss_is_mean else loss / run.weight
        elif turn == "critic" and self.penalty:
            critic, draws = (
                bare(run.model).get_submodule("critic"),
                run.stream(self.name, made.device),
            )
            penalty = adversarial.slope_penalty(critic, run.xb, made, draws)
            losses["gradient_penalty"] = penalty.detach()
            scale = 1 if run.plan.loss_is_mean else run.weight
            run.loss = run.loss + self.penalty * scale * penalty
        if not run.replaying:
            self._losses = losses
            if run.training:
                self._note(run, losses[f"{turn}_loss"])

    def _note(self, run: "Run", loss: Tensor) -> None:
        """Keep the loss of a batch until the step, with the weight of the batch."""
        if not run.window.batches:
            self._window.clear()
        if run.weight:
            self._window.append((loss, run.weight))

    def after_loss(self, run: "Run") -> None:
        """Record the losses."""
        for name, loss in self._losses.items():
            run.log(name, loss)

    def step(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Let one of the optimizers step."""
        opts: Any = run.opt
        run.opt = {self.turn: opts[self.turn]}
        try:
            proceed()
        finally:
            run.opt = opts

    def after_step(self, run: "Run") -> None:
        """Clip the critic, and see whose turn is next."""
        critic = self.turn == "critic"
        if critic and self.clip is not None:
            with torch.no_grad():
                for p in bare(run.model).get_submodule("critic").parameters():
                    p.clamp_(-self.clip, self.clip)
        self.done += 1
        most = self.n_crit if critic else self.n_gen
        below = self.critic_below if critic else self.generator_below
        if self.done >= most or (below is not None and self._mean_loss(run) < below):
            self.turn, self.done = _OTHER[self.turn], 0

    def _mean_loss(self, run: "Run") -> Tensor:
        """That of whose turn it is, over the batches of the step, in all processes."""
        losses = [loss for loss, _ in self._window] or [torch.zeros(())]
        weights = torch.tensor([weight for _, weight in self._window] or [0.0]).to(losses[0])
        total, weight = run.engine.sum(torch.stack([torch.stack(losses) @ weights, weights.sum()]))
        return total / weight

    def after_batch(self, run: "Run") -> None:
        """Keep no graph."""
        self._forget()

    def __repr__(self) -> str:
        return f"GAN({self.latent}, n_crit={self.n_crit}, n_gen={self.n_gen})"


def _bound(name: str, value: float | None) -> float | None:
    return None if value is None else real_number(name, value)
