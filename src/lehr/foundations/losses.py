"""From scores to one number that says how wrong they are, on nothing but tensor arithmetic."""

import torch
from torch import Tensor


def logsumexp(x: Tensor, dim: int = -1, keepdim: bool = False) -> Tensor:
    """The log of the sum of ``exp(x)``, which no finite ``x`` can overflow.

    log Σ exp(xⱼ) = m + log Σ exp(xⱼ − m) with m the largest xⱼ: no exponent is above 0 then. Where
    m is infinite nothing is subtracted (∞ − ∞ would be nan).

    Example:
        >>> logsumexp(torch.tensor([1000.0, 1000.0]))
        tensor(1000.6932)
    """
    m = _finite_max(x, dim)
    result = m + (x - m).exp().sum(dim, keepdim=True).log()
    return result if keepdim else result.squeeze(dim)


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    """Positive shares that sum to 1 along ``dim``: exp(xᵢ) / Σ exp(xⱼ).

    Example:
        >>> softmax(torch.tensor([0.0, 0.0, 1000.0]))
        tensor([0., 0., 1.])
    """
    powers = (x - _finite_max(x, dim)).exp()
    return powers / powers.sum(dim, keepdim=True)


def log_softmax_naive(x: Tensor, dim: int = -1) -> Tensor:
    """The log of `softmax`; -inf for every share too small to be a float."""
    return softmax(x, dim).log()


def log_softmax_sum(x: Tensor, dim: int = -1) -> Tensor:
    """Subtracts log Σ exp(x); wrong for scores whose ``exp`` is no float, above 88 in float32."""
    return x - x.exp().sum(dim, keepdim=True).log()


def log_softmax(x: Tensor, dim: int = -1) -> Tensor:
    """Subtracts `logsumexp`; right for all finite scores.

    Example:
        >>> scores = torch.tensor([0.0, 200.0])
        >>> log_softmax_naive(scores), log_softmax_sum(scores), log_softmax(scores)
        (tensor([-inf, 0.]), tensor([-inf, -inf]), tensor([-200., 0.]))
    """
    return x - logsumexp(x, dim, keepdim=True)


def nll(log_probs: Tensor, target: Tensor) -> Tensor:
    """Minus the mean log-probability of the targets (negative log likelihood).

    ``log_probs`` as of `log_softmax`, ``(batch, classes)``; ``target`` class indices, ``(batch,)``.
    """
    if log_probs.numel() and (largest := log_probs.max().item()) > 0:
        raise ValueError(
            f"log_probs must be at most 0; got {largest:.4g}. Take nll_of_probs of probabilities, "
            "cross_entropy of scores."
        )
    return -_at_target(log_probs, target).mean()


def nll_of_probs(probs: Tensor, target: Tensor) -> Tensor:
    """The same of probabilities: the log is taken here, of the targets' alone.

    Example:
        >>> probs = torch.tensor([[0.01, 0.98, 0.01], [0.001, 0.001, 0.998]])
        >>> nll_of_probs(probs, torch.tensor([1, 2]))
        tensor(0.0111)
    """
    return -_at_target(probs, target).log().mean()


def cross_entropy(x: Tensor, target: Tensor) -> Tensor:
    """`nll` of the `log_softmax` of scores ``(batch, classes)``: log(classes) if all are equal."""
    return nll(log_softmax(x, dim=1), target)


def binary_cross_entropy(p: Tensor, y: Tensor) -> Tensor:
    """The mean of −y log p − (1 − y) log(1 − p); a ``y`` of 0 or 1 picks one of the two terms.

    A probability of 0 counts as the smallest normal float, so that loss and gradient stay finite.

    Example:
        >>> binary_cross_entropy(torch.tensor([0.9]), torch.tensor([1.0]))
        tensor(0.1054)
    """
    tiny = torch.finfo(p.dtype).tiny  # its log is −87.3 in single precision; torch's ends at −100
    return -(y * p.clamp(min=tiny).log() + (1 - y) * (1 - p).clamp(min=tiny).log()).mean()


def accuracy(pred: Tensor, yb: Tensor) -> Tensor:
    """The share of rows whose largest score, the first of several, stands at the target's index.

    Raises:
        ValueError: there are no rows, or not one target a row.
    """
    if len(pred) == 0:
        raise ValueError("pred must hold at least one row; got none. Leave empty batches out.")
    best = pred.argmax(dim=1)
    if best.shape != yb.shape:
        raise ValueError(
            f"yb must have shape {tuple(best.shape)}, one target a row of pred; "
            f"got {tuple(yb.shape)}. Squeeze or reshape it."
        )
    return (best == yb).float().mean()


def _finite_max(x: Tensor, dim: int) -> Tensor:
    """The largest along ``dim``, which is kept; 0 where it is infinite."""
    return x.detach().amax(dim, keepdim=True).nan_to_num(posinf=0.0, neginf=0.0)


def _at_target(rows: Tensor, target: Tensor) -> Tensor:
    """The entry of each row that its target names; no one-hot matrix is built."""
    return rows[torch.arange(len(rows), device=rows.device), target]
