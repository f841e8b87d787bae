"""The gradients of one run whose model is sharded by FSDP2; and its states, whole and in parts."""

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from lehr.base.nested import map_beside, map_tensors
from lehr.base.sharing import own_part
from lehr.distributed.data_parallel import average
from lehr.optim import optimizers
from lehr.state.disk.shards import can_hold
from lehr.state.optimizer import is_optimizer
from lehr.state.pieces import Pieces, Shard
from lehr.types import is_mapping


def check_mesh(mesh: Any) -> None:
    """See that a model can be sharded over this.

    Raises:
        TypeError: it is neither a DeviceMesh nor two numbers.
        ValueError: a DeviceMesh has too many dimensions, or none of their names.

    Example:
        >>> check_mesh((2, 4))
    """
    if isinstance(mesh, DeviceMesh):
        if mesh.ndim > 2:
            raise ValueError(
                "mesh must have one or two dimensions; its shape is "
                f"{tuple(mesh.shape)}. {_EXAMPLE}"
            )
        if mesh.ndim == 2 and not mesh.mesh_dim_names:
            raise ValueError(f"the two dimensions of mesh must have names. {_EXAMPLE}")
        return
    numbers = cast("tuple[Any, ...]", mesh) if isinstance(mesh, tuple) else ()
    if len(numbers) != 2 or not all(type(number) is int and number > 0 for number in numbers):
        raise TypeError(
            "mesh must be two whole numbers above 0, (copies, parts), or a DeviceMesh; got "
            f"{mesh!r}. {_EXAMPLE}"
        )


_EXAMPLE = "Give e.g. mesh=(2, 4) for 8 processes: two copies, each of them in four parts."


def mesh_of(shape: tuple[int, int] | DeviceMesh, world: int, timeout: float) -> DeviceMesh:
    """A mesh of all processes: the one that was given, or one that is made now.

    Args:
        shape: how many copies, and how many parts of each; neighbours have the same copy.
        world: how many processes there are.
        timeout: seconds after which a silent process counts as lost.

    Raises:
        ValueError: it is one of more processes, or of fewer.
    """
    made = isinstance(shape, DeviceMesh)
    sizes = tuple(shape.shape) if made else shape
    if math.prod(sizes) != world:
        raise ValueError(
            f"mesh must be of all {world} processes; it is one of {' × '.join(map(str, sizes))}. "
            f"{_EXAMPLE}"
        )
    if made:
        return shape
    ranks = torch.arange(world).view(sizes)
    groups = [
        dist.new_subgroups_by_enumeration(those.tolist(), timeout=timedelta(seconds=timeout))[0]
        for those in (ranks.T, ranks)
    ]
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    return DeviceMesh.from_group(
        cast("Any", groups), device.type, mesh=ranks, mesh_dim_names=("copies", "parts")
    )


def shard(model: nn.Module, parts: Iterable[nn.Module], mesh: DeviceMesh | None = None) -> None:
    """Let every process keep a shard of each parameter, and gather a part while it is at work.

    Args:
        model: whose parameters become DTensors.
        parts: modules of it that are gathered one at a time; what is left is one part more.
        mesh: of the processes; None for one dimension of all.

    Raises:
        TypeError, ValueError: they are no modules, or not of this model.
    """
    example = "Return its large modules, e.g. shard=lambda model: model.layers."
    if not isinstance(parts, Iterable):
        raise TypeError(f"shard(model) must be modules of the model; got {parts!r}. {example}")
    own, modules = set(model.modules()), list(parts)
    for module in modules:
        if not isinstance(module, nn.Module):
            kind = type(module).__name__
            raise TypeError(f"shard(model) must be modules; one of them is a {kind}. {example}")
        if module not in own:
            raise ValueError(f"shard(model) has {module}, which is not in the model. {example}")
    for module in dict.fromkeys([*modules, model]):
        fully_shard(module, mesh=mesh)


def is_sharded(model: nn.Module) -> bool:
    """Whether a model's parameters are distributed already.

    Example:
        >>> is_sharded(nn.Linear(1, 1))
        False
    """
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def check_shards(model: nn.Module, world: int) -> None:
    """See that what is distributed of a model is sharded by FSDP2 over all processes.

    Raises:
        ValueError: it is distributed in another way, as by tensor parallelism.
    """
    fully = [m for m in model.modules() if isinstance(m, FSDPModule)]
    known = {id(p) for module in fully for p in cast("nn.Module", module).parameters()}
    for name, parameter in model.named_parameters():
        if not isinstance(parameter, DTensor):
            continue
        mesh, (*copies, part) = parameter.device_mesh, parameter.placements
        fits = part.is_shard() and all(copy.is_replicate() for copy in copies)
        if id(parameter) not in known or not fits or mesh.size() != world:
            raise ValueError(
                f"the parameter {name} is distributed over a mesh of shape {tuple(mesh.shape)}"
                f"{'' if id(parameter) in known else ' without fully_shard'}, and Distributed "
                f"averages gradients over all {world} processes alike. A model may be sharded by "
                "fully_shard(module) over all of them, with copies or without; tensor parallelism "
                "cannot be trained."
            )


def check_optimizers(opt: Any) -> None:
    """See that each optimizer updates every parameter by itself.

    Args:
        opt: an optimizer, or a dict of them.

    Raises:
        ValueError: one joins them all in one vector.

    Example:
        >>> check_optimizers(torch.optim.SGD([torch.zeros(1)], lr=0.1))
    """
    for one in optimizers.each(opt):
        if isinstance(one, torch.optim.LBFGS):
            raise ValueError(
                f"{type(one).__name__} joins all parameters in one vector, of which every process "
                "would have to keep all, and the model is in shards. Use an optimizer that updates "
                "each parameter by itself, e.g. AdamW; or give Distributed() without shard."
            )


class Sharded:
    """Averages the gradients of what is not sharded; FSDP2 has averaged the others.

    It does so in every batch: gradients that it held back until a window closes could not be
    dropped with the window.

    Args:
        run: the run.
        count: ``tensor -> its sum over all processes``.

    Raises:
        ValueError: an optimizer that is to train cannot do it with shards.
    """

    def __init__(self, run: Any, count: Callable[[Tensor], Tensor]) -> None:
        if run.plan.trains:
            check_optimizers(run.opt)
        self.run, self.count, self.world = run, count, dist.get_world_size()
        self._parts = [m for m in run.model.modules() if isinstance(m, FSDPModule)]

    def open(self) -> None:
        """The run begins."""

    def close(self) -> None:
        """The run is over."""

    def expect(self, *, closes: bool) -> bool:
        """A batch is about to be predicted. One that was cancelled may have left parts gathered.

        Returns:
            Whether its backward pass waits for the other processes.
        """
        self._let_go()
        return self.run.training

    def _let_go(self) -> None:
        for part in self._parts:  # else weights that were gathered before a step would be used
            part.reshard()

    def predicting(self, predict: Callable[[], None]) -> Callable[[], None]:
        """What predicts: as in one process. In training, the backward pass lets go of the parts."""

        def predict_and_let_go() -> None:
            predict()
            if not self.run.training:
                self._let_go()

        return predict_and_let_go

    def finish(self, *, expected: bool) -> None:
        """Average what is not sharded."""
        if not expected:
            self._let_go()
        trained = self.run.trained_parameters()
        average([p for p in trained if not isinstance(p, DTensor)], self.count, self.world)


def whole(state: Any, *, kept: bool) -> Any:
    """A state with every shard gathered, on the CPU: all processes must ask, one tensor at a time.

    Args:
        state: containers of tensors.
        kept: whether this process keeps it; others get the state without these tensors.
    """

    def gathered(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, DTensor):
            return tensor
        full = tensor.full_tensor()
        return full.cpu() if kept else torch.empty(0)

    return map_tensors(gathered, state)


def own(state: Any, rank: int, world: int) -> Any:
    """A state in which this process's shards stand for the tensors that are sharded.

    What is distributed in a way that a file cannot hold in parts is gathered: all must ask.

    Args:
        state: containers of tensors.
        rank: of this process.
        world: how many there are.
    """

    def shard(tensor: Tensor) -> Any:
        if not isinstance(tensor, DTensor):
            return tensor
        shape, (first, *others) = tuple(tensor.shape), tensor.placements
        cut = None if others or not first.is_shard() else cast("Any", first).dim
        over_all = tensor.device_mesh.size() == world
        if cut is not None and over_all and 0 not in shape and can_hold(tensor.dtype):
            return Shard(own_part(tensor.detach()), shape, cut, part=rank, parts=world)
        return tensor.full_tensor().cpu()

    return map_tensors(shard, state)


def parted(entry: Any, state: Any) -> Any:
    """A whole state, as this process's shards of it, where the entry has shards.

    Args:
        entry: what the state is to be loaded into.
        state: as `whole` returns it; what is sharded already stays as it is.
    """
    if is_optimizer(entry) and is_mapping(state):
        state = {**state, "state": _of_parameters(entry, state["state"])}
    return map_beside(_like, state, entry.state_dict())


def _of_parameters(opt: Any, state: Mapping[Any, Any]) -> dict[Any, Any]:
    """What an optimizer keeps of its parameters: it may have none of that yet."""
    parameters = [p for group in opt.param_groups for p in group["params"]]
    return {
        number: {name: _as_parameter(value, parameters[number]) for name, value in values.items()}
        for number, values in state.items()
    }


def _as_parameter(value: Any, parameter: Tensor) -> Any:
    if isinstance(value, (Tensor, Pieces)) and value.shape == parameter.shape:
        return _like(value, parameter)
    return value


def _like(saved: Any, now: Any) -> Any:
    """What was saved, in shards if what is there now is; or to be read so."""
    if isinstance(saved, Pieces) and isinstance(now, DTensor):
        return saved.like(now) if tuple(now.shape) == saved.shape else saved
    if not isinstance(saved, Tensor) or isinstance(saved, DTensor) or not isinstance(now, DTensor):
        return saved
    there = saved.to(now.device)
    return distribute_tensor(there, now.device_mesh, now.placements, src_data_rank=None)
