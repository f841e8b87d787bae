"""What is wrong with a model's first step, said in words, with the evidence."""

import math
from collections.abc import Callable, Iterator

from lehr.inspect.case import Case
from lehr.inspect.chains import follow
from lehr.inspect.findings import Finding, merged
from lehr.inspect.measure import Measured
from lehr.inspect.scale_verdicts import (
    gradients,
    scale_of_the_signal,
    scale_of_the_weights,
    unused,
)

_INPUT = 10.0  # root of the mean square
_DEAD = 0.5  # of the units of a layer, and more where they are few
_SATURATED = 0.3  # of its activations
_ALIKE = 0.02  # of what comes out differs between items
_FLAT = 3e-3  # √eps of the usual normalisations: below it their output fades


def judge(measured: Measured) -> list[Finding]:
    """Every finding, problems first.

    Args:
        measured: what a pass showed; its sites are given their `signal`.

    Example:
        >>> import torch
        >>> from lehr.inspect.measure import measure
        >>> layer = torch.nn.Linear(4, 3)
        >>> _ = torch.nn.init.ones_(layer.weight)
        >>> [finding.kind for finding in judge(measure(layer, torch.randn(8, 4)))]
        ['copies']
    """
    case = Case(measured.sites, measured.weights, follow(measured.sites))
    not_finite = list(_not_finite(case))
    findings = not_finite or [finding for rule in _RULES for finding in rule(case)]
    findings += _hidden(measured)
    return sorted(merged(findings), key=lambda finding: finding.severity == "note")


def _hidden(measured: Measured) -> Iterator[Finding]:
    """What could not be looked at."""
    if measured.hidden:
        yield Finding(
            "hidden",
            "note",
            measured.hidden,
            f"nothing can be seen inside {', '.join(measured.hidden[:4])}: it is scripted, or runs "
            "under a transform of torch.func such as vmap. Audit it by itself before that.",
            {"modules": len(measured.hidden)},
        )


def _not_finite(case: Case) -> Iterator[Finding]:
    first = next((site for site in case.sites if not site.out.finite), None)
    if first is not None:
        given = f"{first.given.std:.3g}" if first.given is not None else "its input"
        yield Finding(
            "not_finite",
            "problem",
            (first.name,),
            f"{first.name} gives numbers that are not finite, from a standard deviation of {given} "
            "coming in. Look at the weights and inputs up to there.",
            {},
        )
        return
    back = [site for site in case.layers if site.grad is not None and not site.grad.finite]
    if back:
        yield Finding(
            "not_finite",
            "problem",
            (back[-1].name,),
            f"the gradient that comes back to {back[-1].name} is not finite, though the forward "
            "pass is. Look at the functions behind it, such as log, sqrt or a division.",
            {},
        )


def _inputs(case: Case) -> Iterator[Finding]:
    """Inputs of another size than layers are made for."""
    first = case.sites[0]
    if first.given is None or first.role != "weight":
        return
    if not first.given.across:
        yield Finding(
            "inputs",
            "problem",
            (first.name,),
            "all items of the batch are the same: nothing can tell them apart. Give real data.",
            {"mean": first.given.mean, "std": first.given.std},
        )
    size = math.hypot(first.given.mean, first.given.std)
    if size > _INPUT:
        yield Finding(
            "inputs",
            "problem",
            (first.name,),
            f"the inputs are large: a mean of {first.given.mean:.3g} and a standard deviation of "
            f"{first.given.std:.3g} come in. Bring them to 0 and 1.",
            {"mean": first.given.mean, "std": first.given.std},
        )


def _zero(case: Case) -> Iterator[Finding]:
    for weight in case.weights:
        if weight.zero < 1:
            continue
        site = case.site_of(weight) or case.owner_of(weight)
        name = weight.name if site is None else site.name
        deliberate = site is not None and (case.is_head(site) or case.ends_branch(site))
        if site is not None and deliberate:
            where = "head" if case.is_head(site) else "end of a residual branch"
            text = (
                f"the weights of {name} begin at zero, at the {where}: what leads to it alone gets "
                "no gradient in the first step, which is meant so."
            )
        else:
            text = (
                f"all {math.prod(weight.shape)} weights of {name} are zero: nothing passes, in "
                "either direction. Use repair='kaiming'."
            )
        yield Finding("zero_weights", "note" if deliberate else "problem", (name,), text, {})


def _copies(case: Case) -> Iterator[Finding]:
    for weight in case.weights:
        if weight.copies:
            name = weight.name.removesuffix(".weight")
            yield Finding(
                "copies",
                "problem",
                (name,),
                f"{weight.copies} of the {weight.units} units of {name} have exactly the weights "
                "of another: they compute the same and, where they are used alike, learn the same "
                "for ever. Use repair='kaiming'.",
                {"copies": float(weight.copies), "units": float(weight.units)},
            )


def _dead(case: Case) -> Iterator[Finding]:
    for site in case.sites:
        units = site.shape[-1] if len(site.shape) != 4 else site.shape[1]
        surely = min(0.999, _DEAD + 1.5 / math.sqrt(units))
        if site.dead is not None and site.dead > surely:
            yield Finding(
                "dead",
                "problem",
                (site.name,),
                f"{site.dead:.0%} of the units of {site.name} ({site.kind}) are zero for every "
                "item of the batch: they learn nothing. Look at the biases and weights before it.",
                {"dead": site.dead},
            )


def _saturated(case: Case) -> Iterator[Finding]:
    for site in case.sites:
        if site.saturated is not None and site.saturated > _SATURATED:
            spread = site.given.std if site.given is not None else math.nan
            yield Finding(
                "saturated",
                "problem",
                (site.name,),
                f"{site.saturated:.0%} of what {site.name} ({site.kind}) gives is at its limits, "
                f"where its slope is nearly zero: a standard deviation of {spread:.2g} comes in. "
                "Make the weights before it smaller, e.g. repair='xavier'.",
                {"saturated": site.saturated, "given_std": spread},
            )


def _constant_into_norm(case: Case) -> Iterator[Finding]:
    for site in case.sites:
        if site.role == "norm" and site.given is not None and site.given.std < _FLAT:
            yield Finding(
                "constant_into_norm",
                "problem",
                (site.name,),
                f"{site.name} ({site.kind}) normalises what is nearly constant (standard deviation "
                f"{site.given.std:.2g}): it passes on rounding noise, or nothing. Look at the "
                "layers before it.",
                {"given_std": site.given.std},
            )


def _alike(case: Case) -> Iterator[Finding]:
    """Items that can hardly be told apart any more, while nothing else was found to shrink."""
    for site in case.layers:
        out, given = site.out, site.given
        if given is None or not out.std or not given.std or case.is_head(site):
            continue
        length = math.hypot(out.std, out.mean)
        before = given.across / math.hypot(given.std, given.mean)
        if out.across and out.across / length < _ALIKE < before / 5:
            yield Finding(
                "alike",
                "problem",
                (site.name,),
                f"{site.name} gives nearly the same for every item: {out.across:.2g} differs "
                f"between items, of a size of {length:.2g}. Look at its bias.",
                {"across": out.across, "size": length},
            )


_RULES: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    *(_inputs, scale_of_the_signal, scale_of_the_weights, _zero, _copies, _dead, _saturated),
    *(_constant_into_norm, _alike, gradients, unused),
)
