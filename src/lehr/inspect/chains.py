"""Following the signal from layer to layer, from one normalisation to the next."""

from collections.abc import Sequence

from lehr.inspect.sites import Site

_ALIVE = 3.0  # times what a layer gives; a layer that gets more gets it from elsewhere, too


def follow(sites: Sequence[Site]) -> list[list[Site]]:
    """Give every weight layer its `signal`, and return the chains of layers between resets.

    A chain begins at the model's input and anew behind every normalisation, attention or
    recurrence, which set the scale themselves. In it the signal of a layer is that of the layer
    before, times what happens between the two, times what the layer does. Where what comes in is
    smaller than what the layer before gave, something was pooled, and only the layer itself counts.

    Args:
        sites: in the order in which the signal met them.

    Returns:
        The weight layers of each chain, in order.

    Example:
        >>> import torch
        >>> from lehr.inspect.measure import measure
        >>> layer = torch.nn.Linear(4, 4).requires_grad_(False)
        >>> _ = layer.weight.copy_(3 * torch.eye(4))
        >>> sites = measure(torch.nn.Sequential(layer, layer), torch.randn(8, 4)).sites
        >>> [round(site.signal) for chain in follow(sites) for site in chain]
        [3, 9]
    """
    chains: list[list[Site]] = []
    chain: list[Site] = []
    begin = 0.0
    for site in sites:
        if site.role in ("norm", "mixer") or site.kind in ("embedding", "embedding_bag"):
            chain = []
        elif site.role == "weight" and site.given is not None:
            given = site.given
            if not chain:
                chains.append(chain)
                begin, arriving = given.across, 1.0
            else:
                arriving = _arriving(chain[-1], site, begin)
            own = site.out.across / given.across if given.across else 0.0
            site.signal = arriving * own
            chain.append(site)
    return chains


def _arriving(before: Site, site: Site, begin: float) -> float:
    """The signal that comes into a layer, as a share of what came into its chain."""
    assert site.given is not None
    assert before.signal is not None
    if site.given.size < before.out.size:
        return before.signal
    if site.given.size == before.out.size and before.out.across:
        return before.signal * site.given.across / before.out.across
    return site.given.across / begin if begin else 0.0


def is_branch_end(site: Site, after: Site | None) -> bool:
    """Whether this is the end of a branch, which others do not depend on.

    Either a sum was seen, or the next site gets much more than this one gives.

    Args:
        site: one that the signal passes.
        after: the next one.
    """
    if site.added:
        return True
    if after is None or after.given is None:
        return False
    return after.given.across > _ALIVE * site.out.across
