"""Calling the program in this process, in a folder of its own."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from lehr import cli
from lehr.state import streams


@pytest.fixture(autouse=True)
def _scratch(tmp_path, monkeypatch):
    """A folder of its own for each test, and torch's threads and generators as they were."""
    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    with streams.forked():
        yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _drawn_once(drawn_once):
    """In all tests here."""


@pytest.fixture
def call():
    def run(*arguments):
        return CliRunner().invoke(cli.app, [str(a) for a in arguments], prog_name="lehr")

    return run


@pytest.fixture
def succeed(call):
    """What ``lehr arguments`` prints when all is well."""

    def run(*arguments):
        result = call(*arguments)
        assert result.exit_code == 0, result.output
        assert result.stderr == ""
        return result.stdout

    return run


@pytest.fixture(scope="session")
def _left():
    """The folders of `made`."""
    return {}


@pytest.fixture
def made(succeed, tmp_path, tmp_path_factory, monkeypatch, _left):
    """What ``lehr arguments`` leaves in a folder, here: it is done once, and then copied.

    With ``before``, a function that puts the data there. The path of the data that a run folder
    has is that of the copies.
    """

    def run(*arguments, before=lambda: None):
        key = *arguments, before.__code__
        if key not in _left:
            folder = tmp_path_factory.mktemp("left")
            with monkeypatch.context() as patch:
                patch.chdir(folder)
                before()
                succeed(*arguments)
            _left[key] = folder
        shutil.copytree(_left[key], tmp_path, dirs_exist_ok=True)
        for file in tmp_path.rglob("config.json"):
            file.write_text(file.read_text().replace(str(_left[key]), str(tmp_path)))

    return run


@pytest.fixture
def refused(call):
    """The one line that ``lehr arguments`` says on its way out."""

    def run(*arguments, code=2):
        result = call(*arguments)
        assert result.exit_code == code, result.output
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
        assert "Traceback" not in result.output
        return result.stderr.removeprefix("error: ").rstrip()

    return run


@pytest.fixture
def config():
    def read(path):
        return json.loads(Path(path, "config.json").read_text(encoding="utf-8"))

    return read
