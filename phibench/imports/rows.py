"""A file of another tool as rows of JSON, whatever a shell, a log or a killed program made of it.

What is no row is other text and passed over; a row that cannot be read is named, and the next one is looked for.
"""

from __future__ import annotations

import json
import math
import re
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from phibench.core.errors import PhibenchError

MAX_ROWS = 10_000
_BEGIN = re.compile(r'\{(?=\s*")')  # of an object; a log's own brace has another neighbour: {Device 0}
# Between rows: lists that begin and end (a log may begin a line with [ too), and lines of other text. A mark of the
# byte order stands where files were joined.
_LISTS = re.compile(r"^[ \t]*(?P<open>\[)[ \t\r]*$|(?P<last>\[)\s*\Z|^[ \t]*\]", re.MULTILINE)
_OTHER = re.compile(r"^[\[\], \t\r\ufeff]*+[^\[\], \t\r\n\ufeff].*", re.MULTILINE)
# What printf of C makes of numbers that are none: glibc and macOS, then Microsoft's of all years.
_NO_NUMBER = r"(?<=[:\[,\s])([-+]?(?:nan(?:\(\w{0,20}\))?|inf(?:inity)?|\d\.#\w{2,9}))(?=\s*[,\]}])"
_ONE, _STRING_OR_ONE = re.compile(_NO_NUMBER, re.I), re.compile(rf'"(?:[^"\\\n]|\\.)*+"?|{_NO_NUMBER}', re.I)


class Refused(NamedTuple):
    """A row that is not taken over, and why, in words."""

    line: int
    why: str


class Doubled(dict[str, Any]):
    """An object with a key that stands twice: readers differ in which one counts."""

    key = ""


class Found(NamedTuple):
    """``others``: lines of other text. ``open_since``: where a list begins whose rows are whole and that has no end."""

    rows: list[tuple[int, dict[str, Any]]]
    refused: list[Refused]
    others: int
    open_since: int | None


# ------------------------------------------------------------------------------------------------------ text to rows


def found(text: str, name: str, is_row: Callable[[dict[str, Any]], bool]) -> Found:
    """Every row in arrays, on lines, behind the words of a log, or within other objects; these are other text.

    Raises PhibenchError for what nobody would call a file of rows: nested without end, damaged all over.
    """
    if _ONE.search(text):
        text = _STRING_OR_ONE.sub(lambda word: "NaN" if word[1] else word[0], text)
    decoder = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=_integer)
    rows: list[tuple[int, dict[str, Any]]] = []
    refused: list[Refused] = []
    between = _Between()
    at, number, spent, cut = 0, 1, 0, False
    while begin := _BEGIN.search(text, at):
        between.add(text[at : begin.start()], number)
        number += text.count("\n", at, begin.start())
        try:
            value, end = decoder.raw_decode(text, begin.start())
        except RecursionError:
            raise PhibenchError(f"{name}, line {number}: nested too deeply") from None
        except json.JSONDecodeError as error:
            later = _BEGIN.search(text, begin.end())
            at = later.start() if later else len(text)
            cut = at == len(text) and "}" not in text[error.pos :]
            refused.append(Refused(number, _cut(error.msg, ends=cut)))
            spent += _read(text, error.pos) - begin.start()
        else:
            at = end
            if is_row(value):
                rows.append((number, value))
            elif _holds(value, is_row):
                at, spent = begin.end(), spent + end - begin.start()
            else:
                between.other(number)
        if len(rows) > MAX_ROWS:
            raise PhibenchError(f"{name}, line {number}: more than {MAX_ROWS} tests; split the file")
        if len(refused) > MAX_ROWS or spent > 4 * len(text) + (1 << 20):
            raise PhibenchError(f"{name}, line {number}: too much of it is damaged")
        number += text.count("\n", begin.start(), at)
    between.add(text[at:], number)
    return Found(rows, refused, between.others, None if cut else between.open_since)


def _holds(value: dict[str, Any], is_row: Callable[[dict[str, Any]], bool]) -> bool:
    """Whether a row lies anywhere within this object."""
    inner: list[Any] = [*value.values()]
    while inner:
        one = inner.pop()
        if isinstance(one, dict):
            if is_row(one):
                return True
            inner += one.values()
        elif isinstance(one, list):
            inner += one
    return False


class _Between:
    """What stands between the rows, from the first line to the last."""

    def __init__(self) -> None:
        self.others = self._last = 0
        self.open_since: int | None = None

    def add(self, part: str, number: int) -> None:
        last = deque(_LISTS.finditer(part), maxlen=1)
        if last:
            self.open_since = number + part.count("\n", 0, last[0].start()) if last[0].lastgroup else None
        at = 0
        for found in _OTHER.finditer(part):
            number += part.count("\n", at, found.start())
            at = found.start()
            self.other(number)

    def other(self, number: int) -> None:
        """One more line of other text, unless it is the same."""
        self.others += number > self._last
        self._last = number


def _read(text: str, at: int) -> int:
    """How far the decoder may have looked: a string ends with its line at the latest."""
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _cut(error: str, *, ends: bool) -> str:
    return f"it is cut off, the file ends within it ({error})" if ends else f"it is cut off or not JSON ({error})"


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    doubled, seen = Doubled(found), set[str]()
    for key, _ in pairs:
        if key in seen:
            doubled.key = key
            break
        seen.add(key)
    return doubled


def _integer(digits: str) -> float:
    """No number of a test has 20 digits."""
    return int(digits) if len(digits) < 20 else math.inf
