"""What is built to be installed: whole, and right where it is shown without the files around it."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LEFT_OUT = shutil.ignore_patterns(
    *(".git", ".venv", ".ruff_cache", ".hypothesis", "__pycache__", "*.egg-info"),
    *("build", "dist", "runs"),
)


def links(text):
    return re.findall(r"\]\(([^)]+)\)|(?:src|href)=\"([^\"]+)\"", text)


def test_the_page_of_a_package_index_links_to_nothing_beside_it():
    text = (ROOT / PROJECT["readme"]).read_text(encoding="utf-8")
    assert [a or b for a, b in links(text) if not re.match(r"https?://", a or b)] == []
    assert links('[a](docs/a.md) <img src="b.png">') == [("docs/a.md", ""), ("", "b.png")]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The folder with the source distribution and the wheel."""
    if int(metadata.version("setuptools").split(".")[0]) < 77:
        pytest.skip("building needs setuptools 77")
    copy = shutil.copytree(ROOT, tmp_path_factory.mktemp("build") / "lehr", ignore=LEFT_OUT)
    program = "from setuptools import build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')"
    subprocess.run([sys.executable, "-c", program], cwd=copy, check=True, capture_output=True)
    return copy / "dist"


@pytest.fixture(scope="module")
def built(distributions):
    """The names in the source distribution and in the wheel."""
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as archive:
        source = {member.name.partition("/")[2] for member in archive if member.isfile()}
    with zipfile.ZipFile(next(distributions.glob("*.whl"))) as archive:
        return source, set(archive.namelist())


def tracked(*parts, ignore=("__pycache__",)):
    below = (p for part in parts for p in [ROOT / part, *(ROOT / part).rglob("*")])
    files = (p.relative_to(ROOT).as_posix() for p in below if p.is_file())
    return {name for name in files if not any(word in name for word in ignore)}


@pytest.mark.slow
def test_the_source_distribution_has_everything_that_its_tests_and_pages_need(built):
    source, _ = built
    files = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "LOG.md", "LICENSE", "Makefile")
    others = ("conftest.py", "constraints.txt", "pyproject.toml", "PYPI.md")
    wanted = tracked(
        *files, *others, "tests", "docs", "examples", "src", ignore=("__pycache__", ".egg-info")
    )
    assert wanted - source == set()
    for page in ("README.md", "ARCHITECTURE.md"):
        for target, _ in links((ROOT / page).read_text(encoding="utf-8")):
            path = target.partition("#")[0]
            inside = path in source or any(name.startswith(f"{path}/") for name in source)
            assert target.startswith("http") or inside, target


@pytest.mark.slow
def test_the_wheel_has_the_whole_package_and_its_licences(built):
    _, wheel = built
    wanted = tracked("src/lehr", ignore=("__pycache__",))
    assert {name.removeprefix("src/") for name in wanted} - wheel == set()
    licences = [name for name in wheel if ".dist-info/licenses/" in name]
    assert len(licences) == len(PROJECT["license-files"])
    assert not [name for name in wheel if not name.startswith(("lehr/", "lehr-"))]


@pytest.fixture(scope="module")
def environment(distributions, tmp_path_factory):
    """A fresh virtual environment with the wheel; what lehr needs is that of this environment."""
    fresh = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(fresh, with_pip=False)
    python = fresh / "bin" / "python"
    needed = sysconfig.get_path("purelib")
    (folder,) = fresh.glob("lib/python*/site-packages")
    (folder / "needed.pth").write_text(f"{needed}\n")  # whose own .pth files are not read
    wheel = next(distributions.glob("*.whl"))
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", wheel]
    subprocess.run([*command, "--no-index", "--quiet"], check=True)
    return fresh


@pytest.mark.slow
def test_the_installed_wheel_trains_and_writes_its_report(environment, tmp_path):
    plain = {"PATH": f"{environment}/bin:/usr/bin:/bin", "HOME": str(tmp_path), "TERM": "dumb"}

    def said(program, *arguments):
        command = [environment / "bin" / program, *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=plain, check=True, capture_output=True, text=True
        ).stdout

    where = said("python", "-c", "import lehr; print(lehr.__file__)")
    assert Path(where.strip()).is_relative_to(environment)
    assert PROJECT["version"] in said("lehr", "--version")
    assert "--schedule" in said("lehr", "train", "digits", "--help")
    said("lehr", "train", "digits", "--epochs", "1", "--lr", "0.1", "--out", "run")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page  # made of the templates and the digits in the wheel
