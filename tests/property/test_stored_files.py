"""Whatever becomes of a stored file, it is read as it should be, or refused in our own words."""

import copy
import json
import math
import sys
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from lehr.base import strict_json
from lehr.callbacks import Checkpoint
from lehr.cli.trained import stored_settings
from lehr.data import ArrayPreparation, ImagePreparation, TablePreparation, preparation_from
from lehr.data.tables.columns import CategoryColumn, NumberColumn
from lehr.report import Evaluation, Mistake, RunRecord
from lehr.resume import find
from lehr.state.disk import checkpoint, manifest_text
from lehr.state.disk.checkpoint import DamagedCheckpoint
from lehr.state.disk.checkpoint_folder import CheckpointFolder
from lehr.testing import tiny_learner
from tests.tier import count

TEXTS = st.text(st.characters(), max_size=8) | st.sampled_from(
    ["\ud800", "kind", "os:system", "../x", "a" * 10_000, "x - at `$.a`", "nan", "1", "", "\x1b[0m"]
)
NUMBERS = (
    st.integers(-3, 300)
    | st.floats()
    | st.sampled_from([2**31, 2**53 + 1, 2**63, -(2**64), 10**400, 1e308, 5e-324, -0.0])
)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def places(value, path=()):
    """Every place in nested containers, as the keys that lead there."""
    pairs = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(place for key, inner in pairs for place in places(inner, (*path, key)))]


@st.composite
def mutated(draw, value):
    """The value with one to three changes: something else there, gone, doubled, or more."""
    value = {"": copy.deepcopy(value)}  # so that all of it can be replaced
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from(places(value)[1:]))
        holder = value
        for key in above:
            holder = holder[key]
        change = draw(st.sampled_from(["replace", "remove", "double", "add"]))
        if change == "remove" and above:
            del holder[last]
        elif change == "double" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[last]))
        elif change == "add" and isinstance(holder[last], dict):
            holder[last][draw(TEXTS)] = draw(VALUES)
        else:
            holder[last] = draw(VALUES)
    return value[""]


TOKENS = st.text('0123456789-.eE"{}[],:\\u a', max_size=6).map(str.encode)


@st.composite
def bent(draw, data):
    """Bytes with some of them changed, gone or more."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 9))] = draw(st.binary(max_size=4) | TOKENS)
    return bytes(data)


def refused(error, *, most=4000):
    """Whether it is one of ours: a sentence or more, short whatever came."""
    text = str(error)
    assert type(error) in (ValueError, DamagedCheckpoint)
    assert text[-1] in ".?"
    assert "msgspec" not in text
    assert "Expected `" not in text
    assert len(text) < most


def read(call, *arguments):
    """What is read, or None if it is refused; nothing is imported by it.

    What is left out is warned about.
    """
    before = set(sys.modules)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = call(*arguments)
        assert all("left out: " in str(warning.message) for warning in caught)
        return found
    except ValueError as error:
        refused(error)
        return None
    finally:
        assert set(sys.modules) == before


PREPARATIONS = [
    ImagePreparation(("cat", "dog"), "RGB", (4, 6), "squish", (0.1, 0.2, 0.3), (0.5, 0.25, 1.0)),
    ArrayPreparation(("a", "b"), (2, 3, 3), 255.0, (0.5, 0.0), (2.0, 1.0), -1.0, 3.0),
    ArrayPreparation((), (2,), 1.0, (5.0, 0.0), (2.0, 1.0), 0.0, 1.0, (3.0,), (4.0,)),
    TablePreparation(
        "species",
        ("a", "b"),
        (NumberColumn("size", 5.0, 2.0, 5.0), CategoryColumn("hue", ("blue", "red"))),
    ),
]


@pytest.mark.parametrize("made", PREPARATIONS, ids=lambda made: made.kind)
@settings(max_examples=count(60), deadline=None)
@given(data=st.data())
def test_a_preparation(made, data):
    found = read(preparation_from, data.draw(mutated(made.to_dict())))
    if found is not None:
        assert preparation_from(found.to_dict()) == found
        assert preparation_from(json.loads(json.dumps(found.to_dict()))) == found
        assert math.prod(found.item_shape) <= 2**31
        assert all(type(name) is str for name in found.classes)


def test_what_was_not_changed_is_read():
    for made in PREPARATIONS:
        assert read(preparation_from, made.to_dict()) == made


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    picture = torch.zeros(2, 2, 3, dtype=torch.uint8)
    about = {"index": 4, "truth": 0, "predicted": 1, "p_truth": None, "p_predicted": 0.75}
    mistakes = Mistake(**about, picture=picture), Mistake(**about, text="x=1")
    Evaluation(
        loss=0.5,
        confusion=torch.tensor([[3, 1], [0, 2]]),
        classes=("a", "b"),
        mistakes=mistakes,
        truth=torch.tensor([0, 0, 0, 0, 1, 1], dtype=torch.int32),
    ).save(folder)
    assert read(Evaluation.load, folder) is not None
    return folder, *(
        (folder / f"evaluation.{ending}").read_bytes() for ending in ("json", "safetensors")
    )


def evaluation_of(folder, text, tensors):
    (folder / "evaluation.json").write_bytes(text)
    (folder / "evaluation.safetensors").write_bytes(tensors)
    if (found := read(Evaluation.load, folder)) is not None:
        assert found.confusion.shape == (len(found.classes), len(found.classes))
        assert 0 <= found.accuracy <= 1
        for mistake in found.mistakes:
            assert max(mistake.truth, mistake.predicted) < len(found.classes)


@settings(max_examples=count(60), deadline=None)
@given(data=st.data())
def test_an_evaluation(evaluated, data):
    folder, text, tensors = evaluated
    changed = data.draw(mutated(json.loads(text)))
    evaluation_of(folder, json.dumps(changed).encode(), tensors)


@settings(max_examples=count(30), deadline=None)
@given(data=st.data())
def test_the_bytes_of_an_evaluation(evaluated, data):
    folder, text, tensors = evaluated
    evaluation_of(folder, data.draw(bent(text)), tensors)
    evaluation_of(folder, text, data.draw(bent(tensors)))


SHAPES = st.sampled_from([(), (2,), (2, 2), (3, 2), (2, 2, 3), (0, 2)])
DTYPES = st.sampled_from([torch.int64, torch.int32, torch.uint8, torch.float32, torch.bool])


@settings(max_examples=count(30), deadline=None)
@given(
    name=st.sampled_from(["confusion", "truth", "predicted", "picture.0", "more"]),
    shape=SHAPES,
    dtype=DTYPES,
    fill=st.integers(0, 2),
)
def test_other_tensors_of_an_evaluation(evaluated, name, shape, dtype, fill):
    folder, text, tensors = evaluated
    from safetensors.torch import load

    changed = {**load(tensors), name: torch.full(shape, fill).to(dtype)}
    evaluation_of(folder, text, save(changed))


CONFIG = {
    "status": "finished",
    "seed": 3,
    "preparation": PREPARATIONS[0].to_dict(),
    "settings": {
        "data": "digits",
        "data_options": {"augment": "shift"},
        "model": "cnn",
        "outputs": 10,
        "items": [100, 20],
        "batch_size": 32,
        "epochs": 3,
        "opt": "adamw",
        "lr": 0.1,
        "schedule": "one_cycle(0.1)",
        "weight_decay": 0.05,
        "label_smoothing": None,
        "patience": None,
        "device": None,
        "seed": 3,
    },
}
LINES = [
    {"kind": "meta", "seed": 3},
    {"kind": "step", "batch": 0, "loss": 0.5, "lr": 0.1},
    {"kind": "step", "batch": 1, "loss": None},
    {"kind": "row", "epoch": 0, "valid_loss": 0.5, "accuracy": 1, "seconds": 2.0},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    record(folder, CONFIG, LINES)
    assert read(stored_settings, folder, CONFIG) == CONFIG["settings"]
    return folder


def record(folder: Path, config, lines) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    looked_at(read(RunRecord.read, folder))


def looked_at(kept) -> None:
    if kept is not None:
        assert isinstance(kept.title, str)
        assert isinstance(kept.status, str)
        for name in kept.metrics:
            assert all(value is None or math.isfinite(value) for value in kept.column(name))
        assert kept.batches >= 0
        assert all(len(points.batches) == len(points.values) for points in kept.series.values())


@settings(max_examples=count(60), deadline=None)
@given(data=st.data())
def test_a_record(folder, data):
    record(folder, data.draw(mutated(CONFIG)), LINES)
    lines = data.draw(mutated(LINES))
    record(folder, CONFIG, lines if isinstance(lines, list) else [lines])


@settings(max_examples=count(30), deadline=None)
@given(data=st.data())
def test_the_bytes_of_a_record(folder, data):
    record(folder, CONFIG, LINES)
    name = data.draw(st.sampled_from(["config.json", "history.jsonl"]))
    (folder / name).write_bytes(data.draw(bent((folder / name).read_bytes())))
    looked_at(read(RunRecord.read, folder))


@settings(max_examples=count(60), deadline=None)
@given(data=st.data())
def test_the_settings_of_a_run(folder, data):
    changed = {**CONFIG, "settings": data.draw(mutated(CONFIG["settings"]))}
    if (found := read(stored_settings, folder, changed)) is not None:
        assert found["outputs"] >= 1


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    tiny_learner([Checkpoint(folder)]).fit(1)
    path = CheckpointFolder(folder).all()[-1].path
    assert read(checkpoint.read_manifest, path)
    return path, (path / "manifest.json").read_bytes()


@settings(max_examples=count(60), deadline=None)
@given(data=st.data())
def test_a_manifest(saved, data):
    path, text = saved
    changed = data.draw(mutated({k: v for k, v in json.loads(text).items() if k != "checksum"}))
    if not isinstance(changed, dict):
        return
    sealed = manifest_text.sealed(json.dumps(changed, indent=1).encode())
    (path / "manifest.json").write_bytes(sealed)
    if (found := read(checkpoint.read_manifest, path)) is not None:
        assert found["serial"] >= 1
        assert strict_json.parse(strict_json.dump(found["files"])) == found["files"]
    if (whole := read(find, path, [], 0)) is not None:
        assert whole.manifest["at_epoch"] >= 0


@settings(max_examples=count(30), deadline=None)
@given(data=st.data())
def test_the_bytes_of_a_manifest(saved, data):
    path, text = saved
    (path / "manifest.json").write_bytes(data.draw(bent(text)))
    read(checkpoint.read_manifest, path)
    read(find, path, [], 0)
