import errno
import multiprocessing
import os
import pickle
import shutil
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lehr.base import files as base_files
from lehr.base import mapped
from lehr.data import image_folder
from lehr.data.images import cache as module
from lehr.data.images import decode_all, load
from lehr.data.images.decode import BrokenImage


def make(root, n=10, size=(7, 6)):
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            pixels = generator.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def root(tmp_path):
    return make(tmp_path / "photos")


@pytest.fixture
def place(tmp_path):
    return tmp_path / "kept"


@pytest.fixture
def decoded(monkeypatch):
    """How many images were decoded to be kept or held, and not only looked at."""
    counts = []
    gather = decode_all._Decoder.gather

    def counted(self, indices):
        counts.append(len(indices))
        return gather(self, indices)

    monkeypatch.setattr(decode_all._Decoder, "gather", counted)
    return lambda: (sum(counts), counts.clear())[0]


def batches(bunch):
    return [
        part for dl in (bunch.train_dl, bunch.valid_dl) for xb in dl.batches(3, 1) for part in xb
    ]


def same(one, other):
    pairs = list(zip(batches(one), batches(other), strict=True))
    return one.preparation == other.preparation and all(torch.equal(a, b) for a, b in pairs)


def the_file(place):
    [path] = place.iterdir()
    return path


# -- the same bits


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("augment", [None, "flip+shift"])
def test_the_batches_are_those_of_a_run_without(root, place, decoded, zipped, in_memory, augment):
    path = shutil.make_archive(str(root), "zip", root) if zipped else root
    options = {"batch_size": 4, "in_memory": in_memory, "augment": augment}
    plain = image_folder(path, **options)
    decoded()
    first = image_folder(path, cache=place, **options)
    assert decoded() == 20
    second = image_folder(path, cache=str(place), **options)
    assert decoded() == 0
    assert same(plain, first)
    assert same(plain, second)
    assert not same(plain, image_folder(path, cache=place, **options | {"split_seed": 1}))
    assert second.valid_ds.name(0) == plain.valid_ds.name(0)
    if not in_memory:
        assert repr(second.train_ds).startswith("Images(16 in a cache, 3×6×7")


def test_a_large_cache_is_read_from_the_file(root, place, monkeypatch):
    monkeypatch.setattr(mapped, "RESIDENT", 0)
    plain, kept = (image_folder(root, 4, in_memory=False, cache=c) for c in (False, place))
    assert same(plain, kept)


def test_where_images_are_many_a_sample_is_measured(root, place, monkeypatch):
    monkeypatch.setattr(load, "_MEASURED", 5)
    options = {"in_memory": False}
    assert same(image_folder(root, **options), image_folder(root, cache=place, **options))


@pytest.mark.slow
def test_workers_decode_into_the_cache(root, place, monkeypatch):
    monkeypatch.setattr(decode_all, "_AT_ONCE", 3)
    kept = image_folder(root, 4, cache=place, num_workers=2, in_memory=False)
    assert same(image_folder(root, 4, in_memory=False), kept)
    assert kept.train_dl.num_workers == 0  # a copy is faster made than sent
    assert not multiprocessing.active_children()


def test_one_cache_for_every_division(tmp_path, place, decoded):
    for split in ("train", "valid", "test"):
        make(tmp_path / "photos" / split, n=4)
    root = tmp_path / "photos"
    form = image_folder(root, cache=place, split_seed=1).preparation
    assert decoded() == 16
    image_folder(root, cache=place, split_seed=2)
    assert decoded() == 0
    image_folder(root, cache=place, split="test")
    assert decoded() == 24
    whole = image_folder(root, cache=place, split="all", preparation=form)
    assert decoded() == 0
    assert same(whole, image_folder(root, split="all", preparation=form))
    assert len(list(place.iterdir())) == 2


# -- what makes it anew


def touch(root, place, monkeypatch):
    os.utime(root / "cat" / "3.png", (1, 1))


def change(root, place, monkeypatch):
    Image.new("RGB", (7, 6), "red").save(root / "cat" / "3.png")


def change_with_the_time_put_back(root, place, monkeypatch):
    path = root / "cat" / "3.png"
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # as large as before
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def add(root, place, monkeypatch):
    shutil.copy(root / "cat" / "3.png", root / "cat" / "33.png")


def rename(root, place, monkeypatch):
    (root / "cat" / "3.png").rename(root / "cat" / "33.png")


def update_pillow(root, place, monkeypatch):
    monkeypatch.setattr("PIL.__version__", "99.0")


def update_lehr(root, place, monkeypatch):
    monkeypatch.setattr(module, "DECODING", 99)


def flip_a_pixel(root, place, monkeypatch):
    damage(place, 200)


def flip_a_note(root, place, monkeypatch):
    damage(place, -3)


def flip_the_head(root, place, monkeypatch):
    damage(place, 10)


def damage(place, where):
    path = the_file(place)
    content = bytearray(path.read_bytes())
    content[where] ^= 1
    path.write_bytes(content)


def cut_in_the_notes(root, place, monkeypatch):
    os.truncate(the_file(place), the_file(place).stat().st_size - 1)


def cut_in_the_pixels(root, place, monkeypatch):
    os.truncate(the_file(place), 300)


def empty(root, place, monkeypatch):
    os.truncate(the_file(place), 0)


def put_objects_there(root, place, monkeypatch):
    path = the_file(place)
    np.save(path, np.array([Bomb(path.parent / "exploded")], dtype=object), allow_pickle=True)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


CHANGES = [touch, change, change_with_the_time_put_back, add, rename, update_pillow, update_lehr]
DAMAGES = [flip_a_pixel, flip_a_note, flip_the_head, cut_in_the_notes, cut_in_the_pixels, empty]


@pytest.mark.parametrize("happens", [*CHANGES, *DAMAGES, put_objects_there])
def test_what_is_no_longer_right_is_made_anew(root, place, decoded, monkeypatch, happens):
    image_folder(root, cache=place)
    decoded()
    happens(root, place, monkeypatch)
    again = image_folder(root, cache=place)
    assert decoded() == (21 if happens is add else 20)
    assert same(image_folder(root), again)
    decoded()
    image_folder(root, cache=place)
    assert decoded() == 0
    assert len(list(place.iterdir())) == 1  # the old one is gone; nothing was executed


def test_the_bomb_of_these_tests_explodes(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "exploded")))
    assert (tmp_path / "exploded").exists()


def test_a_zip_that_was_changed(root, place, decoded):
    path = Path(shutil.make_archive(str(root), "zip", root))
    image_folder(path, cache=place)
    decoded()
    Image.new("RGB", (7, 6), "red").save(root / "cat" / "3.png")
    shutil.make_archive(str(root), "zip", root)
    assert same(image_folder(path, cache=place), image_folder(path))
    assert decoded() == 40


@pytest.mark.parametrize("options", [{"size": 5}, {"size": 5, "resize": "squish"}])
def test_another_form_has_another_file(root, place, options):
    image_folder(root, cache=place)
    assert same(image_folder(root, cache=place, **options), image_folder(root, **options))
    assert len(list(place.iterdir())) == 2


def test_it_is_a_file_of_numpys(root, place):
    image_folder(root, cache=place, normalize=False)
    array = np.load(the_file(place), mmap_mode="r", allow_pickle=False)
    assert (array.shape, array.dtype) == ((20, 3, 6, 7), np.uint8)
    assert np.array_equal(array[3].transpose(1, 2, 0), np.array(Image.open(root / "cat" / "3.png")))


def test_checksums_of_blocks(root, place, decoded, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 1000)  # the pixels have 2,520 bytes
    monkeypatch.setattr(decode_all, "_AT_ONCE", 3)
    image_folder(root, cache=place)
    decoded()
    image_folder(root, cache=place)
    assert decoded() == 0
    damage(place, 128 + 2519)
    image_folder(root, cache=place)
    assert decoded() == 20


# -- images that are broken


def test_broken_images(root, place, decoded):
    form = image_folder(root).preparation  # else a broken one would be seen when some are looked at
    for name in ("cat/3.png", "dog/4.png"):
        (root / name).write_bytes(b"broken")
    with pytest.raises(BrokenImage, match=r"3\.png cannot be decoded .* skip_broken=True"):
        image_folder(root, cache=place, preparation=form)
    assert list(place.iterdir()) == []
    told = []
    for cache in (False, place, place):
        with pytest.warns(UserWarning, match="2 of 20 images cannot be decoded") as caught:
            bunch = image_folder(root, cache=cache, skip_broken=True)
        assert caught[0].filename == __file__
        told.append(str(caught[0].message))
        with pytest.warns(UserWarning, match="2 of 20 images"):
            assert same(bunch, image_folder(root, skip_broken=True))
    assert told[0] == told[1] == told[2]
    decoded()
    with pytest.raises(BrokenImage, match=r"\d\.png cannot be decoded .* skip_broken=True"):
        image_folder(root, cache=place, preparation=form)
    assert decoded() == 0


def test_none_is_whole(tmp_path, place, monkeypatch):
    root = make(tmp_path / "photos", n=2)
    form = image_folder(root).preparation
    for path in root.rglob("*.png"):
        path.write_bytes(b"broken")
    for _ in range(2):
        with pytest.raises(BrokenImage, match="none of 4 images can be decoded"):
            image_folder(root, cache=place, skip_broken=True, preparation=form, split="all")


def test_an_image_that_goes_away_is_an_error_of_its_own(root, place, monkeypatch):
    def gone(self, i):
        raise FileNotFoundError(errno.ENOENT, "no such image", "cat/3.png")

    form = image_folder(root).preparation
    monkeypatch.setattr("lehr.data.images.files.FolderFiles.read", gone)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FileNotFoundError, match=r"no such image: 'cat/3\.png'"):
            image_folder(root, cache=place, preparation=form)
    assert list(place.iterdir()) == []


# -- where nothing can be kept


def read_only(place, monkeypatch):
    def refuse(*args):
        raise PermissionError(errno.EACCES, "Permission denied", str(place))

    monkeypatch.setattr(base_files, "write_files", refuse)
    return "Permission denied"


def full_disk(place, monkeypatch):
    def refuse(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    return "No space left on device"


def too_little_room(place, monkeypatch):
    usage = shutil.disk_usage(Path())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2519))
    return "they take 2,520 bytes, and there is no room for them"


def gone_at_once(place, monkeypatch):
    monkeypatch.setattr(module, "replace_in_parts", lambda path, parts: list(parts))
    return "what was written is gone"


@pytest.mark.parametrize("happens", [read_only, full_disk, too_little_room, gone_at_once])
@pytest.mark.parametrize("in_memory", [True, False])
def test_it_goes_on_without_a_cache_and_says_so(root, place, monkeypatch, happens, in_memory):
    plain = image_folder(root, in_memory=in_memory)
    with monkeypatch.context() as patch:
        why = happens(place, patch)
        with pytest.warns(UserWarning, match=f"cannot be kept in .*kept: ({why})") as caught:
            bunch = image_folder(root, cache=place, in_memory=in_memory)
    assert (len(caught), caught[0].filename) == (1, __file__)
    assert same(plain, bunch)
    assert not place.is_dir() or list(place.iterdir()) == []


@pytest.mark.skipif("os.getuid() == 0", reason="root may write anywhere")
def test_a_folder_that_is_read_only(root, place):
    place.mkdir(mode=0o500)
    with pytest.warns(UserWarning, match="cannot be kept in .*: Permission denied"):
        image_folder(root, cache=place)


def test_what_a_killed_process_left_is_swept(root, place):
    place.mkdir()
    left = place / ".photos.npy.0123456789abcdef.part"
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    image_folder(root, cache=place)
    assert not left.exists()


# -- several processes


def build(root, place, barrier, answers):
    torch.set_num_threads(1)
    barrier.wait()
    answers.put([part.numpy() for part in batches(image_folder(root, 4, cache=place))])


@pytest.mark.slow
def test_two_processes_build_it_at_once(root, place, decoded):
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(2), context.Queue()
    ones = [context.Process(target=build, args=(root, place, barrier, answers)) for _ in range(2)]
    for one in ones:
        one.start()
    given = [answers.get(timeout=60) for _ in ones]
    for one in ones:
        one.join()
        assert one.exitcode == 0
    decoded()
    mine = batches(image_folder(root, 4, cache=place))
    assert decoded() == 0
    for arrays in given:
        assert all(np.array_equal(a, b) for a, b in zip(arrays, mine, strict=True))
    assert len(list(place.iterdir())) == 1


def test_one_of_several_processes_makes_it_while_the_others_wait(
    root, place, tmp_path, decoded, monkeypatch
):
    image_folder(root, 4, cache=tmp_path / "made")
    made = the_file(tmp_path / "made")
    waits, lock = threading.Event(), module.lock_file

    def tried(path, *, wait):
        waits.set()
        return lock(path, wait=wait)

    monkeypatch.setattr(module, "lock_file", tried)
    decoded()
    place.mkdir()
    with ThreadPoolExecutor() as threads, lock(place / f".{made.name}.lock"):
        bunch = threads.submit(image_folder, root, 4, cache=place)
        assert waits.wait(60)
        made.rename(place / made.name)
    assert same(bunch.result(), image_folder(root, 4, cache=place))
    assert decoded() == 0
    assert list(place.iterdir()) == [place / made.name]


def test_a_reader_keeps_what_another_one_replaces(root, place):
    before = image_folder(root, 4, cache=place, in_memory=False)
    expected = batches(before)
    Image.new("RGB", (7, 6), "red").save(root / "cat" / "3.png")
    after = image_folder(root, 4, cache=place, in_memory=False)
    assert all(map(torch.equal, batches(before), expected))
    assert not all(map(torch.equal, batches(after), expected))


def test_a_file_that_is_replaced_while_it_is_opened(root, place, decoded, monkeypatch):
    image_folder(root, cache=place)
    decoded()
    rows, other = module.MappedRows, the_file(place).with_suffix(".other")
    shutil.copy(the_file(place), other)

    def replaced(array):
        if other.exists():
            other.replace(the_file_of(place))
        return rows(array)

    monkeypatch.setattr(module, "MappedRows", replaced)
    assert same(image_folder(root, cache=place), image_folder(root))
    assert decoded() == 20  # of the one without a cache: the new file was opened


def test_a_file_that_is_replaced_again_and_again_is_given_up(root, place, monkeypatch):
    image_folder(root, cache=place)
    rows = module.MappedRows

    def replaced(array):
        other = the_file(place).with_suffix(".other")
        shutil.copy(the_file(place), other)
        other.replace(the_file_of(place))
        return rows(array)

    monkeypatch.setattr(module, "MappedRows", replaced)
    with pytest.warns(UserWarning, match="cannot be kept in .*: what was written is gone"):
        bunch = image_folder(root, cache=place)
    assert same(bunch, image_folder(root))


def the_file_of(place):
    return next(path for path in place.iterdir() if path.suffix == ".npy")


# -- the argument


def test_the_usual_place_is_the_users_cache(root, tmp_path, monkeypatch):
    monkeypatch.setenv("LEHR_CACHE", str(tmp_path / "mine"))
    image_folder(root, cache=True)
    assert the_file(tmp_path / "mine" / "images").name.startswith("photos-")


@pytest.mark.parametrize("wrong", [1, None, "", 0.5])
def test_wrong_arguments(root, wrong):
    with pytest.raises(TypeError, match="cache must be a bool or the path of a folder; got"):
        image_folder(root, cache=wrong)


def test_a_file_is_no_folder(root, tmp_path):
    (tmp_path / "a").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"cache must be the path of a folder; .*a is a file\."):
        image_folder(root, cache=tmp_path / "a")
