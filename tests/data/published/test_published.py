import hashlib
import http.server
import threading
from functools import partial

import pytest

from lehr.data.published import published as module
from lehr.data.published.published import Published, downloads


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A server of the files in ``tmp_path / 'web'`` on this machine; yields its address."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "set.gz").write_bytes(b"published")
    monkeypatch.setattr(module, "downloads", lambda: tmp_path / "cache")
    monkeypatch.delenv("LEHR_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    handler = partial(Handler, directory=str(tmp_path / "web"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", asked
    server.shutdown()
    thread.join()
    server.server_close()


def tiny(url, content=b"published"):
    return Published("tiny", url, {"set.gz": hashlib.md5(content).hexdigest()}, ("tiny", "."))


def test_a_download_is_kept(web, tmp_path):
    url, asked = web
    path = tiny(url).download("set.gz")
    assert path == tmp_path / "cache" / "tiny" / "set.gz"
    assert path.read_bytes() == b"published"
    assert tiny(url).download("set.gz") == path
    assert len(asked) == 1
    path.write_bytes(b"damaged since")
    assert tiny(url).download("set.gz").read_bytes() == b"published"
    assert len(asked) == 2


def test_what_came_is_not_what_was_published(web, tmp_path):
    with pytest.raises(OSError, match="LEHR_DATA") as caught:
        tiny(web[0], b"another").download("set.gz")
    text = str(caught.value)
    assert text.startswith("set.gz of tiny cannot be had from http://127.0.0.1")
    assert "what came is not what was published" in text
    for content in (b"published", b"another"):
        assert hashlib.md5(content).hexdigest() in text
    assert not list((tmp_path / "cache" / "tiny").iterdir())


def test_what_is_not_there(web, tmp_path):
    (tmp_path / "web" / "set.gz").unlink()
    with pytest.raises(
        OSError, match=r"the download failed: HTTPError: 404.* put the file into tiny/"
    ):
        tiny(web[0]).download("set.gz")


def test_nobody_there(web):
    with pytest.raises(OSError, match=r"the download failed: ConnectionError: .*LEHR_DATA"):
        tiny("http://127.0.0.1:9/").download("set.gz")


def test_where_files_are_looked_for(tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here / "tiny", there):
        folder.mkdir(parents=True)
        (folder / "set.gz").touch()
    (here / "set").touch()
    monkeypatch.delenv("LEHR_DATA", raising=False)
    assert tiny("").local(None, "set.gz") is None
    monkeypatch.setenv("LEHR_DATA", str(there))
    assert tiny("").local(None, "set.gz") == there / "set.gz"
    assert tiny("").local(here, "set.gz") == here / "tiny" / "set.gz"
    assert tiny("").local(here, "set") == here / "set"
    assert tiny("").local(here, "set.gz", "set") == here / "tiny" / "set.gz"
    assert tiny("").local(here, "other") is None


def test_no_such_root(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"root must be a folder; .*nowhere is none"):
        tiny("").local(tmp_path / "nowhere", "set.gz")


def test_no_such_folder_in_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("LEHR_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"LEHR_DATA must name a folder; .*nowhere is none"):
        tiny("").local(None, "set.gz")
    assert tiny("").local(tmp_path, "set.gz") is None
    monkeypatch.setenv("LEHR_DATA", "")  # as good as unset
    assert tiny("").local(None, "set.gz") is None


def test_missing():
    text = str(tiny("").missing("/data", "set", "set.gz"))
    assert text.startswith("set or set.gz must be in one of /data/tiny, /data; it is in none.")


def test_the_downloads_have_a_folder_of_their_own():
    assert downloads().name == "lehr"
