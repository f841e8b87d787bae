"""The site builds without a warning, and shows the notebooks as they were stored."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
needs_sphinx = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("sphinx", "myst_nb", "furo")),
    reason="needs the extra named docs",
)


SPHINX = """
import gc, sys, sphinx.cmd.build
gc.disable()  # nearly all that is made stays to the end
sys.exit(sphinx.cmd.build.main(sys.argv[1:]))
"""


def build(source, target, *options):
    """As ``make docs`` does, but without objects in the contents, which take half of the time."""
    command = [sys.executable, "-c", SPHINX, "-q", "-W", "--keep-going"]
    command += ["-D", "toc_object_entries=0", *options, source, target]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


WITHOUT_SOURCES = "extensions=sphinx.ext.autodoc,sphinx.ext.napoleon,myst_nb"
"""Two pages of three would be sources; the small site below has one."""


@needs_sphinx
@pytest.mark.slow
def test_the_site_builds(tmp_path):
    site = tmp_path / "site"
    done = build(DOCS, site, "-D", WITHOUT_SOURCES)
    assert done.returncode == 0, done.stderr
    pages = {page.relative_to(site).with_suffix("").as_posix() for page in site.rglob("*.html")}
    for source in DOCS.rglob("*"):
        if source.suffix in (".md", ".ipynb") and ".ipynb_checkpoints" not in source.parts:
            assert source.relative_to(DOCS).with_suffix("").as_posix() in pages
    last = (site / "lessons" / "9_product.html").read_text(encoding="utf-8")
    assert "lesson 9: accuracy" in last
    assert last.count('class="cell_output') > 8
    learner = (site / "api" / "learner.html").read_text(encoding="utf-8")
    assert "The last run, also if it ended in an error: you can look at its batch." in " ".join(
        learner.split()
    )  # and its beginning is no type
    assert "collections.abc" not in re.sub("<[^>]+>", "", learner)
    for page in (DOCS / "extra" / "gallery").iterdir():
        assert f'href="gallery/{page.name}"' in (site / "gallery.html").read_text(encoding="utf-8")
        assert (site / "gallery" / page.name).is_file()
    front = (site / "index.html").read_text(encoding="utf-8")
    for link in ("guide.html", "lessons/index.html", "decisions/index.html", "architecture.html"):
        assert f'href="{link}"' in front
    assert 'href="../' not in front  # links of the README lead to pages, or to copies of files


@needs_sphinx
@pytest.mark.slow
def test_a_broken_link_breaks_the_build_and_sources_are_shown(tmp_path):
    (tmp_path / "conf.py").write_text(
        (DOCS / "conf.py")
        .read_text(encoding="utf-8")
        .replace('["static"]', "[]")
        .replace('["extra"]', "[]")
    )
    documented = "```{eval-rst}\n.. automodule:: lehr.events\n```\n"
    (tmp_path / "index.md").write_text(f"# Title\n\n[nowhere](nowhere.md)\n\n{documented}")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert "nowhere.md" in done.stderr
    source = (tmp_path / "site" / "_modules" / "lehr" / "events.html").read_text(encoding="utf-8")
    assert "begin_fit" in source
