"""BatchNorm whose statistics are those of the global batch, on any device."""

from typing import Any, cast, final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # type: ignore[reportPrivateUsage]

from lehr.distributed.sharded import is_sharded


@final
class SyncedBatchNorm(_BatchNorm):
    """What torch's SyncBatchNorm does, on the CPU as well.

    Elsewhere it is torch's. On the CPU, which that one and DistributedDataParallel refuse, mean and
    variance are summed over all processes in two messages, and so are their gradients. A share may
    be empty.

    Example:
        >>> SyncedBatchNorm(3)(torch.ones(2, 3)).shape     # alone, as torch's BatchNorm
        torch.Size([2, 3])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(batch, num_features, …)`` by the statistics over all processes."""
        together = dist.is_initialized() and dist.get_world_size() > 1
        if not (self.training and together and input.is_cpu):
            return nn.SyncBatchNorm.forward(cast("Any", self), input)
        self._check_input_dim(input)
        over = [0, *range(2, input.ndim)]
        shape = [1, -1, *[1] * (input.ndim - 2)]
        count = torch.tensor(float(input.numel() // input.size(1)))
        dist.all_reduce(count)
        if count < 2:
            raise ValueError(
                "BatchNorm needs more than one value for each channel in training; this batch has "
                "one, of all processes together. Give the loader drop_last=True."
            )
        mean = _summed(input.sum(over)) / count
        centred = input - mean.view(shape)
        variance = _summed(centred.square().sum(over)) / count
        if self.track_running_stats:
            self._track(mean.detach(), variance.detach() * count / (count - 1))
        normed = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normed = normed * self.weight.view(shape)
            for bias in self.parameters(recurse=False):
                if bias is not self.weight:  # torch lets it be left out
                    normed = normed + bias.view(shape)
        return normed.to(input.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        nn.SyncBatchNorm._check_input_dim(cast("Any", self), input)  # type: ignore[reportPrivateUsage]

    def _check_non_zero_input_channels(self, input: Tensor) -> None:
        """Asked for by torch's; it has been checked by then."""

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        batches = cast("Tensor", self.num_batches_tracked).add_(1)
        share = 1.0 / batches.item() if self.momentum is None else self.momentum
        for running, now in ((self.running_mean, mean), (self.running_var, variance)):
            cast("Tensor", running).lerp_(now.to(cast("Tensor", running)), share)


class _Summed(torch.autograd.Function):
    """The sum over all processes; the gradient of it is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _summed(values: Tensor) -> Tensor:
    return cast("Tensor", _Summed.apply(values))


def synchronize(model: nn.Module) -> None:
    """Let every BatchNorm layer of a model take its statistics over all processes.

    Layers are replaced in the model; parameters and buffers stay the same tensors. A layer of a
    subclass of torch's classes is left as it is.

    Raises:
        ValueError: the model is sharded already, or is a BatchNorm layer itself.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        >>> synchronize(model)
        >>> type(model[1]).__name__, model[1].eps
        ('SyncedBatchNorm', 1e-05)
    """
    if is_sharded(model):
        raise ValueError(
            "sync_batchnorm=True replaces layers, which cannot be done in a model that is sharded "
            "already. Call nn.SyncBatchNorm.convert_sync_batchnorm(model) before fully_shard, or "
            "let lehr shard it: Distributed(shard=…, sync_batchnorm=True)."
        )
    if _is_plain(model):
        raise ValueError(
            "sync_batchnorm=True replaces layers in a model; this one is a BatchNorm layer itself. "
            "Put it into an nn.Sequential."
        )
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if _is_plain(layer):
                parent.register_module(name, _replaced(layer))


_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def _is_plain(layer: nn.Module) -> bool:
    return type(layer) in _PLAIN


def _replaced(layer: nn.Module) -> SyncedBatchNorm:
    made = SyncedBatchNorm.__new__(SyncedBatchNorm)
    vars(made).update(vars(layer))  # hooks, modes and tensors included
    made.process_group = cast("Any", getattr(layer, "process_group", None))
    return made
