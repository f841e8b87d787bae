"""Whether a loader gives its items in another order than its dataset has them."""

from typing import Any

from torch.utils.data import RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from lehr.data.loading.sampler import Sampler

_RANDOM = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)


def shuffles(loader: Any) -> bool:
    """Whether a loader of lehr's or torch's is known to shuffle; of any other it is not known.

    Example:
        >>> from lehr.data import DataLoader, Dataset
        >>> dataset = Dataset([1.0, 2.0], [0, 1])
        >>> shuffles(DataLoader(dataset)), shuffles(DataLoader(dataset, shuffle=True))
        (False, True)
    """
    batch_sampler = getattr(loader, "batch_sampler", None)  # of torch's; its own one decides
    sampler = getattr(batch_sampler or loader, "sampler", None)
    return isinstance(sampler, _RANDOM) or (isinstance(sampler, Sampler) and sampler.shuffle)
