"""The same world for every test, whoever started the suite, and from where.

The environment is that of a plain terminal program: a home folder of its own, no colours asked for
or refused, one thread, and compiled modules are kept, for the programs that tests start. Signals
are neither ignored nor blocked. What the library must not depend on is left as the caller has it:
time zone, language, folder for temporary files, standard input.
"""

import gc
import io
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

KEPT = {"PATH", "TMPDIR", "TEMP", "TMP", "TZ", "LANG", "LANGUAGE", "LEHR_DATA", "LEHR_NIGHTLY"}
KEPT |= {"PYTHONPATH", "PYTHONHOME", "PYTHONHASHSEED", "VIRTUAL_ENV"}
KEPT |= {"PYTHONUTF8", "PYTHONCOERCECLOCALE", "ATEN_CPU_CAPABILITY"}
KEPT_BEGINNINGS = ("LC_", "LD_", "DYLD_", "CUDA_", "NVIDIA_", "PYTEST_", "COV_", "COVERAGE_")
DISK = {"base", "disk", "faults"}
"""folders of tests of what reaches the disk, and when"""
SIGNALS = {signal.SIGINT: signal.default_int_handler} | {
    getattr(signal, name): signal.SIG_DFL
    for name in ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGCHLD", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--shuffle-seed N``: files in another order, and the tests of each file, too."""
    parser.addoption("--shuffle-seed", type=int, help="run the tests in the order of this seed")


@pytest.hookimpl(trylast=True)  # when pytest has read what the caller wants of colours and width
def pytest_configure(config: pytest.Config) -> None:
    """Put the environment in order: here, or in the process that starts this one."""
    if not hasattr(config, "workerinput"):
        before = dict(os.environ)
        home = tempfile.mkdtemp(prefix="lehr-tests-")
        config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
        config.add_cleanup(lambda: (os.environ.clear(), os.environ.update(before)))
        os.environ.clear()
        os.environ.update(clean_environment(before, home))

    import matplotlib as mpl
    import torch

    mpl.use("Agg")  # no screen
    torch.set_num_threads(1)  # tiny tensors are slower on two


def clean_environment(caller: dict[str, str], home: str) -> dict[str, str]:
    """What tests, and the programs that they start, find in the environment."""
    kept = {k: v for k, v in caller.items() if k in KEPT or k.startswith(KEPT_BEGINNINGS)}
    for name in {"LEHR_DATA", "PYTHONPATH", "TMPDIR"} & kept.keys():  # tests change the folder
        paths = [str(Path(path).absolute()) for path in kept.pop(name).split(os.pathsep) if path]
        if paths:
            kept[name] = os.pathsep.join(paths)
    own = {"HOME": home, "HYPOTHESIS_STORAGE_DIRECTORY": f"{home}/hypothesis"}
    return {**kept, **own, "TERM": "xterm", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is collected stays to the end, and is not looked through for garbage again and again.

    Once is half a second; it was a sixth of the collection.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


class FromTheEnd(pytest.Dir):
    """A folder whose files are collected in reverse."""

    def collect(self) -> list[Any]:
        """Its files and folders; what comes of one file stays in its order."""
        return sorted(super().collect(), key=lambda node: node.path, reverse=True)


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Of two processes that collect at a time, one begins at the end.

    To compile the tests, with what pytest adds to their assertions, takes longer than the rest of
    the collection; each then finds half of them compiled by the other.
    """
    name = getattr(parent.config, "workerinput", {}).get("workerid", "gw0")
    if int(name.removeprefix("gw")) % 2 == 0 or (path / "__init__.py").exists():
        return None  # as usual
    return FromTheEnd.from_parent(parent, path=path)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files with slow tests first, the site before all, so that the last ones are short; or
    shuffled, if asked to.

    The tests of a file stay together, for they may share what is dear. Those of the large tier are
    left out, unless that is asked for.
    """
    if os.environ.get("LEHR_NIGHTLY") != "1":
        large = [item for item in items if item.get_closest_marker("large")]
        config.hook.pytest_deselected(items=large)
        items[:] = [item for item in items if not item.get_closest_marker("large")]
    if hasattr(config, "workerinput"):  # else in the order that was asked for
        items.sort(key=lambda item: item.path)
    files = [list(group) for _, group in groupby(items, key=lambda item: item.path)]
    seed = config.getoption("--shuffle-seed")
    if seed is None:
        files.sort(key=lambda file: (file[0].path.name != "test_site.py", not _any_slow(file)))
    else:
        shuffled = random.Random(seed)
        shuffled.shuffle(files)
        for file in files:
            shuffled.shuffle(file)
    items[:] = [item for file in files for item in file]


def _any_slow(file: list[pytest.Item]) -> bool:
    return any(item.get_closest_marker("slow") for item in file)


@pytest.fixture(scope="module", autouse=True)
def _what_stays_is_looked_through_once() -> Iterator[None]:
    """Packages that a file's tests have imported are no garbage for those after it, either."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _signals() -> Iterator[None]:
    """Ctrl-C and its like as in a terminal; afterwards as the caller had them."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    mask = signal.pthread_sigmask(signal.SIG_SETMASK, ()) if os.name == "posix" else ()
    for number, handler in SIGNALS.items():
        if before[number] is signal.SIG_IGN:
            signal.signal(number, handler)
    yield
    for number, handler in before.items():
        if handler is signal.SIG_IGN:
            signal.signal(number, handler)
    if mask:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No power is cut here, and to wait for the disk is most of the time of a test that saves."""
    if not DISK.intersection(request.path.parts):
        monkeypatch.setattr(os, "fsync", os.fstat)  # a file that is closed is still an error


@pytest.fixture(autouse=True)
def _no_figures_left() -> Iterator[None]:
    """Figures of pyplot's stay until somebody closes them."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


@pytest.fixture(scope="session")
def _drawings() -> dict[str, bytes]:
    """One picture of each kind."""
    return {}


@pytest.fixture
def pictures_drawn() -> None:
    """For a test that looks at pictures where `drawn_once` is in force: each is drawn."""


@pytest.fixture
def drawn_once(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, _drawings: dict[str, bytes]
) -> None:
    """Each kind of picture is drawn once, for tests that look at none.

    Drawing is no work of ours, and most of a short training with a report.
    """
    if "pictures_drawn" in request.fixturenames:
        return
    from matplotlib.figure import Figure

    draw = Figure.savefig

    def draw_or_copy(figure: Figure, file: Any, *, format: str, **options: Any) -> None:
        if format not in _drawings:
            copy = io.BytesIO()
            draw(figure, copy, format=format, **options)
            _drawings[format] = copy.getvalue()
        text = isinstance(file, io.TextIOBase)
        file.write(_drawings[format].decode() if text else _drawings[format])

    monkeypatch.setattr(Figure, "savefig", draw_or_copy)


@pytest.fixture(autouse=True)
def _no_seed_left() -> Iterator[None]:
    """The seed of `lehr.seed` is that of the whole process, until it is forgotten."""
    yield
    if streams := sys.modules.get("lehr.state.streams"):
        streams.seed(None)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Any]:
    """Programs in processes of their own, forked from one that has imported what they need."""
    from tests.forked import Nursery

    nursery = Nursery()
    yield nursery
    nursery.end()
