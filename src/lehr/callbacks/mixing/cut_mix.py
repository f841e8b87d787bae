"""Puts a rectangle of one image into another."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lehr.base.call_with import call_with
from lehr.base.graph_part import GraphPart
from lehr.base.sending import sent
from lehr.callback import Callback
from lehr.callbacks.augmenting.batches import image_batch
from lehr.callbacks.mixing.pairs import Pairs, beta, compute_loss, loss_part, partners
from lehr.errors import above_zero
from lehr.events import Layer

if TYPE_CHECKING:
    from lehr.loop.run import Run


class CutMix(Callback):
    r"""Trains on images of which a rectangle is that of another image, with both their losses.

    .. math:: L = λ L(\hat y, y_i) + (1 - λ) L(\hat y, y_j)

    λ is the share of the image's own pixels. For each batch one rectangle is drawn, with a share of
    1 - λ of the area, λ from Beta(α, α), and its centre anywhere in the image; what would lie
    outside is cut off, and λ corrected. Any loss will do. Validation is left alone.

    Args:
        alpha: α, above 0; with 1 all shares are as likely.

    Raises:
        TypeError, ValueError: ``alpha`` cannot be used; in training, if ``xb`` is no batch of
            images of shape ``(batch, channels, height, width)``.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lehr import DataBunch, Learner
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        >>> batches = [(torch.randn(8, 1, 4, 4), torch.arange(8) % 2)]
        >>> opt = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> loss_func = nn.functional.cross_entropy
        >>> learn = Learner(model, opt, loss_func, DataBunch(batches), [CutMix()], progress=False)
        >>> learn.fit(1).n_steps
        1

    Reference:
        Yun et al. 2019, arXiv:1905.04899, section 3 and algorithm A1.
    """

    layer = Layer.TRANSFORM
    state = ()
    by_length = False
    in_graph = ("predict", "compute_loss")

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = above_zero("alpha", alpha)

    def predict(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Predict from the composed images."""
        self._pairs = None
        if not run.training:
            proceed()
            return
        self._pairs, cut = self._drawn(run)
        call_with(run, proceed, xb=composed(run.xb, self._pairs.partner, cut))

    def compute_loss(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Compute the loss for both targets."""
        compute_loss(run, proceed, self._pairs)

    def graph_part(self, method: str, run: "Run") -> GraphPart:
        """The same, for the graph of a fused step."""
        if method == "compute_loss":
            assert self._pairs is not None
            return loss_part(run, self._pairs)
        self._pairs, cut = self._drawn(run)
        return GraphPart(_from_composed, {"partner": self._pairs.partner, "cut": cut})

    def _drawn(self, run: "Run") -> tuple[Pairs, Tensor]:
        """Who is composed with whom, and the rectangle, as True where it is."""
        images = image_batch(run.xb, self, "MixUp takes tensors of any shape.")
        stream = run.stream(self.name)
        partner = torch.randperm(len(images), generator=stream)
        height, width = images.shape[-2:]
        side = (1 - beta(self.alpha, stream)) ** 0.5
        top, bottom = _span(height, side, stream)
        left, right = _span(width, side, stream)
        cut = torch.zeros(height, width, dtype=torch.bool)
        cut[top:bottom, left:right] = True
        share = 1 - (bottom - top) * (right - left) / (height * width)
        return Pairs(partner, share), sent(cut, images.device)

    def __repr__(self) -> str:
        return f"CutMix({self.alpha})"


def _from_composed(
    predict: Callable[[Any, Any], Any],
    args: Sequence[Any],
    named: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    numbers: Mapping[str, Tensor],
) -> Any:
    return predict([composed(args[0], **tensors)], named)


def composed(images: Tensor, partner: Tensor, cut: Tensor) -> Tensor:
    """The images, with those of their partners where ``cut`` is True.

    Example:
        >>> images = torch.tensor([[[[1, 1]]], [[[2, 2]]]])
        >>> composed(images, torch.tensor([1, 0]), torch.tensor([[True, False]])).flatten()
        tensor([2, 1, 1, 2])
    """
    return torch.where(cut, partners(images, partner), images)


def _span(size: int, share: float, generator: torch.Generator) -> tuple[int, int]:
    """First and last (exclusive) of about ``share * size`` neighbours around a random place."""
    centre = int(torch.randint(size, (), generator=generator))
    length = int(size * share)
    return max(centre - length // 2, 0), min(centre - length // 2 + length, size)
