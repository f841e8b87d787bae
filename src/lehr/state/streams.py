"""Randomness as a pure function of (seed, name, position).

A draw depends on what it is for and where in the training it happens, never on what was drawn
before. So adding a callback does not change the order of the data, continuing at batch *k* costs
nothing, and any batch can be replayed.
"""

import random
import zlib
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from lehr.base.interrupts import interrupts_wait_at_both_ends
from lehr.base.signals import patient
from lehr.state.numpy_generator import numpy_state, seed_numpy, set_numpy_state
from lehr.state.ownership import owned

_MASK = (1 << 64) - 1
_process_seed: int | None = None


def mix(*parts: int) -> int:
    """A 64-bit key that depends on every part and on their order (splitmix64, one round a part).

    Args:
        parts: integers of any size and sign.

    Returns:
        An integer in [0, 2^64).

    Example:
        >>> mix(42, 0) == mix(42, 0), mix(42, 0) == mix(0, 42)
        (True, False)

    Reference:
        Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    key = 0
    for part in parts:
        key = (key ^ part) + 0x9E3779B97F4A7C15 & _MASK
        key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        key = (key ^ key >> 27) * 0x94D049BB133111EB & _MASK
        key ^= key >> 31
    return key


def name_key(name: str) -> int:
    """The integer that stands for a stream's name; the same in every process.

    Example:
        >>> name_key("order") == name_key("order")
        True
    """
    return zlib.crc32(name.encode())


def seed(value: int | None) -> None:
    """Make everything that follows reproducible, or undo that with ``None``.

    Seeds Python, NumPy and torch (so that models come out the same) and becomes the seed of every
    Learner that was not given one of its own.

    Args:
        value: any integer; ``None`` forgets the seed, so that Learners draw theirs from torch
            again.

    Raises:
        TypeError: ``value`` is no integer.

    Example:
        >>> seed(42); a = torch.rand(1); seed(42); bool(a == torch.rand(1))
        True
        >>> seed(None)
    """
    global _process_seed
    check_seed(value)
    if value is not None:
        random.seed(value)
        seed_numpy(value)
        torch.manual_seed(mix(value))
    _process_seed = value


def check_seed(value: int | None) -> int | None:
    """``value`` if it can be a seed.

    Raises:
        TypeError: it is neither an integer nor None.

    Example:
        >>> check_seed(42)
        42
    """
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise TypeError(f"seed must be an int or None; got {value!r}. Use e.g. lehr.seed(42).")
    return value


def draw_seed() -> int:
    """The process's seed if `seed` was called, else one drawn from torch's default generator.

    Example:
        >>> _ = torch.manual_seed(1); a = draw_seed(); _ = torch.manual_seed(1); a == draw_seed()
        True
    """
    if _process_seed is not None:
        return _process_seed
    return int(torch.randint(2**31, (), dtype=torch.int64))


def rekeying(key: int) -> Callable[[int], None]:
    """A function that re-seeds torch's default generators, the CPU's and each CUDA device's in use.

    Costs two microseconds on the CPU, where `torch.manual_seed` costs 95. torch's CPU generator
    keeps the low 32 bits of the seed: positions under one key never share them, and of a million
    batches in many epochs some hundred pairs share a dropout mask, which is harmless.

    Args:
        key: of the epoch, say, see `mix`.

    Returns:
        A function of the position under that key, for example the number of the batch.

    Example:
        >>> rekey = rekeying(7)
        >>> rekey(3); a = torch.rand(1); rekey(3); bool(a == torch.rand(1))
        True
    """
    cuda = torch.cuda.default_generators if torch.cuda.is_initialized() else ()
    seed_cpu = torch.default_generator.manual_seed

    def rekey(position: int) -> None:
        seed = key + position * 0x9E3779B97F4A7C15 & _MASK  # odd, so the low bits differ, too
        seed_cpu(seed)
        for generator in cuda:
            generator.manual_seed(seed)

    return rekey


def default_state() -> list[torch.Tensor]:
    """The state of torch's default generators, the CPU's first."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return [torch.default_generator.get_state(), *cuda]


def set_default_state(state: list[torch.Tensor]) -> None:
    """Put torch's default generators back to what `default_state` returned.

    Where CUDA was first used in between, its generators had no state yet; they get the CPU's seed,
    which is what they would have begun with after ``torch.manual_seed``.
    """
    torch.default_generator.set_state(state[0])
    if state[1:]:
        torch.cuda.set_rng_state_all(state[1:])
    elif torch.cuda.is_initialized():
        for generator in torch.cuda.default_generators:
            generator.manual_seed(torch.default_generator.initial_seed())


def peek_seed() -> int:
    """What `draw_seed` would return, without drawing."""
    state = torch.default_generator.get_state()
    try:
        return draw_seed()
    finally:
        torch.default_generator.set_state(state)


class Streams:
    """Named generators, each re-keyed when its position changes.

    Args:
        seed: the seed of the training; any integer.

    Example:
        >>> a, b = Streams(7), Streams(7)
        >>> _ = torch.rand(3, generator=a.at("mixup", 0, 0))      # another position, drawn before
        >>> x = torch.rand(1, generator=a.at("mixup", 0, 5))
        >>> bool(x == torch.rand(1, generator=b.at("mixup", 0, 5)))
        True
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._generators: dict[tuple[str, str], torch.Generator] = {}
        self._positions: dict[tuple[str, str], tuple[int, ...]] = {}

    def key(self, name: str, *position: int) -> int:
        """The 64-bit key of a stream at a position."""
        return mix(self.seed, name_key(name), *position)

    def state_dict(self) -> dict[str, Any]:
        """Name, device, position and generator of every stream in use."""
        used = self._positions.items()
        return {"streams": [(*slot, at, self._generators[slot].get_state()) for slot, at in used]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Put the streams back; one that was not there then starts over at its position."""
        self._positions.clear()
        for name, device, position, random_state in state_dict["streams"]:
            generator = self._generators.setdefault((name, device), torch.Generator(device))
            generator.set_state(random_state)
            self._positions[name, device] = position

    def at(self, name: str, *position: int, device: torch.device | str = "cpu") -> torch.Generator:
        """The generator of stream ``name``, keyed by ``position``.

        A second call at the same position goes on drawing; it does not start over.
        """
        slot = (name, str(device))
        generator = self._generators.get(slot)
        if generator is None:
            generator = self._generators[slot] = torch.Generator(device)
        if self._positions.get(slot) != position:
            generator.manual_seed(self.key(name, *position))
            self._positions[slot] = position
        return generator


def rng_state() -> dict[str, Any]:
    """The state of every global generator in use: torch, each CUDA device, NumPy, Python."""
    version, numbers, gauss = random.getstate()
    return {
        "torch": default_state(),
        "numpy": numpy_state(),
        "python": [version, list(numbers), gauss],
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Put every global generator back to what `rng_state` returned.

    One that cannot be put back keeps no other from it.
    """
    version, numbers, gauss = state["python"]
    with ExitStack() as each:
        each.callback(random.setstate, (version, tuple(numbers), gauss))
        each.callback(set_numpy_state, state["numpy"])
        each.callback(set_default_state, state["torch"])


@interrupts_wait_at_both_ends
@contextmanager
def forked(key: int | None = None) -> Generator[None]:
    """A scope whose draws from the global generators leave no trace outside.

    Args:
        key: re-seeds torch, NumPy and Python on entry; ``None`` goes on from where they are.

    Raises:
        RuntimeError: another thread is training or evaluating.

    Example:
        >>> before = torch.get_rng_state()
        >>> with forked(key=3):
        ...     _ = torch.rand(5)
        >>> bool((before == torch.get_rng_state()).all())
        True
    """
    with patient(), owned():
        before = rng_state()
        try:
            if key is not None:
                seed_globals(key)
            yield
        finally:
            set_rng_state(before)


@interrupts_wait_at_both_ends
@contextmanager
def kept() -> Generator[None]:
    """A scope after which torch's default generators are as they were; cheaper than `forked`."""
    with owned():
        before = default_state()
        try:
            yield
        finally:
            set_default_state(before)


def seed_globals(key: int) -> None:
    """Re-seed torch's default generators, NumPy's and Python's from one key."""
    rekeying(key)(0)
    seed_numpy(key)
    random.seed(key)


def shuffled(n: int, key: int) -> torch.Tensor:
    """The permutation of ``range(n)`` that belongs to ``key``.

    Returns:
        int64 tensor of shape ``(n,)``.

    Example:
        >>> bool((shuffled(5, 1) == shuffled(5, 1)).all()), sorted(shuffled(5, 1).tolist())
        (True, [0, 1, 2, 3, 4])
    """
    return torch.randperm(n, generator=torch.Generator().manual_seed(key))
