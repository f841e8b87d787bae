"""What pyproject.toml promises of versions is what the files of pinned versions let one test."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIRED = {r.name: r for r in map(Requirement, PROJECT["dependencies"])}


def pins(text: str) -> dict[str, str]:
    """The version of each package in a file of constraints."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return dict(line.split("==") for line in lines if line)


def pinned(name: str) -> dict[str, str]:
    return pins((ROOT / name).read_text(encoding="utf-8"))


def lower_bound(requirement: Requirement) -> str:
    [only] = requirement.specifier
    assert only.operator == ">="
    return only.version


def misfits(versions: dict[str, str]) -> list[str]:
    """Packages that are not pinned to the lower bound, or to the first patch of it."""
    bounds = {name: lower_bound(requirement) for name, requirement in REQUIRED.items()}
    return [n for n, bound in bounds.items() if versions.get(n) not in (bound, f"{bound}.0")]


def test_the_lowest_versions_are_the_lower_bounds():
    assert misfits(pinned("constraints-lowest.txt")) == []
    assert misfits(pins("# none\nnumpy==1.27.0\n")) == list(REQUIRED)


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-lowest.txt"])
def test_what_is_pinned_is_allowed(name):
    versions = pinned(name)
    for package, requirement in REQUIRED.items():
        assert requirement.specifier.contains(versions[package])
    assert not REQUIRED["numpy"].specifier.contains("1.25.9")


def test_the_tools_are_the_same_with_the_lowest_versions():
    usual, lowest = pinned("constraints.txt"), pinned("constraints-lowest.txt")
    tools = {Requirement(tool).name for tool in PROJECT["optional-dependencies"]["dev"]}
    others = {tool for tool in tools & lowest.keys() if lowest[tool] != usual[tool]}
    assert others == {"pandas"}  # the usual one asks for a newer NumPy


def test_the_pythons_that_are_named_are_those_that_are_tested():
    named = re.findall(r":: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    first, *others = named
    assert PROJECT["requires-python"] == f">={first}"
    for file in ("Makefile", ".ci/run"):
        assert f"for version in {' '.join(others)};" in (ROOT / file).read_text(encoding="utf-8")
