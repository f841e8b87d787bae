import pytest

from lehr.callbacks import Checkpoint
from lehr.state.disk.checkpoint_folder import CheckpointFolder
from lehr.state.disk.manifest import About, Position, Vouched
from lehr.testing import tiny_learner


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    tiny_learner([Checkpoint(folder)]).fit(1)
    return CheckpointFolder(folder).all()[-1].manifest


def test_a_checkpoint_of_a_run_says_everything(manifest):
    position, about = (form.read_among(manifest, "it").to_dict() for form in (Position, About))
    assert position == {name: manifest[name] for name in position}
    assert about == {name: manifest[name] for name in about} | {"onlookers": about["onlookers"]}
    assert list(about["onlookers"]) == manifest["onlookers"]
    for entry in manifest["files"].values():
        assert Vouched.read(entry, "it").to_dict() == entry


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stage": "noon"}, "stage must be one of epoch, batch, validated, trained; got 'noon'"),
        ({"batch": -2}, "batch must be the number of a batch, or -1; got -2"),
        ({"at_epoch": 1.0}, "at_epoch must be a whole number from 0 to .*; got 1.0"),
        ({"onlookers": "all"}, "onlookers must be a list; got 'all'"),
        ({"settings": None}, "settings must be a dict; got None"),
        ({"seed": "7"}, "seed must be a whole number; got '7'"),
    ],
)
def test_what_no_run_says(manifest, change, message):
    with pytest.raises(ValueError, match=message):
        About.read_among({**manifest, **change}, "it")


@pytest.mark.parametrize("crc32", ["1234567", "123456789", "1234567G", "1234567A", "12345678\n", 0])
def test_checksums(crc32):
    assert Vouched.read({"size": 1, "crc32": "0123abcf"}, "it").crc32 == "0123abcf"
    with pytest.raises(ValueError, match="crc32 must be eight hexadecimal digits in lower case"):
        Vouched.read({"size": 1, "crc32": crc32}, "it")
