"""What is not trusted in files of others: JSON, names and numbers from a stranger, each checked as it is read."""

from __future__ import annotations

import difflib
import itertools
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phibench import catalog
from phibench.catalog import naming
from phibench.catalog.readers import first_bytes
from phibench.catalog.tensor_types import Tensor
from phibench.core import files
from phibench.core.errors import FAILED, PhibenchError
from phibench.core.nouns import Noun

MAX_JSON_BYTES = 16 << 20  # far above any Phi's configuration or index of shards
MAX_COUNT = 1 << 40  # of anything that a configuration counts
ONNX, HUGGING_FACE = "genai_config.json", "config.json"

Numbers = dict[str, int | None]  # fields of Shape that tell variants apart; None where the folder does not say


class Said(Noun, frozen=True, kw_only=True):
    """What a file says of its shape. ``names``: what it calls itself and is called, ``places``: what it lies in."""

    architecture: str
    numbers: Numbers
    longrope: bool
    rope_theta: float | None = None
    names: tuple[str, ...] = ()
    places: tuple[str, ...] = ()


class Content(Said, frozen=True, kw_only=True):
    """What one kind of folder says of itself; ``told``: the variant that a synthetic one names."""

    format: str
    quantization: str
    tensors: tuple[Tensor, ...]
    embedding: str
    head: str
    bytes: int
    facts: dict[str, str]
    told: str | None = None
    notes: tuple[str, ...] = ()


def read_json(path: Path) -> dict[str, Any]:
    """An object. Raises PhibenchError (exit 2) for anything else, OSError for what cannot be read."""
    files.check_readable(path, MAX_JSON_BYTES)
    return parse_json(path.read_bytes(), path)


def parse_json(content: bytes, path: Path) -> dict[str, Any]:
    """An object, no key twice: readers differ in which one counts. Raises PhibenchError (exit 2)."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
            raise PhibenchError(
                f"{path} has the key {twice[:60]!r} twice in one object, so phibench does not open it: take one out"
            )
        return found

    try:
        found = json.loads(content, object_pairs_hook=once)
    except (ValueError, RecursionError):
        first_bytes.check_json(path, content)
        raise PhibenchError(f"{path} is not JSON: download it again") from None
    if not isinstance(found, dict):
        raise PhibenchError(f"{path} is JSON, but not an object: download it again")
    return found


def part(of: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object under a key; empty where there is none."""
    found = of.get(key)
    return found if isinstance(found, dict) else {}


def text(of: Mapping[str, Any], key: str) -> str:
    found = of.get(key)
    return found if isinstance(found, str) else ""


def switch(of: Mapping[str, Any], key: str, path: Path) -> bool:
    """True or false; false where there is none. Raises PhibenchError (exit 2) for anything else."""
    found = of.get(key, False)
    if not isinstance(found, bool):
        raise PhibenchError(f"{path} has a {key} that is neither true nor false: download it again")
    return found


def count(of: Mapping[str, Any], key: str) -> int | None:
    """A whole number from 0 to MAX_COUNT; None for anything else."""
    found = of.get(key)
    is_count = isinstance(found, int) and not isinstance(found, bool) and 0 <= found <= MAX_COUNT
    return found if is_count else None


def plain(said: object, most: int = 1000) -> str:
    """A stranger's name in a line for people: no line break, no colour of a terminal, no end of it far away."""
    cut = str(said)[:most]
    return cut if cut.isprintable() else ascii(cut)[1:-1]


def required(numbers: Numbers, keys: Sequence[str], path: Path) -> None:
    """Raises PhibenchError (exit 2) when one of these is not known."""
    if missing := [key for key in keys if not numbers.get(key)]:
        raise PhibenchError(
            f"{path} does not say the model's {', '.join(missing)}: download it again, or convert it anew"
        )


def inside(folder: Path, name: str) -> Path:
    """A file that another file of the folder names. Raises PhibenchError (exit 2) when it points out of the folder."""
    if not name or "\0" in name or "\\" in name or ":" in name or name.startswith("/") or ".." in name.split("/"):
        raise outside(folder, name)
    return folder / name


def outside(folder: Path, name: str) -> PhibenchError:
    return PhibenchError(
        f"{folder} names a file {name[:100]!r} outside of itself, so phibench does not open it: "
        "take the package from its publisher"
    )


def cut_off(path: Path, needs: int) -> PhibenchError:
    if lost := first_bytes.lost(path):
        return PhibenchError(f"{path} is {lost.what}: {lost.remedy}")
    size = path.stat().st_size
    return PhibenchError(f"{path} is cut off: it has {size} bytes and needs {needs}; {again(path)}", FAILED)


def again(path: Path) -> str:
    """What to do about a file that ends too early."""
    end = first_bytes.unfinished(path)
    return f"let the download that {end} stands for finish" if end else "download it again"


def unreadable(path: Path, error: OSError) -> PhibenchError:
    """What of the file or folder at ``path`` cannot be read, and what to do (exit 1)."""
    remedy = "; ask for permission to read it" if isinstance(error, PermissionError) else ""
    name = error.filename or path
    if isinstance(error, FileNotFoundError):
        remedy = f"; {_in_its_place(Path(name))}"
    return PhibenchError(f"cannot read {name}: {error.strerror or error}{remedy}", FAILED)


def _in_its_place(path: Path) -> str:
    """What to do about a file that another one names, by what lies there instead: half of it, or a name like it."""
    names = _names_in(path.parent)
    half = next((one for one in names if one.startswith(path.name) and first_bytes.unfinished(Path(one))), None)
    if half:
        return f"let the download that {plain(half)} belongs to finish"
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.9)  # model.onnx is not near to model.onnx.data
    return f"rename {plain(near[0])}, which is there, to that, if it is the same" if near else "download it again"


def _names_in(folder: Path) -> list[str]:
    try:
        return [one.name for one in itertools.islice(folder.iterdir(), 1000)]
    except (OSError, ValueError):
        return []


def missing(path: Path, what: str) -> PhibenchError:
    """There is no file or folder of this name: a link that leads nowhere, a misspelled one, or nothing like it."""
    if os.path.islink(path):  # noqa: PTH114  Path's raises for a name that is too long
        return PhibenchError(f"{path} is a link to {plain(path.readlink())}, which is not there: download it again")
    gone, left = path, Path()  # the first of its folders that is not there, and what lies below
    while gone.parent != gone and not os.path.lexists(gone.parent):
        gone, left = gone.parent, gone.name / left
    names = difflib.get_close_matches(gone.name, _names_in(gone.parent), n=3, cutoff=0.8)
    near = [gone.parent / name for name in names]
    meant = next((one / left for one in near if os.path.lexists(one / left)), None)
    hint = f"did you mean {plain(meant)}?" if meant else _hint(path)
    return PhibenchError(f"there is no {what} {plain(path)}; {hint}")


def _hint(path: Path) -> str:
    meant = naming.meant([path.name], catalog.variants())
    synthetic = f", or {meant[0].id} for synthetic weights" if len(meant) == 1 else ""
    return f"phibench downloads nothing: give what is on this disk{synthetic}"
