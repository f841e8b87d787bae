import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from lehr.report import Evaluation, Mistake


def made():
    return Evaluation(
        loss=0.5,
        confusion=torch.tensor([[3, 1, 0], [0, 2, 0], [0, 0, 0]]),
        classes=("a", "b", "<c>"),
        mistakes=(
            Mistake(
                index=4,
                truth=0,
                predicted=1,
                p_truth=None,
                p_predicted=0.75,
                picture=torch.arange(12, dtype=torch.uint8).reshape(2, 2, 3),
            ),
            Mistake(index=2, truth=0, predicted=1, p_truth=0.25, p_predicted=0.5, text="x=1"),
        ),
        truth=torch.tensor([0, 0, 0, 0, 1, 1], dtype=torch.int32),
        predicted=torch.tensor([0, 0, 0, 1, 1, 1], dtype=torch.int32),
    )


def test_numbers():
    evaluation = made()
    assert (evaluation.items, evaluation.accuracy) == (6, 5 / 6)
    assert evaluation.precision() == [1.0, 2 / 3, None]
    assert evaluation.recall() == [0.75, 1.0, None]
    assert evaluation.most_confused() == [(0, 1, 1)]
    assert evaluation.totals() == [4, 2, 0]
    assert evaluation.counts()[0] == [3, 1, 0]


def test_most_confused_is_ordered_and_cut():
    confusion = torch.tensor([[5, 1, 4], [3, 5, 0], [2, 0, 5]])
    evaluation = Evaluation(loss=None, confusion=confusion, classes=("a", "b", "c"))
    assert evaluation.most_confused(3) == [(0, 2, 4), (1, 0, 3), (2, 0, 2)]
    assert confusion.diagonal().tolist() == [5, 5, 5]


def test_saved_and_loaded(tmp_path):
    evaluation = made()
    evaluation.save(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "evaluation.json",
        "evaluation.safetensors",
    ]
    again = Evaluation.load(tmp_path)
    assert (again.loss, again.classes) == (evaluation.loss, evaluation.classes)
    for name in ("confusion", "truth", "predicted"):
        assert torch.equal(getattr(again, name), getattr(evaluation, name))
    first, second = again.mistakes
    assert torch.equal(first.picture, evaluation.mistakes[0].picture)
    assert (first.index, first.p_truth, first.p_predicted) == (4, None, 0.75)
    assert second == evaluation.mistakes[1]


def test_without_single_predictions(tmp_path):
    confusion = torch.tensor([[1, 0], [0, 1]])
    Evaluation(loss=None, confusion=confusion, classes=("a", "b")).save(tmp_path)
    again = Evaluation.load(tmp_path)
    assert (again.loss, again.truth, again.predicted, again.mistakes) == (None, None, None, ())


JSON_FAULTS = [
    (
        lambda c: c.pop("classes"),
        "it must have the fields loss, classes, mistakes, and may have right; missing: class",
    ),
    (lambda c: c.update(classes=["a"]), r"confusion must be counts \(1, 1\) for 1 classes; got"),
    (lambda c: c.update(classes=["a", 3, "c"]), r"classes\[1\] must be text; got 3"),
    (lambda c: c.update(loss="low"), "loss must be a finite number or None; got 'low'"),
    (lambda c: c.update(loss="0.5"), "loss must be a finite number or None; got '0.5'"),
    (lambda c: c["mistakes"][0].update(truth=3), r"mistakes\[0\].truth must be a label below 3; g"),
    (lambda c: c["mistakes"][0].update(index=True), r"mistakes\[0\].index must be .*; got True"),
    (lambda c: c["mistakes"][1].update(p_truth="?"), r"mistakes\[1\].p_truth must be .*; got '\?'"),
    (lambda c: c["mistakes"][0].pop("text"), r"mistakes\[0\] must have the fields .*missing: text"),
    (lambda c: c["mistakes"][0].update(picture="picture.9"), "there is no tensor 'picture.9', whi"),
    (lambda c: c["mistakes"][0].update(picture="confusion"), "confusion must be uint8"),
    (lambda c: c["mistakes"].append("x"), r"mistakes\[2\] must be a dict; got 'x'"),
]


@pytest.mark.parametrize(("change", "told"), JSON_FAULTS, ids=[told for _, told in JSON_FAULTS])
def test_load_says_what_is_wrong(tmp_path, change, told):
    made().save(tmp_path)
    content = json.loads((tmp_path / "evaluation.json").read_text())
    change(content)
    (tmp_path / "evaluation.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"evaluation in .* is damaged: .*{told}"):
        Evaluation.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.update(confusion=t["confusion"].float()), "confusion must be counts"),
        (lambda t: t.update(confusion=-t["confusion"]), "confusion must be counts"),
        (lambda t: t.update(confusion=t["confusion"] << 61), "confusion must be counts"),
        (lambda t: t.pop("confusion"), "there is no tensor 'confusion'"),
        (lambda t: t.update(truth=t["truth"] + 2), "truth must be one label for each of 6 items"),
        (lambda t: t.update(predicted=t["predicted"][1:]), "predicted must be one label for"),
    ],
)
def test_load_checks_the_tensors(tmp_path, change, told):
    made().save(tmp_path)
    tensors = load_file(tmp_path / "evaluation.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "evaluation.safetensors")
    with pytest.raises(ValueError, match=told):
        Evaluation.load(tmp_path)


def test_load_of_broken_files(tmp_path):
    made().save(tmp_path)
    (tmp_path / "evaluation.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"safetensors cannot be read: .* to do without"):
        Evaluation.load(tmp_path)
    (tmp_path / "evaluation.json").write_text("[1")
    with pytest.raises(
        ValueError, match=r"evaluation\.json cannot be read: it is no JSON .* Remove it"
    ):
        Evaluation.load(tmp_path)
    (tmp_path / "evaluation.json").write_text("[1]")
    made_tensors = {"confusion": torch.zeros(1, 1, dtype=torch.int64)}
    save_file(made_tensors, tmp_path / "evaluation.safetensors")
    with pytest.raises(ValueError, match=r"it must be a dict; got \[1\]\. Remove"):
        Evaluation.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        Evaluation.load(tmp_path / "nowhere")


def test_f1_and_the_commonest_class():
    evaluation = made()
    assert evaluation.f1() == [6 / 7, 4 / 5, None]
    assert evaluation.macro_f1 == (6 / 7 + 4 / 5) / 2
    assert evaluation.majority == ("a", 4 / 6)


def test_names_and_right_items_come_back_and_older_files_have_none(tmp_path):
    picture = torch.ones(2, 2, 3, dtype=torch.uint8)
    chances = {"truth": 1, "predicted": 1, "p_truth": 0.5, "p_predicted": 0.5}
    item = Mistake(index=4, name="photos/a.jpg", picture=picture, **chances)
    replace(made(), right=(item,)).save(tmp_path)
    (again,) = Evaluation.load(tmp_path).right
    assert (again.index, again.name, again.truth) == (4, "photos/a.jpg", 1)
    assert torch.equal(again.picture, picture)
    content = json.loads((tmp_path / "evaluation.json").read_text())
    del content["right"], content["mistakes"][0]["name"]
    (tmp_path / "evaluation.json").write_text(json.dumps(content))
    older = Evaluation.load(tmp_path)
    assert older.right == ()
    assert older.mistakes[0].name == ""
