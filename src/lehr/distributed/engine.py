"""The engine of several processes, started by torchrun or by whoever makes a process group."""

import atexit
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from itertools import chain
from typing import Any, Literal, cast, final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.nn.parameter import is_lazy

from lehr.base.sharing import Share, part_of, without_items
from lehr.base.values import check_default_device
from lehr.distributed import sharded
from lehr.distributed.alike import Given, differences, of_model
from lehr.distributed.batch_norm import synchronize
from lehr.distributed.control import Control, Said
from lehr.distributed.data_parallel import DataParallel, check_wrappers
from lehr.distributed.failures import Failures, leave
from lehr.distributed.group import is_made_here, join, release
from lehr.distributed.meta import Init, check_init, is_meta, materialize, without_entry
from lehr.distributed.together import Together
from lehr.engine import BY_PROCESS, Engine, Wish
from lehr.errors import positive_int
from lehr.state.disk.weights import load_weights
from lehr.state.wrappers import bare


@final
class Distributed(Engine):
    """Lets several processes train as one would on the same batches.

    A process group that exists is used, and left as it is. Otherwise the one that torchrun
    describes is made. Without either, there is one process, and nothing changes. Make one in every
    process, and give it to the Learner.

    ``batch_size`` is that of the global batch: each process reads its share of every batch, and the
    gradient is that of the whole. Numbers that lehr records are those of all processes. Progress,
    logs and checkpoints are written by the first process alone.

    A model that was built on the meta device gets its values here, module by module: with
    ``shard``, no process ever has more of it than its part, and one module. ``learn.load`` then
    loads others, if there are some.

    Args:
        shard: ``model -> its large modules``, such as ``lambda model: model.layers``: each process
            keeps a shard of every parameter, and these modules are gathered while they are at work
            (FSDP2). The optimizer must be made by the Learner: give a function, such as
            ``partial(AdamW, lr=1e-3)``. None keeps all of the model in every process. A model that
            is sharded already is left as it is.
        mesh: ``(copies, parts)``, two numbers whose product is that of the processes: ``shard``
            distributes the model among so many neighbours, and each such group has a copy of it
            (hybrid sharding). Or a DeviceMesh of all processes, with one dimension or these two.
            None shards it among all.
        data: how loaders that are not lehr's are read: ``"whole"``, if in every process they yield
            the same global batches, which are shared out; ``"own"``, if they yield batches of each
            process's own. None refuses such a loader.
        init: gives a module of a model on the meta device its first values, in place: it is called
            with each module that has parameters or buffers of its own. None calls its
            ``reset_parameters()``, as torch's layers have it. Or the path of a safetensors file,
            or of a checkpoint: each process reads its part of every tensor from there, and no
            value is drawn, but by ``reset_parameters()`` for a module with buffers that are not in
            the model's ``state_dict``.
        sync_batchnorm: replace the BatchNorm layers of the model by such as take their statistics
            over the batches of all processes: torch's SyncBatchNorm, on the CPU as well. Otherwise
            each process takes them over its share.
        find_unused_parameters: as in DistributedDataParallel: whether some parameters may have no
            part in the loss of some batches. It costs a walk through every graph.
        late_flags_above: of more processes than this, none waits for the message of a step: the
            weight of the batch stays on the device, and what else was said is read one step later.
            So a run ends one step later when one process wants it to, and a batch without weight in
            all processes is a step with a gradient of 0, where it is none in one process.
        timeout: seconds after which a process that says nothing counts as lost.

    Raises:
        TypeError, ValueError: an argument cannot be used.

    Example:
        >>> engine = Distributed()     # torchrun --nproc-per-node=2 train.py makes it two
        >>> engine.rank, engine.world
        (0, 1)
    """

    def __init__(
        self,
        shard: Callable[[Any], Iterable[nn.Module]] | None = None,
        *,
        mesh: tuple[int, int] | DeviceMesh | None = None,
        data: Literal["whole", "own"] | None = None,
        init: Init | str | os.PathLike[str] | None = None,
        sync_batchnorm: bool = False,
        find_unused_parameters: bool = False,
        late_flags_above: int = 64,
        timeout: float = 600.0,
    ) -> None:
        if shard is not None and not callable(shard):
            raise TypeError(
                f"shard must be a function from the model to its large modules; got {shard!r}. "
                "Write e.g. lambda model: model.layers."
            )
        if mesh is not None and shard is None:
            raise TypeError(
                "mesh says among which processes a model is sharded, and nothing is to be sharded. "
                "Give shard, too, e.g. shard=lambda model: model.layers."
            )
        if mesh is not None:
            sharded.check_mesh(mesh)
        if data not in (None, "whole", "own"):
            raise ValueError(
                f'data must be "whole", "own" or None; got {data!r}. Say what a loader that is not '
                "lehr's yields in each process: the global batches, or batches of its own."
            )
        if not (init is None or callable(init) or isinstance(init, (str, os.PathLike))):
            raise TypeError(
                "init must be a function that initializes a module, the path of a file of weights, "
                f"or None; got {init!r}. Give e.g. init='weights.safetensors'."
            )
        positive_int("late_flags_above", late_flags_above, example=64)
        if not timeout > 0:
            raise ValueError(f"timeout must be above 0 seconds; got {timeout!r}. Give e.g. 600.")
        super().__init__()
        self.shard, self.data, self.sync_batchnorm = shard, data, sync_batchnorm
        self.init, self.mesh = init, None
        self.options = {"find_unused_parameters": find_unused_parameters}
        self.runs: list[Together] = []
        """Those that are under way, the innermost last"""
        if not join(timeout):
            return
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        if self.world > 1:
            # Small things go over the CPU and apart from the gradients.
            self.group = dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout))
            late, group = self.world > late_flags_above, self.group
            if late and dist.get_backend() != "gloo":  # where the gradients are, but apart
                group = dist.new_group(timeout=timedelta(seconds=timeout))
                weakref.finalize(self, release, group)
            self.control = Control(group, late=late)
            made: list[Any] = [dist.group.WORLD] if is_made_here() else []  # others' are left alone
            if mesh is not None:
                self.mesh = sharded.mesh_of(mesh, self.world, timeout)
                made += [] if self.mesh is mesh else self.mesh.get_all_groups()
            self.failures = Failures(self.rank, self.world, [self.group, *made])
            atexit.register(leave, self.failures.store, self.rank)
            weakref.finalize(self, release, self.group)

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled of it where there is one process.

        Raises:
            TypeError: there are others.
        """
        if self.world > 1:
            raise TypeError(
                "a Distributed of several processes cannot be pickled, for it is connected to the "
                "others; nor can a Learner that has one. Call learn.save for the weights, or "
                "attach a Checkpoint to a fit for everything."
            )
        return dict(vars(self))

    @property
    def share(self) -> Share:
        """Which part of every batch this process reads."""
        return Share(self.rank, self.world)

    @property
    def reads_own(self) -> bool:
        """Whether a loader that cannot share out its batches yields those of this process alone."""
        return self.world > 1 and self.data == "own"

    # A run ---------------------------------------------------------------------------------------

    def prepare(self, model: nn.Module) -> None:
        """Give every process the parameters and buffers of the first; or, if there are none, some.

        That is where the model was built on the meta device.
        """
        check_default_device("trained or predicted")
        if self.world == 1:
            if is_meta(model):
                self._fill(model)
        else:
            with self.telling():
                check_wrappers(model, self.world, self._own_of_a_copy())
                sharded.check_shards(model, self.world)
                if self.sync_batchnorm:
                    synchronize(model)
                self.require_alike(of_model(model))
                if not (empty := is_meta(model)):
                    tensors = [*model.parameters(), *model.buffers()]
                    self._broadcast([t for t in tensors if not isinstance(t, DTensor)])
                if self.shard is not None and not sharded.is_sharded(model):
                    sharded.shard(model, self.shard(model), self.mesh)
                if empty:
                    self._fill(model)

    def _own_of_a_copy(self) -> str | None:
        """An argument that says how copies of a model are made that somebody else has made."""
        given = {"shard": self.shard is not None, **self.options}
        return next((name for name, value in given.items() if value), None)

    def _fill(self, model: nn.Module) -> None:
        init = None if isinstance(self.init, (str, os.PathLike)) else self.init
        path = None if init is self.init else cast("Any", self.init)
        among = None if path is None else without_entry(model)
        check_init(model, init, among)
        if self.world > 1:  # then all draw the same numbers
            random = torch.get_rng_state()
            self._broadcast([random])
            torch.set_rng_state(random)
        accelerator = torch.accelerator.current_accelerator()
        materialize(model, init, accelerator or torch.device("cpu"), among)
        if path is not None:
            load_weights(model, path, self)

    def actions(self, run: Any, own: dict[str, Any]) -> dict[str, Any]:
        """The actions of a run in which others have a part."""
        return own if self.world == 1 else Together(self, run).actions(own)

    def opened(self, run: Any) -> AbstractContextManager[Any]:
        """A scope around a whole run, which all processes enter and leave together."""
        return nullcontext() if self.world == 1 else Together.of(run)

    def exchange(self, run: Any) -> None:
        """A training batch, or a validation, is about to be predicted."""
        if self.world == 1:
            return
        together = Together.of(run)
        if run.training:
            together.exchange()
        else:  # of buffers, the processes have their own
            self._broadcast(list(bare(run.model).buffers()))
            together.gradients.expect(closes=False)

    def strategy(self, run: Any) -> DataParallel | sharded.Sharded:
        """What averages the gradients of a run."""
        if sharded.is_sharded(run.model):
            return sharded.Sharded(run, self.sum)
        return DataParallel(run, self.options, self.sum)

    def announce(self, run: Any) -> None:
        """The gradient of a training batch is about to be taken."""
        Together.of(run).announce()

    def apart(self, run: Any) -> bool:
        """Let the backward pass of the next batch ask nothing of other processes."""
        return self.world == 1 or Together.of(run).apart()

    def settle(self, run: Any) -> None:
        """A window closes: its gradients are averaged, and its weight is that of all processes."""
        Together.of(run).settle()

    def replay(self, run: Any, *, last: bool) -> None:
        """A batch of the window is about to be predicted again."""
        Together.of(run).replay(last=last)

    def replayed(self, run: Any) -> None:
        """All of them have their gradients again, which are averaged."""
        Together.of(run).gradients.finish(expected=True)

    def ask(self, run: Any, wish: Wish, reason: str) -> None:
        """Let the run end, when all processes have heard of it."""
        if self.world == 1:
            super().ask(run, wish, reason)
        else:
            run.wishes.setdefault(wish, reason)

    def clock(self, run: Any) -> float:
        """The clock of the first process, as the last message of this run has told it."""
        return super().clock(run) if self.world == 1 else Together.of(run).clock

    # States --------------------------------------------------------------------------------------

    def whole(self, snapshot: dict[str, Any]) -> dict[str, Any]:
        """A snapshot to be saved: without shards, in the first process.

        Where each process has a state of its own, that is the state of all.
        """
        if self.world == 1:
            return snapshot
        return sharded.whole(self._with_others(snapshot), kept=self.rank == 0)

    def own(self, snapshot: dict[str, Any]) -> dict[str, Any]:
        """A snapshot to be saved by all processes together: with the shards of this one."""
        if self.world == 1:
            return snapshot
        return sharded.own(self._with_others(snapshot), self.rank, self.world)

    def _with_others(self, snapshot: dict[str, Any]) -> dict[str, Any]:
        own = [name for name in snapshot if name in self.by_process]
        states = self.gather([snapshot[name] for name in own]) if own else []
        each = {name: {BY_PROCESS: list(those)} for name, *those in zip(own, *states, strict=True)}
        return {**snapshot, **each}

    def parts(self, entries: Mapping[str, Any], snapshot: dict[str, Any]) -> dict[str, Any]:
        """A snapshot that was saved, as it can be loaded into these entries."""
        snapshot = super().parts(entries, snapshot)
        if self.world == 1:
            return snapshot
        return {
            name: sharded.parted(entries[name], state) if name in entries else state
            for name, state in snapshot.items()
        }

    # Data and numbers ----------------------------------------------------------------------------

    def shares(self, batches: Iterator[Any], name: str, *, entered: bool = False) -> Iterator[Any]:
        """Share out each batch of a loader that does not do it itself: the part of this process."""
        if self.world == 1:
            return batches
        if self.data is None:
            raise ValueError(
                f"{name} is not one of lehr's loaders, so it must be said what it yields in each "
                f'of the {self.world} processes. Write Distributed(data="whole") if all yield the '
                'same global batches, which are then shared out, or Distributed(data="own") if '
                "each yields batches of its own; or use lehr.data.DataLoader."
            )
        if self.data == "whole":
            return (part_of(batch, self.share) for batch in batches)
        return self._own(batches, name, entered=entered)

    def _own(self, batches: Iterator[Any], name: str, *, entered: bool) -> Iterator[Any]:
        """The batches that this process has; then empty ones, until all others are at their end."""
        read = next(batches, None) if entered else None
        empty: Any = None if read is None else without_items(read)
        del read
        while True:
            batch = next(batches, None)
            if not self.control.send("batch", Said(float(batch is not None))).wait().weight:
                return
            if batch is not None:
                empty = without_items(batch)
            elif empty is None:
                raise ValueError(
                    f"{name} has no batch at all on rank {self.rank}. Give every process some data."
                )
            yield empty if batch is None else batch

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, of float64 on the CPU."""
        if self.world == 1:
            return values
        total = values.detach().to("cpu", torch.float64, copy=True)
        self.control.send("sum", size=total.numel()).wait()
        dist.all_reduce(total, group=self.group)
        return total

    def sums(self, named: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
        """The sums over all processes of numbers by name; where names are alike, in one go."""
        if self.world == 1:
            return super().sums(named)
        names, size = list(named), max(map(len, named.values()), default=0)
        if not self.control.alike(repr((names, size))):
            sizes: list[tuple[list[str], int]] = self.gather((names, size))
            names = list(dict.fromkeys(chain.from_iterable(n for n, _ in sizes)))
            size = max(s for _, s in sizes)
        if not names:
            return {}
        nothing = [0.0] * size
        total = torch.tensor(
            [list(named.get(name, nothing)) for name in names], dtype=torch.float64
        )
        dist.all_reduce(total, group=self.group)
        return dict(zip(names, cast("list[list[float]]", total.tolist()), strict=True))

    def gather(self, value: Any) -> list[Any]:
        """The value that each process gives, by rank."""
        gathered = [value] * self.world
        if self.world > 1:
            with self.telling("a method of a Learner"):
                self.control.send("gather").wait()
                dist.all_gather_object(gathered, value, group=self.group)
        return gathered

    def require_alike(self, given: Given) -> None:
        """See that all processes have been given the same. That is one message.

        Args:
            given: to this process, by names.

        Raises:
            ValueError: another one was given something else; raised in all of them.
        """
        if self.control.alike(repr(given)):
            return
        raise ValueError(
            f"the processes differ: {differences(self.gather(given))}. All must make the same "
            "Learner from the same data, and make the same calls; each reads its share by itself. "
            "engine.same(value) is the value of the first process in all of them. If every process "
            'has loaders of its own, give Distributed(data="own").'
        )

    def same(self, value: Any) -> Any:
        """The value that the first process gives."""
        return self.gather(value)[0] if self.world > 1 else value

    def _broadcast(self, tensors: list[Tensor]) -> None:
        """Make these tensors those of the first process."""
        there = [tensor for tensor in tensors if not is_lazy(tensor)]
        if not there:
            return
        self.control.send("broadcast", size=sum(tensor.numel() for tensor in there)).wait()
        for tensor in there:
            numbers = torch.view_as_real(tensor.data) if tensor.is_complex() else tensor.data
            group: Any = self.group if tensor.is_cpu else None
            dist.broadcast(numbers, 0, group=group)

    def telling(self, place: str = "the making of a Learner") -> AbstractContextManager[None]:
        """A scope outside of a run: an error in it is told to the other processes."""
        return nullcontext() if self.world == 1 or self.runs else _Telling(self, place)

    def processes_text(self, batch_size: int | None = None, *, own: bool = False) -> str:
        """In words, who trains together."""
        if self.world == 1:
            return ""
        others = {
            None: "",
            "own": "; other loaders: each its own",
            "whole": "; other loaders: shared",
        }
        if batch_size is None:
            return f"{self.world} processes{others[self.data]}"
        each = [Share(rank, self.world).of(batch_size) for rank in range(self.world)]
        sizes = [batch_size if own else part.stop - part.start for part in each]
        parts = f"{self.world} × {sizes[0]}" if len({*sizes}) == 1 else " + ".join(map(str, sizes))
        return f"{self.world} processes, batches of {sum(sizes)} = {parts}{others[self.data]}"


class _Telling(AbstractContextManager[None]):
    def __init__(self, engine: Distributed, place: str) -> None:
        self.engine, self.place = engine, place

    def __enter__(self) -> None:
        self.engine.failures.require_working()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None:
            self.engine.failures.tell(error, self.place)
