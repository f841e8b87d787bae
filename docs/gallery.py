"""Makes the reports that docs/gallery.md shows: four trainings of seconds, on data made here.

python docs/gallery.py

The pages go to docs/extra/gallery, which the site takes as it is. If there is a Chromium, their
pictures go to docs/images, too.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from lehr.cli.app import app

HERE = Path(__file__).parent
PAGES, PICTURES = HERE / "extra" / "gallery", HERE / "images"
TABLE = ["price", "--regression", "--epochs", "20"]
RUNS = {
    "digits": ["digits", "--epochs", "8"],
    "table": ["homes.csv", "--target", *TABLE],
    "images": ["shapes", "--epochs", "12", "--lr", "0.01", "--workers", "0"],
    "tuned": ["signs", "--weights", "runs/images", "--batch-size", "8", "--workers", "0"],
}
"""What is typed after ``lehr train`` for each page; the last begins with weights of the third."""
WIDE, HIGH = 900, 1400  # of a picture, in pixels
SHORTER = "<style>section:first-of-type { display: none }</style>"  # the settings, left out of it


def shape(name: str, draw: random.Random) -> Image.Image:
    """A shape of some colour, size and place, on a background of noise."""
    noise = np.random.default_rng(draw.randrange(2**32)).integers(0, 80, (24, 24, 3))
    image = Image.fromarray(noise.astype(np.uint8))
    pen, colour = ImageDraw.Draw(image), tuple(draw.randrange(130, 256) for _ in range(3))
    r, x, y = draw.uniform(6, 9), draw.uniform(10, 14), draw.uniform(10, 14)
    sides = {"triangle": 3, "square": 4, "hexagon": 6}
    if name in sides:
        pen.regular_polygon((x, y, r), sides[name], draw.uniform(-15, 15), fill=colour)
    elif name == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif name == "ring":
        pen.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=3)
    else:
        pen.line((x - r, y, x + r, y), colour, 3)
        pen.line((x, y - r, x, y + r), colour, 3)
    return image


def write_images(folder: str, names: list[str], items: int) -> None:
    draw = random.Random(0)
    for name in names:
        Path(folder, name).mkdir(parents=True)
        for i in range(items):
            shape(name, draw).save(Path(folder, name, f"{i:03}.png"))


def write_table(path: str, rows: int = 300) -> None:
    draw, lines = random.Random(0), ["area,rooms,district,price"]
    for _ in range(rows):
        area, district = draw.uniform(30, 200), draw.choice(["old town", "harbour", "hill"])
        rooms = max(1, round(area / 30 + draw.gauss(0, 0.7)))
        worth = {"old town": 5.1, "harbour": 3.4, "hill": 6.2}[district]
        lines.append(f"{area:.0f},{rooms},{district},{area * worth * draw.gauss(1, 0.07):.1f}")
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def train(name: str, words: list[str]) -> str:
    """The report of a run, without the path of the folder that it was made in."""
    try:
        app(["train", *words, "--seed", "1", "--quiet", "--out", f"runs/{name}"])
    except SystemExit as end:
        if end.code:
            raise
    page = Path("runs", name, "report.html").read_text(encoding="utf-8")
    return page.replace(f"{Path.cwd()}/", "")


def picture(page: Path, to: Path) -> None:
    """The upper part of a page, but for the settings, as PNG of 256 colours."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("there is no Chromium: the pages are new, their pictures are not")
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={WIDE},{HIGH}"]
    with tempfile.NamedTemporaryFile("w", suffix=".html", encoding="utf-8") as shown:
        shown.write(page.read_text(encoding="utf-8").replace("</head>", f"{SHORTER}</head>"))
        shown.flush()
        uri = Path(shown.name).as_uri()
        subprocess.run([browser, *options, f"--screenshot={to}", uri], check=True)
    Image.open(to).convert("RGB").quantize(256, Image.Quantize.FASTOCTREE).save(to, optimize=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_images("shapes", ["circle", "hexagon", "square", "triangle"], 120)
        write_images("signs", ["cross", "ring"], 60)
        write_table("homes.csv")
        PAGES.mkdir(parents=True, exist_ok=True)
        for name, words in RUNS.items():
            (PAGES / f"{name}.html").write_text(train(name, words), encoding="utf-8")
        os.chdir(HERE)
    for name in RUNS:
        picture(PAGES / f"{name}.html", PICTURES / f"gallery_{name}.png")


if __name__ == "__main__":
    main()
