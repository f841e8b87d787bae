"""NumPy's global generator, whatever bit generator it has.

NumPy is imported inside: torch has loaded it already, and a top-level import would be a second one.
"""

from typing import Any

import torch
from torch import Tensor

from lehr.base.nested import map_leaves, map_tensors


def numpy_state() -> list[Any]:
    """The state of NumPy's global generator, in lists, numbers, strings and tensors.

    Example:
        >>> numpy_state()[0]
        'MT19937'
    """
    import numpy as np

    state: Any = np.random.get_state(legacy=False)
    kind = str(state["bit_generator"])
    if kind != "MT19937":
        return [kind, as_plain(state)]
    inner = state["state"]
    keys = torch.from_numpy(np.array(inner["key"]))
    return [kind, keys, int(inner["pos"]), int(state["has_gauss"]), float(state["gauss"])]


def set_numpy_state(saved: list[Any]) -> None:
    """Put NumPy's global generator back to what `numpy_state` returned.

    If it has got another bit generator since, it gets a new one of the former kind.
    """
    import numpy as np

    kind: str = saved[0]
    now: Any = np.random.get_state(legacy=False)
    if now["bit_generator"] != kind:
        module: Any = np.random
        module.set_bit_generator(getattr(module, kind)())
    if kind == "MT19937":
        _, keys, place, has_gauss, gauss = saved
        if not _stands(now, keys.numpy(), place, has_gauss, gauss):  # to set it takes much longer
            np.random.set_state((kind, keys.numpy(), place, has_gauss, gauss))
    else:
        np.random.set_state(as_numpy(saved[1]))


def _stands(now: Any, keys: Any, place: int, has_gauss: int, gauss: float) -> bool:
    """Whether a state of MT19937 is this one."""
    if now["bit_generator"] != "MT19937" or now["state"]["pos"] != place:
        return False
    if now["has_gauss"] != has_gauss or now["gauss"] != gauss:
        return False
    return bool((now["state"]["key"] == keys).all())


def seed_numpy(key: int) -> None:
    """Seed NumPy's global generator; MT19937 as ``numpy.random.seed`` does, from 32 bits.

    Example:
        >>> import numpy as np
        >>> before = numpy_state()
        >>> seed_numpy(3); a = np.random.rand(); seed_numpy(3); a == np.random.rand()
        True
        >>> set_numpy_state(before)
    """
    import numpy as np

    now: Any = np.random.get_state(legacy=False)
    if now["bit_generator"] == "MT19937":
        np.random.seed(key & 0xFFFFFFFF)
    else:
        fresh = getattr(np.random, now["bit_generator"])(key % 2**64)
        np.random.set_state(now | fresh.state | {"has_gauss": 0, "gauss": 0.0})


def as_plain(value: Any) -> Any:
    """A state of NumPy's in dicts, numbers, strings and tensors.

    Example:
        >>> import numpy as np
        >>> as_plain({"kind": "PCG64", "pos": np.int64(3)})
        {'kind': 'PCG64', 'pos': 3}
    """
    return map_leaves(_as_plain, value)


def _as_plain(value: Any) -> Any:
    if getattr(value, "ndim", 0):
        return torch.from_numpy(value.copy())
    return value if isinstance(value, (str, float)) else int(value)


def as_numpy(value: Any) -> Any:
    """What `as_plain` was given.

    Example:
        >>> as_numpy({"key": torch.tensor([1, 2])})
        {'key': array([1, 2])}
    """
    return map_tensors(Tensor.numpy, value)
