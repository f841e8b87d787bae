"""The code is as ARCHITECTURE.md says."""

import ast
import io
import re
import statistics
import sys
import tokenize
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "lehr"
PAGE = (ROOT / "ARCHITECTURE.md").read_text()
FILES = sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").as_posix()


ROOMS = [room(path) for path in FILES]


def rows(first_heading: str) -> list[list[list[str]]]:
    """The cells of the table whose first column has this heading, as lists of `names`."""
    table = PAGE.split(f"| {first_heading} |")[1].split("\n\n")[0].splitlines()[2:]
    return [[re.findall(r"`([^`]+)`", cell) for cell in row.split("|")[1:-1]] for row in table]


FLOORS = [rooms for _, rooms in rows("floor")]
APART = len(FLOORS) - 1
RUNGS = re.search(r"losses ▸ .* ▸ anneal", PAGE)[0].split(" ▸ ")


def edges(title: str) -> list[tuple[str, list[str]]]:
    part = PAGE.split(title)[1]
    table = part.split("|---|---|\n")[1].split("\n\n")[0].splitlines()
    cells = [[re.findall(r"`([^`]+)`", cell) for cell in row.split("|")[1:-1]] for row in table]
    return [(source[0], targets) for source, targets in cells]


EDGES, DOORS = edges("Edges within a floor:"), edges("Doors upward")


def floor(name: str) -> int:
    found = [
        i for i, rooms in enumerate(FLOORS) if any(fnmatch(name, pattern) for pattern in rooms)
    ]
    assert len(found) == 1, f"{name} stands on {len(found)} floors of ARCHITECTURE.md"
    return found[0]


def allowed(table: list[tuple[str, list[str]]], source: str, target: str) -> bool:
    return any(
        fnmatch(source, a) and any(fnmatch(target, pattern) for pattern in b) for a, b in table
    )


def imports(path: Path) -> list[tuple[str, bool]]:
    """Rooms that a file imports, and whether inside a function; type-only ones left out."""
    tree = ast.parse(path.read_text())
    found = []

    def walk(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        inside = inside or isinstance(node, ast.FunctionDef)
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [f"{node.module}.{a.name}" for a in node.names]
        for module in modules:
            if module == "lehr" or module.startswith("lehr."):
                found.append((to_room(module), inside))
        for child in ast.iter_child_nodes(node):
            walk(child, inside)

    walk(tree, False)
    return found


def to_room(module: str) -> str:
    """The file that ``lehr.a.b.name`` comes from."""
    parts = module.split(".")[1:]
    for length in range(len(parts), -1, -1):
        name = "/".join(parts[:length])
        for candidate in (name, f"{name}/__init__".lstrip("/")):
            if candidate in ROOMS:
                return candidate
    raise AssertionError(module)


def test_every_room_stands_on_one_floor_and_every_name_on_the_page_exists():
    for name in ROOMS:
        floor(name)
    for pattern in [p for rooms in FLOORS for p in rooms]:
        assert any(fnmatch(name, pattern) for name in ROOMS), f"nothing matches {pattern}"


@pytest.mark.parametrize("path", FILES, ids=room)
def test_imports_point_down_or_along_a_listed_edge(path):
    source = room(path)
    for target, inside in imports(path):
        if floor(source) == APART or floor(target) == APART:
            assert floor(source) == floor(target), f"{source} -> {target}: foundations stand apart"
            below, own = (RUNGS.index(Path(name).name) for name in (target, source))
            assert below < own, f"{source} -> {target} is no lower rung"
            continue
        if target == source or floor(target) < floor(source):
            continue
        if floor(target) == floor(source):
            assert allowed(EDGES, source, target), f"{source} -> {target} is no listed edge"
        else:
            assert inside, f"{source} -> {target} points up, at module level"
            assert allowed(DOORS, source, target), f"{source} -> {target} is no listed door"


@pytest.mark.parametrize("path", [SOURCE / f"foundations/{rung}.py" for rung in RUNGS], ids=room)
def test_a_rung_is_short_and_imports_torch_or_lower_rungs(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 120
    known = {"torch", "lehr", *sys.stdlib_module_names}
    for node in ast.walk(ast.parse(text)):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert {name.split(".")[0] for name in names} <= known


def test_every_listed_edge_and_door_is_used():
    used = [(room(path), target) for path in FILES for target, _ in imports(path)]
    for source, targets in [*EDGES, *DOORS]:
        for pattern in targets:
            assert any(fnmatch(a, source) and fnmatch(b, pattern) for a, b in used), (
                f"{source} -> {pattern} is listed but not used"
            )


def code_lines(path: Path) -> int:
    """How many lines have code on them: no docstrings, comments or blank lines."""
    text = path.read_text()
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    strings = {
        node.body[0].value.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None
    }
    blank = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        docstring = token.type == tokenize.STRING and token.start[0] in strings
        if not docstring and token.type not in (*blank, tokenize.ENDMARKER):
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines)


def test_what_counts_as_a_line_of_code(tmp_path):
    path = tmp_path / "a.py"
    lines = [
        '"""Two',
        'lines."""',
        "",
        "x = 1  # one",
        "",
        "def f():",
        '    """One."""',
        "    # none",
    ]
    path.write_text("\n".join([*lines, '    return """a', 'b"""', ""]))
    assert code_lines(path) == 4


def test_the_loop_is_short_and_no_file_is_long():
    lines = {room(path): code_lines(path) for path in FILES}
    assert lines["run"] <= 220
    assert max(lines.values()) <= 300, max(lines, key=lines.get)
    assert statistics.median(lines.values()) <= 80


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name == "callbacks"], ids=room)
def test_one_public_class_in_a_callback_file(path):
    classes = [n.name for n in ast.parse(path.read_text()).body if isinstance(n, ast.ClassDef)]
    public = [name for name in classes if not name.startswith("_")]
    assert len(public) == (0 if path.stem == "__init__" else 1)


@pytest.mark.parametrize("path", FILES, ids=room)
def test_no_magic_at_a_distance(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name != "*" for alias in node.names), "star import"
        if isinstance(node, ast.ClassDef):
            assert not any(k.arg == "metaclass" for k in node.keywords), "metaclass"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, "bare except"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec"), node.func.id


def mirrored(path: Path) -> bool:
    name = path.relative_to(SOURCE)
    test = ROOT / "tests" / name.parent / f"test_{name.stem}.py"
    return test.exists() or any(
        (ROOT / "tests" / name.parent / f"test_{other}.py").exists()
        for other in (name.parent.name, f"{name.parent.name}s")
    )


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.stem not in ("__init__", "events", "types")], ids=room
)
def test_every_file_has_its_test(path):
    assert mirrored(path), f"tests/{path.relative_to(SOURCE).parent}/test_{path.stem}.py is missing"


def test_the_loop_on_the_page_names_every_event_and_action():
    from lehr.events import ACTIONS, EVENTS

    loop = PAGE.split("```")[1]
    positions = [re.search(rf"^ +{event}\b", loop, re.M).start() for event in EVENTS]
    assert positions == sorted(positions)
    for action in ACTIONS:
        assert re.search(rf"\b{action}\b", loop)
