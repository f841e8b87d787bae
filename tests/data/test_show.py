import matplotlib.pyplot as plt
import pytest
import torch
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader as TorchLoader

from lehr import data
from lehr.data import DataBunch
from lehr.data.show import clipped, first_items, numbers, own_range, show_batch, title


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def drawn(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_it_is_the_first_batch_of_a_seeded_loader_as_it_was_before_normalisation():
    bunch = data.digits(batch_size=16, seed=5)
    figure = bunch.show_batch()
    xb, yb = next(bunch.train_dl.batches(0, epoch=0))
    images = [image.get_array() for image in figure.axes[0].images]
    assert drawn(figure) == [str(int(y)) for y in yb]
    assert len(images) == 16
    for image, x in zip(images, xb, strict=True):
        assert (torch.from_numpy(image.data) == bunch.preparation.picture(x)).all()
    assert not (images[0] == images[1]).all()


def test_it_leaves_no_trace():
    generator = torch.Generator().manual_seed(1)
    foreign = TorchLoader(
        torch.utils.data.TensorDataset(torch.rand(9, 1, 4, 4), torch.arange(9)),
        batch_size=3,
        shuffle=True,
        generator=generator,
    )
    ours = data.digits().train_dl
    for loader in (foreign, ours, [torch.rand(3, 4)], lambda: iter([torch.rand(3, 4)])):
        before = torch.get_rng_state(), generator.get_state(), ours.state_dict()
        show_batch(loader)
        after = torch.get_rng_state(), generator.get_state(), ours.state_dict()
        assert all(torch.equal(a, b) for a, b in zip(before[:2], after[:2], strict=True))
        assert before[2] == after[2]


def test_items_and_axes():
    ax = plt.subplots()[1]
    x = torch.rand(20, 3, 4, 6)
    figure = DataBunch([(x, torch.arange(20))]).show_batch(5, ax=ax)
    assert figure is ax.figure
    assert len(ax.images) == 5
    assert len(show_batch([x]).axes[0].images) == 16
    assert drawn(show_batch([x])) == []
    assert len(show_batch([x[:3]]).axes[0].images) == 3
    with pytest.raises(ValueError, match="items must be at least 1; got 0"):
        show_batch([x], items=0)


def test_tables_are_text():
    x = torch.tensor([[0.5, 2], [1, 1]])
    assert drawn(show_batch([(x, torch.tensor([0.25, 3]))])) == [
        *("target", "input", "0.25", "0.5 2", "3", "1 1")
    ]
    assert drawn(show_batch([x])) == ["input", "0.5 2", "1 1"]
    bunch = data.arrays(torch.arange(40.0).reshape(20, 2), torch.arange(20) % 2, classes=["a", "b"])
    texts = drawn(bunch.show_batch(3))
    assert len(texts) == 8
    assert set(texts[2::2]) <= {"a", "b"}
    assert [float(text.split()[0]) / 2 % 2 for text in texts[3::2]] == [
        "ab".index(name) for name in texts[2::2]
    ]


def test_other_batches_are_text():
    assert drawn(show_batch([(["one  two", "three"], ["x", "y"])])) == [
        *("target", "input", "x", "one two", "y", "three")
    ]
    assert drawn(show_batch([({"ids": 3}, None)])) == ["input", "ids 3"]
    pair = (torch.zeros(2, 3), torch.zeros(2, 3))
    assert drawn(show_batch([(pair, None)])) == ["input", *["0 0 0; 0 0 0"] * 2]
    with pytest.raises(TypeError, match="a batch must be a pair"):
        show_batch([{"ids": 3}])


def test_a_loader_without_batches():
    with pytest.raises(ValueError, match="train_dl has no batches"):
        DataBunch([]).show_batch()


def test_every_picture_is_scaled_to_its_own_range():
    x = torch.tensor([[-3.0, 1], [-1, 1]])
    expected = [[0, 255], [128, 255]]
    for form in (x, x[None], x[None].expand(3, -1, -1)):
        picture = own_range(form)
        assert picture.shape == (2, 2, 3)
        assert picture[..., 1].tolist() == expected
    assert own_range(torch.ones(2, 2))[0, 0].tolist() == [0, 0, 0]
    for other in (torch.zeros(3), torch.zeros(2, 4, 4), torch.zeros(1, 0, 2), "text"):
        assert own_range(other) is None


def test_titles():
    assert title(torch.tensor(1), ("cat", "dog")) == "dog"
    assert title(torch.tensor(7), ("cat", "dog")) == "7"
    assert title(torch.tensor([0.5, 0.25]), ("cat", "dog")) == "0.5 0.25"
    assert title("word", None) == "word"
    assert title(0.123456, None) == "0.1235"


def test_words():
    assert numbers(torch.arange(9)) == "0 1 2 3 4 5 6 7 …"
    assert clipped("a\nb" * 9, 4) == "a b…"
    assert first_items(None, 3) == []
    assert first_items([torch.tensor(3), torch.tensor(4)], 1) == [torch.tensor(3)]
    graphs = (torch.zeros(9, 8), torch.zeros(2, 30))
    assert first_items(graphs, 1) == [graphs]
    assert len(drawn(show_batch([(graphs, torch.arange(4))]))) == 2
    packed = pack_sequence([torch.ones(2), torch.ones(1)])
    assert first_items(packed, 3) == [packed]
    assert [int(i) for i in first_items(torch.arange(9), 2)] == [0, 1]


def test_what_has_no_values_is_refused_in_our_own_words():
    x, y = torch.rand(4, 1, 8, 8), torch.arange(4)
    with torch.device("meta"), pytest.raises(ValueError, match="nothing could be shown"):
        show_batch([(x, y)])
    for batch in ((x.to("meta"), y), (x, y.to("meta"))):
        with pytest.raises(ValueError, match="batch must hold values; its tensors are on the dev"):
            show_batch([batch])
    show_batch([(x, y)])


def test_a_number_to_predict_is_shown_in_its_own_units(tmp_path):
    rows = [f"{i % 9},{1000 * (i % 9) + 0.5}" for i in range(90)]
    (tmp_path / "t.csv").write_text("\n".join(["a,price", *rows]))
    figure = data.table(tmp_path / "t.csv", "price").show_batch(4)
    words = [text.get_text().replace(",", "") for text in figure.axes[0].texts]
    assert any(float(word) >= 1000 for word in words if word.replace(".", "").isdigit())


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ({"ids": torch.arange(6).view(3, 2), "mask": torch.ones(3)}, "ids 2 3; mask 1"),
        ((torch.arange(6).view(3, 2), torch.ones(3, 1)), "2 3; 1"),
    ],
)
def test_several_inputs_stand_in_one_line(x, said):
    loader = data.DataLoader(data.Dataset(x, torch.arange(3)), 3)
    assert drawn(show_batch(loader))[-4:] == ["1", said, "2", said.replace("2 3", "4 5")]
