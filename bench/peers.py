"""Other libraries beside the hand-written loop, each in an environment of its own.

    python bench/peers.py [--pairs 20] [--items 50048] [--epochs 3] [--threads 1]
                          [--only fastai keras] [--share] [--dry]

The peers are those of bench/peers/peers.toml; lehr is one of them, in the environment that runs
this. For each of the others an environment is made in build/peers, with the versions that are
pinned there and the torch of constraints.txt. ``--share`` lets it see the packages that are
installed here, so that torch is not downloaded once more for every peer.

The model is the lesson's (784-50-10, batch 64, SGD with lr 0.1), the data are in memory, and each
library has two variants: as its own documentation shows it, with its defaults, loaders, bars and
logs; and tuned, without bars and checkpoints, on batches in memory. What is timed is a whole fit of
three epochs after one that is not, in turns with the hand-written loop in one process, in a
terminal, as bars are drawn there; reported is the median of the ratios of at least twenty such
pairs, with the lowest and the highest, and the lowest accuracy of all fits on held-out items
(bench/peers/trial.py).

The result is also written to bench/results/peers_<hardware>_<date>.json. A peer that does not
install or fails is a row with its reason. With ``--only`` the other rows stay as they were.
"""

import argparse
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import sysconfig
import termios
import time
import tomllib
from pathlib import Path
from typing import Any

import results
import torch

BENCH = Path(__file__).resolve().parent
SCRIPTS = BENCH / "peers"
ENVIRONMENTS = BENCH.parent / "build" / "peers"
CONSTRAINTS = BENCH.parent / "constraints.txt"
LINES, COLUMNS = 40, 100


class NoFiguresError(Exception):
    """Why there are no figures of a peer."""


def peers() -> dict[str, dict[str, Any]]:
    """What is measured, by the name of its script."""
    return tomllib.loads((SCRIPTS / "peers.toml").read_text(encoding="utf-8"))


# -- an environment


def pip(python: Path, *arguments: str, limit_minutes: float) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    command += ["--disable-pip-version-check", "-c", str(CONSTRAINTS), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60 * limit_minutes, check=False
        )
    except subprocess.TimeoutExpired:
        raise NoFiguresError(f"was not installed within {limit_minutes:g} minutes") from None
    if done.returncode:
        errors = re.findall(r"^ERROR: (.+)$", done.stderr, re.M)
        raise NoFiguresError(f"does not install: {(errors or [last_line(done.stderr)])[0][:300]}")


def environment(name: str, peer: dict[str, Any], *, share: bool, limit_minutes: float) -> Path:
    """The Python of the peer's environment, which is made unless it is there as it should be."""
    folder = ENVIRONMENTS / name
    python, stamp = folder / "bin" / "python", folder / "installed.json"
    wanted = json.dumps([peer, share, CONSTRAINTS.read_text(encoding="utf-8"), sys.version])
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    command = [sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)]
    subprocess.run(command, check=True)
    if share:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = folder / "lib" / version / "site-packages"
        (packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    if without := peer.get("without_dependencies"):
        pip(python, "--no-deps", *without, limit_minutes=limit_minutes)
    pip(python, "torch", "numpy", *peer["requires"], limit_minutes=limit_minutes)
    stamp.write_text(wanted, encoding="utf-8")
    return python


# -- a run


def last_line(text: str) -> str:
    """The last line that says something, without the colours of a terminal."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "nothing was printed"


def in_terminal(command: list[str], env: dict[str, str], limit_minutes: float) -> tuple[int, str]:
    """Run a command in a terminal that nobody sees: its return code, and what it wrote there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True
    )
    os.close(theirs)
    written, end = bytearray(), time.monotonic() + 60 * limit_minutes
    try:
        while (left := end - time.monotonic()) > 0:
            if not select.select([ours], [], [], left)[0]:
                continue
            try:
                piece = os.read(ours, 65536)
            except OSError:  # what Linux says when the other side is closed
                break
            if not piece:
                break
            written += piece
        else:
            raise NoFiguresError(f"did not end within {limit_minutes:g} minutes")
        return process.wait(), written.decode(errors="replace")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        os.close(ours)


def result_in(text: str) -> dict[str, Any] | None:
    """The result among what a script wrote to its terminal."""
    lines = [line for line in text.splitlines() if line.startswith('{"package"')]
    return json.loads(lines[-1]) if lines else None


def trial(name: str, python: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What a peer's script measured."""
    command = [str(python), str(SCRIPTS / f"{name}_rows.py")]
    for option in ("pairs", "items", "epochs", "threads"):
        command += [f"--{option}", str(getattr(options, option))]
    env = {k: v for k, v in os.environ.items() if k != "CI"}  # there, bars are not drawn
    paths = [str(BENCH), *([env["PYTHONPATH"]] if "PYTHONPATH" in env else [])]
    env |= {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": str(options.threads)}
    env |= {"TERM": "xterm-256color"}
    code, text = in_terminal(command, env, options.limit_minutes)
    if options.show:
        sys.stderr.write(text)
    found = result_in(text)
    if code or found is None:
        raise NoFiguresError(f"its script ended with {code}: {last_line(text)}")
    if found["torch"] != torch.__version__:
        raise NoFiguresError(f"came with torch {found['torch']} instead of {torch.__version__}")
    return found


def measured(name: str, peer: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """The row of a peer: its figures, or why there are none."""
    try:
        python = Path(sys.executable)
        if "requires" in peer:
            python = environment(
                name, peer, share=options.share, limit_minutes=options.install_minutes
            )
        found = trial(name, python, options)
    except NoFiguresError as reason:
        return {"package": peer["package"], "failed": str(reason)}
    return {key: found[key] for key in ("package", "version", "minutes", "options")} | {
        "variants": found["rows"]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--items", type=int, default=50_048)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", nargs="+", choices=peers(), metavar="NAME", help="of the peers")
    parser.add_argument("--share", action="store_true", help="let peers see what is installed here")
    parser.add_argument("--install-minutes", type=float, default=10)
    parser.add_argument("--limit-minutes", type=float, default=60, help="for a peer's script")
    parser.add_argument("--show", action="store_true", help="what the scripts print")
    parser.add_argument("--dry", action="store_true", help="write no file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = results.newest_rows("peers") if options.only else {}
    for name, peer in peers().items():
        if options.only and name not in options.only:
            continue
        rows[name] = row = measured(name, peer, options)
        print(name, row.get("version", ""), row.get("failed", ""), flush=True)
        for variant, figures in row.get("variants", {}).items():
            if "failed" in figures:
                print(f"  {variant:<24} {figures['failed']}", flush=True)
                continue
            low, high = figures["range"]
            print(
                f"  {variant:<24} {figures['ratio']:6.2f} ×  [{low:.2f}, {high:.2f}]",
                f"{figures['microseconds_a_step']} µs a step, accuracy {figures['accuracy']}",
                flush=True,
            )
        if not options.dry:
            results.write("peers", rows, vars(options))


if __name__ == "__main__":
    main()
