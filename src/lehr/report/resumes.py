"""What a run folder tells of the times that its run was gone on with."""

import shlex
from collections.abc import Mapping
from typing import Any, cast

from lehr.report.words import flat, written


def going_on(
    earlier: Mapping[str, Any],
    config: Mapping[str, Any],
    environment_then: Mapping[str, Any],
    environment_now: Mapping[str, Any],
) -> dict[str, Any]:
    """What the configuration of a run that goes on keeps of the one before, and tells of it.

    Under ``"resumes"`` there is, for each time, when that was and what was not as before: the
    settings, the version of lehr, and the environment, each with its old and its new value.

    Args:
        earlier: the configuration in the folder.
        config: the new one.
        environment_then: that which the run began in.
        environment_now: that which it goes on in.

    Example:
        >>> old, new = {"settings": {"epochs": 3}}, {"settings": {"epochs": 6}}
        >>> going_on(old, new, {}, {})["resumes"][0]["changed"]
        {'epochs': [3, 6]}
    """
    then, now = _decided(earlier, environment_then), _decided(config, environment_now)
    changed = {name: [then.get(name), now[name]] for name in now if then.get(name) != now[name]}
    resume = {"time": config.get("started"), "changed": changed}
    kept = {name: earlier[name] for name in ("started", "lehr") if name in earlier}
    return {**kept, "resumes": [*(earlier.get("resumes") or []), resume]}


def resumes(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those that a configuration tells of, oldest first.

    Example:
        >>> resumes({"status": "finished"})
        []
    """
    stored = config.get("resumes")
    listed = cast("list[Any]", stored) if isinstance(stored, list) else []
    return [resume for resume in listed if isinstance(resume, dict)]


def longer_commands(config: Mapping[str, Any], run: str) -> list[str]:
    """The commands that made a run longer than it was begun.

    Example:
        >>> longer_commands({"resumes": [{"changed": {"epochs": [3, 6]}}, {}]}, "runs/a")
        ['lehr resume runs/a --epochs 6']
    """
    commands: list[str] = []
    for resume in resumes(config):
        match resume.get("changed"):
            case {"epochs": [_, int(epochs)]}:
                commands.append(shlex.join(["lehr", "resume", run, "--epochs", str(epochs)]))
            case _:
                pass
    return commands


def _decided(config: Mapping[str, Any], environment: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides a run, as it is after a way through JSON."""
    settings = {"lehr": config.get("lehr"), **flat(config.get("settings") or {})}
    return written({**settings, **flat(environment)})
