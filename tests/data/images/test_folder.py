import zipfile

import pytest

from lehr.data.images.folder import FoundImages


def make(root, *names):
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    return root


@pytest.fixture(params=["folder", "zip"])
def find(request, tmp_path):
    """Finds what some names make, in a folder or in a zip."""

    def find(*names):
        if request.param == "folder":
            return FoundImages(make(tmp_path / "root", *names))
        with zipfile.ZipFile(tmp_path / "root.zip", "w") as archive:
            for name in names:
                archive.writestr(name, b"")
        return FoundImages(tmp_path / "root.zip")

    return find


PLAIN = ("dog/b.jpg", "cat/2.PNG", "cat/10.jpeg", "dog/deep/a.webp", "cat/notes.txt")


@pytest.mark.parametrize("above", ["", "train/", "archive/", "archive/photos/"])
def test_a_folder_for_each_class(find, above):
    images = find(*(above + name for name in PLAIN))
    part = images.part("train")
    assert images.splits == ("train",)
    assert part.names == ("cat", "dog")
    assert part.labels.tolist() == [0, 0, 1, 1]
    inner = [name.removeprefix(above) for name in part.files.names]
    assert inner == ["cat/10.jpeg", "cat/2.PNG", "dog/b.jpg", "dog/deep/a.webp"]
    assert part.files.read(0) == b""


def test_hidden_things_are_not_there(find):
    images = find(*PLAIN, ".git/a.png", "__MACOSX/cat/._2.png", "cat/._2.png", "dog/.x/a.png")
    assert len(images.part("train")) == 4


@pytest.mark.parametrize("valid", ["valid", "val", "Validation"])
@pytest.mark.parametrize("above", ["", "archive/"])
def test_splits(find, valid, above):
    names = [
        f"{above}{split}/{c}/{i}.jpg" for split in ("train", valid) for c in "ab" for i in "12"
    ]
    images = find(*names, *(f"{above}test/{c}/9.jpg" for c in "ab"))
    assert images.splits == ("train", "valid", "test")
    assert [len(images.part(split)) for split in images.splits] == [4, 4, 2]
    assert "9.jpg" in images.part("test").files.name(0)
    both = images.part("train", "valid")
    assert both.labels.tolist() == [0] * 4 + [1] * 4
    assert [name.split("/")[-3] for name in both.files.names[:4]] == ["train"] * 2 + [valid] * 2


def test_a_class_may_be_called_train(find):
    part = find("train/1.jpg", "bus/1.jpg").part("train")
    assert part.names == ("bus", "train")


def test_a_part_of_a_part(find):
    import torch

    part = find(*PLAIN).part("train").take(torch.tensor([3, 0]))
    assert part.labels.tolist() == [1, 0]
    assert part.files.names[1].endswith("10.jpeg")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a/1.txt"], r"has no images: no file in it ends with one of \.bmp.*Expected is a folder"),
        (["cat/1.jpg", "cat/2.jpg"], "has only one class: 2 images in cat/. Expected is"),
        (["train/cat/1.jpg"], r"\(in train/\) has only one class: 1 images in cat/"),
        (["1.jpg", "2.jpg"], "has 2 images that lie in no folder of a class, such as 1.jpg"),
        (["a/1.jpg", "b/1.jpg", "x.png"], "has 1 images that lie in no folder .* x.png"),
        (["valid/a/1.jpg", "test/a/1.jpg"], "has test/ and valid/, but no train/"),
        (["train/a/1.jpg", "test/a/1.jpg", "z/1.jpg"], "has test/, train/, and also z. Keep"),
        (["train/a/1.jpg", "val/a/1.jpg", "valid/a/1.jpg"], "of which two mean the same"),
    ],
)
def test_other_layouts(find, names, message):
    with pytest.raises(ValueError, match=message):
        find(*names).part("train")


def test_an_unsorted_test_folder_is_an_error_only_when_asked_for(find):
    images = find("train/a/1.jpg", "train/b/1.jpg", "test/1.jpg")
    assert len(images.part("train")) == 2
    with pytest.raises(ValueError, match=r"test/ in .* has 1 images that lie in no folder"):
        images.part("test")


def test_splits_of_different_classes(find):
    images = find("train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/c/1.jpg", "val/d/1.jpg")
    with pytest.raises(ValueError, match=r"b is only in train/\. Is a folder misspelt"):
        images.part("train", "valid")


def test_images_that_are_still_packed(find):
    with pytest.raises(ValueError, match=r"has no images.* Is it b/train\.ZIP, inside, that you"):
        find("b/train.ZIP", "c.zip", "readme.txt")


def test_no_such_path(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"path must be a folder or a zip .*nowhere does not"
    ):
        FoundImages(tmp_path / "nowhere")


def test_a_file_that_is_no_zip(tmp_path):
    file = tmp_path / "photos.zip"
    file.write_bytes(b"PK but no more")
    with pytest.raises(ValueError, match=r"photos\.zip is a file, but no whole zip"):
        FoundImages(file)


def test_links_that_go_round_in_circles(tmp_path):
    make(tmp_path, "a/1.jpg", "b/1.jpg")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert len(FoundImages(tmp_path).part("train")) == 2


def test_a_class_may_be_a_link(tmp_path):
    make(tmp_path, "root/a/1.jpg", "elsewhere/1.jpg")
    (tmp_path / "root" / "b").symlink_to(tmp_path / "elsewhere")
    assert FoundImages(tmp_path / "root").part("train").names == ("a", "b")


def test_names_in_a_zip_never_leave_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        for name in ("../../etc/a/1.jpg", "a/1.jpg", "b/1.jpg", "c\\1.jpg"):
            archive.writestr(name, name)
    part = FoundImages(tmp_path / "evil.zip").part("train")
    assert part.files.names == ("a/1.jpg", "b/1.jpg", "c\\1.jpg")
    assert part.names == ("a", "b", "c")
    assert part.files.read(2) == b"c\\1.jpg"
