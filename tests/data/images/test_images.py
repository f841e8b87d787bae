import pytest
import torch

from lehr.data import DataLoader, ImagePreparation, Images
from lehr.data.images.decode import BrokenImage, to_image
from lehr.data.images.files import FolderFiles

PIXELS = torch.randint(
    0, 256, (20, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
LABELS = torch.arange(20) % 2
PREPARATION = ImagePreparation(("a", "b"), "RGB", (16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture
def files(tmp_path):
    for i, pixels in enumerate(PIXELS):
        to_image(pixels).save(tmp_path / f"{i}.png")
    return FolderFiles(tmp_path, [f"{i}.png" for i in range(20)])


def test_files_and_memory_give_the_same(files):
    held, read = (Images(pixels, LABELS, PREPARATION) for pixels in (PIXELS, files))
    chosen = torch.tensor([3, 17, 3])
    xb, yb = held.gather(chosen)
    assert torch.equal(xb, read.gather(chosen)[0])
    assert torch.equal(xb, PREPARATION(PIXELS[chosen]))
    assert yb.tolist() == [1, 1, 1]
    assert not torch.equal(xb, held.gather(chosen + 1)[0])
    assert torch.equal(held[17][0], xb[1])
    assert torch.equal(read[-3][0], xb[1])
    assert read[2:5][0].shape == (3, 3, 16, 16)
    assert read[5:5][0].shape == (0, 3, 16, 16)
    assert torch.equal(held[[3, 17, 3]][0], xb)
    assert (held.name(2), read.name(2)) == ("item 2", str(files.root / "2.png"))


def test_in_words(files):
    assert repr(Images(PIXELS, LABELS, PREPARATION)) == "Images(20 in memory, 3×16×16)"
    told = repr(Images(files, LABELS, PREPARATION, augment="flip"))
    assert told == "Images(20 in files, 3×16×16, augment='flip')"


def test_another_white():
    grey = ImagePreparation(("a", "b"), "L", (1, 1))
    ds = Images(torch.full((2, 1, 1, 1), 16, dtype=torch.uint8), [0, 1], grey, white=16)
    assert ds[0][0].item() == 1


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["memory", "files"])
def test_augmented_batches_are_a_function_of_their_position(files, kind, workers):
    pixels = PIXELS if kind == "memory" else files

    def batches(seed, epoch, start=0, workers=workers):
        ds = Images(pixels, LABELS, PREPARATION, augment="flip+shift+rotate")
        dl = DataLoader(ds, 8, num_workers=workers)
        return [xb for xb, _ in dl.batches(seed, epoch, start)]

    here = batches(1, 0, workers=0)
    assert all(map(torch.equal, batches(1, 0), here))
    assert torch.equal(batches(1, 0, start=2)[0], here[2])
    assert not torch.equal(batches(1, 1)[0], here[0])
    assert not torch.equal(batches(2, 0)[0], here[0])
    assert not torch.equal(here[0], PREPARATION(PIXELS[:8]))


def test_reading_leaves_the_generators_alone():
    ds = Images(PIXELS, LABELS, PREPARATION, augment="flip")
    before = torch.get_rng_state()
    list(DataLoader(ds, 8).batches(0, 0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("y", [torch.zeros(20), torch.zeros(20, dtype=torch.bool)])
def test_labels_that_are_no_whole_numbers(y):
    with pytest.raises(TypeError, match="y must hold whole numbers, the labels; got torch"):
        Images(PIXELS, y, PREPARATION)


def test_labels_of_another_number():
    with pytest.raises(ValueError, match=r"one label an image, 20 in all; got shape \(19,\)"):
        Images(PIXELS, LABELS[1:], PREPARATION)


def test_pixels_that_do_not_fit():
    with pytest.raises(ValueError, match=r"pixels must be uint8 of shape \(n, 3, 16, 16\)"):
        Images(PIXELS.float(), LABELS, PREPARATION)


@pytest.mark.parametrize("i", [20, -21])
def test_an_index_outside(i):
    with pytest.raises(IndexError, match=f"index {i} is outside a dataset of 20 items"):
        Images(PIXELS, LABELS, PREPARATION)[i]


def test_a_broken_file(files):
    (files.root / "4.png").write_bytes(b"gone")
    with pytest.raises(BrokenImage, match=r"4\.png cannot be decoded"):
        Images(files, LABELS, PREPARATION).gather(torch.tensor([3, 4]))


def test_what_is_not_augmented_is_read_as_data_in_memory_are(monkeypatch):
    from lehr.data.loading import fetch

    pixels = torch.arange(48, dtype=torch.uint8).view(12, 1, 2, 2)
    form = ImagePreparation(("a", "b"), "L", (2, 2))
    made = {name: Images(pixels, [0, 1] * 6, form, augment=name) for name in (None, "shift")}

    class Own(Images):
        def __getitem__(self, i):
            return super().__getitem__(i)

    gathers = {name: fetch.gather_in_memory(ds) for name, ds in made.items()}
    assert gathers["shift"] is None
    assert fetch.gather_in_memory(Own(pixels, [0, 1] * 6, form)) is None
    before = [x for x, _ in DataLoader(Own(pixels, [0, 1] * 6, form), 5)]
    monkeypatch.delattr(fetch, "forked")  # it would cost more than the reading
    assert all(map(torch.equal, before, [x for x, _ in DataLoader(made[None], 5)]))
