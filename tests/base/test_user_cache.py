from pathlib import Path

from lehr.base.user_cache import user_cache


def test_the_systems_place_or_the_one_that_was_named(monkeypatch, tmp_path):
    monkeypatch.delenv("LEHR_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache("images") == tmp_path / "lehr" / "images"
    monkeypatch.setenv("LEHR_CACHE", "~/kept")
    assert user_cache("images") == Path.home() / "kept" / "images"
    monkeypatch.setenv("LEHR_CACHE", "")  # as good as unset
    assert user_cache() == tmp_path / "lehr"
