"""What is said of a model, and how the same thing in many layers is said once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

_NAMED = 4  # layers, in a finding about many

_CHANCE = "the loss stays where guessing is"

MEANINGS = {
    "shrinks": "the last layers hardly tell items apart: the loss falls slowly, or not at all",
    "grows": "the first predictions are far too large: so are the loss and the first steps",
    "large_weights": "what comes out is too large, and a usual learning rate changes it too little",
    "small_weights": "what comes out is too small, and a usual learning rate changes it too much",
    "no_gradient": "an optimizer does not move these weights at all",
    "gradient_vanishes": "the first layers learn far more slowly than the last",
    "gradient_explodes": "a learning rate that suits the last layers throws the first ones off",
    "not_finite": "the loss is nan or infinite from the first batch on",
    "inputs": "the first layer has to undo the scale before anything is learned",
    "zero_weights": "this layer, and those that lead to it alone, begin to learn late or never",
    "copies": "these units get the same gradient, so they stay the same and count as one",
    "dead": "these units pass on nothing and get no gradient: the layer is smaller than it looks",
    "saturated": f"hardly any gradient passes here, so {_CHANCE}",
    "constant_into_norm": "chance is blown up to the size of a signal, and the layers learn it",
    "alike": f"the layers behind cannot tell items apart, so {_CHANCE}",
}
"""What each kind of problem means for a training."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Attributes:
        kind: a word for it, always the same.
        severity: ``problem`` or ``note``.
        layers: where, in the order of the signal.
        text: what is wrong, with the numbers, and what to do.
        evidence: the numbers by name.
    """

    kind: str
    severity: Literal["problem", "note"]
    layers: tuple[str, ...]
    text: str
    evidence: dict[str, float]

    @property
    def meaning(self) -> str | None:
        """What it means for a training, if it is a problem.

        Example:
            >>> Finding("dead", "problem", ("relu",), "50% of the units are zero.", {}).meaning[:29]
            'these units pass on nothing a'
        """
        return MEANINGS[self.kind] if self.severity == "problem" else None

    def __str__(self) -> str:
        return f"{self.severity}: {self.text}"


def merged(findings: Sequence[Finding]) -> list[Finding]:
    """The same thing in several layers is one finding: the first, with the others named."""
    alike: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        alike.setdefault((finding.kind, finding.severity), []).append(finding)
    merged: list[Finding] = []
    for first, *others in alike.values():
        names = [finding.layers[-1] for finding in others]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        text = f" The same in {', '.join(names[:_NAMED])}{more}." if names else ""
        layers = dict.fromkeys(name for finding in (first, *others) for name in finding.layers)
        merged.append(replace(first, layers=tuple(layers), text=first.text + text))
    return merged
