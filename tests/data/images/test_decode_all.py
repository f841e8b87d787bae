import multiprocessing

import pytest
import torch
from PIL import Image

from lehr.data.images import decode_all as module
from lehr.data.images.decode import BrokenImage
from lehr.data.images.decode_all import decode_all, warn_of
from lehr.data.images.files import FolderFiles
from lehr.data.images.preparation import ImagePreparation

FORM = ImagePreparation(("a",), "L", (4, 4))


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", 4)
    for i in range(10):
        Image.new("L", (4, 4), i).save(tmp_path / f"{i}.png")
    return FolderFiles(tmp_path, [f"{i}.png" for i in range(10)])


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_all_in_their_order(files, workers):
    done = decode_all(files, FORM, num_workers=workers)
    assert done.pixels[:, 0, 0, 0].tolist() == done.whole.tolist() == list(range(10))
    assert (done.pixels.shape, done.faults) == ((10, 1, 4, 4), [])
    assert not multiprocessing.active_children()  # they have nothing more to do


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_broken_ones(files, workers):
    for i in (1, 8):
        (files.root / f"{i}.png").write_bytes(b"?")
    with pytest.raises(BrokenImage, match=r"^.+1\.png cannot be decoded as an image: it is none"):
        decode_all(files, FORM, num_workers=workers)
    done = decode_all(files, FORM, skip_broken=True, num_workers=workers)
    assert done.pixels[:, 0, 0, 0].tolist() == done.whole.tolist() == [0, 2, 3, 4, 5, 6, 7, 9]
    assert [broken.fault.split(" cannot")[0][-5:] for broken in done.faults] == ["1.png", "8.png"]
    seen = decode_all(files, FORM, skip_broken=True, keep=False, num_workers=workers)
    assert torch.equal(seen.whole, done.whole)
    assert len(seen.pixels) == 0


def test_all_broken(files):
    for i in range(10):
        (files.root / f"{i}.png").write_bytes(b"?")
    with pytest.raises(
        BrokenImage, match=r"none of 10 images can be decoded\. The first: .+0\.png"
    ):
        decode_all(files, FORM, skip_broken=True)


def test_little_is_sent_at_once(files, monkeypatch):
    sizes = []
    monkeypatch.setattr(module, "_BYTES_AT_ONCE", 3 * 16)
    gather = module._Decoder.gather
    monkeypatch.setattr(
        module._Decoder, "gather", lambda self, i: sizes.append(len(i)) or gather(self, i)
    )
    decode_all(files, FORM)
    assert sizes == [3, 3, 3, 1]


def test_one_warning_names_the_first():
    warn_of([], 9)
    faults = [BrokenImage(f"{c}.png cannot be decoded: why", "Replace it.") for c in "abcde"]
    with pytest.warns(UserWarning, match="5 of 9 images .* left out: a.png.* and 2 more") as caught:
        warn_of(faults, 9)
    text = str(caught[0].message)
    assert "c.png cannot be decoded: why; and 2 more." in text
    assert "Replace" not in text
    with pytest.warns(UserWarning, match=r"1 of 9 images .*: a\.png cannot be decoded: why\."):
        warn_of(faults[:1], 9)
