import re

import pytest
import torch

from lehr import Learner, accuracy, data
from lehr.data import table


def write(folder, text, name="flowers.csv"):
    (folder / name).write_text(text)
    return folder / name


@pytest.fixture
def flowers(tmp_path):
    lines = [f"{5 + i % 7 / 10},{i},{'red' if i % 2 else 'blue'},{'ab'[i % 2]}" for i in range(50)]
    return write(tmp_path, "size,number,hue,kind\n" + "\n".join(lines))


def test_the_bunch(flowers):
    bunch = table(flowers, "kind", 16)
    xb, yb = next(iter(bunch.train_dl))
    assert (xb.shape, xb.dtype, yb.shape, yb.dtype) == (
        (16, 4),
        torch.float32,
        (16,),
        torch.int64,
    )
    assert (bunch.c, bunch.classes) == (2, ("a", "b"))
    assert (len(bunch.train_ds), len(bunch.valid_ds), bunch.valid_dl.batch_size) == (40, 10, 32)
    x, y = bunch.train_ds[:]
    assert torch.equal(x[:, 3].long(), y)  # the hue says it all
    assert x[:, :2].mean(0).abs().max() < 1e-6
    assert (x[:, :2].std(0) - 1).abs().max() < 1e-6
    assert bunch.valid_ds.x[:, :2].mean(0).abs().max() > 1e-3


def test_rows_keep_their_targets(flowers):
    bunch = table(flowers, "kind", columns=["number"], normalize=False)
    for part in (bunch.train_ds, bunch.valid_ds):
        assert torch.equal(part.x[:, 0].long() % 2, part.y)


def test_the_split(flowers):
    first, same, other = (table(flowers, "kind", split_seed=s).valid_ds.x for s in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert len(table(flowers, "kind", valid_share=0.5).valid_ds) == 25


def test_numbers_to_predict(flowers):
    bunch = table(flowers, "size", drop_last=True, batch_size=32, seed=1)
    assert (bunch.c, bunch.classes, bunch.train_ds.y.shape) == (None, (), (40, 1))
    assert abs(bunch.train_ds.y.mean()) < 1e-6
    assert abs(bunch.train_ds.y.std() - 1) < 1e-6
    assert table(flowers, "size", normalize=False).train_ds.y.min() == 5
    assert len(bunch.train_dl) == 1
    with pytest.warns(UserWarning, match="50 different whole numbers of it in 50 rows") as warned:
        assert table(flowers, "number").c is None
    assert warned[0].filename == __file__
    assert table(flowers, "number", regression=True).train_ds.y.dtype == torch.float32


def test_it_can_be_learnt_and_opened_by_path(flowers):
    bunch = data.open_data(flowers, 8, target="kind")
    model = torch.nn.Linear(4, 2)
    loss = torch.nn.functional.cross_entropy
    opt = torch.optim.SGD(model.parameters(), lr=0.5)
    run = Learner(model, opt, loss, bunch, metrics=[accuracy], seed=0).fit(5)
    assert run.history["accuracy"][-1] == 1


def test_an_earlier_preparation(flowers, tmp_path):
    first = table(flowers, "kind").preparation
    again = data.preparation_from(first.to_dict())
    more = write(tmp_path, "kind,hue,number,size\n" + "b,red,3,5.5\na,blue,4,5\n" * 5, "more.csv")
    bunch = table(more, "kind", preparation=again)
    assert bunch.preparation is again
    whole = torch.cat([bunch.train_ds.x, bunch.valid_ds.x])
    assert torch.equal(whole.unique(dim=0), next(again.batches([more]))[1].unique(dim=0))
    for wrong, message in [
        ({"target": "hue"}, "target must be the preparation's, 'kind'; got 'hue'"),
        ({"columns": ["size"]}, "columns must be the preparation's, ['size', 'number', 'hue']"),
        ({"regression": True}, "regression must be the preparation's, False; got True"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            table(more, **{"target": "kind", "preparation": again, **wrong})


def test_missing_values(tmp_path):
    rows = "".join(f"{i}.5,{'xy'[i % 2]},{'ab'[i % 2]}\n" for i in range(20))
    file = write(tmp_path, "n,t,kind\n" + rows + "NA,x,a\n7.5,,b\n")
    with pytest.raises(ValueError, match=r"n must have a value in every row; 1 of 22 .*\.csv:22"):
        table(file, "kind")
    with pytest.warns(UserWarning, match=r"2 of 22 rows are left out.*\(n in 1, t in 1\)"):
        dropped = table(file, "kind", missing="drop")
    assert len(dropped.train_ds) + len(dropped.valid_ds) == 20
    filled = table(file, "kind", missing="mean")
    x = torch.cat([filled.train_ds.x, filled.valid_ds.x])
    assert len(x) == 22
    assert (x[:, 1:].sum(1) == 0).sum() == 1
    with pytest.raises(ValueError, match="kind must have a value in every row"):
        table(write(tmp_path, "n,kind\n1,a\n2,\n3,b\n"), "kind", missing="mean")
    with pytest.raises(ValueError, match="missing must be one of"):
        table(file, "kind", missing="zero")


def test_columns_that_are_not_there(flowers):
    with pytest.raises(ValueError, match=r"has no column 'knid'\. Did you mean kind\?"):
        table(flowers, "knid")
    with pytest.raises(ValueError, match=r"has no column 'sizes'\. Did you mean size\?"):
        table(flowers, "kind", columns=["sizes"])
    with pytest.raises(TypeError, match="a column is named by text; got 3"):
        table(flowers, 3)
    with pytest.raises(TypeError, match=r"columns must be a list of names; got 'size'\. Give \["):
        table(flowers, "kind", columns="size")
    for columns in ([], ["kind"], ["size", "size"]):
        with pytest.raises(ValueError, match="columns must name at least one column, each once"):
            table(flowers, "kind", columns=columns)


def test_the_share(flowers):
    with pytest.raises(ValueError, match="valid_share must leave items to both parts; got 1"):
        table(flowers, "kind", valid_share=1)


def test_large_numbers_are_learnt(tmp_path):
    a, b, noise = torch.randn(3, 300, generator=torch.Generator().manual_seed(0))
    price = 200_000 + 50_000 * a - 20_000 * b + 1000 * noise
    rows = torch.stack([a, b, price], 1).tolist()
    lines = "".join(f"{a},{b},{price:.2f}\n" for a, b, price in rows)
    bunch = table(write(tmp_path, "a,b,price\n" + lines, "house.csv"), "price")
    model = torch.nn.Linear(2, 1)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    learn = Learner(model, opt, torch.nn.functional.mse_loss, bunch, seed=0)
    learn.fit(5)
    x, y = bunch.valid_ds[:]
    answers, truth = (bunch.preparation.answers(v) for v in (learn.predict(x), y))
    assert 100_000 < truth.mean() < 300_000
    assert (answers - truth).abs().mean() < 3000
    assert (truth - truth.mean()).abs().mean() > 30_000


def test_every_row_of_a_table(flowers, tmp_path):
    first = table(flowers, "kind").preparation
    bunch = table(flowers, "kind", preparation=first, split="all")
    rows = torch.cat([x for x, _ in bunch.valid_dl])
    assert torch.equal(rows, next(first.batches([flowers], 50))[1])
    assert bunch.valid_ds.y.tolist() == [0, 1] * 25
    assert len(bunch.train_ds) == 50
    one = write(tmp_path, "size,number,hue,kind\n5,3,red,b\n", "one.csv")
    assert table(one, "kind", preparation=first, split="all").valid_ds.y.tolist() == [1]
    with pytest.raises(ValueError, match="valid_share must leave items to both parts"):
        table(one, "kind", preparation=first)
    with pytest.raises(ValueError, match=r"split='all' divides nothing.* got preparation=None"):
        table(flowers, "kind", split="all")
    with pytest.raises(ValueError, match="split must be one of valid, all; got 'test'"):
        table(flowers, "kind", split="test")


def test_categories_that_would_fill_the_memory_are_refused(flowers, monkeypatch):
    monkeypatch.setattr("lehr.data.tables.preparation.MOST_FEATURES", 200)
    table(flowers, "kind")  # 50 rows of 4
    table(flowers, "kind", columns=["size", "number"])
    monkeypatch.setattr("lehr.data.tables.preparation.MOST_FEATURES", 199)
    table(flowers, "kind", columns=["size", "number"])
    with pytest.raises(ValueError, match=r"50 rows of 4 features, .*'hue' alone has 2 categories"):
        table(flowers, "kind")


@pytest.mark.timeout(60)
def test_a_hundred_thousand_columns(tmp_path):
    names = ",".join(f"c{i}" for i in range(100_000))
    with pytest.raises(
        ValueError, match=r"no column 'd'\. Did you mean|no column 'd'\. Use one of"
    ):
        table(write(tmp_path, f"{names}\n" + "1," * 99_999 + "2\n"), "d")


def test_numbers_that_overflow_name_the_file(tmp_path):
    for text in ("1e400", "9" * 10_000):
        path = write(tmp_path, "x,y\n" + "1,a\n2,b\n" * 30 + f"{text},a\n")
        with pytest.raises(
            ValueError, match=r"^x must be a number .* flowers\.csv:62 has "
        ) as caught:
            table(path, "y")
        assert len(str(caught.value)) < 300
        path = write(tmp_path, "y,x\n" + "1,3\n2,4\n" * 30 + f"{text},3\n")
        with pytest.raises(
            ValueError, match=r"y must be a number .* flowers\.csv:62 has "
        ) as caught:
            table(path, "y")
        assert len(str(caught.value)) < 300


def test_columns_that_are_excluded_are_left_out(flowers):
    names = [column.name for column in table(flowers, "kind").preparation.columns]
    kept = table(flowers, "kind", exclude=["number"]).preparation.columns
    assert [column.name for column in kept] == [name for name in names if name != "number"]
    with pytest.raises(TypeError, match=r"exclude must be a list of names; got 'number'"):
        table(flowers, "kind", exclude="number")
    with pytest.raises(ValueError, match="has no column 'numbr'"):
        table(flowers, "kind", exclude=["numbr"])
    with pytest.raises(ValueError, match=r"exclude must not name the target 'kind', .*\['kind'\]"):
        table(flowers, "kind", exclude=["kind"])


def test_dates_become_their_parts(tmp_path):
    rows = [f"20{i:02d}-03-{1 + i % 28:02d},{i % 2}" for i in range(98)] + ["NA,1"]
    (tmp_path / "t.csv").write_text("\n".join(["when,y", *rows]))
    bunch = table(tmp_path / "t.csv", "y", missing="mean")
    assert bunch.preparation.item_shape == (5,)
    assert bunch.preparation.in_words(bunch.train_ds[0][0]).startswith("when=20")
    assert type(bunch.preparation).from_dict(bunch.preparation.to_dict()) == bunch.preparation
    with pytest.raises(ValueError, match=r"when must have a value in every row; 1 of 99 have none"):
        table(tmp_path / "t.csv", "y")


def test_dates_in_another_order_are_refused_with_how_to_write_them(tmp_path):
    rows = [f"{1 + i % 28}.3.20{i:02d},{i % 2}" for i in range(99)]
    (tmp_path / "t.csv").write_text("\n".join(["when,y", *rows]))
    with pytest.raises(
        ValueError, match=r"when must have its dates .*year first; t\.csv:2 .*\['when'\]"
    ):
        table(tmp_path / "t.csv", "y")


def test_a_target_that_is_no_number_is_not_to_be_left_out(tmp_path):
    path = write(tmp_path, "x,y\n" + "\n".join(f"{i},{i}.5" for i in range(20)) + "\n3,inf")
    with pytest.raises(ValueError, match=r"has 'inf'\. Correct it, or take out that row\.$"):
        table(path, "y")


def test_a_frame_of_pandas_is_refused_with_what_to_write():
    frame = pytest.importorskip("pandas").DataFrame({"x": [1, 2], "y": [0, 1]})
    with pytest.raises(TypeError, match=r"path must be .* got DataFrame\. .*df\.to_csv\("):
        table(frame, "y")
