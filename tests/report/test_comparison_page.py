import re

import pytest
import torch

from lehr import accuracy
from lehr.report import RunFolder, compare, write_comparison
from lehr.report.comparison_page import comparison_page
from lehr.testing import tiny_learner


def kept(path, epochs=2, lr=0.1, **settings):
    def opt(parameters):
        return torch.optim.SGD(parameters, lr=lr)

    learn = tiny_learner(metrics=[accuracy], items=200, opt=opt)
    with RunFolder.create(path).keep(learn, {"lr": lr, **settings}):
        learn.fit(epochs)
    return path


@pytest.fixture
def runs(tmp_path):
    return kept(tmp_path / "first"), kept(tmp_path / "second", epochs=3, lr=0.5)


def test_configuration_comes_first_then_the_first_step_at_which_they_part(runs, tmp_path):
    target = write_comparison(*runs, tmp_path / "comparison.html")
    assert target == tmp_path / "comparison.html"
    page = target.read_text(encoding="utf-8")
    assert re.findall("<h2>(.*?)</h2>", page) == [
        "What was different",
        "Where they part",
        "What came of it",
        "Classes",
        "Time",
    ]
    assert '<th scope="row">lr</th><td>0.1</td><td>0.5</td>' in page
    assert "lr 0.1 against 0.5" in page
    assert "Versions and hardware: no difference." in page
    assert page.count('class="matrix"') == 2
    assert page.count("<svg") == 3  # loss, accuracy, lr
    assert "Item by item," in page


def test_one_file_that_runs_nothing(runs):
    page = comparison_page(compare(*runs))
    assert not re.search(r"<script|<link|<iframe", page)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert page == comparison_page(compare(*runs))
    assert page != comparison_page(compare(*reversed(runs)))


def test_the_better_of_two_is_bold_and_equals_are_not(runs):
    page = comparison_page(compare(*runs))
    assert 'class="best"' in page
    same = comparison_page(compare(runs[0], runs[0]))
    assert 'class="best"' not in same
    assert "They are identical in all" in same
    assert "Settings: no difference." in same


def test_hostile_settings_are_only_words(tmp_path):
    bad = "</style><script>alert(1)</script>"
    a = kept(tmp_path / "a<b>", data=bad)
    b = kept(tmp_path / "b", data="x", **{bad: bad})
    page = comparison_page(compare(a, b))
    assert "<script" not in page
    assert "<b>" not in page
    assert page.count("</style>") == 1
    assert "&lt;script&gt;" in page


def test_runs_that_left_next_to_nothing(runs, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "config.json").write_text('{"status": "running"}')
    for pair in ((empty, empty), (runs[0], empty), (empty, runs[0])):
        page = comparison_page(compare(*pair))
        assert "No training batch was recorded by both." in page
    assert "Only b recorded loss, lr." in comparison_page(compare(empty, runs[0]))


def test_there_must_be_a_folder_to_write_into(runs, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"path must lie in a folder that is there; got .*Make .*none first"
    ):
        write_comparison(*runs, tmp_path / "none" / "c.html")


def test_a_link_is_followed_but_in_a_run_folder_it_is_replaced(runs, tmp_path):
    real = tmp_path / "real.html"
    links = [tmp_path / "page.html", runs[1] / "comparison.html"]
    for link in links:
        real.write_text("old")
        link.symlink_to(real)
        write_comparison(*runs, link)
        followed = link is links[0]
        assert (link.is_symlink(), real.read_text() != "old") == (followed, followed)
        assert "<h1>" in link.read_text(encoding="utf-8")
