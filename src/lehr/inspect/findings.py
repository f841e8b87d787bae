"""What is said of a model, and how the same thing in many layers is said once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

_NAMED = 4  # layers, in a finding about many


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
