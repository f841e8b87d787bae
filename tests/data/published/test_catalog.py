import numpy as np
import pytest
from PIL import Image

from lehr.data import open_data
from lehr.data.published.catalog import SOURCES


def test_by_name():
    bunch = open_data("digits", 32, valid_share=0.5)
    assert bunch.train_dl.batch_size == 32
    assert len(bunch.valid_ds) == 898
    assert list(SOURCES) == ["digits", "mnist", "fashion_mnist", "cifar10"]


@pytest.fixture
def folder(tmp_path):
    for c in "ab":
        (tmp_path / "digits" / c).mkdir(parents=True)
        for i in range(10):
            Image.new("L", (8, 8), i).save(tmp_path / "digits" / c / f"{i}.png")
    return tmp_path / "digits"


def test_by_path(folder, monkeypatch):
    assert open_data(folder).preparation.kind == "image"
    assert open_data(str(folder), 4, size=5).preparation.size == (5, 5)
    monkeypatch.chdir(folder.parent)
    assert open_data("digits").c == 10  # a name comes first
    assert open_data("./digits").c == 2


def test_a_zip(folder, tmp_path):
    import shutil

    assert open_data(shutil.make_archive(str(tmp_path / "all"), "zip", folder)).c == 2


def test_a_table(tmp_path):
    rows = "".join(f"{i},{i % 2}\n" for i in range(20))
    (tmp_path / "t.csv").write_text("x,kind\n" + rows)
    bunch = open_data(tmp_path / "t.csv", 4, target="kind")
    assert (bunch.c, bunch.preparation.kind) == (2, "table")
    with pytest.raises(TypeError, match=r"t\.csv, a table, needs the option target\. Give target="):
        open_data(tmp_path / "t.csv")


def test_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.random.rand(20, 3), y=np.arange(20) % 2)
    bunch = open_data(tmp_path / "a.npz", 4)
    assert (bunch.c, bunch.preparation.kind) == (2, "array")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("digit", r"there is no data 'digit'\. Did you mean digits\? Or give a path: a folder or"),
        ("no/where", r"there is no data 'no/where'\. Use one of: digits, mnist, fashion_mnist, ci"),
        ("no.csv", r"there is no data 'no.csv'"),
        (__file__, r"data must be a folder or .* got .+test_catalog.py, a file of another kind"),
    ],
)
def test_no_such_source(source, message):
    with pytest.raises(ValueError, match=message):
        open_data(source)


def test_no_source_at_all():
    with pytest.raises(TypeError, match=r"source must be a name or a path; got None"):
        open_data(None)


def test_options_of_others(folder):
    with pytest.raises(
        TypeError, match=r"digits takes no option 'root'\. It takes split, normalize"
    ):
        open_data("digits", root=".")
    with pytest.raises(
        TypeError, match=r"mnist takes no option 'augmant'\. Did you mean augment\?"
    ):
        open_data("mnist", augmant="flip")
    with pytest.raises(
        TypeError, match=r"a folder of images, takes no option 'target'. It takes va"
    ):
        open_data(folder, target="y")
    with pytest.raises(TypeError, match="takes no option 'path'"):
        open_data(folder, path="y")
