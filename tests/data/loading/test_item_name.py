import numpy as np
import pytest
import torch
from PIL import Image

from lehr import data
from lehr.data import DataLoader, Dataset
from lehr.data.loading.item_name import item_name

LETTERS = Dataset([1.0, 2.0, 3.0], [0, 1, 0], names="abc".__getitem__)


def test_a_loader_in_order_gives_the_names_of_its_dataset():
    assert [item_name(DataLoader(LETTERS, 2), i) for i in range(3)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(LETTERS, shuffle=True),
        DataLoader(LETTERS, sampler=[2, 0, 1]),
        torch.utils.data.DataLoader(LETTERS),
        DataLoader([(1.0, 0)]),
        [(torch.zeros(1), torch.zeros(1))],
    ],
)
def test_where_the_order_or_the_names_are_not_known_there_is_a_number(loader):
    assert item_name(loader, 0) == "item 0"


def test_rows_of_a_table_are_called_by_file_and_line(tmp_path):
    lines = ["n,kind", *(f"{i},{'ab'[i % 2]}" for i in range(20))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    bunch = data.table(tmp_path / "t.csv", "kind", normalize=False)
    for loader in (bunch.valid_dl, DataLoader(bunch.train_ds)):
        for i, (x, _) in enumerate(loader.dataset):
            path, _, line = item_name(loader, i).rpartition(":")
            assert path == str(tmp_path / "t.csv")
            assert lines[int(line) - 1].startswith(f"{int(x)},")


@pytest.mark.parametrize("in_memory", [True, False])
def test_images_are_called_by_their_file_also_if_they_are_in_memory(tmp_path, in_memory):
    for kind in ("blue", "red"):
        (tmp_path / kind).mkdir()
        for i in range(6):
            shade = i * 20 + 120 * (kind == "red")
            pixels = np.full((4, 4, 3), shade, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / kind / f"{shade}.png")
    bunch = data.image_folder(tmp_path, 4, normalize=False, in_memory=in_memory)
    for i, (x, y) in enumerate(bunch.valid_ds):
        shade = round(x.mean().item() * 255)
        expected = tmp_path / ("blue", "red")[y] / f"{shade}.png"
        assert item_name(bunch.valid_dl, i) == str(expected)


def test_names_survive_that_broken_images_are_left_out(tmp_path):
    for kind in ("blue", "red"):
        (tmp_path / kind).mkdir()
        for i in range(6):
            Image.fromarray(np.full((4, 4), i * 20, dtype=np.uint8)).save(
                tmp_path / kind / f"{i}.png"
            )
    (tmp_path / "blue" / "0.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match="0.png"):
        bunch = data.image_folder(tmp_path, 4, normalize=False, skip_broken=True)
    for dataset in (bunch.train_ds, bunch.valid_ds):
        for i, (x, _) in enumerate(dataset):
            assert dataset.name(i).endswith(f"{round(x.mean().item() * 255) // 20}.png")
