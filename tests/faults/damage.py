"""Damages a run folder at random, as disks, editors and forgers do."""

import json
import os
import shutil
from pathlib import Path

from lehr.state.disk import checkpoint, manifest_text, vouched

RAW = {
    "@1e400@": "1e400",
    "@digits@": "9" * 10_000,
    "@many@": "9" * 300,
    "@deep@": "[" * 500 + "]" * 500,
}
VALUES = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        3,
        10**6,
        2**31,
        2**53,
        2**63,
        -(2**70),
        0.5,
        -0.5,
        1e-320,
        1e308,
    ),
    *(
        float("nan"),
        float("-inf"),
        *RAW,
        "",
        "x" * 10_000,
        "\ud800",
        "\x1b[2J\x00",
        "../../x",
        "nan",
    ),
    *("1e9", "cuda:99", "mps", "digits", "cnn", "resnet", "os:system", "2024-01-01T00:00:00", "ä"),
    *([], {}, [[]], [[], {}], [None] * 50, {"a": None}, {"": {"": ""}}, [1, 2, 3], ["a", "a"]),
]


def damage(rng, folder):
    """Damage one or two things; returns words for what was done."""
    return "; ".join(rng.choice(KINDS)(rng, folder) for _ in range(rng.choice([1, 1, 2])))


def files(folder):
    found = sorted(
        p for p in folder.rglob("*") if p.is_file() and p.suffix not in (".png", ".html")
    )
    return [path for path in found if path.name != ".lock"]


def some(rng, folder):
    path = rng.choice(files(folder))
    return path, path.relative_to(folder).as_posix()


def cut(rng, folder):
    path, name = some(rng, folder)
    size = rng.randrange(path.stat().st_size + 1)
    os.truncate(path, size)
    return f"{name} cut to {size} bytes"


def flip(rng, folder):
    path, name = some(rng, folder)
    data = bytearray(path.read_bytes())
    places = [rng.randrange(len(data)) for _ in range(rng.choice([1, 3, 30]))] if data else []
    for place in places:
        data[place] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    return f"{name} flipped at {places[:3]}" + reseal(rng, path)


def grow(rng, folder):
    path, name = some(rng, folder)
    with path.open("ab") as file:
        file.write(rng.randbytes(rng.choice([1, 100, 10_000])))
    return f"{name} with garbage at its end"


def lose(rng, folder):
    path, name = some(rng, folder)
    path.unlink()
    return f"{name} gone"


def swap(rng, folder):
    (a, name), (b, other) = some(rng, folder), some(rng, folder)
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)
    return f"{name} and {other} swapped"


def no_file(rng, folder):
    path, name = some(rng, folder)
    path.unlink()
    kind = rng.choice(["pipe", "folder", "nowhere", "zeros", "itself"])
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"nowhere": "absent", "zeros": "/dev/zero", "itself": path.name}[kind])
    return f"{name} is now: {kind}"


def other_value(rng, folder):
    texts = [p for p in files(folder) if p.suffix in (".json", ".jsonl", ".safetensors")]
    plain = [p for p in texts if p.parent == folder]  # most is read of these
    path = rng.choice(plain if rng.random() < 0.7 else texts)
    data = path.read_bytes()
    try:
        if path.suffix == ".jsonl":
            lines = data.splitlines()
            number = rng.randrange(len(lines))
            lines[number], told = mutated(rng, lines[number])
            data = b"\n".join([*lines, b""])
        elif path.suffix == ".safetensors":
            size = int.from_bytes(data[:8], "little")
            head, told = mutated(rng, data[8 : 8 + size])
            data = len(head).to_bytes(8, "little") + head + data[8 + size :]
        else:
            data, told = mutated(rng, data)
    except ValueError:  # damaged already
        return "nothing"
    path.write_bytes(data)
    return f"{path.relative_to(folder).as_posix()}: {told}" + reseal(rng, path)


def mutated(rng, text):
    """JSON with one value replaced, dropped, or put there under another name."""
    tree = json.loads(text)
    holder, key, path = tree, None, ""
    while isinstance(holder, (dict, list)) and holder:
        inner = list(holder) if isinstance(holder, dict) else range(len(holder))
        key = rng.choice(list(inner))
        path += f".{key}"
        if not isinstance(holder[key], (dict, list)) or not holder[key] or rng.random() < 0.2:
            break
        holder = holder[key]
    if key is None:
        tree, told = rng.choice(VALUES), "all of it replaced"
    else:
        action = rng.choice(["replace"] * 6 + ["drop", "rename"])
        value = rng.choice(VALUES)
        told = f"{path} {action} {str(value)[:30]!r}"
        if action == "replace":
            holder[key] = value
        else:
            old = holder.pop(key)
            if action == "rename" and isinstance(holder, dict):
                holder[str(value)[:30]] = old
    found = json.dumps(tree)
    for word, raw in RAW.items():
        found = found.replace(f'"{word}"', raw)
    return found.encode(), told


def reseal(rng, path):
    """With even chance, what a forger does: sizes and checksums are made to hold again."""
    manifest = path.parent / checkpoint.MANIFEST
    if path.parent.parent.name != "checkpoints" or rng.random() < 0.3 or not manifest.is_file():
        return ""
    try:
        said = json.loads(manifest.read_bytes())
        said.pop("checksum", None)
        if path != manifest:
            data = path.read_bytes()
            said["files"][path.name] = {"size": len(data), "crc32": vouched.checksum_of(data)}
        manifest.write_bytes(manifest_text.sealed(json.dumps(said, indent=1).encode()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return " (sealed again)"


KINDS = [cut, flip, grow, lose, swap, no_file, *[other_value] * 8]


def content(folder, leaving_out=()):
    """Names, kinds and bytes of all in a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = path.readlink()
        elif name not in leaving_out:
            found[name] = path.read_bytes() if path.is_file() else path.lstat().st_mode
    return found


def fresh(good, bad):
    if bad.exists():
        shutil.rmtree(bad)
    shutil.copytree(good, bad)
    return Path(bad)
