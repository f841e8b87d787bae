"""The code is as ARCHITECTURE.md says."""

import ast
import io
import re
import statistics
import sys
import tokenize
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "lehr"
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
FILES = sorted(SOURCE.rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").as_posix()


ROOMS = [room(path) for path in FILES]


def table(heading: str) -> list[list[list[str]]]:
    """The cells of the table under this heading, as lists of `names`."""
    lines = PAGE.split(f"\n{heading}\n")[1].split("|\n\n")[0].splitlines()
    rows = [line for line in lines if line.startswith("|")][2:]
    return [[re.findall(r"`([^`]+)`", cell) for cell in row.strip("|").split("|")] for row in rows]


FLOORS = [rooms for _, rooms in table("## Who may import whom")]
DATA = [rooms for _, rooms in table("### Inside `data`")]
EDGES = [(source, to) for (source,), to in table("### Edges within a floor")]
DOORS = [(source, to) for (source,), to in table("### Doors upward")]
RUNGS = re.search(r"losses ▸ .* ▸ anneal", PAGE)[0].split(" ▸ ")


def matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def floor(name: str, floors: list[list[str]]) -> int | None:
    found = [i for i, rooms in enumerate(floors) if matches(name, rooms)]
    assert len(found) <= 1, f"{name} stands on {len(found)} floors of ARCHITECTURE.md"
    return found[0] if found else None


def listed(rows: list[tuple[str, list[str]]], source: str, target: str) -> bool:
    return any(fnmatch(source, a) and matches(target, b) for a, b in rows)


class Import(NamedTuple):
    target: str
    inside: bool  # a function
    typed: bool  # only for types


@cache
def imports(path: Path) -> list[Import]:
    """Rooms that a file imports, type-only imports included."""
    found = []

    def walk(node: ast.AST, inside: bool, typed: bool) -> None:
        typed = typed or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        inside = inside or isinstance(node, ast.FunctionDef)
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [f"{node.module}.{a.name}" for a in node.names]
        for module in modules:
            if module == "lehr" or module.startswith("lehr."):
                found.append(Import(to_room(module), inside, typed))
        for child in ast.iter_child_nodes(node):
            walk(child, inside, typed)

    walk(tree(path), False, False)
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


def folder(name: str) -> str:
    return name.partition("/")[0]


def refusal(source: str, to: Import) -> str | None:
    """Why one file may not import another; None if it may."""
    target = to.target
    below, own = floor(target, FLOORS), floor(source, FLOORS)
    apart = [name.startswith("foundations/") for name in (source, target)]
    if any(apart):
        if not all(apart):
            return "foundations stand apart"
        if source == "foundations/__init__":
            return None  # it has the names of all rungs
        lower, upper = (RUNGS.index(Path(name).name) for name in (target, source))
        return None if lower < upper else "it is no lower rung"
    if own is None or below is None:
        return "one of them stands on no floor"
    if below > own:
        if not (to.inside or to.typed):
            return "it points up, at module level"
        return None if listed(DOORS, source, target) else "it is no listed door"
    if folder(source) == folder(target) == "data":
        low, high = floor(target, DATA), floor(source, DATA)
        if low is None or high is None:
            return "one of them stands on no storey"
        if low > high and not (to.inside and listed(DOORS, source, target)):
            return "it points up inside data"
    if below == own and folder(source) != folder(target) and not listed(EDGES, source, target):
        return "it is no listed edge"
    return None


def test_every_room_stands_on_one_floor_and_every_name_on_the_page_exists():
    for name in ROOMS:
        assert name.startswith("foundations/") or floor(name, FLOORS) is not None, name
        assert folder(name) != "data" or floor(name, DATA) is not None, name
    for pattern in [p for rooms in (*FLOORS, *DATA) for p in rooms]:
        assert any(fnmatch(name, pattern) for name in ROOMS), f"nothing matches {pattern}"


def test_imports_point_down_or_through_a_listed_door():
    edges = [(room(path), to) for path in FILES for to in imports(path)]
    refused = [f"{a} -> {to.target}: {why}" for a, to in edges if (why := refusal(a, to))]
    assert refused == []


@pytest.mark.parametrize(
    ("source", "to"),
    [
        ("base/rows", Import("record/history", True, False)),
        ("record/monitor", Import("loop/run", False, True)),
        ("learner", Import("callbacks/__init__", False, False)),
        ("data/loading/feed", Import("data/bunch", False, False)),
        ("optim/slots", Import("record/history", False, False)),
        ("learner", Import("foundations/losses", False, False)),
        ("foundations/losses", Import("foundations/module", False, False)),
        ("foundations/data", Import("foundations/mnist", False, False)),
    ],
)
def test_what_points_elsewhere_is_refused(source, to):
    assert refusal(source, to) is not None


def circle(graph: dict[str, set[str]]) -> list[str] | None:
    """The names along a circle of imports, if there is one."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str] | None:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        for target in sorted(graph.get(name, ())):
            if found := walk(target, [*path, name]):
                return found
        done.add(name)
        return None

    return next((found for name in sorted(graph) if (found := walk(name, []))), None)


def test_there_is_no_circle_even_of_types_but_for_the_doors():
    graph = {
        room(path): {
            to.target
            for to in imports(path)
            if to.target != room(path) and not listed(DOORS, room(path), to.target)
        }
        for path in FILES
    }
    assert circle(graph) is None
    graph["base/rows"] = {"report/page"}  # the control
    assert circle(graph) is not None


@pytest.mark.parametrize(
    "path", [SOURCE / f"foundations/{rung}.py" for rung in ["__init__", *RUNGS]], ids=room
)
def test_a_rung_is_short_and_imports_torch_or_lower_rungs(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    known = {"torch", "lehr", *sys.stdlib_module_names}
    for inside in (False, True):  # a function that plots may import matplotlib
        found = packages(ast.parse(text), inside)
        assert found <= (known | {"matplotlib"} if inside else known)
    control = ast.parse("import numpy\ndef f():\n    import matplotlib")
    assert [packages(control, inside) for inside in (False, True)] == [{"numpy"}, {"matplotlib"}]


def packages(node: ast.AST, inside: bool, within: bool = False) -> set[str]:
    """What is imported at module level, or inside of functions."""
    names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
    names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    found = {name.split(".")[0] for name in names} if within is inside else set()
    within = within or isinstance(node, ast.FunctionDef)
    return found.union(*(packages(child, inside, within) for child in ast.iter_child_nodes(node)))


def test_every_listed_edge_and_door_is_used():
    used = [(room(path), to.target) for path in FILES for to in imports(path)]
    for source, targets in [*EDGES, *DOORS]:
        for pattern in targets:
            assert any(fnmatch(a, source) and fnmatch(b, pattern) for a, b in used), (
                f"{source} -> {pattern} is listed but not used"
            )


def reaches(module: ast.Module) -> list[str]:
    """The private names of others that a file uses; `other._name` is its own if it defines it."""
    nodes = list(ast.walk(module))
    own = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    own |= {node.value for node in nodes if isinstance(node, ast.Constant)}  # slots
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    own |= {node.attr for node in attributes if ast.unparse(node.value) in ("self", "cls")}
    named = {node.attr for node in attributes} - own - FOREIGN
    ours = (n for n in nodes if isinstance(n, ast.ImportFrom) and (n.module or "")[:4] == "lehr")
    named |= {alias.name for node in ours for alias in node.names}
    return sorted(name for name in named if re.match("_[^_]", name))


def test_no_room_reaches_for_the_underscore_of_another():
    assert {room(path): found for path in FILES if (found := reaches(tree(path)))} == {}
    wrong = "from lehr.base import _a\ndef _own(): x._b, x._own, self._c, y._c, z._fields"
    assert reaches(ast.parse(wrong)) == ["_a", "_b"]


FOREIGN = {"_fields", "_replace", "_version", "_asdict", "_DropoutNd"}  # Python's and torch's


def code_lines(path: Path) -> int:
    """How many lines have code on them: no docstrings, comments or blank lines."""
    text = path.read_text(encoding="utf-8")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    strings = {
        node.body[0].value.lineno
        for node in ast.walk(tree(path))
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
    assert lines["loop/loop"] <= 200
    assert max(lines.values()) <= 300, max(lines, key=lines.get)
    assert statistics.median(lines.values()) <= 80


CALLBACKS = [path for path in FILES if folder(room(path)) == "callbacks"]


def test_the_files_of_callbacks_are_found_in_every_folder():
    assert {"log", "drive", "decide", "data", "measure"} <= {path.parent.name for path in CALLBACKS}


def public_classes(path: Path) -> list[str]:
    names = [node.name for node in tree(path).body if isinstance(node, ast.ClassDef)]
    return [name for name in names if not name.startswith("_")]


def test_a_file_has_one_callback_or_none_and_is_for_a_callback_beside_it():
    assert [room(path) for path in CALLBACKS if len(public_classes(path)) > 1] == []
    used = {(path.parent, to.target) for path in CALLBACKS for to in imports(path)}
    helpers = [path for path in CALLBACKS if path.stem != "__init__" and not public_classes(path)]
    assert [room(path) for path in helpers if (path.parent, room(path)) not in used] == []


def magic(module: ast.Module) -> Iterator[str]:
    """What does something that its line does not say."""
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            yield "star import"
        if isinstance(node, ast.ClassDef) and any(k.arg == "metaclass" for k in node.keywords):
            yield "metaclass"
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield "bare except"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield from {"eval", "exec"} & {node.func.id}


def test_no_magic_at_a_distance():
    assert {room(path): found for path in FILES if (found := list(magic(tree(path))))} == {}
    lines = ["from a import *", "class A(metaclass=B): eval('')", "try: exec('')\nexcept: pass"]
    assert [len(list(magic(ast.parse(line)))) for line in lines] == [1, 2, 2]


def the_test_of(name: str) -> Path:
    path = Path(name)
    return ROOT / "tests" / path.parent / f"test_{path.name}.py"


def test_every_file_has_its_test():
    names = [name for name in ROOMS if Path(name).name not in ("__init__", "events", "types")]
    assert [str(the_test_of(name)) for name in names if not the_test_of(name).exists()] == []


def test_a_file_without_a_test_would_be_seen():
    assert not the_test_of("loop/nowhere").exists()
    assert not the_test_of("models/convnet_of_another_name").exists()


def test_the_loop_on_the_page_names_every_event_and_action():
    from lehr.events import ACTIONS, EVENTS

    loop = PAGE.split("```")[1]
    positions = [re.search(rf"^ +{event}\b", loop, re.M).start() for event in EVENTS]
    assert positions == sorted(positions)
    for action in ACTIONS:
        assert re.search(rf"\b{action}\b", loop)


BARE_SCOPES = {
    "base/interrupts": "what the others are made of",
    "base/output": "of a whole program",
    "base/signals": "inside of one that waits",
    "callbacks": "around_fit, which the scopes of a run enter and leave",
    "report/run_folder": "it has a Ctrl-C of its own",
}


def hasty(module: ast.Module) -> list[str]:
    """Scopes that put something back, and may be interrupted while they do."""
    found = []
    for node in ast.walk(module):
        names = [ast.unparse(one) for one in getattr(node, "decorator_list", [])]
        if "contextmanager" in names and "interrupts_wait_at_both_ends" not in names:
            tries = [one for one in ast.walk(node) if isinstance(one, ast.Try) and one.finalbody]
            found += [node.name] * any(isinstance(n, ast.Yield) for t in tries for n in ast.walk(t))
    return found


def test_a_scope_that_puts_something_back_does_so_before_an_interrupt():
    found = {room(path): names for path in FILES if (names := hasty(tree(path)))}
    assert {
        name for name in found if name not in BARE_SCOPES and folder(name) not in BARE_SCOPES
    } == set()
    assert all(
        names == ["around_fit"] for name, names in found.items() if folder(name) == "callbacks"
    )
    scope = "@contextmanager\ndef f():\n    try:\n        yield\n    finally:\n        g()"
    assert [
        hasty(ast.parse(scope)),
        hasty(ast.parse(f"@interrupts_wait_at_both_ends\n{scope}")),
    ] == [["f"], []]


def named(module: ast.AST) -> list[tuple[str, str]]:
    """Everything in a file that gets a name, and of what kind it is."""
    found = []
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef):
            found.append((node.name, "function"))
        elif isinstance(node, ast.ClassDef):
            found.append((node.name, "class"))
        elif isinstance(node, ast.arg):
            found.append((node.arg, "parameter"))
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.append((node.attr, "attribute"))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.append((node.id, "variable"))
    return [(name.strip("_").lower(), kind) for name, kind in found]


WORDS = re.compile("describe|found|told|watch", re.IGNORECASE)


def misused(names: list[tuple[str, str]], part: str) -> set[tuple[str, str]]:
    """What has a name of "Words in the code" and is something else; ``part``: src, tests …"""
    allowed = {"describe": {"function"}, "found": {"variable"}, "watch": {"function"}}
    allowed["told"] = {"parameter", "variable"} if part == "tests" else set()
    return {(name, kind) for name, kind in names if kind not in allowed.get(name, {kind})}


def test_a_word_that_means_one_thing_names_nothing_else():
    parts = ("src", "tests", "bench", "docs", "examples")
    faults, describing = {}, []
    for path in (path for part in parts for path in sorted((ROOT / part).rglob("*.py"))):
        text = path.read_text(encoding="utf-8")
        names = named(ast.parse(text)) if WORDS.search(text) else []
        if wrong := misused(names, path.relative_to(ROOT).parts[0]):
            faults[path] = wrong
        describing += [path for name, _ in names if name == "describe"]
    assert faults == {}
    assert describing == [SOURCE / "base" / "nested.py"]


def test_a_word_that_is_misused_would_be_seen():
    code = "class Watch: pass\ndef found(told): self._told = 1; found = describe = 2"
    assert misused(named(ast.parse(code)), "src") == {
        ("watch", "class"),
        ("found", "function"),
        ("told", "parameter"),
        ("told", "attribute"),
        ("describe", "variable"),
    }
    assert ("told", "parameter") not in misused(named(ast.parse(code)), "tests")
