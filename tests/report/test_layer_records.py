"""What callbacks recorded of layers is kept in the run folder, and read back without trust."""

import json
from dataclasses import fields

import pytest
import torch

from lehr import Callback
from lehr.callbacks import ActivationStats, GradientStats
from lehr.record.layer_table import LayerTable
from lehr.report import RunFolder, RunRecord, layer_records
from lehr.state.differences import first_difference
from lehr.testing import tiny_learner


def table(**changes):
    content = {
        "title": "Outputs",
        "layers": ("0 Linear", "1 ReLU"),
        "batches": (0, 5),
        "numbers": {"mean": torch.tensor([[0.5, float("nan")], [1.0, 2.0]])},
        "counts": torch.arange(12.0).view(2, 2, 3),
        "span": (0.0, 10.0),
    }
    return LayerTable(**(content | changes))


def vars_of(one):
    return {field.name: getattr(one, field.name) for field in fields(one)}


def test_what_is_saved_is_loaded(tmp_path):
    tables = [table(), table(title="Gradients", counts=None, axis="optimizer step")]
    layer_records.save(tmp_path, tables)
    read = layer_records.load(tmp_path)
    assert first_difference([vars_of(t) for t in read], [vars_of(t) for t in tables]) is None
    layer_records.remove(tmp_path)
    assert layer_records.load(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_all_callbacks_that_have_tables_are_asked_and_empty_ones_left_out():
    class Own(Callback):
        state = ()

        def layer_tables(self):
            return [table(), table(batches=()), table(layers=())]

    assert [one.title for one in layer_records.tables_of([Own(), Callback()])] == ["Outputs"]


def test_a_run_folder_keeps_what_was_recorded(tmp_path):
    learn = tiny_learner([ActivationStats(), GradientStats()])
    with RunFolder.create(tmp_path / "run").keep(learn, {}):
        learn.fit(2)
    read = RunRecord.read(tmp_path / "run").layers
    titles = [one.title for one in read]
    assert titles == [
        "Outputs of each layer in training",
        "Outputs of each layer in validation",
        "Gradient and update of each parameter, by step",
    ]
    assert read[0].layers == ("0 Linear", "1 ReLU", "2 Linear")
    stats = learn.run.callbacks
    straight = next(cb for cb in stats if isinstance(cb, ActivationStats)).layer_tables()
    assert first_difference(read[0].numbers, straight[0].numbers) is None


def test_without_records_there_is_no_file(tmp_path):
    learn = tiny_learner()
    with RunFolder.create(tmp_path / "run").keep(learn, {}):
        learn.fit(1)
    assert not (tmp_path / "run" / "layers.json").exists()
    assert RunRecord.read(tmp_path / "run").layers == []


def damaged(edit):
    def damage(folder):
        file = folder / "layers.json"
        content = json.loads(file.read_text())
        edit(content["tables"][0])
        file.write_text(json.dumps(content))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "layers.json").write_text("{"), "is damaged"),
        (lambda folder: (folder / "layers.safetensors").write_bytes(b"x" * 9), "is damaged"),
        (lambda folder: (folder / "layers.safetensors").unlink(), "is damaged"),
        (damaged(lambda t: t.pop("title")), "title"),
        (
            damaged(lambda t: t["batches"].append(9)),
            r"'mean' must be a number for each of \(3, 2\)",
        ),
        (damaged(lambda t: t["numbers"].append("std")), "'std' must be a number for each"),
        (damaged(lambda t: t.update(span=[0.0, float("inf")])), "is damaged"),
    ],
)
def test_a_damaged_record_is_refused_and_left_out_of_the_report(tmp_path, damage, message):
    layer_records.save(tmp_path, [table()])
    damage(tmp_path)
    with pytest.raises(ValueError, match=message):
        layer_records.load(tmp_path)
    (tmp_path / "config.json").write_text('{"status": "finished"}')
    with pytest.warns(UserWarning, match="what is known of the layers is left out"):
        assert RunRecord.read(tmp_path).layers == []


def test_counts_of_another_shape_are_refused(tmp_path):
    layer_records.save(tmp_path, [table(counts=torch.zeros(2, 1, 3))])
    with pytest.raises(ValueError, match="counts of 'Outputs' must be bins for each of"):
        layer_records.load(tmp_path)
