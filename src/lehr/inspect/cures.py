"""Initialising a model anew after an audit, and only if that works to the end."""

from collections.abc import Generator as Scope
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, nn

from lehr.base.nested import split_pair
from lehr.errors import did_you_mean
from lehr.init import HOW, drawn_layers, fixup_, gain, gain_of, initialise, lsuv, zero_last_
from lehr.inspect.sites import Site
from lehr.inspect.verdicts import Finding
from lehr.state.copies import deep_copy
from lehr.state.entries import ModelState, modules
from lehr.state.streams import forked
from lehr.state.wrappers import bare
from lehr.types import is_mapping

CURES = (*HOW, "lsuv", "fixup", "zero_last")
_BESIDE = {"relu6": "relu", "threshold": "relu", "elu": "selu", "celu": "selu", "hardtanh": "tanh"}


@contextmanager
def cure(
    model: nn.Module,
    batch: Any,
    how: str,
    sites: Sequence[Site],
    findings: Sequence[Finding],
    *,
    seed: int,
) -> Scope[nn.Module]:
    """A copy of the model, initialised anew; the model becomes it if the scope ends well.

    Args:
        model: what to cure; its parameters stay the same objects.
        batch: as for `lehr.audit`.
        how: one of `CURES`.
        sites: what an audit of the model saw: its activations decide the gains.
        findings: and what it found: weights that are meant to be zero stay so.
        seed: of the new weights.

    Raises:
        ValueError: no such cure, or nothing that it could act on.
    """
    if how not in CURES:
        raise ValueError(
            f"repair must be a known cure; got {how!r}. {did_you_mean(str(how), CURES)}"
        )
    model = bare(model)
    cured = deep_copy(model)
    with forked(seed):
        generator = Generator().manual_seed(seed)
        if how == "lsuv":
            inputs = batch if is_mapping(batch) else split_pair(batch)[0]
            lsuv(cured, inputs, generator=generator)
        elif how != "zero_last":
            gains = _gains(sites, drawn_layers(cured))
            how_drawn = "kaiming" if how == "fixup" else how
            initialise(cured, how_drawn, gains=gains, generator=generator)
        if how in ("fixup", "zero_last"):
            branches = _branches(cured, sites, how)
            if how == "fixup":
                fixup_(branches, generator=generator)
            else:
                zero_last_(branches)
    notes = [f for f in findings if f.kind == "zero_weights" and f.severity == "note"]
    meant = {name for note in notes for name in note.layers}
    with torch.no_grad():
        for name, p in cured.named_parameters():
            if name.removesuffix(".weight") in meant:
                p.zero_()
    yield cured
    ModelState(model).load_state_dict(ModelState(cured).state_dict())


def _branches(model: nn.Module, sites: Sequence[Site], how: str) -> list[list[nn.Module]]:
    """The layers with weights of each branch that is added to what came before it."""
    parts = dict(modules(model))
    branches: dict[str, list[nn.Module]] = {}  # by its last layer, which may be passed twice
    for at, site in enumerate(sites):
        if site.added and site.begins is not None:
            inside = [s for s in sites[site.begins : at + 1] if s.role != "activation"]
            if how == "fixup" and any(s.role == "norm" for s in inside):
                raise ValueError(
                    "repair 'fixup' is for residual branches without normalisation; that of "
                    f"{site.name} has one. Use repair='zero_last'."
                )
            if site.name in parts:
                layers = [parts[s.name] for s in inside if s.name in parts]
                branches.setdefault(site.name, layers)
    if not branches:
        raise ValueError(
            f"repair {how!r} needs branches that are added to what came into them; none was seen. "
            "Use repair='kaiming'."
        )
    return list(branches.values())


def _gains(sites: Sequence[Site], layers: Mapping[str, nn.Module]) -> dict[str, float]:
    """Of each layer, the gain for the activation behind it, or else for the one before it."""
    gains = dict.fromkeys(layers, 1.0)
    for at, site in enumerate(sites):
        if site.role == "weight" and site.name in gains:
            beside = _activation(sites[at + 1 :]) or _activation(sites[:at][::-1])
            gains[site.name] = 1.0 if beside is None else _gain(beside)
    return gains


def _activation(sites: Sequence[Site]) -> Site | None:
    """The first activation among the sites, if no other weights come before it."""
    for site in sites:
        if site.role == "activation":
            return site
        if site.role != "norm":
            return None
    return None


def _gain(activation: Site) -> float:
    if activation.slope:
        return gain(activation.slope)
    try:
        return gain_of(_BESIDE.get(activation.kind, activation.kind))
    except ValueError:  # one whose gain is not known, such as glu
        return 1.0
