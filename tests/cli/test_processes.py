import json
import os
import signal

import pytest

from lehr.cli import processes
from lehr.cli.processes import is_one_of_several, launch, silent


def test_whether_there_are_others_is_in_the_environment(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert not is_one_of_several()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert is_one_of_several()


def test_the_launcher_of_torchrun_is_called_with_the_words(monkeypatch):
    called = []

    class Started:
        def __init__(self, command):
            called.append(command)

        def wait(self):
            return 7

    monkeypatch.setattr(processes.subprocess, "Popen", Started)
    assert launch(3, ["train", "digits", "--seed", "1"]) == 7
    (command,) = called
    assert command[1:3] == ["-m", "torch.distributed.run"]
    assert "--nproc-per-node=3" in command
    assert command[-4:] == ["train", "digits", "--seed", "1"]


def test_a_wish_to_end_is_passed_on(monkeypatch):
    heard = []

    class Started:
        def __init__(self, command): ...
        def wait(self):
            os.kill(os.getpid(), signal.SIGTERM)
            return -signal.SIGTERM

        def send_signal(self, number):
            heard.append(number)

    monkeypatch.setattr(processes.subprocess, "Popen", Started)
    before = signal.getsignal(signal.SIGTERM)
    assert launch(2, ["train"]) == -signal.SIGTERM
    assert heard == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before


def test_only_the_first_process_prints(capsys):
    for rank in (0, 1):
        with silent(rank):
            print(f"rank {rank}")
    assert capsys.readouterr().out == "rank 0\n"


@pytest.mark.slow
def test_two_processes_train_as_one(call, capfd, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    rows = {}
    for count in (1, 2):
        out = tmp_path / str(count)
        words = ["train", "digits", "--model", "linear", "--epochs", "2", "--seed", "3"]
        done = call(*words, "--processes", count, "--out", out)
        said = done.stdout + capfd.readouterr().out  # of this process, and of those it started
        assert done.exit_code == 0, said
        assert said.count("data   digits") == 1
        assert ("2 processes, batches of" in said) == (count == 2)
        lines = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
        rows[count] = [line for line in lines if line["kind"] == "row"]
        assert json.loads((out / "config.json").read_text())["status"] == "finished"
    for one, two in zip(rows[1], rows[2], strict=True):
        for name in ("train_loss", "valid_loss", "accuracy"):
            assert one[name] == pytest.approx(two[name], abs=1e-5)
