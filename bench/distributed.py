"""What several processes promise, in figures: D1 to D14; and what grows with their number.

    python bench/distributed.py [--large] [--only D1 D12 ...]

Every figure is one of processes with gloo on this machine, started from one that has loaded torch;
what they do is in tests/distributed/jobs.py. Differences are the largest of all weights from those
of one process on the same batches. The quick size takes about two minutes of one core, the large
one tries all cases, three processes and every place. ``--only`` measures some anew, and leaves the
others as they were.

The curves are of the script of docs/distributed.md, run in one process, in two, with FSDP2, killed
and started anew, and under Ray Train where that is installed.

The constants are of two cores, and of processes that share them: how a thing grows with the number
of processes holds elsewhere, the constants themselves do not. The result is also written to
bench/results/distributed_<hardware>_<date>.json; docs/distributed.py makes the page's table of it.
"""

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import results
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "distributed"))

import jobs  # noqa: E402
import nursery  # noqa: E402

from lehr.base import files  # noqa: E402
from lehr.data import DataLoader, Dataset  # noqa: E402
from lehr.data.loading.permuted import Permuted  # noqa: E402
from lehr.distributed import Distributed  # noqa: E402
from lehr.events import ACTIONS, EVENTS  # noqa: E402
from lehr.state.disk import checkpoint  # noqa: E402
from lehr.state.disk.checkpoint_folder import CheckpointFolder  # noqa: E402

QUICK = ["plain", "adam", "accumulate", "clip", "masked items", "last batch of one item"]
HOW: dict[str, dict[str, Any]] = {
    "whole": {},
    "sharded": {"shard": True},
    "parted": {"shard": True, "parts": True},
}
PAIRS = [("2 parted", "1 whole"), ("2 parted", "3 parted"), ("1 whole", "2 sharded")]
ALL_PAIRS = [
    (f"{a} {how}", f"{b} {other}")
    for a in (1, 2, 3)
    for b in (1, 2, 3)
    for how in HOW
    for other in HOW
    if (a > 1 or how == "whole") and (b > 1 or other == "whole")
]


class Tier:
    """How much is tried; and what is needed by more than one figure."""

    def __init__(self, large: bool, folder: Path) -> None:
        self.large, self.folder = large, folder
        self.worlds = [2, 3] if large else [2]
        self.ends = cache(self._ends)
        self.straight = cache(lambda: values(1, "goes_on_from", folder=str(self.new()))[0])
        self.page = cache(lambda: one_process(self))
        self.alone = cache(lambda case: values(1, "trajectory", case=case)[0])

    def new(self) -> Path:
        """A name in a folder of its own."""
        return Path(tempfile.mkdtemp(dir=self.folder)) / "run"

    def cases(self, shard: bool) -> list[str]:
        """The trajectories that are compared."""
        if not self.large:
            return QUICK
        return [case for case in jobs.CASES if not (shard and "closure" in case)]

    def _ends(self, world: int, shard: bool) -> list[dict[str, Any]]:
        return values(world, "trajectories", cases=self.cases(shard), shard=shard)

    def away(self, shard: bool, wanted: Callable[[str], bool]) -> tuple[int, float, float]:
        """How many trajectories there were, and by how much weights and numbers were away."""
        weights, numbers, count = [0.0], [0.0], 0
        for world in self.worlds:
            for case in filter(wanted, self.cases(shard)):
                count += 1
                alone = self.alone(case)
                for end in (end[case] for end in self.ends(world, shard)):
                    weights.append((end["weights"] - alone["weights"]).abs().max().item())
                    for row, expected in zip(end["rows"], alone["rows"], strict=True):
                        known = [n for n in expected if isinstance(expected[n], float)]
                        apart = [abs(row[n] - expected[n]) for n in known]
                        numbers += [x for x in apart if x == x]
        return count, max(weights), max(numbers)


def ask(world: int, job: str, /, limit: float = 300.0, **arguments: Any) -> list[Any]:
    """How each of so many processes ended."""
    return nursery.together(world, job, arguments, limit)


def values(world: int, job: str, /, **arguments: Any) -> list[Any]:
    """What each of them returned."""
    ended = ask(world, job, **arguments)
    for kind, value in ended:
        if kind != "ok":
            raise RuntimeError(f"{job}: {kind}: {value}")
    return [value for _, value in ended]


def d1(tier: Tier) -> dict[str, Any]:
    count, weights, _ = tier.away(False, lambda case: True)
    return {"trajectories": count, "away by": weights}


def d2(tier: Tier) -> dict[str, Any]:
    count, weights, _ = tier.away(True, lambda case: True)
    return {"trajectories": count, "away by": weights}


def d3(tier: Tier) -> dict[str, Any]:
    both = [tier.away(shard, lambda case: "accumul" in case) for shard in (False, True)]
    return {"trajectories": both[0][0] + both[1][0], "away by": max(both[0][1], both[1][1])}


def d4(tier: Tier) -> dict[str, Any]:
    both = [tier.away(shard, lambda case: "masked" in case) for shard in (False, True)]
    wrong = values(2, "mean_of_means")[0]
    alone = tier.alone("masked items")["weights"]
    return {
        "trajectories": both[0][0] + both[1][0],
        "away by": max(both[0][1], both[1][1]),
        "a mean of means is away by": (wrong - alone).abs().max().item(),
    }


def d5(tier: Tier) -> dict[str, Any]:
    draw = random.Random(0)
    sizes = [(draw.randint(1, 60), draw.randint(1, 20)) for _ in range(500 if tier.large else 100)]
    exact = 0
    worlds = [2, 3, 4] if tier.large else [2, 3]
    for world in worlds:
        parts = values(world, "parts", sizes=sizes)
        for case, (items, batch_size) in enumerate(sizes):
            numbers = torch.arange(items)
            whole = DataLoader(Dataset(numbers, numbers), batch_size, shuffle=True)
            exact += all(
                list(chain(*(part[case][index] for part in parts))) == batch.tolist()
                for index, (batch, _) in enumerate(whole.batches(3, 1))
            )
    return {"partitions": len(sizes) * len(worlds), "exact": exact}


def d6(tier: Tier) -> dict[str, Any]:
    both = [tier.away(shard, lambda case: "last batch of one" in case) for shard in (False, True)]
    return {"trajectories": both[0][0] + both[1][0], "away by": max(both[0][1], both[1][1])}


def d7(tier: Tier) -> dict[str, Any]:
    both = [tier.away(shard, lambda case: True) for shard in (False, True)]
    return {"trajectories": both[0][0] + both[1][0], "numbers away by": max(x[2] for x in both)}


def d8(tier: Tier) -> dict[str, Any]:
    lengths = [[5, 3], [3, 5]] if tier.large else [[5, 3]]
    ends = [values(2, "own_batches", lengths=one, folder=str(tier.new())) for one in lengths]
    steps = [end["sized"][0] for one in ends for end in one]
    return {"processes": len(steps), "with all batches": steps.count(2 * 5)}


def d9(tier: Tier) -> dict[str, Any]:
    places = [*EVENTS, *ACTIONS] if tier.large else ["begin_fit", "after_loss", "after_validate"]
    named, seconds = 0, []
    for number, place in enumerate(places):
        for rank in (0, 1) if tier.large else (number % 2,):
            ended = ask(2, "fails", rank=rank, name=place)
            texts = [text for _, text in ended]
            named += f"rank {rank} failed in Fails.{place}" in texts[1 - rank]
            moments = [float(text.rpartition("\nat ")[2]) for text in texts]
            seconds.append(abs(moments[0] - moments[1]))
    return {"failures": len(seconds), "named": named, "slowest, in seconds": max(seconds)}


def d10(tier: Tier) -> dict[str, Any]:
    ends = [values(2, "signalled", ranks=[rank], number=15) for rank in (0, 1)]
    killed = [ask(2, "dies", after=after)[0][1] for after in ((3, 8, 12) if tier.large else (8,))]
    return {
        "SIGTERMs": len(ends),
        "with one end": sum(first == second for first, second in ends),
        "SIGKILLs": len(killed),
        "named": sum("rank 1 is lost" in text for text in killed),
    }


def d11(tier: Tier) -> dict[str, Any]:
    folder = tier.new()
    folder.mkdir()
    (first, _), (second, _) = values(2, "writes", folder=str(folder))
    return {"files opened by the first": len(first), "by the other": len(second)}


def d12(tier: Tier) -> dict[str, Any]:
    away = []
    for before, after in ALL_PAIRS if tier.large else PAIRS:
        (a, one), (b, other), folder = before.split(), after.split(), str(tier.new())
        values(int(a), "stops_early", folder=folder, after=7, **HOW[one])  # of 6 an epoch
        for end in values(int(b), "goes_on_from", folder=folder, **HOW[other]):
            away.append((end["weights"] - tier.straight()["weights"]).abs().max().item())
    pairs = len(ALL_PAIRS if tier.large else PAIRS)
    return {"pairs, in mid-epoch": pairs, "away by": max(away)}


def d13(tier: Tier) -> dict[str, Any]:
    afters, exact, count = [1, 5, 6, 9] if tier.large else [5], 0, 0
    for how in HOW if tier.large else ("whole", "parted"):
        folder = str(tier.new().parent)
        for end in values(2, "stopped_and_resumed", folder=folder, afters=afters, **HOW[how]):
            for after in afters:
                count += 1
                exact += torch.equal(end["straight"]["weights"], end[after]["weights"])
    return {"resumed processes": count, "bit for bit": exact}


def d14(tier: Tier) -> dict[str, Any]:
    kills = [("disk", 0, n, "parted") for n in range(7)] + [
        ("disk", 1, n, "parted") for n in range(2)
    ]
    if tier.large:
        kills += [("disk", 0, n, how) for n in range(6) for how in ("whole", "sharded")]
        kills += [("gather", rank, n, "sharded") for n in (0, 7, 15) for rank in (0, 1)]
    else:
        kills = [kills[0], kills[5], kills[6], kills[8]]
    died = good = 0
    for before, rank, number, how in kills:
        folder, options = str(tier.new()), {"shard": False, **HOW[how]}
        where = {"before": before, "rank": rank, "number": number}
        died += ask(2, "saves_and_dies", folder=folder, **where, **options)[rank][0] == "died"
        saved = CheckpointFolder(folder).all()
        good += [one.step for one in saved] == [0, 1] and all(
            bool(checkpoint.read(one.path).snapshot) for one in saved
        )
    return {"kills": died, "with the older checkpoints whole": good}


PROMISES = {
    "D1": (d1, "with a copy of the model in each process, the trajectory is that of one process"),
    "D2": (d2, "with a shard in each (FSDP2), too"),
    "D3": (d3, "with windows of several batches, and short ones"),
    "D4": (d4, "with items of unequal weight"),
    "D5": (d5, "each item is read once, in the order of one process"),
    "D6": (d6, "with a last batch that has fewer items than there are processes"),
    "D7": (d7, "losses and metrics are those over all items"),
    "D8": (d8, "loaders of unequal length end together, and no item is lost"),
    "D9": (d9, "an error in one process is named in all, with rank and place"),
    "D10": (d10, "a signal to one ends all alike; one that is killed is named"),
    "D11": (d11, "the first process alone writes"),
    "D12": (d12, "another number of processes goes on, sharded or not"),
    "D13": (d13, "the same number goes on bit for bit, dropout included"),
    "D14": (d14, "a death while saving leaves the older checkpoints whole"),
}


# One script ------------------------------------------------------------------------------------

TAIL = """
import json
from pathlib import Path

learn.save("end.safetensors")
if learn.engine.rank == 0:
    Path("end.json").write_text(json.dumps(run.history["valid_loss"]))
"""
DIES = """
import os, signal
from lehr import Callback


class Dies(Callback):
    replays = False

    def after_step(self, run):
        if run.engine.rank == 1 and run.n_steps == 30:
            os.kill(os.getpid(), signal.SIGKILL)


"""
RAY_TAIL = """
import json, shutil
from pathlib import Path

with result.checkpoint.as_directory() as folder:
    shutil.copy(Path(folder, "model.safetensors"), "end.safetensors")
reported = [numbers for _, numbers in result.best_checkpoints]
Path("end.json").write_text(json.dumps([numbers["valid_loss"] for numbers in reported]))
"""


def block(page: str) -> str:
    """The script of a page."""
    (source,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.S)
    return source


def script(tier: Tier, source: str, folder: Path | None = None) -> str:
    """A folder with ``train.py``."""
    folder = folder or tier.new()
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(source)
    return str(folder)


def end(folder: str) -> tuple[list[float], torch.Tensor]:
    """What the script of a folder came to: the losses of its validations, and its weights."""
    tensors = load_file(Path(folder, "end.safetensors"))
    losses = json.loads(Path(folder, "end.json").read_text())
    return losses, torch.cat([tensors[name].flatten() for name in sorted(tensors)])


def one_process(tier: Tier) -> str:
    folder = script(tier, block("distributed.md") + TAIL)
    values(1, "runs_a_script", folder=folder)
    return folder


def two_processes(tier: Tier) -> str:
    folder = script(tier, block("distributed.md") + TAIL)
    values(2, "runs_a_script", folder=folder)
    return folder


def two_with_shards(tier: Tier) -> str:
    source = block("distributed.md").replace(
        "Distributed())", "Distributed(shard=lambda model: [model[1]]))"
    )
    folder = script(tier, source + TAIL)
    values(2, "runs_a_script", folder=folder)
    return folder


def killed_and_restarted(tier: Tier) -> str:
    source = block("distributed.md")
    dying = source.replace('[Checkpoint("saved")]', '[Checkpoint("saved"), Dies()]')
    folder = script(tier, DIES + dying)
    if ask(2, "runs_a_script", folder=folder)[1][0] != "died":
        raise RuntimeError("the process was not killed")
    script(tier, source + TAIL, Path(folder))
    values(2, "runs_a_script", folder=folder)
    return folder


def two_workers_of_ray(tier: Tier) -> str | None:
    if find_spec("ray") is None:
        return None
    folder = script(tier, block("ray.md") + RAY_TAIL)
    environment = os.environ | {
        "RAY_AUTH_MODE": "disabled",
        "RAY_ADDRESS": "local",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
        "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "600",
    }
    subprocess.run([sys.executable, "train.py"], cwd=folder, env=environment, check=True)
    return folder


CURVES: dict[str, Callable[[Tier], str | None]] = {
    "one process": one_process,
    "two processes": two_processes,
    "two, with a shard in each (FSDP2)": two_with_shards,
    "two, one of them killed at step 30, and both started anew": killed_and_restarted,
    "two workers of Ray Train": two_workers_of_ray,
}


def curve(tier: Tier, name: str) -> dict[str, Any] | None:
    """How one way to run the script of the page ends; None if that cannot be done here."""
    folder = CURVES[name](tier)
    if folder is None:
        return None
    losses, weights = end(folder)
    alone = end(tier.page())[1]
    return {"losses": losses, "weights away by": (weights - alone).abs().max().item()}


# What grows with the number of processes --------------------------------------------------------


def message(count: int) -> dict[str, float]:
    """Seconds of a control message, and of a gathered value, in the middle of so many."""
    engine = Distributed(timeout=60)

    def each(act: Callable[[], Any]) -> float:
        seconds = []
        for _ in range(count):
            start = time.perf_counter()
            act()
            seconds.append(time.perf_counter() - start)
        return statistics.quantiles(seconds, n=10)[0]

    return {
        "message": each(lambda: engine.control.send("sum").wait()),
        "gather": each(lambda: engine.gather(("done", 1.0))),
    }


def constants(tier: Tier) -> dict[str, dict[str, Any]]:
    """Of messages the fastest tenth, for others may be at work here; of what a process does by
    itself the time of its processor, and medians of what goes to the disk.
    """
    jobs.message = message  # the processes are forks of this one
    rows: dict[str, dict[str, Any]] = {}
    for world in (2, 3, 4) if tier.large else (2, 3):
        said = values(world, "message", count=1000 if tier.large else 200)
        rows[f"control message, {world} processes"] = {"microseconds": 1e6 * said[0]["message"]}
        rows[f"gathered value, {world} processes"] = {"microseconds": 1e6 * said[0]["gather"]}
    return {**rows, **alone(tier)}


def timed(
    act: Callable[[], Any], count: int = 5, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds of one call, the median."""
    seconds = []
    for _ in range(count):
        start = clock()
        act()
        seconds.append(clock() - start)
    return statistics.median(seconds)


def alone(tier: Tier) -> dict[str, dict[str, Any]]:
    """What each process does by itself."""
    size = 1 << (28 if tier.large else 26)
    numbers = torch.randn(size // 4)
    folder, order = tier.new(), Permuted(10**10, key=0)
    folder.mkdir()
    indices = 1 << 16
    names = iter(range(10**6))

    def write() -> None:
        part = {"model.weight": numbers}
        there = folder / str(next(names))
        there.mkdir()
        checkpoint.write_part(there, ({}, part), ["weight"], 0, 1)
        files.remove(there)

    def entries(count: int) -> float:
        there = folder / str(next(names))
        there.mkdir()
        said = {"size": 1 << 30, "crc32": "00000000"}
        vouched = dict.fromkeys(checkpoint.shards.file_names(count), said)
        vouched |= dict.fromkeys(("state.json", "shards.json"), said)
        info = {"run": "a", "serial": 1, "step": 1, "epoch": 0}

        def seal() -> None:
            checkpoint.seal(there, vouched, info)
            (there / checkpoint.MANIFEST).unlink()

        return timed(seal, 3, time.process_time)

    few, many = entries(10), entries(10_000)
    return {
        "data order, one index of 10^10": {
            "nanoseconds": 1e9 * timed(lambda: order[0:indices], clock=time.process_time) / indices
        },
        "a part on its way to the disk, checksum included": {
            "MB per second": size / timed(write, 3) / 1e6
        },
        "one more process in the manifest": {"microseconds": 1e6 * (many - few) / 9_990},
    }


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp())  # not one that processes delete when they end
    try:
        tier = Tier(options.large, folder)
        for name, (measure, text) in PROMISES.items():
            if not options.only or name in options.only:
                start = time.perf_counter()
                rows[name] = {"promise": text, "figures": measure(tier)}
                seconds = time.perf_counter() - start
                sys.stderr.write(f"{name}: {rows[name]['figures']} ({seconds:.0f} s)\n")
        for name in CURVES:
            if not options.only or "curves" in options.only or name in options.only:
                if (figures := curve(tier, name)) is not None:
                    rows[f"curve of {name}"] = {"promise": "", "figures": figures}
                sys.stderr.write(f"{name}: {figures}\n")
        if not options.only or "constants" in options.only:
            found = constants(tier)
            rows["constants"] = {"promise": "", "figures": found}
            sys.stderr.write(f"{found}\n")
    finally:
        files.remove(folder)
    size = "large" if options.large else "quick"
    rows = {name: {**row, "size": size} for name, row in rows.items()}
    results.write("distributed", {**results.newest_rows("distributed"), **rows}, {})


if __name__ == "__main__":
    main()
