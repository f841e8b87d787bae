import re
from importlib.resources import files

import pytest

CSS = (files("lehr.report") / "templates" / "style.css").read_text(encoding="utf-8")


def test_nothing_is_fetched():
    assert not re.search(r"url\(|@import|https?:", CSS)
    assert "</" not in CSS


def test_what_waits_for_a_pointer_is_in_drawings_alone():
    hidden = re.findall(r"\.([\w-]+) \{ (?:visibility: hidden|display: none)", CSS)
    assert "said" in hidden
    for page in (files("lehr.report") / "templates").iterdir():
        for tag, classes in re.findall(r'<(\w+)[^>]* class="([^"]*)"', page.read_text("utf-8")):
            assert tag == "g" or not {*classes.split()} & {*hidden}, (page.name, classes)


def test_braces_are_balanced_and_every_colour_used_is_set():
    assert CSS.count("{") == CSS.count("}")
    used = set(re.findall(r"var\((--\w+)", CSS)) - {"--tone", "--a", "--key", "--faint"}
    for scheme in schemes():
        assert used <= scheme.keys()


def schemes():
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.S)
    assert len(blocks) == 3  # light, dark, print
    return [dict(re.findall(r"(--\w+): ([^;]+);", block)) for block in blocks]


def luminance(color):
    if color.startswith("#"):
        digits = color[1:] if len(color) == 7 else "".join(c * 2 for c in color[1:])
        parts = [int(digits[i : i + 2], 16) for i in (0, 2, 4)]
    else:
        parts = [int(part) for part in color.split()]
    linear = [
        p / 255 / 12.92 if p / 255 <= 0.04045 else ((p / 255 + 0.055) / 1.055) ** 2.4 for p in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    dark, light = sorted([luminance(a), luminance(b)])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("number", range(3), ids=["light", "dark", "print"])
def test_contrast(number):
    scheme = schemes()[number]
    for name in ("--ink", "--soft", "--alarm", "--c0", "--c1"):  # those that text has
        assert contrast(scheme[name], scheme["--paper"]) >= 4.5, name
        assert contrast(scheme[name], scheme["--wash"]) >= 4.5, name
    for name in ("--c2", "--c3", "--c4", "--c5"):
        assert contrast(scheme[name], scheme["--paper"]) >= 3, name
    assert contrast(scheme["--right"], scheme["--paper"]) >= 4.5  # a full cell has paper's colour
    assert contrast("#777777", "#888888") < 1.5  # the control
