import json
import re
from pathlib import Path


def test_audit_prints_the_table_and_the_verdict(succeed):
    lines = succeed("audit", "cnn", "--seed", 0).splitlines()
    assert lines[0].split()[:3] == ["layer", "does", "output"]
    assert re.match(r"0 +conv2d +\(128, 8, 4, 4\)", lines[1])
    assert "a = √5" in lines[-5]
    assert lines[-4].startswith("    that is: the last layers hardly tell items apart")
    assert lines[-2:] == [
        "to see it mended: the same command with --repair kaiming",
        "in Python, before fit: learn.audit(repair='kaiming')",
    ]
    assert succeed("audit", "resnet", "--seed", 0).splitlines()[-1] == "nothing wrong in 128 items"


def test_audit_repairs_and_draws(succeed):
    out = succeed("audit", "cnn", "--seed", 0, "--repair", "kaiming", "--out", "a.png").splitlines()
    assert out[-3:-1] == [
        "nothing wrong in 128 items",
        next(line for line in out if line.startswith("repaired: 1 problem before, 0 after")),
    ]
    assert out[-1] == "picture: a.png"
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")


def test_audit_for_machines(succeed, refused):
    assert json.loads(succeed("audit", "mlp", "--json", "--seed", 0))["healthy"] is True
    assert json.loads(succeed("audit", "cnn", "--json", "--seed", 0))["healthy"] is False


def test_audit_of_ones_own_model_on_ones_own_table(succeed):
    Path("t.csv").write_text("a,b\n" + "1,x\n2,y\n3,x\n" * 30)
    Path("nets.py").write_text(
        "from torch import nn\n"
        "def Deep(in_features, classes):\n"
        "    wide = [nn.Linear(in_features, 64)]\n"
        "    wide += [m for _ in range(8) for m in (nn.ReLU(), nn.Linear(64, 64))]\n"
        "    return nn.Sequential(*wide, nn.Linear(64, classes))\n"
    )
    out = succeed("audit", "nets.py:Deep", "--data", "t.csv", "--target", "b", "--batch-size", 64)
    assert "problem: the signal shrinks" in out


def test_audit_refuses(refused):
    assert "Did you mean kaiming?" in refused("audit", "cnn", "--repair", "kaimin")
    assert "there is no model 'cnm'" in refused("audit", "cnm")
    assert "needs branches" in refused("audit", "cnn", "--repair", "fixup", code=1)
