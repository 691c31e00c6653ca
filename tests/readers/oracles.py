"""What every answer must hold, whatever was read: numbers that the file tells, in their range, and finite."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from mutate import Sparse, Step, Tree

Check = Callable[[Tree, Any], Iterable[str]]


class Reader(NamedTuple):
    """``read`` of a folder with a sample in it: a value, None for unknown, or PhibenchError.

    ``check``: what is wrong with the answer to such a tree. ``beside``: what is wrong with it beside the sample's own
    answer. ``harmless``: steps that may not change it. ``more``: steps that this reader alone needs.
    """

    name: str
    samples: Callable[[], Sequence[Tree]]
    read: Callable[[Any], Any]
    check: Check
    beside: Callable[[Any, Any], Iterable[str]] = lambda _answer, _right: ()
    more: dict[str, Step] = {}  # noqa: RUF012  nobody changes it
    harmless: frozenset[str] = frozenset()


_NUMBER = re.compile(rb"[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?")


def told(tree: Tree) -> frozenset[float]:
    """The size of every number that stands anywhere in it, in any encoding."""
    found = set[float]()
    for content in tree.values():
        if isinstance(content, bytes | Sparse):
            found |= _told(content.head if isinstance(content, Sparse) else content)
    return frozenset(found)


@lru_cache(maxsize=2000)
def _told(data: bytes) -> frozenset[float]:
    plain = re.sub(rb"(?<=[0-9])_(?=[0-9])", b"", data.replace(b"\0", b""))
    words = {word for word in _NUMBER.findall(plain) if len(word) < 60}
    parts = {float(part) for word in words for part in (word, *re.split(rb"[.eE]", word)) if _is_number(part)}
    return frozenset(parts | {float(int(word, 16)) for word in re.findall(rb"0x([0-9a-fA-F]{1,16})", plain)})


def _is_number(word: bytes) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """(path, number) of all that is in plain data; a list has no numbers in its path."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield path, value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from numbers(one, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from numbers(one, path)


def noun(value: Any, longest: float = 20_000) -> Iterator[str]:
    """Every field in the range that its noun allows, and nothing that JSON or arithmetic would choke on.

    ``longest``: characters of a text; what people write is taken as it is.
    """
    try:
        plain = msgspec.to_builtins(value)
        msgspec.convert(plain, type(value))
        msgspec.json.encode(value)
        msgspec.msgpack.encode(value)
    except (msgspec.ValidationError, ValueError, OverflowError, UnicodeEncodeError) as error:
        yield f"{type(value).__name__} is out of its own range: {str(error)[:100]}"
        return
    for path, number in numbers(plain):
        if not math.isfinite(number):
            yield f"{path} is {number}"
    if any(len(text) > longest for text in texts(plain)):
        yield "a text without bound"


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from texts(key)
            yield from texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from texts(one)


def follows(name: str, value: float | None, known: frozenset[float], *factors: float) -> Iterator[str]:
    """``value`` is None, one of these numbers, or one of them times one of the factors."""
    if value is None or any(value / factor in known for factor in factors or (1,)):
        return
    if not any(math.isclose(value, one * factor, rel_tol=1e-6) for one in known for factor in factors or (1,)):
        yield f"{name} is a number that stands nowhere"
