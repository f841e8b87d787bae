"""The package as it was at another commit, to be compared with the one that stands here."""

import io
import subprocess
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout


def source_at(commit: str, scratch: Path) -> tuple[str, Path]:
    """The commit's short name, and the folder in ``scratch`` to put on the path for its package."""
    name = git("rev-parse", "--short", commit).decode().strip()
    with tarfile.open(fileobj=io.BytesIO(git("archive", name, "src"))) as files:
        files.extractall(scratch, filter="data")
    return name, scratch / "src"
