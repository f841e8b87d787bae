"""Models beyond the lesson's MLP, each with what it is trained on: by hand and by lehr alike."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from side_by_side import Fit, hand_written
from torch import Tensor, nn, optim

from lehr import Callback, DataBunch, Learner, models
from lehr.data import DataLoader, Dataset
from lehr.data.published.cifar10 import read_cifar10

VOCABULARY = 256


@dataclass(frozen=True)
class Task:
    """A model, its data and its optimizer; every training begins with the same weights."""

    model: Callable[[], nn.Module]
    data: Callable[[int], tuple[Tensor, Tensor]]
    """so many items"""
    batch_size: int
    opt: Callable[[Iterable[nn.Parameter]], optim.Optimizer]
    steps: int
    """of a turn"""
    device: str = "cpu"

    def new_model(self) -> nn.Module:
        torch.manual_seed(0)
        return self.model().to(self.device)

    def items(self, steps: int | None = None) -> tuple[Tensor, Tensor]:
        """Those of one turn, or of so many steps."""
        torch.manual_seed(1)
        x, y = self.data((steps or self.steps) * self.batch_size)
        return x.to(self.device), y.to(self.device)

    def by_hand(
        self,
        items: tuple[Tensor, Tensor],
        wrap: Callable[[nn.Module], Callable[[Tensor], Tensor]] | None = None,
    ) -> Fit:
        """A turn without a library; ``wrap`` makes of the model what predicts in its stead."""
        model = self.new_model()
        return hand_written(
            *items,
            self.opt,
            1,
            model,
            batch_size=self.batch_size,
            loss_func=mean_cross_entropy,
            predict=None if wrap is None else wrap(model),
        )

    def by_lehr(
        self,
        items: tuple[Tensor, Tensor],
        callbacks: Sequence[Callback] = (),
        *,
        compile: bool | str = False,
    ) -> tuple[Learner, Fit]:
        """The same turn with a Learner, which comes first."""
        data = DataBunch(DataLoader(Dataset(*items), self.batch_size, shuffle=True))
        model: Any = self.new_model()
        opt = self.opt(model.parameters())
        learn = Learner(
            model, opt, mean_cross_entropy, data, callbacks, progress=False, compile=compile
        )
        return learn, partial(learn.fit, 1)


def mean_cross_entropy(pred: Tensor, target: Tensor) -> Tensor:
    """Of classes ``(batch,)`` or of tokens ``(batch, tokens)``; ``pred`` has one dimension more."""
    return F.cross_entropy(pred.flatten(0, -2), target.flatten())


@cache
def photographs() -> tuple[Tensor, Tensor]:
    """CIFAR-10's training images, as bytes, with their classes, in the order of these."""
    return read_cifar10()[0]


def random_images(items: int, shape: Sequence[int] = (1, 28, 28)) -> tuple[Tensor, Tensor]:
    """Images and classes."""
    return torch.randn(items, *shape), torch.randint(10, (items,))


def random_tokens(items: int, length: int) -> tuple[Tensor, Tensor]:
    """Tokens ``(items, length)``, and at each the one that follows."""
    tokens = torch.randint(VOCABULARY, (items, length + 1))
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def resnet18(widths: Sequence[int] = (64, 128, 256, 512)) -> nn.Module:
    """Sixteen convolutions in eight residual blocks, one before and a linear layer behind."""
    return models.resnet(3, 10, widths=widths, blocks=2)


class GPT(nn.Module):
    """A transformer that predicts the next token, with what is usual since GPT-2."""

    def __init__(self, width: int, depth: int, heads: int, length: int) -> None:
        super().__init__()
        self.token = nn.Embedding(VOCABULARY, width)
        self.place = nn.Parameter(torch.randn(length, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY, bias=False)
        self.head.weight = self.token.weight
        nn.init.normal_(self.token.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """From ``(batch, length)`` to ``(batch, length, tokens)``."""
        return self.head(self.norm(self.blocks(self.token(tokens) + self.place)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asked, self.answer = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.asked(self.before(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = parts.permute(2, 0, 3, 1, 4)  # each (batch, heads, length, width of a head)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.answer(seen.transpose(1, 2).flatten(2))
        return x + self.narrow(F.gelu(self.wide(self.between(x))))
