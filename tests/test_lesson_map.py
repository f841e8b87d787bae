"""docs/lesson-map.md names, for every row of the lesson, tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "lesson-map.md"
HEADING = "| row | what it asks for | held by |"
ROWS = 118


@cache
def functions_in(path: Path) -> tuple[str, ...]:
    """Names of the tests in a file as pytest has them, found without importing it."""
    names = []
    for node in ast.parse(path.read_text()).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        names += [prefix + each.name for each in inside if isinstance(each, ast.FunctionDef)]
    return tuple(name for name in names if name.split("::")[-1].startswith("test_"))


def faults(page: str, root: Path, count: int) -> list[str]:
    """What is wrong with the table of a page that should have rows S1 to S<count>."""
    found, seen = [], []
    for line in page.split(f"{HEADING}\n|---|---|---|\n")[1].splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) != 5 or not re.fullmatch(r"S[1-9]\d*", cells[1]) or not cells[2]:
            found.append(f"no row: {line}")
            continue
        _, row, _, held_by, _ = cells
        seen.append(row)
        tests = re.findall(r"`([^`]*)`", held_by)
        if held_by != ", ".join(f"`{test}`" for test in tests) or not tests:
            found.append(f"{row} names no test, or something else beside tests: {held_by}")
        for test in tests:
            path, _, name = test.partition("::")
            if not (root / path).is_file() or name not in functions_in(root / path):
                found.append(f"{row} names a test that does not exist: {test}")
    expected = [f"S{i}" for i in range(1, count + 1)]
    found += [f"{row} is missing" for row in expected if row not in seen]
    found += [f"{row} is there twice" for row in sorted(set(seen)) if seen.count(row) > 1]
    found += [f"{row} is no row of the lesson" for row in seen if row not in expected]
    return found


def named_for_a_number(tests: list[str]) -> list[str]:
    """Those that are named for a row of the lesson instead of what they hold."""
    return [test for test in tests if re.search(r"\btest_s\d+_", test)]


def test_every_row_of_the_lesson_names_tests_that_exist():
    assert faults(PAGE.read_text(), ROOT, ROWS) == []


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (["| S1 | one | `tests/test_a.py::test_one` |"], "S2 is missing"),
        (["| S1 | one | `tests/test_a.py::test_one` |"] * 2, "S1 is there twice"),
        (["| S3 | three | `tests/test_a.py::test_one` |"], "S3 is no row of the lesson"),
        (["| S1 | one | |"], "S1 names no test"),
        (["| S1 | one | tests/test_a.py::test_one |"], "S1 names no test"),
        (["| S1 | one | `tests/test_a.py::test_one` and more |"], "something else beside tests"),
        (
            ["| S1 | one | `tests/test_a.py::test_two` |"],
            "does not exist: tests/test_a.py::test_two",
        ),
        (
            ["| S1 | one | `tests/test_b.py::test_one` |"],
            "does not exist: tests/test_b.py::test_one",
        ),
        (["| S1 | one | `tests/test_a.py::helper` |"], "does not exist: tests/test_a.py::helper"),
        (["| S1 | `tests/test_a.py::test_one` |"], "no row: | S1"),
        (["S1 is held by nobody"], "no row: S1"),
    ],
)
def test_each_fault_of_a_table_is_found(rows, fault, tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text(
        "raise ImportError\n\n\ndef helper(): ...\n\n\ndef test_one(): ...\n"
    )

    def page(rows):
        return "\n".join(["# Title", "", HEADING, "|---|---|---|", *rows]) + "\n"

    right = [f"| S{i} | some | `tests/test_a.py::test_one` |" for i in (1, 2)]
    assert faults(page(right), tmp_path, 2) == []
    assert any(fault in each for each in faults(page(rows), tmp_path, 2))


def test_no_test_is_named_for_a_number_in_a_list():
    names = [name for path in (ROOT / "tests").rglob("*.py") for name in functions_in(path)]
    assert len(names) > 1000
    assert named_for_a_number(names) == []
    numbered = ["test_s7_it_works", "TestStarts::test_s118_start"]
    assert named_for_a_number([*numbered, "test_some", "test_fp16_trains"]) == numbered
