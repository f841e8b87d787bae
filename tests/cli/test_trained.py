"""A model, back from its run folder."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lehr.cli.trained import allowed_model, open_trained, stored_settings

QUICK = ("--model", "linear", "--epochs", "1", "--batch-size", "720", "--seed", "3")


@pytest.fixture
def run(made):
    made("train", "digits", *QUICK, "--out", "run")
    return Path("run")


def test_it_has_the_weights_and_the_preparation_and_evaluates(run):
    trained = open_trained(run)
    stored = load_file(run / "model.safetensors")
    state = trained.model.state_dict()
    assert state.keys() == stored.keys()
    assert all(state[name].equal(stored[name]) for name in stored)
    assert not trained.model.training
    assert trained.preparation.item_shape == (1, 8, 8)
    assert trained.settings["epochs"] == 1


def test_it_predicts_in_a_learner_of_its_own(run):
    trained = open_trained(run, device="cpu")
    learn = trained.learner()
    assert learn.progress is False
    images = torch.zeros(2, 1, 8, 8)
    with torch.no_grad():
        assert learn.predict(images).equal(trained.model(images))
    with pytest.raises(ValueError, match="there is no validation loader"):
        learn.validate()


def test_of_a_training_that_was_killed_it_has_the_best_weights_so_far(run):
    kept = load_file(run / "model.safetensors")
    (run / "model.safetensors").unlink()
    said = (
        r"the training of run has not ended: its weights are those of step 2, .*: lehr resume run"
    )
    with pytest.warns(UserWarning, match=said):
        state = open_trained(run).model.state_dict()
    assert all(state[name].equal(kept[name]) for name in kept)


def edit(run, **changes):
    config = json.loads((run / "config.json").read_text())
    for name, value in changes.items():
        config[name] = {**config[name], **value} if isinstance(value, dict) else value
    (run / "config.json").write_text(json.dumps(config))


def fewer_weights(run):
    save_file({"other": torch.zeros(2)}, run / "model.safetensors")


@pytest.mark.parametrize(
    ("harm", "error", "message"),
    [
        (lambda run: edit(run, settings=3), ValueError, "run was not made by lehr train, or was"),
        (
            lambda run: edit(run, settings={"opt": "adm"}),
            ValueError,
            r"there is no optimizer 'adm'\. Did you mean adam",
        ),
        (
            lambda run: edit(run, settings={"outputs": 7}),
            ValueError,
            r"run contradicts itself: in config\.json, settings\.outputs is 7, but the .* has 10",
        ),
        (
            lambda run: edit(run, preparation=None),
            ValueError,
            r"run does not say how its data were prepared: config\.json has no preparation",
        ),
        (
            lambda run: [(run / "model.safetensors").unlink(), shutil.rmtree(run / "checkpoints")],
            FileNotFoundError,
            r"run has no weights: the training has not ended its first epoch, or failed at once\.",
        ),
        (fewer_weights, ValueError, r"the weights in run/model\.safetensors do not fit the model"),
    ],
    ids=["settings", "opt", "outputs", "preparation", "no weights", "other weights"],
)
def test_what_cannot_be_used_is_refused(run, harm, error, message):
    harm(run)
    with pytest.raises(error, match=message):
        open_trained(run)


def test_a_model_larger_than_its_weights_is_refused_before_there_is_memory_for_it(run):
    edit(run, preparation={"size": [8192, 8192], "mode": "RGB", "mean": [0] * 3, "std": [1] * 3})
    with pytest.raises(ValueError, match=r"do not fit the model .* 10 outputs has 2,013,265,930 n"):
        open_trained(run)


def test_only_ones_own_model_is_named_and_it_must_be():
    run = Path("run")
    assert allowed_model(run, "mlp", None) == "mlp"
    assert allowed_model(run, "nets.py:Net", "other.py:Net") == "other.py:Net"
    with pytest.raises(ValueError, match=r"run was trained with a model of your own, nets\.py:Net"):
        allowed_model(run, "nets.py:Net", None)
    with pytest.raises(ValueError, match=r"run was trained with mlp, which needs no --model\. Lea"):
        allowed_model(run, "mlp", "nets.py:Net")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", -1, r"settings\.epochs must be a whole number"),
        ("label_smoothing", 2, r"settings\.label_smoothing must be a number from 0 to 1"),
        (
            "data_options",
            {"num_workers": 9999},
            r"data_options\.num_workers must be a whole number",
        ),
        ("data_options", {"cache": "/"}, r"data_options\.cache must be true or false; got '/'"),
        ("data_options", [], r"settings\.data_options must be"),
    ],
)
def test_settings_are_bounded(run, name, value, message):
    config = json.loads((run / "config.json").read_text())
    assert stored_settings(run, config) == config["settings"]
    config["settings"][name] = value
    with pytest.raises(ValueError, match=message):
        stored_settings(run, config)
