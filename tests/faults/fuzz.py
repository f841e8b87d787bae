"""Reads damaged run folders, within bounds of memory and time; prints what went wrong, as JSON.

``fuzz.py FOLDER FIRST COUNT [MEGABYTES]``: makes a run in the folder, and damages copies of it.
"""

import json
import os
import random
import resource
import signal
import sys
import warnings
from pathlib import Path

import torch
from damage import content, damage, fresh
from torch import nn
from typer.testing import CliRunner

import lehr
from lehr import cli
from lehr.report import RunRecord
from lehr.testing import tiny_learner

SECONDS = 60  # for one command; the machine may be busy


class TooSlow(Exception):
    pass


def late(*_):
    raise TooSlow


def limit_memory(megabytes):
    """Let this process grow by no more than so much."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = now + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


counts = {"done": 0, "worked": 0, "refused": 0}


def call(*arguments):
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments], prog_name="lehr")
    fault = result.exception
    if fault is not None and not isinstance(fault, SystemExit):
        return f"{type(fault).__name__}: {fault}"
    counts["refused" if result.exit_code else "worked"] += 1
    last = result.stderr.splitlines()[-1:] or [""]
    plain = last[0].startswith("error: ") and "Add --debug" not in result.stderr
    if result.exit_code not in (0, 1, 2) or (result.exit_code and not plain):
        return f"exit code {result.exit_code}: {result.stderr}"
    if "Traceback" in result.output or "\x1b" in result.output:
        return f"output: {result.output}"
    return None


def load(bad):
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    try:
        tiny_learner(model=model).load(bad / "model.safetensors")
        RunRecord.read(bad)
    except (ValueError, OSError):
        counts["refused"] += 1
        return None
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    counts["worked"] += 1
    return None


def resume(bad):
    """Only where it would end: a folder may say that a run is to be long."""
    try:
        epochs = json.loads((bad / "config.json").read_bytes())["settings"]["epochs"]
    except Exception:
        epochs = None
    return None if isinstance(epochs, (int, float)) and epochs > 50 else call("resume", bad)


def commands(bad, good, out):
    """What is done with a folder, and the files in it that it may write."""
    yield "load", lambda: load(bad), ()
    yield "report", lambda: call("report", bad), ("report.html",)
    yield "compare", lambda: call("compare", good, bad, "--out", out, "--overwrite"), ()
    yield "evaluate", lambda: call("evaluate", bad), ()
    yield "resume", lambda: resume(bad), None


def make(folder):
    """A run of two epochs that was interrupted after the first."""
    lines = ["a,b,y", *(f"{i},{i % 5},{'uv'[i % 2]}" for i in range(24))]
    (folder / "t.csv").write_text("\n".join(lines))
    quick = "--model linear --lr 0.01 --seed 0 --target y --epochs 2 --out good"
    fault = call("train", "t.csv", *quick.split())
    assert fault is None, fault
    good = folder / "good"
    config = json.loads((good / "config.json").read_text())
    (good / "config.json").write_text(json.dumps({**config, "status": "interrupted"}, indent=2))
    fresh(good / "checkpoints" / "step-00000001", good / "checkpoints" / "step-00000002")
    for path in (good / "checkpoints" / "step-00000002").iterdir():
        path.unlink()
    (good / "checkpoints" / "step-00000002").rmdir()
    return good


def main(folder, first, count, megabytes=1500):
    os.chdir(folder)
    folder = Path.cwd()
    good = make(folder)
    whole = [name for name, do, _ in commands(fresh(good, folder / "bad"), good, "c.html") if do()]
    assert not whole, f"{whole} cannot do with a whole folder"
    limit_memory(megabytes)
    signal.signal(signal.SIGALRM, late)
    for number in range(first, first + count):
        bad = fresh(good, folder / "bad")
        told = damage(random.Random(number), bad)
        for name, do, written in commands(bad, good, folder / "c.html"):
            before = content(bad, written or ())
            signal.alarm(SECONDS)
            try:
                fault = do()
            except TooSlow:
                fault = "it takes too long"
            finally:
                signal.alarm(0)
            if fault is None and written is not None and content(bad, written) != before:
                fault = "the folder has changed"
            if fault is not None:
                print(
                    json.dumps({"number": number, "damage": told, "what": name, "fault": fault}),
                    flush=True,
                )
        counts["done"] += 1
    print(json.dumps(counts))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    assert lehr.__version__
    main(sys.argv[1], *map(int, sys.argv[2:]))
