"""Everything that a verdict may look at, and where each layer stands in it."""

from collections.abc import Sequence
from dataclasses import dataclass

from lehr.inspect.chains import is_branch_end
from lehr.inspect.measure import Weights
from lehr.inspect.sites import Site


@dataclass(frozen=True)
class Case:
    """Everything that a verdict may look at."""

    sites: Sequence[Site]
    weights: Sequence[Weights]
    chains: Sequence[Sequence[Site]]

    def after(self, site: Site) -> Sequence[Site]:
        """The sites behind one, activations left out."""
        at = next(i for i, other in enumerate(self.sites) if other is site)
        return [other for other in self.sites[at + 1 :] if other.role != "activation"]

    def site_of(self, weight: Weights) -> Site | None:
        """Where the weights are multiplied with first."""
        return next((s for s in self.layers if s.parameter == weight.name), None)

    def owner_of(self, weight: Weights) -> Site | None:
        """The attention or recurrence that the weights are a part of."""
        mixers = (s for s in self.sites if s.role == "mixer")
        return next((s for s in mixers if weight.name.startswith(f"{s.name}.")), None)

    def weight_of(self, site: Site) -> Weights | None:
        """What a layer multiplies with, if that is a parameter."""
        return next((w for w in self.weights if w.name == site.parameter), None)

    def between(self, chain: Sequence[Site]) -> list[Site]:
        """Everything from the first to the last of some sites."""
        ends = [i for i, site in enumerate(self.sites) if site is chain[0] or site is chain[-1]]
        return list(self.sites[ends[0] : ends[-1] + 1])

    @property
    def layers(self) -> list[Site]:
        """The sites that multiply with weights."""
        return [site for site in self.sites if site.role == "weight"]

    def is_head(self, site: Site) -> bool:
        """Whether this is the model's last layer."""
        return site is self.layers[-1]

    def ends_branch(self, site: Site) -> bool:
        """Whether others do not depend on what this gives: see `is_branch_end`."""
        return is_branch_end(site, next(iter(self.after(site)), None))

    def may_be_small(self, site: Site) -> bool:
        """Whether this is the head, the end of a branch, or in a branch that ends in zeros."""
        end = next((other for other in self.after(site) if self.ends_branch(other)), None)
        normalised = end is not None and self.after(site)[0].role == "norm"
        leads_to_zero = end is not None and end.out.across == 0 and not normalised
        return self.is_head(site) or self.ends_branch(site) or leads_to_zero
