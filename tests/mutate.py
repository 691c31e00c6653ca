"""Seeded mutations of what strangers write: files, and trees of files. One engine for every reader.

``mutant(tree, seed)`` damages a tree as the world does: cut off, doubled, reordered, in another encoding, with numbers
that cannot be, with keys that are missing or too many. The same tree and seed give the same mutant everywhere.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any, NamedTuple


class Sparse(NamedTuple):
    """A file of which the beginning is written; zeros follow, up to ``size``."""

    head: bytes
    size: int


class Link(NamedTuple):
    to: str


class Folder(NamedTuple):
    """Where a file was."""


Content = bytes | Sparse | Link | Folder
Tree = dict[str, Content]
Step = Callable[[random.Random, bytes], bytes | None]  # None: nothing here that it could change


class Mutant(NamedTuple):
    """``steps``: (file, what was done), in order."""

    tree: Tree
    steps: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return ", then ".join(f"{step} in {file}" for file, step in self.steps)

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset(step for _, step in self.steps)


def mutant(tree: Tree, seed: str, more: dict[str, Step] | None = None) -> Mutant:
    """One to three steps, most often one. ``more``: steps of one reader alone, tried as often as all others."""
    rng = random.Random(seed)
    wanted = rng.choice((1, 1, 1, 2, 3))
    found, steps = dict(tree), list[tuple[str, str]]()
    for _ in range(40):  # a step that finds nothing to change is followed by another one
        if len(steps) == wanted or not found:
            break
        file = rng.choice(list(found))
        if len(tree) > 1 and rng.random() < 0.15:
            step, change = rng.choice(list(_TREE.items()))
            found = change(rng, found, file)
            steps.append((file, step))
            continue
        old = found[file]
        step, of_bytes = rng.choice(list((more if more and rng.random() < 0.5 else _steps(rng, file)).items()))
        new = of_bytes(rng, old.head if isinstance(old, Sparse) else old) if isinstance(old, bytes | Sparse) else None
        if (
            new is not None
            and isinstance(old, bytes | Sparse)
            and new != (old.head if isinstance(old, Sparse) else old)
        ):
            found = {**found, file: Sparse(new, old.size) if isinstance(old, Sparse) else new}
            steps.append((file, step))
    return Mutant(found, tuple(steps))


def _steps(rng: random.Random, file: str) -> dict[str, Step]:
    """Of a file's kind more often than of any."""
    kind = file.rpartition(".")[2]
    of_kind = {"json": _JSON, "jsonl": _LINES_OF_JSON, "toml": _TEXT, "gguf": _BINARY, "safetensors": _BINARY,
               "onnx": _BINARY, "bin": _BINARY}.get(kind, _TEXT)  # fmt: skip
    return rng.choice((of_kind, of_kind, of_kind, _BYTES if of_kind is _BINARY else _TEXT, _BYTES))


# ------------------------------------------------------------------------------------------------- bytes


def _stretch(rng: random.Random, size: int) -> tuple[int, int]:
    """Short ones as often as long ones."""
    start = rng.randrange(size + 1)
    return start, min(size, start + rng.choice((1, 2, 4, 8, 30, 200, max(1, size // 3))))


def _cut_off(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.choice((rng.randrange(len(data) + 1), max(0, len(data) - rng.randrange(1, 9))))]


def _beginning_gone(rng: random.Random, data: bytes) -> bytes:
    return data[_stretch(rng, len(data))[1] :]


def _cut_out(rng: random.Random, data: bytes) -> bytes:
    start, end = _stretch(rng, len(data))
    return data[:start] + data[end:]


def _doubled(rng: random.Random, data: bytes) -> bytes:
    start, end = rng.choice((_stretch(rng, len(data)), (0, len(data))))
    return data[:end] + data[start:]


def _flipped(rng: random.Random, data: bytes) -> bytes | None:
    if not data:
        return None
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _noise(rng: random.Random, data: bytes) -> bytes:
    start, end = _stretch(rng, len(data))
    return data[:start] + rng.randbytes(rng.choice((1, 3, 50))) + data[end:]


def _zeros(rng: random.Random, data: bytes) -> bytes:
    start, end = _stretch(rng, len(data))
    return data[:start] + bytes(end - start) + data[end:]


def _swapped(rng: random.Random, data: bytes) -> bytes:
    a, b, c = sorted(rng.randrange(len(data) + 1) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


_BYTES: dict[str, Step] = {
    "cut off": _cut_off, "beginning gone": _beginning_gone, "cut out": _cut_out, "doubled": _doubled,
    "bits flipped": _flipped, "noise": _noise, "zeros": _zeros, "parts swapped": _swapped,
    "emptied": lambda _rng, _data: b"",
}  # fmt: skip
_WHOLE = (0, 1, 2, 3, 7, 255, 1 << 15, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 62, (1 << 63) - 1,
          1 << 63, (1 << 64) - 1)  # fmt: skip


def _integer(rng: random.Random, data: bytes) -> bytes | None:
    width = rng.choice((1, 2, 4, 8))
    if len(data) < width:
        return None
    place = rng.randrange(len(data) - width + 1)
    old = int.from_bytes(data[place : place + width], "little")
    new = rng.choice((*_WHOLE, old + 1, old - 1, old * 2, -old)) % (1 << 8 * width)
    return data[:place] + new.to_bytes(width, "little") + data[place + width :]


_BINARY: dict[str, Step] = {"integer": _integer, "other integer": _integer, "bits flipped": _flipped}


# ------------------------------------------------------------------------------------------------- text

_NUMBERS = ("0", "-1", "-0", "1", "-7", "nan", "inf", "-inf", "NaN", "1e999", "1e-999", "0x10", "1_000", "+5", "5.0",
            "0.1", "1.2.3", ".", "٣٢", "１２", "9" * 19, "1" + "0" * 25, "1" * 5000, "4294967295",
            "9223372036854775807", "18446744073709551615", "")  # fmt: skip
_WORDS = ("", "null", "None", "N/A", "unknown", "[Not Supported]", "ü", "日本", "\0", "\x1b[31m", "\ufffd", "../..",
          "/etc/passwd", "a" * 100_000, "-", "=", "]", "{", "[", "'", '"', "#", "\\", "\u202e", "%s",
          "true")  # fmt: skip
_LOG = (b"ggml_cuda_init: found 1 CUDA devices:\n", b"warning: slow\n", b"load: [1/2] {x}\n", b"\x1b[0m\n",
        b"\xff\xfe\n", b"[\n", b"}\n", b"0\n")  # fmt: skip


def _lines(change: Callable[[random.Random, list[bytes]], list[bytes]]) -> Step:
    def step(rng: random.Random, data: bytes) -> bytes | None:
        lines = data.splitlines(keepends=True)
        return b"".join(change(rng, lines)) if lines else None

    return step


def _line_gone(rng: random.Random, lines: list[bytes]) -> list[bytes]:
    place = rng.randrange(len(lines))
    return [*lines[:place], *lines[place + 1 :]]


def _line_doubled(rng: random.Random, lines: list[bytes]) -> list[bytes]:
    place = rng.randrange(len(lines))
    times = rng.choice((2, 2, 2, 50))
    return [*lines[:place], *[lines[place]] * times, *lines[place + 1 :]]


def _line_between(rng: random.Random, lines: list[bytes]) -> list[bytes]:
    place = rng.randrange(len(lines) + 1)
    return [*lines[:place], rng.choice(_LOG), *lines[place:]]


def _replaced(pattern: bytes, new: tuple[str, ...]) -> Step:
    def step(rng: random.Random, data: bytes) -> bytes | None:
        places = [match.span() for match in re.finditer(pattern, data)]
        if not places:
            return None
        start, end = rng.choice(places)
        return data[:start] + rng.choice(new).encode("utf-8", "replace") + data[end:]

    return step


def _digits(rng: random.Random, data: bytes) -> bytes | None:
    """A number a little or far off."""
    places = [match.span() for match in re.finditer(rb"[0-9]{1,25}", data)]
    if not places:
        return None
    start, end = rng.choice(places)
    old = int(data[start:end])
    new = rng.choice((old + 1, max(0, old - 1), old * 10, old // 10, old * 1000, old * 1024, -old, old << 40))
    return data[:start] + str(new).encode() + data[end:]


def _encoded(name: str, before: str = "") -> Step:
    def step(_rng: random.Random, data: bytes) -> bytes:
        return (before + data.decode("utf-8", "replace")).encode(name, "replace")

    return step


_TEXT: dict[str, Step] = {
    "line gone": _lines(_line_gone),
    "line doubled": _lines(_line_doubled),
    "lines reordered": _lines(lambda rng, lines: rng.sample(lines, len(lines))),
    "line between": _lines(_line_between),
    "number": _replaced(rb"-?[0-9]+(\.[0-9]+)?", _NUMBERS),
    "another number": _replaced(rb"-?[0-9]+(\.[0-9]+)?", _NUMBERS),
    "digits": _digits,
    "word": _replaced(rb"[A-Za-z_][A-Za-z_.-]*", _WORDS),
    "sign": _replaced(rb"[^A-Za-z0-9_\s]", _WORDS),
    "crlf": lambda _rng, data: data.replace(b"\n", b"\r\n"),
    "cr": lambda _rng, data: data.replace(b"\n", b"\r"),
    "bom": lambda _rng, data: b"\xef\xbb\xbf" + data,
    "utf-16": _encoded("utf-16-le", "\ufeff"),
    "utf-16 big-endian": _encoded("utf-16-be", "\ufeff"),
    "utf-16 without mark": _encoded("utf-16-le"),
    "utf-32": _encoded("utf-32"),
    "latin-1": _encoded("latin-1", "é"),
}

# ------------------------------------------------------------------------------------------------- JSON


class Pairs(list[tuple[str, Any]]):
    """An object, its keys in order, also twice."""


class Raw(str):
    """A value as it is written."""

    __slots__ = ()


_DEEP = 4000
_VALUES = [Raw(word) for word in (
    "null", "true", "false", "0", "-1", "-0", "1", "0.1", "1.5", "1e-300", "1e300", "1e999", "-1e999", "NaN",
    "Infinity", "2147483648", "9223372036854775807", "9223372036854775808", "18446744073709551616", "1" + "0" * 400,
    "1" * 5000, '""', '"x"', '"12"', '"NaN"', '"auto"', '"\\ud800"', '"\\u0000"', '"' + "a" * 100_000 + '"',
    '"\\u001b[31m"', "[]", "{}", "[1, 2, 3]", '["x"]', '{"a": 1}',
    "[" * _DEEP + "]" * _DEEP, '{"a":' * _DEEP + "1" + "}" * _DEEP, "1,", "'x'",
)]  # fmt: skip


def _parsed(data: bytes) -> Any:
    return json.loads(data, object_pairs_hook=Pairs, parse_float=Raw, parse_constant=Raw)


def _written(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Pairs):
        return "{" + ", ".join(f"{json.dumps(key)}: {_written(one)}" for key, one in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    return json.dumps(value)


def _places(value: Any) -> list[tuple[Any, int]]:
    """Every (object or list, place in it)."""
    found, left = [], [value]
    while left:
        one = left.pop()
        if isinstance(one, list):
            found += [(one, place) for place in range(len(one))]
            left += [item[1] if isinstance(one, Pairs) else item for item in one]
    return found


def _json(change: Callable[[random.Random, Any, Any, int], None], *, objects: bool = False) -> Step:
    """A step at one place of a JSON document; ``objects``: only in objects. Nothing where it is none any more."""

    def step(rng: random.Random, data: bytes) -> bytes | None:
        try:
            value = _parsed(data)
        except (ValueError, RecursionError):
            return None
        places = [(one, place) for one, place in _places(value) if isinstance(one, Pairs) or not objects]
        if not places:
            return None
        one, place = rng.choice(places)
        change(rng, value, one, place)
        return _written(value).encode("utf-8", "surrogatepass")

    return step


def _put(one: Any, place: int, new: Any) -> None:
    one[place] = (one[place][0], new) if isinstance(one, Pairs) else new


def _value(rng: random.Random, _whole: Any, one: Any, place: int) -> None:
    _put(one, place, rng.choice(_VALUES))


def _near(rng: random.Random, _whole: Any, one: Any, place: int) -> None:
    """Another number where there is one, else the value in a list or as text."""
    old = one[place][1] if isinstance(one, Pairs) else one[place]
    if isinstance(old, int) and not isinstance(old, bool):
        _put(one, place, rng.choice((old + 1, old - 1, old * 1000, old // 3, -old, float(old), str(old), old << 33)))
    elif isinstance(old, Raw):
        _put(one, place, rng.choice((Raw(f"-{old}"), Raw(f"{old}e3"), Raw(f"{old}e-3"), str(old))))
    else:
        _put(one, place, rng.choice(([old], Pairs([("value", old)]), str(old))))


def _key_gone(_rng: random.Random, _whole: Any, one: Any, place: int) -> None:
    del one[place]


def _twice(_rng: random.Random, _whole: Any, one: Any, place: int) -> None:
    one.insert(place, one[place])


def _twice_otherwise(rng: random.Random, _whole: Any, one: Any, place: int) -> None:
    one.insert(
        rng.randrange(len(one) + 1), (one[place][0], rng.choice(_VALUES)) if isinstance(one, Pairs) else Raw("{}")
    )


def _extra_key(rng: random.Random, _whole: Any, one: Any, place: int) -> None:
    one.insert(place, (rng.choice(("of_a_later_version", "x-note")), rng.choice(_VALUES[:10])))


def _renamed(rng: random.Random, _whole: Any, one: Any, place: int) -> None:
    key, value = one[place]
    one[place] = (rng.choice((key.upper(), key[:-1], f"{key}s", "", "a" * 100_000, "\x1b[31m")), value)


def _keys_reordered(rng: random.Random, _whole: Any, one: Any, _place: int) -> None:
    rng.shuffle(one)


_JSON: dict[str, Step] = {
    "value": _json(_value),
    "another value": _json(_value),
    "near value": _json(_near),
    "another near value": _json(_near),
    "gone": _json(_key_gone),
    "twice": _json(_twice),
    "twice, otherwise": _json(_twice_otherwise),
    "extra key": _json(_extra_key, objects=True),
    "key renamed": _json(_renamed, objects=True),
    "keys reordered": _json(_keys_reordered, objects=True),
    "written on one line": _json(lambda *_: None),
}


def _one_line(step: Step) -> Step:
    def on_one(rng: random.Random, data: bytes) -> bytes | None:
        lines = data.splitlines(keepends=True)
        if not lines:
            return None
        place = rng.randrange(len(lines))
        new = step(rng, lines[place])
        return None if new is None else b"".join([*lines[:place], new.rstrip(b"\n") + b"\n", *lines[place + 1 :]])

    return on_one


_LINES_OF_JSON = {name: _one_line(step) for name, step in _JSON.items()}


def in_json(name: str) -> Step:
    """A step of JSON documents, for readers that have one inside of something else."""
    return _JSON[name]


JSON_STEPS = tuple(_JSON)

# ------------------------------------------------------------------------------------------------- trees


def _file_gone(_rng: random.Random, tree: Tree, file: str) -> Tree:
    return {name: content for name, content in tree.items() if name != file}


def _exchanged(rng: random.Random, tree: Tree, file: str) -> Tree:
    other = rng.choice(list(tree))
    return {**tree, file: tree[other], other: tree[file]}


def _instead(new: Content) -> Callable[[random.Random, Tree, str], Tree]:
    return lambda _rng, tree, file: {**tree, file: new}


def _another_file(_rng: random.Random, tree: Tree, file: str) -> Tree:
    return {**tree, f"{file}.orig": b"something else\n"}


def _numbered(rng: random.Random, tree: Tree, file: str) -> Tree:
    """Under another number: cpu3 becomes cpu4000."""
    new = re.sub(r"[0-9]+", lambda _: rng.choice(("0", "1", "99", "4000", "12345678901")), file, count=1)
    return {**_file_gone(rng, tree, file), new: tree[file]}


_TREE: dict[str, Callable[[random.Random, Tree, str], Tree]] = {
    "file gone": _file_gone,
    "files exchanged": _exchanged,
    "a folder instead": _instead(Folder()),
    "a link to nothing instead": _instead(Link("nowhere")),
    "a link to itself instead": _instead(Link("")),
    "another file beside": _another_file,
    "another number in the name": _numbered,
}
