import copy
import json
import re

import numpy as np
import pytest
import torch

from lehr.data.array_sets.preparation import ArrayPreparation, work_out_arrays

IMAGES = torch.randint(256, (20, 8, 6), generator=torch.Generator().manual_seed(0)).byte()
ROWS = torch.tensor([[1.0, 10], [3, 10]])


def test_images_get_a_channel_and_one_mean():
    preparation = work_out_arrays(IMAGES, ("a", "b"), normalize=True)
    x = preparation.encode(IMAGES)
    assert (x.shape[1:], x.dtype) == (preparation.item_shape, torch.float32)
    assert preparation.item_shape == (1, 8, 6)
    assert abs(x.mean()) < 1e-5
    assert abs(x.std() - 1) < 1e-5
    assert len(preparation.mean) == 1


def test_each_channel_and_each_feature_has_its_own():
    color = torch.stack([IMAGES, IMAGES // 2, IMAGES // 4], 1)
    x = work_out_arrays(color, (), normalize=True).encode(color)
    assert x.mean((0, 2, 3)).abs().max() < 1e-5
    preparation = work_out_arrays(ROWS, (), normalize=True)
    assert torch.allclose(preparation.encode(ROWS), torch.tensor([[-1, 0], [1, 0]]) / 2**0.5)


def test_left_as_they_are():
    preparation = work_out_arrays(IMAGES, (), normalize=False)
    assert torch.equal(preparation.encode(IMAGES), IMAGES[:, None] / 255)
    assert torch.equal(work_out_arrays(ROWS, (), normalize=False).encode(ROWS), ROWS)


def test_it_comes_back_through_json():
    preparation = work_out_arrays(IMAGES, ("a", "b"), normalize=True)
    again = ArrayPreparation.from_dict(json.loads(json.dumps(preparation.to_dict())))
    assert again == preparation
    assert torch.equal(again.encode(IMAGES), preparation.encode(IMAGES))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("kind", "table", "kind must be one of array; got 'table'"),
        ("shape", [], "shape must be a list of one to three whole numbers; got []"),
        ("shape", [0, 2], "shape[0] must be a whole number from 1 to 2147483648; got 0"),
        ("shape", [True], "shape[0] must be a whole number from 1 to 2147483648; got True"),
        ("shape", [2**20, 2**20], "shape must be of 2147483648 numbers at most; got [1048576, 10"),
        ("shape", [10**400], "shape[0] must be a whole number from 1 to 2147483648; got 100"),
        ("mean", [1, 2, 3], "mean and std must have 2 numbers for items of shape [2]; got 3 and 2"),
        ("std", [1, 0], "std[1] must be a finite number above 0; got 0"),
        ("mean", [1, float("inf")], "mean[1] must be a finite number; got inf"),
        ("mean", [10**400, 1], "mean[0] must be a finite number; got 100"),
        ("white", 0, "white must be a finite number above 0"),
        ("low", "x", "low must be a finite number"),
        ("classes", [1], "classes[0] must be text; got 1"),
        ("classes", "ab", "classes must be a list; got 'ab'"),
        ("target_mean", [], "target_mean and target_std must have one number for each output"),
        ("target_std", [1, 1], "each output; got 1 and 2"),
        ("target_std", [0], "target_std[0] must be a finite number above 0; got 0"),
        ("more", 1, "target_mean, target_std; unknown: more. Is this the file that lehr wrote?"),
    ],
)
def test_what_does_not_come_back(field, value, message):
    stored = copy.deepcopy(work_out_arrays(ROWS, (), normalize=True).to_dict())
    stored[field] = value
    with pytest.raises(ValueError, match=re.escape(message)):
        ArrayPreparation.from_dict(stored)


def test_other_arrays_are_refused():
    rows, images = (work_out_arrays(x, (), normalize=True) for x in (ROWS, IMAGES))
    with pytest.raises(ValueError, match=re.escape("shape (n, 2) of the training; got (4, 3)")):
        rows.encode(torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"x must be uint8, as in training; got torch.float32"):
        images.encode(IMAGES.float())
    with pytest.raises(ValueError, match="x must be numbers as they are, not uint8"):
        rows.encode(ROWS.byte())
    with pytest.raises(ValueError, match="x must hold finite numbers"):
        rows.encode(ROWS.double() * 1e300)


def test_batches_of_files(tmp_path):
    preparation = work_out_arrays(ROWS, (), normalize=False)
    np.save(tmp_path / "a.npy", np.arange(6.0).reshape(3, 2))
    np.savez(tmp_path / "b.npz", x=np.ones((1, 2)))
    np.save(tmp_path / "one.npy", np.array([7.0, 8]))
    files = [tmp_path / name for name in ("a.npy", "b.npz", "one.npy")]
    batches = list(preparation.batches(files, batch_size=2))
    assert [names for names, _ in batches] == [
        [f"{tmp_path}/a.npy[0]", f"{tmp_path}/a.npy[1]"],
        [f"{tmp_path}/a.npy[2]"],
        [f"{tmp_path}/b.npz[0]"],
        [f"{tmp_path}/one.npy"],
    ]
    assert torch.cat([x for _, x in batches]).tolist() == [[0, 1], [2, 3], [4, 5], [1, 1], [7, 8]]


def test_a_file_that_does_not_fit_is_named(tmp_path):
    preparation = work_out_arrays(ROWS, (), normalize=False)
    np.save(tmp_path / "a.npy", np.zeros((3, 5)))
    with pytest.raises(ValueError, match=r"a\.npy, items from 0: x must have the shape \(n, 2\)"):
        next(preparation.batches([tmp_path / "a.npy"]))
    np.save(tmp_path / "b.npy", np.array([[0, 0], [1, 1], [0, np.nan]]))
    with pytest.raises(ValueError, match=r"b\.npy, items from 2: x must hold finite"):
        list(preparation.batches([tmp_path / "b.npy"], 2))
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        next(preparation.batches([], 0))


def test_pictures_are_the_raw_images():
    preparation = work_out_arrays(IMAGES, (), normalize=True)
    picture = preparation.picture(preparation.encode(IMAGES)[3])
    assert (picture.shape, picture.dtype) == ((8, 6, 3), torch.uint8)
    assert all(torch.equal(picture[..., i], IMAGES[3]) for i in range(3))
    assert not torch.equal(picture[..., 0], IMAGES[4])
    floats = IMAGES.float() / 100 - 1
    preparation = work_out_arrays(floats, (), normalize=True)
    picture = preparation.picture(preparation.encode(floats)[3])[..., 0]
    full = (IMAGES[3] - IMAGES.min()) / (IMAGES.max() - IMAGES.min()) * 255
    assert (picture - full).abs().max() <= 1


def test_what_is_no_picture_is_described():
    rows = work_out_arrays(ROWS, (), normalize=True)
    assert rows.picture(rows.encode(ROWS)[0]) is None
    assert rows.in_words(rows.encode(ROWS)[1]) == "3 10"
    two = torch.rand(4, 2, 3, 3)
    preparation = work_out_arrays(two, (), normalize=True)
    assert preparation.picture(preparation.encode(two)[0]) is None
    assert preparation.in_words(preparation.encode(two)[0]).endswith(" …")
    ten = work_out_arrays(IMAGES[:, 0], (), normalize=True)
    assert ten.in_words(ten.encode(IMAGES[:, 0])[0]) == " ".join(map(str, IMAGES[0, 0].tolist()))


def test_fields_are_checked_wherever_they_come_from():
    with pytest.raises(ValueError, match=r"std\[0\] must be a finite number above 0; got 0"):
        ArrayPreparation((), (1,), 1.0, (0,), (0,))
    with pytest.raises(ValueError, match="classes must be different texts; got 'a' twice"):
        ArrayPreparation(("a", "a"), (1,), 1.0, (0,), (1,))
    with pytest.raises(ValueError, match=r"classes must be a list, in order; got \{'a'\}"):
        ArrayPreparation({"a"}, (1,), 1.0, (0,), (1,))
    same = ArrayPreparation(["a", "b"], [1], 1, [np.float64(0)], [1])
    assert same == ArrayPreparation(("a", "b"), (1,), 1.0, (0.0,), (1.0,))
    assert hash(same)


def test_targets_are_standardised_and_answers_undo_it():
    y = torch.tensor([[200_000.0, 1], [300_000, 1], [100_000, 1]])
    preparation = work_out_arrays(torch.rand(3, 2), (), y, normalize=True)
    assert preparation.target_mean == (200_000, 1)
    assert preparation.target_std == (100_000, 1)
    targets = preparation.targets(y)
    assert targets.tolist() == [[0, 0], [1, 0], [-1, 0]]
    again = ArrayPreparation.from_dict(json.loads(json.dumps(preparation.to_dict())))
    assert torch.equal(again.answers(targets), y)
    assert again.answers(targets.bfloat16()).dtype == torch.float32
    left = work_out_arrays(torch.rand(3, 2), (), y, normalize=False)
    assert torch.equal(left.targets(y), y)
    assert torch.equal(left.answers(y), y)
    one = work_out_arrays(torch.rand(3, 2), (), y[:, :1], normalize=True)
    assert one.answers(torch.tensor([1.0])).tolist() == [300_000]


def test_classes_are_left_alone():
    y = torch.tensor([0, 1, 1])
    preparation = work_out_arrays(torch.rand(3, 2), ("a", "b"), y, normalize=True)
    assert preparation.targets(y) is y
    pred = torch.rand(3, 2)
    assert preparation.answers(pred) is pred
    assert (preparation.target_mean, preparation.target_std) == ((0,), (1,))


def test_other_numbers_of_outputs():
    preparation = work_out_arrays(torch.rand(9, 2), (), torch.rand(9, 2), normalize=True)
    with pytest.raises(ValueError, match=r"y must have 2 outputs an item.* got shape \(9, 1\)"):
        preparation.targets(torch.rand(9, 1))
    with pytest.raises(ValueError, match=r"pred must have 2 outputs an item.* got shape \(9,\)"):
        preparation.answers(torch.rand(9))


def test_files_of_one_name_in_two_folders(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", np.zeros((1, 2)))
    preparation = work_out_arrays(ROWS, (), normalize=False)
    files = [tmp_path / "a" / "x.npy", tmp_path / "b" / "x.npy"]
    names = [names for names, _ in preparation.batches(files)]
    assert names == [[f"{tmp_path}/a/x.npy[0]"], [f"{tmp_path}/b/x.npy[0]"]]
