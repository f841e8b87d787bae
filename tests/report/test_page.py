import json
import math
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lehr import Callback, Learner, accuracy, data
from lehr.callbacks import ParamScheduler
from lehr.report import RunFolder, RunRecord, write_report
from lehr.report.page import report, write_page
from lehr.report.regression import Regression
from lehr.schedules import sched_lin
from lehr.testing import tiny_learner

VOID = {"meta", "img", "br", "use", "path", "rect"}


class Outline(HTMLParser):
    """Reads a page: its tags, their balance, headings and ids."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.headings, self.ids, self.links = [], set(), [], [], []
        self.images = []
        self.feed(page)

    def handle_starttag(self, name, attributes):
        found = dict(attributes)
        self.tags.add(name)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found[key] for key in ("src", "href", "xlink:href") if key in found]
        if name == "img":
            self.images.append(found)
        if re.fullmatch("h[1-6]", name):
            self.headings.append(int(name[1]))
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        if name not in VOID:
            self.handle_starttag(name, attributes)
            self.open.pop()
        else:
            self.handle_starttag(name, attributes)

    def handle_endtag(self, name):
        if name not in VOID:
            assert self.open.pop() == name


def outline(page):
    found = Outline(page)
    assert not found.open
    assert found.headings[0] == 1
    assert all(b <= a + 1 for a, b in zip(found.headings, found.headings[1:], strict=False))
    assert len(set(found.ids)) == len(found.ids)
    assert not found.tags & {"script", "link", "iframe", "object"}
    assert all(link.startswith(("data:image/png", "#")) for link in found.links)
    assert all(image["alt"] for image in found.images)
    return found


def kept(path, learn=None, settings=None, epochs=2, callbacks=()):
    learn = learn or tiny_learner(metrics=[accuracy])
    with RunFolder.create(path).keep(learn, settings or {"data": "points", "model": "tiny"}):
        learn.fit(epochs, callbacks)
    return path


def text(path):
    return (path / "report.html").read_text(encoding="utf-8")


def test_a_page_that_has_everything(tmp_path):
    settings = {"data": "points", "model": "tiny", "command": "lehr train <x>", "opt": {"lr": 0.1}}
    settings |= {"batch_size": 8, "epochs": 2}
    schedule = ParamScheduler("momentum", sched_lin(0.9, 0.8))
    page = text(kept(tmp_path / "x", settings=settings, callbacks=[schedule]))
    outline(page)
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert titles == [
        "What was run",
        "The first batch",
        "Curves",
        "Epochs",
        "Classes",
        "Worst mistakes",
        "Time",
        "Environment",
        "How to run it again",
    ]
    assert "<h1>points · tiny</h1>" in page
    assert "Finished after 2 epochs" in page
    assert re.findall("<h3>(.*?)</h3>", page) == ["loss", "accuracy", "lr", "momentum"]
    assert page.count("<svg") == 4
    assert '<th scope="row">opt.lr</th><td>0.1</td>' in page
    assert '<th scope="row">seed</th><td>0</td>' in page
    assert "<pre>lehr train &lt;x&gt;</pre>" in page
    assert '<th scope="row">command' not in page
    assert "items per second, about" in page
    assert "To call everything " in page
    assert "The mean F1 over the classes is 0." in " ".join(page.split())
    assert "To compare with: for each class" in page
    assert "model.safetensors" in page


@pytest.mark.slow
def test_the_same_record_gives_the_same_page(tmp_path):
    record = RunRecord.read(kept(tmp_path / "x"))
    assert report(record) == report(record) == text(tmp_path / "x")
    other = RunRecord.read(kept(tmp_path / "y", epochs=3))
    assert report(other) != report(record)


HOSTILE = "</style></script><script>alert('1')</script>\"'&\udcff\x00"


DRAWABLE = HOSTILE[:-2]  # lone surrogates and zeros can be neither drawn nor written as CSV


class Hostile:
    classes = (HOSTILE, "b")

    def to_dict(self):
        return {"kind": HOSTILE, HOSTILE: [1]}

    def picture(self, x):
        return None

    def in_words(self, x):
        return HOSTILE


class Named(Callback):
    """Logs under a hostile name."""

    def after_batch(self, run):
        if run.training:
            run.log(DRAWABLE + r"$\bad$", 1.0)


def hostile_metric(pred, target):
    return accuracy(pred, target)


def test_hostile_names_are_only_words(tmp_path):
    hostile_metric.__name__ = f"<b>{DRAWABLE}"
    learn = tiny_learner(metrics=[hostile_metric])
    learn.data.preparation = Hostile()
    settings = {"data": HOSTILE, "model": HOSTILE, HOSTILE: HOSTILE, "command": HOSTILE}
    page = text(kept(tmp_path / "x", learn, settings, callbacks=[Named()]))
    outline(page)
    assert page.count("</style>") == 1
    assert "alert(" in page
    assert "<b>" not in page


def test_a_failure_shows_its_error(tmp_path):
    with pytest.raises(ValueError, match="glass"):
        with RunFolder.create(tmp_path / "x").keep(tiny_learner(), {}):
            raise ValueError("<glass> cracked")
    page = text(tmp_path / "x")
    outline(page)
    assert "Failed before anything was recorded." in page
    assert '<pre class="alarm">ValueError: &lt;glass&gt; cracked</pre>' in page
    assert "Curves" not in page


def test_a_reason_to_stop_is_said(tmp_path):
    class Enough(Callback):
        def after_batch(self, run):
            run.stop("good enough")

    page = text(kept(tmp_path / "x", callbacks=[Enough()]))
    assert "It was stopped: good enough." in page


class Ruin(Callback):
    """Makes every loss nan."""

    def after_loss(self, run):
        run.loss = run.loss * math.nan


def test_nothing_but_nan(tmp_path):
    page = text(kept(tmp_path / "x", tiny_learner([Ruin()])))
    outline(page)
    assert "no finite number was measured" in page
    assert "No finite value was recorded." in page
    assert page.count("<svg") == 1  # of lr


def test_one_epoch_is_a_point(tmp_path):
    page = text(kept(tmp_path / "x", epochs=1))
    outline(page)
    assert "Finished after 1 epoch and" in page
    assert 'class="best"' not in page  # there is nothing to be better than


class Twenty(Callback):
    """Logs twenty numbers a batch and two an epoch."""

    def after_batch(self, run):
        if run.training:
            for i in range(20):
                run.log(f"s{i}", math.sin(run.n_iter * i))

    def after_epoch(self, run):
        for i in range(4):
            run.log(f"m{i}", float(i))


@pytest.mark.slow
def test_many_epochs_of_many_series(tmp_path):
    page = text(kept(tmp_path / "x", epochs=200, callbacks=[Twenty()]))
    outline(page)
    assert "<summary>All 200 rows</summary>" in page
    assert page.count("<svg") == 1 + 5 + 21
    assert len(page) < 2_000_000


def test_few_rows_are_not_folded_and_the_best_are_bold(tmp_path):
    page = text(kept(tmp_path / "x", epochs=3))
    assert "<details>" not in page
    rows = RunRecord.read(tmp_path / "x").rows
    best = min(row["valid_loss"] for row in rows)
    assert f'<span class="best">{best:.4f}</span>' in page
    worst = max(row["valid_loss"] for row in rows)
    assert f'<span class="best">{worst:.4f}</span>' not in page


def test_preparation_is_folded_and_long_settings_are_cut(tmp_path):
    learn = tiny_learner()
    learn.data.preparation = SimpleNamespace(
        to_dict=lambda: {"kind": "array", "mean": [0.5]},
        classes=("no", "yes"),
        picture=lambda x: None,
        in_words=lambda x: "",
    )
    page = text(kept(tmp_path / "x", learn, {"long": "x" * 5000}))
    assert "<summary>How items were prepared</summary>" in page
    assert '<th scope="row">mean</th><td>0.5</td>' in page
    assert f"{'x' * 600}… (5,000 characters)" in page
    assert "x" * 601 not in page


def test_a_command_as_a_list_is_quoted(tmp_path):
    page = text(kept(tmp_path / "x", settings={"command": ["lehr", "train", "my data"]}))
    assert "<pre>lehr train &#39;my data&#39;</pre>" in page


def test_it_is_written_again_and_leaves_nothing_else(tmp_path):
    kept(tmp_path / "x")
    (tmp_path / "x" / "report.html").unlink()
    before = {file.name for file in (tmp_path / "x").iterdir()}
    assert write_report(tmp_path / "x") == tmp_path / "x" / "report.html"
    assert {file.name for file in (tmp_path / "x").iterdir()} == before | {"report.html"}


def test_a_page_is_whole_or_not_there(tmp_path):
    target = tmp_path / "page.html"
    write_page(target, "old")
    with pytest.raises(UnicodeEncodeError):
        write_page(target, "new \udcff")
    assert target.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]


def test_no_run_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no run folder"):
        write_report(tmp_path)


def test_a_config_of_odd_types(tmp_path):
    config = {"settings": {"epochs": "3", "command": 7, "batch_size": "x"}, "started": 3}
    config |= {"error": None, "preparation": "none", "status": '"><b>'}
    (tmp_path / "config.json").write_text(json.dumps(config))
    page = write_report(tmp_path).read_text(encoding="utf-8")
    outline(page)
    assert "date unknown" in page
    assert "<b>" not in page


def test_predicted_numbers_have_a_part_of_their_own(tmp_path):
    (tmp_path / "homes.csv").write_text(
        "\n".join(["rooms,price", *(f"{i % 5},{10000 + 100 * i}" for i in range(40))])
    )
    bunch = data.table(tmp_path / "homes.csv", "price", regression=True)
    model = nn.Linear(1, 1)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    learn = Learner(model, opt, nn.MSELoss(), bunch, progress=False, seed=0)
    page = text(kept(tmp_path / "x", learn))
    outline(page)
    assert "<h2>Predicted numbers</h2>" in page
    words = " ".join(page.split())
    assert re.search(r"are off by \S+ on average \(MAE\)", words)
    assert re.search(r"To give the mean, 1\d,\d{3}, for every item would have an RMSE of", words)
    assert re.search(r"homes\.csv:\d+</th><td>1\d,\d{3}</td>", page)
    assert "<h2>Classes</h2>" not in page
    assert "<h2>Predicted numbers</h2>" not in text(kept(tmp_path / "y"))


def test_a_run_that_is_kept_anew_loses_what_was_said_of_its_numbers(tmp_path):
    path = kept(tmp_path / "x")
    Regression.of(torch.ones(1), torch.zeros(1)).save(path)
    (path / "history.jsonl").unlink()
    (path / "history.csv").unlink()
    with RunFolder(path).keep(tiny_learner(), {}):
        pass
    assert RunRecord.read(path).regression is None
