"""docs/speed.md: made from the newest figures, with a plain word where there are none."""

import json

import pytest


@pytest.fixture
def write(page, tmp_path, monkeypatch):
    """Writes a file of results; there is no other one."""
    peers = page.peers()
    monkeypatch.setattr(page, "ROOT", tmp_path)
    monkeypatch.setattr(page, "peers", lambda: peers)
    folder = tmp_path / "bench" / "results"
    folder.mkdir(parents=True)

    def write(what, date, rows, hardware="x86_64-1threads"):
        about = {"what": what, "date": date, "hardware": hardware, "torch": "2.0", "python": "3.11"}
        text = json.dumps({**about, "options": {}, "rows": rows})
        (folder / f"{what}_{hardware}_{date}.json").write_text(text)

    return write


def step(ratio):
    return {"ratio": ratio, "quartiles": [ratio, ratio], "microseconds_a_step": 300.0}


def peer(**variants):
    row = {"ratio": 1.0, "range": [1.0, 1.0], "microseconds_a_step": 300.0, "accuracy": 0.98}
    rows = {"hand-written": row, **{name: {**row, **some} for name, some in variants.items()}}
    return {"version": "1.2.3", "options": {"pairs": 20}, "variants": rows}


def lines_of(text, start):
    return [line for line in text.splitlines() if line.startswith(f"| {start}")]


def test_the_page_is_what_the_results_say(page):
    assert page.PAGE.read_text(encoding="utf-8") == page.render()


def test_the_tables_of_the_readme_are_those_of_the_results(page):
    text = page.README.read_text(encoding="utf-8")
    assert page.into_readme(text) == text


def test_without_results_each_part_says_so_and_each_peer_too(page, write):
    text = page.render()
    assert text.count(page.NONE.capitalize() + ".") == 8
    assert len(lines_of(text, f"all: {page.NONE} | – |")) == len(page.DATA_TABLES) == 4
    assert len(page.peers()) > 8
    for entry in page.peers().values():
        assert lines_of(text, entry["title"]) == [
            f"| {entry['title']}: {page.NONE} | – |  | – | – |"
        ]
    assert "newest figures are of no day yet." in text


def test_figures_are_the_newest_of_each_kind_of_hardware(page, write):
    write("overhead", "2026-01-02", {"default": step(1.5)})
    write("overhead", "2026-01-10", {"default": step(1.25)})
    write("overhead", "2026-01-03", {"default": step(1.75)}, "x86_64-2threads")
    write("overhead_against", "2026-01-11", {"default": {"as it stands": 1.0}})  # another benchmark
    text = page.render()
    assert lines_of(text, "default") == [
        "| default | 1.25 | [1.25, 1.25] | 300.0 |",
        "| default | 1.75 | [1.75, 1.75] | 300.0 |",
    ]
    assert "2026-01-10, x86_64, 1 thread, torch 2.0, Python 3.11:" in text
    assert "2026-01-03, x86_64, 2 threads, torch 2.0, Python 3.11:" in text
    assert "newest figures are of 2026-01-10." in text


def test_peers_have_version_and_accuracy_or_a_reason(page, write):
    older = {**peer(docs={"ratio": 2.5}, tuned={"failed": "no | such thing"}), "date": "2026-01-01"}
    rows = {"lehr": peer(fused={"ratio": 0.75, "accuracy": 0.9876})}
    write("peers", "2026-01-02", rows | {"fastai": older, "keras": {"failed": "does not install"}})
    text = page.render()
    assert lines_of(text, "hand-written") == [
        "| hand-written | 1.00 | [1.00, 1.00] | 300.0 | 0.980 |"
    ]
    assert lines_of(text, "lehr ") == [
        "| lehr 1.2.3, fused | 0.75 | [1.00, 1.00] | 300.0 | 0.988 |"
    ]
    assert lines_of(text, "fastai") == [
        "| fastai 1.2.3 (2026-01-01), docs | 2.50 | [1.00, 1.00] | 300.0 | 0.980 |",
        "| fastai 1.2.3 (2026-01-01), tuned: no \\| such thing | – |  | – | – |",
    ]
    assert lines_of(text, "Keras") == ["| Keras on torch: does not install | – |  | – | – |"]
    assert lines_of(text, "skorch") == [f"| skorch: {page.NONE} | – |  | – | – |"]
    assert "Medians of 20 pairs" in text


def test_the_data_path_has_a_table_for_each_group(page, write):
    usual = {"ratio": 1.04, "range": [0.98, 1.1]}
    rows = {
        "memory": {"a pair": {**usual, "microseconds_a_batch": 25.1, "times_faster": 12.5}},
        "folder": {"2 workers": {**usual, "images_a_second": 1234}},
        "mapped": {
            "1024 MB": {
                **usual,
                "microseconds_a_batch": 180.0,
                "megabytes": 1.1,
                "megabytes_bare": 537.1,
            }
        },
    }
    write("data_path", "2026-01-02", rows)
    text = page.render()
    assert lines_of(text, "a pair") == ["| a pair | 1.04 | [0.98, 1.10] | 25.10 | 12.50 |"]
    assert lines_of(text, "2 workers") == ["| 2 workers | 1.04 | [0.98, 1.10] | 1234 |"]
    assert lines_of(text, "1024 MB") == ["| 1024 MB | 1.04 | [0.98, 1.10] | 180.0 | 1.10 | 537.1 |"]
    assert lines_of(text, "all") == [f"| all: {page.NONE} | – | – | – | – |"]  # the order
    assert "figures are of 2026-01-02." in text
