"""Runs tests in a world that is against them: nothing of the caller's may matter.

    python tests/hostile.py [ARGUMENTS OF PYTEST ...]

Without arguments a selection is run that takes less than a minute. Ctrl-C and SIGTERM are ignored
and blocked; there is no home folder and no standard input; terminal, language, time zone, colours
and width are unusual; the path for temporary files has a space in it; the folder that one starts in
is not the checkout. When all is over, the checkout must be as it was, and no process may be left.
"""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SELECTION = [
    "tests/golden",
    "tests/base/test_signals.py",
    "tests/state/disk/test_checkpoint_folder.py",
    "tests/base/test_files.py",
    "tests/callbacks/decide/test_checkpoint.py",
    "tests/callbacks/log/test_progress.py",
    "tests/cli/test_app.py",
    "tests/cli/test_look.py",
    "tests/data/loading/test_workers.py",
    "src/lehr/callbacks",
    "src/lehr/cli",
]
WORLD = {
    "HOME": "/dev/null/nobody",
    "TERM": "dumb",
    "LANG": "C",
    "LC_ALL": "C",
    "TZ": "Asia/Kathmandu",  # 5 hours 45 minutes ahead
    "COLUMNS": "40",
    "FORCE_COLOR": "1",
    "PY_COLORS": "0",  # for pytest itself
    "PYTHONWARNINGS": "error",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "3",
}
KEPT_BY_TOOLS = (".git", ".venv", ".ruff_cache", "__pycache__")
UNSET = ("LINES", "NO_COLOR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "DISPLAY", "USER", "LOGNAME")


def be_hostile() -> None:
    """In the process that will run pytest, just before it does."""
    os.close(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGALRM})


def files() -> dict[Path, tuple[int, int]]:
    """Size and time of every file of the checkout; what git and tools keep there is left out."""
    found = {}
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in KEPT_BY_TOOLS]
        for path in (Path(folder, name) for name in names):
            status = path.lstat()
            found[path] = status.st_size, status.st_mtime_ns
    return found


def adopt_orphans() -> None:
    """Linux: whoever loses its parent becomes a child of this process, which can then find it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER


def orphans(seconds: float) -> list[str]:
    """The programs that still run after so many seconds; they are ended."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    end, found = time.monotonic() + seconds, []
    while children.exists() and (numbers := children.read_text().split()):
        for number in map(int, numbers):
            if os.waitpid(number, os.WNOHANG)[0] == 0 and time.monotonic() > end:
                command = Path(f"/proc/{number}/cmdline").read_text().replace("\0", " ")
                found.append(f"{number} {command[:100]}")
                os.kill(number, signal.SIGKILL)
                os.waitpid(number, 0)
        time.sleep(0.1)
    return found


def main() -> int:
    """Run pytest, and look at what is left."""
    before = files()
    adopt_orphans()
    with tempfile.TemporaryDirectory() as outer:
        scratch = Path(outer, "with a space")
        scratch.mkdir()
        environment = {**os.environ, **WORLD, "TMPDIR": str(scratch)}
        for name in UNSET:
            environment.pop(name, None)
        for name in {"LEHR_DATA", "PYTHONPATH"} & environment.keys():
            environment[name] = str(Path(environment[name]).resolve())
        arguments = sys.argv[1:] or ["-n", "2", *SELECTION]
        arguments = [str(ROOT / one) if (ROOT / one).exists() else one for one in arguments]
        command = [sys.executable, "-P", "-m", "pytest", f"--rootdir={ROOT}", *arguments]
        done = subprocess.run(command, cwd="/", env=environment, preexec_fn=be_hostile)
        left = [f"still running: {program}" for program in orphans(seconds=10)]
    after = files()
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    left += [f"written to the checkout: {path}" for path in sorted(changed)]
    for line in left:
        print(line)
    return done.returncode or bool(left)


if __name__ == "__main__":
    sys.exit(main())
