"""Where signal, weights and gradients become too large or too small."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from lehr.init import Fans
from lehr.inspect.case import Case
from lehr.inspect.findings import Finding
from lehr.inspect.measure import Weights
from lehr.inspect.sites import Site

_SIGNAL = 10.0  # a chain that makes the signal so many times larger or smaller
_OWN_GAIN = (0.2, 4.0)  # every usual initialisation lies between, by fan-in or by fan-out
_BACK = 1e3  # between the gradients of two layers
_DEFAULT_GAIN = math.sqrt(1 / 3)


def scale_of_the_signal(case: Case) -> Iterator[Finding]:
    """A chain of layers that makes the signal ten times smaller or larger."""
    for chain in case.chains:
        alive = [s for s in chain if s.out.across > 0 and not case.ends_branch(s)]
        values = [(site, site.signal) for site in alive if site.signal]
        if not values:
            continue
        least, low = min(values, key=lambda pair: pair[1])
        most, high = max(values, key=lambda pair: pair[1])
        for worst, signal, word in ((least, low, "shrinks"), (most, high, "grows")):
            lost = low < 1 / _SIGNAL if word == "shrinks" else high > _SIGNAL
            if lost:
                yield _chain_finding(case, chain, worst, signal, word)


def _chain_finding(
    case: Case, chain: Sequence[Site], worst: Site, signal: float, word: str
) -> Finding:
    upto = chain[: next(i for i, site in enumerate(chain) if site is worst) + 1]
    per_layer = signal ** (1 / len(upto))
    evidence = {"signal": signal, "per_layer": per_layer, "layers": float(len(upto))}
    default = [s for s in upto if _is_default(s, case.weight_of(s))]
    where = f"from {upto[0].name} to {worst.name}" if len(upto) > 1 else f"in {worst.name}"
    text = (
        f"the signal {word} to {signal:.2g} of what came in, {where}: × {per_layer:.2f} in each of "
        f"{len(upto)} layers."
    )
    floor = worst.out.across / worst.out.std if worst.out.std else 1.0
    if word == "shrinks" and floor < 0.3:
        text += (
            f" The standard deviation of {worst.out.std:.2g} hides it: only {worst.out.across:.2g} "
            "differs between items, the rest is the same for all."
        )
        evidence["bias_floor"] = floor
    if word == "shrinks" and len(default) > len(upto) / 2:
        text += (
            f" {len(default)} of them have the default of nn.Linear and nn.Conv2d, uniform within "
            "±1/√fan_in, which is kaiming_uniform_ with a = √5: a gain of 0.58, where a rectifier "
            "needs 1.41. Use repair='kaiming'."
        )
        evidence["sqrt5_layers"] = float(len(default))
    elif word == "grows" and any(case.ends_branch(s) or _grows_between(s, upto) for s in upto):
        text += (
            " Every block adds to what it was given. Use repair='fixup', repair='zero_last', or "
            "normalise."
        )
    elif word == "shrinks" and any(s.kind == "sigmoid" for s in case.between(upto)):
        text += " The slope of a sigmoid is 1/4 at most: use a rectifier, or normalise."
    else:
        text += " Use repair='kaiming', or repair='lsuv'."
    return Finding(word, "problem", tuple(s.name for s in upto), text, evidence)


def _grows_between(site: Site, chain: Sequence[Site]) -> bool:
    """Whether what comes into a layer is more than the one before it gave."""
    pairs = ((a, b) for a, b in pairwise(chain) if b is site)
    return any(b.given is not None and b.given.across > 1.05 * a.out.across for a, b in pairs)


def _is_default(site: Site, weight: Weights | None) -> bool:
    """Whether weights are as torch draws them for Linear and Conv2d: uniform, within 1/√fan_in."""
    if weight is None or site.fans is None or site.own_gain is None or math.prod(weight.shape) < 9:
        return False
    bound = weight.largest * math.sqrt(site.fans.fan_in)
    few = 3 / math.sqrt(math.prod(weight.shape))
    return 0.8 - few < bound <= 1.001 and abs(site.own_gain / _DEFAULT_GAIN - 1) < 0.02 + few


def scale_of_the_weights(case: Case) -> Iterator[Finding]:
    """Weights that no usual initialisation would give, whichever fan it goes by."""
    for weight in case.weights:
        site = case.site_of(weight)
        fans = (
            Fans(weight.shape[1], weight.shape[0], 1)
            if site is None and len(weight.shape) == 2
            else None
        )
        fans = fans if site is None else site.fans
        if fans is None or not weight.scale:
            continue
        gain = weight.scale * math.sqrt(fans.fan_in)
        low, high = sorted((gain, weight.scale * math.sqrt(fans.fan_out)))
        least, most = _OWN_GAIN
        if low > most:
            word, steps = "large", "short"
        elif high < least and site is not None and not case.may_be_small(site):
            word, steps = "small", "long"
        else:
            continue
        tamed = site is not None and not case.is_head(site) and case.after(site)[0].role == "norm"
        hidden = f" The normalisation behind it hides that, but its steps are too {steps}."
        name = weight.name.removesuffix(".weight") if site is None else site.name
        yield Finding(
            f"{word}_weights",
            "problem",
            (name,),
            f"the weights of {name} are {word}: with a root mean square of {weight.scale:.2g} and "
            f"{fans.fan_in:g} inputs a unit, they make independent inputs {gain:.2g} times as "
            f"large; 0.6 to 1.8 is usual.{hidden if tamed else ''} Use repair='kaiming'.",
            {"gain": gain, "scale": weight.scale},
        )


def gradients(case: Case) -> Iterator[Finding]:
    """Layers whose gradient is a thousand times another's, or that get none."""
    reached = [s for s in case.layers if s.grad is not None and s.grad.norm > 0]
    silent = [
        s
        for s in case.layers
        if s.out.across > 0 and (s.grad is None or s.grad.norm == 0) and _is_trained(case, s)
    ]
    if silent and not any(w.zero == 1 for w in case.weights) and not _gated(case):
        yield Finding(
            "no_gradient",
            "problem",
            tuple(s.name for s in silent),
            f"no gradient comes back to {', '.join(s.name for s in silent)}: it will not learn. "
            "Look for detach(), no_grad() or dead units behind it.",
            {},
        )
    if len(reached) < 2:
        return
    first, last = reached[0], reached[-1]
    assert first.grad is not None
    assert last.grad is not None
    ratio = first.grad.norm / last.grad.norm
    if not 1 / _BACK < ratio < _BACK:
        word = "vanishes" if ratio < 1 else "explodes"
        per_layer = ratio ** (1 / (len(reached) - 1))
        yield Finding(
            f"gradient_{word}",
            "problem",
            (first.name, last.name),
            f"the gradient {word} on its way back: to {first.name} comes {ratio:.2g} of what comes "
            f"to {last.name}, × {per_layer:.2f} a layer. Use repair='kaiming', or normalise.",
            {"ratio": ratio, "per_layer": per_layer},
        )


def _is_trained(case: Case, site: Site) -> bool:
    weight = case.weight_of(site)
    return weight is not None and weight.trained


def _gated(case: Case) -> bool:
    """Whether some branch passes on nothing yet, as with a last normalisation that is zero."""
    return any(s.out.across == 0 and case.ends_branch(s) for s in case.sites)


def unused(case: Case) -> Iterator[Finding]:
    """Weights that had no part in the pass."""
    seen = {site.parameter for site in case.layers}
    missing = [
        w.name
        for w in case.weights
        if w.name not in seen and w.trained and w.grad_std is None and w.zero < 1
    ]
    if missing:
        yield Finding(
            "unused",
            "note",
            tuple(missing),
            f"{', '.join(missing)} had no part in this pass: no gradient comes to it.",
            {},
        )
