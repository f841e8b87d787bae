import re
from pathlib import Path

import pytest

from lehr.cli import look


def test_find_lr_draws_the_loss_and_suggests(succeed):
    out = succeed("find-lr", "digits", "--seed", 0, "--model", "linear", "--out", "lr.png")
    first, *lines = out.splitlines()
    assert first == "looking for a learning rate: 100 batches"
    assert "┤" in lines[0]
    assert lines[12].split()[0] == "1e-06"
    assert 1e-3 < float(re.fullmatch(r"suggestion: (\S+)", lines[13])[1]) < 1
    assert lines[14] == "picture: lr.png"
    assert Path("lr.png").read_bytes().startswith(b"\x89PNG")


def test_find_lr_is_repeatable_and_heeds_its_options(succeed):
    quick = ("find-lr", "digits", "--model", "linear", "--steps", 60)
    first, again = succeed(*quick, "--seed", 1), succeed(*quick, "--seed", 1)
    assert first == again
    assert first != succeed(*quick, "--seed", 1, "--opt", "sgd")
    assert "0.001 " in succeed(*quick, "--start", 1e-3)


def test_find_lr_says_when_there_is_none(refused):
    tiny = ("--seed", 0, "--start", 1e-9, "--end", 1e-8)
    message = refused("find-lr", "digits", *tiny, code=1)
    assert re.match(r"the loss does not fall at any learning rate from 1e-09 to 1e-08\. ", message)
    assert re.match(r"start and end must", refused("find-lr", "digits", "--start", 20, code=1))


def test_schedule_draws(succeed):
    lines = succeed("schedule", "one_cycle(0.5)", "--out", "s.svg").splitlines()
    assert lines[:2] == ["picture: s.svg", "one_cycle(0.5)"]
    assert lines[2].startswith("  0.5 ┤")
    assert "<svg" in Path("s.svg").read_text()
    assert succeed("schedule", "one_cycle").splitlines()[0] == "one_cycle(1)"


def test_schedule_draws_what_is_put_together(succeed):
    text = "warmup(0.25) >> 2 * cosine(1, 0)"
    assert succeed("schedule", text).splitlines()[0] == "warmup(0.25) >> 2 * sched_cos(1, 0)"
    assert succeed("schedule", text, "--steps", 4).split()[1::2] == ["0", "2", "1.5", "0.5"]


def test_schedule_prints_values(succeed):
    assert (
        succeed("schedule", "sched_lin(1, 0)", "--steps", 4) == "0\t1\n1\t0.75\n2\t0.5\n3\t0.25\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one_cycl(1)", r"there is no schedule 'one_cycl'\. Did you mean one_cycle\?"),
        ("open('x')", r"there is no schedule 'open'\..*"),
        ("warmup(0.05)", r"this is only a phase that takes 0\.05 of a schedule.*"),
        ("sched_lin(1)", r"sched_lin: missing .*"),
    ],
)
def test_schedule_refuses(refused, text, message):
    assert re.match(message, refused("schedule", text))


def test_explain_shows_layers_and_listeners(succeed):
    lines = succeed("explain", "digits", "--patience", 2).splitlines()
    assert lines[0].split()[:3] == ["layer", "type", "output"]
    assert any(line.startswith("group 0: AdamW") for line in lines)
    (heard,) = [line for line in lines if line.strip().startswith("after_loss")]
    assert heard.split() == ["after_loss", "StopOnNonFinite,", "Timer"]
    (epoch,) = [line for line in lines if line.strip().startswith("after_epoch")]
    assert "EarlyStopping" in epoch
    assert "ParamScheduler" in "\n".join(lines)


@pytest.mark.parametrize(
    "command",
    [("find-lr", "digits"), ("schedule", "one_cycle(0.5)"), ("audit", "linear")],
)
@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("nowhere/x.png", r"nowhere/x\.png cannot be written: there is no folder nowhere\."),
        ("x.foo", r"x\.foo must end in one of .*png, .*, such as \.png\."),
    ],
)
def test_a_picture_that_cannot_be_saved_is_refused_before_the_work(
    refused, command, out, message, monkeypatch
):
    monkeypatch.setattr("lehr.cli.job.open_job", pytest.fail)
    assert re.match(message, refused(*command, "--out", out))


@pytest.mark.parametrize(("columns", "longest"), [(60, 60), (200, 75)])
def test_a_chart_is_as_wide_as_its_terminal_allows(succeed, monkeypatch, columns, longest):
    monkeypatch.setattr(look, "terminal_width", lambda: columns)
    lines = succeed("schedule", "one_cycle(0.5)").splitlines()
    assert longest - 10 < max(map(len, lines)) <= longest


def test_a_picture_is_replaced_only_if_that_is_asked_for(succeed, refused):
    Path("a.png").write_text("mine")
    assert "a.png exists" in refused("schedule", "one_cycle", "--out", "a.png")
    assert Path("a.png").read_text() == "mine"
    succeed("schedule", "one_cycle", "--out", "a.png", "--overwrite")
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")
