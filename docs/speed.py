"""Makes docs/speed.md from the newest figures in bench/results, for each kind of hardware.

python docs/speed.py
"""

import json
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "speed.md"
NONE = "not measured yet on this machine"
HEAD = """# Speed

The yardstick is the same training, written by hand for the same model, in the same process: loops
take turns, and a figure is the median of the ratios to the hand-written loop of the same turn.
Below 1 is faster. Unless another one is named, the model is the lesson's (784-50-10, batches of 64,
data in memory), of which a step takes a few hundred microseconds: what a library adds is seen best
where the model does little. `make bench` measures everything that needs no GPU and makes this page;
`make bench-gpu` measures the rest. Tables may be from different machines, so microseconds are to be
compared within a table alone. The newest figures are of {newest}.
"""
STEP = """A step with SGD (`bench/overhead.py`), in multiples of the hand-written loop; in brackets
the middle half of the turns.
"""
FUSED = """Whole fits with `compile="always"`: forward, loss, gradient and update are one graph
(`bench/fused.py`); in brackets the lowest and the highest ratio. The first fit compiles.
"""
PEERS = """Each library has an environment of its own and takes turns with the hand-written loop in
one process (`bench/peers.py`): whole fits of three epochs, SGD, every fit from the same weights.
*As its docs show it* is with the library's defaults, loaders, bars and logs; *tuned* is without
bars and checkpoints, on batches in memory, as cheaply as it can be handed them. The accuracy is the
lowest of all fits on held-out items, and proves that the work was done; a training of the last
layer alone stays at chance. The scripts are in `bench/peers`.
"""
CHECKPOINTS = """What a step waits for a checkpoint of a model of so many megabytes
(`bench/checkpoint_cost.py`), in multiples of what is named; in brackets the middle half.
"""
IMPORT = """What lehr, with all its names, adds to `import torch` (`bench/import_time.py`).
"""
DATA = """From data to batches of 64, without any model (`bench/data_path.py`); in brackets the
lowest and the highest ratio.
"""
MEMORY = """**In memory**, in multiples of the time of a bare `index_select` of the same, in a new
order: below 1 is faster. The last column is how many times faster lehr is than torch's DataLoader
with its defaults, which reads item by item; no reading can be faster than `index_select`.
"""
FOLDER = """**From a folder**: how many times as many images a second as torch's DataLoader gives,
which decodes the same JPEGs with the same function in as many workers; above 1 is faster. The first
epoch has to start the workers. With `cache=True` everything is decoded before the first epoch, and
that is counted in it.
"""
MAPPED = """**Larger than the memory**: rows of 3 kilobytes of a mapped array in a new order, in
multiples of the time of a bare `index_select` of it, and by how much the memory of the process grew
at most. The limit is 512 MiB: what has more is read row by row, and does not stay.
"""
ORDER = """**An order of 10⁹ items** is computed where it is needed; as a permutation in memory it
would take 8 gigabytes. Entered is how long it takes to go on in its middle.
"""
LARGER = """Beyond the MLP (`bench/larger_models.py`): whole fits, eager, with `compile=True`, which
takes the faster kind of step, and with `compile="always"`; in brackets the lowest and the highest
ratio.
"""
SCALE = """Does a step grow (`bench/scale.py`)? The model has three numbers, so a step is nearly all
overhead; in brackets the lowest and the highest ratio. The first table is beside a step without
silent callbacks, the second beside hand-written steps in the same process, after so many recorded
steps. The third is of fresh processes, from their start until their first step is done.
"""
SCALE_PICTURE = """![A step with silent callbacks, a step after many steps, and the memory over a
million steps](images/scale.png)
"""
GPU = """On a GPU, in bfloat16, with the data on the device (`bench/gpu.py`): eager beside the same
loop by hand under `torch.autocast`, compiled beside that loop with `torch.compile` of the model,
captured (a CUDA graph, as `compile` makes it by itself) beside its mode `reduce-overhead`; in
brackets the lowest and the highest ratio. *Waits* is how often a step waits for the device when
nothing reports.
"""
SPEEDRUN = """The recipe airbench94 (Jordan 2024) as a script of callbacks, on 45,000 images, beside
the same by hand (`bench/cifar_speedrun.py`); the accuracy is that on the last 5,000 images of the
training set. Each is a median, in brackets the lowest and the highest.
"""
README_PEERS = """Other libraries beside the same hand-written loop, on one thread
(`bench/peers.py`; medians of twenty pairs; every fit ends with the same accuracy):
"""
BEGIN, END = "<!-- figures, by docs/speed.py -->", "<!-- end of figures -->"
README = ROOT / "README.md"
DATA_TABLES = {
    "memory": (
        MEMORY,
        ["", "×", "", "µs a batch", "DataLoader, times"],
        ["ratio", "range", "microseconds_a_batch", "times_faster"],
    ),
    "folder": (
        FOLDER,
        ["", "×", "", "images a second"],
        ["ratio", "range", "images_a_second"],
    ),
    "mapped": (
        MAPPED,
        ["", "×", "", "µs a batch", "MB more", "MB more, `index_select`"],
        ["ratio", "range", "microseconds_a_batch", "megabytes", "megabytes_bare"],
    ),
    "order": (
        ORDER,
        ["", "first batch, ms", "entered, ms", "ns an index", "MB"],
        ["first_milliseconds", "entered_milliseconds", "nanoseconds_an_index", "megabytes"],
    ),
}
"""Of each group of rows of the data path: what it is, the head of its table, fields of a row."""


def newest(what: str) -> list[dict[str, Any]]:
    """The newest result of this name from each kind of hardware."""
    results = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in (ROOT / "bench" / "results").glob(f"{what}_*.json")
    ]
    latest: dict[str, dict[str, Any]] = {}
    for result in sorted(results, key=lambda result: result["date"]):
        if result["what"] == what:
            latest[result["hardware"]] = result
    return [latest[hardware] for hardware in sorted(latest)]


def peers() -> dict[str, dict[str, Any]]:
    """What is to be measured, by the name of its row."""
    text = (ROOT / "bench" / "peers" / "peers.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


# -- words and tables


def where(result: dict[str, Any]) -> str:
    """Of when and where the figures are."""
    machine, _, threads = result["hardware"].rpartition("-")
    number = threads.removesuffix("threads")
    many = "1 thread" if number == "1" else f"{number} threads"
    return (
        f"{result['date']}, {machine}, {many}, torch {result['torch']}, Python {result['python']}"
    )


def lines(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; its numbers stand at the right."""
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (head, rule, *rows)) + "\n"


def between(pair: Sequence[float], digits: int = 2) -> str:
    low, high = pair
    return f"[{low:.{digits}f}, {high:.{digits}f}]"


def section(
    title: str, text: str, what: str, table_of: Callable[[dict[str, Any]], str], without: str
) -> str:
    """A heading, what was measured, and a table for each kind of hardware, or ``without`` any."""
    parts = [f"## {title}\n", text]
    results = newest(what)
    for result in results:
        parts += [f"{where(result)}:\n", table_of(result)]
    return "\n".join(parts if results else [*parts, without])


# -- the tables


def steps(result: dict[str, Any]) -> str:
    rows = [
        (name, f"{row['ratio']:.2f}", between(row["quartiles"]), row["microseconds_a_step"])
        for name, row in result["rows"].items()
    ]
    return lines(["", "×", "", "µs a step"], rows)


def fused(result: dict[str, Any]) -> str:
    rows = [
        (
            name,
            f"{row['ratio']:.2f}",
            between(row["range"]),
            row["microseconds_a_step"],
            row["first_fit_seconds"],
        )
        for name, row in result["rows"].items()
    ]
    return lines(["", "×", "", "µs a step", "first fit, s"], rows)


def against_peers(result: dict[str, Any]) -> str:
    rows = [row for name, peer in peers().items() for row in peer_rows(name, peer, result)]
    return lines(["", "×", "", "µs a step", "accuracy"], rows)


def peer_rows(name: str, peer: dict[str, Any], result: dict[str, Any]) -> list[tuple[object, ...]]:
    """A row for each variant of a peer; without figures, one that says why."""
    found = result["rows"].get(name)
    if found is None or "failed" in found:
        return [without_figures(peer["title"], NONE if found is None else found["failed"])]
    title = f"{peer['title']} {found['version']}"
    if (date := found.get("date", result["date"])) != result["date"]:
        title += f" ({date})"
    rows: list[tuple[object, ...]] = []
    for variant, row in found["variants"].items():
        if variant == "hand-written" and name != "lehr":
            continue  # it has one row, though each peer was timed beside one of its own
        label = variant if variant == "hand-written" else f"{title}, {variant}"
        if "failed" in row:
            rows.append(without_figures(label, row["failed"]))
            continue
        accuracy, ratio = f"{row['accuracy']:.3f}", f"{row['ratio']:.2f}"
        rows.append((label, ratio, between(row["range"]), row["microseconds_a_step"], accuracy))
    return rows


def without_figures(label: str, reason: str) -> tuple[object, ...]:
    return (f"{label}: {reason}".replace("|", "\\|"), "–", "", "–", "–")


def pairs() -> str:
    """How many turns there were."""
    rows = [row for result in newest("peers") for row in result["rows"].values()]
    numbers = sorted({row["options"]["pairs"] for row in rows if "options" in row})
    if not numbers:
        return ""
    many = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    return f"Medians of {many} pairs; in brackets the lowest and the highest.\n"


def checkpoints(result: dict[str, Any]) -> str:
    rows = [
        (
            name,
            "copy in memory" if "background" in name else "torch.save and fsync",
            f"{row['ratio']:.2f}",
            between(row["quartiles"]),
            row["checkpoint, milliseconds"],
        )
        for name, row in result["rows"].items()
    ]
    return lines(["", "beside", "×", "", "ms"], rows)


def data_path(result: dict[str, Any] | None) -> str:
    """Four tables; each says so where it has no figures."""
    parts: list[str] = []
    for group, (text, head, fields) in DATA_TABLES.items():
        rows = [
            (name, *(figure(row[field]) for field in fields))
            for name, row in ({} if result is None else result["rows"].get(group, {})).items()
        ]
        blank = [without_figures("all", NONE)[0], *["–"] * len(fields)]
        parts += [text, lines(head, rows or [blank])]
    return "\n".join(parts)


def figure(value: Any) -> object:
    """A ratio, a range of them, or a number as it is."""
    if isinstance(value, list):
        return between(value)
    return f"{value:.2f}" if isinstance(value, float) and value < 100 else value


def imports(result: dict[str, Any]) -> str:
    return lines(["", ""], list(result["rows"].items()))


def larger(result: dict[str, Any]) -> str:
    rows = [
        (
            f"{name}: {reason(row['said'])}" if "said" in row else name,
            f"{row['ratio']:.2f}",
            between(row["range"]),
            f"{row['microseconds_a_step'] / 1e3:.2f}",
        )
        for name, row in result["rows"].items()
    ]
    return lines(["", "×", "", "ms a step"], rows)


def reason(said: str) -> str:
    """Why steps were not fused, out of the warning that said so.

    Example:
        >>> reason("compile: the steps are not fused, and as fast as without: it is slow; leave it")
        'it is slow'
    """
    return said.rpartition("as without: ")[2].partition("; ")[0]


def scale(result: dict[str, Any]) -> str:
    parts = result["rows"]
    silent = [(name, *measured(row)) for name, row in parts["silent callbacks"].items()]
    steps = [
        (f"{int(name):,}", *measured(row), row["microseconds_between_epochs"])
        for name, row in parts["steps done"].items()
    ]
    first = [
        (name, *measured(row)[:2], f"{row['microseconds_a_step'] / 1e6:.2f}")
        for name, row in parts["first step"].items()
    ]
    memory = parts["memory"]
    return "\n".join(
        [
            lines(["silent callbacks", "×", "", "µs a step"], silent),
            lines(["steps done", "×", "", "µs a step", "µs between two epochs"], steps),
            lines(["to the first step", "×", "", "s"], first),
            f"After the first tenth of {memory['steps'][-1]:,} recorded steps, the memory that the "
            f"process holds grew by {memory['growth after the first tenth']} MB.\n",
            SCALE_PICTURE,
        ]
    )


def measured(row: dict[str, Any]) -> tuple[object, ...]:
    """A ratio, its range, and the time of a step."""
    return f"{row['ratio']:.2f}", between(row["range"]), row["microseconds_a_step"]


def gpu(result: dict[str, Any]) -> str:
    head = ["", "×", "", "µs a step", "by hand", "waits", "first fit, s", "by hand"]
    rows: list[tuple[object, ...]] = []
    for name, row in result["rows"].items():
        if "failed" in row:
            rows.append((f"{name}: {row['failed']}".replace("|", "\\|"), "–", *[""] * 6))
            continue
        waits = str(row["waits_a_step"])
        if places := row.get("waits_at"):
            waits += f" ({', '.join(places)})"
        firsts = row["first_fit_seconds"], row["first_fit_seconds_by_hand"]
        rows.append((name, *measured(row), row["microseconds_by_hand"], waits, *firsts))
    return lines(head, rows)


def speedrun(result: dict[str, Any]) -> str:
    rows = [
        (name, *measured(row)[:2], row["seconds"], f"{row['accuracy']:.4f}", reached)
        for name, row in result["rows"].items()
        for reached in [between(row["accuracies"], 4)]
    ]
    return lines(["", "×", "", "s", "accuracy", ""], rows)


def render() -> str:
    """The page."""
    kinds = ("overhead", "fused", "larger_models", "scale", "data_path", "gpu", "cifar_speedrun")
    kinds += ("peers", "checkpoint_cost", "import")
    dates = [result["date"] for what in kinds for result in newest(what)]
    none, no_peers = f"{NONE.capitalize()}.\n", against_peers({"rows": {}})
    parts = [
        HEAD.format(newest=max(dates, default="no day yet")),
        section("A step", STEP, "overhead", steps, none),
        section("The fused step", FUSED, "fused", fused, none),
        section("Larger models", LARGER, "larger_models", larger, none),
        section("Callbacks, steps and memory", SCALE, "scale", scale, none),
        section("From data to batches", DATA, "data_path", data_path, data_path(None)),
        section("On a GPU", GPU, "gpu", gpu, none),
        section("CIFAR-10 to 94 %", SPEEDRUN, "cifar_speedrun", speedrun, none),
        section("Beside other libraries", PEERS + pairs(), "peers", against_peers, no_peers),
        section("Checkpoints", CHECKPOINTS, "checkpoint_cost", checkpoints, none),
        section("Import", IMPORT, "import", imports, none),
    ]
    return "\n".join(parts).rstrip() + "\n"


def short() -> str:
    """The tables of the README: a step, and the other libraries, in multiples alone."""
    by_threads = {result["hardware"].rpartition("-")[2]: result for result in newest("overhead")}
    of_two, of_one = (by_threads[f"{n}threads"]["rows"] for n in (2, 1))
    names = ("recorder only", "default (recorder and live table)", "default + one-cycle schedule")
    own = [(name, f"{of_two[name]['ratio']:.2f}", f"{of_one[name]['ratio']:.2f}") for name in names]
    found = newest("peers")[0]["rows"]
    others: list[tuple[object, ...]] = []
    for name, peer in peers().items():
        variants = found.get(name, {}).get("variants", {})
        ratios = [f"{row['ratio']:.1f}" for row in variants.values() if "ratio" in row]
        if name != "lehr" and len(ratios) > 1:
            others.append((peer["title"], *ratios[-2:]))
    return "\n".join(
        [
            lines(["a step", "two threads", "one thread"], own),
            README_PEERS,
            lines(["a fit", "as its docs show it", "tuned by hand"], others),
        ]
    )


def into_readme(text: str) -> str:
    """The README with its tables as they are now."""
    before, begin, rest = text.partition(BEGIN)
    end, after = rest.partition(END)[1:]
    return f"{before}{begin}\n{short()}{end}{after}"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    README.write_text(into_readme(README.read_text(encoding="utf-8")), encoding="utf-8")
