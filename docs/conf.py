"""How Sphinx builds the site; `make docs` calls it. Notebooks are shown as they were stored."""

import re
from pathlib import Path

from sphinx.application import Sphinx

import lehr

HERE = Path(__file__).parent

project = "lehr"
author = "The lehr authors"
project_copyright = "the lehr authors, Apache 2.0"
version = release = lehr.__version__
html_title = f"lehr {release}"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_nb",
]
exclude_patterns = ["**.ipynb_checkpoints"]

nb_execution_mode = "off"
nb_merge_streams = True
suppress_warnings = ["misc.highlighting_failure"]  # an error that a notebook shows is no program
myst_heading_anchors = 3

default_role = "py:obj"  # `Learner.fit` in a docstring becomes a link where there is such a name
autodoc_member_order = "bysource"
autodoc_typehints = "description"  # in the signature they would fill eight lines
autodoc_typehints_description_target = "documented"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # what an attribute is, its sentence says
add_module_names = False

html_theme = "furo"
html_static_path = ["static"]
html_extra_path = ["extra"]  # the reports of the gallery, as they are
html_css_files = ["lehr.css"]
html_js_files = ["copy.js"]
html_show_sourcelink = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"


def _from_docs(link: re.Match[str]) -> str:
    """A link of a page in the root folder, as it reads from the page in docs that includes it."""
    target, anchor = link["target"], link["anchor"] or ""
    page = Path(target).stem.lower() + ".md"
    if target.startswith("docs/"):
        target = target.removeprefix("docs/")
    elif (HERE / page).exists() and "/" not in target:
        target = page
    else:
        target = f"../{target}"
    if (HERE / target).is_dir():
        target += "/index.md"
    return f"]({target}{anchor})"


def rewrite_links(app: Sphinx, path: Path, docname: str, content: list[str]) -> None:
    """Let the links of an included page, such as the README, lead on from where it is shown."""
    link = r"\]\((?!https?:|#)(?P<target>[^)#]+)(?P<anchor>#[^)]*)?\)"
    content[0] = re.sub(link, _from_docs, content[0])


def escape_docstring(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Take stars and bars in the prose of a docstring for what they are: |x − 1| is no markup.

    Napoleon takes what stands before a colon in the first line of an attribute for its type; so a
    line ends there.
    """
    if what in ("attribute", "data", "property") and lines and ": " in lines[0]:
        head, _, rest = lines[0].partition(": ")
        lines[:1] = [f"{head}:", rest]
    in_example = False
    for i, line in enumerate(lines):
        in_example = line.lstrip().startswith(">>>") or (in_example and bool(line.strip()))
        if not in_example:
            lines[i] = re.sub(r"(`+[^`]+`+)|([*|])", lambda m: m[1] or f"\\{m[2]}", line)


def join_names(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Let "batch, xb: …" among attributes be two names, not a type and a name, as Sphinx reads it.

    What it does not take apart has no space; the names may still be broken into lines.
    """
    among = False
    for i, line in enumerate(lines):
        among = line.strip() == "Attributes:" or (among and (not line or line.startswith(" ")))
        if among:
            lines[i] = re.sub(r"^ +\w+(, \w+)+(?=:)", lambda m: m[0].replace(", ", ",\u200b"), line)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", escape_docstring, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", join_names, priority=400)
    app.connect("include-read", rewrite_links)
