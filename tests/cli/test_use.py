import csv
import io
import json
import re
import shutil
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from lehr.cli import use

QUICK = ("--epochs", 1, "--seed", 0)


def photos(folder, *, classes=("blue", "red"), items=12, size=(10, 10)):
    """A folder of JPEGs that differ in colour."""
    generator = torch.Generator().manual_seed(len(str(folder)))
    for label, name in enumerate(classes):
        Path(folder, name).mkdir(parents=True)
        for i in range(items):
            noise = torch.randint(0, 60, (*size, 3), generator=generator, dtype=torch.uint8)
            noise[..., 2 - 2 * label] += 150
            Image.fromarray(noise.numpy()).save(Path(folder, name, f"{i}.jpg"))


@pytest.fixture
def trained(made):
    """A run on a folder of pictures, as ``run``."""
    options = ("--epochs", 6, "--seed", 0, "--lr", 0.01, "--workers", 0, "--out", "run")
    made("train", "data", *options, before=lambda: photos("data"))


def kept_row():
    """The row of the history whose weights were kept."""
    every = csv.DictReader(io.StringIO(Path("run/history.csv").read_text()))
    return min(every, key=lambda row: float(row["valid_loss"]))


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_folder_of_jpegs_trains_with_nothing_but_its_path(succeed, config):
    photos("data", items=20)
    out = succeed("train", "data", "--epochs", 2, "--workers", 0)
    assert re.search(r"data, 32 items to train on, 8 to validate on", out)
    (folder,) = Path("runs").iterdir()
    assert folder.name.startswith("data-")
    settings = config(folder)["settings"]
    assert settings["model"] == "resnet"
    assert settings["lr"] == 0.001  # two batches are too few to search for one
    assert config(folder)["preparation"]["classes"] == ["blue", "red"]


def test_predictions_of_new_files_use_the_preparation_of_the_training(succeed, trained):
    photos("new", items=3, size=(23, 17))
    found = rows(succeed("predict", "run", "new/red/0.jpg", "new/blue"))
    assert [row["file"] for row in found] == [
        *("new/red/0.jpg", "new/blue/0.jpg", "new/blue/1.jpg", "new/blue/2.jpg")
    ]
    assert [row["prediction"] for row in found] == ["red", "blue", "blue", "blue"]
    for row in found:
        assert float(row["blue"]) + float(row["red"]) == pytest.approx(1, abs=1e-5)
    succeed("predict", "run", "new/red/0.jpg", "--out", "answers.csv")
    assert rows(Path("answers.csv").read_text()) == found[:1]


def test_evaluate_repeats_the_best_validation(succeed, trained):
    last = kept_row()
    out = dict(line.split(": ") for line in succeed("evaluate", "run").splitlines())
    assert out["data"].endswith("data, valid, 5 items")
    assert out["loss"] == f"{float(last['valid_loss']):.4f}"
    assert out["accuracy"] == f"{float(last['accuracy']):.4f}"


def test_evaluate_on_other_data_takes_all_of_it(succeed, trained):
    photos("new", items=5)
    out = succeed("evaluate", "run", "new")
    assert "new, all, 10 items" in out
    assert "accuracy: 1.0000" in out
    assert "train, 8 items" in succeed("evaluate", "run", "new", "--split", "train")


def test_evaluate_takes_little_and_everything(succeed, trained):
    photos("divided/train", items=4)
    photos("divided/test", items=3)
    assert "divided, all, 14 items" in succeed("evaluate", "run", "divided")
    photos("one", classes=("red",), items=1)
    assert "one, all, 1 items" in succeed("evaluate", "run", "one")


def test_evaluate_knows_the_test_split_where_there_is_one(succeed, refused, trained):
    assert "test" in refused("evaluate", "run", "--split", "test")
    photos("divided/train")
    photos("divided/test", items=3)
    assert "test, 6 items" in succeed("evaluate", "run", "divided", "--split", "test")


def test_digits_round_trip(succeed):
    succeed("train", "digits", "--model", "linear", *QUICK, "--out", "run")
    assert f"accuracy: {float(kept_row()['accuracy']):.4f}" in succeed("evaluate", "run")
    Image.new("L", (20, 20), 255).save("white.png")
    (row,) = rows(succeed("predict", "run", "white.png"))
    assert row["prediction"] in "0123456789"


def test_a_table_round_trip(succeed, refused):
    lines = ["size,colour,kind"]
    for i in range(60):
        lines.append(f"{i % 10},{'red' if i % 3 else 'blue'},{'big' if i % 10 > 4 else 'small'}")
    Path("t.csv").write_text("\n".join(lines))
    assert re.search(r"t\.csv, a table, needs --target", refused("train", "t.csv"))
    succeed("train", "t.csv", "--target", "kind", "--epochs", 30, "--seed", 0, "--out", "run")
    Path("new.csv").write_text("colour,size\nred,9\nblue,0\n")
    found = rows(succeed("predict", "run", "new.csv"))
    assert [(row["file"], row["prediction"]) for row in found] == [
        ("new.csv:2", "big"),
        ("new.csv:3", "small"),
    ]
    assert "accuracy: 1.0000" in succeed("evaluate", "run", "t.csv")


def test_a_table_of_numbers_to_predict(succeed, refused):
    lines = ["a,b,price"]
    for i in range(300):
        a, b = i % 17 / 4 - 2, i % 13 / 3 - 2
        lines.append(f"{a},{b},{200_000.5 + 50_000 * a - 20_000 * b}")
    Path("t.csv").write_text("\n".join(lines))
    out = succeed("train", "t.csv", "--target", "price", "--seed", 0, "--out", "run")
    assert "mean squared error" in out
    assert "accuracy" not in out
    Path("new.csv").write_text("a,b\n1,0.5\n-1,1\n")
    found = rows(succeed("predict", "run", "new.csv"))
    assert set(found[0]) == {"file", "prediction"}
    assert float(found[0]["prediction"]) == pytest.approx(240_000, abs=10_000)
    assert float(found[1]["prediction"]) == pytest.approx(130_000, abs=10_000)
    assert "loss:" in succeed("evaluate", "run")
    message = refused("train", "t.csv", "--target", "price", "--label-smoothing", 0.3)
    assert message.startswith("--label-smoothing is for classes")


MODEL = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, in_features, classes):
        super().__init__(nn.Flatten(), nn.Linear(in_features, classes))
"""


def test_a_model_of_ones_own_is_named_again_before_it_is_imported(succeed, refused):
    Path("nets.py").write_text(MODEL)
    succeed("train", "digits", "--model", "nets.py:Net", *QUICK, "--out", "run")
    Path("nets.py").write_text("import pathlib\npathlib.Path('imported').touch()" + MODEL)
    message = refused("evaluate", "run", code=1)
    assert "Give --model nets.py:Net to say that it may be imported" in message
    assert not Path("imported").exists()
    Path("moved").mkdir()
    Path("nets.py").rename("moved/nets.py")
    assert "accuracy" in succeed("evaluate", "run", "--model", "moved/nets.py:Net")
    assert Path("imported").exists()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no_such_module:Net", r".*no_such_module.*"),
        ("nets.py:Nett", r".*Nett.*Did you mean Net\?"),
        ("missing.py:Net", r".*missing\.py.*"),
    ],
)
def test_models_that_cannot_be_imported(refused, spec, message):
    Path("nets.py").write_text(MODEL)
    assert re.match(message, refused("train", "digits", "--model", spec, code=1))


def no_weights():
    Path("run/model.safetensors").unlink()
    shutil.rmtree("run/checkpoints")


def damage_weights():
    Path("run/model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")


def other_weights():
    tensors = load_file("run/model.safetensors")
    save_file({name: value.repeat(2) for name, value in tensors.items() if value.ndim == 1},
              "run/model.safetensors")  # fmt: skip


def edit(**changes):
    path = Path("run/config.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def huge():
    """A preparation that asks for a model of 16 GB."""
    preparation = json.loads(Path("run/config.json").read_text())["preparation"]
    return {**preparation, "size": [8192, 8192], "mode": "RGB", "mean": [0] * 3, "std": [1] * 3}


def set_opt(name):
    settings = json.loads(Path("run/config.json").read_text())["settings"]
    edit(settings={**settings, "opt": name})


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda: Path("run/config.json").unlink(), r"run is no run folder: it has no config\.json"),
        (lambda: Path("run/config.json").write_text("{"), r".*config\.json"),
        (lambda: edit(settings={}), r"run was not made by lehr train"),
        (lambda: edit(preparation=None), r"run does not say how its data were prepared"),
        (lambda: edit(preparation={"kind": "sound"}), r".*sound"),
        (
            lambda: set_opt(["adamw"]),
            r"run was not made.* settings\.opt must be text; got \['adamw",
        ),
        (
            lambda: edit(preparation=huge()),
            r"the weights in run/model\.safetensors do not fit.* and ",
        ),
        (lambda: set_opt("adm"), r"there is no optimizer 'adm'\. Did you mean adam"),
        (no_weights, r"run has no weights: "),
        (damage_weights, r".*model\.safetensors is damaged"),
        (other_weights, r"the weights in run/model\.safetensors do not fit the model"),
    ],
    ids=[
        "no config",
        "damaged config",
        "foreign",
        "unprepared",
        "kind",
        "opt type",
        "huge",
        "opt",
        "no weights",
        "bad",
        "other",
    ],
)
def test_a_run_folder_that_cannot_be_used_is_refused(made, refused, harm, message):
    made("train", "digits", "--model", "linear", *QUICK, "--out", "run")
    harm()
    assert re.match(message, refused("evaluate", "run", code=1))
    assert re.match(message, refused("predict", "run", "run/config.json", code=1))


def test_a_folder_that_asks_for_more_than_its_weights_hold_is_refused(refused, trained, config):
    def changed(**settings):
        content = config("run")
        content["settings"] |= settings
        Path("run/config.json").write_text(json.dumps(content))
        return refused("evaluate", "run", code=1)

    before = config("run")
    assert re.search(r"settings\.outputs is 100,000,000, but the preparation has 2\. Was one",
                     changed(outputs=10**8))  # fmt: skip
    Path("run/config.json").write_text(json.dumps(before))
    refusal = changed(label_smoothing=2)
    assert re.search(r"settings\.label_smoothing must be a number from 0 to 1.*; got 2", refusal)
    Path("run/config.json").write_text(json.dumps(before))
    refusal = changed(data_options={**before["settings"]["data_options"], "num_workers": 10**6})
    assert re.search(r"settings\.data_options\.num_workers must be a whole number to 1024", refusal)


def test_a_model_of_ones_own_that_the_weights_cannot_fill_is_refused(succeed, refused, config):
    Path("nets.py").write_text(
        "from torch import nn\n"
        "def net(in_features, classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(in_features, classes))\n"
        "def picky(in_features, classes):\n"
        "    model = net(in_features, classes)\n"
        "    model[1].weight.sum().item()  # of a tensor without values: an error\n"
        "    return model\n"
    )
    lines = ["a,y", *(f"{i},{i % 2}" for i in range(40))]
    Path("t.csv").write_text("\n".join(lines))
    for name in ("net", "picky"):
        own = ("--model", f"nets.py:{name}")
        quick = ("--target", "y", "--epochs", 1, "--lr", 0.01, "--out", name)
        succeed("train", "t.csv", *own, *quick)
        assert "accuracy" in succeed("evaluate", name, *own)
    content = config("net")
    column = {"name": "a", "values": [str(i) for i in range(10**4)]}
    content["preparation"] |= {"columns": [column], "classes": [str(i) for i in range(10**4)]}
    content["settings"]["outputs"] = 10**4
    Path("net/config.json").write_text(json.dumps(content))
    message = refused("evaluate", "net", "--model", "nets.py:net", code=1)
    assert re.search(r"10000 outputs has 100,010,000 numbers, and the file \d+ bytes", message)


def test_a_csv_for_a_spreadsheet_has_no_formulas(succeed):
    photos("data", classes=("=cmd", "-1.5"))
    succeed("train", "data", "--epochs", 1, "--lr", 0.01, "--workers", 0, "--out", "run")
    plain = succeed("predict", "run", "data/=cmd/0.jpg")
    safe = succeed("predict", "run", "data/=cmd/0.jpg", "--safe-csv")
    assert plain.splitlines()[0] == "file,prediction,-1.5,=cmd"
    assert safe.splitlines()[0] == "file,prediction,-1.5,'=cmd"
    assert safe.replace("'", "") == plain


def test_a_terminal_does_not_obey_the_name_of_a_file(succeed, trained, monkeypatch):
    shutil.copy("data/red/0.jpg", "a\x1b[2J.jpg")
    assert "a\x1b[2J.jpg," in succeed("predict", "run", "a\x1b[2J.jpg")  # a pipe gets the name
    monkeypatch.setattr(use, "is_terminal", lambda file: True)
    assert r"a\x1b[2J.jpg," in succeed("predict", "run", "a\x1b[2J.jpg")


def test_wrong_arguments_speak(refused, trained):
    assert re.match(
        r"there is no file nothing\.jpg", refused("predict", "run", "nothing.jpg", code=1)
    )
    Path("empty").mkdir()
    assert re.match(r"empty holds no files", refused("predict", "run", "empty", code=1))
    assert re.match(
        r"empty is no run folder", refused("predict", "empty", "data/red/0.jpg", code=1)
    )
    assert re.match(r"there is no split 'tst'\. Did you mean test\?",
                    refused("evaluate", "run", "--split", "tst"))  # fmt: skip
    photos("others", classes=("green", "red"))
    assert "green" in refused("evaluate", "run", "others", code=1)
    Path("broken.jpg").write_bytes(Path("data/red/0.jpg").read_bytes()[:200])
    message = refused("predict", "run", "data/red/1.jpg", "broken.jpg", code=1)
    assert "broken.jpg" in message


@pytest.mark.filterwarnings("default")
def test_broken_images_are_named_and_left_out_if_asked(call, refused):
    photos("data")
    whole = Path("data/red/0.jpg").read_bytes()
    Path("data/red/bad.jpg").write_bytes(whole[: len(whole) // 2])
    quick = ("train", "data", "--epochs", 1, "--lr", 0.01, "--workers", 0)
    message = refused(*quick, code=1)
    assert re.search(r"data/red/bad\.jpg cannot be decoded", message)
    assert "--skip-broken" in message
    result = call(*quick, "--skip-broken")
    assert result.exit_code == 0, result.output
    (line,) = result.stderr.splitlines()
    assert re.match(r"warning: 1 of 25 images cannot be decoded and are left out: .*bad\.jpg", line)


def test_images_are_kept_where_the_user_keeps_such_things_if_asked(succeed, config, monkeypatch):
    photos("data")
    monkeypatch.setenv("LEHR_CACHE", "kept")
    quick = ("train", "data", *QUICK, "--lr", 0.01, "--workers", 0)
    succeed(*quick, "--cache", "--out", "run")
    (kept,) = Path("kept", "images").iterdir()
    assert config("run")["settings"]["data_options"]["cache"] is True
    assert "--cache" in config("run")["settings"]["command"]
    made = kept.stat().st_mtime_ns
    succeed(*quick, "--out", "plain")
    assert (
        Path("run/model.safetensors").read_bytes() == Path("plain/model.safetensors").read_bytes()
    )
    assert succeed("evaluate", "run") == succeed("evaluate", "plain")
    assert kept.stat().st_mtime_ns == made


def test_data_that_have_changed_are_not_divided_in_another_way_silently(refused, succeed, trained):
    Image.new("RGB", (10, 10)).save("data/red/new.jpg")
    message = refused("evaluate", "run", code=1)
    assert re.search(
        r"data has changed since the training: it had \[19, 5\] items .* \[20, 5\]", message
    )
    assert "all, 25 items" in succeed("evaluate", "run", "--split", "all")


def test_other_content_of_as_many_items_is_said(call, succeed):
    def table(factor):
        rows = [f"{i % 7},{factor * (i % 7) + 0.5}" for i in range(60)]
        Path("t.csv").write_text("\n".join(["a,price", *rows]))

    table(10)
    quick = ("--target", "price", "--epochs", 1, "--lr", 0.01)
    succeed("train", "t.csv", *quick, "--out", "run")
    assert "loss:" in succeed("evaluate", "run")
    table(20)
    done = call("evaluate", "run")
    assert done.exit_code == 0
    assert "t.csv is not what it was in the training: its content" in done.stderr
    assert call("evaluate", "run", "--split", "all").stderr == ""


def test_how_far_numbers_are_off_is_said_in_their_units(succeed):
    rows = [f"{i % 9},{1000 * (i % 9) + 0.5}" for i in range(90)]
    Path("t.csv").write_text("\n".join(["a,price", *rows]))
    succeed("train", "t.csv", "--target", "price", "--epochs", 1, "--lr", 0.01, "--out", "run")
    said = dict(
        line.split(": ") for line in succeed("evaluate", "run").splitlines() if ": " in line
    )
    mae, rmse = (float(said[name].replace(",", "")) for name in ("mae", "rmse"))
    assert 100 < mae <= rmse < 10_000
    assert float(said["r2"]) <= 1


def test_what_new_rows_lack_can_only_be_allowed_by_training_anew(succeed, refused):
    rows = [f"{i % 7},{i % 5},{i % 2}" for i in range(60)]
    Path("t.csv").write_text("\n".join(["a,b,y", *rows]))
    Path("new.csv").write_text("a,b\n1,2\n,3\n")
    succeed("train", "t.csv", "--target", "y", "--epochs", 1, "--lr", 0.01, "--out", "run")
    said = refused("predict", "run", "new.csv", code=1)
    assert "Correct them, or train anew: --missing mean fills them" in said


def test_data_of_another_kind_and_models_not_asked_for_are_refused(refused, trained):
    Path("t.csv").write_text("a,y\n1,2\n")
    message = refused("evaluate", "run", "t.csv", code=1)
    assert re.search(r"trained on data of the kind image; .+t\.csv is of the kind table", message)
    message = refused("evaluate", "run", "--model", "nets.py:Net", code=1)
    assert message == "run was trained with resnet, which needs no --model. Leave it out."


def test_columns_and_whole_numbers_to_predict(succeed, config):
    lines = ["id,a,price", *(f"no{i},{i % 9},{100 + 7 * (i % 9)}" for i in range(300))]
    Path("t.csv").write_text("\n".join(lines))
    options = ("--target", "price", "--columns", "a", "--regression", "--epochs", 2, "--lr", 0.01)
    succeed("train", "t.csv", *options, "--out", "run")
    assert config("run")["settings"]["outputs"] == 1
    assert "--columns a --regression" in config("run")["settings"]["command"]
    assert "squared error" in succeed("evaluate", "run")


@pytest.mark.filterwarnings("default")
def test_whole_numbers_that_nearly_all_differ_are_predicted_as_numbers_with_a_word(call, config):
    lines = ["a,price", *(f"{i % 9},{100 + 7 * i}" for i in range(300))]
    Path("t.csv").write_text("\n".join(lines))
    options = ("t.csv", "--target", "price", "--epochs", 1, "--lr", 0.01)
    result = call("train", *options, "--out", "run")
    assert result.exit_code == 0, result.output
    assert result.stderr == (
        "warning: price is predicted as a number, because t.csv has 300 different whole numbers of "
        "it in 300 rows. To predict classes, give --classification; --regression says that it is "
        "right.\n"
    )
    assert config("run")["settings"]["outputs"] == 1
    assert call("evaluate", "run").stderr == ""  # the run knows


def test_a_zip_of_images_is_predicted_as_its_folder_is(succeed, refused, trained):
    photos("new", items=2)
    shutil.make_archive("packed", "zip", ".", "new")
    whole, packed = succeed("predict", "run", "new"), succeed("predict", "run", "packed.zip")
    assert packed == whole.replace("\nnew/", "\npacked.zip: new/")
    with ZipFile("none.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    assert refused("predict", "run", "none.zip", code=1).startswith("none.zip holds no images (")


def test_a_file_of_answers_is_not_overwritten_unless_asked(refused, succeed, trained):
    photos("new", items=1)
    Path("answers.csv").write_text("mine")
    quick = ("predict", "run", "new", "--out", "answers.csv")
    assert refused(*quick) == "answers.csv exists. Choose another name, or add --overwrite."
    assert Path("answers.csv").read_text() == "mine"
    succeed(*quick, "--overwrite")
    assert Path("answers.csv").read_text().startswith("file,prediction")


def test_a_bad_option_is_said_as_one_before_anything_is_read(refused):
    for command in (("evaluate", "nowhere"), ("predict", "nowhere", "a.jpg")):
        assert "device must be one" in refused(*command, "--device", "cpx", code=2)
