import base64
import io
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from lehr.report.pictures import as_picture, data_uri, in_words


def test_scaled_to_its_own_range():
    picture = as_picture(torch.tensor([[[-2.0, 0.0], [2.0, -2.0]]]))
    assert picture[:, :, 0].tolist() == [[0, 128], [255, 0]]
    assert as_picture(torch.full((3, 2, 2), 7.0)).sum() == 0
    assert as_picture(torch.tensor([[[float("nan"), 1.0]]]))[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("shape", [(64,), (2, 4, 4), (4, 4), (1, 0, 4)])
def test_no_image(shape):
    assert as_picture(torch.zeros(shape)) is None


def test_large_pictures_are_made_smaller():
    assert as_picture(torch.rand(3, 300, 600)).shape == (64, 128, 3)
    assert as_picture(torch.rand(1, 128, 100)).shape == (128, 100, 3)
    assert as_picture(torch.rand(1, 1, 1000)).shape == (1, 128, 3)


def test_a_preparation_decides():
    pixels = torch.full((2, 2, 3), 9, dtype=torch.uint8)
    preparation = SimpleNamespace(picture=lambda x: pixels, in_words=lambda x: 5)
    assert torch.equal(as_picture(torch.zeros(64), preparation), pixels)
    assert in_words(torch.zeros(2), preparation) == "5"


def test_describe():
    assert in_words(torch.arange(9.0)) == "0, 1, 2, 3, 4, 5, 6, 7, … (9 numbers)"


def test_data_uri_is_the_picture():
    picture = torch.randint(0, 256, (4, 5, 3), dtype=torch.uint8)
    kind, _, content = data_uri(picture).partition(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        found = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(4, 5, 3)
    assert torch.equal(found, picture)
