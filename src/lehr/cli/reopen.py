"""A training, built again from its run folder."""

import json
import warnings
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from lehr.base.paths import path_of
from lehr.cli.data_sum import data_sum
from lehr.cli.fitting import has_checkpoints
from lehr.cli.job import Job, check_device, open_job
from lehr.cli.trained import allowed_model, stored_settings
from lehr.data.published.catalog import SOURCES
from lehr.engine import ALONE, Engine
from lehr.report.record import read_environment

_MOST_THREADS = 1024  # more than any machine had that a run could have been begun on


def reopen(
    path: Path,
    config: Mapping[str, Any],
    *,
    model: str | None = None,
    engine: Engine = ALONE,
    **changes: Any,
) -> Job:
    """The training of a run folder as `lehr train` built it: its state is yet to be loaded.

    Its words and numbers are believed, but no code in it, or named by it, is run. Torch's threads
    are set to the number that the run began with, since bits depend on it.

    Args:
        path: the run folder.
        config: what its ``config.json`` says.
        model: the import path of the user's own model, named once more.
        engine: the processes that train together.
        **changes: settings that are to be others than the folder says; None for none.

    Raises:
        FileNotFoundError: the data are gone.
        ValueError: the folder was not made by `lehr train`, its data or device are not there any
            more, or the data are others now.
    """
    stored = stored_settings(path, config)
    settings: dict[str, Any] = {"checkpoint_every": "1 epoch", **deepcopy(stored)}
    settings |= {name: value for name, value in changes.items() if value is not None}
    settings["model"] = allowed_model(path, stored["model"], model)
    check_device(settings["device"])
    _require_data(path, stored)
    threads = read_environment(path).get("threads")
    if type(threads) is int and 0 < threads <= _MOST_THREADS:
        torch.set_num_threads(threads)
    job = open_job(settings, engine, fresh=False)
    _compare_data(path, config, job)
    return job


def require_checkpoints(run: Path, config: Mapping[str, Any]) -> None:
    """See that a run folder holds a state to begin from, be it damaged.

    Raises:
        ValueError: it holds none; the message says why, as far as the folder tells.
    """
    if has_checkpoints(run):
        return
    settings, error = config["settings"], config.get("error")
    why = "it was stopped before its first"
    if settings.get("checkpoint_every", "never") == "never":
        why = "it was trained without (--checkpoint-every never)"
    elif config.get("status") == "failed":
        why = f"it failed before its first, with {str(error).partition(chr(10))[0]}"
    raise ValueError(f"{run} has no checkpoints: {why}. Instead, {anew(settings)}")


def anew(settings: Mapping[str, Any]) -> str:
    """What to do where a run cannot be gone on with."""
    return f"train anew: {settings['command']}" if "command" in settings else "train anew"


def _require_data(path: Path, stored: Mapping[str, Any]) -> None:
    source = stored["data"]
    if source not in SOURCES and not path_of(source).exists():
        raise FileNotFoundError(
            f"the data of {path} are gone: there is no {source}. Bring them back, or {anew(stored)}"
        )
    known = stored.get("data_sum")
    if known is not None and data_sum(source) != known:
        raise _changed(path, stored, "its files are others, or of other sizes")


def _compare_data(path: Path, config: Mapping[str, Any], job: Job) -> None:
    stored, items = config["settings"], job.settings["items"]
    if items != stored["items"]:
        raise _changed(
            path, stored, f"it had {stored['items']} items to train and validate on, now {items}"
        )
    preparation = job.learn.data.preparation
    now: dict[str, Any] = json.loads(json.dumps(preparation.to_dict(), default=str))
    then: dict[str, Any] = config.get("preparation") or {}
    names = sorted(name for name in {**now, **then} if now.get(name) != then.get(name))
    if names:
        warnings.warn(
            f"going on is not bit for bit exact: the items are prepared in another way than when "
            f"{path} was begun ({', '.join(names)}).",
            stacklevel=2,
        )


def _changed(path: Path, stored: Mapping[str, Any], how: str) -> ValueError:
    return ValueError(
        f"{stored['data']} has changed since {path} was begun: {how}. Bring back the data as they "
        f"were, or {anew(stored)}"
    )
